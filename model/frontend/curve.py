# SPDX-License-Identifier: Apache-2.0
"""Activations that bend below 0, and their inverses: a table of levels fires by thresholds on the sum before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import OneSpikeError

KINDS = ("leak", "elu", "tanh")


@dataclass(frozen=True)
class Curve:
    """A strictly rising function with f(0) = 0.

    leak: x where x >= 0, else alpha * x. elu: x where x >= 0, else alpha * (exp(x) - 1). tanh: without an alpha.
    """

    kind: str
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not self.alpha > 0:
            raise OneSpikeError(f"A curve must be one of {', '.join(KINDS)} with alpha above 0, not {self}.")

    @property
    def homogeneous(self) -> bool:
        """Whether f(s * x) = s * f(x) for every s above 0: channels may count in steps of their own."""
        return self.kind == "leak"

    @property
    def floor(self) -> float | None:
        """What it stays above."""
        return {"leak": None, "elu": -self.alpha, "tanh": -1.0}[self.kind]

    @property
    def ceiling(self) -> float | None:
        """What it stays below."""
        return 1.0 if self.kind == "tanh" else None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """f(x), in the float type of x."""
        if self.kind == "tanh":
            return np.asarray(np.tanh(x))
        bend: Callable[[np.ndarray], np.ndarray] = np.expm1 if self.kind == "elu" else np.asarray
        return np.where(x < 0, x.dtype.type(self.alpha) * bend(np.minimum(x, 0)), x)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """x with f(x) = y; infinite where f stays below or above y."""
        y = np.asarray(y, np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.kind == "tanh":
                return np.where(np.abs(y) < 1, np.arctanh(np.clip(y, -1, 1)), np.copysign(np.inf, y))
            below = y / self.alpha
            if self.kind == "elu":
                below = np.log1p(np.maximum(below, -1.0))
            return np.where(y < 0, below, y)
