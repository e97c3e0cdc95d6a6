# SPDX-License-Identifier: Apache-2.0
"""`onespike train --method windows`: from data to an integer network of windows, and what it refuses."""

import json

import numpy as np
import pytest

from onespike.cli import main
from onespike.model.network.windowed import WindowNet


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four noisy 8x8 patterns."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "a.npz"
    labels = np.arange(120) % 4
    images = 200 * rng.random((4, 8, 8))[labels] + 55 * rng.random((120, 8, 8))
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


def words(data, output, *more):
    start = ["train", "--method", "windows", "--data", data, "--widths", "4,4", "--epochs", "3", "--shift", "0"]
    return [str(word) for word in (*start, "--threads", "1", "-o", output, *more)]


def test_figures_and_the_network(data, tmp_path, capsys):
    net, figures = tmp_path / "a.npz", tmp_path / "a.json"
    assert main(words(data, net, "--json", figures)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "(experimental)" in shown and "4 passes one behind another in the one timestep" in shown
    assert "a reference model, which the engine does not run" in shown and "printed 1,000 times as large" in shown
    found = json.loads(figures.read_text())
    assert (found["passes"], found["experimental"], found["reused"]) == (4, True, False)
    assert found["windows"]["widths"] == [4, 4] and len(found["leaks"]) == 6
    work = found["work"]
    # Two blocks on 8x8 and 4x4, 1 and 4 channels in; the second and fourth layer read 6x6 and 2x2 windows.
    first, second = 64 * (36 + 144 + 144 + 4), 16 * (3 * 144 + 16)
    assert work["macs"] == first + second + 16
    assert work["window_macs"] == work["macs"] + (4 * 36 - 64) * 144
    assert work["first"] == 64 * (36 + 4) and work["updates"] == 4 * (64 + 144 + 64 + 3 * 16)
    assert work["ann_as_printed_uj"] / work["ann_uj"] == pytest.approx(5.5 / 4.6)
    assert found["agreement"]["images"] == 120 and min(found["agreement"]["spikes"]) > 0.9
    whole = WindowNet.load(net)
    archive = np.load(data)
    run = whole.run(archive["images"][:, None].astype(np.int64))
    assert found["agreement"]["integers"] == pytest.approx((run.classes == archive["labels"]).mean())
    assert main(words(data, net, "--json", figures)) == 0
    assert json.loads(figures.read_text())["reused"] and "reused" in capsys.readouterr().err


def test_another_fusion_stays_in_floating_point(data, tmp_path, capsys):
    net = tmp_path / "a.npz"
    assert main(words(data, net, "--fusion", "sum", "--window-groups", "2", "--epochs", "1")) == 0
    assert "only the fusion omega has integers" in capsys.readouterr().out
    assert "blocks.0.conv0.weight" in np.load(net).files


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--window-groups", "3"], "Groups (windows of a timestep) must be 1, 2 or 4, not 3."),
        (["--widths", "4,4,4,4"], "the maps of block 3 are 2 x 2; add --pad 4, or give images whose sides are a "
         "multiple of 16."),
        (["--pad", "1"], "Images of 8 x 8 with a padding of 1 do not divide into windows: the maps of block 1 "
         "are 10 x 10; add --pad 0, or give images whose sides are a multiple of 4."),
        (["--threshold", "nan"], "The threshold must be a positive number, not nan; the paper's is 0.5."),
        (["--threshold", "-0.5"], "The threshold must be a positive number, not -0.5"),
        (["--leak", "1.5"], "The leak must lie in 0..1, not 1.5."),
        (["--network", "mlp"], "--method windows has a network of its own, of --widths; leave --network out."),
        (["--steps", "1"], "--steps is about stages of spiking neurons; add --method one-timestep, or leave it out."),
        (["--data", "gym:CartPole-v1"], "takes images with a class each, which 'gym:CartPole-v1' has not."),
        (["--method", "relu", "--pad", "2"], "--widths is about windows; add --method windows, or leave it out."),
        (["--rate", "1", "--leak", "0"], None),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence_and_leaves_no_network(more, sentence, data, tmp_path, capsys):
    net = tmp_path / "a.npz"
    code = main(words(data, net, *more))
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    if sentence is None:  # as fast as can be, and still numbers
        assert code == 0
        return
    assert code == 2 and sentence in shown
    assert not net.exists()
