# SPDX-License-Identifier: Apache-2.0
"""Boards that a bitstream can be made for: part, oscillator, pins; from amaranth-boards where it knows them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from amaranth.build import Attrs, Clock, Pins, Resource, Subsignal
from amaranth.build.res import ResourceManager

from ..model.errors import OneSpikeError
from ..model.targets import Target, find_target
from .clocks import GW1NR9, GW2AR18, MakePll, ecp5_clock, gowin_clock, ice40_clock

UART = {"rx": "rx", "tx": "tx"}  # port of the design -> signal of the board's UART


@dataclass(frozen=True, kw_only=True)
class Pin:
    """Where a port of the design lies, and what amaranth-boards says of that pin."""

    site: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board: its part, where its pins are described, and how it is clocked and flashed.

    platform: module:class of amaranth-boards, or "" where OWN has the resources. aim: the clock in MHz that the first
    attempt tries. loader: what openFPGALoader calls the board. device: what gowin_pack calls the part. high: pins that
    must stay high, as (resource, signal).
    """

    name: str
    title: str
    target: str
    platform: str
    oscillator: str
    pll: MakePll
    aim: float
    loader: str
    device: str = ""
    high: tuple[tuple[str, str], ...] = ()

    @property
    def part(self) -> Target:
        return find_target(self.target)

    def pins(self) -> dict[str, Pin]:
        """Port of the design -> pin: clk, rx, tx, and high0, high1 .. for those that stay high."""
        resources = self._resources()
        found = {"clk": _pin(resources.lookup(self.oscillator))}
        found |= {port: _pin(resources.lookup("uart"), signal) for port, signal in UART.items()}
        found |= {f"high{i}": _pin(resources.lookup(name), signal) for i, (name, signal) in enumerate(self.high)}
        return found

    def source(self) -> Fraction:
        """The oscillator's frequency in MHz."""
        return Fraction(round(self._resources().lookup(self.oscillator).clock.frequency)) / 1_000_000

    def _resources(self) -> ResourceManager:
        if not self.platform:
            return ResourceManager(OWN[self.name], [])
        module, _, name = self.platform.partition(":")
        try:
            platform = getattr(importlib.import_module(f"amaranth_boards.{module}"), name)
        except ModuleNotFoundError:
            raise OneSpikeError(
                f"The pins of {self.name} come from amaranth-boards: run `pip install onespike[synth]`."
            ) from None
        return ResourceManager(platform.resources, platform.connectors)


def _pin(resource: Any, signal: str = "") -> Pin:
    """The only pin of a resource or of its signal, with the attributes of both."""
    part = next(io for io in resource.ios if io.name == signal) if signal else resource
    (pins,) = part.ios
    (site,) = pins.names
    return Pin(site=site, attributes={**resource.attrs, **part.attrs})


def _ulx3s(size: str) -> Board:
    return Board(
        name=f"ulx3s-{size}f",
        title=f"Radiona ULX3S {size}F",
        target=f"ecp5-{size}k",
        platform=f"ulx3s:ULX3S_{size}F_Platform",
        oscillator="clk25",
        pll=ecp5_clock,
        aim=100.0,
        loader="ulx3s",
        high=(("esp32", "gpio0"),),  # low would let the ESP32 restart the board
    )


BOARDS = {
    board.name: board
    for board in (
        _ulx3s("12"),
        _ulx3s("25"),
        _ulx3s("45"),
        _ulx3s("85"),
        Board(
            name="icebreaker", title="1BitSquared iCEBreaker", target="ice40-up5k",
            platform="icebreaker:ICEBreakerPlatform", oscillator="clk12", pll=ice40_clock, aim=18.0,
            loader="ice40_generic",
        ),
        Board(
            name="tangnano9k", title="Sipeed Tang Nano 9K", target="gw1nr-9",
            platform="tang_nano_9k:TangNano9kPlatform", oscillator="clk27",
            pll=partial(gowin_clock, pll=GW1NR9, device="GW1NR-9C"), aim=54.0, loader="tangnano9k", device="GW1N-9C",
        ),
        Board(
            name="tangnano20k", title="Sipeed Tang Nano 20K", target="gw2ar-18", platform="", oscillator="clk27",
            pll=partial(gowin_clock, pll=GW2AR18, device="GW2AR-18C"), aim=60.0, loader="tangnano20k",
            device="GW2A-18C",
        ),
    )
}  # fmt: skip
_LVCMOS33 = Attrs(IO_TYPE="LVCMOS33")
OWN = {  # resources of boards that amaranth-boards does not know
    "tangnano20k": (
        Resource("clk27", 0, Pins("4", dir="i"), Clock(27e6), _LVCMOS33),
        Resource("uart", 0, Subsignal("rx", Pins("70", dir="i")), Subsignal("tx", Pins("69", dir="o")),
                 Attrs(IO_TYPE="LVCMOS33", PULL_MODE="UP")),
    ),
}  # fmt: skip


def find_board(name: str) -> Board:
    """A board by its name."""
    if name not in BOARDS:
        raise OneSpikeError(f"Unknown board {name!r}; choose one of {', '.join(BOARDS)}.")
    return BOARDS[name]


def constraints(board: Board) -> tuple[str, str]:
    """(file name, text) of the pin constraints for the family's router."""
    pins = board.pins()
    writer = {"ecp5": _lpf, "ice40": _pcf, "gowin": _cst}[board.part.family.name]
    suffix, lines = writer(pins, float(board.source()))
    return f"top.{suffix}", "".join(f"{line}\n" for line in lines)


def _lpf(pins: Mapping[str, Pin], mhz: float) -> tuple[str, Iterable[str]]:
    lines = []
    for port, pin in pins.items():
        lines += [f'LOCATE COMP "{port}" SITE "{pin.site}";']
        lines += [f'IOBUF PORT "{port}" {name}={value};' for name, value in pin.attributes.items()]
    return "lpf", [*lines, f'FREQUENCY PORT "clk" {mhz:g} MHZ;']


def _pcf(pins: Mapping[str, Pin], mhz: float) -> tuple[str, Iterable[str]]:
    lines = []
    for port, pin in pins.items():
        pull = "-pullup yes " if pin.attributes.get("PULLUP") and port == "rx" else ""
        lines.append(f"set_io {pull}{port} {pin.site}")
    return "pcf", [*lines, f"set_frequency clk {mhz:g}"]


def _cst(pins: Mapping[str, Pin], mhz: float) -> tuple[str, Iterable[str]]:
    lines = []
    for port, pin in pins.items():
        options = " ".join(f"{name}={value}" for name, value in pin.attributes.items())
        lines += [f'IO_LOC "{port}" {pin.site};', f'IO_PORT "{port}" {options};']
    return "cst", lines
