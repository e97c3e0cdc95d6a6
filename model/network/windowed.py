# SPDX-License-Identifier: Apache-2.0
"""The integer network of windows and fused membranes (experimental), and what it computes: `WindowNet.run`.

In every layer the windows of `windows.py` run one after the other: 3x3 sums over the spikes inside a window, which sees
zeros around it, then the neurons of `model/neurons/fusion.py`. Their spikes are condensed to one map, and an OR over
2x2 places follows some layers. So one timestep is `groups` passes, one behind another. Not a network that the engine
runs: `hw/engine/fusion.py` has the neurons alone.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from ..neurons.fusion import LEAK_BITS, TURN, fusion
from ..system import bounded
from ..system.files import write_atomically
from . import fields
from .windows import GROUPS, condense, cut, regions

WHITE = 255  # of a pixel
MOST_PLACES = 1 << 26  # of an image with its padding
MOST_THRESHOLD = 1 << 40
FORMAT = "onespike windows 1"
PLAIN = ("lift", "leak", "threshold", "dilated", "opens", "pool")  # of a layer, as JSON


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowLayer:
    """weights: integers [O, C, 3, 3], on the layer before. shortcut: [O, C0, 1, 1] on what its block reads, or None;
    opens: whether a block begins with this layer. lift: bits that the sum of `weights` is shifted by to the left, where
    the shortcut reads pixels, whose weights are so much finer. bias, shift: [O], as in `neurons.fusion`. leak,
    threshold: integers. dilated: its windows. pool: 2 for an OR over 2x2 places behind it, else 1.
    """

    weights: np.ndarray
    shortcut: np.ndarray | None
    lift: int
    bias: np.ndarray
    shift: np.ndarray
    leak: int
    threshold: int
    dilated: bool
    opens: bool
    pool: int

    def check(self, inputs: int, block: int) -> None:
        """The same as `WindowNet.check` says. inputs: channels before; block: those that a shortcut reads, or 0."""
        for name, ndim in (("weights", 4), ("shift", 1), ("bias", 1)):
            fields.integers(getattr(self, name), np.int32, f"A layer's {name}", ndim)
        if self.shortcut is not None:
            fields.integers(self.shortcut, np.int32, "A shortcut", 4)
        outputs = len(self.bias)
        fitting = [self.weights.shape == (outputs, inputs, 3, 3), self.shift.shape == (outputs,), outputs > 0,
                   self.shortcut is None or (block > 0 and self.shortcut.shape == (outputs, block, 1, 1))]  # fmt: skip
        leak, lift, pool = (fields.whole(getattr(self, name), f"A layer's {name}") for name in ("leak", "lift", "pool"))
        if not all(fitting) or pool not in (1, 2) or not 0 <= leak <= 1 << LEAK_BITS:
            raise ValueError("shapes, pool or leak of a layer do not fit")
        if not 0 <= lift <= 16 or type(self.dilated) is not bool or type(self.opens) is not bool:
            raise ValueError("a lift must be in 0..16, and dilated and opens true or false")
        threshold = fields.whole(self.threshold, "A layer's threshold", MOST_THRESHOLD)
        if not threshold > 0 or abs(self.shift).max() > 40:
            raise ValueError("a threshold must be positive, and shifts be in -40..40")


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowRun:
    """sums, spikes, membranes (phases) of every layer [groups, N, O, h, w], maps [N, O, H, W] that it hands on, and
    logits [N, classes].
    """

    sums: list[np.ndarray]
    spikes: list[np.ndarray]
    membranes: list[np.ndarray]
    maps: list[np.ndarray]
    logits: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """The class of each image."""
        return self.logits.argmax(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowNet:
    """groups: windows. fraction: F, bits of a membrane behind the point. pad: zeros around the image. image: its shape.
    weights, bias: of the linear layer, on the number of spikes of each channel.
    """

    groups: int
    fraction: int
    pad: int
    image: tuple[int, int, int]
    layers: Sequence[WindowLayer]
    weights: np.ndarray
    bias: np.ndarray

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """Whole numbers 0..255 of images [N, C, H, W] in 0..1, rounded to the nearest."""
        return np.rint(np.clip(images, 0, 1) * WHITE).astype(np.int64)

    def run(self, pixels: np.ndarray) -> WindowRun:
        """What images of whole numbers [N, C, H, W], 0..255, lead to, layer by layer."""
        if pixels.shape[1:] != self.image:
            raise OneSpikeError(f"The network takes images of {self.image}, not of {pixels.shape[1:]}.")
        maps = np.pad(pixels, ((0, 0), (0, 0), (self.pad, self.pad), (self.pad, self.pad)))
        found: dict[str, list[np.ndarray]] = {"sums": [], "spikes": [], "membranes": [], "maps": []}
        before: np.ndarray | None = None
        block = maps
        for layer in self.layers:
            height, width = maps.shape[2:]
            places = regions(height, width, self.groups, layer.dilated)
            if layer.opens:
                block = maps
            sums = (summed(cut(maps, places), layer.weights) << layer.lift) + layer.bias[:, None, None]
            if layer.shortcut is not None:
                sums += summed(cut(block, places), layer.shortcut)
            if before is not None and before.shape != sums.shape:
                before = None
            spikes, before = self._fire(layer, sums, before)
            maps = condense(spikes, places, height, width)
            if layer.pool > 1:
                cells = (height // layer.pool, layer.pool, width // layer.pool, layer.pool)
                maps = maps.reshape(*maps.shape[:2], *cells).max((3, 5))
            for name, value in zip(found, (sums, spikes, before, maps), strict=True):
                found[name].append(value)
        logits = maps.sum((2, 3)) @ self.weights.T + self.bias
        return WindowRun(**found, logits=logits)

    def _fire(
        self, layer: WindowLayer, sums: np.ndarray, before: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Spikes and membranes of all windows, one after the other."""
        spikes, membranes = [], []
        own = np.zeros(sums.shape[1:], np.int64)
        for window, coming in enumerate(sums):
            fired, own = fusion(
                coming, layer.shift[:, None, None], own, 0 if before is None else before[window],
                leak=layer.leak, threshold=layer.threshold, fraction=self.fraction,
            )  # fmt: skip
            spikes.append(fired.astype(np.int64))
            membranes.append(own)
        return np.stack(spikes), np.stack(membranes)

    @property
    def membrane_bits(self) -> int:
        """Of the largest layer's membranes, in all windows: what the hardware keeps."""
        height, width = (side + 2 * self.pad for side in self.image[1:])
        most = 0
        for layer in self.layers:
            places = regions(height, width, self.groups, layer.dilated)
            most = max(most, len(layer.bias) * sum((r.stop - r.start) * (c.stop - c.start) for r, c in places))
            height, width = height // layer.pool, width // layer.pool
        return most * (self.fraction + TURN)

    def save(self, path: str | Path) -> None:
        """Write a NumPy archive."""
        buffer = io.BytesIO()
        arrays: dict[str, np.ndarray] = {"linear.weights": self.weights, "linear.bias": self.bias}
        layers: list[dict[str, Any]] = []
        for index, layer in enumerate(self.layers):
            layers.append({name: getattr(layer, name) for name in PLAIN})
            arrays |= {f"{index}.{name}": getattr(layer, name) for name in ("weights", "bias", "shift")}
            arrays |= {} if layer.shortcut is None else {f"{index}.shortcut": layer.shortcut}
        about = {"format": FORMAT, "groups": self.groups, "fraction": self.fraction, "pad": self.pad,
                 "image": self.image, "layers": layers}  # fmt: skip
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(Path(path), buffer.getvalue())

    @staticmethod
    def load(path: str | Path) -> WindowNet:
        """What `save` wrote; OneSpikeError for another or a damaged file."""
        try:
            with bounded.opened(Path(path)) as (file, size):
                archive = bounded.Archive(file, size)
                arrays = {name.removesuffix(".npy"): archive.array(name.removesuffix(".npy")) for name in archive.names}
            about = json.loads(bytes(arrays["about"]))
            if about.pop("format") != FORMAT:
                raise ValueError("another format")
            layers = []
            for index, own in enumerate(about.pop("layers")):
                found: dict[str, Any] = {name: arrays[f"{index}.{name}"] for name in ("weights", "bias", "shift")}
                layers.append(WindowLayer(**own, **found, shortcut=arrays.get(f"{index}.shortcut")))
            net = WindowNet(**{**about, "image": tuple(about["image"])}, layers=layers,
                            weights=arrays["linear.weights"], bias=arrays["linear.bias"])  # fmt: skip
        except (bounded.Damaged, KeyError, TypeError, ValueError, AttributeError, RecursionError) as reason:
            raise _broken(path, reason) from None
        try:
            net.check()
        except (OneSpikeError, ValueError, TypeError) as reason:
            raise _broken(path, reason) from None
        return net

    def check(self) -> None:
        """ValueError where the numbers cannot be those of a network; OneSpikeError where one has the wrong type."""
        sides = fields.wholes(self.image, "the image", 3)
        fixed = [fields.whole(getattr(self, name), f"The {name}") for name in ("groups", "fraction", "pad")]
        if fixed[0] not in GROUPS or not 1 <= fixed[1] <= 16 or not 0 <= fixed[2] <= 64 or not self.layers:
            raise ValueError("groups, fraction, padding or layers out of range")
        height, width = (side + 2 * self.pad for side in sides[1:])
        if min(sides) < 1 or sides[0] * height * width > MOST_PLACES:
            raise ValueError(f"an image of {sides} with its padding has no places, or more than {MOST_PLACES:,}")
        inputs = block = sides[0]
        shape = None  # of the map that the block reads
        for layer in self.layers:
            if shape is None or layer.opens:
                block, shape = inputs, (height, width)
            layer.check(inputs, block if shape == (height, width) else 0)
            regions(height, width, self.groups, layer.dilated)  # OneSpikeError where the map does not divide
            if height % layer.pool or width % layer.pool:
                raise ValueError(f"a map of {height} x {width} does not divide into cells of {layer.pool}")
            height, width = height // layer.pool, width // layer.pool
            inputs = len(layer.bias)
        for name, ndim in (("weights", 2), ("bias", 1)):
            fields.integers(getattr(self, name), np.int32, f"The linear layer's {name}", ndim)
        if self.weights.shape[1] != inputs or self.bias.shape != self.weights.shape[:1] or not self.bias.size:
            raise ValueError("the linear layer does not fit")


def _broken(path: str | Path, reason: Exception) -> OneSpikeError:
    told = bounded.shown(f"{type(reason).__name__}: {str(reason).rstrip('.')}")
    return OneSpikeError(
        f"{path} is no network of windows ({told}); write it again with `onespike train --method windows`."
    )


def summed(maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Integer convolution of maps [groups, N, C, h, w] with weights [O, C, k, k], zeros around each window."""
    kernel = weights.shape[-1]
    around = kernel // 2
    padded = np.pad(maps, ((0, 0),) * 3 + ((around, around),) * 2).astype(np.float64)
    assert math.prod(weights.shape[1:]) * WHITE * 2**15 < 2**53, "sums would not be exact"
    seen = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (-2, -1))
    found = np.tensordot(seen, weights.astype(np.float64), axes=((2, 5, 6), (1, 2, 3)))
    return np.moveaxis(np.rint(found).astype(np.int64), -1, 2)
