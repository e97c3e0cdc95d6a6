# SPDX-License-Identifier: Apache-2.0
"""What `explore` prints fits 80 columns, says what is the same for all once, and names networks and images."""

import dataclasses
import io

import numpy as np
from rich.console import Console

from command_line import small_net
from onespike.cli import main
from onespike.commands.explore import figures
from onespike.commands.explored import plot, table, told_apart
from onespike.hw.config import EngineConfig
from onespike.model.cost.area import estimate
from onespike.model.cost.explore import Point
from onespike.model.targets import find_target

TARGET = find_target("ecp5-25k")


def points(nets=("a.spike",), **changes):
    configs = [EngineConfig(banks=b, lanes=n, **changes) for b, n in ((4, 16), (2, 8))]
    return [
        Point(net=net, config=config, area=estimate(config, TARGET), cycles=1000 * at + 10_000, utilisation=0.5)
        for net in nets
        for at, config in enumerate(configs)
    ]


def shown(made):
    console = Console(file=io.StringIO(), width=80)
    console.print(made)
    return console.file.getvalue()


def test_the_widest_table_fits_80_columns():
    """Two networks, every parameter of two values, accuracy, and what synthesis found."""
    found = [*points(("x/digits.spike", "x/digits-4bit.spike")), *points(("x/digits.spike",), word_bits=16)]
    found += points(("x/digits.spike",), multiples=(1,), fire_lanes=4)
    real = {"luts": 12_345, "flip_flops": 23_456, "block_rams": 34, "fmax_mhz": 123.45}
    rows = [figures(dataclasses.replace(p, accuracy=0.987)) | {"synthesis": real} for p in found]
    said = shown(table(rows, TARGET, ["x/digits.spike", "x/digits-4bit.spike"]))
    assert all(len(line.rstrip()) <= 80 for line in said.splitlines())
    for word in ("b: x/digits-4bit.spike", "10,000", "98.7 %", "placed", "12,345", "23,456", "123.5", "1/3/5"):
        assert word in said, word
    assert "…" not in said


def test_what_is_the_same_is_said_once():
    rows = [figures(point) for point in points()]
    said = " ".join(shown(table(rows, TARGET, ["a.spike"])).split())
    same_for_all = "8 fire lanes, banks drained 1 at a time, spike words of 32 bits, weights of 8 bits"
    assert f"all with {same_for_all}, events of 1/3/5 times a weight." in said
    assert "MHz" not in said and "right" not in said and " net " not in said
    differ, same = told_apart([{**rows[0]["config"], "word_bits": bits} for bits in (16, 32)])
    assert differ == [("word_bits", "word")] and len(same) == 4


def test_plot_names_every_array_once(tmp_path):
    found = [*points(), *points(word_bits=16)]
    plot(found, found, TARGET, tmp_path / "front.svg")
    drawn = (tmp_path / "front.svg").read_text()
    assert drawn.count("<!-- 4x16 -->") == drawn.count("<!-- 2x8 -->") == 1


def test_the_command_says_what_its_figures_rest_on(capsys, tmp_path):
    net, rng = small_net(), np.random.default_rng(0)
    net.save(tmp_path / "net.spike")
    labels = rng.integers(0, net.classes, 9)
    np.savez(tmp_path / "own.npz", images=rng.integers(0, 256, (9, *net.image.shape), np.uint8), labels=labels)
    words = ["explore", tmp_path / "net.spike", "--data", tmp_path / "own.npz", "--images", "2", "--banks", "1,2"]
    assert main([str(word) for word in (*words, "--lanes", "8", "--target", "ecp5-25k")]) == 0
    said = capsys.readouterr().out
    assert f"Accuracy of {tmp_path / 'net.spike'}: " in said
    assert "classified rightly of the first 9 images of own.npz." in said
    assert f"Cycles are means of the first 2 images of {tmp_path / 'own.npz'}." in said
