# SPDX-License-Identifier: Apache-2.0
"""What commands write, from outside: side by side, cut off, onto their inputs, into pipes, on full disks."""

import argparse
import dataclasses
import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from command_line import ENGINE, fails, small_net
from marked import marked, until
from onespike import outputs
from onespike.cli import main
from onespike.commands import report
from onespike.fpga import bitstream
from onespike.fpga.boards import find_board
from onespike.hw.config import EngineConfig
from onespike.model.system import files
from onespike.model.system.locks import owned
from onespike.parsers.parser import build_parser
from onespike.sim.asic import asic
from onespike.sim.board import serve_board
from paths import ROOT

# A Verilator that never ends, and has a child that does not either.
FAKE = '#!/bin/sh\n[ "$1" = --version ] && echo "Verilator 5.048" && exit\nsleep 60 &\ntouch "$STARTED"\nsleep 60\n'


@pytest.fixture
def slow(tmp_path):
    """Environment of commands whose simulations are never built."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "verilator").write_text(FAKE)
    (tmp_path / "bin" / "verilator").chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    return os.environ | {"PATH": path, "STARTED": str(tmp_path / "started")}


def test_a_run_has_its_folder_and_leaves_no_process(tmp_path, slow, net, data):
    """Two real runs, some seconds for their imports: nothing less shows who holds what, and what is left."""
    out = tmp_path / "out"
    command = [sys.executable, "-m", "onespike", "simulate", str(net), "--data", str(data), "--images", "1"]
    command += ["-o", str(out)]
    with subprocess.Popen(command, env=slow, stdout=-1, stderr=-1, text=True, start_new_session=True) as process:
        until((tmp_path / "started").exists, 60)
        found = subprocess.run(command, env=slow, capture_output=True, text=True)
        assert (found.returncode, found.stdout) == (2, "")
        assert found.stderr == (
            f"onespike: The folder {out / 'run'} is in use by process {process.pid}: wait until it ends, or choose "
            f"another output folder (-o).\n"
        )
        process.terminate()
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (128 + signal.SIGTERM, "", "onespike: terminated.\n")
    assert not marked(f"STARTED={tmp_path / 'started'}")
    assert not (out / "run").exists() and not list(out.rglob("*.tmp"))


def test_a_second_run_in_one_folder_is_refused(capsys, monkeypatch, tmp_path, net):
    """By every command and function whose folder holds the files of one run."""
    out, library = tmp_path / "out", tmp_path / "cells.lib"
    library.write_text("library (x) {}")
    assert main(["verilog", str(net), "-o", str(out), *ENGINE]) == 0
    capsys.readouterr()
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/usr/bin/{name}")
    monkeypatch.setattr(bitstream, "_find_tools", lambda board: "")
    sentence = f"The folder {out} is in use by process {os.getpid()}: wait until it ends, or choose another output "
    sentence += "folder (-o)."
    with owned(out):
        before = sorted(out.iterdir())
        fails(capsys, sentence, "demo", "-o", out)
        fails(capsys, sentence, "project", out, "--tool", "vivado", "--part", "x")
        assert main(["verilog", str(net), "-o", str(out), *ENGINE]) == 2
        assert capsys.readouterr().err.endswith(f"{sentence}\n")
        for call in (
            lambda: asic(None, None, str(library), str(out)),
            lambda: bitstream.build(None, find_board("icebreaker"), str(out)),
        ):
            with pytest.raises(files.OneSpikeError, match=re.escape(sentence)):
                call()
        assert sorted(out.iterdir()) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_whatever_was_started(capsys, monkeypatch, net, number):
    """Also what other packages start, which know no guard."""
    begun: list[subprocess.Popen] = []

    def run(*_):
        begun.append(subprocess.Popen(["sleep", "60"], start_new_session=True))
        os.kill(os.getpid(), number)

    monkeypatch.setattr(report, "run", run)
    assert main(["report", str(net)]) == 128 + number
    assert begun[0].wait(20) == -signal.SIGKILL
    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert capsys.readouterr().err == f"onespike: {word}.\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_hangup_that_is_ignored_stays_so(monkeypatch, net):
    seen = []
    monkeypatch.setattr(report, "run", lambda *_: seen.append(signal.getsignal(signal.SIGHUP)) or {})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["report", str(net)]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [signal.SIG_IGN] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def overwriting(option, path, read):
    return f"{option} {path} would overwrite {read}, which is read; name another file."


def test_no_command_overwrites_what_it_reads(capsys, tmp_path, net, data):
    hard, link, onnx = tmp_path / "hard", tmp_path / "link", tmp_path / "m.onnx"
    os.link(net, hard)
    link.symlink_to(net)
    onnx.write_text("a network")
    contents = net.read_bytes()
    for output in (net, hard, link, tmp_path / "nowhere" / ".." / "net.spike"):
        if ".." in str(output):
            (tmp_path / "nowhere").mkdir()
        sentence = overwriting("--json", output, net)
        for command in (["eval", net, "--data", data], ["report", net], ["verilog", net, "-o", tmp_path / "v"],
                        ["explore", net], ["board", net], ["synth", net]):  # fmt: skip
            fails(capsys, sentence, *command, "--json", output)
        fails(capsys, overwriting("--output", output, net), "export", net, "--format", "nir", "-o", output)
        fails(capsys, overwriting("--output", output, net), "explore", onnx, net, "-o", output)
    fails(capsys, overwriting("--output", onnx, onnx), "convert", onnx, "-o", onnx)
    labels = data / "t10k-labels-idx1-ubyte"
    fails(capsys, overwriting("--json", labels, labels), "eval", net, "--data", data, "--json", labels)
    (tmp_path / "v").mkdir()
    manifest = tmp_path / "v" / "manifest.json"
    manifest.write_text("{}")
    project = ("project", tmp_path / "v", "--tool", "vivado", "--part", "x")
    fails(capsys, overwriting("--json", manifest, manifest), *project, "--json", manifest)
    for words, path in ((["convert", onnx, "-o", tmp_path / "new"], tmp_path / "new"),
                        (["verilog", net, "-o", tmp_path / "v"], manifest)):  # fmt: skip
        sentence = f"--json {path} would overwrite {path}, which is written too; name another file."
        fails(capsys, sentence, *words, "--json", path)
    assert net.read_bytes() == contents and onnx.read_text() == "a network" and manifest.read_text() == "{}"


def test_every_command_takes_json():
    """All in one place: what is checked and written there holds for each."""
    (group,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    files = {file.stem for file in (ROOT / "onespike" / "commands").glob("*.py") if "\ndef run(" in file.read_text()}
    assert set(group.choices) == files  # one file a command
    for name, parser in group.choices.items():
        (option,) = (action for action in parser._actions if action.dest == "json")
        assert option.type is outputs.target, name
        folder = [action for action in parser._actions if action.dest == "output" and action.metavar == "DIR"]
        assert not (folder and name in outputs.FILES), name
    assert outputs.target("-") == Path("/dev/stdout") and outputs.target("./x") == Path("x")


@pytest.mark.parametrize("where", ["-", "/dev/stdout"])
def test_figures_on_stdout_stand_alone(capfd, net, where):
    assert main(["report", str(net), "--json", where]) == 0
    found = capfd.readouterr()
    assert json.loads(found.out)["network"]["hash"] == small_net().hash
    assert "Give --data" in found.err


def test_figures_name_the_command_that_makes_them_again(capsys, tmp_path, net):
    where = tmp_path / "a b.json"
    assert main(["verilog", str(net), "--set", "word_fifo=8", "-o", str(tmp_path / "v"), "--json", str(where)]) == 0
    before = json.loads(where.read_text())
    program, *words = shlex.split(before["made_by"]["command"])
    assert program == "onespike" and before["made_by"]["versions"]["numpy"] == np.__version__
    assert main(words) == 0
    again = json.loads(where.read_text())
    assert again | {"seconds": 0} == before | {"seconds": 0}


def test_figures_into_a_link_and_a_device(capsys, tmp_path, net):
    (tmp_path / "link").symlink_to("figures.json")
    assert main(["report", str(net), "--json", str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink() and json.loads((tmp_path / "figures.json").read_text())
    capsys.readouterr()
    assert main(["report", str(net), "--json", "/dev/full"]) == 2
    assert capsys.readouterr().err == (
        "onespike: Cannot write /dev/full: No space left on device; free some space, or choose an output path that "
        "can be written.\n"
    )


@pytest.mark.parametrize("name", ["n.nir", "n.onnx"])
def test_export_on_a_full_disk(capsys, monkeypatch, tmp_path, net, name):
    def full(number, contents):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "write", full)
    (tmp_path / "out").mkdir()
    assert main(["export", str(net), "-o", str(tmp_path / "out" / name)]) == 2
    assert "No space left on device; free some space" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def test_what_the_system_refuses_is_no_traceback(capsys, tmp_path, net, data):
    long = "x" * 5000
    refused = "File name too long"
    fails(capsys, f"Cannot use {long}: {refused}.", "convert", long, "-o", tmp_path / "n.spike")
    fails(capsys, f"Cannot read {long}: {refused}.", "report", long)
    fails(capsys, f"Cannot use {long}: {refused}.", "eval", net, "--data", long)
    for words in (["verilog", net], ["convert", "x.onnx"]):
        assert main([*map(str, words), "-o", long]) == 2
        assert f"{refused}; choose an output path that can be written.\n" in capsys.readouterr().err
    assert main(["board", str(net), "-o", "/proc/onespike"]) == 2  # as any system that is read-only
    assert capsys.readouterr().err == (
        "onespike: Cannot write /proc/onespike: No such file or directory; choose an output path that can be written.\n"
    )


def test_names_with_brackets_are_shown_as_they_are(capsys, monkeypatch, tmp_path, data):
    monkeypatch.setenv("COLUMNS", "400")
    net = small_net()
    first, last = net.layers
    first = dataclasses.replace(first, name="[/red]")
    sources = tuple(dataclasses.replace(source, tensor="[/red]") for source in last.sources)
    net = dataclasses.replace(net, layers=(first, dataclasses.replace(last, name="[bold]:smile:", sources=sources)))
    path = tmp_path / "x[" / "red].spike"
    path.parent.mkdir()
    net.save(path)
    for words in (["report"], ["eval", "--data", data], ["export", "-o", path.with_suffix(".onnx")]):
        assert main([str(word) for word in (words[0], path, *words[1:])]) == 0
        found = capsys.readouterr()
        shown = {"report": ("[/red]", "[bold]:smile:"), "eval": ("x[/red].spike", "[/red]  ")}
        for text in shown.get(words[0], ("x[/red]",)):
            assert text in found.out


def test_the_link_of_a_board_replaces_nothing(tmp_path, net):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "user").symlink_to("/dev/pts/99999")  # not ours: no board has left its lock
    for name in ("file", "link", "user"):
        with pytest.raises(files.OneSpikeError, match=f"{name} is there already: remove it, or give another name"):
            serve_board(EngineConfig(), tmp_path / "build", print, link=tmp_path / name)
    assert (tmp_path / "file").read_text() == "kept" and (tmp_path / "user").is_symlink()


def test_the_link_that_a_killed_board_left_is_replaced(monkeypatch, tmp_path):
    from onespike.sim import board, verilator

    link = tmp_path / "tty"
    link.symlink_to("/dev/pts/99999")
    (tmp_path / ".tty.lock").write_text("1")
    seen = []

    def run(built, module, *, test_dir, timeout):
        (test_dir / "port").write_text("/dev/pts/7")
        until(lambda: seen)

    monkeypatch.setattr(board, "build_front", lambda *_, **options: None)
    monkeypatch.setattr(verilator, "run", run)
    serve_board(
        EngineConfig(), str(tmp_path / "build"), lambda path: seen.append((path, str(link.readlink()))), link=str(link)
    )
    assert seen == [(str(link), "/dev/pts/7")]
    assert not link.is_symlink() and not (tmp_path / ".tty.lock").exists()


def test_a_link_that_cannot_be_made_ends_the_board(monkeypatch, tmp_path):
    from onespike.sim import board, verilator

    def run(built, module, *, test_dir, timeout):
        (tmp_path / "tty").write_text("another's")
        (test_dir / "port").write_text("/dev/pts/7")
        until((test_dir / board.STOP).exists)

    monkeypatch.setattr(board, "build_front", lambda *_, **options: None)
    monkeypatch.setattr(verilator, "run", run)
    with pytest.raises(files.OneSpikeError, match="tty is there already"):
        serve_board(EngineConfig(), tmp_path / "build", print, link=tmp_path / "tty")
    assert (tmp_path / "tty").read_text() == "another's"


def test_folders_may_be_strings(tmp_path, monkeypatch, net):
    """As the package's docstring has it."""
    (tmp_path / "verilator").write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Verilator 5.048"\n')
    (tmp_path / "verilator").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    import onespike
    from onespike.fpga.project import write_project

    loaded = onespike.SpikeNet.load(str(net))
    config = onespike.EngineConfig(banks=1, lanes=4, fire_lanes=4)
    mapping = onespike.map_network(loaded, onespike.fit_config(loaded, config))
    onespike.emit(mapping, str(tmp_path / "verilog"))
    assert write_project(str(tmp_path / "verilog"), "vivado", "xc7a35t", mhz=100)[0].is_file()
    with pytest.raises(files.OneSpikeError, match="Verilator could not build"):
        onespike.simulate(mapping, np.zeros((1, 1, 6, 6), np.uint8), str(tmp_path / "simulation"))
    left = {path.name.split("-")[0] for path in (tmp_path / "simulation").iterdir()}
    assert left == {"onespike_harness", "verilog"}  # what is cached; the run's own folder is gone
