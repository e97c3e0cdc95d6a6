# SPDX-License-Identifier: Apache-2.0
"""Files of figures: those of another network or engine, and what is none, are refused in one sentence."""

import json
import os
import sys

import pytest

from command_line import fails, small_net
from onespike.cli import main
from onespike.model.errors import OneSpikeError
from onespike.page import drawing
from onespike.page.measured import read


def changed(paged, tmp_path, name, **changes):
    """A file with some of its figures changed; nested ones by their path."""
    figures = json.loads((paged / f"{name}.json").read_text())
    for path, value in changes.items():
        *above, last = path.split("__")
        inner = figures
        for part in above:
            inner = inner[part]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    (tmp_path / f"{name}.json").write_text(json.dumps(figures))
    return tmp_path / f"{name}.json"


def refused(sentence, *paths):
    with pytest.raises(OneSpikeError) as error:
        read(paths, small_net(), "net.spike")
    assert str(error.value) == sentence


def test_parts_and_their_files(paged):
    names = ("eval", "simulate", "synth", "fpga")
    found = read([paged / f"{name}.json" for name in names], small_net(), "net.spike")
    assert found.of == {"accuracy": 0, "rtl": 1, "synthesis": 2, "bitstream": 3}
    assert set(found.hardware["slices"]) == {"conv", "head"}
    assert found.hardware["banks"] == 2 and found.hardware["multiples"] == (1, 3, 5)
    assert found.sources[1].command.startswith("onespike simulate") and found.sources[2].command == ""
    assert found.figures("rtl")["rtl"]["words_compared"] == 1234 and found.figures("asic") is None
    # The last file with a part counts.
    again = read([paged / "simulate.json", paged / "simulate.json"], small_net(), "net.spike")
    assert again.of == {"rtl": 1}


def test_of_another_network(paged, tmp_path):
    other = changed(paged, tmp_path, "simulate", network__hash="0" * 64)
    refused(
        f"{other} is of another network (000000000000) than net.spike ({small_net().hash[:12]}); measure this one with "
        f"`onespike simulate net.spike .. --json {other}`.",
        other,
    )
    nameless = changed(paged, tmp_path, "synth", network=None)
    refused(
        f"{nameless} does not say that it measured net.spike; measure it with `onespike synth net.spike .. --json "
        f"{nameless}`.",
        nameless,
    )


def test_of_another_engine(paged, tmp_path):
    other = changed(paged, tmp_path, "synth", engine__weight_depth=4096)
    depth = json.loads((paged / "simulate.json").read_text())["hardware"]["weight_depth"]
    refused(
        f"{other} and {paged / 'simulate.json'} measured different engines (weight_depth is 4096 in one, {depth} in "
        f"the other); measure both with the same engine options and the same --data.",
        paged / "simulate.json", other,
    )  # fmt: skip
    broken = changed(paged, tmp_path, "fpga", hardware__banks=3)
    refused(f"{broken} does not say which engine it measured; measure it once more.", broken)


def test_an_older_file_has_the_parameters_of_its_time(paged, tmp_path):
    older = changed(paged, tmp_path, "fpga", hardware__row_masks=None, hardware__mask_depth=None)
    assert read([older], small_net(), "net.spike").hardware["row_masks"] is False


@pytest.mark.parametrize("contents", ["", "{", '{"rtl": ', "[1, 2", "[" * 100_000])
def test_broken(tmp_path, contents):
    path = tmp_path / "f.json"
    path.write_text(contents)
    refused(
        f"{path} is no JSON, or only a part of it; let the command that wrote it run once more with --json {path}.",
        path,
    )


def test_no_figures(tmp_path, paged):
    path = tmp_path / "f.json"
    path.write_text("[1, 2]")
    refused(f"{path} holds no figures of a command; name a file that one wrote with --json.", path)
    sentence = (
        "{} holds no figures that the page shows; give files that `onespike simulate`, `onespike eval`, `onespike "
        "synth`, `onespike fpga`, `onespike asic` or `onespike explore` wrote with --json."
    )
    path.write_text('{"rtl": {"images": 3}, "front": [], "synthesis": 3}')
    refused(sentence.format(path), path)
    refused(sentence.format(paged / "report.json"), paged / "report.json")  # counted here anyway
    refused(f"Cannot read {tmp_path}: it is a folder; name a file that a command wrote with --json.", tmp_path)
    refused(f"Cannot read {tmp_path / 'x'}: no such file.", tmp_path / "x")
    (tmp_path / "long").write_bytes(b" " * (1 << 10))
    os.truncate(tmp_path / "long", 1 << 30)
    refused(f"{tmp_path / 'long'} is larger than any file of figures; name one that a command wrote with --json.",
            tmp_path / "long")  # fmt: skip


def test_a_missing_package_is_named_before_the_work(capsys, monkeypatch, paged, tmp_path):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    page = ["report", paged / "net.spike", "--data", paged / "images", "-o", tmp_path / "p.html"]
    fails(capsys, "this command needs jinja2; run `pip install onespike[report]`.", *page)


def test_the_command_line(capsys, monkeypatch, paged, tmp_path):
    monkeypatch.setattr(drawing, "_svg", lambda *_: "<svg></svg>")
    net, simulate = paged / "net.spike", paged / "simulate.json"
    page = ["report", net, "--data", paged / "images", "--images", "5", "-o", tmp_path / "p.html"]
    fails(capsys, "--from is for the page; name its file, too: -o report.html.", "report", net, "--from", simulate)
    fails(capsys, "--target is for the page; name its file, too: -o report.html.", "report", net, "--target", "hx8k")
    fails(capsys, "The page counts on real images; give some with --data.", "report", net, "-o", tmp_path / "p.html")
    fails(
        capsys,
        f"{simulate} measured an engine with lanes = 4, not 8; leave the engine's options out, or measure that engine.",
        *page, "--from", simulate, "--lanes", "8",
    )  # fmt: skip
    sentence = f"--output {simulate} would overwrite {simulate}, which is read; name another file."
    fails(capsys, sentence, *page[:-1], simulate, "--from", simulate)
    fails(capsys, f"Cannot write the page to {tmp_path}: it is a folder; name a file.", *page[:-1], tmp_path)
    assert main([*map(str, page[:-1]), "/dev/full"]) == 2
    assert capsys.readouterr().err.endswith(
        "onespike: Cannot write /dev/full: No space left on device; free some space, or choose an output path that "
        "can be written.\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_page_on_stdout_stands_alone(capfd, monkeypatch, paged):
    monkeypatch.setattr(drawing, "_svg", lambda *_: "<svg></svg>")
    words = ["report", paged / "net.spike", "--data", paged / "images", "--images", "2", "-o", "-"]
    assert main([str(word) for word in words]) == 0
    found = capfd.readouterr()
    assert found.out.startswith("<!DOCTYPE html>") and found.out.endswith("</html>\n")
    assert "Energy per image" in found.err
