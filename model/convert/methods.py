# SPDX-License-Identifier: Apache-2.0
"""The methods, side by side: how each paper's values become spikes, who fires them, and what the engine does of it.

A method is a code, a fire rule and a way to find parameters. `METHODS` is read from top to bottom; docs/methods.md has
a section for each, of the same name. To add one: its neuron in `model/neurons`, a function here or in a file of its own
that takes a `Start` and the method's settings as keywords, a row, and their types in `Settings`. `convert`,
`onespike convert` and their messages know it then; `entries` of `onespike/bench/comparison.py` says with which settings
it is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from ..errors import OneSpikeError
from ..frontend.graph import Graph
from ..network.levels import Levels
from ..network.spec import Image
from .ctt import ctt
from .integrated import asg, integrated
from .phase import phase

if TYPE_CHECKING:
    from .converter import Conversion

Groups = int | str | Mapping[str, int] | Sequence[int]  # str: "auto"


@dataclass(frozen=True, kw_only=True)
class Start:
    """What every method starts from.

    graph: the float network; image: its image tensor; images: calibration images float32 [n, C, H, W], or None where
    the network brings all steps along. build: the conversion that methods share, clip levels, refit, bias correction
    and rounding of weights; it takes the settings of psg, `levels` a table as well.
    """

    graph: Graph
    image: Image
    images: np.ndarray | None
    build: Callable[..., Conversion]


@dataclass(frozen=True)
class Setting:
    """A setting that not every method has.

    what: for the help; kind: int, float or str, its value on the command line; auto: whether "auto" is one, too.
    """

    what: str
    kind: type = int
    auto: bool = False


class Settings(TypedDict, total=False):
    """The settings of all methods; which takes which, and what they mean, says `METHODS`."""

    groups: Groups
    levels: str | Sequence[int] | Levels
    budget: int
    rounding: str
    base: float | str
    phases: int
    steps: int
    membrane: str
    threshold_rate: float


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method.

    name: as users give it. paper: who published it. code: how a value becomes spikes. neuron: dotted name of the golden
    function that fires. parameters: how they are found. hardware: how it runs on the engine, or why it is a reference
    model alone. settings: by name, those that it takes beside the ones of every method. convert: from a `Start` and
    these settings to the conversion; missing settings have the defaults of its keywords.
    """

    name: str
    paper: str
    code: str
    neuron: str
    parameters: str
    hardware: str
    settings: Mapping[str, Setting]
    convert: Callable[..., Conversion]


def psg(
    start: Start,
    *,
    groups: Groups = 8,
    levels: str | Sequence[int] | Levels = "uniform",
    budget: int = 8,
    rounding: str = "nearest",
) -> Conversion:
    """Counts, or short levels: the shared conversion as it is."""
    return start.build(groups=groups, levels=levels, budget=budget, rounding=rounding)


ROUNDING = Setting("nearest (default), or floor as the paper has it", str)
OVER_STEPS = {
    "steps": Setting("T, passes over the network (default: g)"),
    "groups": Setting("g, of weights and clip levels (default: T)"),
    "rounding": ROUNDING,
    "membrane": Setting("before the first step: zero (default), or half of the threshold", str),
}

METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method(
            name="psg",
            paper="OneSpike: parallel spike generation",
            code="count 0..g of the spikes of g parallel groups, in binary; or a table of short levels",
            neuron="onespike.model.neurons.psg.psg",
            parameters="clip level of every channel by least squared error; weights and biases refitted to the codes",
            hardware="count unit: shift and clip; with short levels the table fire unit; PSG patterns on request",
            settings={
                "groups": Setting("g, the most spikes of a value (default: 8)", auto=True),
                "levels": Setting("uniform (default), short, or a list of whole levels", str),
                "budget": Setting("of groups auto: no more events than with so many groups (default: 8)"),
                "rounding": ROUNDING,
            },
            convert=psg,
        ),
        Method(
            name="phase",
            paper="Single-spike phase coding with base manipulation (Hwang and Kung)",
            code="one spike at phase p of 1..T, worth base**-p; none is worth 0",
            neuron="onespike.model.neurons.phase.phase",
            parameters="channel-wise normalisation; base by mean absolute percentage error on real activations; "
            "thresholds in the middle, (base + 1) / (2 base)",
            hardware="the parallel form, w = T: a table of levels and the table fire unit (a priority encoder); the "
            "streaming form with wait w < T is a reference model, as its late and false spikes cost accuracy",
            settings={
                "base": Setting(
                    "Q, above 1 and up to 2 (default: the cube root of 2); auto: by its error on images", float, True
                ),
                "phases": Setting("T, in which a value may spike once (default: 15)"),
            },
            convert=phase,
        ),
        Method(
            name="asg",
            paper="All-at-once spike generation with value-range encoding (Yan, Zhou, Wong)",
            code="value-range encoding: n of T spikes, worth n / T of the clip level",
            neuron="onespike.model.neurons.asg.asg",
            parameters="clip levels by least squared error; `finetune` is the paper's clamp-and-quantise training",
            hardware="as psg with g = T, which it equals spike by spike: the average over T steps is the sum of counts",
            settings={
                "steps": Setting("T, the most spikes of a value (default: 8)"),
                "rounding": ROUNDING,
            },
            convert=asg,
        ),
        Method(
            name="if",
            paper="Integrate-and-fire with soft reset: the baseline of OneSpike's Fig. 2 and of Yan, Zhou, Wong",
            code="rate: n spikes in T steps, worth n / T of the clip level; pixels are the same current in every step",
            neuron="onespike.model.neurons.integrate.integrate",
            parameters="weights and clip levels as psg with g groups",
            hardware="none: the engine keeps no membrane; a reference model of T passes over the network",
            settings=OVER_STEPS,
            convert=integrated,
        ),
        Method(
            name="ctt",
            paper="Channel-wise threshold training of integrate-and-fire (Yan, Zhou, Wong)",
            code="as if",
            neuron="onespike.model.neurons.integrate.integrate",
            parameters="as if; then every channel's threshold moves until it spikes as often as with asg",
            hardware="none, as if: it is what integrate-and-fire can reach, not a form of the engine",
            settings=OVER_STEPS | {"threshold_rate": Setting("of learning (default: 2)", float)},
            convert=ctt,
        ),
    )
}  # fmt: skip


def method_of(name: Any) -> Method:
    """The row of this name; OneSpikeError for another."""
    if not isinstance(name, str) or name not in METHODS:
        raise OneSpikeError(f"method must be one of {', '.join(METHODS)}, not {name!r}.")
    return METHODS[name]


def own_settings(method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, unless one of them belongs to other methods alone, or to none: OneSpikeError."""
    for name in given:
        if name in method.settings:
            continue
        owners = [other.name for other in METHODS.values() if name in other.settings]
        if not owners:
            raise OneSpikeError(
                f"No method takes a setting {name!r}; {method.name} takes {', '.join(method.settings)}."
            )
        several = " and ".join(filter(None, (", ".join(owners[:-1]), owners[-1])))
        raise OneSpikeError(
            f"{name} is a setting of method {several}, not of {method.name}; leave it out, or give "
            f"method={owners[0]!r}."
        )
    return dict(given)
