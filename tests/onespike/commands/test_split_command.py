# SPDX-License-Identifier: Apache-2.0
"""`onespike split`, and commands that are cut off at any of their writes."""

import errno
import json
import os
import signal

import numpy as np
import pytest

from command_line import fails, small_net
from networks import random_codes, residual
from onespike.cli import main
from onespike.model.network import golden
from onespike.model.network.spec import SpikeNet
from onespike.model.network.split import run, split
from onespike.model.system import files

ENGINE = ("--banks", "1", "--lanes", "4")


@pytest.fixture
def net(tmp_path):
    residual().save(tmp_path / "net.spike")
    return tmp_path / "net.spike"


def test_parts_are_networks(net, tmp_path, capsys):
    out, figures = tmp_path / "out", tmp_path / "out.json"
    words = ["split", str(net), "--seed", "1", *ENGINE, "-o", str(out), "--json", str(figures), "--clock", "10"]
    assert main([*words, "--boards", "4"]) == 0 and len(list(out.iterdir())) == 4
    assert main([*words, "--boards", "3"]) == 0
    shown, found = capsys.readouterr().out, json.loads(figures.read_text())
    assert sorted(path.name for path in out.iterdir()) == ["part1.spike", "part2.spike", "part3.spike"]
    nets = [SpikeNet.load(part["file"]) for part in found["parts"]]
    at = [each.meta["part"][0] for each in nets[1:]]
    parts = split(residual(), at)
    assert [each.hash for each in nets] == [part.net.hash for part in parts]
    codes = random_codes(np.random.default_rng(1), residual(), 2)
    np.testing.assert_array_equal(run(parts, codes), golden.run(residual(), codes))
    assert found["interval_cycles"] == max(part["interval"] for part in found["parts"])
    assert found["latency_cycles"] == pytest.approx(sum(part["cycles"] for part in found["parts"]))
    assert "Mbit/s of the busiest board" in shown and f"{found['latency_cycles']:,.0f} cycles in all boards" in shown


def test_what_cannot_be_split(net, tmp_path, capsys):
    words = ("split", net, *ENGINE, "-o", tmp_path / "out")
    fails(capsys, "A network of 4 layers goes over at most 4 boards, not 5; take fewer.", *words, "--boards", 5)
    assert main([*map(str, words), "--boards", "2", "--target", "ice40", "--set", "weight_depth=60000"]) == 2
    error = capsys.readouterr().err
    assert "onespike: No split over 2 boards fits: part 1 of 2 needs " in error and "block RAMs, " in error
    assert error.endswith("; take more boards or a smaller engine.\n") and not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", ["interrupt", "terminate", "full"])
@pytest.mark.parametrize("command", ["verilog", "split", "export"])
def test_cut_off_at_any_write(command, how, net, tmp_path, monkeypatch, capsys):
    """Whatever is there afterwards is whole, nothing of ours stays behind, and the next run makes the rest."""
    small_net().save(net)
    out = {"export": tmp_path / "out" / "n.onnx"}.get(command, tmp_path / "out")
    words = [command, str(net), "-o", str(out), *({"export": ()}.get(command, ENGINE))]
    words += ["--boards", "2"] if command == "split" else []
    assert main(words) == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write, code = os.write, {"interrupt": 130, "terminate": 143, "full": 2}[how]
    for place in sorted({0, 1, len(whole) // 2, len(whole) - 1} & set(range(len(whole)))):
        for path in (tmp_path / "out").iterdir():
            path.unlink()
        count = iter(range(1000))

        def cut(number, contents, place=place, count=count):
            if next(count) == place:
                write(number, bytes(contents)[: len(contents) // 2])
                if how == "interrupt":
                    raise KeyboardInterrupt
                if how == "full":
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.kill(os.getpid(), signal.SIGTERM)
            return write(number, contents)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "write", cut)
            assert main(words) == code
        left = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert len(left) <= place and all(whole[name] == contents for name, contents in left.items())
        assert main(words) == 0
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == whole
    capsys.readouterr()
