# SPDX-License-Identifier: Apache-2.0
"""Input channel expansion (ICE, Yan, Zhou and Wong): several coarse copies of an image, for one or two steps.

    n = clip(floor(x Tq), 0, T)      clip(floor(x (Tq + 1)), 0, T)      clip(floor(x (Tq - 1)), 0, T)

each twice, so that C channels become 6 C, of the counts 0..T of a first layer that is trained for them. Copies with the
paper's printed T instead of Tq divide by zero at T = 1. The value n / Tq of a count sits in the first layer's weights.
To the hardware the result is an ordinary image of 1 or 2 bits. Equal copies add no knowledge, only work: an engine that
shall be fast takes `twins=1`, for which the first layer's kernels of equal copies may simply be added.
"""

from __future__ import annotations

import numpy as np

from ..errors import OneSpikeError

MOST_STEPS = 2
NOISE = 1e-6  # far below the distance of 8-bit pixels: x Tq falls below a whole number by no rounding of x
SPARE = 1.5  # Tq - T by default: 2.5 at T = 1, as in the paper


def ice(images: np.ndarray, steps: int, scale: float | None = None, *, twins: int = 2) -> np.ndarray:
    """Counts uint8 [N, 3 * twins * C, H, W] of images [N, C, H, W] in 0..1; steps: T, 1 or 2; scale: Tq, above 1.

    Copies of all channels lie behind one another, first those of Tq, Tq + 1, Tq - 1, then the same again. Raises
    OneSpikeError for other steps, scales and twins.
    """
    if isinstance(steps, bool) or steps not in range(1, MOST_STEPS + 1):
        raise OneSpikeError(f"ICE is for T = 1 or {MOST_STEPS} steps, not {steps!r}; give more steps plain images.")
    scale = steps + SPARE if scale is None else scale
    if not np.isfinite(scale) or scale <= 1:
        raise OneSpikeError(f"The scale Tq of ICE must be above 1, as Tq - 1 is one of the copies, not {scale!r}.")
    if twins not in (1, 2):
        raise OneSpikeError(f"ICE makes every copy once or twice, not {twins!r} times.")
    exact = np.asarray(images, np.float64)
    copies = [np.clip(np.floor(exact * per + NOISE), 0, steps) for per in (scale, scale + 1, scale - 1)]
    return np.concatenate(copies * twins, axis=1).astype(np.uint8)
