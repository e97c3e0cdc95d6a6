# SPDX-License-Identifier: Apache-2.0
"""Masks, the words that blocks read, depthwise jobs: what is stored is what the kernels say, and nothing twice."""

import dataclasses

import numpy as np
import pytest

from onespike.hw.config import EngineConfig
from onespike.hw.program import DIGITS_RADIX
from onespike.model.machine.bank import bank
from onespike.model.machine.fetch import Command, Mask, Stride
from onespike.model.mapping.depthwise import own_columns
from onespike.model.mapping.images import memory_images
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.masks import Reading, layer_rows, of_chunks, of_values, readings
from onespike.model.mapping.sparse import for_sparse, has_zero_rows, zero_rows
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from sparse_networks import sparse_network

SPARSE = EngineConfig(banks=2, lanes=16, fire_lanes=8, row_masks=True, depthwise=True)


def network(second: Source, channels: int, *, width: int = 6, groups: int = 15) -> SpikeNet:
    """A 1x1 layer of as many channels on a 4-bit image, the layer to look at, a last one."""
    rng = np.random.default_rng(0)
    shape = (2, 4, width)
    inputs = second.in_channels

    def layer(name: str, source: Source, g: int) -> Layer:
        out = source.weights.shape[0]
        bias, shift = rng.integers(-9, 9, out), np.full(out, 4 * (g > 0))
        return Layer(name=name, sources=(source,), bias=bias, shift=shift, groups=g)

    first = layer("first", Source(tensor=INPUT, weights=rng.integers(1, 99, (inputs, 2, 1, 1))), groups)
    middle = layer("middle", second, groups)
    size = second.output_shape(4, width)
    last = layer("last", Source(tensor="middle", weights=rng.integers(1, 99, (3, channels, *size))), 0)
    return SpikeNet(image=Image(shape=shape, bits=4), layers=(first, middle, last))


def depthwise(channels: int, **geometry) -> Source:
    weights = np.random.default_rng(1).integers(1, 99, (channels, 1, 3, 3))
    return Source(tensor="first", weights=weights, groups=channels, **{"padding": (1, 1, 1, 1), **geometry})


def test_readings_follow_groups():
    """Four blocks of two groups: two blocks read the same half. All words: one step. A band: a step for each block."""
    halves = np.array([[1, 1, 0, 0]] * 2 + [[0, 0, 1, 1]] * 2, bool)
    assert readings([halves]) == (2, [Reading(2, 2)])
    assert readings([np.ones((4, 3), bool)]) == (4, [Reading(3, 0)])
    band = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], bool)
    assert readings([band]) == (1, [Reading(2, 1)])
    assert readings([np.zeros((2, 3), bool)]) == (2, [Reading(1, 0)])
    assert readings([halves, np.ones((4, 3), bool)]) == (2, [Reading(2, 2), Reading(3, 0)])


@pytest.mark.parametrize("seed", range(20))
def test_readings_hold_what_is_needed(seed):
    rng = np.random.default_rng(seed)
    blocks, words = (int(n) for n in rng.integers(1, 9, 2))
    needed = rng.random((blocks, words)) < rng.choice([0.1, 0.4, 0.9])
    run, (found,) = readings([needed])
    begins = np.arange(blocks) // run * found.step
    assert blocks % run == 0 and begins.min() >= 0 and (begins + found.span).max() <= words
    for block, begin in zip(needed, begins, strict=True):
        assert not block[:begin].any() and not block[begin + found.span :].any()


def test_chunks_and_values():
    """Values of 8 bits are two chunks each, of 2 bits half a one, whose rows are stored together."""
    eight = of_chunks(np.array([True, False, False, True]), 8)
    assert eight.tolist() == [1, 1, 0, 0, 0, 0, 1, 1] and of_values(eight, 4).tolist() == [1, 0, 0, 1]
    two = of_chunks(np.array([1, 0, 0, 0, 0, 1] + [0] * 10, bool), 8)
    assert two.tolist() == [1, 0, 1, 0, 0, 0, 0, 0] and of_values(two, 16)[:6].tolist() == [1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(("width", "places"), [(1, 1), (2, 2), (5, 2), (6, 2), (7, 4), (9, 4), (4, 4), (5, 4)])
def test_jobs_cover_every_column(width, places):
    first = own_columns(width, places)
    covered = sorted({x + i for x in first for i in range(places)})
    assert covered == list(range(width)) and len(first) == -(-width // places)
    steps = np.diff(first)
    assert (steps[1:] == places).all() and (steps[:1] > 0).all()


def test_a_depthwise_layer_has_a_row_a_tap():
    """16 channels are two words, two blocks; 3 x 3 taps for two columns are 3 x 4, each with one row."""
    mapping = map_network(net := network(depthwise(16), 16), fit_config(net, SPARSE))
    middle = mapping.layers[1]
    assert (middle.blocks, middle.columns_at_once, middle.columns) == (2, 2, (0, 2, 4))
    assert middle.sources[0].own and (middle.sources[0].span, middle.sources[0].block_words) == (1, 1)
    assert middle.stored_rows == (12, 12)  # a block in each bank
    found = layer_rows(mapping.config, middle, 0)
    kernel = net.layers[1].sources[0].weights[:8, 0]
    first_tap, second_tap = found.rows.reshape(3, 4, 2, 8)[0, :2]
    np.testing.assert_array_equal(first_tap, [kernel[:, 0, 0], np.zeros(8)])
    np.testing.assert_array_equal(second_tap, [kernel[:, 0, 1], kernel[:, 0, 0]])


@pytest.mark.parametrize(
    ("change", "own"),
    [
        ({}, True),
        ({"stride": (2, 1)}, True),
        ({"dilation": (1, 2), "padding": (1, 1, 2, 2)}, True),
        ({"shift": 1}, False),
        ({"stride": (1, 6)}, False),  # one column is less than a job
    ],
)
def test_which_layers_take_own_values(change, own):
    net = network(depthwise(12, **change), 12)
    mapping = map_network(net, fit_config(net, SPARSE))
    assert mapping.layers[1].sources[0].own is own
    assert not map_network(net, fit_config(net, SPARSE, slices=2), slices=2).layers[1].sources[0].own
    wide = network(depthwise(12, **change), 12, groups=20)  # values of eight bits
    assert not map_network(wide, fit_config(wide, SPARSE)).layers[1].sources[0].own


@pytest.mark.parametrize("seed", range(12))
def test_masked_rows_are_the_rows(seed):
    """Every weight row that is not all zero is stored once, in order, and its mask names it."""
    rng = np.random.default_rng(seed)
    net = sparse_network(rng)
    slices = int(rng.choice([1, 2]))
    masked = dataclasses.replace(SPARSE, depthwise=False)
    options = {"slices": slices}
    mapping = map_network(net, fit_config(net, masked, **options, fixed={"depthwise": False}), **options)
    unmasked = dataclasses.replace(masked, row_masks=False)
    dense = map_network(net, fit_config(net, unmasked, **options, fixed={"row_masks": False}), **options)
    images, plain = memory_images(mapping), memory_images(dense)
    for b in range(2):
        assert [row for row in images.weights[b] if row] == [row for row in plain.weights[b] if row]
        mask = (1 << mapping.config.word_chunks) - 1
        named = [row >> mapping.config.word_chunks for row in images.masks[b] if row & mask]
        assert named == sorted(named) and len(images.weights[b]) <= len(plain.weights[b])


def test_one_word_of_a_depthwise_layer():
    """Lane l adds digit l mod 8 times its weight: 1 .. 8 and 9, the last of which takes two events."""
    config = dataclasses.replace(SPARSE, banks=1, segments=1)
    weights = [[lane + 1 for lane in range(16)]]
    (job,) = bank(
        config, [Command(0, 0, 0, 0, 0, True)], [Stride(0, 0, 2, DIGITS_RADIX, own=1)], [0x98765432], weights,
        masks=[Mask(0xFF, 0)],
    )  # fmt: skip
    assert job.sums == [(2 + lane % 8) * (lane + 1) for lane in range(16)]
    assert (job.events, job.reads) == (2, 1)


def pruned(rows: int) -> SpikeNet:
    """Half of the rows of `rows` outputs of the middle layer are zero."""
    rng = np.random.default_rng(3)
    first = rng.permutation(np.arange(32) % 2)
    weights = rng.integers(1, 99, (32, 32)) * np.stack([first, 1 - first]).repeat(rows, 0)[:32]
    return network(Source(tensor="first", weights=weights[:, :, None, None]), 32)


def test_engines_for_sparse_networks():
    config = EngineConfig(banks=1, lanes=16, fire_lanes=8)
    dense = network(Source(tensor="first", weights=np.ones((16, 16, 1, 1), int)), 16)
    assert zero_rows(dense, 16) == 0 and not for_sparse(config, dense).row_masks
    net = pruned(16)
    assert 0.2 < zero_rows(net, 16) < 0.5 and zero_rows(net, 32) == 0
    assert for_sparse(config, net).row_masks and not for_sparse(config, net).depthwise
    own = for_sparse(config, network(depthwise(16), 16))
    assert own.row_masks and own.depthwise
    assert not for_sparse(dataclasses.replace(config, fire_lanes=4), network(depthwise(16), 16)).depthwise
    assert for_sparse(dataclasses.replace(config, external_weights=64), net).row_masks
    assert for_sparse(config, net, fixed={"row_masks": 0}) == config


def test_rows_of_zeros_stay_together():
    """Rates would deal channels to slices anew, and rows that are zero would not be any more."""
    net = pruned(16)
    assert has_zero_rows(net.layers[1], 16) and not has_zero_rows(net.layers[0], 16)
    rates = {layer.name: np.random.default_rng(1).random(layer.channels) for layer in net.layers}
    config = fit_config(net, EngineConfig(banks=4, lanes=16, fire_lanes=8), slices=2, rates=rates)
    mapping = map_network(net, config, slices=2, rates=rates)
    assert mapping.layers[1].order == tuple(range(32))
    assert mapping.layers[0].order != tuple(range(32))
    assert sum(mapping.layers[1].stored_rows) == 32  # half of 2 blocks x 32
