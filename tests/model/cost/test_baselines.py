# SPDX-License-Identifier: Apache-2.0
"""The rivals: dense array, unary and parallel groups, and the T-step network, each against a second derivation."""

import dataclasses
import random

import numpy as np
import pytest

from blocks import head, random_net, weights
from onespike.hw.config import EngineConfig
from onespike.model.cost import baselines
from onespike.model.cost.choose import choose_mapping
from onespike.model.cost.cycles import predict_all
from onespike.model.errors import OneSpikeError
from onespike.model.network import golden, stepped
from onespike.model.network.membranes import Membranes
from onespike.model.network.spec import INPUT, Image, Layer, Pool, Source, SpikeNet
from onespike.model.neurons.integrate import integrate_and_fire_steps
from onespike.model.neurons.psg import psg

ENGINE = EngineConfig(banks=2, lanes=4, fire_lanes=2, weight_bits=4)


def two_layers(groups: int = 8, pool: Pool | None = None) -> SpikeNet:
    """Two firing 1x1 layers on a 3-channel 4x4 image, and a head."""
    rng = random.Random(groups)

    def layer(name: str, tensor: str, inputs: int, outputs: int, shift: int) -> Layer:
        source = Source(tensor=tensor, weights=weights(rng, outputs, inputs, 1, 1))
        bias = np.array([rng.randint(-9, 40) for _ in range(outputs)])
        return Layer(name=name, sources=(source,), bias=bias, shift=np.full(outputs, shift), groups=groups)

    first, second = layer("first", INPUT, 3, 6, 7), layer("second", "first", 6, 5, 3)
    second = dataclasses.replace(second, pool=pool)
    side = 4 if pool is None else 4 // pool.kernel[0]
    return SpikeNet(
        image=Image(shape=(3, 4, 4)),
        layers=(first, second, head(rng, "second", (5, side, side), 3)),
        weight_bits=4,
    )


def image_codes(net: SpikeNet, number: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2**net.image.bits, (number, *net.image.shape)).astype(np.uint8)


def test_trains_equal_the_neuron():
    """Step by step: the first layer's are parallel spike generation's, the second's the neuron's with its currents."""
    net, codes = two_layers(), image_codes(two_layers())
    first, second, last = net.layers
    found = stepped.run(net, codes, layers=True)
    trains = {name: np.stack([step[name] for step in found.steps], -1) for name in ("first", "second")}

    def sums(layer: Layer, values: np.ndarray) -> np.ndarray:
        return np.einsum("oi,nihw->nohw", layer.sources[0].weights[:, :, 0, 0].astype(int), values.astype(int))

    def bias(layer: Layer) -> np.ndarray:
        return layer.bias.reshape(1, -1, 1, 1)

    assert (trains["first"] == psg(sums(first, codes) + bias(first), 8 << 7, 8)).all()
    assert (trains["first"].sum(-1) == golden.run(net, codes, layers=True).codes["first"]).all()
    currents = np.stack([8 * sums(second, step["first"]) + bias(second) for step in found.steps], -1)
    assert (trains["second"] == integrate_and_fire_steps(currents, 8 << 3)).all()
    counts = trains["second"].sum(-1).reshape(len(codes), -1)
    assert (found.logits == counts @ last.sources[0].weights.reshape(3, -1).T + last.bias).all()


def test_one_hidden_layer_loses_nothing():
    """Constant currents: the T-step network answers what ours answers, whatever the geometry."""
    rng, seen = random.Random(3), 0
    while seen < 5:
        net = random_net(rng, groups=4)
        pool = net.layers[0].pool
        if len(net.layers) == 2 and (pool is None or pool.kind == "sum"):
            codes = image_codes(net)
            assert (stepped.run(net, codes).logits == golden.run(net, codes)).all()
            seen += 1


def test_pools_act_on_the_spikes_of_a_step():
    net = two_layers(pool=Pool(kind="max", kernel=(2, 2), stride=(2, 2)))
    whole, pooled = (stepped.run(n, image_codes(net), layers=True).steps for n in (two_layers(), net))
    for before, after in zip(whole, pooled, strict=True):
        assert (after["second"] == before["second"].reshape(2, 5, 2, 2, 2, 2).max((3, 5))).all()


def test_groups_must_agree():
    net = two_layers()
    net = dataclasses.replace(net, layers=(net.layers[0], dataclasses.replace(net.layers[1], groups=3), net.layers[2]))
    with pytest.raises(OneSpikeError, match=r"one g in all firing layers, as T = g; this one has 3, 8\."):
        stepped.run(net, image_codes(net))


def test_state_of_the_t_step_network():
    net = two_layers()
    found = baselines.integrate_and_fire(net, ENGINE, image_codes(net))
    membranes, currents = 16 * (6 + 5) + 3, 16 * 6
    assert (found.steps, found.neurons) == (8, membranes)
    assert found.state_bits == (7 * 2 * membranes + 8 * currents) * net.accumulator_bits
    assert found.update_cycles == 7 * 16 * 2 * (4 // 2)  # two blocks of four lanes, two lanes a cycle


def test_cycles_of_the_t_step_network():
    """Its steps, run one by one as binary networks; with one bank there are no slices to choose."""
    net, codes, engine = two_layers(), image_codes(two_layers(), 1), dataclasses.replace(ENGINE, banks=1)
    found = baselines.integrate_and_fire(net, engine, codes)
    binary = baselines.binary(net)
    steps = stepped.run(net, codes, layers=True).steps
    images = [golden.Result(logits=np.zeros((1, 1), int), codes=step) for step in steps]
    mapping = choose_mapping(binary, engine, codes)
    once = [[layer.cycles for layer in predict_all(mapping, image)[0]] for image in images]
    expected = once[0][0] + found.update_cycles + sum(sum(step[1:]) for step in once)
    assert found.cycles == expected


def test_dense_cycles():
    net = two_layers()
    assert baselines.dense_cycles(net, ENGINE) == (16 * 3 * 6 + 16 * 6 * 5 + 16 * 5 * 3) / 8


def test_radix_unary_and_parallel_groups():
    """Events: set bits, counts, values that are not zero."""
    net, codes = two_layers(), image_codes(two_layers())
    cycles = {code: baselines.coded_cycles(net, ENGINE, codes, code) for code in ("radix", "unary", "psg")}
    ours = choose_mapping(net, ENGINE, codes)
    result = golden.run(net, codes, layers=True)
    assert cycles["radix"] == np.mean([sum(layer.cycles for layer in image) for image in predict_all(ours, result)])
    assert cycles["radix"] < cycles["unary"] == cycles["psg"]
    assert baselines.parallel_cycles(net, ENGINE, codes) < cycles["radix"]


@pytest.mark.parametrize("seed", range(6))
def test_folding_sum_pools_changes_nothing(seed):
    rng = random.Random(seed)
    net = two_layers(pool=Pool(kind="sum", kernel=(2, 2), stride=(2, 2)))
    if seed:
        net = random_net(rng)
    folded = baselines.without_sum_pools(net)
    codes = image_codes(net)
    assert (golden.run(folded, codes) == golden.run(net, codes)).all()
    if not seed:
        assert all(layer.pool is None for layer in folded.layers)


def test_large_sums_are_folded_for_unary_spikes():
    net = two_layers(pool=Pool(kind="sum", kernel=(4, 4), stride=(4, 4)))
    assert net.top_code["second"] == 128
    assert baselines.coded_cycles(net, ENGINE, image_codes(net), "unary") > 0


@pytest.mark.parametrize(("steps", "more"), [(1, 0), (8, 0), (9, 1), (16, 1), (17, 2), (32, 2), (33, 3)])
def test_membranes_grow_with_steps_beyond_the_groups(steps, more):
    """T steps of currents that g groups keep within an accumulator reach T / g times as far."""
    net = two_layers(8)
    stepped_net = dataclasses.replace(net, membranes=Membranes.of(net.layers, steps))
    assert baselines.membrane_bits(stepped_net) == net.accumulator_bits + more
