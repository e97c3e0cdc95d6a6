# SPDX-License-Identifier: Apache-2.0
"""`onespike compare`: a small network under every method, what it prints, writes and draws, and its mistakes."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from command_line import fails, small_net
from onespike.bench import comparison, comparison_tables
from onespike.bench.fired import before_pool, count_fired
from onespike.cli import main
from onespike.commands import plotting
from onespike.commands.train import exported
from onespike.hw.config import EngineConfig
from onespike.model.convert.converter import prepare
from onespike.model.convert.methods import METHODS
from onespike.model.network import golden, stepped
from onespike.model.network.membranes import Membranes
from onespike.model.training.data import load
from onespike.model.training.networks import build
from onespike.model.training.spiking import SpikingNet

QUICK = ("--groups", "4,8", "--phases", "7,16", "--banks", "2", "--lanes", "4", "--cycle-images", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Weights of a small network, and a folder of pictures in two splits."""
    folder = tmp_path_factory.mktemp("compare")
    np.savez(folder / "weights.npz", **{key: value.numpy() for key, value in build("mlp64").state_dict().items()})
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for split, number in (("train", 40), ("t10k", 12)):
        pictures = rng.integers(0, 256, (number, 8, 8)).astype(np.uint8)
        labels = rng.integers(0, 10, number).astype(np.uint8)
        for name, array in ((f"{split}-images-idx3-ubyte", pictures), (f"{split}-labels-idx1-ubyte", labels)):
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            (folder / "images" / name).write_bytes(header + array.tobytes())
    return folder


def command(folder, *more):
    arguments = ["compare", folder / "weights.npz", "--network", "mlp64", "--data", folder / "images"]
    return [str(argument) for argument in (*arguments, *more)]


@pytest.fixture(scope="module")
def result(made):
    """Figures of all methods, with what was drawn."""
    files = ("-o", made / "plot.svg", "--json", made / "figures.json")
    assert main(command(made, *QUICK, "--images", "10", *files)) == 0
    return json.loads((made / "figures.json").read_text())


def test_a_network_that_was_trained_for_single_spikes_stands_beside(made, tmp_path, capsys):
    torch.manual_seed(0)
    spiking = SpikingNet(build("mlp64"), 1)
    spiking.balance(torch.rand(50, 1, 8, 8), 80.0)
    (tmp_path / "single.pt2").write_bytes(exported(spiking.one_step(), np.zeros((1, 1, 8, 8), np.float32)))
    figures = tmp_path / "figures.json"
    words = ("--methods", "psg", "--groups", "4", "--images", "10", "--banks", "2", "--lanes", "4", "--json", figures)
    assert main(command(made, *words, "--beside", tmp_path / "single.pt2")) == 0
    rows = json.loads(figures.read_text())["methods"]
    assert [row["label"] for row in rows] == ["psg g=4", "psg short", "single"]
    assert rows[2]["stated"] == "trained: single spikes, 1 step" and rows[2]["quantised"]["bits"] == 1
    assert 0 < rows[2]["cycles"] < rows[0]["cycles"] and "single" in capsys.readouterr().out


def test_a_network_for_other_images_does_not(made, tmp_path, capsys):
    path = tmp_path / "other.pt2"
    path.write_bytes(exported(build("mlp").eval(), np.zeros((1, 1, 28, 28), np.float32)))
    assert main(command(made, "--methods", "psg", "--groups", "4", "--images", "10", "--beside", path)) == 2
    assert "takes images of (1, 28, 28) and gives outputs of (10, 1, 1), but the network" in capsys.readouterr().err


def test_every_method_has_its_rows(result):
    rows = {row["label"]: row for row in result["methods"]}
    assert {row["method"] for row in rows.values()} == set(METHODS)
    assert len(rows) == len(result["methods"]) and not any(row["refused"] for row in rows.values())
    for row in rows.values():
        assert any(word in row["stated"] for word in ("g = ", "T = ", "levels")), row["stated"]
        hardware = METHODS[row["method"]].hardware
        assert (row["cycles"] is None) == (row["without_hardware"] is not None) == hardware.startswith("none")
        assert (row["rival_cycles"] is None) == (row["cycles"] is not None)
        assert row["bits"]["all"] == sum(value for name, value in row["bits"].items() if name != "all")
        assert (row["bits"]["state"] > 0) == (row["cycles"] is None)
        assert row["additions"] >= row["events"] == pytest.approx(row["events_per_mac"] * result["dense"]["macs"])
    psg, asg = rows["psg g=4"], rows["asg T=4"]
    assert psg["hash"] == asg["hash"] and psg["cycles"] == asg["cycles"]
    assert psg["quantised"]["bits"] == 3 and rows["psg g=8"]["quantised"]["bits"] == 4  # ceil(log2(g + 1))
    assert rows["if T=4"]["quantised"] == psg["quantised"]
    assert rows["if T=16"]["rival_cycles"] > rows["if T=4"]["rival_cycles"] > psg["cycles"]
    assert rows["if T=16"]["neuron_operations"] == 4 * rows["if T=4"]["neuron_operations"]
    assert rows["phase T=7"]["spikes_per_neuron"] <= 1 and rows["psg short"]["spikes_per_neuron"] <= 1
    engine = result["engine"]
    assert engine["tables"] and engine["table_codes"] == 32  # 17 values of T = 16
    assert result["dense"]["cycles"] == result["dense"]["macs"] / 8


def test_what_is_printed_and_drawn(capsys, made, result):
    known = (made / "plot.svg").read_bytes()
    assert known.startswith(b"<?xml") and b"<dc:date>" not in known
    again = ("-o", made / "again.svg", "--json", made / "again.json", "--methods", "psg,if", "--images", "3")
    assert main(command(made, *QUICK, *again)) == 0
    found = capsys.readouterr()
    for text in ("psg g=4", "if T=16", "wait", "Horowitz", "no cycles of our own", "dense MACs", "The engine: 2 banks"):
        assert (text in found.out) == (text != "wait"), text
    assert "if T=4: conversion" in found.err
    figures = json.loads((made / "again.json").read_text())
    assert [row["label"] for row in figures["methods"]] == ["psg g=4", "psg g=8", "psg short", "if T=4", "if T=16"]
    assert figures["images"] == {"counted": 3, "cycles": 1, "judged": 3}
    figure, axes = plotting.figure(7, 5)
    comparison_tables.draw(figures, axes)
    plotting.save(figure, made / "third.svg")
    assert (made / "again.svg").read_bytes() == (made / "third.svg").read_bytes()


def test_spikes_before_a_pool():
    """The literal trains of PSG, and the spikes of all steps."""
    net = small_net()
    codes = np.random.default_rng(1).integers(0, 256, (3, 1, 6, 6)).astype(np.uint8)
    known = golden.run(net, codes, layers=True, trains=True)
    spikes = 0
    for layer in net.layers[:-1]:
        values = before_pool(net, layer, known.codes)
        assert (values == np.bitwise_count(known.trains[layer.name])).all()
        spikes += values.sum()
    found = count_fired(net, codes)
    assert found.neurons == 5 * 36 and found.spikes == pytest.approx(spikes / 3) and 0 < found.firing < found.neurons
    over = dataclasses.replace(net, membranes=Membranes.of(net.layers, 3))
    assert count_fired(over, codes).spikes == sum(stepped.run(over, codes).fired.values()) / 3


def test_one_engine_holds_them_all(made):
    """No parameter is larger than the network that needs most of it asks for."""
    images = load(made / "images", "train").images
    nets = [prepare(build("mlp64").eval(), calibration=images, **own).net
            for own in ({"groups": 31}, {"method": "phase", "phases": 7})]  # fmt: skip
    base, codes = EngineConfig(banks=2, lanes=4, fire_lanes=4), nets[0].image.quantise(images[:1])
    both = comparison.on_one_engine(nets, base, codes)
    alone = [comparison.on_one_engine([net], base, codes)[0].config for net in nets]
    (engine,) = {mapping.config for mapping in both}
    for name in ("tables", "table_codes", "max_groups", "acc_bits", "spike_depth", "weight_depth", "channel_depth"):
        assert getattr(engine, name) == max(getattr(config, name) for config in alone), name
    assert alone[0].tables == 0 < alone[1].tables


def test_mistakes(capsys, made):
    few = command(made, "--images", "13")
    fails(capsys, "'images' has 12 images in its test split, fewer than 13.", *few)
    fails(
        capsys,
        "The base of phase coding must lie above 1 and up to 2, not 2.5.",
        *command(made, "--base", "2.5"),
    )
    fails(
        capsys,
        f"Argument --methods: must be one of {', '.join(METHODS)}, not 'psgs'; see `onespike compare --help`.",
        *command(made, "--methods", "psg,psgs"),
    )
    weights = made / "weights.npz"
    fails(
        capsys,
        f"{weights} holds weights alone; name the network that they are for with --network.",
        "compare", weights, "--data", made / "images",
    )  # fmt: skip
    fails(
        capsys,
        f"--output {weights} would overwrite {weights}, which is read; name another file.",
        *command(made, "-o", weights),
    )
    assert main(command(made, "--methods", "psg", "--groups", "4", "--images", "1", "-o", made / "plot.odd")) == 2
    assert "name a .svg or .png file." in capsys.readouterr().err
