# SPDX-License-Identifier: Apache-2.0
"""The page: what it says equals the figures, its structure, and that it needs nothing from anywhere."""

import csv
import dataclasses
import io
import itertools
import json
import re

import numpy as np
import pytest

from command_line import ENGINE, small_net
from html_page import Page
from onespike.cli import main
from onespike.model.network.spec import INPUT, Source
from onespike.page import defended, drawing, layers
from onespike.page.missing import engine_words
from onespike.parsers.options import engine_config
from onespike.parsers.parser import build_parser

SECTIONS = (
    "Verdict", "Part and clock", "Latency, throughput and utilisation", "Layers", "Timeline of one image",
    "Spikes of one image",
    "Memories", "Critical path", "Energy", "Alternatives", "Reproduce",
)  # fmt: skip


def column(table, head):
    return [row[[text for text, _ in table[0]].index(head)] for row in table[1:]]


def test_structure(whole):
    page = Page(whole[0])
    assert [text for level, text in page.headings if level == 2] == list(SECTIONS)
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert len(set(page.ids)) == len(page.ids)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)  # all of them lead somewhere on the page
    assert len(page.labels) == len(page.captions) > 7 and all(len(label) > 20 for label in page.labels)
    for name, table in page.tables.items():
        assert len({len(row) for row in table}) == 1 and len(table) > 1, name


def test_one_file_without_scripts(whole):
    text, _ = whole
    page = Page(text)
    assert not {"script", "img", "link", "iframe", "object"} & page.tags
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "url(" not in re.sub(r"url\(#", "", text) and "@import" not in text
    assert "http" not in re.sub(r'xmlns(:\w+)?="http[^"]*"', "", text)
    assert len(text) < 5_000_000


def test_figures_are_those_of_the_json(whole):
    page, figures = Page(whole[0]), whole[1]
    saved = json.loads(page.files["report.json"])
    assert saved == {name: value for name, value in figures.items() if name != "made_by"}
    layers = figures["cycles"]["layers"]
    tables = page.tables
    assert [v for _, v in column(tables["cycles"], "predicted")] == [layer["predicted_cycles"] for layer in layers]
    rtl = figures["measured"]["rtl"]["layers"]
    assert [v for _, v in column(tables["cycles"], "simulated")] == [layer["cycles"] for layer in rtl]
    causes = [v for _, v in column(tables["causes"], "adds a weight")]
    assert causes[:-1] == [layer["lane_cycles"]["useful"] for layer in layers]
    systems = figures["energy"]["systems"]
    assert [v for _, v in column(tables["energy"], "with memory")] == [s["memory_uj"] for s in systems]
    ours = systems[-1]
    assert column(tables["energy-ratios"], "with memory")[0][1] == pytest.approx(
        ours["memory_uj"] / systems[0]["memory_uj"]
    )
    resources = figures["measured"]["synthesis"]
    names = ("luts", "flip_flops", "block_rams")
    assert [v for _, v in column(tables["resources"], "in use")] == [resources[name] for name in names]
    assert [v for _, v in column(tables["memories"], "rows in use")] == [m["used"] for m in figures["memories"]]
    assert [text for text, _ in column(tables["sources"], "SHA-256 of the file")][1:] == [
        source["sha256"] for source in figures["sources"][1:]
    ]
    latency = dict((row[0][0], row[1][1]) for row in tables["speed"])["latency"]
    assert latency == pytest.approx(figures["measured"]["rtl"]["cycles_per_image"] / 123.4 / 1000)


def test_tables_as_csv(whole):
    page = Page(whole[0])
    assert set(page.files) == {"report.json", "trace.json", *(f"{name}.csv" for name in page.tables)}
    for name, table in page.tables.items():
        head, *rows = csv.reader(io.StringIO(page.files[f"{name}.csv"]))
        assert head == [text for text, _ in table[0]]
        for row, shown in zip(rows, table[1:], strict=True):
            for cell, (text, value) in zip(row, shown, strict=True):
                assert cell == text or float(cell) == value


def test_verdict_and_sources(whole):
    text, figures = whole
    verdict = re.sub(r"<[^>]+>", " ", text.split('<section id="verdict"')[1].split("</section>")[0])
    assert re.search(r"Bit-exact\s+5 images\s+1,234 spike words", verdict)
    assert re.search(r"Accuracy\s+0\.00 %\s+of 5 images\s+eval\.json", verdict)
    assert re.search(r"Images a second\s+[\d,]+\s+at 123\.4 MHz on ecp5-25k\s+synth\.json", verdict)
    assert "wins" not in text
    assert [source["command"].split()[:2] for source in figures["sources"]] == [
        ["onespike", "report"], ["onespike", "eval"], ["onespike", "simulate"], [],
    ]  # fmt: skip
    assert [source["seed"] for source in figures["sources"]] == [None, None, 3, None]
    assert "from extract of bank 1, which finds events in spike words, to the lanes of bank 1" in text


def test_what_differs_is_said(make_page, paged, tmp_path):
    simulated = json.loads((paged / "simulate.json").read_text())
    simulated["rtl"] |= {"mismatches": 2, "cycle_mismatches": 1}
    (tmp_path / "wrong.json").write_text(json.dumps(simulated))
    text, _ = make_page(options=("--from", str(tmp_path / "wrong.json")))
    assert "Not bit-exact" in text and "3 differences" in text


def test_without_measurements(make_page):
    """Everything that is missing is named, with a command that the command line takes."""
    text, figures = make_page(options=(*ENGINE, "--word-bits", "16", "--set", "word_fifo=8"), compared=True)
    parts = [row["part"] for row in figures["missing"]]
    assert parts == ["accuracy", "losses", "rtl", "synthesis", "asic", "front"]
    for row in figures["missing"]:
        parsed = build_parser().parse_args(row["command"].split()[1:])
        assert parsed.json.name == f"{parsed.command}.json"
        if row["part"] in ("rtl", "synthesis", "asic"):
            assert (parsed.banks, parsed.lanes, parsed.word_bits, parsed.fixed) == (2, 4, 16, [("word_fifo", 8)])
    assert "the Verilog has not been run" in text and "the engine without a front; no clock is known" in text
    assert {row["this"] for row in figures["alternatives"]} == {True, False}
    page = Page(text)
    assert "Images a second" not in text and "path" not in page.tables


def test_commands_for_the_engine_of_a_file(make_page, paged, tmp_path):
    """They give that engine, or say how to come by one that they can give."""
    _, figures = make_page("synth")
    (command,) = (row["command"] for row in figures["missing"] if row["part"] == "rtl")
    assert " --images 5 --banks 2 --lanes 4 --json simulate.json" in command
    _, figures = make_page("simulate")
    (command,) = (row["command"] for row in figures["missing"] if row["part"] == "synthesis")
    assert command.endswith(" --target ecp5-25k --banks 2 --lanes 4 --json synth.json")
    deeper = json.loads((paged / "fpga.json").read_text())
    deeper["hardware"]["weight_depth"] *= 2
    (tmp_path / "deep.json").write_text(json.dumps(deeper))
    _, figures = make_page(options=("--from", str(tmp_path / "deep.json")))
    (row,) = (row for row in figures["missing"] if row["part"] == "rtl")
    assert f"--set weight_depth={deeper['hardware']['weight_depth']} --json" in row["command"]
    deeper["hardware"]["slices"]["conv"] = 2
    (tmp_path / "deep.json").write_text(json.dumps(deeper))
    _, figures = make_page(options=("--from", str(tmp_path / "deep.json")))
    (row,) = (row for row in figures["missing"] if row["part"] == "rtl")
    assert row["command"].endswith("--board ulx3s-25f -o build/fpga --banks 2 --lanes 4 --json fpga.json")
    assert build_parser().parse_args(row["command"].split()[1:]).banks == 2 and "fitted" in row["what"]


def test_of_a_bitstream(make_page):
    text, figures = make_page("fpga")
    facts = re.sub(r"<[^>]+>", " ", text.split('<section id="part"')[1].split("</section>")[0])
    for expected in (r"Clock\s+101\.2 MHz", r"Reached\s+101\.5 MHz", r"Asked\s+110 MHz", r"Seed\s+1\b"):
        assert re.search(expected, facts), expected
    assert figures["area"]["target"] == "ecp5-25k" and "synthesis" not in [row["part"] for row in figures["missing"]]


def test_what_other_commands_find(make_page, paged, tmp_path):
    """Engines of `explore`, cells of `asic` and losses of `eval --model`, each as its file has it."""
    common = [str(paged / "net.spike"), "--data", str(paged / "images")]
    sizes = ["--banks", "2", "--lanes", "4,8", "--word-bits", "32", "--jobs", "1"]
    assert main(["explore", *common, *sizes, "--json", str(tmp_path / "explore.json")]) == 0
    asic = json.loads((paged / "synth.json").read_text()) | {
        "asic": {"library": "l.lib", "area_um2": 250_000.0, "clock_mhz": 50.0, "logic_uj": 1.5, "memory_uj": 0.25,
                 "memory_source": "somebody", "power_mw": {"total": 12.5}},
    }  # fmt: skip
    evaluated = json.loads((paged / "eval.json").read_text())
    evaluated["layers"]["layers"][0] |= {"error": 0.0125, "alone": 0.9, "upto": 0.8}
    evaluated["accuracy"]["float"] = 0.75
    for name, figures in (("asic", asic), ("eval", evaluated)):
        (tmp_path / f"{name}.json").write_text(json.dumps(figures))
    files = [str(tmp_path / f"{name}.json") for name in ("explore", "asic", "eval")]
    text, figures = make_page(options=("--from", *files))
    tables = Page(text).tables
    front = json.loads((tmp_path / "explore.json").read_text())["front"]
    assert [v for _, v in column(tables["choices"], "cycles")] == [point["cycles"] for point in front]
    assert "this engine" in [words for words, _ in column(tables["choices"], "remark")]
    assert column(tables["losses"], "error")[0] == ("1.25 %", 0.0125)
    energy = re.sub(r"<[^>]+>", " ", text.split('<section id="energy"')[1].split("</section>")[0])
    assert re.search(r"Power of logic\s+12\.50 mW\s+at 50 MHz", energy) and "0.250 uJ" in energy
    assert re.search(r"Accuracy, float\s+75\.00 %", re.sub(r"<[^>]+>", " ", text))
    assert [row["part"] for row in figures["missing"]] == ["rtl"]
    assert "no clock gating" in energy and "energy-cells" not in tables


def test_energy_by_what_takes_it(make_page, paged, tmp_path, capsys):
    """Cells with clock gating, the wall of the chip that was synthesised, and tables that the figures hold, too."""
    parts = {"clock": 1.0, "clock_net": 0.5, "registers": 0.25, "gates": 0.125, "leakage": 0.0, "total": 1.875}
    found = {"library": "l.lib", "area_um2": 1.0, "clock_mhz": 50.0, "logic_uj": 1.875, "memory_uj": 0.25,
             "memory_source": "somebody", "power_mw": {"total": 12.5}, "logic_parts_uj": parts, "gating_cells": 7,
             "ticking": 0.25, "memories": [{"name": "weights", "reads": 3, "writes": 0, "uj": 0.25}]}  # fmt: skip
    asic = json.loads((paged / "synth.json").read_text()) | {"asic": found}
    (tmp_path / "asic.json").write_text(json.dumps(asic))
    text, figures = make_page(options=("--from", str(tmp_path / "asic.json"), str(paged / "synth.json")))
    printed = " ".join(capsys.readouterr().out.split())
    assert "In standard cells: 2.125 uJ an image, 1.875 of logic and 0.250 of memory, at 50 MHz in l.lib." in printed
    tables = Page(text).tables
    told = re.sub(r"<[^>]+>", " ", text.split('<section id="energy"')[1].split("</section>")[0])
    assert "clocks gated by 7 cells, the mean one ticks in 25% of the cycles" in told
    assert [value for _, value in column(tables["energy-cells"], "uJ")] == [1.0, 0.5, 0.25, 0.125, 0.0, 0.25]
    assert [value for _, value in column(tables["energy-reuse"], "all")] == [
        one["total_uj"] for one in figures["energy"]["reuse"]
    ]
    assert len(tables["energy-prices"]) > 1 and "neurobench" in tables
    skipping = [one for one in figures["energy"]["reuse"] if one["rival"] == "quantised_skip"]
    best = min(skipping, key=lambda one: one["total_uj"])
    assert f"pixels, ours takes {best['ours_share']:.2f} of its energy in the table with memory" in told
    wall = figures["wall"]
    assert wall["clock_mhz"] == 123.4 and wall["joules"] == pytest.approx(0.1247 / wall["images_per_second"])
    assert f"{1e3 * wall['joules']:.3f} mJ" in told


@pytest.mark.parametrize(("wins", "flips_at", "side"), [
    (True, 40.0, "less"), (True, 5.0, "more"), (False, 5.0, "less"), (False, 40.0, "more"),
])  # fmt: skip
def test_on_which_side_of_a_price_ours_takes_less(wins, flips_at, side):
    """At 10 additions for a byte, ours takes less, or more."""
    flip = {"rival": "dense", "ratio": 10.0, "wins": wins, "flips_at": flips_at}
    (said,) = defended.sentences({"systems": [{"name": "dense", "label": "dense ANN"}], "sensitivity": [flip]})
    assert said == (
        f"Ours takes less than “dense ANN” where a byte of weights costs {side} than {flips_at:.1f} additions; it "
        f"costs 10.0 in the table with memory."
    )


def test_pictures_are_the_same_again(whole):
    """Byte for byte, as are pages of the same figures."""
    layer = {"name": "a", "levels": 3, "used": 2, "top": 2, "bins": [[0, 0, 0.5], [1, 1, 0.5], [2, 2, 0.0]]}
    one, other = (layers._values([layer]) for _ in range(2))
    assert one == other and one.wide != one.narrow and "var(--accent)" in one.wide
    assert "<title>a: 50.00 % of the values are 1</title>" in one.wide


@pytest.mark.parametrize(("options", "shown"), [
    (("--external-weights",), "The area of an engine that streams its weights is not estimated"),
    (("--code", "psg"), "Timeline of one image"), (("--banks", "16", "--lanes", "1"), "16 banks"),
    (("--set", "row_masks=1"), "row masks"),
    (("--target", "ice40", "--lanes", "64"), "This part does not take it: the engine needs"),
])  # fmt: skip
def test_of_other_engines(make_page, options, shown):
    """Whatever an engine has or lacks, there is a page of it."""
    text, figures = make_page(options=options)
    page = Page(text)
    assert shown in text and [words for level, words in page.headings if level == 2] == list(SECTIONS)
    assert sum(region["end"] - region["begin"] > 0 for region in figures["memories"][0]["regions"]) == 2


def test_of_one_layer(monkeypatch, tmp_path, paged):
    """Nothing fires: no values, no losses, a raster of the image alone."""
    monkeypatch.setattr(drawing, "_svg", lambda *_: "<svg></svg>")
    net = small_net()
    weights = np.ones((3, 1, 6, 6), int)
    last = dataclasses.replace(net.layers[-1], sources=(Source(tensor=INPUT, weights=weights),))
    dataclasses.replace(net, layers=(last,)).save(tmp_path / "one.spike")
    words = ["report", tmp_path / "one.spike", "--data", paged / "images", "--images", "2", "-o", tmp_path / "p.html"]
    assert main([str(word) for word in words]) == 0
    page = Page((tmp_path / "p.html").read_text())
    assert "rates" not in page.tables and len(page.tables["raster"]) == 2


def test_engine_words_describe_the_engine():
    args = build_parser().parse_args(
        ["report", "n", "--external-weights", "--code", "unary", "--set", "multiples=3", "--set", "loadable=0",
         "--slices", "2"]
    )
    config = engine_config(args)
    words = engine_words(args, config)
    again = build_parser().parse_args(["report", "n", *words])
    assert engine_config(again) == config and again.slices == 2
