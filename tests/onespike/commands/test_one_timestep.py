# SPDX-License-Identifier: Apache-2.0
"""`onespike train --method one-timestep`: from data to a network of single spikes, and what it refuses."""

import json

import numpy as np
import pytest

from onespike.cli import main
from onespike.model.network.spec import SpikeNet


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Ten noisy 8x8 patterns."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "a.npz"
    labels = np.arange(300) % 10
    images = 200 * rng.random((10, 8, 8))[labels] + 55 * rng.random((300, 8, 8))
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


def test_stages_are_shown_and_the_network_converts_to_single_spikes(data, tmp_path, capsys):
    model, net, figures = (tmp_path / name for name in ("a.pt2", "a.spike", "a.json"))
    words = ["train", "--network", "mlp64", "--epochs", "20", "--shift", "0", "--method", "one-timestep"]
    words += ["--steps", "2,1", "--stage-epochs", "8"]
    words += ["--stage-rate", "0.01", "--data", data, "-o", model, "--json", figures]
    assert main([str(word) for word in words]) == 0
    shown = capsys.readouterr().out
    assert "Stages: spiking neurons at T steps" in shown and "before, with ReLU" in shown
    found = json.loads(figures.read_text())
    made = found["one_timestep"]
    assert (made["macs"], made["neurons"]) == ([2048, 320], [32])
    two, one = made["stages"]
    assert (two["steps"], one["steps"]) == (2, 1)
    assert one["spikes"] == pytest.approx(one["rates"][0])
    assert one["memory_accesses"] == 2368 and two["memory_accesses"] == 2 * (2368 + 64)
    assert one["accuracy"] == found["accuracy"]["float"] > 0.5
    assert main(["convert", str(model), "--calibration", str(data), "-o", str(net)]) == 0
    assert [layer.groups for layer in SpikeNet.load(net).layers] == [1, 0]


def test_pruning_comes_before_the_stages_and_the_integers_keep_the_zeros(tmp_path, capsys):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = (200 * rng.random((10, 28, 28))[labels] + 55 * rng.random((200, 28, 28))).astype(np.uint8)
    data, model, net, figures = (tmp_path / name for name in ("a.npz", "a.pt2", "a.spike", "a.json"))
    np.savez(data, images=images, labels=labels)
    words = ["train", "--network", "digits-small", "--epochs", "2", "--shift", "0", "--method", "one-timestep"]
    words += ["--steps", "1", "--stage-epochs", "2", "--prune", "0.8", "--prune-epochs", "3"]
    words += ["--data", data, "-o", model, "--json", figures]
    assert main([str(word) for word in words]) == 0
    shown = capsys.readouterr().err
    made = json.loads(figures.read_text())["one_timestep"]
    pruned = made["pruned"]
    assert (pruned["share"], pruned["epochs"]) == (0.8, 3)
    left = [share * size for share, size in zip(pruned["kept"], (72, 1152, 2304, 1440), strict=True)]
    assert left == pytest.approx([72, left[1], 3456 - int(0.8 * 3456) - left[1], 1440])
    assert made["stages"][0]["kept"] == pytest.approx(sum(left) / made["weights"])
    right, shares = 100 * pruned["accuracy"], ", ".join(f"{100 * share:.1f} %" for share in pruned["kept"])
    assert f"Pruning 80.0 % of the weights: {right:.2f} % right with ReLU; left, by layer: {shares}" in shown
    assert main(["convert", str(model), "--calibration", str(data), "-o", str(net)]) == 0
    found = [int((layer.sources[0].weights != 0).sum()) for layer in SpikeNet.load(net).layers]
    assert all(0 < integers <= floats + 0.5 for integers, floats in zip(found, left, strict=True))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--steps", "3,1"], "--steps is about stages of spiking neurons; add --method one-timestep"),
        (["--prune", "0.5"], "--prune is about stages"),
        (["--method", "one-timestep", "--prune-epochs", "2"], "--prune-epochs says how long pruning takes; give"),
        (["--method", "one-timestep", "--steps", "1,3"], "end with 1, not [1, 3]"),
        (["--method", "one-timestep", "--prune", "0.5"], "Nothing to prune"),
        (["--method", "one-timestep", "--percentile", "0.1"], "give a larger percentile"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_no_network(words, sentence, data, tmp_path, capsys):
    model = tmp_path / "a.pt2"
    start = ["train", "--data", data, "--network", "mlp64", "--epochs", "1", "-o", model]
    assert main([str(word) for word in (*start, *words)]) == 2
    shown = capsys.readouterr().err
    assert sentence in shown and "Traceback" not in shown
    assert not model.exists()
