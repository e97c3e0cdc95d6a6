# SPDX-License-Identifier: Apache-2.0
"""The bit-exact golden model: what the hardware must answer, integer for integer, and fast.

The sums run through floating-point matrix multiplication, which is exact here: every partial sum of a layer lies
within `SpikeNet.accumulator_range`, and integers below 2**24 (float32) or 2**53 (float64) are exact in any order
of addition. Weights are scaled by 2**-shift beforehand, which changes exponents only. Chunks of images that one core's
cache holds run on as many threads as there are cores (`parallel`), with the same result for any number.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from ..errors import OneSpikeError
from ..neurons.psg import psg
from ..system import parallel
from . import grouped
from .membranes import require_one_step
from .spec import INPUT, Layer, Pool, Source, SpikeNet
from .spread import spread

if TYPE_CHECKING:
    from .operations import Operations

CHUNK_BYTES = 1 << 21  # of gathered inputs: what stays in the cache of one core


@dataclass(kw_only=True)
class Result:
    """logits int64 [N, classes]; codes: per tensor the values (counts, or levels of a table), integers of `code_type`
    [N, C, H, W], the image included, after its pool.

    trains: per firing layer the literal PSG spikes (eq. 11) before its pool, uint64 [N, C, H, W], bit i - 1 is s_i.
    operations: what `SpikeNet.golden(operations=True)` counted.
    """

    logits: np.ndarray
    codes: dict[str, np.ndarray] = field(default_factory=dict)
    trains: dict[str, np.ndarray] = field(default_factory=dict)
    operations: Operations | None = None


def code_type(low: int, top: int) -> type[np.integer]:
    """The dtype of values low..top: uint16, or uint32 for sums of a pool that need it; int32 where they have a sign."""
    if low < 0:
        return np.int32
    return np.uint16 if top < 1 << 16 else np.uint32


@overload
def run(
    net: SpikeNet,
    codes: np.ndarray,
    *,
    layers: Literal[False] = False,
    trains: Literal[False] = False,
    progress: Callable[[int], None] | None = None,
    threads: int | None = None,
) -> np.ndarray: ...


@overload
def run(
    net: SpikeNet,
    codes: np.ndarray,
    *,
    layers: Literal[True],
    trains: bool = False,
    progress: Callable[[int], None] | None = None,
    threads: int | None = None,
) -> Result: ...


@overload
def run(
    net: SpikeNet,
    codes: np.ndarray,
    *,
    layers: bool = False,
    trains: Literal[True],
    progress: Callable[[int], None] | None = None,
    threads: int | None = None,
) -> Result: ...


@parallel.takes_threads
def run(
    net: SpikeNet,
    codes: np.ndarray,
    *,
    layers: bool = False,
    trains: bool = False,
    progress: Callable[[int], None] | None = None,
    threads: int | None = None,
) -> np.ndarray | Result:
    """Logits int64 [N, classes] of image codes [N, C, H, W]; with `layers` or `trains` a `Result`.

    progress: gets the number of images of every chunk that is done, in order. threads: how many work, by default what
    `parallel.count` says. Raises OneSpikeError for codes that are not the network's, and sums beyond 53 bits.
    """
    require_one_step(net, "This golden model")
    codes = np.asarray(codes)
    if codes.shape[1:] != net.image.shape or codes.ndim != 4 or not np.issubdtype(codes.dtype, np.integer):
        raise OneSpikeError(
            f"Image codes must be integers (N, {net.image.shape}), not {codes.dtype} {codes.shape}; "
            f"`net.image.quantise` makes them of images."
        )
    if codes.size and (codes.min() < 0 or codes.max() > net.top_code[INPUT]):
        raise OneSpikeError(f"Image codes must lie in 0..{net.top_code[INPUT]}.")
    plan = _plan(net)
    logits = np.empty((len(codes), net.classes), np.int64)
    empty = np.empty((0, 1, 1, 1), np.uint64)
    kept = {
        name: np.empty((len(codes), *shape), code_type(*net.ranges[name]))
        for name, shape in net.shapes.items()
        if layers and name != net.layers[-1].name
    }
    spikes: dict[str, np.ndarray] = {}
    if trains:
        net.require_counts("A spike train (eq. 11)", "ask for layers instead of trains")
        for layer in net.layers[:-1]:
            if layer.groups > 64:
                raise OneSpikeError(f"Layer {layer.name!r}: spike trains hold at most 64 groups, not {layer.groups}.")
            spikes[layer.name] = np.empty((len(codes), *net.conv_shapes[layer.name]), np.uint64)

    def chunk(part: slice) -> int:
        image: np.ndarray = np.ascontiguousarray(codes[part].transpose(0, 2, 3, 1)).astype(plan.dtype)
        tensors: dict[str, np.ndarray] = {INPUT: image}
        for layer in net.layers:
            tensors[layer.name] = _layer(layer, plan, tensors, spikes.get(layer.name, empty)[part])
            for name in plan.dead_after[layer.name] if not layers else ():
                del tensors[name]
        logits[part] = tensors[net.layers[-1].name].transpose(0, 3, 1, 2).reshape(-1, net.classes)
        for name, out in kept.items():
            out[part] = tensors[name].transpose(0, 3, 1, 2)
        return part.stop - part.start

    parallel.each(chunk, _chunks(len(codes), plan.chunk), progress)
    return Result(logits=logits, codes=kept, trains=spikes) if layers or trains else logits


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is prepared once per network: scaled weight matrices, the float type that is exact, the chunk of images."""

    dtype: type
    chunk: int
    matrices: dict[tuple[str, int], np.ndarray]  # [(layer, source)] -> what `matrix_of` gives
    bias: dict[str, np.ndarray]
    pad: dict[str, np.ndarray]
    dead_after: dict[str, list[str]]


@functools.lru_cache(maxsize=8)
def _plan(net: SpikeNet) -> _Plan:
    # The range holds every partial sum: one more bit than its magnitude is never needed.
    bits = max(max(-low, high).bit_length() for low, high in map(net.accumulator_range, net.layers))
    if bits > 53:
        raise OneSpikeError(f"The accumulators need {bits} bits, more than the 53 that the golden model sums exactly.")
    dtype = np.float32 if bits <= 24 else np.float64
    matrices, bias, last_use, most = {}, {}, {}, 1
    for layer in net.layers:
        scale = np.ldexp(1.0, -layer.shift.astype(int))
        bias[layer.name] = (layer.bias * scale).astype(dtype)
        for index, source in enumerate(layer.sources):
            matrices[layer.name, index] = matrix_of(source, dtype, scale)
            last_use[source.tensor] = layer.name
            _, height, width = net.conv_shapes[layer.name]
            most = max(most, height * width * _gathered(source, height))
    dead: dict[str, list[str]] = {layer.name: [] for layer in net.layers}
    for tensor, user in last_use.items():
        dead[user].append(tensor)
    return _Plan(
        dtype=dtype,
        chunk=max(1, CHUNK_BYTES // (most * np.dtype(dtype).itemsize)),
        matrices=matrices,
        bias=bias,
        pad={INPUT: np.array(net.image.pad_code, dtype)},
        dead_after=dead,
    )


def _chunks(total: int, size: int) -> Iterator[slice]:
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def _layer(layer: Layer, plan: _Plan, tensors: dict[str, np.ndarray], trains: np.ndarray) -> np.ndarray:
    """Counts (or, in the last layer, accumulators) [n, H, W, C] of one layer, pooled; fills `trains` if not empty."""
    acc: np.ndarray | None = None
    for index, source in enumerate(layer.sources):
        part = accumulate(tensors[source.tensor], source, plan.matrices[layer.name, index], plan.pad.get(source.tensor))
        acc = part if acc is None else np.add(acc, part, out=acc)
    assert acc is not None
    bias = plan.bias[layer.name]
    if not layer.fires:
        return acc + bias
    if trains.size:
        exact = np.rint(np.ldexp((acc + bias).astype(np.float64), layer.shift.astype(int))).astype(np.int64)
        trains[:] = _trains(exact.transpose(0, 3, 1, 2), layer)
    if layer.pool is not None and layer.pool.kind == "max":
        acc = pool(acc, layer.pool)  # counting is monotone: the maximum of counts is the count of the maximum
    acc += bias
    # acc already carries 2**-shift: floor and clip are the count unit.
    if layer.levels is None:
        np.clip(acc, layer.low, layer.groups, out=acc)
        np.floor(acc, out=acc)
    else:  # thresholds are integers: no floor is needed to compare with them
        acc = layer.levels(acc)
    if layer.pool is not None and layer.pool.kind == "sum":
        acc = pool(acc, layer.pool)
    return acc


def _trains(acc: np.ndarray, layer: Layer) -> np.ndarray:
    """Literal PSG spikes uint64 of accumulators [n, C, H, W], theta = groups << shift."""
    out = np.empty(acc.shape, np.uint64)
    bits = np.arange(layer.groups, dtype=np.uint64)
    for shift in np.unique(layer.shift):
        chosen = layer.shift == shift
        spikes = psg(acc[:, chosen], layer.groups << int(shift), layer.groups)
        out[:, chosen] = (spikes.astype(np.uint64) << bits).sum(-1, dtype=np.uint64)
    return out


def _by_rows(source: Source, out_h: int) -> bool:
    """Whether one product per tap row pays: its inputs are shared, and long enough for a product of their own."""
    _, channels, kernel_h, kernel_w = source.weights.shape
    return source.stride[0] == 1 and kernel_h > 1 and out_h > 1 and kernel_w * channels >= 32


def _gathered(source: Source, out_h: int) -> int:
    """Values that `accumulate` holds for an output place at a time."""
    _, share, kernel_h, kernel_w = source.weights.shape
    if source.groups > 1 and share == 1:
        return source.in_channels
    return share * kernel_w * (1 if _by_rows(source, out_h) else kernel_h)


def matrix_of(source: Source, dtype: type, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """The weights times 2**shift * scale [out] for `accumulate`: [taps * in, out], one for each of several groups."""
    outputs, share, *kernel = source.weights.shape
    columns = source.weights.reshape(source.groups, -1, share, *kernel).transpose(0, 3, 4, 2, 1)
    scaled = np.broadcast_to(scale * 2.0**source.shift, outputs).reshape(source.groups, 1, -1)
    matrix = (columns.reshape(source.groups, math.prod(kernel) * share, -1) * scaled).astype(dtype)
    return matrix if source.groups > 1 else matrix[0]


def accumulate(codes: np.ndarray, source: Source, matrix: np.ndarray, pad: np.ndarray | None = None) -> np.ndarray:
    """Sums [n, H', W', out] of codes [n, H, W, in] under one source's kernel, as matrix products.

    matrix: as `matrix_of` gives it. pad: the value of each channel in the padding, 0 without.
    """
    top, bottom, left, right = source.padding
    out_h, out_w = source.output_shape(*codes.shape[1:3])
    codes = spread(codes, source)
    n, height, width, channels = codes.shape
    if any(source.padding):
        padded = np.zeros((n, height + top + bottom, width + left + right, channels), codes.dtype)
        if pad is not None and pad.any():
            padded[:] = pad
        padded[:, top : top + height, left : left + width] = codes
        codes = padded
    if matrix.ndim == 2:
        return _products(codes, source, matrix, (out_h, out_w))
    groups, share, own = len(matrix), channels // len(matrix), matrix.shape[2]
    if share == 1:
        return grouped.depthwise(codes, source, matrix, (out_h, out_w))
    total = np.empty((n, out_h, out_w, groups * own), matrix.dtype)
    for group in range(groups):
        inputs = codes[..., group * share : (group + 1) * share]
        total[..., group * own : (group + 1) * own] = _products(inputs, source, matrix[group], (out_h, out_w))
    return total


def _products(codes: np.ndarray, source: Source, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`accumulate` of padded codes that every output reads."""
    n, _, _, channels = codes.shape
    _, _, kernel_h, kernel_w = source.weights.shape
    out_h, out_w = size
    (step_y, step_x), (gap_y, gap_x) = source.stride, source.dilation
    sn, sy, sx, sc = codes.strides
    if _by_rows(source, out_h):
        # Gather the tap columns only, and add one product per tap row: a third of the copying of a 3x3 kernel.
        rows = np.lib.stride_tricks.as_strided(
            codes,
            (n, codes.shape[1], out_w, kernel_w, channels),
            (sn, sy, sx * step_x, sx * gap_x, sc),
            writeable=False,
        ).reshape(n, codes.shape[1], out_w, -1)
        parts = np.split(matrix, kernel_h)
        total = np.empty((n, out_h * out_w, matrix.shape[1]), matrix.dtype)
        for tap, part in enumerate(parts):
            inputs = rows[:, tap * gap_y : tap * gap_y + out_h].reshape(n, out_h * out_w, -1)
            if tap == 0:
                np.matmul(inputs, part, out=total)
            else:
                total += inputs @ part
        return total.reshape(n, out_h, out_w, -1)
    windows = np.lib.stride_tricks.as_strided(
        codes,
        (n, out_h, out_w, kernel_h, kernel_w, channels),
        (sn, sy * step_y, sx * step_x, sy * gap_y, sx * gap_x, sc),
        writeable=False,
    )
    # float32 columns: one copy gathers them, one product sums them.
    gathered = windows.reshape(n * out_h * out_w, kernel_h * kernel_w * channels)
    return (gathered @ matrix).reshape(n, out_h, out_w, -1)


def sums(layer: Layer, tensors: Mapping[str, np.ndarray], pad_code: tuple[int, ...]) -> np.ndarray | float:
    """Sums [n, H', W', out] of a layer, without its bias, over those sources whose tensors [n, H, W, C] are given.

    In the tensors' own float type, which must hold every sum exactly; 0.0 where none is given. pad_code: the image's.
    """
    total: np.ndarray | float = 0.0
    for source in layer.sources:
        if source.tensor in tensors:
            values = tensors[source.tensor]
            pad = np.array(pad_code, values.dtype) if source.tensor == INPUT else None
            total = total + accumulate(values, source, matrix_of(source, values.dtype.type), pad)
    return total


def pool(values: np.ndarray, pool: Pool) -> np.ndarray:
    """Maximum or sum over the windows of [n, H, W, C]."""
    _, height, width, _ = values.shape
    rows, columns = pool.windows(height, width)
    combine = np.maximum if pool.kind == "max" else np.add
    if all(len(r) == pool.kernel[0] for r in rows) and all(len(c) == pool.kernel[1] for c in columns):
        # Whole windows only: combine strided views, one per place of the window.
        (step_y, step_x), out = pool.stride, None
        for dy in range(pool.kernel[0]):
            for dx in range(pool.kernel[1]):
                y, x = rows[0].start + dy, columns[0].start + dx
                view = values[:, y : y + step_y * len(rows) : step_y, x : x + step_x * len(columns) : step_x]
                view = view[:, : len(rows), : len(columns)]
                out = view.copy() if out is None else combine(out, view, out=out)
        assert out is not None
        return out
    return np.stack(
        [
            np.stack([combine.reduce(values[:, r.start : r.stop, c.start : c.stop], axis=(1, 2)) for c in columns], 1)
            for r in rows
        ],
        1,
    )
