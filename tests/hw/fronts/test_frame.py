# SPDX-License-Identifier: Apache-2.0
"""Frames of any length become whole images, in Amaranth's simulator against the golden function."""

import random

import pytest

from onespike.hw.fronts.frame import Frame
from onespike.model.machine.frame import whole_image
from onespike.sim.stream import run_pipeline, run_stream


def rtl(frames: list[list[int]], beats: int, **options) -> list[int]:
    payloads = [{"data": beat, "last": i + 1 == len(frame)} for frame in frames for i, beat in enumerate(frame)]
    found = run_stream(
        Frame(16), {"frames": payloads}, {"image": beats * len(frames)}, fixed={"run": 1, "beats": beats}, **options
    )
    return found["image"]


@pytest.mark.parametrize("beats", [1, 2, 7])
@pytest.mark.parametrize("seed", range(3))
def test_random_lengths(beats, seed):
    rng = random.Random(seed)
    lengths = [rng.choice([1, beats - 1 or 1, beats, beats, beats + 1, 3 * beats]) for _ in range(40)]
    frames = [[rng.randrange(1, 1 << 16) for _ in range(length)] for length in lengths]
    expected = [beat for frame in frames for beat in whole_image(frame, beats)]
    assert rtl(frames, beats, seed=seed) == expected


def test_nothing_passes_while_stopped():
    found = run_stream(
        Frame(16), {"frames": []}, {"image": 0}, fixed={"run": 0, "beats": 4, "frames.valid": 1}, surplus=50
    )
    assert found["image"] == []


def test_full_throughput():
    frames = [[1, 2, 3]] * 5
    stamps = run_stream(
        Frame(16),
        {"frames": [{"data": beat, "last": beat == 3} for frame in frames for beat in frame]},
        {"image": 15},
        fixed={"run": 1, "beats": 3},
        stall=0,
        stamps=True,
    )
    cycles = [transfer.cycle for transfer in stamps["image"]]
    assert cycles == list(range(cycles[0], cycles[0] + 15))


OUTPUTS = ("frames.ready", "image.valid", "image.payload", "inside", "began", "short", "long")


def reference(steps: list[dict], beats: int) -> list[dict]:
    """What the ports say in every cycle, from the contract in the docstring of Frame."""
    offer, place, mode, rows = None, 0, "pass", []
    for step in steps:
        beat, free = step["frames.payload"], offer is None or step["image.ready"]
        ready = mode == "drop" or (mode == "pass" and free and step["run"])
        taken = ready and step["frames.valid"]
        passed = free if mode == "fill" else taken and mode == "pass"
        ends = passed and place + 1 == beats
        short = mode == "pass" and passed and beat["last"] and not ends
        long = mode == "pass" and ends and not beat["last"]
        rows.append(
            {
                "frames.ready": int(ready),
                "image.valid": int(offer is not None),
                "image.payload": offer,
                "inside": int(mode == "drop" or (mode == "pass" and place > 0)),
                "began": int(passed and place == 0),
                "short": int(short),
                "long": int(long),
            }
        )
        if free:
            offer = (0 if mode == "fill" else beat["data"]) if passed else None
        place = 0 if ends else place + passed
        if short or long:
            mode = "fill" if short else "drop"
        elif (mode == "fill" and ends) or (mode == "drop" and taken and beat["last"]):
            mode = "pass"
        if step["clear"]:
            offer, place, mode = None, 0, "pass"
    return rows


def check(steps: list[dict], beats: int) -> list[dict]:
    expected = reference(steps, beats)
    found = run_pipeline(Frame(16), {name: [step[name] for step in steps] for name in steps[0]}, OUTPUTS)
    for cycle, row in enumerate(expected):
        got = {name: found[name][cycle] for name in OUTPUTS if row[name] is not None}
        assert got == {name: row[name] for name in got}, f"cycle {cycle}: {steps[cycle]}"
    return expected


@pytest.mark.parametrize("beats", [1, 2, 5])
@pytest.mark.parametrize("seed", range(2))
def test_every_cycle(beats, seed):
    """Stops, clears, stalls and frames of any length at any time: every port in every cycle."""
    rng = random.Random(seed)

    def step() -> dict:
        run = rng.random() < 0.9
        return {
            "beats": beats,
            "run": run,
            "clear": not run and rng.random() < 0.5,
            "frames.valid": rng.random() < 0.8,
            "frames.payload": {"data": rng.randrange(1, 1 << 16), "last": rng.random() < 0.4},
            "image.ready": rng.random() < 0.8,
        }

    rows = check([step() for _ in range(1000)], beats)
    assert all(any(row[name] for row in rows) for name in ("began", "long", "inside"))
    assert beats == 1 or any(row["short"] for row in rows)


@pytest.mark.parametrize("mode", ["pass", "fill", "drop"])
@pytest.mark.parametrize("clear", range(7))
def test_a_stop_while_a_beat_waits(mode, clear):
    """The image does not take its beats, the frame is stopped and cleared in any cycle: nothing of it comes out later,
    and the next frame is whole."""
    last = {"pass": 9, "fill": 1, "drop": 9}[mode]
    beats = 2 if mode == "drop" else 4
    steps = []
    for cycle in range(20):
        run, after = not 0 <= cycle - clear < 2, cycle > clear + 1
        number = cycle - clear - 1 if after else cycle
        frame = {"data": 100 * (1 + after) + cycle, "last": number == (beats if after else last)}
        steps.append({"beats": beats, "run": run, "clear": cycle in (clear, clear + 1), "frames.valid": 1,
                      "frames.payload": frame, "image.ready": after or cycle == 1})  # fmt: skip
    rows = check(steps, beats)
    begun = next(cycle for cycle, row in enumerate(rows) if cycle > clear and row["began"])
    assert begun == clear + 2
    assert [row["image.payload"] for row in rows[begun + 1 :][:beats]] == [200 + begun + i for i in range(beats)]


def test_width_of_beats():
    """As docs/registers.md has it."""
    assert len(Frame(16).beats) == 24
