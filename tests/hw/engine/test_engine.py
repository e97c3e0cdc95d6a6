# SPDX-License-Identifier: Apache-2.0
"""The whole engine in cocotb/Verilator: every spike word, logit and cycle of random networks equals the model."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from networks import float_graph, random_codes, random_network, residual
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import convert
from onespike.model.cost.choose import choose_mapping
from onespike.model.cost.readout import interval
from onespike.model.cost.row import stages
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.channel_order import orderable
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from onespike.model.network.split import split
from onespike.sim.engine import simulate
from paths import BUILD
from sparse_networks import graph_network, sparse_network

# Memories that hold every random network: one build per entry serves all its examples.
ROOMY = EngineConfig(
    acc_bits=30, max_shift=15, max_groups=20, max_code=255, segments=3, spike_depth=2048, weight_depth=8192,
    channel_depth=256, walk_depth=512, program_depth=256, pool_depth=64, class_depth=32,
)  # fmt: skip
ENGINES = {
    "4x16": ROOMY,
    "1x4, one fire lane, maps": dataclasses.replace(
        ROOMY, banks=1, lanes=4, fire_lanes=1, shadows=2, maps=True, class_depth=2048
    ),
    "8x8, short queues": dataclasses.replace(
        ROOMY, banks=8, lanes=8, fire_lanes=4, drain_banks=8, word_fifo=4, command_fifo=2, shadows=3
    ),
    "16x4, far banks": dataclasses.replace(
        ROOMY, banks=16, lanes=4, fire_lanes=2, drain_banks=4, word_bits=16, word_fifo=4, command_fifo=2,
        max_groups=400, signed_codes=True, tables=8, table_codes=32,
    ),
    "8x36, 16-bit words": dataclasses.replace(
        ROOMY, banks=8, lanes=36, fire_lanes=2, word_bits=16, shadows=4, weight_depth=2048
    ),
    "4x8, unary": dataclasses.replace(ROOMY, lanes=8, fire_lanes=4, code="unary", max_code=32),
    "4x8, tables": dataclasses.replace(
        ROOMY, lanes=8, max_groups=400, signed_codes=True, tables=8, table_codes=32, parity=True, watchdog=1 << 20
    ),
    "4x16, sparse": dataclasses.replace(ROOMY, row_masks=True, mask_depth=2048, depthwise=True),
    "8x8, sparse, 16-bit words, maps": dataclasses.replace(
        ROOMY, banks=8, lanes=8, word_bits=16, row_masks=True, mask_depth=4096, depthwise=True, fire_lanes=4, shadows=2,
        maps=True, class_depth=1024, parity=True,
    ),
    "2x8, psg": dataclasses.replace(ROOMY, banks=2, lanes=8, fire_lanes=8, code="psg", max_groups=8, max_code=32),
}


RIVALS = {
    "4x8, zero-skip, tables": dataclasses.replace(
        ROOMY, lanes=8, max_shift=15, arithmetic="zero-skip", max_groups=400, signed_codes=True, tables=8,
        table_codes=32,
    ),
    "2x8, dense by bytes, DSP": dataclasses.replace(
        ROOMY, banks=2, lanes=8, fire_lanes=4, max_shift=15, arithmetic="dense", product_bits=8, dsp=True, shadows=2
    ),
    "4x8, dense, sparse": dataclasses.replace(
        ROOMY, lanes=8, max_shift=15, arithmetic="dense", row_masks=True, mask_depth=2048, depthwise=True
    ),
    "4x8, zero-skip by bytes, sparse, 16-bit words, maps": dataclasses.replace(
        ROOMY, lanes=8, fire_lanes=4, max_shift=15, arithmetic="zero-skip", product_bits=8, row_masks=True,
        mask_depth=4096, depthwise=True, word_bits=16, maps=True, class_depth=1024,
    ),
}  # fmt: skip


@pytest.mark.parametrize("engine", [*ENGINES, *(pytest.param(name, marks=pytest.mark.slow) for name in RIVALS)])
def test_random_networks(engine: str) -> None:
    config = (ENGINES | RIVALS)[engine]
    simulated = []

    @settings(
        max_examples=8, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**32 - 1))
    def check(seed: int) -> None:
        rng = np.random.default_rng(seed)
        groups = (8,) if config.code == "psg" else (1, 3, 8, 15, 20)
        most = config.max_code if config.word_bits == 32 else 16
        if config.row_masks and rng.random() < 0.8:
            net = sparse_network(rng)
        else:
            net = random_network(rng, groups, most, tables=config.tables > 0, maps=config.maps)
        slices = int(2 ** rng.integers(0, config.banks.bit_length()))
        slices = 1 if config.depthwise and rng.random() < 0.6 else slices
        try:
            mapping = map_network(net, config, slices=slices, ordered=orderable(net, config) if seed % 2 else ())
        except OneSpikeError as error:
            assert "too large" in str(error) or "lies wholly in the padding" in str(error), f"seed {seed}: {error}"
            return
        result = simulate(
            mapping,
            random_codes(rng, net, 2),
            BUILD,
            run_dir=BUILD / f"random-{engine.split(',')[0]}-{config.code}-{config.arithmetic}-{seed}",
            through_load=bool(rng.random() < 0.5),
            stall=(float(rng.choice([0, 0.5])), float(rng.choice([0, 0.5]))),
            serial=bool(rng.random() < 0.5),
            seed=seed,
        )
        assert result.mismatches == 0 and result.cycle_mismatches == 0, f"seed {seed}"
        simulated.append(seed)

    check()
    assert len(simulated) >= 4, f"only {len(simulated)} networks reached the simulation"


@pytest.mark.parametrize("slices", [1, 2, 4])
def test_channels_in_order(slices: int) -> None:
    """A graph, whose matrix has its outputs feature after feature instead of node after node."""
    rng = np.random.default_rng(slices)
    net = graph_network(rng, nodes=12, features=8)
    config = dataclasses.replace(ENGINES["4x16, sparse"], class_depth=96)
    names = orderable(net, config)
    assert "layer1" in names
    mapping, plain = (map_network(net, config, slices=slices, ordered=ordered) for ordered in (names, ()))
    assert mapping.tensors["layer1"].order != plain.tensors["layer1"].order
    assert mapping.layers[1].weight_rows < plain.layers[1].weight_rows
    run_dir = BUILD / f"channels-in-order-{slices}"
    result = simulate(mapping, random_codes(rng, net, 2), BUILD, run_dir=run_dir, stall=(0.3, 0.3), seed=slices)
    assert result.mismatches == 0 and result.cycle_mismatches == 0


def test_maps_back_to_back() -> None:
    """Three images of a network with a head of 1 x 1 on the whole map, and one with a decoder of linear layers, while
    logits are taken slowly. The next image's last layer waits until all outputs of the one before have left."""
    rng = np.random.default_rng(8)

    def layer(name: str, tensor: str, kernel: tuple[int, ...], pad: int, shift: int, groups: int) -> Layer:
        source = Source(tensor=tensor, weights=rng.integers(-99, 100, kernel), padding=(pad,) * 4)
        of_all = np.full(kernel[0], shift)
        return Layer(name=name, sources=(source,), bias=rng.integers(-99, 99, kernel[0]), shift=of_all, groups=groups)

    segments = [layer("a", INPUT, (6, 1, 3, 3), 1, 11, 8), layer("b", "a", (3, 6, 1, 1), 0, 0, 0)]
    decoder = [layer("a", INPUT, (6, 1, 7, 8), 0, 12, 8), layer("b", "a", (3, 6, 1, 1), 0, 6, 8),
               layer("c", "b", (56, 3, 1, 1), 0, 0, 0)]  # fmt: skip
    for layers in (segments, decoder):
        net = SpikeNet(image=Image(shape=(1, 7, 8)), layers=tuple(layers))
        mapping = map_network(net, ENGINES["1x4, one fire lane, maps"])
        codes = random_codes(rng, net, 3)
        result = simulate(mapping, codes, BUILD, serial=False, stall=(0, 0.6), seed=3)
        assert result.mismatches == 0 and result.cycle_mismatches == 0
        np.testing.assert_array_equal(result.logits, net.golden(codes))


def test_two_engines_in_a_row() -> None:
    """A network that is cut where a shortcut and the image go through: the first engine's sums, fired by the host, are
    the second one's image, and its logits are those of the whole network. Cycles are the row's model's."""
    net = residual()
    codes = random_codes(np.random.default_rng(5), net, 3)
    mapped = stages(split(net, [2]), codes, lambda part, _: map_network(part, ENGINES["1x4, one fire lane, maps"]))
    handed = codes
    for stage in mapped:
        result = simulate(stage.mapping, handed, BUILD, serial=False)
        assert result.mismatches == 0 and result.cycle_mismatches == 0
        assert np.mean([sum(layer.total for layer in image) for image in result.predicted]) == stage.cycles
        if stage.part.cut is not None:
            assert stage.words_out == result.logits.shape[1]
            handed = stage.part.hand_over(result.logits).astype(np.uint8)
    np.testing.assert_array_equal(result.logits, net.golden(codes))


def test_outputs_bound_the_interval() -> None:
    """Many outputs of a short network: an image waits until those of the one before have left."""
    source = Source(tensor=INPUT, weights=np.ones((5, 1, 1, 1), int))
    last = Layer(name="a", sources=(source,), bias=np.arange(5), shift=np.zeros(5, int), groups=0)
    net = SpikeNet(image=Image(shape=(1, 7, 8)), layers=(last,))
    mapping = map_network(net, ENGINES["1x4, one fire lane, maps"])
    result = simulate(mapping, np.zeros((4, 1, 7, 8), np.uint8), BUILD, serial=False)
    bound = interval(mapping, result.predicted[0])
    assert bound > 2 * result.predicted_cycles_per_image and (np.diff(result.finished) == bound).all()


def test_one_engine_serves_the_methods() -> None:
    """Networks of counts and of phases in 4 and 8 bits, loaded one after the other into one engine."""
    graph, images = float_graph()
    *hidden, last = graph.nodes
    whole = dataclasses.replace(last.terms[0], weights=last.terms[0].weights.repeat(3, 2).repeat(3, 3) / 9)
    hidden[-1] = dataclasses.replace(hidden[-1], pool=None)  # whose sums would be too large for this engine
    graph = dataclasses.replace(graph, nodes=(*hidden, dataclasses.replace(last, terms=(whole,))))
    for settings_ in ({}, {"method": "phase"}, {"method": "phase", "phases": 16}):
        net = convert(graph, None, images[:64], **settings_)
        mapping = map_network(net, ENGINES["4x8, tables"])
        result = simulate(mapping, net.image.quantise(images[64:65]), BUILD, through_load=True)
        assert result.mismatches == 0 and result.cycle_mismatches == 0, settings_
        np.testing.assert_array_equal(result.logits, net.golden(images[64:65]))


@pytest.mark.parametrize("code", ["radix", "unary", "psg"])
def test_thresholds_are_hit_exactly(code: str) -> None:
    """All 256 pixel values meet every threshold: one below, equal, one above, negative and saturated sums."""
    groups = 8 if code == "psg" else 5
    bias = np.array([0, -1, 1, -7, -8, -9, -100, -255, 300, 7, 8, 9])
    first = Layer(
        name="first",
        sources=(Source(tensor=INPUT, weights=np.ones((12, 1, 1, 1), int)),),
        bias=bias,
        shift=np.array([3] * 6 + [0, 4, 5, 3, 3, 3]),
        groups=groups,
    )
    weights = np.random.default_rng(0).integers(-128, 128, (3, 12, 16, 16))
    last = Layer(
        name="last", sources=(Source(tensor="first", weights=weights),), bias=np.zeros(3, int),
        shift=np.zeros(3, int), groups=0,
    )  # fmt: skip
    net = SpikeNet(image=Image(shape=(1, 16, 16)), layers=(first, last))
    config = ENGINES[{"radix": "4x16", "unary": "4x8, unary", "psg": "2x8, psg"}[code]]
    mapping = map_network(net, config)
    result = simulate(mapping, np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16), str(BUILD))
    assert result.mismatches == 0 and result.cycle_mismatches == 0


def test_images_back_to_back() -> None:
    """The next image loads while this one runs: an image then takes its layers' cycles, and no more."""
    rng = np.random.default_rng(5)
    net = random_network(rng, (8,), 32)
    mapping = choose_mapping(net, ROOMY, random_codes(rng, net, 1), fit=False)
    codes = np.repeat(random_codes(rng, net, 1), 6, 0)
    result = simulate(mapping, codes, BUILD, serial=False)
    steady = np.diff(result.finished)[1:]
    assert (steady == result.predicted_cycles_per_image).all(), steady
    assert interval(mapping, result.predicted[0]) == steady[0]


@pytest.mark.parametrize("slices", [1, 2, 4])
@pytest.mark.parametrize("bits", [4, 8, 13])
def test_linear_layer_on_the_image(bits: int, slices: int) -> None:
    """All values of the image are the channels of one pixel, as many to a word as fit."""
    rng = np.random.default_rng(bits)
    source = Source(tensor=INPUT, weights=rng.integers(-128, 128, (20, 2, 6, 5)))
    hidden = Layer(
        name="hidden", sources=(source,), bias=rng.integers(-99, 99, 20), shift=np.full(20, bits + 5), groups=8
    )
    last = Source(tensor="hidden", weights=rng.integers(-128, 128, (5, 20, 1, 1)))
    zero = np.zeros(5, int)
    out = Layer(name="out", sources=(last,), bias=zero, shift=zero, groups=0)
    net = SpikeNet(image=Image(shape=(2, 6, 5), bits=bits, offset=(-0.3, -0.5)), layers=(hidden, out))
    mapping = map_network(net, ROOMY, slices=slices)
    per_word = 32 // mapping.tensors[INPUT].field
    assert mapping.tensors[INPUT].size == -(-60 // slices // per_word)
    result = simulate(mapping, random_codes(rng, net, 2), BUILD, through_load=slices == 2)
    assert result.mismatches == 0 and result.cycle_mismatches == 0


@pytest.mark.parametrize("engine", ["4x16", "8x36, 16-bit words", "4x16, sparse"])
@pytest.mark.parametrize("bits", [9, 12, 16])
def test_wide_pixels(bits: int, engine: str) -> None:
    """Pixels of a sensor, at both ends of their range and at every edge of a chunk, with a border in mid-range."""
    rng = np.random.default_rng(bits)
    image = Image(shape=(2, 9, 7), bits=bits, pad_code=(1 << bits - 1, 7))
    source = Source(tensor=INPUT, weights=rng.integers(-8, 8, (20, 2, 3, 3)), padding=(1, 1, 1, 1), stride=(2, 1))
    first = Layer(
        name="first", sources=(source,), bias=rng.integers(-99, 99, 20), shift=np.full(20, bits), groups=8
    )
    last = Source(tensor="first", weights=rng.integers(-128, 128, (5, 20, 5, 7)))
    zero = np.zeros(5, int)
    out = Layer(name="out", sources=(last,), bias=zero, shift=zero, groups=0)
    net = SpikeNet(image=image, layers=(first, out))
    codes = rng.integers(0, 1 << bits, (2, 2, 9, 7))
    edges = np.array([0, 1, 15, 16, 255, 256, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1])
    codes[0, 0, :, 0] = edges
    mapping = map_network(net, ENGINES[engine])
    result = simulate(mapping, codes, BUILD, through_load=bits == 12)
    assert result.mismatches == 0 and result.cycle_mismatches == 0
    padded = np.full((2, 2, 11, 9), [[[[1 << bits - 1]], [[7]]]])
    padded[:, :, 1:-1, 1:-1] = codes
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2]
    sums = np.einsum("nchwyx,ocyx->nohw", windows, source.weights.astype(np.int64)) + first.bias.reshape(-1, 1, 1)
    counts = (sums >> bits).clip(0, 8)
    np.testing.assert_array_equal(result.logits, np.einsum("nchw,ochw->no", counts, last.weights.astype(np.int64)))


def test_an_image_is_needed() -> None:
    net = random_network(np.random.default_rng(1), (8,), 32)
    mapping = map_network(net, ROOMY)
    with pytest.raises(OneSpikeError, match="Nothing to simulate: give at least one image"):
        simulate(mapping, np.zeros((0, *net.image.shape), np.uint8), BUILD)


def test_through_load_needs_a_load_stream() -> None:
    net = random_network(np.random.default_rng(1), (8,), 32)
    config = EngineConfig(banks=1, lanes=4, fire_lanes=4, loadable=False)
    mapping = map_network(net, fit_config(net, config))
    with pytest.raises(OneSpikeError, match="This engine has no load stream"):
        simulate(mapping, random_codes(np.random.default_rng(1), net, 1), BUILD, through_load=True)
    result = simulate(mapping, random_codes(np.random.default_rng(1), net, 1), BUILD)
    assert result.mismatches == 0 and result.cycle_mismatches == 0
