# SPDX-License-Identifier: Apache-2.0
"""A small integer network of windows with random weights, for golden model and hardware alike."""

import numpy as np

from onespike.model.network import windows
from onespike.model.network.windowed import WindowLayer, WindowNet


def small_windows(seed: int = 0, groups: int = 4, kind: str = "dilated", width: int = 4) -> WindowNet:
    """Images of 1 x 8 x 8, two blocks of three layers of `width` channels on maps of 8 x 8 and 4 x 4, three classes."""
    rng = np.random.default_rng(seed)
    layers, inputs, fraction = [], 1, 6
    for block, dilated in enumerate(windows.plan(kind, groups, 2, 3)):
        for layer in range(3):
            first, last = not layers, layer == 2
            side = rng.integers(-2, 3, (width, 1, 1, 1)) if not block else rng.integers(-30, 40, (width, width, 1, 1))
            layers.append(
                WindowLayer(
                    weights=rng.integers(-40, 44, (width, inputs, 3, 3)),
                    shortcut=side if last else None,
                    lift=2 * (last and not block),
                    bias=rng.integers(-40, 60, width),
                    shift=rng.integers(-1, 3, width) + 8 * first + 2 * (last and not block),
                    leak=int(rng.integers(100, 257)),
                    threshold=1 << fraction - 1,
                    dilated=dilated[layer],
                    opens=layer == 0,
                    pool=2 if last and not block else 1,
                )
            )  # fmt: skip
            inputs = width
    return WindowNet(groups=groups, fraction=fraction, pad=0, image=(1, 8, 8), layers=layers,
                     weights=rng.integers(-9, 9, (3, width)), bias=rng.integers(-9, 9, 3))  # fmt: skip


def pixels(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, 1, 8, 8))
