# SPDX-License-Identifier: Apache-2.0
"""Deep Q learning in an environment that needs no luck, and CartPole's numbers as features."""

import math

import numpy as np
import pytest
import torch

from onespike import OneSpikeError
from onespike.model.training import dqn, environment
from onespike.model.training.dqn import Memory, Policy, QLearning, Returns, follow, judged, learn
from onespike.model.training.spiking import SpikingNet

pytest.importorskip("gymnasium")


class Corridor:
    """Eight places: going right (action 1) to the last earns 1 and ends, a step costs 0.05, 30 steps are the most."""

    features, actions, solved = 8, 2, 0.6

    def reset(self, seed):
        self.place, self.steps = seed % 3, 0
        return self._state()

    def step(self, action):
        self.place = max(0, self.place + (1 if action == 1 else -1))
        self.steps += 1
        end = self.place == 7
        return self._state(), 1.0 * end - 0.05, end, self.steps >= 30

    def _state(self):
        return (np.arange(8) == self.place).astype(np.float32)


def test_a_corridor_is_learned_with_relu_and_then_with_single_spikes():
    torch.manual_seed(0)
    network, memory = Policy(8, 2, hidden=16), Memory(2000, 8)
    told = []
    learn(Corridor(), network, QLearning(steps=1000, first=200, copy=50), memory, lambda *told_: told.append(told_))
    assert judged(Corridor(), network).mean > 0.6
    assert 0 < len(told) <= dqn.CHECKS and told[0][0] == 50
    spiking = SpikingNet(network, 2)
    spiking.balance(torch.from_numpy(memory.seen), 75.0)
    for steps in (2, 1):
        spiking.steps = steps
        if steps == 1:
            follow(spiking, network, memory.seen, QLearning(steps=20, follow=100))
        learn(Corridor(), spiking, QLearning(steps=1000, first=1, copy=50, start=0.1, seed=steps), memory)
    returns = judged(Corridor(), spiking)
    assert returns.mean > 0.6 and returns.deviation >= 0
    same = judged(Corridor(), spiking.one_step())
    assert same == returns


def test_equal_seeds_give_equal_policies():
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        network = Policy(8, 2, hidden=8)
        learn(Corridor(), network, QLearning(steps=300, first=50, seed=5), Memory(300, 8))
        found.append(torch.cat([value.flatten() for value in network.state_dict().values()]))
    assert torch.equal(*found)


def test_memory_keeps_the_last_transitions():
    memory = Memory(3, 1)
    for value in range(5):
        memory.add(np.full(1, value), value % 2, float(value), value == 4, np.full(1, value + 1))
    assert sorted(memory.seen.ravel()) == [2, 3, 4] and memory.seen.shape == (3, 1, 1, 1)
    states, actions, rewards, ends, nexts = memory.draw(50, np.random.default_rng(0))
    assert set(states[:, 0].tolist()) == {2, 3, 4} and torch.equal(nexts, states + 1)
    assert torch.equal(rewards, states[:, 0]) and torch.equal(ends, states[:, 0] == 4)
    assert torch.equal(actions, states[:, 0].long() % 2)


def test_returns_have_the_deviation_of_a_sample():
    assert (Returns(episodes=(1.0, 3.0)).mean, Returns(episodes=(1.0, 3.0)).deviation) == (2.0, math.sqrt(2))


def test_cartpole_is_a_row_of_signed_features():
    found = environment.Environment("gym:CartPole-v1")
    assert (found.features, found.actions, found.solved) == (4, 2, 475.0)
    assert found.scale[0] == pytest.approx(4.8) and found.scale[2] == pytest.approx(0.4189, abs=1e-4)
    assert np.isfinite(found.scale).all() and (found.scale[1::2] > 1).all()
    first = found.reset(7)
    assert first.dtype == np.float32 and first.shape == (4,)
    assert np.array_equal(first, found.reset(7)) and not np.array_equal(first, found.reset(8))
    state, reward, end, cut = found.step(1)
    assert (reward, end, cut) == (1.0, False, False) and (np.abs(state) <= 1).all() and state[1] > first[1]
    total, states, actions = dqn.play(found, lambda state: 0, 7)
    assert total == len(states) == len(actions) < 15


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gym:NoSuch-v0", "gymnasium has no environment 'NoSuch-v0' here"),
        ("gym:Pendulum-v1", "actions are not 0, 1 .., but Box"),
        ("gym:FrozenLake-v1", "state is no row of numbers, but Discrete"),
    ],
)
def test_environments_that_cannot_be(name, sentence):
    with pytest.raises(OneSpikeError, match=sentence):
        environment.Environment(name)


def test_without_gymnasium_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(OneSpikeError, match=r"pip install onespike\[gym\]"):
        environment.Environment("gym:CartPole-v1")
