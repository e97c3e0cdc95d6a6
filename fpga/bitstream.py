# SPDX-License-Identifier: Apache-2.0
"""Bitstream: a mapped network behind a UART on a board, placed, routed and packed with open tools.

Every attempt has a folder of its own, named by the hash of its inputs, that keeps its logs and its result. The clock is
then set to what was reached (`retune`), or, where the family's tools cannot do that, lowered until timing is met. The
network lies in the block RAMs' initial contents; weights in single-port RAMs, which have none, are loaded by the host.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..hw.config import EngineConfig
from ..hw.emit.emit import memory_files
from ..hw.emit.front import front_verilog
from ..hw.emit.verilog import TOP, to_verilog
from ..hw.fronts.bit_time import bit_time_window
from ..hw.fronts.front import Front, uart_front
from ..hw.fronts.packet import MOST_WORDS
from ..hw.fronts.registers import word
from ..model.cost.area import block_rams
from ..model.cost.bound import check_watchdog
from ..model.cost.choose import choose_mapping, fewest_slices
from ..model.cost.explore import unfed
from ..model.errors import OneSpikeError
from ..model.mapping.images import fingerprint, memory_images
from ..model.mapping.mapping import Mapping
from ..model.network.spec import INPUT, SpikeNet
from ..model.system import bounded, reports
from ..model.system.files import write_atomically
from ..model.system.locks import owned
from ..model.targets import Target
from .boards import Board, constraints
from .clocks import Clock, best_clock
from .fit import MARGIN, fit
from .place_route import count_flip_flops, packed_cells, place_and_route, routing, timing, used_cells, ways
from .retune import RETUNE
from .synth import recipe, write_netlist
from .tools import find_tool, run_tool, tool_versions
from .top import NAME, top_verilog

MOST_CLOCKS = 5  # that are tried for one engine
MOST_ENGINES = 6  # that are tried with --fit
SLOWER = 0.98  # the next clock, of what place and route reached
FASTER = 1.15  # what a clock must gain to be worth another run, where the PLL cannot be set afterwards
# What the UART front and the reset take, measured: the area estimate is of the engine alone.
FRONT_LUTS = {"ecp5": 1020, "ice40": 890, "gowin": 880}  # on iCE40, logic cells
FRONT_FLIP_FLOPS, FRONT_BLOCK_RAMS = 410, 1
SUFFIXES = {"ecp5": "bit", "ice40": "bin", "gowin": "fs"}
ROUTED = {"ecp5": "routed.config", "ice40": "routed.asc", "gowin": "routed.json"}

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of place and route: the clock that it aimed for, what it reached (0: it did not fit), and its folder.

    resources: (used, available) by name.
    """

    clock_mhz: float
    reached_mhz: float
    resources: dict[str, tuple[int, int]]
    critical_path: tuple[str, ...]
    directory: str

    @property
    def over(self) -> tuple[str, int, int] | None:
        """The resource that is short, what is needed and what there is; None where everything fits."""
        short = [(used / have, name, used, have) for name, (used, have) in self.resources.items() if used > have]
        return max(short)[1:] if short else None


@dataclass(frozen=True, kw_only=True)
class Bitstream:
    """A bitstream whose timing is met: the file, the clock it runs at, and all attempts, the last being its own."""

    file: Path
    board: str
    config: EngineConfig
    clock_mhz: float
    baud: int
    attempts: tuple[Attempt, ...]
    tools: str

    @property
    def resources(self) -> dict[str, tuple[int, int]]:
        return self.attempts[-1].resources


class DoesNotFit(OneSpikeError):
    """The part has too little of a resource."""

    def __init__(self, board: Board, config: EngineConfig, attempt: Attempt):
        assert attempt.over is not None
        self.attempt = attempt
        name, need, have = attempt.over
        super().__init__(
            f"{config.banks} x {config.lanes} lanes do not fit {board.title}: they need {need:,} {name}, "
            f"{need - have:,} more than the {have:,} of {board.part.name}; use --fit, or fewer --lanes, --banks or "
            f"--fire-lanes."
        )


def build(
    mapping: Mapping,
    board: Board,
    directory: str | Path,
    *,
    baud: int = 115200,
    frequency: float | None = None,
    seed: int = 1,
    tell: Tell = lambda text: None,
) -> Bitstream:
    """Make the bitstream of a network on a board; minutes for each attempt, then from the cache.

    frequency: the clock in MHz that the first attempt aims for and the design runs at, at most; by default the board's
    `aim`, and as fast as it can. Where the PLL cannot be set afterwards, the next attempt takes a clock just below what
    was reached: if timing is not met, or if it is met with much to spare and no frequency was given. tell: told
    about every attempt. Raises DoesNotFit, and OneSpikeError where another run uses the directory, or at once where the
    memories are more block RAMs than the part has.
    """
    tools = _find_tools(board)
    with owned(directory) as folder:
        return _build(mapping, board, folder, baud, frequency, seed, tell, tools)


def _build(
    mapping: Mapping,
    board: Board,
    directory: Path,
    baud: int,
    frequency: float | None,
    seed: int,
    tell: Tell,
    tools: str,
) -> Bitstream:
    """`build` in a directory that belongs to this run."""
    check_watchdog(mapping)
    need, have = block_rams(mapping.config, board.part.family), board.part.block_rams
    if need > have:
        config = mapping.config
        raise OneSpikeError(
            f"{config.banks} x {config.lanes} lanes do not fit {board.title}: their memories are {need:,} block RAMs, "
            f"{need - have:,} more than the {have:,} of {board.part.name}; use --fit, fewer --banks or --lanes, fewer "
            f"--weight-bits when the network is converted, or a larger part."
        )
    if refused := unfed(board.part, mapping.config) if mapping.config.single_port else "":
        lanes = f"{mapping.config.banks} x {mapping.config.lanes} lanes"
        raise OneSpikeError(f"{lanes} do not fit {board.title}: {refused}")
    wanted = board.aim if frequency is None else frequency
    retunes = board.part.family.name in RETUNE
    attempts: list[Attempt] = []
    network = 0 if mapping.config.single_port else fingerprint(memory_images(mapping), mapping.config)
    slower: tuple[Attempt, Clock] | None = None  # an attempt that met its clock and could have had a higher one
    for _ in range(MOST_CLOCKS):
        clock = best_clock(board.pll, board.source(), wanted)
        mhz = float(clock.mhz)
        front = replace(uart_front(mhz, baud, measured=retunes), network=network)
        attempt = _attempt(mapping, board, clock, front, baud, directory, seed, tools)
        attempts.append(attempt)
        if attempt.over is not None:
            tell(f"at {mhz:.4g} MHz: does not fit")
            raise DoesNotFit(board, mapping.config, attempt)
        reached = attempt.reached_mhz
        met = clock if reached >= mhz else None
        if retunes and clock.primitive:
            most = reached if frequency is None else min(reached, frequency)
            met = board.pll(board.source(), Fraction(most)) or met
        outcome = "timing not met" if met is None else f"runs at {float(met.mhz):.4g} MHz"
        tell(f"at {mhz:.4g} MHz: {reached:.4g} MHz reached, {outcome}")
        below = SLOWER * min(reached, mhz)
        if met is None and slower is not None:  # the faster clock was not reached
            if below >= FASTER * float(slower[1].mhz) and len(attempts) < MOST_CLOCKS:
                wanted = below
                continue
            attempt, met = slower
            attempts.append(attempt)
            tell(f"at {float(met.mhz):.4g} MHz as before")
            clock = met
        elif met is not None and not retunes and frequency is None and slower is None and reached >= FASTER * mhz:
            slower, wanted = (attempt, clock), SLOWER * reached
            continue
        if met is not None:
            uart_front(float(met.mhz), baud)  # refuses a baud rate that this clock cannot make
            return Bitstream(
                file=_pack(board, attempt, clock, met, directory), board=board.name, config=mapping.config,
                clock_mhz=float(met.mhz), baud=baud, attempts=tuple(attempts), tools=tools,
            )  # fmt: skip
        wanted = below
    raise OneSpikeError(
        f"Timing was not met in {MOST_CLOCKS} attempts, the last at {attempts[-1].clock_mhz:.4g} MHz; name a lower "
        f"--frequency (logs: {attempts[-1].directory})."
    )


def fit_and_build(
    net: SpikeNet,
    board: Board,
    directory: str | Path,
    codes: np.ndarray,
    *,
    base: EngineConfig | None = None,
    baud: int = 115200,
    frequency: float | None = None,
    seed: int = 1,
    tell: Tell = lambda text: None,
) -> tuple[Mapping, Bitstream]:
    """The fastest engine for the image codes that the estimate lets in, and smaller ones until one really fits."""
    part = board.part
    margin = MARGIN
    last: DoesNotFit | None = None
    for _ in range(MOST_ENGINES):
        try:
            config = fit(net, room(part), codes, base=base, margin=margin)
        except OneSpikeError as error:
            if last is None:
                raise
            raise OneSpikeError(f"{str(last).rstrip('.')}; and of smaller engines: {error}") from None
        mapping = choose_mapping(net, config, codes, fit=False) if config.loadable else fewest_slices(net, config)
        tell(f"{config.banks} x {config.lanes} lanes, {config.fire_lanes} fire lanes")
        try:
            found = build(mapping, board, directory, baud=baud, frequency=frequency, seed=seed, tell=tell)
            return mapping, found
        except DoesNotFit as error:
            last = error
            _, need, have = error.attempt.over or ("", 1, 1)
            margin *= 0.97 * have / need
    assert last is not None
    raise last


def room(part: Target) -> Target:
    """The part without what the UART front takes."""
    return replace(
        part,
        luts=part.luts - FRONT_LUTS[part.family.name],
        flip_flops=part.flip_flops - FRONT_FLIP_FLOPS,
        block_rams=part.block_rams - FRONT_BLOCK_RAMS,
    )


def _find_tools(board: Board) -> str:
    """The tools with their versions; OneSpikeError before any work where one is missing."""
    family = board.part.family
    find_tool("yosys")
    find_tool(family.router)
    find_packer(family.name)
    return tool_versions("yosys", family.router)


def find_packer(family: str) -> str:
    """Path of the tool that makes a family's bitstreams."""
    if family == "gowin":
        beside = Path(sys.executable).with_name("gowin_pack")
        path = str(beside) if beside.exists() else shutil.which("gowin_pack")
        if path is None:
            raise OneSpikeError("The bitstream needs gowin_pack: run `pip install onespike[synth]`.")
        return path
    return find_tool({"ecp5": "ecppack", "ice40": "icepack"}[family])


def sources(mapping: Mapping, board: Board, clock: Clock, front: Front, baud: int) -> dict[str, str]:
    """File name -> text of everything that Yosys and the router read; the memory images hold the network."""
    config = mapping.config
    window = bit_time_window(float(board.source()) * 1e6, baud) if front.divisor is None else None
    name, pins = constraints(board)
    return {
        f"{TOP}.v": to_verilog(config),
        f"{front.top}.v": front_verilog(config, front),
        f"{NAME}.v": top_verilog(front.top, clock, board, window=window),
        name: pins,
        **memory_files(memory_images(mapping), config),
    }


def _attempt(
    mapping: Mapping, board: Board, clock: Clock, front: Front, baud: int, directory: Path, seed: int, tools: str
) -> Attempt:
    part = board.part
    family = part.family
    files = sources(mapping, board, clock, front, baud)
    key = json.dumps([files, recipe(family, NAME), ways(family), part.part, str(clock.mhz), seed, tools])
    folder = directory / f"{board.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    result = folder / "result.json"

    def again(kept: dict[str, Any]) -> Attempt:
        resources = {name: (used, have) for name, (used, have) in kept["resources"].items()}
        path = tuple(kept["critical_path"])
        return Attempt(**(kept | {"resources": resources, "critical_path": path, "directory": str(folder)}))

    if (before := bounded.kept(result, again)) is not None:
        return before
    for name, text in files.items():
        write_atomically(folder / name, text)
    verilog = " ".join(name for name in files if name.endswith(".v"))
    write_netlist(f"read_verilog {verilog}", family, NAME, folder)
    (pins,) = (name for name in files if name.startswith("top.") and not name.endswith(".v"))
    formats = {
        "ecp5": (["--lpf", pins], "--textcfg"),
        "ice40": (["--pcf", pins], "--asc"),
        "gowin": (["--vopt", f"cst={pins}"], "--write"),
    }
    where, output = formats[family.name]
    command = [*routing(part, folder, float(clock.mhz), seed), *where]
    failure: OneSpikeError | None = None
    over = False
    try:
        if packed_cells(command, folder):
            over = any(used > have for used, have in _resources(folder, part).values())
        if not over:
            place_and_route(command, folder, outputs=(output, ROUTED[family.name]))
    except OneSpikeError as error:
        failure = error
    resources = _resources(folder, part)
    if failure is not None and all(used <= have for used, have in resources.values()):
        raise failure
    reached, critical = (0.0, ()) if over or failure is not None else timing(folder / "report.json")
    found = Attempt(clock_mhz=float(clock.mhz), reached_mhz=reached, resources=resources, critical_path=critical,
                    directory=str(folder))  # fmt: skip
    write_atomically(result, json.dumps(asdict(found), indent=1) + "\n")
    return found


def _resources(folder: Path, part: Target) -> dict[str, tuple[int, int]]:
    """(used, available) by name, from the router's log; empty where it stopped before it counted."""
    log = folder / "nextpnr.log"
    used = used_cells(log) if log.is_file() else {}
    if not used:
        return {}
    family = part.family
    have = {"LUTs": part.luts, "flip-flops": part.flip_flops, "block RAMs": part.block_rams}
    counted = {
        "logic cells" if family.merged else "LUTs": used[family.luts],
        "flip-flops": (count_flip_flops(folder, family), part.flip_flops),
        "block RAMs": used[family.block_rams],
        "multipliers": used.get(family.multipliers, (0, 0)),
    }
    if part.single_ports:
        counted["single-port RAMs"] = used.get(family.single_ports, (0, 0))
        have["single-port RAMs"] = part.single_ports
    if family.flip_flops in used:
        counted["flip-flops"] = used[family.flip_flops]
    return {name: (number, have.get(name, most)) for name, (number, most) in counted.items()}


def _pack(board: Board, attempt: Attempt, clock: Clock, runs_at: Clock, directory: Path) -> Path:
    """The bitstream of a design that was routed for one clock and runs at another, whole or not at all."""
    family = board.part.family.name
    folder = Path(attempt.directory)
    routed, packed = ROUTED[family], f"packed.{SUFFIXES[family]}"
    if runs_at.mhz != clock.mhz:
        name = f"{float(runs_at.mhz):.4f}"
        retuned = reports.read(folder / routed, "the router", lambda text: RETUNE[family](text, runs_at))
        write_atomically(folder / f"{name}-{routed}", retuned)
        routed, packed = f"{name}-{routed}", f"{name}-{packed}"
    unfinished = f"unfinished-{packed}"
    command = {
        "ecp5": ["--compress", "--input", routed, "--bit", unfinished],
        "ice40": [routed, unfinished],
        "gowin": ["-d", board.device, "-o", unfinished, routed],
    }[family]
    if not (folder / packed).is_file():
        run_tool([find_packer(family), *command], folder, "pack.log")
        (folder / unfinished).rename(folder / packed)
    file = directory / f"{board.name}.{SUFFIXES[family]}"
    write_atomically(file, (folder / packed).read_bytes())
    return file


def line_seconds(mapping: Mapping, baud: int) -> float:
    """Seconds that an image and its answer take on the serial line, see docs/protocol.md."""

    def frames(words: int) -> int:
        return math.ceil(words / MOST_WORDS)

    tensor = mapping.tensors[INPUT]
    beats = tensor.size * len(tensor.slices)
    logits = mapping.net.classes * -(-mapping.config.acc_bits // 32)
    sent = 4 * beats + 7 * (frames(beats - 1) + 1) + 6 * (frames(beats - 1) + 1)
    asked = word("counter") - word("events") + 1  # whether the board is still ours, and all is well
    read = 4 * logits + 13 * frames(logits) + (13 + 4 * 2) + (13 + 4 * asked)  # the logits, status and events, these
    return 10 * (sent + read) / baud
