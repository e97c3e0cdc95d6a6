# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools
import random
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks import head, random_mapping, random_net, weights
from onespike.hw.config import EngineConfig
from onespike.hw.program import layer_words
from onespike.model.errors import OneSpikeError
from onespike.model.machine.fetch import fetch
from onespike.model.machine.walk import records, tables, walk
from onespike.model.mapping.images import MemoryImages, memory_images
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.mapping import Mapping
from onespike.model.network.codes import decode
from onespike.model.network.spec import Image, Layer, Pool, Source, SpikeNet

fixed = settings(derandomize=True, max_examples=60, deadline=None)


# The network that memory images hold, read back with nothing but the program, its tables and the layout of tensors.


def locations(mapping: Mapping, name: str) -> dict[tuple[int, int, int], tuple[int, int, int]]:
    """(slice, address, field of the word) -> (channel, y, x), the stored border included; its pixel, if unrolled."""
    tensor = mapping.tensors[name]
    per_word = mapping.config.word_bits // tensor.field
    found = {}
    for s, channels in enumerate(tensor.slices):
        for y, x in itertools.product(range(tensor.height), range(tensor.width)):
            for place, channel in enumerate(channels):
                address = tensor.base + (y * tensor.width + x) * tensor.words + place // per_word
                at = (channel, y, x)
                if (unroll := tensor.unroll) is not None:
                    tap, pixel = divmod(channel, mapping.net.shapes[name][0])
                    column = x * unroll.turns + s % unroll.turns
                    at = (pixel, y, column * unroll.step + tap * unroll.gap - unroll.left)
                found[s, address, place % per_word] = at
    return found


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def reload(mapping: Mapping, images: MemoryImages) -> list[list[tuple[list[Counter], list[tuple[int, int]]]]]:
    """Per layer and job: for each lane the weights on (tensor, channel, y, x), and the lane's bias and shift.

    A Counter's value is the sum of the weights that an input meets; `times` counts how often it met one.
    """
    config = mapping.config
    _, program = records(config, images.program)
    both = tables(config, images.rows, images.columns)
    memory = [1] * config.spike_depth  # every word is read
    result = []
    for record, layer in zip(program, mapping.layers, strict=True):
        places = [locations(mapping, source.tensor.name) for source in layer.sources]
        names = [source.tensor.name for source in layer.sources]
        mask, half = record.layer["slices"], config.weight_bits
        block = 0
        jobs = []
        lanes: list[Counter] = [Counter() for _ in range(config.lanes)]
        for banks, command in walk(config, *record, *both):
            assert [b & mask for b in banks] == list(range(mask + 1)), "a job has one bank of each slice"
            field = record.strides[command.segment].field
            power = record.strides[command.segment].shift
            for bank in banks:
                for address, word in addresses(config, command, record.strides, memory):
                    for place in range(config.word_bits >> field):
                        row = images.weights[bank][word.meta.weight + place]
                        if not row:
                            continue
                        held = bank & (len(layer.sources[command.segment].tensor.slices) - 1)
                        at = places[command.segment][held, address, place]  # no weight on a place without value
                        for lane in range(config.lanes):
                            weight = signed(row >> lane * half & ((1 << half) - 1), half)
                            if weight:
                                key = (command.segment, names[command.segment], *at)
                                lanes[lane][key] += weight << power
                                lanes[lane]["times", *key] += 1
            if command.last:
                jobs.append((lanes, channels(config, images, record.layer["channel_base"], block)))
                lanes = [Counter() for _ in range(config.lanes)]
                block = (block + 1) % (record.layer["blocks"] + 1)
        result.append(jobs)
    return result


def addresses(config: EngineConfig, command, strides, memory):
    """The address of every word of a command, with the word."""
    stride = strides[command.segment].row_stride
    found = [command.address + r * stride + i for r in range(command.rows + 1) for i in range(command.run + 1)]
    words = fetch(config, command, strides, memory)
    return zip(found, words, strict=True)


def channels(config: EngineConfig, images: MemoryImages, base: int, block: int) -> list[tuple[int, int]]:
    """Bias and shift of the L lanes of an output block."""
    result = []
    for row in range(config.drain_steps):
        packed = images.channels[base + block * config.drain_steps + row]
        for f in range(config.fire_lanes):
            value = packed >> f * config.channel_bits
            bias = signed(value & ((1 << config.acc_bits) - 1), config.acc_bits)
            result.append((bias, value >> config.acc_bits & ((1 << config.shift_bits) - 1)))
    return result


def dense(net: SpikeNet, layer: Layer, mapping: Mapping, y: int, x: int) -> list[dict]:
    """By definition: per output channel the weight of each input (or of the border) at output (y, x)."""
    found: list[dict] = [{} for _ in range(layer.channels)]
    for number, source in enumerate(layer.sources):
        _, height, width = net.shapes[source.tensor]
        tensor = mapping.tensors[source.tensor]
        for out, c, ky, kx in np.ndindex(*source.weights.shape):
            row = y * source.stride[0] + ky * source.dilation[0] - source.padding[0]
            column = x * source.stride[1] + kx * source.dilation[1] - source.padding[2]
            inside = 0 <= row < height and 0 <= column < width
            bordered = source.tensor == "input" and any(code != tensor.offset for code in net.image.pad_code)
            beside = tensor.unroll is not None and 0 <= row < height  # in a word with others
            if not inside and not bordered and not beside:
                continue  # padding that is stored as zeros adds nothing
            weight = int(source.weights[out, c, ky, kx]) << source.shift
            found[out][number, source.tensor, c, row + tensor.pad[0], column + tensor.pad[2]] = weight
    return found


def pooled_places(net: SpikeNet, layer: Layer) -> list[tuple[int, int]]:
    """Output coordinates before the pool, window by window; a clipped window repeats its last row or column."""
    _, height, width = net.conv_shapes[layer.name]
    if layer.pool is None:
        return list(itertools.product(range(height), range(width)))
    rows, columns = layer.pool.windows(height, width)
    tall, wide = layer.pool.kernel
    return [
        (r[min(dy, len(r) - 1)], c[min(dx, len(c) - 1)])
        for r in rows for c in columns for dy in range(tall) for dx in range(wide)
    ]  # fmt: skip


@fixed
@given(st.integers(0, 10**6))
def test_memory_images_reload_to_the_same_network(seed):
    """Every addition of the dense definition reaches exactly one lane of exactly one bank, and nothing else does."""
    mapping = random_mapping(random.Random(seed), acc_bits=20)
    net = mapping.net
    for layer, mapped, jobs in zip(net.layers, mapping.layers, reload(mapping, memory_images(mapping)), strict=True):
        places = pooled_places(net, layer)
        assert len(jobs) == len(places) * mapped.blocks == mapped.jobs
        assert places == mapped.places()
        # The physical place of each channel: where the readers of the tensor look for it, or its class number.
        tensor = mapping.tensors.get(layer.name)
        order = tensor.order if tensor else list(range(layer.channels))
        order = order + [-1] * (mapped.blocks * mapping.config.lanes - len(order))
        assert sorted(c for c in order if c >= 0) == list(range(layer.channels))
        for number, (y, x) in enumerate(places):
            blocks = jobs[number * mapped.blocks : (number + 1) * mapped.blocks]
            expected = dense(net, layer, mapping, y, x)
            lanes = [lane for sums, _ in blocks for lane in sums]
            parameters = [pair for _, part in blocks for pair in part]
            for place, channel in enumerate(order):
                if channel < 0:
                    assert not lanes[place] and parameters[place] == (0, 0)
                    continue
                got = {key: value for key, value in lanes[place].items() if key[0] != "times"}
                times = [value for key, value in lanes[place].items() if key[0] == "times"]
                assert got == expected[channel], f"{layer.name} channel {channel} at {y}, {x}"
                assert set(times) <= {1}, "an input met a lane twice"
                assert parameters[place] == (mapped.bias[channel], layer.shift[channel])


@fixed
@given(st.integers(0, 10**6))
def test_living_tensors_share_no_word(seed):
    """From the layer that makes a tensor to the last that reads it; the image's two buffers always."""
    mapping = random_mapping(random.Random(seed), acc_bits=20)
    layers = mapping.net.layers
    made = {layer.name: index for index, layer in enumerate(layers)}
    last: dict[str, int] = defaultdict(int)
    for index, layer in enumerate(layers):
        for source in layer.sources:
            last[source.tensor] = index
    for index in range(len(layers)):
        used: set[int] = set()
        for name, tensor in mapping.tensors.items():
            buffers = 2 if name == "input" else 1
            if name == "input" or made[name] <= index <= last[name]:
                words = set(range(tensor.base, tensor.base + buffers * tensor.size))
                assert not used & words, f"{name} overlaps another tensor during layer {index}"
                used |= words
        assert max(used) < mapping.config.spike_depth


@fixed
@given(st.integers(0, 10**6))
def test_rates_and_slices_change_no_result(seed):
    """Whatever the slices and rates, the layers hold the same jobs and the same outputs."""
    rng = random.Random(seed)
    net = random_net(rng)
    config = EngineConfig(banks=4, lanes=4, fire_lanes=1, weight_bits=4, acc_bits=20)
    options = [{"slices": 1}, {"slices": 2}, {"slices": 4}]
    try:
        mappings = [map_network(net, fit_config(net, config, **o), **o) for o in options]
    except OneSpikeError as error:
        assert "wholly in the padding" in str(error)
        return
    for layers in zip(*(mapping.layers for mapping in mappings), strict=True):
        assert len({layer.pixels for layer in layers}) == 1
        assert [layer.slices for layer in layers] == [1, 2, 4]
        assert all(layer.slices * layer.groups == 4 for layer in layers)
        assert all(sorted(c for c in layer.order if c >= 0) == list(range(layer.layer.channels)) for layer in layers)


# Refusals: each says what, with numbers, and what to do.


def layer(name: str, tensor: str, inputs: int, channels: int = 2, kernel: int = 1, *, groups: int = 3, shift: int = 0,
          pool: Pool | None = None, **geometry) -> Layer:  # fmt: skip
    rng = random.Random(name)
    source = Source(tensor=tensor, weights=weights(rng, channels, inputs, kernel, kernel), **geometry)
    return Layer(name=name, sources=(source,), bias=np.zeros(channels, int), shift=np.full(channels, shift),
                 groups=groups, pool=pool)  # fmt: skip


def net(*layers: Layer, shape=(1, 4, 4), last=(2, 4, 4), **image) -> SpikeNet:
    classes = head(random.Random(0), layers[-1].name if layers else "input", last, 2)
    return SpikeNet(image=Image(shape=shape, bits=4, **image), layers=(*layers, classes), weight_bits=4)


SMALL = EngineConfig(banks=2, lanes=4, fire_lanes=2, weight_bits=4)


def refuses(message: str):
    return pytest.raises(OneSpikeError, match=f"^{re.escape(message)}$")


def test_does_not_fit():
    network = net(layer("a", "input", 1, groups=3))
    config = EngineConfig(**{**vars(fit_config(network, SMALL)), "weight_depth": 16})
    with refuses("The network needs weight_depth = 264, but the engine has 16; raise weight_depth or let the "
                 "configuration be fitted to the network."):  # fmt: skip
        map_network(network, config)


def test_exactly_as_much_as_needed_fits():
    """The boundary: each parameter at its need is enough, one less is not."""
    pool = Pool(kind="sum", kernel=(2, 2), stride=(2, 2))
    network = net(layer("a", "input", 1, 6, groups=3, pool=pool), last=(6, 2, 2))
    config = EngineConfig(banks=2, lanes=2, fire_lanes=1, weight_bits=4)
    needs = map_network(network, fit_config(network, config)).needs
    exact = {**vars(fit_config(network, config)), **needs}
    assert dict(map_network(network, EngineConfig(**exact)).needs) == dict(needs)
    least = {"max_shift": 0, "weight_bits": 2, "acc_bits": 4, "segments": 1}
    for name, needed in needs.items():
        if needed > least.get(name, 1):
            message = f"^The network needs {name} = {needed}, but the engine has {needed - 1}; raise {name} or let "
            with pytest.raises(OneSpikeError, match=message):
                map_network(network, EngineConfig(**{**exact, name: needed - 1}))


@pytest.mark.parametrize("slices", [0, 3, 4])
def test_slices(slices):
    with refuses(f"Slices of layer 'a' must be a power of two up to 2, not {slices}."):
        map_network(net(layer("a", "input", 1)), SMALL, slices=slices)


def test_two_readers_with_different_slices():
    a, b = layer("a", "input", 1), layer("b", "a", 2)
    both = Layer(name="c", sources=(b.sources[0], *layer("x", "b", 2).sources), bias=np.zeros(2, int),
                 shift=np.zeros(2, int), groups=3)  # fmt: skip
    with refuses("Layers 'b' and 'c' both read 'a', so they need equal slices, not 1 and 2."):
        map_network(net(a, b, both), SMALL, slices={"c": 2})


def test_psg_needs_equal_groups():
    network = net(layer("a", "input", 1, groups=4), layer("b", "a", 2, groups=2))
    config = EngineConfig(**{**vars(SMALL), "code": "psg", "max_groups": 4})
    with refuses("The psg code needs the same spike count in every layer; layer 'b' has 2 groups, the engine 4. "
                 "Use the radix or unary code."):  # fmt: skip
        map_network(network, config)


@pytest.mark.parametrize("padding", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)])
def test_sum_pool_with_clipped_windows(padding):
    clipped = Pool(kind="sum", kernel=(2, 2), stride=(1, 1), padding=padding)
    height, width = 4 + padding[0] + padding[1] - 1, 4 + padding[2] + padding[3] - 1
    network = net(layer("a", "input", 1, pool=clipped), last=(2, height, width))
    with refuses("Layer 'a': the engine sums whole pooling windows only; drop the pool's padding or ceil_mode."):
        map_network(network, fit_config(net(layer("a", "input", 1)), SMALL))


def test_output_in_the_padding():
    network = net(layer("a", "input", 1, padding=(1, 0, 0, 0)), last=(2, 5, 4))
    with refuses("Layer 'a': output row 0 lies wholly in the padding; use a padding smaller than the kernel."):
        map_network(network, SMALL)
    # The image's own border is stored where it is not zero: then there is something to add.
    stored = net(layer("a", "input", 1, padding=(1, 0, 0, 0)), last=(2, 5, 4), pad_code=(3,))
    map_network(stored, fit_config(stored, SMALL))


@pytest.mark.parametrize("rows", [256, 257])
def test_tall_kernel(rows):
    """The row table holds up to 256 tap rows."""
    network = net(layer("a", "input", 1), shape=(1, rows, 1), last=(2, rows, 1))
    config = EngineConfig(**{**vars(SMALL), "weight_depth": 8192, "spike_depth": 4096, "walk_depth": 1024})
    if rows == 256:
        mapping = map_network(network, config)
        images = memory_images(mapping)
        _, program = records(config, images.program)
        ((_, command),) = walk(config, *program[1], *tables(config, images.rows, images.columns))
        assert command.rows == 255
    else:
        with refuses("Layer 'head': a kernel of 257 rows is taller than the 256 that a command can walk; pool the map "
                     "first."):  # fmt: skip
            map_network(network, config)


def test_layer_that_nobody_reads():
    unread = (layer("a", "input", 1), layer("b", "input", 1))
    classes = head(random.Random(0), "b", (2, 4, 4), 2)
    network = SpikeNet(image=Image(shape=(1, 4, 4), bits=4), layers=(*unread, classes), weight_bits=4)
    with refuses("No layer reads 'a'; remove it from the network."):
        map_network(network, SMALL)


def test_image_code():
    with refuses("The image code must be 'auto', 'radix', 'signed' or 'twos', not 'unary'."):
        map_network(net(layer("a", "input", 1)), SMALL, image_code="unary")
    with refuses("The image code 'signed' does not suit pixels of 4 bits; use one of radix, twos."):
        map_network(net(layer("a", "input", 1)), SMALL, image_code="signed")


@pytest.mark.parametrize(("bits", "pad", "code"), [(8, 0, "signed"), (8, 128, "twos"), (4, 8, "twos"), (4, 7, "radix")])
def test_an_image_around_zero(bits, pad, code):
    """Where the padding is half the range, pixels are stored less that: no border is stored, biases make up for it."""
    first = layer("a", "input", 1, kernel=3, padding=(1, 1, 1, 1))
    image = Image(shape=(1, 4, 4), bits=bits, pad_code=(pad,))
    network = dataclasses.replace(net(first), image=image)
    mapping = map_network(network, fit_config(network, SMALL))
    tensor, mapped = mapping.tensors["input"], mapping.layers[0]
    assert tensor.code == code and tensor.height == (6 if pad == 7 else 4)
    pixels = np.random.default_rng(0).integers(0, 1 << bits, (1, 1, 4, 4))
    stored = decode(mapping.image_fields(pixels)[0], tensor.code, tensor.field)
    stored = stored if tensor.height == 6 else np.pad(stored, [(0, 0), (1, 1), (0, 0)])
    padded = np.pad(pixels[0], [(0, 0), (1, 1), (1, 1)], constant_values=pad)
    for (y, x), out in itertools.product(np.ndindex(4, 4), range(2)):
        expected = (padded[:, y : y + 3, x : x + 3] * first.sources[0].weights[out]).sum()
        assert tensor.unroll is not None  # three columns side by side are one
        found = (stored[:, y : y + 3, x : x + 1] * mapped.sources[0].weights[out]).sum()
        assert found + mapped.bias[out] == expected


def test_accumulators_hold_images_around_zero():
    """All weights positive: around zero, sums of either sign and a large bias must fit."""
    one = Layer(name="a", sources=(Source(tensor="input", weights=np.full((1, 1, 4, 4), 7)),), bias=np.array([0]),
                shift=np.array([0]), groups=3)  # fmt: skip
    network = net(one, last=(1, 1, 1))
    assert network.accumulator_bits == 12  # 16 x 7 x 15 = 1680
    bits = {code: fit_config(network, SMALL, image_code=code).acc_bits for code in ("radix", "twos")}
    assert bits == {"radix": 12, "twos": 12}  # -896 .. 1792
    wide = dataclasses.replace(network, layers=(dataclasses.replace(one, bias=np.array([300])), network.layers[1]))
    assert wide.accumulator_bits == 12 and fit_config(wide, SMALL, image_code="twos").acc_bits == 13  # 300 + 2 x 896


def test_fields_are_as_wide_as_the_memories():
    small = EngineConfig(banks=1, spike_depth=64, weight_depth=64, channel_depth=8, walk_depth=16, max_groups=3)
    large = EngineConfig(spike_depth=1 << 16, weight_depth=1 << 16)
    assert layer_words(small) < layer_words(EngineConfig()) < layer_words(large)
    network = net(layer("a", "input", 1))
    config = fit_config(network, SMALL, fixed={"spike_depth": 1 << 16, "walk_depth": 1 << 12})
    assert (config.spike_depth, config.walk_depth) == (1 << 16, 1 << 12)
    map_network(network, config)  # the program memory holds the wider records
    assert fit_config(network, SMALL, fixed={"program_depth": 4096}).program_depth == 4096


def test_window_as_wide_as_the_map():
    network = net(layer("a", "input", 1, pool=Pool(kind="max", kernel=(1, 4100), stride=(1, 4100))),
                  shape=(1, 1, 4100), last=(2, 1, 1))  # fmt: skip
    mapping = map_network(network, fit_config(network, SMALL))
    _, (record, _) = records(mapping.config, memory_images(mapping).program)
    assert (record.layer["window_columns"], record.layer["window"], record.layer["pixels"]) == (4099, 4099, 0)
