# SPDX-License-Identifier: Apache-2.0
"""Run a component as a function: lists of payloads in, lists of payloads out, in Amaranth's simulator.

    run_stream(dut, {"i": [1, 2, 3]}, {"o": 3}, seed=1)  ->  {"o": [...]}

A test then reads ``run_stream(dut, case) == golden(case)``, while both ends stall at random.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from amaranth.hdl import Const, Elaboratable, Module, Signal, Value
from amaranth.sim import Simulator


class StreamError(AssertionError):
    """The component under test broke the stream rules, or did not finish in time."""


@dataclass(frozen=True)
class Transfer:
    """A payload and the cycle, counted from 0, at whose end it was taken."""

    cycle: int
    payload: Any


class _Source:
    """Offers payloads to an input stream; between them valid is low and the payload is noise."""

    def __init__(self, name: str, port: Any, payloads: Sequence[Any], rng: random.Random, stall: float):
        self.name, self.port, self.rng, self.stall = name, port, rng, stall
        self.payloads = list(payloads)
        self.offered = False
        self.transfers: list[Transfer] = []

    def drive(self, ctx: Any) -> None:
        if self.offered:
            return
        waiting = len(self.transfers) < len(self.payloads)
        if waiting and (isinstance(self.port.valid, Const) or self.rng.random() >= self.stall):
            ctx.set(self.port.payload, self.payloads[len(self.transfers)])
            self.offered = True
        else:
            bits = Value.cast(self.port.payload)
            ctx.set(bits, self.rng.getrandbits(len(bits)))
        if not isinstance(self.port.valid, Const):
            ctx.set(self.port.valid, self.offered)

    def watch(self, cycle: int, valid: int, ready: int, payload: Any) -> None:
        if self.offered and ready:
            self.offered = False
            self.transfers.append(Transfer(cycle, payload))

    @property
    def missing(self) -> str:
        taken, offered = len(self.transfers), len(self.payloads)
        return f"{self.name!r} took {taken} of {offered} payloads" if taken < offered else ""


class _Sink:
    """Takes payloads from an output stream and checks that an offer, once made, stands."""

    def __init__(self, name: str, port: Any, expected: int, rng: random.Random, stall: float):
        self.name, self.port, self.expected, self.rng, self.stall = name, port, expected, rng, stall
        self.transfers: list[Transfer] = []
        self.refused: tuple[Any] | None = None

    def drive(self, ctx: Any) -> None:
        if not isinstance(self.port.ready, Const):
            ctx.set(self.port.ready, self.rng.random() >= self.stall)

    def watch(self, cycle: int, valid: int, ready: int, payload: Any) -> None:
        if self.refused is not None:
            if not valid:
                raise StreamError(f"output {self.name!r} withdrew its payload in cycle {cycle} before it was taken")
            if self.refused[0] != payload:
                raise StreamError(
                    f"output {self.name!r} changed its payload in cycle {cycle} before it was taken: "
                    f"{self.refused[0]!r} became {payload!r}"
                )
        self.refused = (payload,) if valid and not ready else None
        if valid and ready:
            self.transfers.append(Transfer(cycle, payload))
            if len(self.transfers) > self.expected:
                raise StreamError(
                    f"output {self.name!r} gave more than the {self.expected} payloads expected: "
                    f"{payload!r} in cycle {cycle}"
                )

    @property
    def missing(self) -> str:
        given = len(self.transfers)
        return f"{self.name!r} gave {given} of {self.expected} payloads" if given < self.expected else ""


def run_stream(
    dut: Elaboratable,
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, int],
    *,
    seed: int = 0,
    stall: float | Mapping[str, float] = 0.3,
    limit: int | None = None,
    surplus: int = 16,
    stamps: bool = False,
    fixed: Mapping[str, Any] | None = None,
    waves: Path | None = None,
) -> dict[str, list[Any]]:
    """Drive the stream ports of `dut` and return what came out of each.

    Parameters
    ----------
    inputs
        Payloads to send, by name of the port; ``"child.i"`` reaches a port of a port.
    outputs
        How many payloads to expect, by name of the port.
    seed, stall
        Each cycle an idle input stays idle, and an output is not ready, with this probability (one for
        all ports, or one for each; 0 shows the full throughput). The seed fixes the pattern.
    limit
        Cycles after which StreamError is raised; by default generous for one transfer per cycle.
    surplus
        Cycles to go on afterwards, in which nothing more may come out.
    stamps
        Return `Transfer` (cycle and payload) instead of payloads, and those of the inputs too.
    fixed
        Plain input ports to hold at a value.
    waves
        File for a VCD waveform.
    """
    rng = random.Random(seed)

    def probability(name: str) -> float:
        return stall.get(name, 0.0) if isinstance(stall, Mapping) else stall

    sources = [_Source(n, attrgetter(n)(dut), p, rng, probability(n)) for n, p in inputs.items()]
    sinks = [_Sink(n, attrgetter(n)(dut), c, rng, probability(n)) for n, c in outputs.items()]
    agents: list[_Source | _Sink] = [*sources, *sinks]
    if limit is None:
        transfers = sum(len(s.payloads) for s in sources) + sum(s.expected for s in sinks)
        limit = 1000 + int(20 * transfers / (1 - min(0.9, max(map(probability, [*inputs, *outputs]), default=0.0))))
    signals = [s for agent in agents for s in (agent.port.valid, agent.port.ready, agent.port.payload)]
    done_at: int | None = None

    async def bench(ctx: Any) -> None:
        nonlocal done_at
        for name, value in (fixed or {}).items():
            ctx.set(attrgetter(name)(dut), value)
        for cycle in range(limit):
            for agent in agents:
                agent.drive(ctx)
            _, _, *sampled = await ctx.tick().sample(*signals)
            for agent, *port in zip(agents, sampled[0::3], sampled[1::3], sampled[2::3], strict=True):
                agent.watch(cycle, *port)
            if done_at is None and not any(agent.missing for agent in agents):
                done_at = cycle
            if done_at is not None and cycle >= done_at + surplus:
                return
        if done_at is None:
            missing = "; ".join(agent.missing for agent in agents if agent.missing)
            raise StreamError(f"not finished after {limit} cycles (seed {seed}): {missing}")

    _simulate(dut, bench, waves)
    if done_at is None:  # the simulator also stops, silently, when nothing is left to wait for
        raise StreamError(f"the simulation stopped before its end (seed {seed})")
    if stamps:
        return {agent.name: list(agent.transfers) for agent in agents}
    return {sink.name: [transfer.payload for transfer in sink.transfers] for sink in sinks}


def run_pipeline(
    dut: Elaboratable,
    inputs: Mapping[str, Sequence[Any]],
    outputs: Sequence[str],
    *,
    latency: int = 0,
    waves: Path | None = None,
) -> dict[str, list[Any]]:
    """Give `dut` one set of inputs per cycle and return its outputs `latency` cycles later (0: combinational)."""
    steps = list(_rows(inputs))
    ports = [attrgetter(name)(dut) for name in outputs]
    results: list[tuple[Any, ...]] = []

    async def bench(ctx: Any) -> None:
        for cycle in range(len(steps) + latency):
            if cycle < len(steps):
                for name, value in steps[cycle].items():
                    ctx.set(attrgetter(name)(dut), value)
            _, _, *sampled = await ctx.tick().sample(*ports)
            if cycle >= latency:
                results.append(tuple(sampled))

    _simulate(dut, bench, waves)
    assert len(results) == len(steps), "the simulation stopped before its end"
    return {name: [row[i] for row in results] for i, name in enumerate(outputs)}


def _rows(columns: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _simulate(dut: Elaboratable, bench: Any, waves: Path | None) -> None:
    m = Module()
    m.submodules.dut = dut
    alive = Signal()
    m.d.sync += alive.eq(1)  # a clock also for components without registers
    simulator = Simulator(m)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    with simulator.write_vcd(str(waves)) if waves else nullcontext():
        simulator.run()
