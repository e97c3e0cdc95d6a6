# SPDX-License-Identifier: Apache-2.0
"""`onespike steps`, and a T-step network on the command line."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from command_line import fails
from idx_files import idx
from onespike.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random network of two layers, model.pt2, and pictures of two classes, as MNIST comes."""
    folder = tmp_path_factory.mktemp("steps")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(),
                           nn.Flatten(), nn.Linear(64, 2)).eval()  # fmt: skip
    program = torch.export.export(module, (torch.zeros(2, 1, 6, 6),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, folder / "model.pt2")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 6, 6))
    labels = module(torch.from_numpy(images[:, None] / 255).float()).argmax(1).numpy()
    (folder / "data").mkdir()
    for name in ("train", "t10k"):
        (folder / "data" / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / "data" / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def test_accuracy_over_steps(capsys, folder, tmp_path):
    words = ["steps", folder / "model.pt2", "--data", folder / "data", "--images", 40, "--steps", "1,8"]
    words += ["-o", tmp_path / "plot.svg", "--json", tmp_path / "figures.json", "--threads", 1]
    assert main([str(word) for word in words]) == 0
    found = json.loads((tmp_path / "figures.json").read_text())
    one, eight = found["points"]
    assert (one["steps"], eight["steps"], found["images"]) == (1, 8, 40)
    # One step is one timestep with g = 1, whatever the membrane begins with.
    assert one["psg"] == one["if"] == one["if_half"] and one["if_error"] == one["if_half_error"] == 0
    assert 0.5 < eight["psg"] <= 1 and 0 < eight["if_spikes_per_neuron"] < 8
    plot = (tmp_path / "plot.svg").read_text()
    assert "PSG, one timestep, g = T" in plot and "<date>" not in plot.lower()
    assert "accuracy on 40 images" in capsys.readouterr().out


def test_a_network_of_steps_is_judged_and_has_no_hardware(capsys, folder, tmp_path):
    net = tmp_path / "if.spike"
    words = ["convert", folder / "model.pt2", "--calibration", folder / "data", "--method", "if", "--groups", 4,
             "--steps", 8, "--membrane", "half", "-o", net]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    words = ["eval", str(net), "--data", str(folder / "data"), "--json", str(tmp_path / "eval.json")]
    assert main(words) == 0
    found = json.loads((tmp_path / "eval.json").read_text())
    assert found["accuracy"]["images"] == 40 and found["spikes"]["steps"] == 8
    assert [layer["spikes"] > 0 for layer in found["spikes"]["layers"]] == [True, True, False]
    capsys.readouterr()
    sentence = "runs one timestep, but this network integrates and fires over 8 steps, a reference model without "
    sentence += "hardware; convert it with method='asg' or 'psg' instead."
    fails(capsys, f"The engine {sentence}", "verilog", net, "-o", tmp_path / "v")
    fails(capsys, f"A QONNX model {sentence}", "export", net, "-o", tmp_path / "net.onnx")
    fails(capsys, f"Our NIR graph {sentence}", "export", net, "-o", tmp_path / "net.nir")


def test_mistakes(capsys, folder, tmp_path):
    words = ("steps", folder / "model.pt2", "--data", folder / "data", "--images", 1, "--steps", 2)
    sentence = f"Cannot plot to {tmp_path / 'x.xyz'}: Format 'xyz' is not supported; name a .svg or .png file."
    assert main([str(word) for word in (*words, "-o", tmp_path / "x.xyz")]) == 2
    assert capsys.readouterr().err.endswith(f"onespike: {sentence}\n")
    fails(capsys, f"Cannot read {tmp_path / 'no.pt2'}: no such file.", "steps", tmp_path / "no.pt2", *words[2:])
