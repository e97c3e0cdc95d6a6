# SPDX-License-Identifier: Apache-2.0
"""Seeds: place and route as jobs of a campaign, a seed each; the router's result is a draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..hw.config import EngineConfig
from ..model.errors import OneSpikeError
from ..model.mapping.mapping import Mapping
from ..model.system import campaign
from ..model.system.campaign import Done, Job
from ..model.targets import find_target
from .bitstream import Bitstream, DoesNotFit, build
from .boards import Board, find_board
from .synth import Synthesised, synthesise
from .tools import find_tool, tool_versions


def synthesise_all(
    engines: Sequence[tuple[EngineConfig, int]],
    target: str,
    build_dir: str | Path,
    *,
    frequency: float = 130.0,
    executor: str = "local:1",
    keep: str | Path | None = None,
    done: Done | None = None,
) -> list[Synthesised]:
    """`synthesise` of every (engine, seed), in their order; executor, keep and done as in `campaign.run`."""
    router = find_target(target).family.router
    find_tool("yosys")
    find_tool(router)
    tools = tool_versions("yosys", router)
    jobs = [
        Job(name=f"{config.banks} x {config.lanes} on {target}, seed {seed}", function=placed,
            arguments=(config, target, seed, frequency, tools), folder=Path(build_dir).absolute())
        for config, seed in engines
    ]  # fmt: skip
    return [
        Synthesised(**(found | {"critical_path": tuple(found["critical_path"])}))
        for found in campaign.run(jobs, executor, keep=keep, done=done)
    ]


def placed(
    config: EngineConfig, target: str, seed: int, frequency: float, tools: str, *, folder: Path
) -> dict[str, Any]:
    """One engine with one seed; tools: with their versions, which must be these."""
    require_tools(tools, target)
    return dataclasses.asdict(synthesise(config, target, folder, seed=seed, frequency=frequency))


def require_tools(tools: str, target: str) -> None:
    """OneSpikeError where this machine has other tools than the command."""
    found = tool_versions("yosys", find_target(target).family.router)
    if found != tools:
        raise OneSpikeError(f"A worker has {found}, this command {tools}; install the same ones on all.")


def best_bitstream(
    mapping: Mapping,
    board: Board,
    directory: Path,
    seeds: Sequence[int],
    *,
    baud: int,
    frequency: float | None,
    executor: str = "local:1",
    keep: str | Path | None = None,
    done: Done | None = None,
) -> tuple[int, list[float], Bitstream]:
    """The seed whose bitstream runs at the fastest clock, the clocks of all in MHz (0: timing was not met), and its
    bitstream, made here, in the directory."""
    tools = tool_versions("yosys", board.part.family.router)
    jobs = [
        Job(name=f"{board.name}, seed {seed}", function=clock,
            arguments=(mapping, board.name, baud, frequency, seed, tools), folder=directory.absolute() / "seeds")
        for seed in seeds
    ]  # fmt: skip
    clocks = campaign.run(jobs, executor, keep=keep, done=done)
    best = max(range(len(clocks)), key=lambda index: (clocks[index], -index))
    found = build(mapping, board, directory / "seeds" / f"seed-{seeds[best]}", baud=baud, frequency=frequency,
                  seed=seeds[best])  # fmt: skip
    return seeds[best], clocks, found


def clock(
    mapping: Mapping, board: str, baud: int, frequency: float | None, seed: int, tools: str, *, folder: Path
) -> float:
    """The clock of one seed's bitstream; 0 where its timing is not met."""
    place = find_board(board)
    require_tools(tools, place.part.name)
    try:
        return build(mapping, place, folder / f"seed-{seed}", baud=baud, frequency=frequency, seed=seed).clock_mhz
    except DoesNotFit:
        raise
    except OneSpikeError as error:
        if "Timing was not met" in str(error):
            return 0.0
        raise
