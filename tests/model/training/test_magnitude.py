# SPDX-License-Identifier: Apache-2.0
"""Weights that go while a network trains: which, how many, and that they stay gone."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from onespike import OneSpikeError
from onespike.model.training import magnitude, train
from onespike.model.training.magnitude import prune, scores
from onespike.model.training.train import Training

from .test_latency import blobs, same, small

QUICK = Training(epochs=4, batch=20, rate=1e-2, shift=0)


def left(module: nn.Module) -> list[int]:
    return [int((layer.weight != 0).sum()) for layer in magnitude.weighted(module)]


def convolutions() -> nn.Module:
    """Inner layers of 36 and 1,024 weights."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()]
    layers += [nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4)]
    return nn.Sequential(*layers)


def test_scores_are_those_of_the_paper():
    weights = torch.tensor([[3.0, -1.0], [0.0, 2.0]])
    assert torch.allclose(scores(weights), torch.tensor([[1, 1 / 14], [0, 4 / 13]], dtype=torch.float64))
    assert torch.equal(scores(weights * 8), scores(weights)), "a layer's scale does not matter"
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 5)).astype(np.float32)
    squares = weights.astype(np.float64).flatten() ** 2
    wanted = [square / squares[squares >= square].sum() for square in squares]
    assert np.allclose(scores(torch.from_numpy(weights)).flatten(), wanted, rtol=1e-12)
    assert scores(torch.zeros(2, 2)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9])
def test_as_many_inner_weights_go_as_asked_for_and_the_others_learn(share, tmp_path):
    module, data = convolutions(), blobs()
    before = copy.deepcopy(module.state_dict())
    assert prune(module, data, QUICK, share, tmp_path, progress=False) is False
    first, *inner, last = left(module)
    assert (first, last) == (18, 128) and sum(inner) == 1060 - int(share * 1060)
    if share:
        assert inner[0] / 36 > inner[1] / 1024, "the large layer loses more"
    assert not module.training and module.state_dict().keys() == before.keys()
    assert train.accuracy(module, data) > 0.9
    assert all(not torch.equal(layer.weight, before[f"{place}.weight"]) for place, layer in enumerate(module)
               if hasattr(layer, "weight"))  # fmt: skip


@pytest.mark.parametrize(("share", "stay"), [(0.1, 804), (0.5, 530)])
def test_weights_that_were_zero_stay_zero_and_count(share, stay, tmp_path):
    module = convolutions()
    with torch.no_grad():
        module[7].weight[:, :8] = 0
    prune(module, blobs(), QUICK, share, tmp_path, progress=False)
    assert not module[7].weight[:, :8].any() and sum(left(module)[1:-1]) == stay


def test_weights_go_gradually_in_the_first_half_of_the_steps_and_never_come_back(tmp_path, monkeypatch):
    module, seen, kept = convolutions(), [], []
    fit = train.fit

    def watched(*args, after, **options):
        def told(done, steps):
            after(done, steps)
            seen.append(sum(left(module)[1:-1]))
            kept.append(module[7].weight != 0)

        fit(*args, after=told, **options)

    monkeypatch.setattr(train, "fit", watched)
    prune(module, blobs(), QUICK, 0.8, tmp_path, progress=False)
    assert len(seen) == 60
    assert all(one >= other for one, other in itertools.pairwise(seen))
    assert all(not (later & ~now).any() for now, later in itertools.pairwise(kept))
    assert seen[14] == 1060 - int(0.8 * 1060 * 0.875), "half of them are 7 / 8 of the way"
    assert seen[28] > seen[29] == seen[-1] == 1060 - 848
    assert seen[0] > 0.8 * 1060, "few at once"


def test_the_largest_weight_of_every_layer_stays(tmp_path):
    module = convolutions()
    prune(module, blobs(), QUICK, 0.9999, tmp_path, progress=False)
    assert left(module) == [18, 1, 1, 128]


def test_a_second_run_finds_it_and_other_settings_do_not(tmp_path):
    data = blobs()
    run = lambda **how: prune(  # noqa: E731
        how.pop("module", convolutions()), how.pop("data", data), dataclasses.replace(QUICK, **how), 0.5, tmp_path,
        progress=False,
    )  # fmt: skip
    first, again = convolutions(), convolutions()
    assert run(module=first) is False and run(module=again) is True
    assert same(first, again) and not again.training
    assert run(seed=1) is False and run(epochs=1) is False and run(data=blobs(299)) is False
    other = convolutions()
    with torch.no_grad():
        other[0].bias[0] += 1
    assert run(module=other) is False
    assert not list(tmp_path.glob("*.checkpoint"))


@pytest.mark.parametrize("epochs", [1, 3])
def test_an_interrupted_run_goes_on_to_the_same_weights(epochs, tmp_path, monkeypatch):
    wanted, found = convolutions(), convolutions()
    prune(wanted, blobs(), QUICK, 0.7, tmp_path / "whole", progress=False)
    keep = train._keep

    def broken(path, epoch, *state):
        keep(path, epoch, *state)
        if epoch == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "_keep", broken)
    with pytest.raises(KeyboardInterrupt):
        prune(convolutions(), blobs(), QUICK, 0.7, tmp_path / "broken", progress=False)
    monkeypatch.setattr(train, "_keep", keep)
    assert prune(found, blobs(), QUICK, 0.7, tmp_path / "broken", progress=False) is False
    assert same(wanted, found)


def test_what_cannot_be_pruned(tmp_path):
    with pytest.raises(OneSpikeError, match="at least 0 and below 1, not 1"):
        prune(convolutions(), blobs(40), QUICK, 1.0, tmp_path, progress=False)
    with pytest.raises(OneSpikeError, match="Nothing to prune: the first and the last layer stay whole"):
        prune(small(depth=1), blobs(40), QUICK, 0.5, tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
