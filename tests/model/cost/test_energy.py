# SPDX-License-Identifier: Apache-2.0
"""The cost tables at their printed points, and an estimate worked out by hand."""

import re

import numpy as np
import pytest

from onespike.hw.config import EngineConfig
from onespike.model.cost.energy import MEMORY_TABLE, OPERATIONS_TABLE, access, add, estimate, multiply, stepped
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.operations import count
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet


def test_tables_name_their_source_and_hit_its_points():
    for table in (OPERATIONS_TABLE, MEMORY_TABLE):
        assert "Horowitz" in table and "ISSCC 2014" in table and "45 nm" in table
    for kilobytes, picojoules in ((8, 10), (32, 20), (1024, 100)):
        assert access(kilobytes * 8192) * 64 == pytest.approx(picojoules)
    assert access(100) == access(8 * 8192)  # nothing is claimed below 8 KB
    assert access(16 * 8192) * 64 == pytest.approx(10 * 2**0.5)
    assert (add(8), add(32)) == pytest.approx((0.03, 0.1))
    assert multiply(8, 8) == pytest.approx(0.2) and multiply(32, 32) == pytest.approx(3.2)


def small_net(groups: int = 3) -> SpikeNet:
    """A 1x1 image, one hidden neuron that gives the pixel's count, two classes."""
    one = np.ones((1, 1, 1, 1), int)
    hidden = Layer(name="hidden", sources=(Source(tensor=INPUT, weights=one),), bias=np.array([0]),
                   shift=np.array([0]), groups=groups)  # fmt: skip
    final = Layer(name="final", sources=(Source(tensor="hidden", weights=np.array([[[[2]]], [[[3]]]])),),
                  bias=np.array([0, 0]), shift=np.array([0, 0]), groups=0)  # fmt: skip
    return SpikeNet(image=Image(shape=(1, 1, 1)), layers=(hidden, final))


def test_an_estimate_by_hand():
    net = small_net()
    config = fit_config(net, EngineConfig(banks=1, lanes=2, fire_lanes=1))
    mapping = map_network(net, config)
    # 255 is two signed digits, -1 and 16 = 2 x 8, three additions; it saturates at 3 = two radix spikes, three unary
    # ones; two classes. Each of the two values reads its weight row once.
    codes = np.full((1, 1, 1, 1), 255, np.uint8)
    found = estimate(mapping, codes)
    assert found["dense"].operations == 1 + 2
    assert found["onespike"].operations == 3 + 2 * 2
    assert found["unary"].operations == 3 + 2 * 3
    assert found["dense"].int8_uj == pytest.approx(3 * 0.23e-6)
    assert found["dense"].fp32_uj == pytest.approx(3 * 4.6e-6)
    assert found["onespike"].fp32_uj == pytest.approx(7 * 0.9e-6)
    assert found["unary"].int8_uj == pytest.approx(9 * 0.03e-6)
    # 8-bit weights on the 8-bit pixel, on 2-bit counts after it
    assert found["quantised"].int8_uj == pytest.approx((0.2 + 2 * 0.2 * 2 / 8 + 3 * 0.03) * 1e-6)
    row = config.lanes * config.weight_bits
    assert found["onespike"].bits["weights_read"] == found["unary"].bits["weights_read"] == 2 * row
    assert found["onespike"].bits["registers"] == 4 * config.lanes * config.acc_bits
    assert found["dense"].bits["weights_read"] == 2 * row
    assert found["dense"].bits["activations_read"] == 16
    assert found["quantised"].bits["activations_read"] == 8 + 2
    assert found["onespike"].bits["activations_read"] == 2 * config.word_bits
    assert found["onespike"].bits["activations_written"] == 2 * config.word_bits
    assert found["dense"].bits["parameters_read"] == 2 * config.lanes * config.channel_bits
    arithmetic = found["onespike"].memory_uj["arithmetic"]
    twice = add(net.weight_bits + 3)
    assert arithmetic == pytest.approx((2 * 6 * add(config.acc_bits) + twice) * 1e-6)  # every event has its shift
    assert found["unary"].memory_uj["arithmetic"] == pytest.approx(((8 + 2) * add(config.acc_bits) + twice) * 1e-6)


@pytest.mark.parametrize(("arithmetic", "bits", "number"), [("zero-skip", 4, 4), ("zero-skip", 8, 3), ("dense", 4, 4)])
def test_an_engine_that_multiplies(arithmetic, bits, number):
    """255 is two products of four bits, or one of eight; a count of 3 is one for each of two classes."""
    net = small_net()
    engine = EngineConfig(banks=1, lanes=2, fire_lanes=1, arithmetic=arithmetic, product_bits=bits)
    mapping = map_network(net, fit_config(net, engine))
    found, plain = estimate(mapping, np.full((1, 1, 1, 1), 255, np.uint8)), 0.2 * 4 / 8
    assert found["onespike"].operations == number and found["onespike"].fp32_uj is None
    pixel = 2 * plain if bits == 4 else 0.2
    assert found["onespike"].int8_uj == pytest.approx((pixel + 2 * plain + number * 0.03) * 1e-6)
    shifts = number if bits == 4 else 0
    sums = (number + shifts) * add(mapping.config.acc_bits)
    assert found["onespike"].memory_uj["arithmetic"] == pytest.approx((pixel + 2 * plain + sums) * 1e-6)
    assert found["unary"].operations == 3 + 2 * 3  # as beside any other engine
    assert f"this {arithmetic} engine" in found.sentences()[0]
    dark = estimate(mapping, np.zeros((1, 1, 1, 1), np.uint8))["onespike"]
    assert dark.operations == (number if arithmetic == "dense" else 0)
    row = mapping.config.lanes * net.weight_bits
    assert dark.bits["weights_read"] == (2 * row if arithmetic == "dense" else 0)


def test_multiples_are_additions_of_their_own():
    """A pixel of 0x50 is one event, 5 << 4: one read, one shift, two additions; a hidden count 5 another one."""
    net = small_net(groups=5)
    found = {}
    for multiples in ((1,), (1, 3, 5)):
        config = fit_config(net, EngineConfig(banks=1, lanes=2, fire_lanes=1, multiples=multiples))
        mapping = map_network(net, config)
        found[multiples] = estimate(mapping, np.full((1, 1, 1, 1), 0x50, np.uint8))["onespike"]
        assert found[multiples].operations == 2 + 2 * 2
        assert found[multiples].bits["weights_read"] == 2 * config.lanes * config.weight_bits
    with_multiples, bits = found[1, 3, 5], config.acc_bits
    per_event = 2 * add(bits) + add(net.weight_bits + 3)
    assert with_multiples.memory_uj["arithmetic"] == pytest.approx(3 * per_event * 1e-6)
    assert found[1,].memory_uj["arithmetic"] == pytest.approx(2 * 6 * add(bits) * 1e-6)


def test_a_dark_image_costs_no_weights():
    net = small_net()
    mapping = map_network(net, fit_config(net, EngineConfig(banks=1, lanes=2, fire_lanes=1)))
    found = estimate(mapping, np.zeros((2, 1, 1, 1), np.uint8))
    assert found["onespike"].bits["weights_read"] == found["quantised_skip"].bits["weights_read"] == 0
    assert found["onespike"].bits["activations_read"] > 0 and found["dense"].bits["weights_read"] > 0


def test_the_sentences_follow_the_numbers():
    net = small_net()
    mapping = map_network(net, fit_config(net, EngineConfig(banks=1, lanes=2, fire_lanes=1)))
    found = estimate(mapping, np.full((1, 1, 1, 1), 255, np.uint8))
    assert [system.name for system in found.systems] == ["dense", "quantised", "quantised_skip", "unary", "onespike"]
    for sentence, rival in zip(found.sentences(), found.systems[:-1], strict=True):
        ours = found["onespike"]
        shares = {"with memory": ours.total_uj / rival.total_uj, "of operations only": ours.int8_uj / rival.int8_uj}
        for energy, share in shares.items():
            assert re.search(rf"{'loses' if share > 1 else 'wins'} by energy {energy}, {share:.2f}\b", sentence)
        assert len(re.findall(r"\b(?:wins|loses)\b", sentence)) == len(shares)  # no verdict without its energy
    begun = "Against the equivalent quantised network, OneSpike loses by energy with memory, "
    assert found.sentences()[1].startswith(begun)


def test_unary_engine_is_charged_for_unary_spikes():
    net = small_net()
    mapping = map_network(net, fit_config(net, EngineConfig(banks=1, lanes=2, fire_lanes=1, code="unary")))
    codes = np.full((1, 1, 1, 1), 255, np.uint8)
    found = estimate(mapping, codes, count(net, codes))
    assert found["onespike"].label == "OneSpike, unary"
    assert found["onespike"].operations == found["unary"].operations == 9
    assert found["onespike"].bits["weights_read"] == found["unary"].bits["weights_read"]


def test_t_steps_by_hand():
    """Three steps, with a spike in the last two: the sum on the pixel is made once, that on the spike in each."""
    net = small_net(groups=1)
    mapping = map_network(net, fit_config(net, EngineConfig(banks=1, lanes=2, fire_lanes=1)))
    config, image = mapping.config, np.full((1, 1, 1, 1), 255, np.uint8)
    steps = [{INPUT: image, "hidden": np.full((1, 1, 1, 1), spike, np.uint32)} for spike in (0, 1, 1)]
    found, events = stepped(mapping, [steps, steps], 1000, 64)
    assert (found.operations, events) == (3 + 2 * 2, 2 + 2 * 2)
    assert found.bits["weights_read"] == (1 + 2) * config.lanes * config.weight_bits
    assert found.bits["activations_read"] == (1 + 3) * config.word_bits
    assert found.bits["activations_written"] == (1 + 3) * config.word_bits
    assert found.bits["parameters_read"] == 3 * 2 * config.lanes * config.channel_bits
    assert found.bits["state"] == 1000 and found.memory_uj["state"] == pytest.approx(1000 * access(64) * 1e-6)
    assert found.int8_uj == pytest.approx(7 * 0.03e-6) and "T = 3" in found.label


def convolution(kernel: tuple[int, int], padding: tuple[int, int, int, int], pad: int, dilation: int = 1) -> SpikeNet:
    """A 3 x 4 image under one kernel of ones, then two classes."""
    source = Source(tensor=INPUT, weights=np.ones((2, 1, *kernel), int), padding=padding, dilation=(1, dilation))
    zero = np.zeros(2, int)
    first = Layer(name="a", sources=(source,), bias=zero, shift=zero, groups=3)
    width = 4 + padding[2] + padding[3] - dilation * (kernel[1] - 1)
    classes = Source(tensor="a", weights=np.ones((2, 2, 3, width), int))
    final = Layer(name="b", sources=(classes,), bias=zero, shift=zero, groups=0)
    return SpikeNet(image=Image(shape=(1, 3, 4), pad_code=(pad,)), layers=(first, final))


@pytest.mark.parametrize(
    ("net", "banks", "read", "rival_read", "written", "rival_written"),
    [
        # 12 places read two or three rows, a word each; each of two banks keeps half of the columns.
        (convolution((3, 3), (1, 1, 1, 1), 0), 2, (3 * 3 - 2) * 4, (3 * 3 - 2) * (3 * 4 - 2), 3 * 4, 2 * 12),
        # A border of 9 is stored: all nine places are read, of 5 x 6.
        (convolution((3, 3), (1, 1, 1, 1), 9), 2, 9 * 4, 9 * 12, 5 * 4, 2 * 5 * 6),
        # Three banks' worth of columns do not go into four: one bank, all columns.
        (convolution((1, 3), (0, 0, 0, 0), 0), 1, 3 * 2, 3 * 2 * 3, 3 * 2, 12),
    ],
)
def test_words_of_an_unrolled_image(net, banks, read, rival_read, written, rival_written):
    """Ours are whole words of 32 bits, read and written as the banks do it; a rival's, values of 8 bits."""
    mapping = map_network(net, fit_config(net, EngineConfig(banks=banks, lanes=2, fire_lanes=1)))
    assert mapping.tensors[INPUT].unroll is not None
    found = estimate(mapping, np.zeros((1, 1, 3, 4), np.uint8))
    _, _, height, width = net.layers[1].sources[0].weights.shape
    # Then the hidden map: a word of two 2-bit counts a place, read once, written to every bank.
    hidden = height * width
    ours, rival = found["onespike"].bits, found["quantised"].bits
    assert ours["activations_read"] == 32 * (read + hidden)
    assert rival["activations_read"] == 8 * rival_read + 2 * 2 * hidden
    assert ours["activations_written"] == 32 * (written + hidden * banks)
    assert rival["activations_written"] == 8 * rival_written + 2 * 2 * hidden * banks


def test_a_flat_image_has_all_its_values():
    """A linear layer on an image of 12 pixels: three words, 12 values, and a weight row for each that is not 0."""
    source = Source(tensor=INPUT, weights=np.ones((2, 1, 3, 4), int))
    final = Layer(name="b", sources=(source,), bias=np.zeros(2, int), shift=np.zeros(2, int), groups=0)
    net = SpikeNet(image=Image(shape=(1, 3, 4)), layers=(final,))
    mapping = map_network(net, fit_config(net, EngineConfig(banks=1, lanes=2, fire_lanes=1)))
    codes = np.zeros((1, 1, 3, 4), np.uint8)
    codes[0, 0, 1:, 2] = 4, 8
    found = estimate(mapping, codes)
    ours, rival = found["onespike"].bits, found["quantised_skip"].bits
    assert ours["activations_read"] == ours["activations_written"] == 3 * 32
    assert rival["activations_read"] == rival["activations_written"] == 12 * 8
    assert ours["weights_read"] == rival["weights_read"] == 2 * 2 * net.weight_bits


@pytest.mark.parametrize("grouped", [True, False])
def test_rivals_do_not_multiply_between_groups(grouped):
    """Four channels of two places, one output each: 8 MACs, of 8 weights and 8 activations, and not 32."""
    own = Source(tensor="a", weights=np.arange(1, 9).reshape(4, 1, 1, 2), groups=4)
    own = own if grouped else Source(tensor="a", weights=own.dense)
    layers = []
    for name, source, groups in (
        ("a", Source(tensor=INPUT, weights=np.ones((4, 1, 1, 1), int)), 3),
        ("b", own, 3),
        ("c", Source(tensor="b", weights=np.ones((2, 4, 1, 1), int)), 0),
    ):
        zero = np.zeros(len(source.weights), int)
        layers.append(Layer(name=name, sources=(source,), bias=zero, shift=zero, groups=groups))
    net = SpikeNet(image=Image(shape=(1, 1, 2)), layers=tuple(layers))
    mapping = map_network(net, fit_config(net, EngineConfig(banks=1, lanes=2, fire_lanes=1)))
    rival = estimate(mapping, np.full((1, 1, 1, 2), 9, np.uint8))["dense"]
    assert rival.operations == 8 + (8 if grouped else 32) + 8
    assert rival.bits["weights_read"] == 8 * (8 + (8 if grouped else 32) + 8)
    # Two blocks of lanes read each pixel, and each channel, where all outputs need it.
    assert rival.bits["activations_read"] == 8 * (2 * 2 + 8 * (1 if grouped else 2) + 4)
