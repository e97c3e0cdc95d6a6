# SPDX-License-Identifier: Apache-2.0
"""Clocks: the settings of each family's PLL that come nearest to a frequency from below.

A PLL divides its input by r for the phase detector, multiplies by f and lets an oscillator run q times faster than its
output: output = input x f / r, oscillator = output x q. On iCE40 f counts the oscillator's cycles instead, so that its
output = input x f / (r x q). Frequencies are exact fractions of MHz.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from amaranth.hdl import Const

from ..model.errors import OneSpikeError


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock made from a board's oscillator.

    primitive: the PLL, or "" for the oscillator itself; source, output: its ports of the clock; feedback: the input
    that the output is led back to; fixed: what its other inputs are tied to, one bit wide unless in widths; attributes:
    what the router reads beside the parameters.
    """

    mhz: Fraction
    primitive: str = ""
    source: str = ""
    output: str = ""
    feedback: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pll:
    """What a PLL can do, in MHz and as ranges of its dividers, ends included."""

    detector: tuple[Fraction, Fraction]
    oscillator: tuple[Fraction, Fraction]
    output: tuple[Fraction, Fraction]
    dividers: range
    multipliers: range
    ratios: tuple[int, ...]
    ratio_in_loop: bool = True  # f counts the output's cycles, not the oscillator's

    def nearest(self, source: Fraction, wanted: Fraction) -> tuple[Fraction, int, int, int] | None:
        """(output, r, f, q) of the highest output up to `wanted`; of equals, the one with the fastest phase detector,
        then the one whose oscillator is nearest to the middle of its range."""
        low, high = self.oscillator
        middle = (low + high) / 2
        best: tuple[Fraction, int, Fraction] | None = None
        found = None
        for r in self.dividers:
            if not self.detector[0] <= source / r <= self.detector[1]:
                continue
            for f, q in itertools.product(self.multipliers, (0,) if self.ratio_in_loop else self.ratios):
                out = source * f / r if self.ratio_in_loop else source * f / (r * q)
                if not self.output[0] <= out <= min(wanted, self.output[1]) or (best is not None and out < best[0]):
                    continue
                for ratio in self.ratios if self.ratio_in_loop else (q,):
                    if low <= out * ratio <= high:
                        quality = (out, -r, -abs(out * ratio - middle))
                        if best is None or quality > best:
                            best, found = quality, (out, r, f, ratio)
        return found


def _limits(low: float, high: float) -> tuple[Fraction, Fraction]:
    return Fraction(low), Fraction(high)


# Limits as Project Trellis, Project IceStorm and Project Apicula know them.
ECP5 = Pll(
    detector=_limits(3.125, 400),
    oscillator=_limits(400, 800),
    output=_limits(3.125, 400),
    dividers=range(1, 129),
    multipliers=range(1, 81),
    ratios=tuple(range(1, 129)),
)
ICE40 = Pll(
    detector=_limits(10, 133),
    oscillator=_limits(533, 1066),
    output=_limits(16, 275),
    dividers=range(1, 17),
    multipliers=range(1, 129),
    ratios=(2, 4, 8, 16, 32, 64),
    ratio_in_loop=False,
)
_GOWIN_RATIOS = (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)
GW1NR9 = Pll(
    detector=_limits(3, 400),
    oscillator=_limits(400, 1200),
    output=_limits(3.125, 600),
    dividers=range(1, 65),
    multipliers=range(1, 65),
    ratios=_GOWIN_RATIOS,
)
GW2AR18 = Pll(
    detector=_limits(3, 500),
    oscillator=_limits(500, 1250),
    output=_limits(3.90625, 625),
    dividers=range(1, 65),
    multipliers=range(1, 65),
    ratios=_GOWIN_RATIOS,
)
ICE40_FILTERS = (17, 26, 44, 66, 101)  # MHz of the phase detector from which on the next FILTER_RANGE holds


def ecp5_clock(source: Fraction, wanted: Fraction) -> Clock | None:
    """EHXPLLL with its output fed back, or None where it reaches nothing that low."""
    found = ECP5.nearest(source, wanted)
    if found is None:
        return None
    mhz, r, f, q = found
    return Clock(
        mhz=mhz,
        primitive="EHXPLLL",
        source="CLKI",
        output="CLKOP",
        feedback="CLKFB",
        parameters={
            "PLLRST_ENA": "DISABLED", "INTFB_WAKE": "DISABLED", "STDBY_ENABLE": "DISABLED",
            "DPHASE_SOURCE": "DISABLED", "OUTDIVIDER_MUXA": "DIVA", "OUTDIVIDER_MUXB": "DIVB",
            "OUTDIVIDER_MUXC": "DIVC", "OUTDIVIDER_MUXD": "DIVD", "FEEDBK_PATH": "CLKOP", "CLKOP_ENABLE": "ENABLED",
            "CLKI_DIV": r, "CLKFB_DIV": f, "CLKOP_DIV": q, "CLKOP_CPHASE": q // 2, "CLKOP_FPHASE": 0,
        },
        fixed={
            "RST": 0, "STDBY": 0, "PHASESEL0": 0, "PHASESEL1": 0, "PHASEDIR": 1, "PHASESTEP": 1, "PHASELOADREG": 1,
            "PLLWAKESYNC": 0, "ENCLKOP": 0,
        },
        attributes={
            "FREQUENCY_PIN_CLKI": f"{float(source):g}", "FREQUENCY_PIN_CLKOP": f"{float(mhz):.6g}",
            "ICP_CURRENT": "12", "LPF_RESISTOR": "8", "MFG_ENABLE_FILTEROPAMP": "1", "MFG_GMCREF_SEL": "2",
        },
    )  # fmt: skip


def ice40_clock(source: Fraction, wanted: Fraction) -> Clock | None:
    """SB_PLL40_PAD, or None where it reaches nothing that low; its input must be a pin of the PLL."""
    found = ICE40.nearest(source, wanted)
    if found is None:
        return None
    mhz, r, f, q = found
    filter_range = 1 + sum(source / r >= limit for limit in ICE40_FILTERS)
    return Clock(
        mhz=mhz,
        primitive="SB_PLL40_PAD",
        source="PACKAGEPIN",
        output="PLLOUTGLOBAL",
        parameters={
            "FEEDBACK_PATH": "SIMPLE", "DIVR": Const(r - 1, 4), "DIVF": Const(f - 1, 7),
            "DIVQ": Const(q.bit_length() - 1, 3), "FILTER_RANGE": Const(filter_range, 3),
        },
        fixed={"RESETB": 1, "BYPASS": 0},
    )  # fmt: skip


def gowin_clock(source: Fraction, wanted: Fraction, pll: Pll, device: str) -> Clock | None:
    """rPLL of a GW1N or GW2A part, or None where it reaches nothing that low."""
    found = pll.nearest(source, wanted)
    if found is None:
        return None
    mhz, r, f, q = found
    buses = {"FBDSEL": 6, "IDSEL": 6, "ODSEL": 6, "PSDA": 4, "DUTYDA": 4, "FDLY": 4}
    return Clock(
        mhz=mhz,
        primitive="rPLL",
        source="CLKIN",
        output="CLKOUT",
        parameters={
            "FCLKIN": f"{float(source):g}", "DEVICE": device, "IDIV_SEL": r - 1, "FBDIV_SEL": f - 1, "ODIV_SEL": q,
            "DYN_IDIV_SEL": "false", "DYN_FBDIV_SEL": "false", "DYN_ODIV_SEL": "false", "CLKFB_SEL": "internal",
        },
        fixed=dict.fromkeys(("RESET", "RESET_P", "CLKFB", *buses), 0),
        widths=buses,
    )  # fmt: skip


MakePll = Callable[[Fraction, Fraction], "Clock | None"]


def best_clock(make: MakePll, source: Fraction, wanted: float) -> Clock:
    """The highest clock up to `wanted` MHz: the oscillator where it is as good as the PLL."""
    limit = Fraction(wanted)
    pll = make(source, limit)
    if source <= limit and (pll is None or pll.mhz <= source):
        return Clock(mhz=source)
    if pll is None:
        raise OneSpikeError(
            f"No clock of at most {wanted:.4g} MHz can be made from the oscillator of {float(source):g} MHz; the "
            f"design must be made faster: use fewer lanes or banks."
        )
    return pll
