# SPDX-License-Identifier: Apache-2.0
"""Comparisons become single spikes, exact for every whole sum where the weights are whole multiples of a unit."""

import numpy as np
import pytest
import torch
from torch import nn

from onespike import OneSpikeError, convert
from onespike.model.convert.converter import graph_of
from onespike.model.convert.quantise import Arithmetic
from onespike.model.convert.single_spikes import free_units, single
from onespike.model.frontend.graph import Node, Staircase, Term
from onespike.model.network.spec import Image

FORMS = {
    "above": (lambda x, v: (x > v).float(), np.greater),
    "at least": (lambda x, v: (x >= v).float(), np.greater_equal),
    "below": (lambda x, v: (x < v).float(), np.less),
    "at most": (lambda x, v: (v >= x).to(x.dtype), np.less_equal),
    "where": (lambda x, v: torch.where(x > v, 1.0, 0.0), np.greater),
    "as a factor": (lambda x, v: (x > v) * 1.0, np.greater),
    "heaviside": (lambda x, v: torch.heaviside(x - v, torch.ones(())), np.greater_equal),
}


class Compares(nn.Module):
    """Sums of two pixels compared with a threshold; every spike is a logit of its own."""

    def __init__(self, form, weights, threshold):
        super().__init__()
        self.form, (outputs, inputs) = form, weights.shape
        self.layer, self.last = nn.Linear(inputs, outputs, bias=False), nn.Linear(outputs, outputs, bias=False)
        self.layer.weight.data[:] = torch.from_numpy(weights)
        self.last.weight.data[:] = torch.eye(outputs)
        self.threshold = nn.Parameter(torch.tensor(threshold, dtype=torch.float32))

    def forward(self, x):
        return self.last(self.form(self.layer(x), self.threshold))


@pytest.mark.parametrize(("name", "scale"), [*((name, 0.0123) for name in FORMS), ("above", 1.0), ("at least", 3.7)])
def test_every_sum_fires_as_the_comparison_says(name, scale):
    form, says = FORMS[name]
    whole = np.array([[101, 1], [127, -3], [-100, 7], [1, 0], [90, 1]])
    limit = np.array([1280, 640, -300, 13, 128])  # V / scale = 1280: a sum of 1280 is a tie
    net = convert(
        Compares(form, whole * scale, (limit * scale).tolist()).eval(),
        np.zeros((1, 2), np.float32),
        np.random.default_rng(0).integers(0, 256, (64, 2)).astype(np.float32),
        input_range=(0, 255),
    )
    codes = np.stack(np.meshgrid(np.arange(32), np.arange(256)), -1).reshape(-1, 2)
    sums = codes @ whole.T
    for tie in (-1, 0, 1):
        assert ((sums - limit == tie).any(0)).all(), "boundaries are among the sums"
    spikes = net.golden(codes.reshape(-1, 2, 1, 1)).reshape(len(codes), -1) * net.layers[-1].step
    assert np.array_equal(np.rint(spikes), says(sums, limit))
    assert net.layers[0].groups == 1


def test_thresholds_of_any_sign_and_channels_without_weights():
    weights = np.array([[0.0, 0.0], [0.0, 0.0], [0.3, -0.2]])
    net = convert(
        Compares(FORMS["above"][0], weights, [-0.5, 0.5, 0.0]).eval(),
        np.zeros((1, 2), np.float32),
        np.random.default_rng(0).random((16, 2), np.float32),
    )
    spikes = net.golden(np.array([[0, 0], [255, 0], [100, 200]]).reshape(3, 2, 1, 1)).reshape(3, 3)
    assert np.array_equal(spikes > 0, [[1, 0, 0], [1, 0, 1], [1, 0, 0]])


def test_weights_use_all_their_bits():
    weights = np.random.default_rng(1).normal(size=(8, 6))
    net = convert(
        Compares(FORMS["above"][0], weights, np.linspace(-1, 1, 8).tolist()).eval(),
        np.zeros((1, 6), np.float32),
        np.random.default_rng(0).random((64, 6), np.float32),
    )
    assert (np.abs(net.layers[0].sources[0].dense).max((1, 2, 3)) == 127).all()


def test_free_units_change_no_number():
    graph = graph_of(
        Compares(FORMS["below"][0], np.random.default_rng(2).normal(size=(5, 4)), 0.1).eval(),
        np.zeros((1, 4), np.float32),
    )
    image = Image(shape=(4, 1, 1), bits=8, scale=(1 / 255,) * 4, offset=(0.0,) * 4)
    images = np.random.default_rng(3).random((32, 4, 1, 1))
    found = free_units(graph, image, Arithmetic()).run(images)
    assert np.allclose(found, graph.run(images), rtol=0, atol=1e-12)


def test_counts_with_a_sign_are_no_single_spikes():
    term = Term(tensor="input", weights=np.full((1, 1, 1, 1), 0.3))
    for low, spike in ((0, True), (-1, False)):
        stairs = Staircase(step=np.ones(1), groups=1, low=low, rounding="floor")
        assert single(Node(name="a", terms=(term,), bias=np.zeros(1), staircase=stairs)) == spike


def test_comparisons_of_activations_are_refused_in_one_sentence():
    class Both(nn.Module):
        def forward(self, x):
            return (x[:, :2] > x[:, 2:]).float() @ torch.eye(2)

    with pytest.raises(OneSpikeError, match="compares two activations; only numbers can be the other side"):
        convert(Both().eval(), np.zeros((1, 4), np.float32), np.full((8, 4), 0.5, np.float32))
