# SPDX-License-Identifier: Apache-2.0
"""The streaming form of whole networks: a long wait is the golden model, a short one decides too early."""

import numpy as np
import pytest

from networks import float_graph
from onespike.model.convert.converter import convert
from onespike.model.errors import OneSpikeError
from onespike.model.network import streamed
from onespike.model.network.levels import Levels
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet

GRAPH, IMAGES = float_graph()  # a maximum pool, a sum pool and a shortcut


@pytest.fixture(scope="module")
def net():
    return convert(GRAPH, None, IMAGES[:64], method="phase", base=1.3, phases=12, signed=False)


def test_a_wait_of_all_phases_is_the_golden_model(net):
    found = streamed.run(net, IMAGES[:12], 12)
    np.testing.assert_array_equal(found.logits, net.golden(IMAGES[:12]))
    assert not any(found.late.values()) and not any(found.false.values())
    assert found.neurons["a"] == 12 * 8 * 12 * 12


def test_a_shorter_wait_makes_more_late_and_false_spikes(net):
    wrong, distance = [], []
    wanted = net.golden(IMAGES[:12])
    for wait in (0, 3, 6, 9):
        found = streamed.run(net, IMAGES[:12], wait)
        assert found.late["a"] == found.false["a"] == 0  # pixels are all there from the first step
        wrong.append(sum(found.late.values()) + sum(found.false.values()))
        distance.append(np.abs(found.logits - wanted).mean())
    assert wrong[0] > wrong[1] > wrong[2] > wrong[3]
    assert distance[0] > distance[3]
    assert found.latency() == 12 + 9 + 9 * 3 and found.latency(10) == 10 * 21 + 27


def test_one_neuron_worked_out_by_hand():
    """Levels 2, 4, 8 in phases 3, 2, 1; an input of phase 1 calls for 8, one of phase 3 takes that back."""
    table = Levels((0, 2, 4, 8), (2, 3, 6), 0)
    weights = np.eye(2, dtype=int), np.array([[1, -3]]), np.array([[1]])
    names = (INPUT, "a", "b", "c")
    layers = tuple(
        Layer(name=name, sources=(Source(tensor=tensor, weights=w[:, :, None, None]),), bias=np.zeros(len(w), int),
              shift=np.zeros(len(w), int), groups=8 if name != "c" else 0, levels=table if name != "c" else None)
        for w, tensor, name in zip(weights, names, names[1:], strict=False)
    )  # fmt: skip
    net = SpikeNet(image=Image(shape=(2, 1, 1), bits=8), layers=layers)
    codes = np.array([8, 2], np.uint8).reshape(1, 2, 1, 1)  # phases 1 and 3: 8 - 6 = 2, phase 3
    logits, false = [], []
    for wait in range(4):
        found = streamed.run(net, codes, wait)
        logits.append(int(found.logits[0, 0]))
        false.append(found.false["b"])
        assert not any(found.late.values()) and found.false["a"] == 0
    assert logits == [8, 8, 2, 2] and false == [1, 1, 0, 0]


def test_what_has_no_phases_is_refused(net):
    counts = convert(GRAPH, None, IMAGES[:64])
    with pytest.raises(OneSpikeError, match=r"^The streaming form needs a phase for every value, but layer 'a' fires"):
        streamed.run(counts, IMAGES[:2], 3)
    for wait in (-1, 13, 2.5, True):
        with pytest.raises(
            OneSpikeError, match=rf"^The wait must be a whole number of phases in 0\.\.12, not {wait}\.$"
        ):
            streamed.run(net, IMAGES[:2], wait)
