# SPDX-License-Identifier: Apache-2.0
"""Environments of gymnasium whose state is a row of numbers and whose actions are a few: CartPole and the like.

A network sees every number as a feature of [-1, 1], its share of the largest magnitude that occurs: the environment's
own bound where it has one, else that of episodes played at random. What lies beyond is clipped, as the engine's pixels
are.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..errors import OneSpikeError

PREFIX = "gym:"
BOUNDED = 1e3  # a larger bound is none
TRIED = 200  # episodes played at random to find the scale of numbers without a bound
ROOM = 2.0  # a policy goes farther than chance does: so many times


def is_environment(source: str) -> bool:
    """Whether a data source names an environment, as in gym:CartPole-v1."""
    return source.startswith(PREFIX)


class Environment:
    """One environment by its name, with or without `gym:`.

    features, actions: how many. solved: the mean return that solves it, infinite where it does
    not say. Raises OneSpikeError without gymnasium, for unknown names, and
    for environments of another kind.
    """

    def __init__(self, source: str) -> None:
        try:
            import gymnasium
        except ModuleNotFoundError:
            raise OneSpikeError("Environments need gymnasium; run `pip install onespike[gym]`.") from None
        self.name = source.removeprefix(PREFIX)
        try:
            self.gym: Any = gymnasium.make(self.name)
        except (gymnasium.error.Error, ModuleNotFoundError, ImportError) as error:
            raise OneSpikeError(
                f"gymnasium has no environment {self.name!r} here ({str(error).splitlines()[0].rstrip('.')}); "
                f"give one such as gym:CartPole-v1."
            ) from None
        space, actions = self.gym.observation_space, self.gym.action_space
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise OneSpikeError(
                f"{self.name}'s state is no row of numbers, but {space}; choose one such as CartPole-v1."
            )
        if not isinstance(actions, gymnasium.spaces.Discrete) or actions.start != 0:
            raise OneSpikeError(
                f"{self.name}'s actions are not 0, 1 .., but {actions}; choose one such as CartPole-v1."
            )
        asked = getattr(self.gym.spec, "reward_threshold", None)
        self.solved = math.inf if asked is None else float(asked)
        self.features, self.actions = int(space.shape[0]), int(actions.n)

    @functools.cached_property
    def scale(self) -> np.ndarray:
        """What a feature of 1 means, float64 [features]."""
        space = self.gym.observation_space
        bound = np.maximum(np.abs(space.high), np.abs(space.low)).astype(np.float64)
        if (bound < BOUNDED).all():
            return bound
        return np.where(bound < BOUNDED, bound, ROOM * self._seen(self.features))

    def _seen(self, features: int) -> np.ndarray:
        """The largest magnitude of every number in episodes played at random."""
        rng, most = np.random.default_rng(0), np.full(features, 1e-6)
        for episode in range(TRIED):
            state, _ = self.gym.reset(seed=episode)
            over = False
            while not over:
                most = np.maximum(most, np.abs(state))
                state, _, end, cut, _ = self.gym.step(int(rng.integers(self.actions)))
                over = end or cut
        return most

    def reset(self, seed: int) -> np.ndarray:
        """Begin an episode; its first features float32 [features]."""
        scale = self.scale  # first of all: to find it, episodes may be played
        return self._shown(self.gym.reset(seed=seed)[0], scale)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool]:
        """Features, reward, whether the episode has ended, and whether it was cut for its length."""
        state, reward, end, cut, _ = self.gym.step(action)
        return self._shown(state, self.scale), float(reward), bool(end), bool(cut)

    @staticmethod
    def _shown(state: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip(state / scale, -1, 1), np.float32)
