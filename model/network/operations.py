# SPDX-License-Identifier: Apache-2.0
"""Operations of a network on given images: dense MACs, events, additions with radix and with unary spikes, neurons.

Every number is counted, none is estimated. Conventions:

* A dense MAC is counted for every tap of every output place, padding included, as the literature does; maps before
  the pool. A depthwise kernel has K * K * C a place: zeros between the groups of a source are no weights, and count
  nowhere. A source that only copies (a shortcut: 1x1, at most one weight per channel; a pool: a kernel of ones per
  channel) multiplies in no dense network and counts no MAC.
* An event is a multiple of one weight added into one output channel: a lane's work in one cycle. It is one addition,
  or two, if the multiple is 3 or 5. Padding costs none, except a stored border: the image's pad code has events like
  any pixel. Weights of zero inside a group count: lanes add them beside others.
* The image is binary in every row: its pixels come as direct 8-bit values, whatever the hidden layers' code is.
* The equivalent quantised network does the dense MACs on ceil(log2(top + 1))-bit activations. One that skips zero
  activations does `macs_nonzero`: the honest rival of any event-driven machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError
from ..system import parallel
from . import codes as coding
from . import golden
from .codes import MULTIPLES
from .membranes import require_one_step
from .spec import INPUT, Layer, Source, SpikeNet
from .spread import spread
from .storage import Storage, hidden

CHUNK = 64  # images at a time, per thread: bounds the memory that the kept tensors need


@dataclass(frozen=True, kw_only=True)
class LayerOperations:
    """Counts of one layer, summed over all images.

    neurons: outputs that fire or not, after the pool (or logits). neuron_operations: thresholds evaluated, before the
    pool. neurons_fired: outputs that are not 0. spikes_radix, spikes_unary: spikes of the layer's output, in binary and
    as counts; none in the last layer, which does not fire. activation_bits: of the equivalent quantised network's
    widest input.
    """

    name: str
    macs: int
    macs_nonzero: int
    events_radix: int
    additions_radix: int
    additions_unary: int
    spikes_radix: int
    spikes_unary: int
    neurons: int
    neuron_operations: int
    neurons_fired: int
    activation_bits: int
    weight_bits: int


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Counts per layer over `images` images; the properties are totals over the layers, per image."""

    images: int
    image_code: str
    layers: tuple[LayerOperations, ...]

    def total(self, name: str) -> float:
        """Sum of one count over the layers, per image."""
        return float(sum(getattr(layer, name) for layer in self.layers) / self.images)

    @property
    def dense_macs(self) -> float:
        return self.total("macs")

    @property
    def macs_nonzero(self) -> float:
        return self.total("macs_nonzero")

    @property
    def events_radix(self) -> float:
        return self.total("events_radix")

    @property
    def additions_radix(self) -> float:
        return self.total("additions_radix")

    @property
    def additions_unary(self) -> float:
        return self.total("additions_unary")

    @property
    def spikes_radix(self) -> float:
        return self.total("spikes_radix")

    @property
    def spikes_unary(self) -> float:
        return self.total("spikes_unary")

    @property
    def spike_rate(self) -> float:
        """Share of hidden outputs that are not 0."""
        hidden = self.layers[:-1]
        return sum(n.neurons_fired for n in hidden) / max(1, sum(n.neurons for n in hidden))


def count(
    net: SpikeNet,
    images: np.ndarray | Mapping[str, np.ndarray],
    *,
    image_code: str = "signed",
    multiples: tuple[int, ...] = MULTIPLES[-1],
) -> Operations:
    """Count the operations of images, as `pixels.py` says, or of all tensors' codes as `golden.run` gives them.

    image_code: "signed" (digits, the engine's default for pixels of five bits and more), "radix" (plain binary) or
    "twos" (less half the range). multiples: the engine's.
    """
    require_one_step(net, "Counting events")
    if image_code not in coding.DIGIT_CODES:
        raise OneSpikeError(f"The image code must be 'radix', 'signed' or 'twos', not {image_code!r}.")
    if len(images[INPUT] if isinstance(images, Mapping) else images) == 0:
        raise OneSpikeError("There is nothing to count: give at least one image.")
    if isinstance(images, Mapping):
        given = {name: np.asarray(values) for name, values in images.items()}
    else:
        given = {INPUT: net.image.quantise(images)}
    total = len(given[INPUT])

    def part(start: int) -> list[dict[str, int]]:
        tensors = {name: values[start : start + CHUNK] for name, values in given.items()}
        if not isinstance(images, Mapping):
            tensors = golden.run(net, tensors[INPUT], layers=True).codes
        return _count(net, tensors, image_code, multiples)

    parts = parallel.each(part, range(0, total, CHUNK))
    layers = []
    for index, layer in enumerate(net.layers):
        sums = {name: sum(part[index][name] for part in parts) for name in parts[0][index]}
        bits = max(net.value_bits(source.tensor) for source in layer.sources)
        layers.append(
            LayerOperations(
                name=layer.name,
                macs=total * dense_macs(net, layer),
                neurons=total * math.prod(net.shapes[layer.name]),
                neuron_operations=total * math.prod(net.conv_shapes[layer.name]),
                activation_bits=bits,
                weight_bits=net.weight_bits,
                **sums,
            )
        )
    return Operations(images=total, image_code=image_code, layers=tuple(layers))


def is_copy(source: Source) -> bool:
    """Whether the source only scales channels one by one, as a shortcut, or adds up their places, as a pool: there a
    dense network multiplies nothing.
    """
    weights = source.weights
    if source.in_channels == 1 or np.count_nonzero(weights.any((2, 3)), axis=1).max() > 1:
        return False
    return weights.shape[2:] == (1, 1) or (source.shift == 0 and bool(((weights == 0) | (weights == 1)).all()))


def dense_macs(net: SpikeNet, layer: Layer) -> int:
    """MACs of one image in the dense network, padding included."""
    _, height, width = net.conv_shapes[layer.name]
    return sum(height * width * source.weights.size for source in layer.sources if not is_copy(source))


def cover(size: int, kernel: int, starts: Sequence[int], dilation: int) -> np.ndarray:
    """How often each of `size` coordinates is read by kernels that begin at `starts` (taps outside are skipped)."""
    taps = np.asarray(starts)[:, None] + dilation * np.arange(kernel)
    return np.bincount(taps[(taps >= 0) & (taps < size)], minlength=size)


def reads(
    values: np.ndarray, source: Source, rows: Sequence[int], columns: Sequence[int], pad: np.ndarray | None = None
) -> int:
    """Sum of values [N, C, H, W] over output places rows x columns, their taps and channels.

    pad: value per channel of a stored border, whose taps count; without one, taps outside the map are skipped.
    """
    values = spread(values, source, 2)
    (top, bottom, left, right), n = source.padding, len(values)
    if pad is not None and pad.any() and any(source.padding):
        bordered = np.empty((n, len(pad), values.shape[2] + top + bottom, values.shape[3] + left + right), np.int64)
        bordered[:] = pad.reshape(1, -1, 1, 1)
        bordered[:, :, top : top + values.shape[2], left : left + values.shape[3]] = values
        values, top, left = bordered, 0, 0
    _, _, kernel_h, kernel_w = source.weights.shape
    (step_y, step_x), (gap_y, gap_x) = source.stride, source.dilation
    tall = cover(values.shape[2], kernel_h, [y * step_y - top for y in rows], gap_y)
    wide = cover(values.shape[3], kernel_w, [x * step_x - left for x in columns], gap_x)
    return int(tall @ values.sum((0, 1), dtype=np.int64) @ wide)


def work_maps(
    net: SpikeNet, tensor: str, values: np.ndarray, image_code: str, multiples: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Per value: whether it is `nonzero`, and the `events` and `additions` that it costs, with radix and unary spikes.

    Of an engine with these multiples that holds values in binary (`storage.py`). A unary spike is one event and one
    addition; the image is the same for both. read: whether the value is stored as anything but 0, so that its weights
    are read.
    """
    image = tensor == INPUT
    offset = 1 << net.image.bits - 1 if image and image_code == "twos" else 0
    pixels = Storage(image_code, net.top_code[tensor] - offset)
    held = pixels if image else hidden(net, net.by_name[tensor], multiples)
    stored = values.astype(np.int64) - offset if offset else values
    events, added = (
        cost(stored, held.code, held.top, multiples, held.levels) for cost in (coding.spikes, coding.additions)
    )
    ones = np.abs(values)
    pixel_events, pixel_added = events, added
    if image and coding.multiplies(multiples):  # the literal network has no multipliers
        pixel_events, pixel_added = (
            cost(stored, held.code, held.top, MULTIPLES[-1]) for cost in (coding.spikes, coding.additions)
        )
    unary = {"events_unary": pixel_events if image else ones, "additions_unary": pixel_added if image else ones}
    return {"nonzero": values != 0, "read": stored != 0, "events_radix": events, "additions_radix": added, **unary}


def _count(
    net: SpikeNet, tensors: Mapping[str, np.ndarray], image_code: str, multiples: tuple[int, ...]
) -> list[dict[str, int]]:
    """Per layer the counts that depend on the data."""
    maps = {name: work_maps(net, name, np.asarray(v), image_code, multiples) for name, v in tensors.items()}
    border = work_maps(net, INPUT, np.array(net.image.pad_code), image_code, multiples)
    result = []
    for layer in net.layers:
        _, height, width = net.conv_shapes[layer.name]
        totals = dict.fromkeys(border, 0)
        for source in layer.sources:
            for kind in totals:
                if kind == "nonzero" and is_copy(source):
                    continue
                pad = border[kind] if source.tensor == INPUT else None
                found = reads(maps[source.tensor][kind], source, range(height), range(width), pad)
                totals[kind] += source.fan_out * found
        fired = tensors.get(layer.name)
        result.append(
            {
                "macs_nonzero": totals["nonzero"],
                **{name: totals[name] for name in ("events_radix", "additions_radix", "additions_unary")},
                "spikes_radix": int(np.bitwise_count(fired).sum(dtype=np.int64)) if fired is not None else 0,
                "spikes_unary": int(np.abs(fired).sum(dtype=np.int64)) if fired is not None else 0,
                "neurons_fired": int(np.count_nonzero(fired)) if fired is not None else 0,
            }
        )
    return result
