# SPDX-License-Identifier: Apache-2.0
"""Spiking neurons over T steps, and their training at fewer and fewer steps down to one."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from onespike import OneSpikeError, convert
from onespike.model.training.data import Dataset, load
from onespike.model.training.latency import Reduction, reduce_latency
from onespike.model.training.networks import build
from onespike.model.training.spiking import GAMMA, Fire, Spike, SpikingNet
from onespike.model.training.train import Training

QUICK = Training(epochs=2, batch=20, rate=1e-2, decay=0.0, warmup=0.1, shift=0)


def small(hidden: int = 12, depth: int = 2) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(64, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.2)]
    for _ in range(depth - 1):
        layers += [nn.Linear(hidden, hidden), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden, 4)).eval()


def blobs(number: int = 300) -> Dataset:
    rng = np.random.default_rng(0)
    labels = np.arange(number) % 4
    centres = rng.random((4, 1, 8, 8)).astype(np.float32)
    images = (centres[labels] + 0.2 * rng.random((number, 1, 8, 8), np.float32)).clip(0, 1)
    return Dataset(name="blobs", images=images.astype(np.float32), labels=labels.astype(np.int64))


def same(one: nn.Module, other: nn.Module) -> bool:
    states = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in states)


def test_neurons_leak_fire_above_the_threshold_and_reset_by_subtraction():
    fire = Fire()
    with torch.no_grad():
        fire.threshold.fill_(1.0)
        fire.leak.fill_(0.5)
    currents = torch.tensor([[1.0, 1.5, 0.6], [1.0, 0.0, 0.7], [0.25, 3.0, 0.0]])
    spikes = torch.stack([fire(current) for current in currents]).detach()
    # Membranes before the reset: 1, 1.5, .5 + 1 = 1.5 (the tie stayed), .25; .3 + .7 = 1: a tie again.
    assert spikes.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    assert torch.allclose(fire.membrane.detach(), torch.tensor([0.5, 2.125, 0.5]))
    fire.clear()
    assert fire(torch.tensor([1.0])).item() == 0, "no membrane is left from the images before"


@pytest.mark.parametrize("ratio", [-0.5, 0.0, 0.25, 1.0, 1.75, 2.0, 3.0])
def test_surrogate_slope_is_a_triangle_around_the_threshold(ratio):
    threshold = torch.tensor(0.8, requires_grad=True)
    membrane = torch.tensor([ratio * 0.8], requires_grad=True)
    Spike.apply(membrane, threshold).backward()
    slope = GAMMA * max(0.0, 1 - abs(ratio - 1))
    assert membrane.grad.item() == pytest.approx(slope / 0.8, abs=1e-6)
    assert threshold.grad.item() == pytest.approx(-slope * ratio / 0.8, abs=1e-6)


def test_batch_norm_is_folded_and_the_dropout_mask_is_held_over_all_steps():
    ann = small(depth=1)
    ann[2].running_mean.fill_(0.3)
    ann[2].weight.data.fill_(-1.5)
    net = SpikingNet(ann, 3)
    x = torch.rand(5, 1, 8, 8)
    assert torch.allclose(net.layers[1](x.flatten(1)), ann[:3](x), atol=1e-5)
    torch.nn.init.constant_(net.fires[0].threshold, 1e-3)
    net.train()
    seen = []
    net.layers[-1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        net(x)
        net(x)
    masks = [(step == 0) for step in seen]
    alive = seen[0] + seen[1] + seen[2] > 0
    assert all(torch.equal(m & alive, masks[0] & alive) for m in masks[:3])
    assert not torch.equal(masks[0], masks[3]), "the next images have another mask"


def test_thresholds_begin_at_the_percentile_and_the_weights_behind_carry_the_spikes_worth():
    ann = small()
    net, x = SpikingNet(ann, 4), torch.rand(200, 1, 8, 8)
    weights = net.layers[4].weight.detach().clone()
    net.balance(x, 75.0)
    current = net.layers[1](x.flatten(1)).detach()
    assert net.fires[0].threshold.item() == pytest.approx(float(current.quantile(0.75)), rel=1e-5)
    assert torch.allclose(net.layers[4].weight, weights * net.fires[0].threshold)
    net.steps = 1
    assert net.rates(x)[0] == pytest.approx(0.25, abs=0.01)
    macs, neurons = net.sizes(x[:1])
    assert (macs, neurons) == ([64 * 12, 144, 48], [12, 12])


def test_one_step_without_state_is_the_same_network_and_becomes_single_spikes():
    net = SpikingNet(small(), 2)
    x = torch.from_numpy(blobs(64).images.round())  # 0 or 1: pixels lose nothing
    net.balance(x, 60.0)
    net.steps = 1
    net.eval()
    module = net.one_step()
    assert torch.equal(module(x), net(x))
    integers = convert(module, x[:1].numpy(), x.numpy(), input_bits=1, weight_bits=16, refit=False)
    assert [layer.groups for layer in integers.layers] == [1, 1, 0]
    logits = integers.golden(x.numpy()).reshape(64, 4) * integers.layers[-1].step
    assert np.allclose(logits, module(x).detach().numpy(), atol=1e-3)


@pytest.mark.filterwarnings("error")
def test_stages_follow_each_other_and_a_second_run_finds_them(tmp_path):
    data = blobs()
    told = []
    plan = Reduction(steps=(3, 1), training=QUICK)
    run = lambda: reduce_latency(small(), data, data, plan, tmp_path, progress=False, told=told.append)  # noqa: E731
    net, stages = run()
    assert [(s.steps, s.reused, s.kept) for s in stages] == [(3, False, 1), (1, False, 1)]
    assert told == stages and stages[1].accuracy > 0.5
    again, known = run()
    assert [dataclasses.replace(s, reused=False) for s in known] == stages and all(s.reused for s in known)
    assert same(net, again)
    assert not list(tmp_path.glob("*.checkpoint"))


def test_weights_that_are_zero_stay_zero(tmp_path):
    ann, data = small(), blobs()
    with torch.no_grad():
        ann[5].weight[:, ::2] = 0
    net, stages = reduce_latency(ann, data, data, Reduction(steps=(2, 1), training=QUICK), tmp_path, progress=False)
    assert torch.equal(net.layers[4].weight != 0, ann[5].weight != 0)
    assert not torch.equal(net.layers[4].weight, ann[5].weight), "the others learned"
    assert {stage.kept for stage in stages} == {1 - 72 / (768 + 144 + 48)}


def test_an_interrupted_stage_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    data, plan = blobs(), Reduction(steps=(3, 2, 1), training=QUICK)
    wanted, _ = reduce_latency(small(), data, data, plan, tmp_path / "whole", progress=False)
    from onespike.model.training import train

    kept = train._keep

    def broken(path, epoch, *state):
        kept(path, epoch, *state)
        if epoch == 1 and len(list((tmp_path / "broken").glob("*.npz"))) == 2:  # in the last stage
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "_keep", broken)
    with pytest.raises(KeyboardInterrupt):
        reduce_latency(small(), data, data, plan, tmp_path / "broken", progress=False)
    monkeypatch.setattr(train, "_keep", kept)
    found, stages = reduce_latency(small(), data, data, plan, tmp_path / "broken", progress=False)
    assert [s.reused for s in stages] == [True, True, False]
    assert same(wanted, found)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": (5, 3)}, "end with 1, not \\[5, 3\\]"),
        ({"steps": (3, 3, 1)}, "must fall from stage to stage"),
        ({"steps": ()}, "whole numbers in 1..100"),
        ({"percentile": 100.0}, "between 0 and 100, not 100"),
        ({"steps": (3, 1), "epochs": (1, 2, 3)}, "one for each of 2 stages, at least 1, not \\[1, 2, 3\\]"),
        ({"steps": (3, 1), "epochs": (0,)}, "at least 1, not \\[0\\]"),
    ],
)
def test_settings_that_cannot_be(settings, sentence):
    with pytest.raises(OneSpikeError, match=sentence):
        Reduction(**settings)


@pytest.mark.parametrize(("epochs", "each"), [((), [4, 4, 4]), ((7,), [7, 7, 7]), ((1, 2, 5), [1, 2, 5])])
def test_every_stage_may_have_epochs_of_its_own(epochs, each):
    plan = Reduction(steps=(3, 2, 1), training=Training(epochs=4), epochs=epochs)
    assert [training.epochs for training in plan.trainings] == each


def test_a_longer_last_stage_goes_on_from_those_before(tmp_path):
    data = blobs()
    first = Reduction(steps=(2, 1), training=QUICK)
    _, before = reduce_latency(small(), data, data, first, tmp_path, progress=False)
    longer = Reduction(steps=(2, 1), training=QUICK, epochs=(QUICK.epochs, QUICK.epochs + 1))
    _, after = reduce_latency(small(), data, data, longer, tmp_path, progress=False)
    assert [stage.reused for stage in before + after] == [False, False, True, False]


def test_networks_and_trainings_that_cannot_be(tmp_path):
    data = blobs(40)

    def run(ann, **settings):
        plan = Reduction(**{"steps": (1,), "training": QUICK, **settings})
        reduce_latency(ann, data, data, plan, tmp_path, progress=False)

    with pytest.raises(OneSpikeError, match="one after the other; Tanh"):
        run(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 4)))
    with pytest.raises(OneSpikeError, match="one after the other"):
        run(build("resnet20"))
    with pytest.raises(OneSpikeError, match="needs a ReLU, and ends with"):
        run(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    silent = small(depth=1)
    silent[1].bias.data.fill_(-1e3)
    with pytest.raises(OneSpikeError, match=r"spiking layer 1 adds up is .*give a larger percentile"):
        run(silent)
    with pytest.raises(OneSpikeError, match=r"At T = 1 the threshold of spiking layer . became .*lower --stage-rate"):
        run(small(), training=dataclasses.replace(QUICK, rate=50.0, epochs=4))


@pytest.mark.slow
def test_digits_lose_little_at_one_timestep(tmp_path):
    from onespike.model.training.train import train

    data, held_out = load("digits", "train"), load("digits", "test")
    ann = train(build("mlp"), data, Training(epochs=6), progress=False)
    plan = Reduction(steps=(5, 3, 1), training=Training(epochs=3, rate=1e-3, decay=0.0, warmup=0.1))
    _, stages = reduce_latency(ann, data, held_out, plan, tmp_path, progress=False)
    assert stages[-1].accuracy > 0.93 and stages[-1].rates[0] < 0.25
