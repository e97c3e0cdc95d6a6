# SPDX-License-Identifier: Apache-2.0
"""One page of the small network, with the files that other commands would have written beside it."""

import json

import numpy as np
import pytest

from command_line import ENGINE, small_net, write_idx
from onespike.cli import main
from onespike.fpga.boards import find_board
from onespike.page import drawing, insight

IMAGES = ["--images", "5"]
PATH = (
    "0.52 ns clk-to-q engine.bank1.extract.word_TRELLIS_FF_Q_3 -> engine.bank1.extract.word_TRELLIS_FF_Q_3",
    "1.25 ns routing engine.bank1.extract.word_TRELLIS_FF_Q_3 -> engine.bank1.lanes.sum_LUT4_Z_1",
    "0.24 ns logic engine.bank1.lanes.sum_LUT4_Z_1 -> engine.bank1.lanes.sum_LUT4_Z_1",
    "0.05 ns setup engine.bank1.lanes.sum_LUT4_Z_1 -> engine.bank1.lanes.sum_TRELLIS_FF_Q",
)


@pytest.fixture(scope="session")
def paged(tmp_path_factory):
    """A folder with net.spike, images, and files of eval, simulate, synth and fpga; none of them ran a tool."""
    folder = tmp_path_factory.mktemp("paged")
    net = small_net()
    net.save(folder / "net.spike")
    rng = np.random.default_rng(0)
    data = write_idx(folder / "images", rng.integers(0, 256, (5, 6, 6)), rng.integers(0, 3, 5))
    common = [str(folder / "net.spike"), "--data", str(data)]
    assert main(["eval", *common, "--json", str(folder / "eval.json")]) == 0
    assert main(["report", *common, *ENGINE, *IMAGES, "--json", str(folder / "report.json")]) == 0
    found = json.loads((folder / "report.json").read_text())
    hardware = found["hardware"]
    engine = {name: value for name, value in hardware.items() if name != "slices"}
    network = {"hash": net.hash}
    layers = [{"name": layer["name"], "cycles": layer["predicted_cycles"]} for layer in found["cycles"]["layers"]]
    total = found["cycles"]["predicted_cycles_per_image"]
    simulated = {
        "images": 5, "mismatches": 0, "cycle_mismatches": 0, "words_compared": 1234, "cycles_per_image": total,
        "layers": layers,
    }  # fmt: skip
    synthesis = {
        "target": "ecp5-25k", "luts": 3210, "flip_flops": 2345, "block_rams": 12, "multipliers": 0, "fmax_mhz": 123.4,
        "luts_per_lane": 401.2, "seed": 7, "tools": "yosys x, nextpnr y", "critical_path": PATH, "parts": {},
    }  # fmt: skip
    attempt = {"clock_mhz": 110.0, "reached_mhz": 101.5, "resources": {}, "critical_path": PATH[:2], "directory": "d"}
    bitstream = {
        "file": "f.bit", "board": "ulx3s-25f", "config": engine, "clock_mhz": 101.25, "baud": 115200, "tools": "t",
        "attempts": [attempt], "resources": {"LUTs": [4321, find_board("ulx3s-25f").part.luts]},
    }  # fmt: skip
    made = {"command": "onespike simulate net.spike --seed 3", "seed": 3, "versions": {"numpy": "2"}}
    files = {
        "simulate": {"made_by": made, "network": network, "hardware": hardware, "rtl": simulated},
        "synth": {"network": network, "engine": engine, "synthesis": synthesis, "asked_mhz": 130.0},
        "fpga": {"network": network, "hardware": hardware, "bitstream": bitstream, "seed": 1},
    }
    for name, contents in files.items():
        (folder / f"{name}.json").write_text(json.dumps(contents))
    return folder


def page_of(paged, folder, *words):
    """The text of a page in a folder, and its figures."""
    common = [str(paged / "net.spike"), "--data", str(paged / "images"), *IMAGES, "-o", str(folder / "page.html")]
    assert main(["report", *common, *words, "--json", str(folder / "page.json")]) == 0
    return (folder / "page.html").read_text(), json.loads((folder / "page.json").read_text())


@pytest.fixture(scope="session")
def whole(paged, tmp_path_factory):
    """A page with everything: drawing it takes some seconds, so that all look at one."""
    files = [str(paged / f"{name}.json") for name in ("eval", "simulate", "synth")]
    return page_of(paged, tmp_path_factory.mktemp("page"), "--from", *files)


@pytest.fixture
def make_page(paged, tmp_path, monkeypatch):
    """The text of a page, and its figures, from these of the files; its pictures are not drawn, and other engines only
    `compared` where a test asks for it: both take seconds."""
    monkeypatch.setattr(drawing, "_svg", lambda *_: "<svg></svg>")

    def make(*files: str, options: tuple = (), compared: bool = False):
        if not compared:
            monkeypatch.setattr(insight, "alternatives", lambda *_: [])
        measured = ["--from", *(str(paged / f"{name}.json") for name in files)] if files else []
        return page_of(paged, tmp_path, *measured, *options)

    return make
