# SPDX-License-Identifier: Apache-2.0
"""Faults: what single flipped bits do to a network that runs, in RTL: jobs of some trials each (`flips.py`)."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..hw.emit.emit import hex_lines
from ..hw.emit.verilog import to_verilog
from ..hw.engine.faults import FAULTS
from ..model.cost.cycles import predict_all
from ..model.errors import OneSpikeError
from ..model.mapping.images import image_beats, load_words, memory_images
from ..model.mapping.mapping import Mapping
from ..model.network import golden
from ..model.system.campaign import Job
from ..model.system.files import write_atomically
from .flips import TRIAL, Kept, harness_text, kept_bits

TOGETHER = 100  # trials of a job
NOTHING = 0xFFFFFFFF  # flipped in a job's first trial: the engine must be right then
BEFORE = 0xFFFFFFFF  # cycle of a flip before the image
PASSING = ("spikes", "queues and sums", "registers")  # what changes while an image runs: flipped in any cycle of it
OUTCOMES = ("masked", "noted, right", "noted, wrong", "noted, ended", "wrong logits", "wrong class", "no end")
"""Of a flip: nobody ever knows; faults were noted, and the logits were right, or not, or did not come to their end;
nothing was noted, and the logits were wrong, or the class, too; or no answer ever came."""
SILENT = OUTCOMES[4:]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flip:
    """A bit that is turned over: of which register or memory, row, bit, image, cycle after its first (or BEFORE)."""

    number: int
    row: int
    bit: int
    at: int
    image: int


def used_rows(each: Kept, mapping: Mapping) -> int:
    """Rows of a memory that the network uses; of a memory of pages, those of this page."""
    config, images = mapping.config, memory_images(mapping)
    rows, pages = {
        "weights": lambda: (len(images.weights[each.bank or 0]), config.weight_pages),
        "masks": lambda: (len(images.masks[each.bank or 0]), config.mask_pages),
        "spikes": lambda: (mapping.needs["spike_depth"], config.spike_pages),
        "program": lambda: (len(images.program), (each.rows,)),
        "walk tables": lambda: (len(images.rows if each.path[-1] == "row_memory" else images.columns), (each.rows,)),
        "channels": lambda: (len(images.channels), (each.rows,)),
    }.get(each.kind, lambda: (each.rows, (each.rows,)))()
    page = int(each.path[-1].rpartition("memory")[2] or 0) if len(pages) > 1 else 0
    return int(np.clip(rows - sum(pages[:page]), 0, each.rows))


def draw(rng: np.random.Generator, kept: Sequence[Kept], kind: str, mapping: Mapping, lengths: Sequence[int],
         number: int) -> list[Flip]:  # fmt: skip
    """Flips of bits of a kind, all bits in use alike, and of what passes all cycles of the images; the network is
    flipped before the image, as they stay so. lengths: cycles of each image."""
    places = [i for i, each in enumerate(kept) if each.kind == kind]
    rows = [used_rows(kept[i], mapping) if kept[i].rows else 1 for i in places]
    bits = np.array([n * kept[i].width for n, i in zip(rows, places, strict=True)], np.int64)
    if not bits.sum():
        raise OneSpikeError(f"This engine keeps no {kind}.")
    ends = np.cumsum(bits)
    found = []
    for place in rng.integers(0, ends[-1], number):
        chosen = int(np.searchsorted(ends, place, side="right"))
        row, bit = divmod(int(place - ends[chosen] + bits[chosen]), kept[places[chosen]].width)
        image = int(rng.integers(0, len(lengths)))
        at = int(rng.integers(0, lengths[image])) if kind in PASSING else BEFORE
        found.append(Flip(number=places[chosen], row=row, bit=bit, image=image, at=at))
    return found


def outcome(right: np.ndarray, best: int, logits: list[tuple[int, int]], ended: bool, faults: int) -> str:
    """One of OUTCOMES; right, best: the golden logits and class; logits: (value, class so far) as they came."""
    if not ended:
        return "noted, ended" if faults else "no end"
    same = [value for value, _ in logits] == right.tolist()
    if faults:
        return "noted, right" if same else "noted, wrong"
    if same and logits[-1][1] == best:
        return "masked"
    return "wrong logits" if logits[-1][1] == best else "wrong class"


def work(
    mapping: Mapping, codes: np.ndarray, kind: str, first: int, number: int, folder: Path
) -> dict[str, Any]:
    """Trials first .. first + number - 1 of a kind: how many had each outcome, which faults were noted, and what was
    flipped in those that nobody noticed."""
    from .verilator import build, new_folder, run

    config, net = mapping.config, mapping.net
    verilog = to_verilog(config)
    kept = kept_bits(verilog)
    result = golden.run(net, codes, layers=True)
    beats = image_beats(mapping, codes)
    lengths = [beats.shape[1] + sum(layer.cycles for layer in image) for image in predict_all(mapping, result)]
    flips = draw(np.random.default_rng([sum(kind.encode()), first]), kept, kind, mapping, lengths, number)
    loads = load_words(memory_images(mapping), config)
    texts = {"onespike.v": verilog,
             "flips.v": harness_text(config, kept, len(loads), beats.size, TOGETHER + 1)}  # fmt: skip
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:16]
    sources = folder / f"flips-{digest}"
    for name, text in texts.items():
        write_atomically(sources / name, text)
    built = build([sources / name for name in texts], "onespike_flips", folder, options=("-Wno-MULTIDRIVEN",))
    rows: list[int] = []
    untouched = Flip(number=NOTHING, row=0, bit=0, at=0, image=0)
    trials = [untouched, *flips, *[untouched] * (TOGETHER - number)]
    for index, flip in enumerate(trials):
        loaded = index == 0 or kind != "spikes"  # a register may have written anything anywhere
        limit = 3 * lengths[flip.image] + 1000 + config.watchdog
        trial = [loaded, flip.image * beats.shape[1], flip.at, flip.number, flip.row, flip.bit, limit, beats.shape[1]]
        assert len(trial) == TRIAL
        rows += [int(word) for word in trial]
    run_folder = new_folder("run-", folder)
    write_atomically(run_folder / "trials.hex", hex_lines(rows, 32))
    write_atomically(run_folder / "load.hex", hex_lines([*loads, 0], 32))
    write_atomically(run_folder / "image.hex", hex_lines([*map(int, beats.reshape(-1)), 0], config.word_bits))
    run(built, "onespike.sim.flips_bench", test_dir=run_folder, timeout=3600)
    found = _tallied(run_folder / "trials.log", mapping, result.logits, trials[: number + 1], kept)
    shutil.rmtree(run_folder)
    return found | {"trials": number}


def _tallied(log: Path, mapping: Mapping, right: np.ndarray, trials: list[Flip], kept: list[Kept]) -> dict[str, Any]:
    lines = np.array(log.read_text().split(), np.int64).reshape(-1, 4)
    ends = np.flatnonzero(lines[:, 0] == 1)
    assert len(ends) >= len(trials), "the test bench stopped before its end"
    outcomes: Counter[str] = Counter()
    noted: Counter[str] = Counter()
    silent = []
    streamed = mapping.to_stream(right)
    for flip, (begin, end) in zip(trials, itertools.pairwise([-1, *ends]), strict=False):
        _, _, cycles, faults = lines[end].tolist()
        logits = [(int(value), int(best)) for _, _, value, best in lines[begin + 1 : end]]
        expected = streamed[flip.image]
        what = outcome(expected, int(expected[-mapping.channels :].argmax()), logits, not cycles >> 31, faults)
        if flip.number == NOTHING:
            assert what == "masked", f"without a flip: {what}, faults {faults}"
            continue
        outcomes[what] += 1
        noted.update(name for bit, name in enumerate(FAULTS) if faults >> bit & 1)
        if what in SILENT:
            each = kept[flip.number]
            silent.append([what, each.reference, flip.row, flip.bit, flip.at])
    return {"outcomes": dict(outcomes), "noted": dict(noted), "silent": silent}


def jobs(mapping: Mapping, codes: np.ndarray, kinds: Sequence[str], trials: int, folder: Path) -> Iterator[Job]:
    """So many trials of every kind, as jobs of TOGETHER."""
    for first in range(0, trials, TOGETHER):
        for kind in kinds:
            number = min(TOGETHER, trials - first)
            yield Job(name=f"{kind}, trials {first} to {first + number - 1}", function=work, folder=folder,
                      arguments=(mapping, codes, kind, first, number))  # fmt: skip
