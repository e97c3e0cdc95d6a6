# SPDX-License-Identifier: Apache-2.0
"""The demo from end to end, on few digits and a small engine; and train and convert from the command line."""

import hashlib
import json

import numpy as np
import pytest

from html_page import Page
from onespike.cli import main
from onespike.commands import demo
from onespike.model.network.spec import SpikeNet
from onespike.model.training import data as datasets
from onespike.model.training import train as training

torch = pytest.importorskip("torch")

KEYS = (
    "groups",
    *(f"accuracy.{name}" for name in ("float", "quantised", "golden", "images")),
    *(f"rtl.{name}" for name in ("images", "mismatches", "cycles_per_image", "predicted_cycles_per_image")),
    *("rtl.utilisation", "hardware.banks", "hardware.lanes"),
    *(f"operations.{name}" for name in ("dense_macs", "additions_radix", "additions_unary")),
    *("energy.tables", "verilog"),
)


def value(summary: dict, key: str):
    for part in key.split("."):
        summary = summary[part]
    return summary


@pytest.fixture
def few_digits(monkeypatch):
    """500 digits to train on, 100 held out."""
    parts = {split: datasets.load("digits", split) for split in datasets.SPLITS}
    few = {"train": parts["train"][:500], "test": parts["test"][:100]}
    monkeypatch.setattr(demo, "load_digits", lambda: (few["train"], few["test"]))
    monkeypatch.setattr(demo, "COUNTED", 10)
    return few


def test_demo(capsys, tmp_path, few_digits, monkeypatch):
    output = tmp_path / "demo"
    arguments = ["demo", "-o", str(output), "--images", "2", "--epochs", "3", "--banks", "2", "--lanes", "4"]
    assert main([*arguments, "--json", str(tmp_path / "copy.json")]) == 0
    summary = json.loads((output / "summary.json").read_text())
    assert summary == json.loads((tmp_path / "copy.json").read_text())
    for key in KEYS:
        assert value(summary, key) is not None, key
    assert summary["groups"] == 8 and summary["accuracy"]["images"] == 100
    assert summary["rtl"]["images"] == 2
    assert summary["rtl"]["mismatches"] == summary["rtl"]["cycle_mismatches"] == 0
    assert summary["rtl"]["cycles_per_image"] == summary["rtl"]["predicted_cycles_per_image"]
    assert 0.5 < summary["rtl"]["utilisation"] <= 1
    assert (summary["hardware"]["banks"], summary["hardware"]["lanes"]) == (2, 4)
    assert summary["operations"]["dense_macs"] == 1_470_528
    assert summary["operations"]["additions_radix"] < summary["operations"]["additions_unary"]
    assert (output / "verilog" / "onespike.v").is_file()
    out = capsys.readouterr().out
    for expected in ("OneSpike: from PyTorch to verified hardware", "0 mismatches", "Horowitz", "clamp-quantised"):
        assert expected in out

    # The page says the same, of the file that holds it.
    assert f"report        {output / 'report.html'}" in out
    page = Page((output / "report.html").read_text())
    shown = json.loads(page.files["report.json"])
    assert shown["measured"]["rtl"] == summary["rtl"] and shown["measured"]["accuracy"] == summary["accuracy"]
    assert shown["sources"][1]["sha256"] == hashlib.sha256((output / "summary.json").read_bytes()).hexdigest()

    # The saved network is the one that was measured.
    net = SpikeNet.load(output / "digits.spike")
    assert net.hash == summary["network"]["hash"]
    held_out = few_digits["test"]
    assert (net.golden(held_out.images).argmax(1) == held_out.labels).mean() == summary["accuracy"]["golden"]

    # A second run with the same settings trains nothing and finds the same figures.
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained again"))
    assert main(arguments) == 0
    again = json.loads((output / "summary.json").read_text())
    assert summary["trained"] and not again["trained"]
    for part in ("accuracy", "operations", "energy", "network", "hardware"):
        assert again[part] == summary[part], part


def test_more_images_than_held_out(capsys, tmp_path, few_digits):
    assert main(["demo", "-o", str(tmp_path / "demo"), "--images", "101"]) == 2
    assert capsys.readouterr().err.endswith("onespike: There are 100 held-out digits, fewer than 101.\n")


def test_train_then_convert(capsys, tmp_path, monkeypatch):
    few = {split: datasets.load("digits", split)[:300] for split in datasets.SPLITS}
    monkeypatch.setattr("onespike.commands.train.load", lambda source, split, *_: few[split])
    model, net = tmp_path / "out" / "model.pt2", tmp_path / "net.spike"
    figures = tmp_path / "figures.json"
    assert main(["train", "--data", "digits", "--network", "mlp", "--epochs", "2", "-o", str(model)]) == 0
    np.savez(tmp_path / "images.npz", images=few["train"].images)
    calibration = ["--calibration", str(tmp_path / "images.npz")]
    assert main(["convert", str(model), *calibration, "-o", str(net), "--groups", "4", "--json", str(figures)]) == 0
    found = SpikeNet.load(net)
    assert [layer.groups for layer in found.layers] == [4, 0]
    assert json.loads(figures.read_text())["hash"] == found.hash
    with torch.no_grad():
        wanted = torch.export.load(model).module()(torch.from_numpy(few["test"].images[:1])).numpy()
    assert found.golden(few["test"].images[:1]).shape == wanted.shape == (1, 10)
    capsys.readouterr()


def test_conversion_errors(capsys, tmp_path):
    missing = tmp_path / "model.pt2"
    assert main(["convert", str(missing), "--calibration", "digits", "-o", str(tmp_path / "net.spike")]) == 2
    assert capsys.readouterr().err == f"onespike: Cannot read {missing}: no such file.\n"
    missing.write_bytes(b"not a network")
    assert main(["convert", str(missing), "--calibration", "digits", "-o", str(tmp_path / "net.spike")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"onespike: {missing} is not a .pt2 file of torch.export") and err.count("\n") == 1
    assert main(["train", "--data", "digits", "--network", "vgg", "-o", str(tmp_path / "x.pt2")]) == 2
    assert capsys.readouterr().err.startswith("onespike: There is no network 'vgg'; choose one of digits, ")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
