# SPDX-License-Identifier: Apache-2.0
"""Channels with the same sources side by side: fewer rows, never more cycles, the same network."""

import dataclasses

import numpy as np
import pytest

from onespike.hw.config import EngineConfig
from onespike.model.cost import choose
from onespike.model.cost.choose import choose_for
from onespike.model.cost.cycles import predict_all
from onespike.model.mapping.channel_order import channel_order, orderable
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.mapping import Mapping
from onespike.model.network import golden
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from sparse_networks import graph_network, sparse_network

SPARSE = EngineConfig(banks=4, lanes=16, fire_lanes=8, row_masks=True)


def layer_of(*kernels: np.ndarray) -> Layer:
    sources = tuple(Source(tensor=f"t{i}", weights=kernel[:, :, None, None]) for i, kernel in enumerate(kernels))
    bias, shift = np.zeros(len(kernels[0]), int), np.zeros(len(kernels[0]), int)
    return Layer(name="a", sources=sources, bias=bias, shift=shift, groups=8)


def stored(layer: Layer, order: tuple[int, ...], size: int) -> int:
    rows = np.concatenate([s.dense.reshape(layer.channels, -1) for s in layer.sources], 1)
    return sum(int(rows[list(order[i : i + size])].any(0).sum()) for i in range(0, len(order), size))


def test_outputs_of_the_same_inputs_come_together():
    """Every fourth output reads the same inputs: four blocks of one row each, in the order of the inputs."""
    layer = layer_of(np.tile(np.eye(4, dtype=int), (4, 1)))
    order = channel_order(layer, (4,) * 4, (None,))
    assert order == tuple(range(0, 16, 4)) + tuple(range(1, 16, 4)) + tuple(range(2, 16, 4)) + tuple(range(3, 16, 4))
    assert stored(layer, order, 4) == 4 and stored(layer, tuple(range(16)), 4) == 16


def test_the_last_block_may_be_smaller():
    layer = layer_of(np.tile(np.eye(2, dtype=int), (3, 1)))
    assert channel_order(layer, (3, 3), (None,)) == (0, 2, 4, 1, 3, 5)
    assert channel_order(layer, (4, 2), (None,)) == (0, 2, 4, 1, 3, 5)
    assert channel_order(layer, (4, 0, 2), (None,)) == (0, 2, 4, 1, 3, 5)


@pytest.mark.parametrize("kernel", [np.ones((32, 5), int), np.eye(32, dtype=int)])
def test_nothing_to_gain(kernel):
    """Every output reads all, or one input that no other reads."""
    assert channel_order(layer_of(kernel), (16, 16), (None,)) is None


def test_words_are_kept_apart():
    """Outputs of two inputs each; of rows alone any two could share a block, but only two share their word."""
    kernel = np.zeros((8, 8), int)
    for output, inputs in enumerate(((0, 1), (4, 5), (2, 3), (6, 7)) * 2):
        kernel[output, list(inputs)] = 1
    layer = layer_of(kernel)
    order = channel_order(layer, (4, 4), ((0, 0, 0, 0, 1, 1, 1, 1),))
    assert order is not None and [sorted(order[:4]), sorted(order[4:])] == [[0, 2, 4, 6], [1, 3, 5, 7]]


@pytest.mark.parametrize("seed", range(20))
def test_random_kernels(seed):
    """A permutation with at least 5 % fewer rows, or none; the same again."""
    rng = np.random.default_rng(seed)
    outputs = int(rng.integers(9, 70))
    kernels = [rng.integers(-9, 9, (outputs, n)) * (rng.random((outputs, n)) < 0.15) for n in rng.integers(3, 40, 2)]
    sizes = tuple(len(part) for part in np.split(np.arange(outputs), range(8, outputs, 8)))
    layer = layer_of(*kernels)
    words = (tuple(i // 4 for i in range(kernels[0].shape[1])), None)
    order = channel_order(layer, sizes, words)
    assert order == channel_order.__wrapped__(layer, sizes, words)
    if order is not None:
        assert sorted(order) == list(range(outputs))
        assert stored(layer, order, 8) <= 0.95 * stored(layer, tuple(range(outputs)), 8)


def test_graph():
    """Node after node, the matrix has rows for all features of two nodes; in order, for one feature of all nodes."""
    net = graph_network(np.random.default_rng(0), nodes=16, features=8)
    assert orderable(net, SPARSE) == {"layer1"}
    config = fit_config(net, SPARSE, fixed={"row_masks": True, "depthwise": False})
    plain, ordered = (map_network(net, config, ordered=names) for names in ((), {"layer1"}))
    known = net.layers[1].sources[0].weights.any(0).sum()  # of the map: features and nodes that somebody reads
    assert sum(ordered.layers[1].stored_rows) == known == 8 * 16
    assert sum(plain.layers[1].stored_rows) > 3 * known
    assert ordered.layers[1].sources[0].span == 1, "a block reads the words of its feature alone"
    assert net.shapes["layer3"] == (128, 1, 1) and ordered.layers[3].order[:128] == tuple(range(128))


def channels(mapping: Mapping, name: str) -> list[int]:
    """The tensor's channels in their places."""
    return [channel for channel in mapping.tensors[name].order if channel >= 0]


def test_depthwise_layers_and_engines_without_masks_keep_their_order():
    """Of random networks whose second layer is depthwise."""
    own, moved = dataclasses.replace(SPARSE, depthwise=True), 0
    for seed in range(60):
        net = sparse_network(np.random.default_rng(seed))
        names = {layer.name for layer in net.layers}
        mapping = map_network(net, fit_config(net, own), ordered=names)
        assert not orderable(net, dataclasses.replace(SPARSE, row_masks=False))
        for name in set(mapping.tensors) - {INPUT}:
            in_turn = channels(mapping, name) == list(range(net.by_name[name].channels))
            assert in_turn or name not in ("layer0", "layer1")
            moved += not in_turn
    assert moved


def pruned(seed: int) -> SpikeNet:
    """Four layers, the inner two with a tenth of their weights."""
    rng = np.random.default_rng(seed)
    layers, tensor, inputs = [], INPUT, 5
    for index, outputs in enumerate((32, 48, 32, 4)):
        kernel = rng.integers(-99, 100, (outputs, inputs, 1, 1)) * (
            rng.random((outputs, inputs, 1, 1)) < 0.1 + 0.9 * (not index)
        )
        last = index == 3
        if last:
            kernel = rng.integers(-99, 100, (outputs, inputs, 1, 6))
        layers.append(
            Layer(
                name=f"l{index}", sources=(Source(tensor=tensor, weights=kernel),), bias=rng.integers(-9, 9, outputs),
                shift=np.full(outputs, 0 if last else 4), groups=0 if last else 8,
            )
        )  # fmt: skip
        tensor, inputs = f"l{index}", outputs
    return SpikeNet(image=Image(shape=(5, 1, 6), bits=4), layers=tuple(layers))


def test_only_where_it_takes_fewer_cycles():
    """The choice is the best of: no order, all orders, those that pay; of these networks each takes one."""
    taken = set()
    for seed in range(12):
        net = pruned(seed) if seed else graph_network(np.random.default_rng(0), 12, 8)
        result = golden.run(net, np.random.default_rng(seed).integers(0, 16, (1, *net.image.shape)), layers=True)

        def cycles(mapping, of=result):
            return sum(layer.total for layer in predict_all(mapping, of)[0])

        found = choose_for(net, SPARSE, result, more_shadows=False, fixed=("row_masks", "depthwise"))
        names = orderable(net, SPARSE)
        rest = ("auto", choose.ExternalMemory(), False, None)
        fixed = [choose._choose(net, SPARSE, result, True, *rest, ordered) for ordered in (frozenset(), names)]
        assert cycles(found) <= min(map(cycles, fixed))
        now = {name for name in names if channels(found, name) != list(range(net.by_name[name].channels))}
        taken.add("none" if not now else "all" if now == names else "some")
    assert {"some", "all"} <= taken, taken


def test_a_mapping_is_made_again_from_its_options():
    """Commands that size an engine by some images, and map again, ask for the same order."""
    net = graph_network(np.random.default_rng(0), 12, 8)
    result = golden.run(net, np.random.default_rng(0).integers(0, 16, (1, *net.image.shape)), layers=True)
    found = choose_for(net, SPARSE, result, fixed=("row_masks", "depthwise"))
    again = map_network(net, found.config, **found.options)
    assert found.ordered == again.ordered == ("layer1",)
    assert channels(again, "layer1") == channels(found, "layer1") != list(range(96))
    assert predict_all(again, result) == predict_all(found, result)
