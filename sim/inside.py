# SPDX-License-Identifier: Apache-2.0
"""Inside: the registers and memories of a component by their names, for what a proof must know of them."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable, Module, Signal, Value


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
        self.module: Module = component.elaborate("formal")
        self._signals: dict[str, Signal] = {}
        for signal in self.module._driving:
            self._signals.setdefault(signal.name, signal)

    def __getitem__(self, name: str) -> Signal:
        """The signal of this name, of those that the component's own statements drive."""
        if name not in self._signals:
            known = ", ".join(sorted(self._signals))
            raise KeyError(f"{type(self.component).__name__} drives no {name!r}, but {known}")
        return self._signals[name]

    def memory(self, name: str, address: Value) -> Value:
        """What the memory of this name holds at `address`, in this cycle."""
        port = getattr(self.module.submodules, name).read_port(domain="comb")
        self.module.d.comb += port.addr.eq(address)
        return port.data

    def part(self, name: str) -> Inside:
        """The submodule of this name, opened, too."""
        parts = self.module._named_submodules
        if not isinstance(parts[name], Inside):
            parts[name] = Inside(parts[name])
        return parts[name]

    def elaborate(self, platform: Any) -> Module:
        return self.module
