# SPDX-License-Identifier: Apache-2.0
"""Networks of T steps: what they compute, their file, their spikes, and who refuses them."""

import dataclasses
import random

import numpy as np
import pytest

from blocks import head, weights
from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network import golden, operations, stepped
from onespike.model.network.membranes import Membranes
from onespike.model.network.spec import INPUT, Image, Layer, Pool, Source, SpikeNet
from onespike.model.network.spikes import count_spikes
from onespike.model.neurons.integrate import integrate

STEPS = 5


def network(pool: Pool | None = None) -> SpikeNet:
    """Two firing 1x1 layers, g = 3 and 4, on a 3-channel 4x4 image, and a head; T = 5, odd thresholds and starts."""
    rng = random.Random(1)

    def layer(name: str, tensor: str, inputs: int, outputs: int, groups: int, shift: int) -> Layer:
        source = Source(tensor=tensor, weights=weights(rng, outputs, inputs, 1, 1), shift=int(tensor != INPUT))
        bias = np.array([rng.randint(-9, 40) for _ in range(outputs)])
        return Layer(name=name, sources=(source,), bias=bias, shift=np.full(outputs, shift), groups=groups)

    first, second = layer("first", INPUT, 3, 6, 3, 7), layer("second", "first", 6, 5, 4, 3)
    second = dataclasses.replace(second, pool=pool)
    side = 4 if pool is None else 2
    layers = (first, second, head(rng, "second", (5, side, side), 3))
    theta = {"first": np.arange(300, 306), "second": np.arange(30, 35)}
    start = {"first": np.arange(-2, 4) * 50, "second": np.arange(5)}
    membranes = Membranes(steps=STEPS, theta=theta, start=start)
    return SpikeNet(image=Image(shape=(3, 4, 4)), layers=layers, weight_bits=4, membranes=membranes)


def image_codes(number: int = 3) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (number, 3, 4, 4)).astype(np.uint8)


def by_hand(net: SpikeNet, codes: np.ndarray) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """Logits and trains in Python's own integers; a spike is worth the g of its layer."""
    first, second, last = net.layers
    known, trains = net.membranes, []
    membranes = {name: np.zeros((len(codes), 4, 4, 1), np.int64) + known.start[name] for name in known.start}
    logits = np.zeros((len(codes), 3), np.int64)
    for _ in range(known.steps):
        values, found = codes.transpose(0, 2, 3, 1).astype(np.int64), {}
        for layer, worth in ((first, 1), (second, first.groups)):
            kernel = layer.sources[0].weights[:, :, 0, 0].astype(np.int64) << layer.sources[0].shift
            current = worth * (values @ kernel.T) + layer.bias
            values, membranes[layer.name] = integrate(membranes[layer.name], current, known.theta[layer.name])
            values = values.astype(np.int64)
            found[layer.name] = values.transpose(0, 3, 1, 2)
        flat = found["second"].reshape(len(codes), -1)
        logits += second.groups * (flat @ last.sources[0].weights.reshape(3, -1).T.astype(np.int64)) + last.bias
        trains.append(found)
    return logits, trains


def test_a_spike_is_worth_the_groups_of_its_layer():
    net, codes = network(), image_codes()
    logits, trains = by_hand(net, codes)
    found = stepped.run(net, codes, layers=True, totals=True)
    assert (found.logits == logits).all() and (net.golden(codes) == logits).all()
    result = net.golden(codes, layers=True)
    for name in ("first", "second"):
        train = np.stack([step[name] for step in trains])
        assert (np.stack([step[name] for step in found.steps]) == train).all() and 0 < train.mean() < 1
        assert (result.codes[name] == train.sum(0)).all() and (found.totals[name] == train.sum(0)).all()
        assert found.fired[name] == train.sum()
    assert (result.logits == logits).all() and (result.codes[INPUT] == codes).all()


def test_membranes_of_counts_are_the_one_step_network_with_as_many_steps_as_groups():
    net = network()
    layers = [dataclasses.replace(layer, groups=4 * layer.fires) for layer in net.layers]
    plain = dataclasses.replace(net, layers=tuple(layers), membranes=None)
    over = dataclasses.replace(plain, membranes=Membranes.of(plain.layers, 4))
    codes = image_codes()
    assert (over.golden(codes) == 4 * stepped.run(plain, codes).logits).all()
    # Of constant currents the number of spikes is the count.
    assert (over.golden(codes, layers=True).codes["first"] == plain.golden(codes, layers=True).codes["first"]).all()


def test_large_membranes_are_exact():
    """Sums beyond the 24 bits of float32 in many steps: the number of spikes is the sum of currents, less the rest."""
    net = network()
    first, *rest = net.layers
    heavy = dataclasses.replace(first, bias=np.full(6, 2**21 + 1))
    theta = net.membranes.theta | {"first": np.full(6, 2**22 + 1)}
    membranes = Membranes(steps=64, theta=theta, start=net.membranes.start)
    net = dataclasses.replace(net, layers=(heavy, *rest), membranes=membranes)
    assert (stepped.run(net, image_codes()).logits == by_hand(net, image_codes())[0]).all()


def test_file_keeps_membranes_and_the_hash_knows_them(tmp_path):
    net = network()
    net.save(tmp_path / "net.spike")
    again = SpikeNet.load(tmp_path / "net.spike")
    assert again.hash == net.hash and again.membranes.steps == STEPS
    assert (again.golden(image_codes()) == net.golden(image_codes())).all()
    start = net.membranes.start | {"second": np.arange(1, 6)}
    assert dataclasses.replace(net, membranes=dataclasses.replace(net.membranes, start=start)).hash != net.hash
    assert dataclasses.replace(net, membranes=None).hash != net.hash


@pytest.mark.parametrize("pool", [None, Pool(kind="max", kernel=(2, 2), stride=(2, 2))])
def test_spikes_and_additions(pool):
    """Every spike is added into all neurons that read it; pixels are multiplied once."""
    net, codes = network(pool), image_codes()
    found = count_spikes(net, codes)
    totals = net.golden(codes, layers=True).codes
    first, second, last = found.layers
    assert (found.images, found.steps) == (3, STEPS)
    assert (first.spikes, second.spikes, last.spikes) == (totals["first"].sum(), totals["second"].sum(), 0)
    assert (first.additions, second.additions) == (0, 5 * first.spikes) and last.additions == 3 * second.spikes
    assert (first.macs, second.macs, last.macs) == (3 * 16 * 3 * 6, 0, 0)
    assert found.per_neuron == (first.spikes + second.spikes) / (3 * (96 + (80 if pool is None else 20)))
    one = dataclasses.replace(net, membranes=None)
    counted, unary = count_spikes(one, codes), operations.count(one, codes)
    assert counted.per_image("spikes") == unary.spikes_unary
    hidden = sum(layer.additions_unary for layer in unary.layers[1:]) / 3
    assert counted.per_image("additions") == hidden


def test_hardware_refuses():
    net, codes = network(), image_codes()
    sentence = r"integrates and fires over 5 steps, a reference model without hardware; convert it with method='asg'"
    config = EngineConfig(banks=2, lanes=4, fire_lanes=2, weight_bits=4)
    for call in (
        lambda: map_network(net, config),
        lambda: fit_config(net, config),
        lambda: golden.run(net, codes),
        lambda: operations.count(net, codes),
    ):
        with pytest.raises(OneSpikeError, match=sentence):
            call()
    with pytest.raises(OneSpikeError, match=r"^A network of T steps has no spike trains of one timestep .*counts"):
        net.golden(codes, operations=True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, r"^The number of steps must lie in 1\.\.4096, not 0\.$"),
        ({"steps": 2.0}, r"^The number of steps must be an integer, not 2\.0\.$"),
        ({"theta": {"first": np.ones(6, int)}}, r"^Every firing layer needs a theta, and no .*: see 'second'\.$"),
        ({"start": {"first": np.ones(6, int), "second": np.ones(4, int)}}, r"'second' has 5 channels, not 4\.$"),
        ({"theta": {"first": np.zeros(6, int), "second": np.ones(5, int)}}, r"'first': theta must be positive, not 0"),
        ({"theta": {"first": np.ones(6), "second": np.ones(5, int)}}, r"'first': theta must be an integer array"),
    ],
)
def test_membranes_are_checked(change, sentence):
    net = network()
    with pytest.raises(OneSpikeError, match=sentence):
        dataclasses.replace(net, membranes=dataclasses.replace(net.membranes, **change))


def test_floats_hold_every_sum():
    """The last integer that each float type counts to without a gap, and one more; beyond 53 bits there is none."""
    assert stepped._holds(2**24 - 1) is np.float32 and stepped._holds(2**24) is np.float64
    assert stepped._holds(2**53 - 1) is np.float64
    with pytest.raises(OneSpikeError, match=r"need more than the 53 bits that are summed exactly; use fewer steps\.$"):
        stepped._holds(2**53)
