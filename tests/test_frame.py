# SPDX-License-Identifier: Apache-2.0
"""Frames of any length become whole images, in Amaranth's simulator against the golden function."""

import random

import pytest

from onespike.hw.frame import Frame
from onespike.model.frame import whole_image
from onespike.sim.stream import run_stream


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
