# SPDX-License-Identifier: Apache-2.0
"""Deep Q learning (Mnih et al., Nature 2015; double: van Hasselt et al., arXiv 1509.06461) of small policies, first
with ReLU, then with spiking neurons over fewer and fewer steps (latency.py). A spiking network first learns, at every
number of steps, what the ReLU network says on the states that it has seen, and then goes on as that did: Q learning
alone did not get a spiking policy back to where its ReLU network was in the thousands of steps that were tried.

What a policy earns is noisy and falls now and then: of the weights at each of CHECKS points, those count that do best
in episodes of their own, and where the environment says what solves it, SOLVED checks in a row that reach it end the
training. The episodes that are reported have other seeds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import OneSpikeError
from ..frontend.torch_threads import torch_threads
from .environment import Environment
from .spiking import SpikingNet

CHECKS = 20
CHECKED = 10  # episodes at each, and before
FOLLOW_RATE, FOLLOW_BATCH = 4e-3, 256
SOLVED = 3
CHECK_SEED, JUDGE_SEED = 1_000_000, 2_000_000  # of the first episode that chooses weights, and that is reported


@dataclass(frozen=True, kw_only=True)
class QLearning:
    """Settings. steps: of the environment. explore: share of them over which random actions fall from `start` to
    `least`. memory: transitions kept; first: taken at random before any training; copy: steps between copies of the
    network that values are asked of. follow: steps in which a spiking network first learns the values of the ReLU one.
    """

    steps: int = 30_000
    batch: int = 64
    rate: float = 1e-3
    discount: float = 0.99
    memory: int = 30_000
    first: int = 1_000
    copy: int = 500
    explore: float = 0.3
    start: float = 1.0
    least: float = 0.02
    follow: int = 3_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < CHECKS or self.batch < 1 or not self.rate > 0 or self.memory < self.batch:
            raise OneSpikeError(f"Q learning needs at least {CHECKS} steps, a batch and a positive rate, not {self}.")


@dataclass(frozen=True, kw_only=True)
class Returns:
    """Sums of rewards of whole episodes, played greedily."""

    episodes: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.episodes))

    @property
    def deviation(self) -> float:
        return float(np.std(self.episodes, ddof=1))


class Policy(nn.Sequential):
    """Two hidden layers of 64, and the value of every action; for rows of features given as images [N, F, 1, 1]."""

    def __init__(self, features: int, actions: int, hidden: int = 64) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, actions),
        )  # fmt: skip


class Memory:
    """The last transitions, of which batches are drawn."""

    def __init__(self, size: int, features: int) -> None:
        self.states, self.nexts = (np.zeros((size, features), np.float32) for _ in range(2))
        self.actions, self.rewards, self.ends = (
            np.zeros(size, np.int64),
            np.zeros(size, np.float32),
            np.zeros(size, bool),
        )
        self.count = 0

    def add(self, state: np.ndarray, action: int, reward: float, end: bool, following: np.ndarray) -> None:
        at = self.count % len(self.actions)
        self.states[at], self.nexts[at] = state, following
        self.actions[at], self.rewards[at], self.ends[at] = action, reward, end
        self.count += 1

    @property
    def seen(self) -> np.ndarray:
        """The states that are kept, as images float32 [N, F, 1, 1]."""
        return self.states[: min(self.count, len(self.states)), :, None, None]

    def draw(self, number: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        at = rng.integers(min(self.count, len(self.actions)), size=number)
        found = (self.states[at], self.actions[at], self.rewards[at], self.ends[at], self.nexts[at])
        return tuple(torch.from_numpy(array) for array in found)


def values(network: nn.Module, state: np.ndarray) -> np.ndarray:
    """What every action is worth in one state."""
    with torch.no_grad():
        found: np.ndarray = network(torch.from_numpy(state)[None, :, None, None])[0].numpy()
    return found


def play(
    environment: Environment, decide: Callable[[np.ndarray], int], seed: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """One episode: the sum of rewards, the states float32 [T, F] and the actions [T]."""
    state, total, over = environment.reset(seed), 0.0, False
    states, actions = [], []
    while not over:
        action = decide(state)
        states.append(state)
        actions.append(action)
        state, reward, end, cut = environment.step(action)
        total, over = total + reward, end or cut
    return total, np.stack(states), np.array(actions)


def judged(environment: Environment, network: nn.Module, episodes: int = 20, seed: int = JUDGE_SEED) -> Returns:
    """Whole episodes, played greedily."""
    network.eval()

    def decide(state: np.ndarray) -> int:
        return int(values(network, state).argmax())

    return Returns(episodes=tuple(play(environment, decide, seed + i)[0] for i in range(episodes)))


def follow(network: nn.Module, teacher: nn.Module, states: np.ndarray, plan: QLearning) -> None:
    """Train `network` in place on what `teacher` says that the actions are worth in states [N, F, 1, 1]."""
    rng, seen = np.random.default_rng(plan.seed), torch.from_numpy(states)
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], FOLLOW_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, FOLLOW_RATE, total_steps=plan.follow)
    network.train()
    with torch_threads(1):
        with torch.no_grad():
            wanted = teacher(seen)
        for _ in range(plan.follow):
            at = torch.from_numpy(rng.integers(len(seen), size=FOLLOW_BATCH))
            optimiser.zero_grad()
            F.smooth_l1_loss(network(seen[at]), wanted[at]).backward()
            optimiser.step()
            schedule.step()
            _check(network)
    network.eval()


def learn(
    environment: Environment,
    network: nn.Module,
    plan: QLearning,
    memory: Memory,
    progress: Callable[[int, str], None] | None = None,
) -> float:
    """Train `network` in place; the mean return of the episodes that chose its weights, which may be those it had.

    memory: filled on the way; it may hold what was seen before. progress: gets the steps that are done, and a note.
    """
    rng = np.random.default_rng(plan.seed)
    frozen = copy.deepcopy(network)
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], plan.rate)
    best, kept = judged(environment, network, CHECKED, CHECK_SEED).mean, copy.deepcopy(network.state_dict())
    if best >= environment.solved:  # nothing is left to learn
        network.eval()
        return float(best)
    episode = plan.seed * 10_000
    network.train()
    state, solved = environment.reset(episode), 0
    with torch_threads(1):  # so small a network is fastest on one
        for step in range(1, plan.steps + 1):
            share = min(1.0, step / (plan.explore * plan.steps))
            chance = plan.start + share * (plan.least - plan.start)
            random = rng.random() < chance
            action = int(rng.integers(environment.actions)) if random else int(values(network, state).argmax())
            following, reward, end, cut = environment.step(action)
            memory.add(state, action, reward, end, following)
            state = following
            if end or cut:
                episode += 1
                state = environment.reset(episode)
            if memory.count >= plan.first:
                _improve(network, frozen, optimiser, memory.draw(plan.batch, rng), plan.discount)
            if step % plan.copy == 0:
                frozen.load_state_dict(network.state_dict())
            if step % (plan.steps // CHECKS) == 0:
                found = judged(environment, network, CHECKED, CHECK_SEED).mean
                network.train()
                state = environment.reset(episode := episode + 1)
                if found >= best:
                    best, kept = found, copy.deepcopy(network.state_dict())
                if progress is not None:
                    progress(step, f"{found:.0f}, best {best:.0f}")
                solved = solved + 1 if found >= environment.solved else 0
                if solved == SOLVED:
                    break
    network.load_state_dict(kept)
    network.eval()
    return float(best)


def _improve(
    network: nn.Module, frozen: nn.Module, optimiser: torch.optim.Optimizer, batch: tuple[Tensor, ...], discount: float
) -> None:
    """One step of double Q learning."""
    states, actions, rewards, ends, nexts = batch
    states, nexts = states[:, :, None, None], nexts[:, :, None, None]
    with torch.no_grad():
        chosen = network(nexts).argmax(1, keepdim=True)
        ahead = frozen(nexts).gather(1, chosen)[:, 0]
        wanted = rewards + discount * ahead * ~ends
    found = network(states).gather(1, actions[:, None])[:, 0]
    optimiser.zero_grad()
    F.smooth_l1_loss(found, wanted).backward()
    nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimiser.step()
    _check(network)


def _check(network: nn.Module) -> None:
    if isinstance(network, SpikingNet):
        network.check()
