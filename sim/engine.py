# SPDX-License-Identifier: Apache-2.0
"""Run a whole engine on images in cocotb/Verilator and hold every written word, logit and cycle against the model."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..fpga.netlist import netlist
from ..hw.emit.emit import hex_lines, memory_files, weight_bytes
from ..hw.emit.verilog import to_verilog
from ..hw.engine.counters import counter_names
from ..model.cost.cycles import LayerCycles
from ..model.cost.external import ExternalMemory
from ..model.errors import OneSpikeError
from ..model.mapping.mapping import Mapping
from ..model.system.files import write_atomically
from ..model.system.locks import owned
from .episode import Episode
from .harness import CONTROL, MOST_EPISODES, WEIGHT_ADDRESS, harness_text, memory_text

STEP = "ONESPIKE_STEP"  # set for a test bench that wakes in every cycle
RESULT = "result.json"  # what the bench leaves
BRIEF = 250_000  # cycles that end sooner in an engine compiled without optimisation, compilation included
WHOLE_LANES = 64  # engines of up to so many compile faster in one piece, in half the processor time


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What the simulation of `images` images showed.

    mismatches: words of any layer, logits and classes that differ from the golden model. cycle_mismatches: counters
    that differ from the prediction. counters [images or 1, layers, 4 or 5] in the order of `counter_names`. finished:
    cycle of each image's last logit. seconds: of real time, from the start of the clock to the end.
    """

    images: int
    mismatches: int
    cycle_mismatches: int
    words: int
    logits: np.ndarray
    counters: np.ndarray
    finished: np.ndarray
    predicted: list[list[LayerCycles]]
    simulated_cycles: int
    seconds: float
    utilisation: float

    @property
    def cycles_per_image(self) -> float:
        return float(total_cycles(self.counters).mean())

    @property
    def predicted_cycles_per_image(self) -> float:
        return float(np.mean([sum(layer.total for layer in image) for image in self.predicted]))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one network among others; problem: how hardware and model differ, or "". found: None where it hung, or wrote
    another number of words."""

    problem: str
    found: Simulated | None

    @property
    def simulated(self) -> Simulated:
        assert self.found is not None
        return self.found


def total_cycles(counters: np.ndarray) -> np.ndarray:
    """Cycles of each image: those of its layers, and those in which they waited for streamed weights."""
    return counters[:, :, 0].sum(1) + counters[:, :, 4:].sum((1, 2))


def simulate(
    mapping: Mapping,
    codes: np.ndarray,
    build_dir: str | Path,
    *,
    run_dir: str | Path | None = None,
    through_load: bool = False,
    stall: tuple[float, float] = (0.0, 0.0),
    seed: int = 1,
    serial: bool = True,
    waves: bool | str = False,
    gates: str | Map[str, str] | None = None,
    stock: bool = False,
    timeout: float = 1800,
    memory: ExternalMemory | None = None,
    axi_ram: bool = False,
    brief: int = BRIEF,
) -> Simulated:
    """Run images, as `model/network/pixels.py` says; AssertionError where hardware and model differ.

    through_load: fill the memories, zero at start, through the load stream. stall: share of cycles in which the
    image stream pauses and the logits stream is not taken. run_dir: keeps logs and waves; by default a new folder below
    build_dir, removed if all is well and there are no waves. serial: one image at a time, with all its counters read;
    otherwise images follow back to back and only the last one's counters are compared. gates: "ecp5" or "ice40"
    simulates the engine's netlist after synthesis for that family; file name -> text, any netlist of module `onespike`.
    stock: the slow way, as cocotb's own runner has it: every signal visible, and Python awake in every cycle; to
    measure what ours gains. memory: delivers streamed
    weights; the stalls are compared too, unless it is varied. axi_ram: cocotbext-axi's memory model delivers them
    instead, with random pauses, and Python makes the clock. brief: an engine that runs for at most so many cycles is
    compiled without optimisation, unless it has been compiled before. Raises OneSpikeError where another run uses
    run_dir.
    """
    episode = Episode(mapping=mapping, codes=codes, through_load=through_load, stall=stall, seed=seed, serial=serial,
                      memory=memory or ExternalMemory())  # fmt: skip
    build_dir = Path(build_dir)
    with _run_folder(build_dir, run_dir, kept=bool(waves)) as folder:
        brief = 0 if stock else brief
        _run([episode], build_dir, folder, waves=waves, gates=gates, stock=stock, timeout=timeout, axi_ram=axi_ram,
             brief=brief)  # fmt: skip
        return _found(folder, [episode])[0].simulated


def simulate_series(
    episodes: Sequence[Episode], build_dir: str | Path, *, timeout: float = 1800, brief: int = BRIEF
) -> list[Outcome]:
    """Run networks one after the other in one engine, each loaded over the one before; nothing is raised where hardware
    and model differ, but said in the outcomes. After an episode that hangs, there are none of the later ones.

    All mappings are of one configuration; every episode after the first must come through the load stream.
    """
    if len({episode.mapping.config for episode in episodes}) != 1:
        raise OneSpikeError("Networks that run one after the other need mappings of one configuration.")
    if any(not episode.through_load for episode in episodes[1:]):
        raise OneSpikeError("A network that is loaded over another one must come through the load stream.")
    if len(episodes) > MOST_EPISODES:
        raise OneSpikeError(f"At most {MOST_EPISODES} networks run one after the other, not {len(episodes)}.")
    build_dir = Path(build_dir)
    with _run_folder(build_dir, None, kept=False) as folder:
        try:
            _run(list(episodes), build_dir, folder, timeout=timeout, brief=brief, series=True)
        except AssertionError:
            if not (folder / RESULT).exists():
                raise
        return _found(folder, episodes)


def _run(
    episodes: list[Episode], build_dir: Path, folder: Path, *, timeout: float, brief: int, waves: bool | str = False,
    gates: str | Map[str, str] | None = None, stock: bool = False, axi_ram: bool = False, series: bool = False,
) -> None:  # fmt: skip
    """Build the engine with its harness, or take what was built before, and run it in the folder."""
    from .verilator import build, run

    first = episodes[0]
    config = first.mapping.config
    memories = memory_files(first.images, config)
    engine = {"onespike.v": to_verilog(config)}
    if isinstance(gates, Map):
        engine = dict(gates)
    elif gates is not None:
        contents = None if first.through_load else memories
        engine = netlist(engine["onespike.v"], gates, build_dir, contents=contents)
    beats = [int(beat) for episode in episodes for beat in episode.beats.reshape(-1)]
    loads = [word for episode in episodes for word in episode.loads]
    places, external = _external(episodes)
    texts = engine | {"harness.v": harness_text(config, axi_ram, max(len(beats), len(loads)), series)}
    if config.streams_weights and not axi_ram:
        texts["axi_memory.v"] = memory_text(len(external), series)
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:16]
    sources = build_dir / f"verilog-{digest}"  # engines that are simulated side by side do not share a file
    for name, text in texts.items():
        write_atomically(sources / name, text)
    cycles = sum(len(episode.codes) * episode.cycles for episode in episodes)
    # Tens of thousands of cells take long to compile, and run briefly.
    fast = not isinstance(gates, str) and cycles + len(loads) > brief
    built = build([sources / name for name in texts], "onespike_harness", build_dir, waves=waves,
                  ports_only=not stock, timeout=timeout, fast=fast,
                  whole=config.banks * config.lanes <= WHOLE_LANES and not isinstance(gates, str))  # fmt: skip

    for name, text in memories.items():
        write_atomically(folder / name, "0\n" * text.count("\n") if first.through_load else text)
    write_atomically(folder / "image.hex", hex_lines(beats, config.word_bits))
    write_atomically(folder / "load.hex", hex_lines(loads, 32))
    if config.streams_weights:
        write_atomically(folder / "external.hex", hex_lines(external, config.external_weights))
        write_atomically(folder / "weights.bin", weight_bytes(first.images, config))
    control = [len(episodes)] + [0] * (CONTROL - 1)
    for episode, (address, place) in zip(episodes, places, strict=True):
        control += episode.control(address, place, axi_ram)
    write_atomically(folder / "control.hex", hex_lines(control, 32))
    arrays = {
        f"{name}{index}": array
        for index, episode in enumerate(episodes)
        for name, array in episode.expected(axi_ram).items()
    }
    expected = io.BytesIO()
    np.savez(expected, **arrays, axi_ram=WEIGHT_ADDRESS if axi_ram else 0, seed=first.seed, episodes=len(episodes))  # type: ignore[arg-type]
    write_atomically(folder / "expected.npz", expected.getvalue())
    run(built, "onespike.sim.engine_bench", test_dir=folder, env={STEP: "1"} if stock else {}, timeout=timeout)


def _external(episodes: list[Episode]) -> tuple[list[tuple[int, int]], list[int]]:
    """External memory: (address, first beat) of each network's weights, and all beats, at multiples of 4096 bytes."""
    beats: list[int] = []
    places = []
    page = 4096 * 8 // max(1, episodes[0].mapping.config.external_weights)
    for episode in episodes:
        beats += [0] * (-len(beats) % page)
        places.append((WEIGHT_ADDRESS + 4096 * (len(beats) // page), len(beats)))
        beats += episode.images.external
    return places, beats


def _found(folder: Path, episodes: Sequence[Episode]) -> list[Outcome]:
    """What the bench has left in the folder."""
    run = json.loads((folder / RESULT).read_text())
    outcomes = []
    for episode, found in zip(episodes, run["episodes"], strict=False):
        outcomes.append(Outcome(problem=found["problem"], found=_simulated(episode, found, run)))
    return outcomes


def _simulated(episode: Episode, found: dict[str, Any], run: dict[str, Any]) -> Simulated | None:
    if "words" not in found:
        return None
    mapping, config = episode.mapping, episode.mapping.config
    measured = np.array(found["counters"]).reshape(-1, len(mapping.layers), len(counter_names(config)))
    useful = [sum(layer.useful for layer in image) for image in episode.predicted][-len(measured) :]
    return Simulated(
        images=len(episode.codes),
        mismatches=found["mismatches"],
        cycle_mismatches=found["cycle_mismatches"],
        words=found["words"],
        logits=mapping.from_stream(np.array(found["logits"])),
        counters=measured,
        predicted=episode.predicted,
        finished=np.array(found["finished"]),
        simulated_cycles=run["simulated_cycles"],
        seconds=run["seconds"],
        utilisation=sum(useful) / (config.banks * config.lanes * int(total_cycles(measured).sum())),
    )


@contextlib.contextmanager
def _run_folder(build_dir: Path, run_dir: str | Path | None, *, kept: bool) -> Iterator[Path]:
    """The folder of one run: run_dir, while no other run has it, or a new one below build_dir.

    A new one is removed at the end unless it is kept, or holds the log of a mismatch.
    """
    from .verilator import new_folder

    if run_dir is not None:
        with owned(run_dir) as folder:
            yield folder
        return
    folder = new_folder("run-", build_dir)
    try:
        yield folder
    except AssertionError:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not kept:
        shutil.rmtree(folder)
