# SPDX-License-Identifier: Apache-2.0
"""NIR's neurons in time steps: what one step adds to a membrane, what it loses, and what a count of spikes is.

NIR's equations are continuous. Every framework takes the same steps of a length dt (Euler's rule):

    IF:       v += dt r I
    LIF:      v += dt / tau (v_leak - v + r I)
    CubaLIF:  i += dt / tau_syn (w_in I - i);    v += dt / tau_mem (v_leak - v + r i)
    all:      a spike where v > v_threshold; then v -= v_threshold

With a constant current a neuron without leak so fires clip(ceil(T gain I / v_threshold) - 1, 0, T) spikes in T steps:
a count of one timestep. `v_reset` of 0 is read as the reset that subtracts, as continuous time knows no difference, and
files of networks with either reset are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np

from ..errors import OneSpikeError

NEURONS = (nir.IF, nir.LIF, nir.CubaLIF)
SHORT_STEP = 1e-4  # seconds: dt of snnTorch and SpikingJelly where they write NIR; sinabs and norse count in steps
SECONDS = 0.1  # time constants below it are no numbers of steps
SMALL = 1e-6  # of a step: what a membrane loses less of keeps it


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One step of a neuron: v = (1 - loss) v + gain I, arrays in the shape of its parameters.

    lag: how much of the current of CubaLIF is still that of the steps before.
    """

    gain: np.ndarray
    loss: np.ndarray
    lag: np.ndarray

    @property
    def forgets(self) -> bool:
        """Whether nothing is left of the steps before, so that every step is the first."""
        return bool((np.abs(self.loss - 1) < SMALL).all() and (self.lag < SMALL).all())


def time_step(nodes: Iterable[Any], given: float | None) -> float:
    """dt: as given, or SHORT_STEP where all neurons are written in seconds, or else 1."""
    if given is not None:
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 1e6:
            raise OneSpikeError(f"time_step must be a positive number of seconds or steps, not {given!r}.")
        return float(given)
    short = []
    for node in nodes:
        if isinstance(node, nir.IF):
            short.append(np.isclose(np.asarray(node.r, float), 1 / SHORT_STEP).all())
        elif isinstance(node, nir.LIF | nir.CubaLIF):
            tau = np.asarray(node.tau if isinstance(node, nir.LIF) else node.tau_mem, float)
            finite = tau[np.isfinite(tau)]
            short.append((finite < SECONDS).all() if finite.size else np.isinf(np.asarray(node.r, float)).all())
    return SHORT_STEP if short and all(short) else 1.0


def step_of(node: Any, dt: float) -> Step:
    """What a step of dt does; of parameters that make no sense OneSpikeError."""
    fields = ("r", "v_threshold", "v_reset", "v_leak", "tau", "tau_mem", "tau_syn", "w_in")
    given = {name: np.asarray(getattr(node, name), np.float64) for name in fields if hasattr(node, name)}
    for name, values in given.items():
        if np.isnan(values).any() or (not name.startswith(("tau", "r")) and np.isinf(values).any()):
            raise OneSpikeError(f"its {name} holds NaN or infinite values; train the network again")
        if name in ("r", "v_threshold", "w_in", "tau", "tau_mem", "tau_syn") and not (values > 0).all():
            raise OneSpikeError(f"its {name} is {values.min():g}; it must be positive")
    if "v_leak" in given and given["v_leak"].any():
        raise OneSpikeError("its v_leak is not 0; move it into the bias of the layer before it")
    gain = given["r"] * dt
    loss = lag = np.zeros_like(gain)
    if "tau" in given:
        gain, loss = _share(given["r"], given["tau"], dt)
    if "tau_mem" in given:
        first, decay = _share(given["w_in"], given["tau_syn"], dt)
        gain, loss = _share(given["r"], given["tau_mem"], dt)
        gain, lag = gain * first, 1 - decay
    if not ((gain > 0) & np.isfinite(gain)).all():
        raise OneSpikeError("what a step adds to its membrane is 0 or infinite; mend r and the time constants")
    if loss.max() > 1 + SMALL or lag.min() < -SMALL:
        raise OneSpikeError(
            f"a time constant is shorter than the time step of {dt:g}; give the step that the network was trained with "
            f"(time_step, --time-step)"
        )
    return Step(gain=gain, loss=loss, lag=lag)


def _share(r: np.ndarray, tau: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """What a step adds and loses; all and nothing where r and tau are infinite, as snnTorch writes beta = 1."""
    endless = np.isinf(tau) & np.isinf(r)
    with np.errstate(invalid="ignore"):
        return np.where(endless, 1.0, dt * r / tau), dt / tau


def spikes_of(node: Any, step: Step, steps: int) -> int:
    """The most spikes of a neuron in all steps as one count; OneSpikeError where no count tells what it fires."""
    if steps == 1 or step.forgets:
        return 1
    if (step.loss > SMALL).any() or (step.lag > SMALL).any():
        raise OneSpikeError(
            f"its membrane or current leaks in each of {steps} steps, and a count of one timestep knows no leak; train "
            f"it with neurons that keep their membrane (IF: sinabs' IAF, norse's IAFCell, SpikingJelly's IFNode, "
            f"snnTorch's Leaky with beta=1), or for one step (network_steps=1)"
        )
    if np.any(node.v_reset):
        raise OneSpikeError(
            f"its v_reset is {np.asarray(node.v_reset).reshape(-1)[0]:g}, but a count needs a reset that subtracts the "
            f"threshold, for which v_reset is 0; train it with that one, or for one step (network_steps=1)"
        )
    return steps
