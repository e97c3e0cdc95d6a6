# SPDX-License-Identifier: Apache-2.0
"""Fronts: the interfaces that an engine can be given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...model.errors import OneSpikeError
from ..config import EngineConfig
from ..engine.engine import TOP
from .axi import Axi
from .spi import SpiCore
from .uart import SILENCE, UartCore
from .wishbone import Wishbone

COMPONENTS = {"axi": Axi, "wishbone": Wishbone, "uart": UartCore, "spi": SpiCore}
FRONTS = tuple(COMPONENTS)


@dataclass(frozen=True, kw_only=True)
class Front:
    """An interface in front of an engine: its kind, one of FRONTS.

    divisor, silence: of a UART, its cycles per bit (None: they come in at the port `bit_time`, see BitTime), and the
    log2 of the cycles of silence that end a frame. network: the built-in network, see Control.
    """

    kind: str
    divisor: int | None = 104
    silence: int = SILENCE
    network: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FRONTS:
            raise OneSpikeError(f"The front must be one of {', '.join(FRONTS)}, not {self.kind!r}.")

    @property
    def top(self) -> str:
        """Name of the Verilog module."""
        return f"{TOP}_{self.kind}"

    def component(self, config: EngineConfig, **options: Any) -> Any:
        """The front around an engine; options as in Core."""
        if config.streams_weights and self.kind != "axi":
            raise OneSpikeError(
                f"The {self.kind} front has no port to external memory for streamed weights; use the axi front or the "
                f"bare engine, or keep the weights on the chip."
            )
        options["network"] = self.network
        if self.kind == "uart":
            options |= {"divisor": self.divisor, "silence": self.silence}
        return COMPONENTS[self.kind](config, **options)


def uart_front(clock_mhz: float, baud: int, *, measured: bool = False) -> Front:
    """The UART front for a clock and a baud rate; silence is about 20 ms.

    measured: its cycles per bit come in, since the clock may become another one: silence is 40 ms at this one.
    """
    clock = clock_mhz * 1e6
    divisor = round(clock / baud)
    if divisor < 4 or abs(clock / divisor / baud - 1) > 0.02:
        raise OneSpikeError(
            f"A clock of {clock_mhz:g} MHz cannot make {baud} baud within 2 %; choose a baud rate well below "
            f"{clock / 4:.0f}, or another clock."
        )
    silence = max(10, round(math.log2(clock * (0.04 if measured else 0.02))))
    return Front(kind="uart", divisor=None if measured else divisor, silence=silence)
