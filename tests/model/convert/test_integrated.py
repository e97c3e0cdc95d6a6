# SPDX-License-Identifier: Apache-2.0
"""The methods asg, if and ctt: the same weights over T steps."""

import dataclasses

import numpy as np
import pytest

from networks import float_graph
from onespike.model.convert import ctt
from onespike.model.convert.converter import convert, prepare
from onespike.model.convert.integrated import Time
from onespike.model.errors import OneSpikeError
from onespike.model.network import stepped
from onespike.model.network.golden import accumulate
from onespike.model.network.spec import Layer, Source

GRAPH, IMAGES = float_graph()
SEEN = IMAGES[:64]


@pytest.fixture(scope="module")
def plain():
    return prepare(GRAPH, None, SEEN, groups=8, signed=False)


def test_asg_is_psg_with_as_many_groups_as_steps(plain):
    assert convert(GRAPH, None, SEEN, method="asg", steps=8, signed=False).hash == plain.net.hash
    assert convert(GRAPH, None, SEEN, method="asg", signed=False).hash == plain.net.hash


def test_if_with_as_many_steps_as_groups_is_the_t_step_network(plain):
    net = convert(GRAPH, None, SEEN, method="if", steps=8, signed=False)
    assert net.meta == {"method": "if", "steps": 8}
    found, known = net.golden(IMAGES, layers=True), stepped.run(plain.net, IMAGES, totals=True)
    assert (found.logits == 8 * known.logits).all()
    assert all((found.codes[name] == values).all() for name, values in known.totals.items())
    for one, other in zip(net.layers, plain.net.layers, strict=True):
        assert all((a.weights == b.weights).all() for a, b in zip(one.sources, other.sources, strict=True))


def test_steps_and_groups_are_each_other_by_default():
    for settings, steps, groups in (({"steps": 3}, 3, 3), ({"groups": 3}, 3, 3), ({}, 8, 8),
                                    ({"steps": 12, "groups": 4}, 12, 4), ({"steps": 300}, 300, 255)):  # fmt: skip
        net = convert(GRAPH, None, SEEN, method="if", signed=False, refit=False, **settings)
        assert net.membranes.steps == steps and {layer.groups for layer in net.layers[:-1]} == {groups}


@pytest.mark.parametrize("membrane", ["zero", "half"])
@pytest.mark.parametrize("steps", [5, 8, 32])
def test_constant_currents_round_the_number_of_spikes_to_nearest(plain, membrane, steps):
    """The first layer, whatever T is: of x = sums without the half count, floor(T x + 1/2) spikes."""
    whole = dataclasses.replace(plain, time=Time(steps, membrane == "half")).net
    layer, known = dataclasses.replace(whole.layers[0], pool=None), plain.net.layers[0]
    source = layer.sources[0]
    last = Source(tensor=layer.name, weights=np.ones((1, layer.channels, 1, 1), int))
    head = Layer(name="head", sources=(last,), bias=np.zeros(1, int), shift=np.zeros(1, int), groups=0)
    theta, start = ({layer.name: values[layer.name]} for values in (whole.membranes.theta, whole.membranes.start))
    membranes = dataclasses.replace(whole.membranes, theta=theta, start=start)
    net = dataclasses.replace(whole, layers=(layer, head), membranes=membranes)
    spikes = net.golden(IMAGES[:8], layers=True).codes[layer.name].transpose(0, 2, 3, 1).astype(np.int64)
    codes = net.image.quantise(IMAGES[:8]).transpose(0, 2, 3, 1).astype(np.float64)
    matrix = source.weights.transpose(2, 3, 1, 0).reshape(-1, layer.channels).astype(np.float64)
    sums = accumulate(codes, source, matrix, np.array(net.image.pad_code, np.float64)).astype(np.int64) + known.bias
    half = np.where(known.shift > 0, 1 << np.maximum(known.shift.astype(np.int64) - 1, 0), 0)
    worth = known.groups << known.shift.astype(np.int64)
    wanted = np.clip((2 * steps * (sums - half) + worth) // (2 * worth), 0, steps)
    assert 0 < spikes.mean() < steps and (known.shift > 0).all()
    if membrane == "half":
        assert (spikes == wanted).all()
    else:  # a T-th of half a spike is rounded to a whole bias
        assert np.abs(spikes - wanted).max() <= 1 and (spikes == wanted).mean() > 0.97


def test_ctt_brings_means_nearer(plain):
    """Rates of channels on the images that it learns from; thresholds stay within a factor of four."""
    conversion = dataclasses.replace(plain, time=Time(8))
    relative = ctt.train(conversion, SEEN, 2.0)
    assert relative.keys() == {layer.name for layer in plain.net.layers[:-1]}
    assert all((values >= ctt.LEAST).all() and (values <= ctt.MOST).all() for values in relative.values())
    trained = dataclasses.replace(conversion, time=Time(8, relative=relative))
    wanted = plain.net.golden(SEEN, layers=True).codes
    before, after = (other.net.golden(SEEN, layers=True).codes for other in (conversion, trained))
    assert list(relative) and any((values != 1).any() for values in relative.values())
    for name in relative:
        far, near = (np.abs(wanted[name].mean((0, 2, 3)) - codes[name].mean((0, 2, 3))) for codes in (before, after))
        assert near.mean() <= far.mean() + 1e-9
    assert sum(np.abs(wanted[n].mean((0, 2, 3)) - after[n].mean((0, 2, 3))).sum() for n in relative) < 0.5 * sum(
        np.abs(wanted[n].mean((0, 2, 3)) - before[n].mean((0, 2, 3))).sum() for n in relative
    )
    # What a spike is worth to its readers stays: weights are those of before.
    for one, other in zip(trained.net.layers, conversion.net.layers, strict=True):
        assert (one.bias == other.bias).all()
        assert all((a.weights == b.weights).all() for a, b in zip(one.sources, other.sources, strict=True))


def test_ctt_as_a_method():
    net = convert(GRAPH, None, SEEN, method="ctt", steps=4, membrane="half", signed=False)
    assert net.meta == {"method": "ctt", "steps": 4, "membrane": "half"} and net.membranes.steps == 4


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"method": "if", "steps": 0}, r"^steps must be a whole number in 1\.\.4096, not 0\.$"),
        ({"method": "if", "steps": 2.5}, r"^steps must be a whole number in 1\.\.4096, not 2\.5\.$"),
        ({"method": "asg", "steps": 256}, r"^steps must be a whole number in 1\.\.255, not 256\.$"),
        ({"method": "if", "groups": True}, r"^groups must be a whole number in 1\.\.255, not True\.$"),
        ({"method": "if", "membrane": "full"}, r"^membrane must be one of zero, half, not 'full'\.$"),
        ({"method": "if", "membrane": "half", "rounding": "floor"},
         r"^A membrane of half the threshold rounds to nearest; leave rounding='floor' out\.$"),
        ({"method": "ctt", "threshold_rate": 0}, r"^threshold_rate must lie above 0 and up to 100, not 0\.$"),
    ],
)  # fmt: skip
def test_bad_settings(settings, sentence):
    with pytest.raises(OneSpikeError, match=sentence):
        convert(GRAPH, None, SEEN, **settings)
