# SPDX-License-Identifier: Apache-2.0
"""From a NIR file or graph to the float graph, checked against the graph's own nodes in float64.

A network of T steps becomes one of one timestep: a neuron that integrates and fires is a count of up to T spikes
(`nir_neurons.py`), thresholds on one sum are the spikes of one count (`nir_ladders.py`).
"""

from __future__ import annotations

import json
from typing import Any

import nir
import numpy as np

from ..errors import OneSpikeError
from ..network.spec import INPUT, Image
from . import affine, nir_reference
from .affine import scale
from .builder_larger import Larger
from .graph import Graph
from .nir_graph import Passing, Plan, called, plan, read
from .nir_ladders import Ladder, with_ladders
from .nir_neurons import NEURONS, step_of, time_step
from .nir_nodes import NEAREST, NirOperations, Signal, numbers, spread

TOLERANCE = 1e-9  # of the largest logit, in float64
IMAGE_KEY = "onespike.image"  # metadata of the files that `nir_export` writes: what the codes of the pixels mean
MOST_STEPS = 4095  # spikes of a value
SPIKING = (*NEURONS, Ladder)
INTEGRATORS = (nir.I, nir.LI)


def import_nir(
    network: Any, signed: bool | str = "auto", steps: int | None = None, dt: float | None = None
) -> Graph:
    """The float graph of a `.nir` file, or of a `nir.NIRGraph`.

    steps: T, over which the network was trained to run; needed where neurons integrate. dt: the length of a step in the
    file's unit of time, by default as `nir_neurons.time_step` says. signed: as `prepare` says.
    Raises OneSpikeError for whatever cannot become spikes of one timestep, naming the node, its kind and a way out.
    """
    graph, where = read(network)
    found = plan(graph, where)
    for name in found.order:
        node = found.nodes[name]
        for key, values in vars(node).items():
            if np.iscomplexobj(values):
                raise OneSpikeError(f"{called(name, node)}: its {key} holds complex numbers; use real ones.")
            text = isinstance(values, str | bytes) or (isinstance(values, np.ndarray) and values.dtype.kind in "SUOV")
            if text and key != "padding":
                raise OneSpikeError(f"{called(name, node)}: its {key} holds text, not numbers; export it again.")
    found = with_ladders(found)
    if steps is None:
        integrating = [name for name in found.order if isinstance(found.nodes[name], NEURONS)]
        if integrating:
            raise OneSpikeError(
                f"{called(integrating[0], found.nodes[integrating[0]])} integrates over time, and NIR does not say "
                f"over how many steps; give those that it was trained with, --network-steps T (network_steps=T)."
            )
        steps = 1
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or not 1 <= steps <= MOST_STEPS:
        raise OneSpikeError(f"network_steps must be a whole number in 1..{MOST_STEPS}, not {steps!r}.")
    with np.errstate(all="ignore"):  # NaN and infinity are refused where they arise
        return _Front(found, where, int(steps), time_step(found.nodes.values(), dt), signed).graph()


class _Front:
    """One walk over the nodes of a plan."""

    def __init__(self, found: Plan, where: str, steps: int, dt: float, signed: bool | str) -> None:
        self.plan, self.where, self.steps, self.dt = found, where, steps, dt
        self.shape = self._shape()
        maps = {1: (*self.shape, 1, 1), 2: (self.shape[0], 1, self.shape[-1]), 3: self.shape}[len(self.shape)]
        self.builder = Larger(shape=maps, sign=signed)  # type: ignore[arg-type]
        self.operations = NirOperations(self.builder, steps, dt)
        self.last = ""  # the neuron at the end that is left out, and what becomes of its input: factor, offset
        self.line = (np.ones(1), np.zeros(1))

    def _shape(self) -> tuple[int, ...]:
        """The input's shape, as it says or as its first reader does; axes of one in front of three are a batch's."""
        name = self.plan.input
        given = [self.plan.nodes[name].input_type]
        given += [
            getattr(self.plan.nodes[reader], "input_type", None)
            for reader in self.plan.order
            if name in self.plan.before[reader]
        ]
        for found in given:
            sizes = found.get("input") if isinstance(found, dict) else None
            if sizes is None:
                continue
            table = np.asarray(sizes).reshape(-1)
            shape = tuple(int(size) for size in table) if table.dtype.kind in "iu" else ()
            readers = [self.plan.nodes[n] for n in self.plan.order if name in self.plan.before[n]]
            axes = 1 if all(isinstance(node, nir.Affine | nir.Linear) for node in readers) else 3
            while len(shape) > axes and shape[0] == 1:
                shape = shape[1:]
            if len(shape) in (1, 2, 3) and min(shape) > 0:
                return shape
            raise OneSpikeError(
                f"{called(name, self.plan.nodes[name])}: its shape is {list(shape)}; it must be (channels, height, "
                f"width), (channels, length) or (features), without batch and time."
            )
        raise OneSpikeError(
            f"{called(name, self.plan.nodes[name])}: it does not say its shape; give nir.Input(input_type=...)."
        )

    def graph(self) -> Graph:
        """The graph of the whole plan, checked."""
        declared = self._declared_image()
        start = self.builder.read(INPUT)
        if declared is not None:  # the graph takes codes
            self.builder.image = declared
            start = scale(start, 1 / np.array(declared.scale), -np.array(declared.offset) / np.array(declared.scale))
        signals = {self.plan.input: Signal(start, self.shape)}
        for name in self.plan.order[1:]:
            node = self.plan.nodes[name]
            self.operations.begin(name)
            try:
                signals[name] = self._apply(name, node, self._sum([signals[s] for s in self.plan.before[name]]))
                if not signals[name].value.finite:
                    raise OneSpikeError("its numbers make NaN or infinite values; train the network again")
            except OneSpikeError as error:
                raise self._refusal(name, str(error)) from None
            except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, MemoryError) as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
                raise self._refusal(name, f"its numbers do not fit together ({reason})") from None
        try:
            graph = self.builder.finish(signals[self.plan.output].value, self.plan.output)
        except OneSpikeError as error:
            raise OneSpikeError(f"{self.where}: {error}.") from None
        self._check(graph, declared)
        return graph

    def _told(self, name: str, node: Any) -> None:
        """What is to be known of the first neuron that becomes a count."""
        if self.builder.notes or not isinstance(node, NEURONS) or self.steps == 1 or step_of(node, self.dt).forgets:
            return
        self.builder.notes.append(
            f"{self.steps} steps become one: neurons count the spikes of a constant current, with a reset that "
            f"subtracts the threshold. NIR does not say which reset its framework has; with one to 0 neurons fire less."
        )

    def _sum(self, signals: list[Signal]) -> Signal:
        """What edges that meet add up to."""
        total = signals[0]
        for other in signals[1:]:
            if other.shape != total.shape:
                raise OneSpikeError(f"maps of {list(total.shape)} and {list(other.shape)} meet in it")
            total = Signal(affine.add(total.value, other.value), total.shape)
        return total

    def _apply(self, name: str, node: Any, x: Signal) -> Signal:
        """The signal of one node."""
        if self.plan.before[self.plan.output] == (name,):
            if isinstance(node, SPIKING) and getattr(node, "pool", None) is None:
                return self._ended(name, x, *self._final(x, node))
            if isinstance(node, INTEGRATORS):
                return self._ended(name, x, self._integrated(x, node), np.zeros(x.channels))
        self._told(name, node)
        handler = self.operations.find(node)
        if handler is None:
            near = NEAREST.get(type(node).__name__)
            raise OneSpikeError(
                "this node is not supported" + (f"; the nearest supported choice is {near}" if near else "")
            )
        return handler(x, node)

    def _ended(self, name: str, x: Signal, factor: np.ndarray, offset: np.ndarray) -> Signal:
        """The sum before the last neuron, scaled so that its channels compare as its spikes do."""
        kind = "Threshold" if isinstance(self.plan.nodes[name], Ladder) else type(self.plan.nodes[name]).__name__
        self.builder.notes.append(f"The last {kind} is left out: logits are given before it.")
        self.last, self.line = name, (factor, offset)
        return Signal(affine.scale(x.value, factor, offset), x.shape)

    def _final(self, x: Signal, node: Any) -> tuple[np.ndarray, np.ndarray]:
        """Factor and offset of a neuron's input, in terms of its threshold; neurons that leak must do so alike."""
        if isinstance(node, NEURONS):
            step = step_of(node, self.dt)
            if np.ptp(step.loss) == 0 and np.ptp(step.lag) == 0:  # the order is that of the currents
                factor = step.gain / numbers(node.v_threshold, "its v_threshold")
                return spread(factor, x, "r / v_threshold"), np.zeros(x.channels)
        drive = self.operations.drive(x, node)
        return drive.factor, drive.offset

    def _integrated(self, x: Signal, node: Any) -> np.ndarray:
        """The factor of an integrator at the end."""
        r = numbers(node.r, "its r")
        if isinstance(node, nir.LI):
            tau = np.asarray(node.tau, np.float64)
            if np.ptp(tau) or np.any(node.v_leak):
                raise OneSpikeError(
                    "its neurons leak in different ways, which changes the order of the outputs; take one tau for all "
                    "and v_leak 0"
                )
        if (r <= 0).any():
            raise OneSpikeError(f"its r is {r.min():g}; it must be positive")
        return spread(r / r.max(), x, "r")

    def _declared_image(self) -> Image | None:
        """The codes that the graph says it takes, in our metadata."""
        facts = self.plan.metadata.get(IMAGE_KEY)
        if facts is None:
            return None
        try:
            text = facts.decode() if isinstance(facts, bytes) else str(facts)
            known = json.loads(text)
            shape = self.builder.shape
            return Image(shape=shape, bits=known["bits"], scale=known["scale"], offset=known["offset"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise OneSpikeError(f"The metadata {IMAGE_KEY!r} of {self.where} is damaged; export it again.") from None

    def _refusal(self, name: str, reason: str) -> OneSpikeError:
        node = self.plan.nodes[name]
        kind = {Ladder: "Threshold", Passing: "NIRGraph"}.get(type(node), type(node).__name__)
        return OneSpikeError(f"Node {name!r} ({kind}): {reason}.")

    def _check(self, graph: Graph, declared: Image | None) -> None:
        """Compute the nodes and the graph on random numbers in float64."""
        rng = np.random.default_rng(0)
        if declared is None:
            images = fed = rng.normal(size=(2, *graph.shape))
        else:
            codes = rng.integers(0, 2**declared.bits, (2, *graph.shape))
            column = (1, -1, 1, 1)
            images = codes * np.reshape(declared.scale, column) + np.reshape(declared.offset, column)
            fed = codes.astype(np.float64)
        try:
            wanted = nir_reference.evaluate(self._without_last(), fed.reshape(2, *self.shape), self.steps, self.dt)
        except (ValueError, ArithmeticError, MemoryError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise OneSpikeError(f"{self.where} cannot be computed ({reason}); export it again.") from None
        factor, offset = self.line
        wanted = (wanted.reshape(2, len(factor), -1) * factor[:, None] + offset[:, None]).reshape(2, -1)
        found = graph.run(images).reshape(2, -1)
        if not np.isfinite(wanted).all():
            raise OneSpikeError(f"{self.where} answers NaN or infinite values for random numbers; train it again.")
        off = float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-300))
        if not off < TOLERANCE:
            raise OneSpikeError(
                f"The imported graph differs from {self.where} by {off:.1e} of its largest logit, more than "
                f"{TOLERANCE:.0e}; please report this network."
            )

    def _without_last(self) -> Plan:
        """The plan without the neuron at the end that was left out."""
        if not self.last:
            return self.plan
        nodes = dict(self.plan.nodes) | {self.last: Passing()}
        return Plan(nodes=nodes, before=self.plan.before, order=self.plan.order, metadata=self.plan.metadata)
