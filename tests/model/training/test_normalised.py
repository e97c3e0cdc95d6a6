# SPDX-License-Identifier: Apache-2.0
"""The float network with batch norm: it begins and ends as the network that was imported, and zeros stay zeros."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from onespike.model.convert.converter import prepare
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.graph import Staircase
from onespike.model.training.clamped import FloatGraph
from onespike.model.training.normalised import Normalised, normed, trained
from onespike.model.training.prune import RowPruning

pytestmark = pytest.mark.usefixtures("one_thread")

LANES = 4


class Net(nn.Module):
    """Padding of a normalised image, two kernels in one node, both shortcuts, a grouped layer, every activation."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.e, self.f, self.h = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.d, self.g = nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2), nn.Conv2d(8, 8, 3, padding=1)
        self.c = nn.Linear(8, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu6(self.a((x - 0.5) / 0.25)), 2)
        y = F.relu(self.b(x))
        x = F.relu(self.e(y) + x)
        x = F.leaky_relu(self.f(x) + self.h(y), 0.1)
        skipped = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1))
        x = F.relu(self.g(F.relu(self.d(x))) + skipped)
        return self.c(x.mean((2, 3)))


@functools.cache
def images(number, seed=0):
    return np.random.default_rng(seed).random((number, 2, 8, 8), np.float32)


@pytest.fixture(scope="module")
def conversion():
    torch.manual_seed(0)
    return prepare(Net(), calibration=images(40), groups=15)


def answers(module, number, seed=1):
    with torch.no_grad():
        return module(torch.from_numpy(images(number, seed))).numpy()


def test_it_begins_and_ends_as_what_was_imported(conversion):
    """On other images than those that batch norm began with, whose statistics differ from them."""
    model = Normalised(conversion, images(100))
    assert model.training
    folded, model = model.result(), model.eval()
    wanted = conversion.original.run(images(20, 1)).reshape(20, -1)
    np.testing.assert_allclose(answers(model, 20), wanted, atol=1e-5)
    np.testing.assert_allclose(folded.run(images(20, 1)).reshape(20, -1), wanted, atol=1e-5)
    for before, after in zip(conversion.original.nodes, folded.nodes, strict=True):
        assert [term.tensor for term in before.terms] == [term.tensor for term in after.terms]
        for old, new in zip(before.terms, after.terms, strict=True):
            np.testing.assert_array_equal(old.weights != 0, new.weights != 0)
            assert not before.fires or not old.light or np.array_equal(old.weights, new.weights)


def test_what_has_a_batch_norm(conversion):
    """Every kernel but those of one weight a channel, and the last layer's."""
    nodes = {node.name: node for node in conversion.original.nodes}
    has = {name: sorted(normed(node, term) for term in node.terms) for name, node in nodes.items()}
    assert has == {
        "a": [True], "b": [True], "e": [False, True], "f": [True, True], "d": [True], "g": [False, True], "c": [False],
    }  # fmt: skip
    learns = {name: sorted(trained(node, term) for term in node.terms) for name, node in nodes.items()}
    assert learns == has | {"c": [True]}
    model = Normalised(conversion, images(40))
    found = [sum(isinstance(norm, nn.BatchNorm2d) for norm in norms) for norms in model.norms_of]
    assert found == [sum(norms) for norms in has.values()]


def steps(model, number=6, rate=0.02):
    """Of training towards labels that its images say."""
    optimiser = torch.optim.AdamW([found for found in model.parameters() if found.requires_grad], rate)
    x = torch.from_numpy(images(50))
    labels = (x.mean((1, 2, 3)) * 1000).long() % 4
    losses = []
    for _ in range(number):
        loss = F.cross_entropy(model(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def test_after_training_it_is_folded_again(conversion):
    model = Normalised(conversion, images(100))
    losses = steps(model)
    assert losses[-1] < losses[0]
    learns = [name for name, found in model.named_parameters() if found.requires_grad and found.grad is None]
    assert not learns
    folded, model = model.result(), model.eval()
    found, before = answers(model, 20), conversion.original.run(images(20, 1)).reshape(20, -1)
    np.testing.assert_allclose(folded.run(images(20, 1)).reshape(20, -1), found, atol=1e-4)
    assert np.abs(found - before).max() > 0.05
    grouped = next(node for node in folded.nodes if node.name == "d")
    assert not grouped.terms[0].weights[:4, 3:].any() and grouped.terms[0].weights[4:, 3:].all()


def test_rows_that_are_gone_are_zero(conversion):
    """As RowPruning says, in the forward pass and in the result; the weights that it ranks are the folded ones."""
    model = Normalised(conversion, images(100), RowPruning(conversion, images(40), 0.5, LANES))
    asked = []

    def kernels(index):
        asked.append(index)
        for number, term in enumerate(conversion.original.nodes[index].terms):
            live = model.pruning.masked(index, number, torch.ones(term.weights.shape, dtype=torch.bool)).numpy()
            there = np.count_nonzero(term.weights)
            assert np.count_nonzero(term.weights * live) > 0.95 * there  # without rows of what never fires
            np.testing.assert_allclose(model.kernels(index)[number].numpy(), term.weights * live, atol=1e-6)
        return model.kernels(index)

    model.pruning.after(1, 1, kernels)
    assert asked == [1, 2, 3, 4, 5]
    steps(model)
    folded = model.result()
    np.testing.assert_allclose(answers(model.eval(), 20), folded.run(images(20, 1)).reshape(20, -1), atol=1e-4)
    gone = 0
    for index, node in enumerate(folded.nodes):
        for number, term in enumerate(node.terms):
            kept = model.pruning.kept(index, number)
            if kept is None:
                continue
            rows = kept.repeat_interleave(LANES, 0)[: len(term.weights)].numpy()
            wanted = rows & (conversion.original.nodes[index].terms[number].weights != 0)
            np.testing.assert_array_equal(term.weights != 0, wanted)
            gone += int((~kept).sum())
    assert gone > 50


def test_bfloat16_comes_close(conversion):
    model = Normalised(conversion, images(100), kind=torch.bfloat16).eval()
    wanted = answers(FloatGraph(conversion), 20)
    found = answers(model, 20)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.03 * np.abs(wanted).max())
    assert np.abs(found - wanted).max() > 0


def test_a_network_that_is_quantised_already(conversion):
    first = conversion.original.nodes[0]
    stairs = Staircase(step=np.full(first.channels, 0.1), groups=15)
    nodes = (dataclasses.replace(first, floor=None, staircase=stairs), *conversion.original.nodes[1:])
    graph = dataclasses.replace(conversion.original, nodes=nodes)
    message = r"^Layer 'a' is quantised already, and has no float network to train; leave out train_float "
    message += r"\(--float-epochs\)\.$"
    with pytest.raises(OneSpikeError, match=message):
        Normalised(dataclasses.replace(conversion, original=graph), images(10))
