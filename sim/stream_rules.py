# SPDX-License-Identifier: Apache-2.0
"""The rules of streams as properties: what is on offer stands until it is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Assert, Assume, Cat, Const, Module, Signal, Value, ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .inside import Inside

STREAM = frozenset(("payload", "valid", "ready"))
REQUEST = frozenset(("valid", "write", "address", "data", "done"))  # of `onespike.hw.fronts.registers.bus_signature`

Facts = Callable[[Inside], list[ValueLike]]


@dataclass(frozen=True)
class Offer:
    """A port on which something is offered: a stream, or the register bus, where a request stands until `done`."""

    name: str
    flow: wiring.Flow
    payload: Value
    valid: Value
    ready: Value


def offers(component: Any) -> list[Offer]:
    """Every stream and register bus among the ports of a component, however deep; Out: the component offers."""
    ports: dict[tuple[Any, ...], dict[str, tuple[Any, Value]]] = {}
    for path, member, value in component.signature.flatten(component):
        ports.setdefault(path[:-1], {})[path[-1]] = (member, Value.cast(value))
    found = []
    for path, leaves in ports.items():
        names = STREAM if leaves.keys() >= STREAM else REQUEST if leaves.keys() >= REQUEST else None
        if path and names is not None:
            value = {name: leaf[1] for name, leaf in leaves.items()}
            payload = value["payload"] if names is STREAM else Cat(value[n] for n in ("write", "address", "data"))
            ready = value["ready" if names is STREAM else "done"]
            found.append(Offer("__".join(map(str, path)), leaves["valid"][0].flow, payload, value["valid"], ready))
    return found


def stands(m: Module, offer: Offer, *, unless: ValueLike = 0) -> Value:
    """Whether what was refused in the cycle before is still on offer, or was given up then because of `unless`."""
    bound, payload = Signal(name=f"{offer.name}_bound"), Signal(len(offer.payload), name=f"{offer.name}_offer")
    m.d.sync += [bound.eq(offer.valid & ~offer.ready & ~Value.cast(unless)), payload.eq(offer.payload)]
    return ~bound | (offer.valid & (offer.payload == payload))


class Property(wiring.Component):
    """A component whose inputs are free; `check` says what is assumed and asserted.

    Of its outputs only the offers are ports, to be read in an example: logic that no property looks at falls away.

    Parameters
    ----------
    dut : the component.
    assumes : further assumptions.
    keeps : what else holds in every cycle, asserted too, so that the induction may rely on it.
    rules_alone : leave out what `check` asserts for the induction's sake: a mistake must break a rule, not that.
    """

    def __init__(
        self, dut: Any, *, assumes: Facts | None = None, keeps: Facts | None = None, rules_alone: bool = False
    ):
        self.dut, self.assumes, self.keeps, self.rules_alone = dut, assumes, keeps, rules_alone
        leaves = list(dut.signature.flatten(dut))
        shown = {id(value) for offer in offers(dut) for value in (offer.valid, offer.ready)}
        members = {}
        for path, member, value in leaves:
            if member.flow is In or id(Value.cast(value)) in shown:
                members["__".join(map(str, path))] = member.flow(member.shape)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = inside = Inside(self.dut)
        for path, member, value in self.dut.signature.flatten(self.dut):
            own = getattr(self, "__".join(map(str, path)), None)
            value = Value.cast(value)
            if own is not None and not isinstance(value, Const):  # a stream that is always ready
                own = Value.cast(own)
                m.d.comb += value.eq(own) if member.flow is In else own.eq(value)
        for assumed in self.assumes(inside) if self.assumes else []:
            m.d.comb += Assume(assumed)
        for kept in self.keeps(inside) if self.keeps else []:
            m.d.comb += Assert(kept)
        self.check(m, inside)
        return m

    def check(self, m: Module, inside: Inside) -> None:
        """What the property says; `keeps` alone, if nothing more."""


class StreamHold(Property):
    """The property that every output stream of `dut` keeps what it offers until it is taken, and so does a request.

    Its input streams are assumed to do the same; all other inputs are free.

    Parameters
    ----------
    unless : by the name of a port, when an offer that stands may be given up: an exception that is documented.
    """

    def __init__(
        self, dut: Any, *, unless: Mapping[str, Callable[[Inside], ValueLike]] | None = None, **options: Any
    ):  # fmt: skip
        self.unless = dict(unless or {})
        super().__init__(dut, **options)

    def check(self, m: Module, inside: Inside) -> None:
        for offer in offers(self.dut):
            unless = self.unless[offer.name](inside) if offer.name in self.unless else 0
            m.d.comb += (Assert if offer.flow is Out else Assume)(stands(m, offer, unless=unless))


class TakenAtOnce(Property):
    """The property that output streams are valid only where they are taken: such a one waits for its ready.

    Parameters
    ----------
    late : cycles from a ready to the offer that it allows.
    """

    def __init__(self, dut: Any, *, late: int = 0, **options: Any):
        self.late = late
        super().__init__(dut, **options)

    def check(self, m: Module, inside: Inside) -> None:
        for offer in offers(self.dut):
            if offer.flow is Out:
                allowed: Value = offer.ready
                for i in range(self.late):
                    later = Signal(name=f"{offer.name}_allowed{i}")
                    m.d.sync += later.eq(allowed)
                    allowed = later
                m.d.comb += Assert(~offer.valid | allowed)
