# SPDX-License-Identifier: Apache-2.0
"""The integer network as a NIR graph: one timestep, and as many binary neurons for a value as it has spikes.

A count clip(sum >> k, 0, g) is the sum of g neurons that fire where the sum exceeds i * 2**k - 1/2, i = 1..g; edges
that meet in a node add up. The maximum of counts is, neuron by neuron, whether any of a window fired. So networks are
exact in NIR's own primitives: Conv2d, Affine, Threshold, SumPool2d and Flatten. Groups become zeros of a dense kernel:
nir 1.0 takes the channels of one group for all of a Conv2d's input, and reads no graph that has more.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import nir
import numpy as np

from ..errors import OneSpikeError
from ..frontend.nir_import import IMAGE_KEY
from ..network.membranes import require_one_step
from ..network.spec import INPUT, Layer, Pool, Source, SpikeNet
from ..network.spread import require_size
from ..system.files import write_atomically

MAX_GROUPS = 64
MAX_THRESHOLDS = 1 << 26  # NIR stores one for every neuron


def export_nir(net: SpikeNet, path: str | Path) -> None:
    """Write `to_nir(net)` to an HDF5 file, whole or not at all."""
    contents = io.BytesIO()  # HDF5 on a full disk fails in ways of its own
    nir.write(contents, to_nir(net))
    write_atomically(path, contents.getvalue())


def to_nir(net: SpikeNet) -> nir.NIRGraph:
    """The NIR graph: codes [C, H, W] of one image in, integer logits out, in one timestep without state.

    Raises OneSpikeError for values that are no counts from 0 on, for more than 64 groups and for kernels that NIR's
    square-kernel shape rule cannot hold.
    """
    require_one_step(net, "Our NIR graph")
    require_size(net, "Our NIR graph")
    net.require_counts("NIR, whose thresholds give 0 or 1,", "export QONNX")
    writer = _Writer(net)
    for layer in net.layers:
        writer.layer(layer)
    facts = {"bits": net.image.bits, "scale": net.image.scale, "offset": net.image.offset}
    return nir.NIRGraph(nodes=writer.nodes, edges=writer.edges, metadata={IMAGE_KEY: json.dumps(facts)})


class _Writer:
    """Collects nodes and edges.

    spikes: for every tensor, the nodes whose sum it is. flat: layers that are matrix products and give (channels), as
    all their readers are, too: NIR can flatten a map, but not make one.
    """

    def __init__(self, net: SpikeNet) -> None:
        self.net = net
        # Thresholds lie half a unit beside whole numbers: one bit more than the accumulator's.
        self.dtype = np.float32 if net.accumulator_bits <= 24 else np.float64
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[tuple[str, str]] = []
        self._node(INPUT, nir.Input(input_type=np.array(net.image.shape)), [])
        self.spikes = {INPUT: [INPUT]}
        self.flat: set[str] = set()
        for layer in reversed(net.layers):
            readers = [r.name for r in net.layers if any(source.tensor == layer.name for source in r.sources)]
            covered = all(self._covers(source) for source in layer.sources)
            if covered and layer.pool is None and self.flat.issuperset(readers):
                self.flat.add(layer.name)

    def layer(self, layer: Layer) -> None:
        """The nodes of one layer."""
        shape = self.net.conv_shapes[layer.name]
        name = layer.name.replace("/", "%2F")  # HDF5 reads it as a folder
        dense = layer.name in self.flat
        bias = layer.bias.astype(np.float64)
        sums = []
        for index, source in enumerate(layer.sources):
            weights = (source.dense.astype(np.int64) << source.shift).astype(np.float64)
            readers, pad = self.spikes[source.tensor], np.array(self.net.image.pad_code)
            if source.tensor == INPUT and any(source.padding) and pad.any():  # zeros then stand for the pad code
                readers, bias = [self._centred(pad)], bias + weights.sum((2, 3)) @ pad
            offset = bias if index == len(layer.sources) - 1 else np.zeros_like(bias)
            if dense:
                sums.append(self._dense(f"{name}.sum{index}", weights, offset, source, readers))
            else:
                height, width = self.net.shapes[source.tensor][1:]
                node = self._conv(layer.name, weights, offset, source, (height, width))
                sums.append(self._node(f"{name}.sum{index}", node, readers))
        if not layer.fires:
            self._finish(name, sums, dense)
            return
        size = shape[:1] if dense else shape
        self._refuse_large(layer, shape)
        fired = []
        for spike in range(1, layer.groups + 1):
            level = spike * np.ldexp(1.0, layer.shift.astype(int)) - 0.5
            threshold = np.broadcast_to(level.reshape(-1, *[1] * (len(size) - 1)), size).astype(self.dtype)
            fired.append(self._node(f"{name}.spike{spike}", nir.Threshold(threshold=threshold), sums))
        self.spikes[layer.name] = fired if layer.pool is None else self._pooled(layer, layer.pool, name, fired)

    def _refuse_large(self, layer: Layer, shape: tuple[int, int, int]) -> None:
        count = layer.groups * int(np.prod(shape))
        if layer.groups > MAX_GROUPS or count > MAX_THRESHOLDS:
            raise OneSpikeError(
                f"Layer {layer.name!r} has {layer.groups} spikes for each of {int(np.prod(shape)):,} values; NIR needs "
                f"a neuron for every one, at most {MAX_GROUPS} for a value and {MAX_THRESHOLDS:,} in all, so export "
                f"QONNX or convert with fewer groups."
            )

    def _pooled(self, layer: Layer, pool: Pool, name: str, fired: list[str]) -> list[str]:
        """Sums of all neurons, or for a maximum, per neuron, whether its sum reaches one."""
        channels, height, width = self.net.conv_shapes[layer.name]
        if pool.kind == "sum":
            return [self._node(f"{name}.pool", self._pool(layer.name, pool, channels, (height, width)), fired)]
        level = np.full(self.net.shapes[layer.name], 0.5, self.dtype)
        pooled = []
        for index, neuron in enumerate(fired, 1):
            node = self._pool(layer.name, pool, channels, (height, width))
            window = self._node(f"{name}.pool{index}", node, [neuron])
            pooled.append(self._node(f"{name}.any{index}", nir.Threshold(threshold=level), [window]))
        return pooled

    def _pool(self, name: str, pool: Pool, channels: int, size: tuple[int, int]) -> nir.NIRNode:
        """The sum of a window; where the padding is uneven, as a convolution with ones."""
        top, bottom, left, right = pool.padding
        if (top, left) == (bottom, right):
            sides, steps = np.array(pool.kernel), np.array(pool.stride)
            return nir.SumPool2d(kernel_size=sides, stride=steps, padding=np.array((top, left)))
        ones = np.eye(channels, dtype=int)[:, :, None, None] * np.ones(pool.kernel, int)
        source = Source(tensor=INPUT, weights=ones, stride=pool.stride, padding=pool.padding)
        return self._conv(name, ones.astype(float), np.zeros(channels), source, size)

    def _conv(
        self, name: str, weights: np.ndarray, bias: np.ndarray, source: Source, size: tuple[int, int]
    ) -> nir.Conv2d:
        """A convolution whose kernel zeros make square and equally padded on both sides, as NIR wants it."""
        taps = [(side - 1) * gap + 1 for side, gap in zip(weights.shape[2:], source.dilation, strict=True)]
        ends = (source.padding[:2], source.padding[2:])
        most = [max(pair) for pair in ends]
        sides = [tap + 2 * pad - sum(pair) for tap, pad, pair in zip(taps, most, ends, strict=True)]
        gap = abs(sides[0] - sides[1])
        if gap % 2:
            raise OneSpikeError(
                f"Layer {name!r}: a kernel of {taps[0]}x{taps[1]} taps with padding {source.padding} has no square "
                f"form, which the shape rule of NIR needs; export QONNX instead."
            )
        most[int(sides[0] > sides[1])] += gap // 2
        side = max(sides)
        full = np.zeros((*weights.shape[:2], side, side))
        top, left = most[0] - source.padding[0], most[1] - source.padding[2]
        rows = slice(top, top + taps[0], source.dilation[0])
        full[:, :, rows, left : left + taps[1] : source.dilation[1]] = weights
        return nir.Conv2d(
            input_shape=size,
            weight=full.astype(self.dtype),
            stride=source.stride,
            padding=(most[0], most[1]),
            dilation=1,
            groups=1,
            bias=bias.astype(self.dtype),
        )

    def _dense(self, name: str, weights: np.ndarray, bias: np.ndarray, source: Source, readers: list[str]) -> str:
        """A matrix product, behind a Flatten where its input is a map."""
        shape = self.net.shapes[source.tensor]
        if source.tensor not in self.flat:
            flat = nir.Flatten(input_type={"input": np.array(shape)}, start_dim=0)
            readers = [self._node(f"{name}.flat", flat, readers)]
        matrix = weights.reshape(len(weights), -1).astype(self.dtype)
        return self._node(name, nir.Affine(weight=matrix, bias=bias.astype(self.dtype)), readers)

    def _covers(self, source: Source) -> bool:
        """Whether the kernel lies on the whole map once: a matrix product."""
        return source.dense.shape[1:] == self.net.shapes[source.tensor] and not any(source.padding)

    def _centred(self, pad: np.ndarray) -> str:
        """The image less its pad code."""
        name = f"{INPUT}.centred"
        if name not in self.nodes:
            channels, height, width = self.net.image.shape
            same = Source(tensor=INPUT, weights=np.eye(channels, dtype=int)[:, :, None, None])
            node = self._conv(INPUT, same.weights.astype(float), -pad.astype(float), same, (height, width))
            self._node(name, node, [INPUT])
        return name

    def _finish(self, name: str, sums: list[str], dense: bool) -> None:
        shape = self.net.conv_shapes[self.net.layers[-1].name]
        if not dense:
            flat = nir.Flatten(input_type={"input": np.array(shape)}, start_dim=0)
            sums = [self._node(f"{name}.flat", flat, sums)]
        self._node("output", nir.Output(output_type=np.array((self.net.classes,))), sums)

    def _node(self, name: str, node: nir.NIRNode, readers: list[str]) -> str:
        self.nodes[name] = node
        self.edges += [(reader, name) for reader in readers]
        return name
