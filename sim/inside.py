# SPDX-License-Identifier: Apache-2.0
"""Inside: the registers and memories of a component by their names, for what a proof must know of them."""

from __future__ import annotations

import sys
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Value


class Inside(Elaboratable):
    """The component itself, elaborated, to be a submodule in its place.

    Induction begins in any state, reachable or not: a property about ports alone often needs a few lines more that say
    how the registers behind them hang together. They are proved with it, so nothing is taken on trust.

    Parameters
    ----------
    component : what is opened; its ports stay where they are.
    """

    def __init__(self, component: Any):
        self.component = component
        self.elaborated, self._names = _elaborate(component)
        self.module: Module = self._names["m"]
        driven = {signal.name: signal for signal in self.module._driving if not signal.name.startswith("$")}
        self._names = driven | self._names

    def __getitem__(self, name: str) -> Any:
        """What `elaborate`, or a method that it calls, names so; or a signal of this name that it drives."""
        if name not in self._names:
            known = ", ".join(sorted(self._names))
            raise KeyError(f"{type(self.component).__name__} knows no {name!r}, but {known}")
        return self._names[name]

    def state(self, *names: str) -> Value:
        """Whether the component's state machine is in one of these states."""
        fsm = self.module._generated["fsm"]
        return Cat(fsm.state == fsm.encoding[name] for name in names).any()

    def memory(self, name: str, address: Value) -> Value:
        """What the memory of this name holds at `address`, in this cycle."""
        port = getattr(self.module.submodules, name).read_port(domain="comb")
        self.module.d.comb += port.addr.eq(address)
        return port.data

    def part(self, name: str) -> Inside:
        """The submodule of this name, opened, too."""
        parts = self.module._named_submodules
        inner = parts[name][0] if isinstance(parts[name], tuple) else parts[name]
        if not isinstance(inner, Inside):
            inner = Inside(inner)
            parts[name] = (inner, *parts[name][1:]) if isinstance(parts[name], tuple) else inner
        return inner

    def elaborate(self, platform: Any) -> Any:
        return self.elaborated


def _elaborate(component: Any) -> tuple[Any, dict[str, Any]]:
    """What the component's `elaborate` returns; its local variables, and those of the methods that it calls."""
    code = type(component).elaborate.__code__
    own: dict[str, Any] = {}
    names: dict[str, Any] = {}

    def watch(frame: Any, event: str, result: Any) -> None:
        if event == "return" and frame.f_locals.get("self") is component:
            (own if frame.f_code is code else names).update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        elaborated = component.elaborate("formal")
    finally:
        sys.setprofile(before)
    return elaborated, names | own
