# SPDX-License-Identifier: Apache-2.0
"""Operation counts against a loop over every output, tap and channel, and against the cycle model."""

import random

import numpy as np
import pytest

from blocks import head, random_mapping, random_net
from onespike.model.cost.cycles import predict
from onespike.model.errors import OneSpikeError
from onespike.model.network import codes as coding
from onespike.model.network import golden
from onespike.model.network.operations import Operations, count, cover, is_copy
from onespike.model.network.spec import INPUT, Image, Layer, Pool, Source, SpikeNet


def image_codes(net: SpikeNet, number: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**net.image.bits, (number, *net.image.shape))
    return (codes * (rng.random(codes.shape) < 0.6)).astype(np.uint8)


def naive(net: SpikeNet, codes: np.ndarray, image_code: str, multiples=(1, 3, 5)) -> list[dict[str, int]]:
    """The same counts, one tap at a time."""
    result = golden.run(net, codes, layers=True)
    assert isinstance(result, golden.Result)
    tensors = {name: values.astype(int) for name, values in result.codes.items()}
    layers = []
    for layer in net.layers:
        total = dict.fromkeys(("macs", "macs_nonzero", "events_radix", "additions_radix", "additions_unary"), 0)
        _, height, width = net.conv_shapes[layer.name]
        for source in layer.sources:
            tensor, (_, inputs, kernel_h, kernel_w) = source.tensor, source.weights.shape
            _, tall, wide = net.shapes[tensor]
            copies = is_copy(source)
            for n in range(len(codes)):
                for y, x, ky, kx, c in np.ndindex(height, width, kernel_h, kernel_w, inputs):
                    at = y * source.stride[0] - source.padding[0] + ky * source.dilation[0]
                    by = x * source.stride[1] - source.padding[2] + kx * source.dilation[1]
                    total["macs"] += 0 if copies else layer.channels
                    if 0 <= at < tall and 0 <= by < wide:
                        value = int(tensors[tensor][n, c, at, by])
                    elif tensor == INPUT:
                        value = net.image.pad_code[c]
                    else:
                        continue
                    code, field = "radix", coding.field_width("radix", net.top_code[tensor])
                    stored = value
                    if tensor == INPUT and image_code != "radix":
                        code, field = image_code, 4 if image_code == "twos" and net.image.bits <= 4 else 8
                        stored -= 1 << net.image.bits - 1 if image_code == "twos" else 0
                    terms = coding.events(stored & (1 << field) - 1, code, field, multiples)
                    radix = sum(1 + (term.multiple > 1) for term in terms)
                    unary = radix if tensor == INPUT else value
                    total["events_radix"] += layer.channels * len(terms)
                    total["macs_nonzero"] += 0 if copies else layer.channels * (value != 0)
                    total["additions_radix"] += layer.channels * radix
                    total["additions_unary"] += layer.channels * unary
        fired = tensors.get(layer.name)
        total["neurons_fired"] = 0 if fired is None else int((fired != 0).sum())
        total["spikes_unary"] = 0 if fired is None else int(fired.sum())
        total["spikes_radix"] = 0 if fired is None else sum(bin(v).count("1") for v in fired.ravel())
        layers.append(total)
    return layers


def check(counted: Operations, wanted: list[dict[str, int]]) -> None:
    for layer, expected in zip(counted.layers, wanted, strict=True):
        assert {name: getattr(layer, name) for name in expected} == expected, layer.name


@pytest.mark.parametrize("seed", range(12))
def test_counts_equal_a_loop(seed):
    net = random_net(random.Random(seed))
    codes = image_codes(net, 2, seed)
    options = (["signed", "radix", "twos"][seed // 3 % 3], coding.MULTIPLES[seed % 3])
    check(count(net, codes, image_code=options[0], multiples=options[1]), naive(net, codes, *options))


def plain_net(pad_code: int, pool: Pool | None) -> SpikeNet:
    """Two layers over 8x8 images: no overlap, unused rows or zeros, so that the engine adds what the network says."""
    rng = np.random.default_rng(3)

    def layer(name: str, tensor: str, shape: tuple[int, ...], groups: int, **options) -> Layer:
        weights = rng.integers(-90, 90, shape)
        source = Source(tensor=tensor, weights=np.where(weights == 0, 1, weights), **options)
        shift = np.full(shape[0], 7 if groups else 0)
        bias, used = rng.integers(0, 900, shape[0]), pool if groups else None
        return Layer(name=name, sources=(source,), bias=bias, shift=shift, groups=groups, pool=used)

    side = 4 if pool else 8
    return SpikeNet(
        image=Image(shape=(2, 8, 8), pad_code=(pad_code, 0)),
        layers=(
            layer("first", INPUT, (6, 2, 3, 3), 8, padding=(1, 1, 1, 1)),
            layer("last", "first", (5, 6, side, side), 0),
        ),
    )


@pytest.mark.parametrize("pad_code", [0, 91])
@pytest.mark.parametrize("pool", [None, Pool(kind="max", kernel=(2, 2), stride=(2, 2))])
def test_additions_equal_the_cycle_model(pad_code, pool):
    from onespike.hw.config import EngineConfig
    from onespike.model.mapping.mapper import fit_config, map_network

    net = plain_net(pad_code, pool)
    mapping = map_network(net, fit_config(net, EngineConfig(banks=2, lanes=4, fire_lanes=2)))
    codes = image_codes(net, 3, 1)
    counted = count(net, codes, image_code=mapping.tensors[INPUT].code)
    result = golden.run(net, codes, layers=True)
    assert isinstance(result, golden.Result)
    fields = mapping.golden_fields(result.codes)
    images = [predict(mapping, {name: field[i] for name, field in fields.items()}) for i in range(len(codes))]
    for index, layer in enumerate(counted.layers):
        assert sum(image[index].useful for image in images) == layer.events_radix
    check(counted, naive(net, codes, "signed"))


def test_totals_are_per_image():
    net = plain_net(0, None)
    codes = image_codes(net, 4, 2)
    counted = count(net, codes)
    assert counted.dense_macs == 8 * 8 * 6 * 2 * 9 + 5 * 6 * 64
    assert counted.additions_radix * 4 == sum(layer.additions_radix for layer in counted.layers)
    assert counted.layers[1].activation_bits == 4 and counted.layers[0].activation_bits == 8
    halves = [count(net, part) for part in (codes[:2], codes[2:])]
    assert counted.additions_unary == sum(half.additions_unary for half in halves) / 2


def test_share_of_neurons_that_fire():
    net = plain_net(0, None)
    codes = image_codes(net, 2, 5)
    fired = golden.run(net, codes, layers=True).codes["first"]
    assert 0 < count(net, codes).spike_rate == (fired != 0).mean() < 1
    assert count(SpikeNet(image=net.image, layers=(head(random.Random(1), INPUT, (2, 8, 8)),)), codes).spike_rate == 0


@pytest.mark.parametrize(("bits", "code"), [(1, "signed"), (8, "signed"), (9, "radix"), (16, "radix")])
def test_code_of_the_image(bits, code):
    """Digits, but of pixels wider than two of them."""
    net = SpikeNet(image=Image(shape=(1, 1, 2), bits=bits), layers=(head(random.Random(1), INPUT, (1, 1, 2)),))
    codes = np.array([[[[1, 2**bits - 1]]]])
    counted = count(net, codes)
    assert counted.image_code == code and counted == count(net, codes, image_code=code)


def test_tensors_may_be_given():
    net = plain_net(7, None)
    codes = image_codes(net, 2, 5)
    result = golden.run(net, codes, layers=True)
    assert isinstance(result, golden.Result)
    assert count(net, result.codes) == count(net, codes)


def test_cover_counts_taps_inside():
    assert cover(4, 3, [-1, 0, 1, 2], 1).tolist() == [2, 3, 3, 2]
    assert cover(5, 2, [0, 2], 2).tolist() == [1, 0, 2, 0, 1]


def test_bad_input():
    net = plain_net(0, None)
    with pytest.raises(OneSpikeError, match=r"^There is nothing to count: give at least one image\.$"):
        count(net, np.zeros((0, 2, 8, 8), np.uint8))
    with pytest.raises(OneSpikeError, match=r"^The image code must be 'radix', 'signed' or 'twos', not 'psg'\.$"):
        count(net, np.zeros((1, 2, 8, 8), np.uint8), image_code="psg")


def test_every_mapping_reads_events_that_the_walk_explains():
    """Events, as the energy model charges them, are those of the cycle model; weight rows are read once a value."""
    from onespike.model.cost.energy import estimate

    for seed in range(8):
        mapping = random_mapping(random.Random(seed), code="radix")
        net, config = mapping.net, mapping.config
        codes = image_codes(net, 2, seed)
        result = golden.run(net, codes, layers=True)
        assert isinstance(result, golden.Result)
        fields = mapping.golden_fields(result.codes)
        images = [predict(mapping, {name: field[i] for name, field in fields.items()}) for i in range(len(codes))]
        events = sum(layer.event for image in images for layer in image) / len(codes)
        bits = estimate(mapping, codes)["onespike"].bits
        assert bits["registers"] == events * config.lanes * config.acc_bits
        reads = 0  # of a machine with unary spikes that are all worth one: its events are values that are not 0
        for layer in mapping.layers:
            for source in layer.sources:
                held = fields[source.tensor.name] != 0
                held = held.reshape(len(held), -1, 1, 1) if source.tensor.flat else held
                padded = np.pad(held, [(0, 0), (0, 0), (9, 9), (9, 9)])
                # Every output column of an unrolled image has one of its own.
                stride = (source.stride[0], 1 if source.tensor.unroll else source.stride[1])
                for y, x in np.ndindex(len(layer.rows), len(layer.columns)):
                    top, left = (9 + position * stride[axis] + source.shift[axis]
                                 for axis, position in ((0, layer.rows[y]), (1, layer.columns[x])))  # fmt: skip
                    tall, wide = (source.weights.shape[2] - 1) * source.dilation + 1, source.weights.shape[3]
                    read = padded[:, :, top : top + tall : source.dilation, left : left + wide]
                    reads += int(read.sum()) * layer.blocks
        assert bits["weights_read"] == reads / len(codes) * config.lanes * config.weight_bits
