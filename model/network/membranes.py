# SPDX-License-Identifier: Apache-2.0
"""Membranes: what a network needs beside its layers to run over T steps, as integrate-and-fire neurons do.

A reference model, without hardware: the engine keeps no membrane. See `stepped.py` for what is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import OneSpikeError
from . import fields

if TYPE_CHECKING:
    from .spec import Layer, SpikeNet

MOST_STEPS = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Membranes:
    """steps: T. theta, start: of every firing layer int64 [channels], in units of its accumulator: the sum at which a
    neuron fires and that its reset subtracts, above 0; and the membrane before the first step.
    """

    steps: int
    theta: Mapping[str, np.ndarray]
    start: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", fields.whole(self.steps, "The number of steps"))
        if not 1 <= self.steps <= MOST_STEPS:
            raise OneSpikeError(f"The number of steps must lie in 1..{MOST_STEPS}, not {self.steps}.")
        for name in ("theta", "start"):
            given = {
                layer: fields.integers(values, np.int64, f"Layer {layer!r}: {name}", 1)
                for layer, values in getattr(self, name).items()
            }
            object.__setattr__(self, name, given)

    def check(self, net: SpikeNet) -> None:
        """OneSpikeError unless all firing layers of the network, and no other, have numbers, and fire counts from 0."""
        net.require_counts("A network of T steps")
        firing = {layer.name: layer for layer in net.layers if layer.fires}
        for name in ("theta", "start"):
            found = getattr(self, name)
            if found.keys() != firing.keys():
                odd = sorted(found.keys() ^ firing.keys())[0]
                raise OneSpikeError(f"Every firing layer needs a {name}, and no other one: see {odd!r}.")
            for layer, values in found.items():
                if len(values) != firing[layer].channels:
                    raise OneSpikeError(f"Layer {layer!r} has {firing[layer].channels} channels, not {len(values)}.")
        for layer, values in self.theta.items():
            if values.min() < 1:
                raise OneSpikeError(f"Layer {layer!r}: theta must be positive, not {values.min()}.")

    @classmethod
    def of(cls, layers: Iterable[Layer], steps: int) -> Membranes:
        """Those of counts: theta is worth g of them, and nothing is there before the first step."""
        firing = [layer for layer in layers if layer.fires]
        return cls(
            steps=steps,
            theta={layer.name: layer.groups << layer.shift.astype(np.int64) for layer in firing},
            start={layer.name: np.zeros(layer.channels, np.int64) for layer in firing},
        )


def require_one_step(net: SpikeNet, what: str) -> None:
    """OneSpikeError where the network runs over T steps; what cannot do that."""
    if net.membranes is not None:
        raise OneSpikeError(
            f"{what} runs one timestep, but this network integrates and fires over {net.membranes.steps} steps, a "
            f"reference model without hardware; convert it with method='asg' or 'psg' instead."
        )
