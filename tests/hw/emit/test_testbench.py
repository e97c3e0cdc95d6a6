# SPDX-License-Identifier: Apache-2.0
"""The emitted test benches: they pass on the engine, fail on a wrong logit, and Verilator has no warning of them."""

import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from blocks import random_mapping, random_net
from onespike.hw.config import EngineConfig
from onespike.hw.emit.emit import emit
from onespike.hw.emit.testbench import made_up_image
from onespike.hw.fronts.front import Front
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.sim.verilator import find_verilator

CASES = [None, "axi", "wishbone", "external", "external axi"]


def emitted(folder: Path, case: str | None, images: int = 0) -> tuple[str, list[str]]:
    """An engine with its bench in a folder: the bench's name, and the files to compile."""
    front = None if case in (None, "external") else Front(kind=case.split()[-1])
    mapping = random_mapping(random.Random(5))
    if case is not None and case.startswith("external"):
        net = random_net(random.Random(5))
        config = EngineConfig(banks=2, lanes=4, fire_lanes=4, external_weights=64)
        mapping = map_network(net, fit_config(net, config))
    image = mapping.net.image
    codes = np.random.default_rng(1).integers(0, 1 << image.bits, (images, *image.shape)) if images else None
    emit(mapping, folder, front=front, codes=codes)
    top = "onespike" if front is None else front.top
    return f"{top}_tb", [f"{top}_tb.v", "onespike.v", *([] if front is None else [f"{top}.v"])]


@pytest.mark.parametrize("case", CASES)
def test_benches_are_linted_and_run(tmp_path: Path, case: str | None) -> None:
    """With everything that Verilator can warn of; run where Icarus Verilog is installed, with and without pauses."""
    bench, files = emitted(tmp_path, case, images=2)
    tools = find_verilator()
    command = [tools.executable, "--lint-only", "--timing", "-Wall", "--top-module", bench, "lint.vlt", *files]
    found = subprocess.run(command, cwd=tmp_path, env=os.environ | tools.env, capture_output=True, text=True)
    assert found.returncode == 0 and "%Warning" not in found.stderr, found.stderr[:2000]
    if shutil.which("iverilog") is None or shutil.which("vvp") is None:
        return
    built = subprocess.run(["iverilog", "-g2005", "-Wno-timescale", "-o", "tb.vvp", *files], cwd=tmp_path,
                           capture_output=True, text=True)  # fmt: skip
    assert (built.returncode, built.stderr) == (0, "")
    for options in ([], ["+stall=50", "+seed=2"]):
        ran = subprocess.run(["vvp", "-n", "tb.vvp", *options], cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0 and "WARNING" not in ran.stdout + ran.stderr and "PASS: 2 images" in ran.stdout
    logits = (tmp_path / "tb_logits.hex").read_text().split()
    logits[0] = f"{int(logits[0], 16) ^ 1:x}"
    (tmp_path / "tb_logits.hex").write_text("\n".join(logits))
    ran = subprocess.run(["vvp", "-n", "tb.vvp"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode != 0 and "image 0, logit 0: value" in ran.stdout and "FAIL: 1 errors" in ran.stdout


@pytest.mark.slow
def test_verilator_runs_a_bench(tmp_path: Path) -> None:
    bench, files = emitted(tmp_path, None)
    tools = find_verilator()
    command = [tools.executable, "--binary", "--timing", "-CFLAGS", "-O0", "--output-split", "0", "--top-module", bench]
    subprocess.run([*command, "lint.vlt", *files], cwd=tmp_path, env=os.environ | tools.env, check=True)
    run = [tmp_path / "obj_dir" / f"V{bench}"]
    assert "PASS: 1 images" in subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    (tmp_path / "tb_classes.hex").write_text("000f\n")
    assert subprocess.run(run, cwd=tmp_path, capture_output=True, text=True).returncode != 0


def test_what_is_expected_is_the_golden_models(tmp_path: Path) -> None:
    emitted(tmp_path, None)
    mapping = random_mapping(random.Random(5))
    logits = mapping.to_stream(mapping.net.golden(made_up_image(mapping.net))).reshape(-1)
    bits = mapping.config.acc_bits
    read = [int(line, 16) for line in (tmp_path / "tb_logits.hex").read_text().split()]
    assert [value - (value >> (bits - 1) << bits) for value in read] == logits.tolist()
    text = (tmp_path / "onespike_tb.v").read_text()
    assert not re.findall(r"<\w+>", text) and "The image is made up" in text
    emitted(tmp_path, "uart")  # a serial front: the bench is that of the engine
    assert (tmp_path / "onespike_tb.v").exists() and not (tmp_path / "onespike_uart_tb.v").exists()


def test_a_made_up_image_has_some_of_everything() -> None:
    for seed in range(8):
        net = random_net(random.Random(seed))
        image = made_up_image(net)
        assert image.shape == (1, *net.image.shape) and 0 < image.max() <= 2**net.image.bits - 1
