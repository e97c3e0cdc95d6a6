# SPDX-License-Identifier: Apache-2.0
"""A policy from an environment to single spikes, and the episode that the integers play."""

import json

import numpy as np
import pytest

from onespike.cli import main
from onespike.commands import policy
from onespike.model.network.spec import SpikeNet
from onespike.model.training import dqn
from onespike.model.training.environment import Environment

pytest.importorskip("gymnasium")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(policy, "RELU_STEPS", 1100)
        patched.setattr(policy, "STAGE_STEPS", 20)
        patched.setattr(policy, "FOLLOW", 50)
        patched.setattr(dqn, "CHECKED", 1)
        words = ["train", "--data", "gym:CartPole-v1", "--method", "one-timestep", "--steps", "2,1"]
        assert main([*words, "-o", str(folder / "a.pt2"), "--json", str(folder / "a.json")]) == 0
    words = ["convert", str(folder / "a.pt2"), "--calibration", str(folder / "a.npy"), "--input-range", "-1", "1"]
    assert main([*words, "-o", str(folder / "a.spike")]) == 0
    return folder


def test_every_network_is_judged_and_the_last_is_of_single_spikes(trained):
    found = json.loads((trained / "a.json").read_text())
    assert [row["network"] for row in found["returns"]] == ["ReLU", "T = 2", "T = 1"]
    assert all(row["episodes"] == 20 and row["least"] <= row["mean"] <= row["most"] for row in found["returns"])
    net = SpikeNet.load(trained / "a.spike")
    assert [layer.groups for layer in net.layers] == [1, 1, 0] and net.image.shape == (4, 1, 1)


def test_an_episode_is_what_the_golden_model_decides(trained, tmp_path, capsys):
    path, figures = tmp_path / "episode.npz", tmp_path / "a.json"
    words = ["play", str(trained / "a.spike"), "--environment", "gym:CartPole-v1", "--episodes", "2"]
    assert main([*words, "-o", str(path), "--json", str(figures)]) == 0
    assert "onespike simulate" in capsys.readouterr().out
    net, found = SpikeNet.load(trained / "a.spike"), json.loads(figures.read_text())
    with np.load(path) as archive:
        states, actions = archive["images"], archive["labels"]
    assert len(states) == sum(found["each"]) and found["episodes"] == 2
    assert np.array_equal(net.golden(states).reshape(-1, 2).argmax(1), actions)
    environment = Environment("gym:CartPole-v1")  # the states follow from the actions
    state = environment.reset(2_000_000)
    for wanted, action in zip(states[: int(found["each"][0])], actions, strict=False):
        assert np.array_equal(wanted[:, 0, 0], state)
        state, _, end, cut = environment.step(int(action))
    assert end or cut


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--data", "gym:CartPole-v1", "--epochs", "3", "-o", "a.pt2"], "--epochs is about images"),
        (["train", "--data", "gym:Nothing-v0", "-o", "a.pt2"], "gymnasium has no environment 'Nothing-v0'"),
        (["play", "a.spike", "--environment", "gym:Acrobot-v1"], "Acrobot-v1 has 6 features and 3 actions"),
    ],
)
def test_what_cannot_be_is_one_sentence(words, sentence, trained, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert sentence in shown and "Traceback" not in shown
