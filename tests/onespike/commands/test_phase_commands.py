# SPDX-License-Identifier: Apache-2.0
"""Phase coding from the command line: `convert --method phase`, `bases`, and the streaming form in `eval`."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from command_line import fails, write_idx
from onespike.cli import main
from onespike.model.convert import phase_base
from onespike.model.network.spec import SpikeNet


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A module's file, and images for it."""
    folder = tmp_path_factory.mktemp("phase")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.ReLU(),
                           nn.Flatten(), nn.Linear(6, 3))  # fmt: skip
    torch.export.save(torch.export.export(module.eval(), (torch.rand(1, 1, 6, 6),)), folder / "net.pt2")
    rng = np.random.default_rng(0)
    write_idx(folder / "images", rng.integers(0, 256, (30, 6, 6)), rng.integers(0, 3, 30))
    np.save(folder / "some.npy", rng.random((40, 1, 6, 6)).astype(np.float32))
    return folder


def convert(made, *more):
    return [
        str(a)
        for a in ("convert", made / "net.pt2", "--calibration", made / "some.npy", "-o", made / "net.spike", *more)
    ]


def test_from_the_network_to_its_streaming_form(capsys, made):
    assert main(convert(made, "--method", "phase", "--base", "1.4", "--phases", "9")) == 0
    net = SpikeNet.load(made / "net.spike")
    assert net.meta == {"method": "phase", "base": 1.4, "phases": 9}
    out = made / "out.json"
    command = ["eval", made / "net.spike", "--data", made / "images", "--waits", "0,9", "--json", out]
    assert main([str(a) for a in command]) == 0
    figures = json.loads(out.read_text())
    streaming = figures["streaming"]
    early, patient = streaming["waits"]
    assert patient["accuracy"] == figures["accuracy"]["golden"] and patient["late"] == patient["false"] == 0
    assert early["late"] + early["false"] > 0 and streaming["phases"] == 9
    assert (early["latency"], early["phases_per_image"]) == (9, 9)
    assert (patient["latency"], patient["phases_per_image"]) == (18 + 2 * 9, 18)
    assert streaming["energy"]["gain"] > streaming["energy"]["streaming_gain"] > 0
    shown = capsys.readouterr().out
    assert "Streaming form, T = 9, 30 images" in shown and "eq. 6" in shown


def test_an_automatic_base_is_written_down(made):
    assert main(convert(made, "--method", "phase", "--base", "auto", "--phases", "8")) == 0
    assert 1.05 <= SpikeNet.load(made / "net.spike").meta["base"] <= 2


def test_the_curve_over_the_base(capsys, made):
    pytest.importorskip("matplotlib")
    command = ["bases", made / "net.pt2", "--calibration", made / "some.npy", "--phases", "16,24"]
    command += ["-o", made / "base.svg", "--json", made / "base.json"]
    for _ in range(2):
        assert main([str(a) for a in command]) == 0
        before = (made / "base.svg").read_bytes()
    assert (made / "base.svg").read_bytes() == before and b"<svg" in before
    figures = json.loads((made / "base.json").read_text())
    own, _, normal, other = figures["curves"]
    assert (normal["best"], round(100 * normal["error"], 2)) == (1.28, 3.06)
    assert (other["best"], round(100 * other["error"], 2)) == (1.2, 2.17)
    assert figures["bases"] == list(phase_base.BASES) and own["error"] == min(own["errors"]) and figures["images"] == 40
    assert "net.pt2, T = 16" in capsys.readouterr().out


def test_without_a_network_the_normal_distribution_is_shown(capsys):
    assert main(["bases", "--phases", "16"]) == 0
    assert "1.28" in capsys.readouterr().out


def test_mistakes(capsys, made):
    sentence = "groups is a setting of method psg, if and ctt, not of phase; leave it out, or give method='psg'."
    fails(capsys, sentence, *convert(made, "--method", "phase", "--groups", "8"))
    sentence = "phases is a setting of method phase, not of psg; leave it out, or give method='phase'."
    fails(capsys, sentence, *convert(made, "--phases", "8"))
    sentence = "The base of phase coding must lie above 1 and up to 2, not 3.0."
    fails(capsys, sentence, *convert(made, "--method", "phase", "--base", "3"))
    see = "see `onespike convert --help`."
    fails(capsys, f"Argument --base: must be a number or auto, not 'x'; {see}", *convert(made, "--base", "x"))
    fails(capsys, "Activations need images; give --calibration.", "bases", made / "net.pt2")
    assert main(convert(made)) == 0
    capsys.readouterr()
    evaluate = ("eval", made / "net.spike", "--data", made / "images", "--waits")
    sentence = (
        "The streaming form needs a phase for every value, but layer '0' fires counts; convert with method='phase' and "
        "signed=False."
    )
    fails(capsys, sentence, *evaluate, "3")
    assert main(convert(made, "--method", "phase", "--phases", "8")) == 0
    capsys.readouterr()
    fails(capsys, "The wait must be a whole number of phases in 0..8, not 9.", *evaluate, "3,9")
