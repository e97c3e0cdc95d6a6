# SPDX-License-Identifier: Apache-2.0
"""Commands that are cut off: at any of their writes, while a tool of theirs works, while they are still loading."""

import errno
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from command_line import ENGINE, small_net
from fake_board import PIXELS
from fake_core import Core
from marked import marked, until
from onespike.cli import main
from onespike.fpga import bitstream, seeds, synth
from onespike.fpga.link import MmioLink, SerialLink
from onespike.hw.config import EngineConfig
from onespike.hw.fronts.registers import word
from onespike.model.mapping.mapper import fit_config
from onespike.model.system import files
from onespike.model.system.locks import NAME
from onespike.sim import cells
from pretended_tools import RUNNERS, Tools

CODES = {"interrupt": 130, "terminate": 143, "full": 2}
SENTENCES = {"interrupt": "onespike: interrupted.\n", "terminate": "onespike: terminated.\n"}
FULL = ": No space left on device; free some space, or choose an output path that can be written.\n"


@pytest.fixture
def board():
    """A blank core that takes the small network."""
    return Core(fit_config(small_net(), EngineConfig(banks=1, lanes=4, fire_lanes=4)), small_net())


@pytest.fixture
def arguments(tmp_path, net, board, monkeypatch):
    """Words of each command, which writes into the folder `out`; what is no part of ours only pretends."""
    out = tmp_path / "out"
    np.save(tmp_path / "image.npy", PIXELS)

    class Port(MmioLink):
        def close(self) -> None:
            pass

    tools = Tools([60.0] * 1000)
    monkeypatch.setattr(SerialLink, "open", lambda path, **_: Port(board))
    for module in RUNNERS:
        monkeypatch.setattr(module, "run_tool", tools.run)
    words = {
        "verilog": [net, "-o", out, *ENGINE],
        "split": [net, "-o", out, *ENGINE, "--boards", 2],
        "export": [net, "-o", out / "n.onnx"],
        "run": [net, tmp_path / "image.npy", "--port", "none", "--json", out / "f.json"],
        "fpga": [net, "--board", "ulx3s-25f", "--banks", 1, "--lanes", 4, "-o", out, "--json", out / "f.json"],
        "train": ["--network", "digits-small", "--data", "digits", "--limit", 40, "--epochs", 1, "-o", out / "m.pt2",
                  "--json", out / "f.json"],
    }  # fmt: skip
    return lambda command: [command, *map(str, words[command])]


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def clear(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()


def cases() -> list[tuple[str, tuple[str, ...]]]:
    """A command with the ways in which it is cut off, in turn; those that take their time, once for all ways."""
    quick = [(command, (how,)) for command in ("verilog", "split", "export", "run") for how in CODES]
    return quick + [(command, tuple(CODES)) for command in ("fpga", "train")]


@pytest.mark.parametrize(("command", "ways"), cases())
def test_at_any_write(command, ways, arguments, tmp_path, monkeypatch, capsys):
    """Whatever is there afterwards is whole, nothing of ours stays behind, and the next run makes the rest."""
    words, write, counted = arguments(command), files._write_all, []

    def whole(name: str, contents: bytes) -> bool:
        """As it was; figures hold the time that it took."""
        return contents == wanted[name] or (name.endswith(".json") and bool(json.loads(contents)))

    with monkeypatch.context() as patch:
        patch.setattr(files, "_write_all", lambda *given: counted.append(1) or write(*given))
        assert main(words) == 0
    wanted, last = below(tmp_path / "out"), len(counted) - 1
    for place, how in zip(sorted({0, 1, last // 2, last} & set(range(last + 1))), itertools.cycle(ways), strict=False):
        clear(tmp_path / "out")
        capsys.readouterr()
        count = iter(range(1000))

        def cut(number, contents, place=place, how=how, count=count):
            if next(count) == place:
                write(number, contents[: len(contents) // 2])
                if how == "interrupt":
                    raise KeyboardInterrupt
                if how == "full":
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.kill(os.getpid(), signal.SIGTERM)
            write(number, contents)

        with monkeypatch.context() as patch:
            patch.setattr(files, "_write_all", cut)
            assert main(words) == CODES[how]
        said = capsys.readouterr().err
        assert said.endswith(SENTENCES.get(how, FULL)) and "Traceback" not in said
        left = below(tmp_path / "out")
        assert left.keys() <= wanted.keys() and all(whole(*item) for item in left.items()), left.keys()
        assert main(words) == 0
        again = below(tmp_path / "out")
        assert again.keys() == wanted.keys() and all(whole(*item) for item in again.items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_any_access_to_a_board(number, board, arguments, tmp_path, monkeypatch, capsys):
    """While it is loaded, in mid-image, while counters are read: the next run finds the board usable, and is right."""
    words, figures, counted = arguments("run"), tmp_path / "out" / "f.json", []
    expected = small_net().golden(PIXELS[:, None] / np.float32(255)).tolist()
    plain = {name: getattr(MmioLink, name) for name in ("read", "write")}

    def cut(place: int | None):
        """Every access counts; in that of number `place` comes the signal."""
        counted.clear()
        for name, access in plain.items():

            def counting(*given, access=access, **options):
                counted.append(1)
                if len(counted) - 1 == place:
                    os.kill(os.getpid(), number)
                return access(*given, **options)

            monkeypatch.setattr(MmioLink, name, counting)

    cut(None)
    assert main(words) == 0
    for place in range(0, len(counted), len(counted) // 8):
        figures.unlink(missing_ok=True)
        board[4 * word("network")] = 0  # it is to be loaded again
        capsys.readouterr()
        cut(place)
        assert main(words) == 128 + number and not figures.exists()
        assert capsys.readouterr().err.endswith(SENTENCES["interrupt" if number == signal.SIGINT else "terminate"])
        cut(None)
        assert main(words) == 0 and json.loads(figures.read_text())["logits"] == expected, place


TOOL = """#!/bin/sh
[ "$1" = --version ] && echo "Verilator 5.048" && exit
[ $HOW = quiet ] && exit
[ $HOW = full ] && echo "ERROR: write failed: No space left on device" >&2 && exit 1
sleep 60 &
kill -$HOW $COMMAND
sleep 60
"""


SYNTHESIS = ("synth", "fpga", "asic")
TOOLS = [(command, how) for command in ("simulate", "board", *SYNTHESIS) for how in ("INT", "TERM", "full")]


@pytest.mark.parametrize(("command", "how"), [*TOOLS, *((command, "quiet") for command in SYNTHESIS)])
def test_while_a_tool_works(command, how, net, data, tmp_path, monkeypatch, capsys):
    """A tool that never ends, with a child that does not either; one that finds the disk full, and says so or not."""
    out, tools = tmp_path / "out", tmp_path / "bin"
    tools.mkdir()
    for name in ("verilator", "sta", "other"):
        (tools / name).write_text(TOOL)
        (tools / name).chmod(0o755)
    library = 'library ("small_sky130") { nom_voltage : 2.0; capacitive_load_unit(1.0, "pf"); }'
    (tmp_path / "cells.lib").write_text(library)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tools), os.environ["PATH"]]))
    monkeypatch.setenv("HOW", how)
    monkeypatch.setenv("COMMAND", str(os.getpid()))
    monkeypatch.setenv("MARK", str(tmp_path))
    for module in (bitstream, cells, seeds, synth):
        monkeypatch.setattr(module, "find_tool", lambda name: str(tools / "other"))
    if how == "quiet":
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        monkeypatch.setattr(files.tempfile, "TemporaryFile", mock.Mock(side_effect=full))
    words = {
        "simulate": [net, "--data", data, "--images", 1],
        "board": [net, "--pty", tmp_path / "tty"],
        "synth": [net, "--target", "ecp5-25k"],
        "fpga": [net, "--board", "ulx3s-25f"],
        "asic": [net, "--data", data, "--liberty", tmp_path / "cells.lib"],
    }[command]
    code = main([command, *map(str, words), *ENGINE, "-o", str(out), "--json", str(tmp_path / "f.json")])
    said = capsys.readouterr().err
    assert code == {"INT": 130, "TERM": 143}.get(how, 2)
    assert said.endswith({"INT": SENTENCES["interrupt"], "TERM": SENTENCES["terminate"]}.get(how, FULL))
    assert "Traceback" not in said and said.count("onespike: ") == 1
    until(lambda: not marked(f"MARK={tmp_path}"))
    assert not (tmp_path / "f.json").exists() and not (tmp_path / "tty").is_symlink()
    left = [path.name for path in tmp_path.rglob("*")]
    assert not [name for name in left if name.endswith(".tmp") or name == NAME]


@pytest.mark.parametrize(
    ("package", "number"), [("numpy", signal.SIGINT), ("numpy", signal.SIGTERM), ("multiprocessing", signal.SIGINT)]
)
def test_while_it_is_still_loading(package, number, tmp_path, net):
    """A package that a command imports takes its time, one of its own or one that comes before all of them."""
    slow = f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(60)\n"
    (tmp_path / f"{package}.py").write_text(slow)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "onespike", "report", str(net)]
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what a shell's background job ignores
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, preexec_fn=listen)
    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert (found.returncode, found.stdout, found.stderr) == (128 + number, "", f"onespike: {word}.\n")
