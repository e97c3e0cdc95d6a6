# SPDX-License-Identifier: Apache-2.0
"""Mapper: a SpikeNet on an engine. Which bank holds what, and in which order the jobs run.

Banks = groups x slices, chosen per layer. The slices of a group share a job: each holds part of the input channels,
and the drain adds their sums. Jobs (output pixel, output block of L channels) go to the groups in turn; where the
number of blocks and of groups have a common divisor, a group only ever sees its own blocks, and its weight memory
holds only these.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from collections.abc import Mapping as Map
from typing import Any, cast

import numpy as np

from ...hw.config import TABLE_CODES, TABLES, EngineConfig
from ...hw.program import MAX_LAYERS, program_words
from ..errors import OneSpikeError
from ..network import codes
from ..network.spec import INPUT, Layer, SpikeNet
from ..network.storage import Storage, held
from . import parts
from .channel_order import reordered
from .checks import check
from .depthwise import is_depthwise, own_columns, own_kernel, own_lanes, own_order, takes_own
from .image_codes import border_is_stored, image_bits, image_codes, image_offset
from .layout import TensorLayout, allocate, tensor_layout
from .mapping import MappedLayer, Mapping, column_table, row_table
from .masks import block_rows, copy_rows
from .sources import layer_readings, mapped_source, stored_kernel
from .sparse import for_sparse, has_zero_rows
from .spike_memory import spike_words, what_fills
from .tables import count_range, engine_tables
from .unroll import unrolled, walked


def map_network(
    net: SpikeNet,
    config: EngineConfig,
    *,
    slices: int | Map[str, int] = 1,
    rates: Map[str, np.ndarray] | None = None,
    image_code: str = "auto",
    ordered: Collection[str] = (),
) -> Mapping:
    """Map a network; OneSpikeError, with numbers, where it does not fit the configuration.

    slices: banks that share a job, for all layers or by layer name (a power of two, at most `banks`).
    rates: measured spikes per value of each channel of each tensor, to balance the slices.
    image_code: "radix", "signed" (digits, where pixels have five bits or more), "twos" (around zero: the code less half
    its range, in two's complement) or "auto": what costs the border nothing, and signed rather than radix.
    ordered: of the tensors that `channel_order.orderable` names, those whose channels are put in that order.
    """
    mapping = _plan(net, config, slices, rates, image_code, ordered)
    for layer in mapping.layers:
        if config.streams_weights and layer.weight_rows > config.weight_depth:
            raise OneSpikeError(
                f"Layer {layer.layer.name!r}: its smallest part has {layer.weight_rows} weight rows in each bank, but "
                f"weight_depth is {config.weight_depth}; raise it to at least {layer.weight_rows}, or use more slices."
            )
    for name, needed in mapping.needs.items():
        available = getattr(config, name)
        if name == "signed_codes" and not available:
            signed, low = next((n.name, low) for n in net.layers if (low := count_range(n)[0]) < 0)
            raise OneSpikeError(
                f"Layer {signed!r} counts down to {low}, but the engine has no signed codes; build it with "
                f"signed_codes, or let the configuration be fitted to the network."
            )
        if name == "maps" and not available:
            height, width = net.shapes[net.layers[-1].name][1:]
            raise OneSpikeError(
                f"The last layer {net.layers[-1].name!r} gives a {height}x{width} map, but the engine streams the "
                f"outputs of one place; build it with maps, or let the configuration be fitted to the network."
            )
        if name == "max_shift" and config.multiplies and needed % codes.CHUNK > available % codes.CHUNK:
            enough = max(needed, available) // codes.CHUNK * codes.CHUNK + needed % codes.CHUNK
            raise OneSpikeError(
                f"The network needs shifts by {needed % codes.CHUNK} beside those by multiples of four, which lanes "
                f"that multiply do not have where max_shift = {available}; take max_shift = {enough}, or let the "
                f"configuration be fitted to the network."
            )
        if needed > available:
            more = ""
            if name == "spike_depth":
                def words(each: int, code: str = mapping.tensors[INPUT].code) -> int:
                    chosen = _slices_by_layer(net, config, each)
                    return spike_words(*_tensors(net, config, chosen, rates or {}, code, ordered))

                more = f" {what_fills(net, config, mapping.tensors, mapping.image_double, words)}"
            raise OneSpikeError(
                f"The network needs {name} = {needed}, but the engine has {available}; "
                f"raise {name} or let the configuration be fitted to the network.{more}"
            )
    return mapping


def fit_config(
    net: SpikeNet, config: EngineConfig, *, fixed: Map[str, Any] | None = None, **options: Any
) -> EngineConfig:
    """The configuration with every memory and width sized for the network (options as in `map_network`), and with masks
    and lanes for depthwise layers where it gains by them (`for_sparse`).

    fixed: parameters that keep these values. Where weights are streamed, weight_depth is a choice: it is only raised,
    to what the largest part needs.
    """
    fixed = fixed or {}
    options = {"slices": 1, "rates": None, "image_code": "auto", "ordered": ()} | options
    if config.code == "psg":
        config = dataclasses.replace(config, max_groups=max(layer.groups for layer in net.layers) or 1)
    config = for_sparse(config, net, fixed=fixed)
    plan = _plan(net, config, **options)
    needs = dict(plan.needs)
    if config.streams_weights:
        depth = max(config.weight_depth, round_depth(needs["weight_depth"]))
        config = dataclasses.replace(config, weight_depth=depth)
        plan = _plan(net, config, **options)
        needs = dict(plan.needs) | {"weight_depth": depth}
    for name in needs:
        if name.endswith("_depth"):
            needs[name] = round_depth(needs[name])
    fitted = dataclasses.replace(config, **cast(dict[str, Any], {**needs, **fixed}))
    while "program_depth" not in fixed:
        depth = round_depth(program_words(fitted, len(plan.layers)))
        if depth == fitted.program_depth:
            break
        fitted = dataclasses.replace(fitted, program_depth=depth)  # a larger one may say more of itself
    return fitted


def round_depth(depth: int) -> int:
    """A power of two up to 512 words, then whole block RAMs of 512."""
    return max(2, 1 << (depth - 1).bit_length()) if depth <= 512 else -(-depth // 512) * 512


def _slices_by_layer(net: SpikeNet, config: EngineConfig, slices: int | Map[str, int]) -> dict[str, int]:
    chosen = {layer.name: slices if isinstance(slices, int) else slices.get(layer.name, 1) for layer in net.layers}
    for name, value in chosen.items():
        if value < 1 or value & (value - 1) or value > config.banks:
            raise OneSpikeError(f"Slices of layer {name!r} must be a power of two up to {config.banks}, not {value}.")
    users: dict[str, str] = {}
    for layer in net.layers:
        for source in layer.sources:
            other = users.setdefault(source.tensor, layer.name)
            if chosen[other] != chosen[layer.name]:
                raise OneSpikeError(
                    f"Layers {other!r} and {layer.name!r} both read {source.tensor!r}, so they need equal slices, not "
                    f"{chosen[other]} and {chosen[layer.name]}."
                )
    return chosen


def _plan(
    net: SpikeNet,
    config: EngineConfig,
    slices: int | Map[str, int],
    rates: Map[str, np.ndarray] | None,
    image_code: str,
    ordered: Collection[str],
) -> Mapping:
    check(net, config)
    chosen = _slices_by_layer(net, config, slices)
    if image_code == "auto":
        image_code = image_codes(net)[0]
    if image_code not in ("radix", "signed", "twos"):
        raise OneSpikeError(f"The image code must be 'auto', 'radix', 'signed' or 'twos', not {image_code!r}.")
    if image_code not in image_codes(net):
        raise OneSpikeError(
            f"The image code {image_code!r} does not suit pixels of {net.image.bits} bits; use one of "
            f"{', '.join(image_codes(net))}."
        )
    tensors, image_double = _tensors(net, config, chosen, rates or {}, image_code, ordered)
    made, numbers = engine_tables(net, tensors, config.worths)
    tensors |= {name: dataclasses.replace(tensors[name], table=number) for name, number in numbers.items()}
    layers: list[MappedLayer] = []
    weight_base = channel_base = 0
    tables: dict[str, set[tuple[Any, ...]]] = {"row": set(), "column": set()}
    for index, layer in enumerate(net.layers):
        mapped = _layer(net, config, layer, index, chosen[layer.name], tensors, weight_base, channel_base)
        mapped = dataclasses.replace(mapped, table=numbers.get(layer.name))
        weight_base += mapped.walked_rows
        channel_base += mapped.blocks * config.drain_steps
        layers.append(mapped)
        for source in mapped.sources:
            tables["row"].add(row_table(mapped, source))
            tables["column"].add(column_table(mapped, source))
    last = layers[-1]
    maps = last.pixels > 1
    class_depth = last.blocks * config.drain_steps
    if maps or config.maps:
        class_depth = last.pixels * last.logit_rows(config)
    weight_depth = weight_base
    if config.row_masks:
        weight_depth = max(sum(x.stored_rows[b % x.copies] for x in layers) for b in range(config.banks))
    if config.streams_weights:
        if sum(layer.weight_rows for layer in layers) > config.weight_depth:
            limit = config.weight_depth // parts.SHARE
            layers = [part for layer in layers for part in parts.split(layer, config, limit)]
            weight_depth = max(part.weight_rows for part in layers)
            if len(layers) > MAX_LAYERS:
                raise OneSpikeError(
                    f"The weights fall into {len(layers)} parts, but the layer program can hold {MAX_LAYERS}; raise "
                    f"weight_depth, or use more lanes."
                )
        layers = parts.place(layers, config.weight_depth)
    segments = max(len(layer.sources) for layer in layers)
    ends = [count_range(layer) for layer in net.layers[:-1]]
    # The literal PSG unit compares with theta = groups << shift, which must fit the accumulator too.
    theta_bits = config.max_groups.bit_length() - 1 if config.code == "psg" else 0
    widest = dataclasses.replace(config, segments=max(segments, config.segments))
    needs = {
        "acc_bits": max(
            net.accumulator_bits,
            image_bits(net, image_code),
            1 + theta_bits + max(int(layer.shift.max()) for layer in net.layers),
        ),
        "weight_bits": net.weight_bits,
        "max_shift": _max_shift(config, layers),
        "max_groups": max([max(-low, top) for low, top in ends], default=1),
        "max_code": max([largest_field(t) for n, t in tensors.items() if n != INPUT], default=1),
        "segments": segments,
        "spike_depth": spike_words(tensors, image_double),
        "weight_depth": weight_depth,
        "channel_depth": channel_base,
        "walk_depth": max(sum(map(len, table)) for table in tables.values()),
        "program_depth": program_words(widest, len(layers)),
        "pool_depth": max([x.blocks * config.drain_steps for x in layers if x.window != (1, 1)], default=1),
        "class_depth": class_depth,
    }
    if config.row_masks:
        needs["mask_depth"] = sum(layer.walked_rows for layer in layers)
    if any(low < 0 for low, _ in ends):
        needs["signed_codes"] = True
    if maps:
        needs["maps"] = True
    if made:
        needs["tables"] = next(number for number in TABLES if number >= len(made))
        needs["table_codes"] = next(codes for codes in TABLE_CODES if codes >= max(len(t.stored) for t in made))
    return Mapping(
        net=net, config=config, layers=tuple(layers), tensors=tensors, image_double=image_double, tables=tuple(made),
        needs=needs, ordered=tuple(sorted(ordered)),
    )  # fmt: skip


def _max_shift(config: EngineConfig, layers: list[MappedLayer]) -> int:
    """The largest shift of an event; of lanes that multiply, with what their two steps must reach."""
    sources = [source for layer in layers for source in layer.sources]
    shifts = [
        codes.largest_shift(s.tensor.code, s.tensor.top, config.worths, s.tensor.levels) + s.spike_shift
        for s in sources
    ]
    if not config.multiplies:
        return max(shifts)
    nearest = [s.spike_shift % codes.CHUNK for s in sources]
    nearest += [3 for s in sources if s.tensor.code == "levels" and max(map(abs, s.tensor.levels)) > config.worths[-1]]
    return max(shifts) // codes.CHUNK * codes.CHUNK + max(nearest)


def largest_field(tensor: TensorLayout) -> int:
    """The largest number that a field of the tensor holds."""
    return (1 << tensor.field) - 1 if tensor.code in ("twos", "levels") else tensor.top


def _tensors(
    net: SpikeNet,
    config: EngineConfig,
    chosen: dict[str, int],
    rates: Map[str, np.ndarray],
    image_code: str,
    ordered: Collection[str],
) -> tuple[dict[str, TensorLayout], bool]:
    """Layouts with addresses. The image has two buffers, so that the next one loads during this one's computation."""
    users: dict[str, list[int]] = {}
    for index, layer in enumerate(net.layers):
        for source in layer.sources:
            users.setdefault(source.tensor, []).append(index)
    pooled = {layer.name for layer in net.layers if layer.pool is not None}
    # The channels of a depthwise layer's lanes are those of the words that it reads; rows of zeros stay together.
    in_order = {layer.name for layer in net.layers if config.depthwise and is_depthwise(net, layer)}
    in_order |= {layer.name for layer in net.layers if config.row_masks and has_zero_rows(layer, config.lanes)}
    tensors: dict[str, TensorLayout] = {}
    for name, indices in sorted(users.items(), key=lambda item: item[0] == INPUT):  # the image depends on the others
        image = name == INPUT
        pads = [s.padding for i in indices for s in net.layers[i].sources if s.tensor == INPUT and image]
        offset = image_offset(net, image_code) if image else 0
        stored = image and border_is_stored(net, offset)
        # A linear layer on the image sees one pixel with all values as channels, which fill the spike words.
        flat = image and all(s.weights.shape[2:] == net.image.shape[1:] and not any(s.padding) for i in indices
                             for s in net.layers[i].sources if s.tensor == INPUT)  # fmt: skip
        if image:
            kept = Storage(image_code, net.top_code[name] - offset)
        else:
            code = "unary" if config.code == "psg" and name in pooled else config.code
            kept = held(net, net.by_name[name], code, config.worths)
        if config.multiplies and kept.code == "radix" and kept.top < 1 << codes.CHUNK - 1:  # whole chunks of four bits
            kept = dataclasses.replace(kept, top=1 << codes.CHUNK - 1)
        slices, unroll = chosen[net.layers[indices[0]].name], None
        if image and not flat:
            blocks = {net.layers[i].name: _blocks(net.layers[i], config, tensors) for i in indices}
            unroll = unrolled(net, config, slices, kept.field, blocks, stored)
        tensors[name] = tensor_layout(
            name=name,
            shape=net.shapes[name],
            code=kept.code,
            top=kept.top,
            levels=kept.levels,
            slices=slices,
            granule=1 if image else config.fire_lanes,
            word_bits=config.word_bits,
            rates=None if image or name in in_order else rates.get(name),
            flat=flat,
            offset=offset,
            unroll=unroll,
            pad=tuple(max(p[side] for p in pads) for side in range(4)) if stored else (0, 0, 0, 0),  # type: ignore[arg-type]
        )
    tensors = reordered(net, {name: tensors[name] for name in users}, ordered, config)
    made = {layer.name: index for index, layer in enumerate(net.layers)}
    sizes = {name: t.size * (2 if name == INPUT else 1) for name, t in tensors.items()}
    lives = {name: (made.get(name, -1), max(users[name])) for name in tensors}
    bases = allocate(sizes, lives, fixed=[INPUT] if INPUT in tensors else [])
    return {name: dataclasses.replace(t, base=bases[name]) for name, t in tensors.items()}, True


def _blocks(layer: Layer, config: EngineConfig, tensors: dict[str, TensorLayout]) -> int:
    """Output blocks of L channels."""
    output = tensors.get(layer.name)
    return -(-(layer.channels if output is None else len(output.order)) // config.lanes)


def _layer(
    net: SpikeNet,
    config: EngineConfig,
    layer: Layer,
    index: int,
    slices: int,
    tensors: dict[str, TensorLayout],
    weight_base: int,
    channel_base: int,
) -> MappedLayer:
    output = tensors.get(layer.name)
    if output is None and layer.fires:
        raise OneSpikeError(f"No layer reads {layer.name!r}; remove it from the network.")
    own = takes_own(net, layer, config, tensors)
    if own:
        order = own_lanes(own_order(tensors[layer.sources[0].tensor], config), config)
    else:
        order = output.order if output is not None else list(range(layer.channels))
        order += [-1] * (_blocks(layer, config, tensors) * config.lanes - len(order))
    blocks = len(order) // config.lanes
    groups = config.banks // slices
    period = math.gcd(groups, blocks)
    _, height, width = net.conv_shapes[layer.name]
    rows, columns, window = walked(layer, height, width)
    if own:
        columns = own_columns(width, config.own_places)
    kernels = [stored_kernel(source, tensors[source.tensor], own) for source in layer.sources]
    block_run, read = layer_readings(config, layer, kernels, order, tensors, own)
    sources = []
    for source, kernel, reading in zip(layer.sources, kernels, read, strict=True):
        if own:
            kernel = own_kernel(kernel, order, source.stride[1], config)
        mapped = mapped_source(source, kernel, tensors[source.tensor], config, weight_base, reading, own)
        if mapped.weights.shape[2] > 256:
            raise OneSpikeError(
                f"Layer {layer.name!r}: a kernel of {mapped.weights.shape[2]} rows is taller than the 256 that a "
                f"command can walk; pool the map first."
            )
        weight_base += mapped.block_stride * (blocks // period)
        sources.append(mapped)
        for axis, positions, name in ((0, rows, "row"), (1, columns, "column")):
            for position in set(positions):
                if mapped.taps(axis, position)[2] == 0:
                    raise OneSpikeError(
                        f"Layer {layer.name!r}: output {name} {position} lies wholly in the padding; "
                        f"use a padding smaller than the kernel."
                    )
    made = MappedLayer(
        layer=layer,
        index=index,
        slices=slices,
        groups=groups,
        blocks=blocks,
        period=period,
        order=tuple(order),
        sources=tuple(sources),
        rows=tuple(rows),
        columns=tuple(columns),
        window=window,
        shape=net.shapes[layer.name],
        channel_base=channel_base,
        output=output,
        block_run=block_run,
        columns_at_once=config.own_places if own else 1,
    )
    if not config.row_masks:
        return made
    return dataclasses.replace(made, stored_rows=copy_rows(block_rows(config, made), period))
