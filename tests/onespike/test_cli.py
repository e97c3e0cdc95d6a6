# SPDX-License-Identifier: Apache-2.0
"""The command line: what it prints, its exit codes, and one sentence for every mistake, with nothing half-written."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from command_line import ENGINE, fails, small_net
from onespike import __version__
from onespike.cli import main
from onespike.commands import eval as eval_command
from onespike.model.network.spike_file import FORMAT_VERSION


def test_help_and_version(capsys):
    for arguments, expected in ((["--help"], "onespike demo"), (["simulate", "--help"], "--through-load"),
                                (["--version"], f"onespike {__version__}")):  # fmt: skip
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 0
        assert expected in capsys.readouterr().out


def test_the_command_is_installed():
    command = Path(sys.executable).with_name("onespike")
    found = subprocess.run([command, "eval", "nowhere.spike", "--data", "digits"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == "onespike: Cannot read nowhere.spike: No such file or directory.\n"


def test_commands_without_training_need_no_torch(net):
    script = f"""
import sys
sys.modules["torch"] = None
from onespike.cli import main
sys.exit(main(["report", {str(net)!r}]))
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_eval(capsys, net, data, tmp_path):
    assert main(["eval", str(net), "--data", str(data), "--json", str(tmp_path / "out" / "eval.json")]) == 0
    figures = json.loads((tmp_path / "out" / "eval.json").read_text())
    images = np.fromfile(data / "t10k-images-idx3-ubyte", np.uint8, offset=16).reshape(5, 1, 6, 6)
    labels = np.fromfile(data / "t10k-labels-idx1-ubyte", np.uint8, offset=8)
    right = (small_net().golden(images / np.float32(255)).argmax(1) == labels).mean()
    assert figures["accuracy"] == {"golden": right, "images": 5}
    assert figures["network"]["groups"] == 8
    assert "of 5 images" in capsys.readouterr().out


def test_report(capsys, net, data, tmp_path):
    file = tmp_path / "report.json"
    assert main(["report", str(net), "--data", str(data), "--images", "3", *ENGINE, "--json", str(file)]) == 0
    figures = json.loads(file.read_text())
    assert figures["network"]["hash"] == small_net().hash
    assert figures["hardware"]["banks"] == 2
    assert figures["operations"]["dense_macs"] == 36 * 5 * 9 + 3 * 45
    for part in (figures["cycles"], *figures["cycles"]["layers"]):
        cycles = part.get("predicted_cycles_per_image") or part["predicted_cycles"]
        assert round(sum(part["lane_cycles"].values())) == round(cycles * 2 * 4)
    out = capsys.readouterr().out
    assert "Horowitz" in out and "OneSpike" in out and "Energy per image" in out


def test_report_without_images(capsys, net):
    assert main(["report", str(net), *ENGINE]) == 0
    assert "Give --data" in capsys.readouterr().out


@pytest.mark.parametrize("code", ["radix", "unary", "psg"])
def test_verilog(capsys, net, tmp_path, code):
    folder, file = tmp_path / "verilog", tmp_path / "figures.json"
    arguments = ["verilog", str(net), *ENGINE, "--code", code, "-o", str(folder), "--json", str(file)]
    assert main(arguments) == 0
    figures = json.loads(file.read_text())
    assert figures["verilog"] == str(folder / "onespike.v") and Path(figures["verilog"]).is_file()
    assert figures["hardware"]["code"] == code
    assert set(figures["files"]) | {"manifest.json"} == {path.name for path in folder.iterdir()}
    assert str(folder / "onespike.v") in capsys.readouterr().out


def test_verilog_with_a_front(capsys, net, tmp_path):
    folder = tmp_path / "verilog"
    arguments = ["verilog", str(net), *ENGINE, "--front", "uart", "--clock-mhz", "25", "-o", str(folder)]
    assert main(arguments) == 0
    assert "217 clock cycles per bit; silence after 2**19 cycles" in (folder / "onespike_uart.v").read_text()
    assert "uart, module onespike_uart" in capsys.readouterr().out
    sentence = (
        "A clock of 12 MHz cannot make 4000000 baud within 2 %; choose a baud rate well below 3000000, or another "
        "clock."
    )
    fails(capsys, sentence, "verilog", net, "--front", "uart", "--baud", "4000000", "-o", folder)


def test_simulate(capsys, net, data, tmp_path):
    file = tmp_path / "simulate.json"
    arguments = ["simulate", str(net), "--data", str(data), "--images", "2", *ENGINE, "--stall", "0.3"]
    assert main([*arguments, "-o", str(tmp_path / "build"), "--json", str(file)]) == 0
    figures = json.loads(file.read_text())
    assert figures["rtl"]["images"] == 2
    assert figures["rtl"]["mismatches"] == figures["rtl"]["cycle_mismatches"] == 0
    assert figures["rtl"]["cycles_per_image"] == figures["rtl"]["predicted_cycles_per_image"]
    assert "mismatches" in capsys.readouterr().out


STREAMED = [*ENGINE, "--external-weights", "--slices", "1", "--set", "weight_depth=80", "--set", "spike_depth=128"]


def test_streamed_weights(capsys, net, data, tmp_path):
    """The report says which layers wait for external memory, and Verilog comes with its image."""
    file = tmp_path / "report.json"
    slow = ["--memory-interval", "300", "--memory-latency", "90"]
    arguments = ["report", str(net), "--data", str(data), "--images", "2", *STREAMED, *slow, "--json", str(file)]
    assert main(arguments) == 0
    assert "KB of weights per image" in capsys.readouterr().out
    figures = json.loads(file.read_text())["cycles"]
    for layer in figures["layers"]:
        assert layer["bound"] == ("weights" if layer["fetch_cycles"] > layer["compute_cycles"] else "compute")
        assert layer["predicted_cycles"] == layer["compute_cycles"] + layer["stalled"]
    assert "weights" in {layer["bound"] for layer in figures["layers"]}
    assert sum(layer["stalled"] for layer in figures["layers"]) > 0

    assert main(["verilog", str(net), "-o", str(tmp_path / "verilog"), *STREAMED, "--axi-bits", "128"]) == 0
    manifest = json.loads((tmp_path / "verilog" / "manifest.json").read_text())
    image, memory = (tmp_path / "verilog" / "weights.bin").read_bytes(), manifest["external_memory"]
    assert len(image) == memory["bytes"] and memory["beat_bits"] == 128
    blocks = memory["blocks"]
    assert [block["offset"] for block in blocks[1:]] == [block["offset"] + block["bytes"] for block in blocks[:-1]]
    assert blocks[-1]["offset"] + blocks[-1]["bytes"] == len(image)
    assert not list((tmp_path / "verilog").glob("weights*.hex"))


def test_streamed_weights_are_refused_where_they_cannot_be(capsys, net, data, tmp_path):
    sentence = (
        "The spi front has no port to external memory for streamed weights; use the axi front or the bare engine, or "
        "keep the weights on the chip."
    )
    fails(capsys, sentence, "verilog", net, *STREAMED, "--front", "spi", "-o", tmp_path / "verilog")
    assert not (tmp_path / "verilog").exists()
    sentence = "A network without weights cannot wait for them: leave --external-weights out."
    fails(capsys, sentence, "shapes", "resnet18", "--external-weights")


def test_missing_file(capsys, tmp_path, data):
    path = tmp_path / "none.spike"
    fails(capsys, f"Cannot read {path}: No such file or directory.", "eval", path, "--data", data)


def test_truncated_network(capsys, net, data):
    net.write_bytes(net.read_bytes()[:-30])
    sentence = f"{net} is not a complete .spike file; convert the network again (File is not a zip file)."
    fails(capsys, sentence, "eval", net, "--data", data)


def test_newer_network(capsys, net, data):
    with zipfile.ZipFile(net) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["manifest.json"]) | {"version": FORMAT_VERSION + 1}
    with zipfile.ZipFile(net, "w") as archive:
        for name, content in (files | {"manifest.json": json.dumps(manifest).encode()}).items():
            archive.writestr(name, content)
    sentence = (
        f"{net} has format version {FORMAT_VERSION + 1}, newer than the {FORMAT_VERSION} that this OneSpike reads; "
        f"upgrade onespike."
    )
    fails(capsys, sentence, "report", net)


def test_empty_data_folder(capsys, net, tmp_path):
    (tmp_path / "empty").mkdir()
    fails(capsys, f"The data folder {tmp_path / 'empty'} is empty.", "eval", net, "--data", tmp_path / "empty")


def test_images_of_another_shape(capsys, tmp_path, data):
    path = tmp_path / "wide.spike"
    small_net(8).save(path)
    sentence = (
        "The images of 'images' have the shape (1, 6, 6), but the network takes (1, 8, 8); give it the data that it "
        "was trained on."
    )
    fails(capsys, sentence, "eval", path, "--data", data)


def test_more_images_than_there_are(capsys, net, data):
    sentence = "'images' has 5 images in its test split, fewer than 6."
    fails(capsys, sentence, "simulate", net, "--data", data, "--images", "6")


def test_outputs_that_cannot_be_written(capsys, net, data, tmp_path):
    (tmp_path / "file").write_text("kept")
    reason = "Not a directory; choose an output path that can be written."
    before = sorted(tmp_path.rglob("*"))
    folder = tmp_path / "file" / "deep"
    fails(capsys, f"Cannot write {folder}: {reason}", "verilog", net, "-o", folder)
    fails(capsys, f"Cannot write {tmp_path}/file/out.json: {reason}",
          "eval", net, "--data", data, "--json", tmp_path / "file/out.json")  # fmt: skip
    fails(capsys, f"Cannot write figures to {data}: it is a folder; name a file.",
          "eval", net, "--data", data, "--json", data)  # fmt: skip
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "kept"


def test_a_network_too_large_for_its_memories(capsys, net, tmp_path):
    sentence = (
        "The network needs weight_depth = 97, but the engine has 64; raise weight_depth or let the configuration be "
        "fitted to the network."
    )
    arguments = ("verilog", net, *ENGINE, "--set", "weight_depth=64", "-o", tmp_path / "verilog")
    assert main([str(argument) for argument in arguments]) == 2
    found = capsys.readouterr().err
    needed = found.split("weight_depth = ")[1].split(",")[0]
    assert found == f"onespike: {sentence.replace('97', needed)}\n" and int(needed) > 64
    assert not (tmp_path / "verilog").exists()


def test_a_network_too_large_for_its_accumulators(capsys, net, tmp_path):
    needed = small_net().accumulator_bits
    sentence = (
        f"The network needs acc_bits = {needed}, but the engine has 9; raise acc_bits or let the configuration be "
        f"fitted to the network."
    )
    fails(capsys, sentence, "verilog", net, *ENGINE, "--set", "acc_bits=9", "-o", tmp_path / "verilog")
    assert not (tmp_path / "verilog").exists()


def test_no_compiler(capsys, monkeypatch, net, data, tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("perl", "make"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("CXX", raising=False)
    sentence = "Verilator needs a C++ compiler, and none is on PATH: install g++ or clang++."
    output = tmp_path / "build"
    fails(capsys, sentence, "simulate", net, "--data", data, "--images", "1", "-o", output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "The following arguments are required: COMMAND; see `onespike --help`."),
        (["simulate", "x", "--data", "d", "--stall", "2"],
         "Argument --stall: must be a number in 0..0.95, not '2'; see `onespike simulate --help`."),
        (["verilog", "x", "-o", "y", "--banks", "3"],
         "Argument --banks: must be 1, 2, 4, 8, 16, 32 or 64, not '3'; see `onespike verilog --help`."),
        (["verilog", "x", "-o", "y", "--set", "speed=9"],
         "Argument --set: must be NAME=VALUE with a parameter of EngineConfig, not 'speed=9'; "
         "see `onespike verilog --help`."),
        (["verilog", "x", "-o", "y", "--set", "weight_depth=many"],
         "Argument --set: needs a positive integer after '=', not 'weight_depth=many'; see `onespike verilog --help`."),
        (["eval", "x", "--data", "d", "--images", "0"],
         "Argument --images: must be an integer in 1..10000000, not '0'; see `onespike eval --help`."),
        (["convert", "x", "--calibration", "d"],
         "The following arguments are required: -o/--output; see `onespike convert --help`."),
        (["demo", "--groups", "many"],
         "Argument --groups: must be an integer in 1..255, not 'many'; see `onespike demo --help`."),
    ],
)  # fmt: skip
def test_bad_options(capsys, arguments, sentence):
    fails(capsys, sentence, *arguments)


def test_a_bad_engine(capsys, net, tmp_path):
    arguments = ("verilog", net, "--lanes", "16", "--fire-lanes", "3", "-o", tmp_path / "verilog")
    fails(capsys, "fire_lanes must be a power of two that divides lanes, not 3 of 16.", *arguments)


def test_interruption_and_differences_have_their_own_codes(capsys, monkeypatch, net, data):
    for error, code, sentence in (
        (KeyboardInterrupt(), 130, "interrupted."),
        (AssertionError("2 spike words differ"), 1, "the hardware differs from the model. 2 spike words differ"),
        (ModuleNotFoundError("x", name="cocotb.triggers"), 2,
         "this command needs cocotb.triggers; run `pip install onespike[sim]`."),
    ):  # fmt: skip

        def run(args, console, progress, error=error):
            raise error

        monkeypatch.setattr(eval_command, "run", run)
        fails(capsys, sentence, "eval", net, "--data", data, code=code)


def test_a_reader_that_leaves(net, data):
    command = [sys.executable, "-m", "onespike", "report", str(net)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read().decode()
        assert "Traceback" not in errors


def test_jobs_are_kept_and_found_again(capsys, net, data, tmp_path):
    """`eval` as a campaign: the same figures, and what is there is not computed again."""
    command = ["eval", str(net), "--data", str(data), "--json", str(tmp_path / "figures.json")]
    found = []
    keep = ["--keep", str(tmp_path / "jobs")]
    for options in ([], ["--executor", "local:1", *keep], keep):
        assert main([*command, *options]) == 0
        found.append(json.loads((tmp_path / "figures.json").read_text()))
    assert found[0]["accuracy"] == found[1]["accuracy"] == found[2]["accuracy"]
    assert found[1]["images_per_second"] > 0 and found[2]["images_per_second"] is None
    assert "1 of 1 jobs kept from an earlier run" in capsys.readouterr().out
    sentence = (
        "Argument --executor: must be local, local:N with N in 1..256, or dask://host:port, not 'ssh:2'; see `onespike "
        "eval --help`."
    )
    fails(capsys, sentence, *command, "--executor", "ssh:2")
