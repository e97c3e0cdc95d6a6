# SPDX-License-Identifier: Apache-2.0
"""Energy from counted events, always beside the dense, the unary and the quantised network. Two cost tables.

Both rest on M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, 45 nm, 0.9 V.

* OPERATIONS: arithmetic only, as the spiking papers do it: FP32 MAC 4.6 pJ and addition 0.9 pJ, INT8 MAC 0.23 pJ and
  addition 0.03 pJ. It flatters spikes: no memory, 8-bit sums.
* MEMORY: arithmetic at its real widths, and every bit read or written by the size of its memory.

The rivals run on an array with as many lanes and the same walk as the engine (each weight row serves L lanes, each
activation L lanes), so that only the coding differs. Of a kernel in groups they read and multiply no zeros between
groups, in full rows all the same, and read an activation once for every L of the outputs that need it. An event machine
reads a weight row once for every value that is not 0, however many events it has; one with row masks reads a mask with
every spike word, and no rows of zeros. An event of 3 or 5 times a weight is two additions, the first as wide as the
product. An engine that multiplies (`EngineConfig.arithmetic`) is charged its products, as wide as the values up to the
width of its multipliers, and an addition for each. Event machines read and write whole spike words, with their empty
places and with values that an unrolled image holds several times; rivals pack values without loss, and read each for
every tap. Nobody reads a border that is not stored.
Left out for all alike: clock, control, wires, leakage, the sequencer's tables, and the registers, whose bits are
counted but for which Horowitz has no figure. Everything lies on chip, so no DRAM is charged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, field

import numpy as np

from ...hw.config import EngineConfig
from ..mapping.image_codes import border_is_stored
from ..mapping.mapping import MappedLayer, Mapping
from ..mapping.unroll import walked
from ..network import golden
from ..network.operations import Operations, count, is_copy, reads, work_maps
from ..network.spec import INPUT
from .row_reads import RowReads

HOROWITZ = "M. Horowitz, Computing's energy problem, ISSCC 2014, 45 nm"
OPERATIONS_TABLE = f"operations only ({HOROWITZ}: FP32 MAC 4.6, add 0.9; INT8 MAC 0.23, add 0.03 pJ)"
MEMORY_TABLE = f"with memory ({HOROWITZ}: 64 bits of 8 KB 10, 32 KB 20, 1 MB 100 pJ; additions at their width)"

FP32_MAC, FP32_ADD = 4.6, 0.9  # pJ
INT8_MAC, INT8_ADD = 0.23, 0.03
INT8_MULTIPLY, INT32_ADD = 0.2, 0.1
SRAM_BYTES = (8 * 1024, 32 * 1024, 1024 * 1024)
SRAM_PJ = (10.0, 20.0, 100.0)  # per 64-bit access


def access(bits: int) -> float:
    """pJ for one bit read from or written to an SRAM of `bits` bits.

    Between Horowitz's sizes energy is a power of the size; above 1 MB the last power goes on; below 8 KB, where he
    gives nothing, the cost of 8 KB holds, which is too much for small memories, of every system alike.
    """
    size = max(bits / 8, SRAM_BYTES[0])
    upper = 1 if size <= SRAM_BYTES[1] else 2
    (x0, x1), (y0, y1) = SRAM_BYTES[upper - 1 : upper + 1], SRAM_PJ[upper - 1 : upper + 1]
    power = math.log(y1 / y0) / math.log(x1 / x0)
    return y0 * (size / x0) ** power / 64


def add(bits: int) -> float:
    """pJ of an integer addition: linear between Horowitz's 8 and 32 bits (0.03 and 0.1), and beyond."""
    return INT8_ADD + (bits - 8) * (INT32_ADD - INT8_ADD) / 24


def multiply(bits_a: int, bits_b: int) -> float:
    """pJ of an integer product: 0.2 for 8 x 8 bits, by partial products (32 x 32: 3.2, printed 3.1)."""
    return INT8_MULTIPLY * bits_a * bits_b / 64


@dataclass(frozen=True, kw_only=True)
class System:
    """One way to compute the network; all figures per image.

    operations: MACs or additions. fp32_uj (None where FP32 makes no sense), int8_uj: the OPERATIONS table.
    bits: moved, by purpose (registers are counted but not charged). memory_uj: the MEMORY table, by purpose.
    """

    name: str
    label: str
    operations: float
    fp32_uj: float | None
    int8_uj: float
    bits: Map[str, float]
    memory_uj: Map[str, float]

    @property
    def total_uj(self) -> float:
        """Everything the MEMORY table charges."""
        return sum(self.memory_uj.values())


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The systems side by side, ours last."""

    images: int
    systems: tuple[System, ...]
    tables: tuple[str, str] = (OPERATIONS_TABLE, MEMORY_TABLE)

    def __getitem__(self, name: str) -> System:
        return next(system for system in self.systems if system.name == name)

    def sentences(self) -> list[str]:
        """Where spiking wins and where it loses, from these numbers only; a verdict names the energy that it means."""
        ours = self["onespike"]
        who, result = ours.label.split(",")[0], []
        for rival in self.systems[:-1]:
            memory, bare = ours.total_uj / rival.total_uj, ours.int8_uj / rival.int8_uj
            wins, bare_wins = ("loses" if share > 1 else "wins" for share in (memory, bare))
            result.append(
                f"Against the {PROSE[rival.name]}, {who} {wins} by energy with memory, {memory:.2f} of the rival's, "
                f"and {bare_wins} by energy of operations only, {bare:.2f}."
            )
        return result


PROSE = {
    "dense": "dense INT8 network",
    "quantised": "equivalent quantised network",
    "quantised_skip": "quantised network that skips zero activations",
    "unary": "spiking network taken literally",
}


PURPOSES = (
    "weights_read", "masks_read", "activations_read", "activations_written", "parameters_read", "pool", "registers",
)  # fmt: skip


@dataclass(kw_only=True)
class _Work:
    """What one system does for all images, summed over the layers."""

    additions: int = 0
    shifts: int = 0
    products: int = 0  # multiples of 3 and 5 that are made
    multiplies: float = 0.0  # pJ, because their widths differ from layer to layer
    bits: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PURPOSES, 0))


NAMES = ("dense", "quantised", "quantised_skip", "unary", "onespike")


def estimate(mapping: Mapping, codes: np.ndarray, operations: Operations | None = None) -> Energy:
    """Energy per image of the mapped network and its rivals on images, as `pixels.py` says."""
    net, config = mapping.net, mapping.config
    image_code = mapping.tensors[INPUT].code
    result = golden.run(net, net.image.quantise(codes), layers=True)
    assert isinstance(result, golden.Result)
    multiples = config.worths
    operations = operations or count(net, result.codes, image_code=image_code, multiples=multiples)
    maps = {n: work_maps(net, n, v, image_code, multiples) for n, v in result.codes.items()}
    pads = work_maps(net, INPUT, np.array(net.image.pad_code), image_code, multiples)
    for name, kinds in maps.items():
        kinds["dense"] = np.ones(result.codes[name].shape, np.uint8)
    pads["dense"] = np.ones(net.image.shape[0], np.int64)
    works = {name: _Work() for name in NAMES}
    for layer in mapping.layers:
        _layer(mapping, layer, maps, pads, works)
    for name in mapping.tensors:
        _stored(mapping, name, len(codes), works)

    images, hidden_bits = len(codes), max((net.value_bits(n) for n in net.ranges if n != INPUT), default=1)
    macs, skipped = operations.dense_macs, operations.macs_nonzero
    quantised = sum(
        layer.macs * (multiply(layer.weight_bits, layer.activation_bits) + INT8_ADD) for layer in operations.layers
    ) / (images * max(1, macs))
    labels = {
        "dense": ("dense ANN, INT8", macs, FP32_MAC, INT8_MAC),
        "quantised": (f"quantised, {hidden_bits}-bit activations", macs, None, quantised),
        "quantised_skip": ("quantised, zeros skipped", skipped, None, quantised),
        "unary": ("spiking, literal unary", operations.additions_unary, FP32_ADD, INT8_ADD),
        "onespike": ("OneSpike, radix", operations.additions_radix, FP32_ADD, INT8_ADD),
    }
    if config.code != "radix":
        labels["onespike"] = (f"OneSpike, {config.code}", operations.additions_unary, FP32_ADD, INT8_ADD)
    if config.multiplies:
        number = operations.additions_radix
        product = works["onespike"].multiplies / images / max(1, number) + INT8_ADD
        labels["onespike"] = (f"this {config.arithmetic} engine", number, None, product)
    systems = []
    for name, (label, number, fp32, int8) in labels.items():
        bits = {purpose: value / images for purpose, value in works[name].bits.items()}
        systems.append(
            System(
                name=name,
                label=label,
                operations=number,
                fp32_uj=None if fp32 is None else number * fp32 * 1e-6,
                int8_uj=number * int8 * 1e-6,
                bits=bits,
                memory_uj=_memory(mapping, name, works[name], bits, images),
            )
        )
    return Energy(images=images, systems=tuple(systems))


def stepped(
    mapping: Mapping, batches: Iterable[Sequence[Map[str, np.ndarray]]], state: int, held: int
) -> tuple[System, float]:
    """Energy and events per image of a T-step network as `baselines.integrate_and_fire` runs it, see `estimate`.

    mapping: of binary spikes. batches: of some images each, for every step all tensors' spikes, the image included.
    state: bits of membranes and stored currents, read and written for an image, in a memory of `held` bits. The image
    is stored and the sums on it are made in the first step alone. Updates of membranes are neuron operations and cost
    what ours do, which is nothing.
    """
    works, images = {name: _Work() for name in NAMES}, 0
    image_code, multiples = mapping.tensors[INPUT].code, mapping.config.worths
    net, work = mapping.net, works["onespike"]
    pads = work_maps(net, INPUT, np.array(net.image.pad_code), image_code, multiples)
    pads["dense"] = np.ones(net.image.shape[0], np.int64)
    steps = 0
    for batch in batches:
        steps, number = len(batch), len(batch[0][INPUT])
        images += number
        for step, tensors in enumerate(batch):
            maps = {name: work_maps(net, name, values, image_code, multiples) for name, values in tensors.items()}
            for name, kinds in maps.items():
                kinds["dense"] = np.ones(tensors[name].shape, np.uint8)
            for layer in mapping.layers:
                if step and all(source.tensor == INPUT for source in layer.layer.sources):
                    _fired(mapping, layer, number, works)
                else:
                    _layer(mapping, layer, maps, pads, works)
            for name in mapping.tensors:
                if not step or name != INPUT:
                    _stored(mapping, name, number, works)
    bits = {purpose: value / images for purpose, value in work.bits.items()} | {"state": state}
    membranes = state * access(held) * 1e-6
    additions = work.additions + work.products
    system = System(
        name="if",
        label=f"integrate and fire, T = {steps}",
        operations=additions / images,
        fp32_uj=additions / images * FP32_ADD * 1e-6,
        int8_uj=additions / images * INT8_ADD * 1e-6,
        bits=bits,
        memory_uj=_memory(mapping, "onespike", work, bits, images) | {"state": membranes},
    )
    return system, work.additions / images


RIVALS = ("dense", "quantised", "quantised_skip")  # which hold values, no spikes


def value_bits(mapping: Mapping, system: str, tensor: str) -> int:
    """Stored bits of one value of a rival."""
    return 8 if system == "dense" or tensor == INPUT else mapping.net.value_bits(tensor)


def place_bits(mapping: Mapping, system: str, tensor: str) -> int:
    """Bits of the spike words of one place of a tensor, in one slice."""
    layout, (low, top) = mapping.tensors[tensor], mapping.net.ranges[tensor]
    words = layout.words
    if system == "unary" and tensor != INPUT:
        words = -(-layout.channels_per_slice * (1 << (top - low - 1).bit_length()) // mapping.config.word_bits)
    return words * mapping.config.word_bits


def mask_bits(config: EngineConfig) -> int:
    """Bits of one row of masks, which is read with each spike word; 0 where the engine has none."""
    return config.word_chunks + config.weight_addr_bits if config.row_masks else 0


def stored_bits(mapping: Mapping, system: str, tensor: str) -> int:
    """Bits of a whole tensor in memory, once."""
    layout, (channels, height, width) = mapping.tensors[tensor], mapping.net.shapes[tensor]
    if system not in RIVALS:
        return place_bits(mapping, system, tensor) * layout.height * layout.width * len(layout.slices)
    top, bottom, left, right = layout.pad
    if layout.unroll is not None and border_is_stored(mapping.net, mapping.tensors[INPUT].offset):
        left, right = layout.unroll.left, layout.unroll.right
    return (height + top + bottom) * (width + left + right) * channels * value_bits(mapping, system, tensor)


def _layer(
    mapping: Mapping,
    layer: MappedLayer,
    maps: Map[str, Map[str, np.ndarray]],
    pads: Map[str, np.ndarray],
    works: Map[str, _Work],
) -> None:
    """What one layer reads and adds, in the engine's own walk."""
    net, config = mapping.net, mapping.config
    own = "radix" if config.code == "radix" else "unary"
    spikes = {"unary": "unary", "onespike": own}
    kinds = dict(zip(NAMES[:3], ("dense", "dense", "nonzero"), strict=True))
    channels = len(set(layer.order) - {-1})
    blocks = layer.blocks if layer.columns_at_once == 1 else -(-channels // config.lanes)
    rows, columns, _ = walked(layer.layer, *net.conv_shapes[layer.layer.name][1:])
    for source, mapped in zip(layer.layer.sources, layer.sources, strict=True):
        name, image = source.tensor, source.tensor == INPUT
        needing = blocks if source.groups == 1 else -(-source.fan_out // config.lanes)
        walk = RowReads(mapping, layer, mapped)
        # Every value that the walk passes is read, whether it has spikes or not.
        border = pads["dense"] if image and border_is_stored(mapping.net, mapping.tensors[INPUT].offset) else None
        values = reads(maps[name]["dense"], source, rows, columns, border)
        down, across = (sum(mapped.taps(0, y)[2] for y in layer.rows), sum(mapped.taps(1, x)[2] for x in layer.columns))
        places = len(maps[name]["dense"]) * layer.slices * down * across * layer.blocks
        for system, work in works.items():
            rival = system in RIVALS
            if rival:
                bits = values * value_bits(mapping, system, name) * needing
            else:
                bits = places * place_bits(mapping, system, name) * mapped.span // mapped.tensor.words
                work.bits["masks_read"] += bits // config.word_bits * mask_bits(config)
            work.bits["activations_read"] += bits
        for system, kind in kinds.items():
            work = works[system]
            values = reads(maps[name][kind], source, rows, columns, pads[kind] if image else None)
            row_lanes, made = (values * n // source.groups for n in (blocks * config.lanes, channels))
            weight_bits = 8 if system == "dense" else net.weight_bits
            work.bits["weights_read"] += row_lanes * weight_bits
            work.bits["registers"] += row_lanes * config.acc_bits
            work.additions += made
            if not is_copy(source):
                bits = 8 if system == "dense" or image else net.value_bits(name)
                work.multiplies += made * multiply(weight_bits, bits)
        weight_rows, _ = walk(maps[name]["read"], pads["read"])
        for system, code in spikes.items():
            work, kind = works[system], f"events_{code}"
            if system == "onespike" and config.arithmetic == "dense":
                weight_rows, _ = walk(maps[name]["dense"], pads["dense"])
            events, added = walk(maps[name][kind], pads[kind])
            if system == "onespike" and config.multiplies:
                bits = min(config.product_bits, mapped.tensor.field)
                work.multiplies += added * multiply(net.weight_bits, bits)
            kind = f"additions_{code}"
            work.bits["weights_read"] += weight_rows * config.lanes * net.weight_bits
            work.bits["registers"] += events * config.lanes * config.acc_bits
            work.additions += added
            work.products += walk(maps[name][kind], pads[kind])[1] - added
            shifts = config.max_shift > 0 if system == "onespike" and config.multiplies else image or code == "radix"
            work.shifts += added if shifts else 0
    _fired(mapping, layer, len(maps[INPUT]["dense"]), works)


def _fired(mapping: Mapping, layer: MappedLayer, images: int, works: Map[str, _Work]) -> None:
    """Parameters of the layer's neurons, and running values of its pool."""
    config = mapping.config
    sums = images * layer.jobs * config.lanes
    for work in works.values():
        work.bits["parameters_read"] += sums * config.channel_bits
        if layer.window != (1, 1):
            work.bits["pool"] += 2 * sums * config.code_bits


def _stored(mapping: Mapping, tensor: str, images: int, works: Map[str, _Work]) -> None:
    """Writes of one tensor: every group of banks that shares its jobs keeps a copy.

    Of an unrolled image with columns dealt in turn, a bank keeps its own columns; a rival's needs all pixels.
    """
    layout, banks = mapping.tensors[tensor], mapping.config.banks
    shared = 1 if layout.unroll is not None and layout.unroll.turns > 1 else len(layout.slices)
    for system, work in works.items():
        copies = banks // (shared if system in RIVALS else len(layout.slices))
        work.bits["activations_written"] += images * copies * stored_bits(mapping, system, tensor)


def _memory(mapping: Mapping, system: str, work: _Work, bits: Map[str, float], images: int) -> dict[str, float]:
    """uJ per image by purpose."""
    net, config = mapping.net, mapping.config
    weight_bits = 8 if system == "dense" else net.weight_bits
    weights = access(config.weight_depth * config.lanes * weight_bits)
    masks = access(config.mask_depth * mask_bits(config))
    largest = max(mapping.tensors, key=lambda n: mapping.tensors[n].size)
    ratio = stored_bits(mapping, system, largest) / stored_bits(mapping, "onespike", largest)
    activations = access(int(config.spike_depth * config.word_bits * ratio))
    small = access(config.channel_depth * config.fire_lanes * config.channel_bits)
    # A shifter is charged like an addition of the same width: Horowitz has no figure for it.
    sums = (work.additions + work.shifts) / images * add(config.acc_bits)
    sums += work.products / images * add(net.weight_bits + 3)
    energy = {
        "arithmetic": sums + work.multiplies / images,
        "weights": bits["weights_read"] * weights + bits["masks_read"] * masks,
        "activations": (bits["activations_read"] + bits["activations_written"]) * activations,
        "parameters": (bits["parameters_read"] + bits["pool"]) * small,
    }
    return {purpose: value * 1e-6 for purpose, value in energy.items()}
