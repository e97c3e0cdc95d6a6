# SPDX-License-Identifier: Apache-2.0
"""Outputs with names: what each has of the logits, the file that holds them, and what cannot be one."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest

from command_line import small_net
from onespike.model.errors import OneSpikeError
from onespike.model.network.arrangement import Arrangement
from onespike.model.network.judge import answers_of, judge_of
from onespike.model.network.outputs import Output
from onespike.model.network.spec import Source, SpikeNet

LAST = Arrangement(taken=(2, 2, 3), split=(2, 6), axes=(1, 0))  # channels behind the places
BOXES = Output(name="boxes", channels=2, shape=(6, 2), arrangement=LAST)
MASK = Output(name="mask", channels=1, shape=(1, 2, 3))


def two_outputs():
    """small_net with a map of 2 x 3 places, two of whose three channels are one output, the third another."""
    net = small_net()
    hidden, last = net.layers
    source = Source(tensor=hidden.name, weights=last.sources[0].weights[:, :, :2, :1])
    layers = (hidden, dataclasses.replace(last, sources=(source,)))
    return dataclasses.replace(net, layers=layers, outputs=(BOXES, MASK))


def test_every_output_has_its_own_channels():
    net = two_outputs()
    logits = np.arange(36).reshape(2, 18)
    maps = logits.reshape(2, 3, 2, 3)
    found = net.named(logits)
    assert list(found) == ["boxes", "mask"]
    np.testing.assert_array_equal(found["boxes"], maps[:, :2].transpose(0, 2, 3, 1).reshape(2, 6, 2))
    np.testing.assert_array_equal(found["mask"], maps[:, 2:])
    np.testing.assert_array_equal(dataclasses.replace(net, outputs=()).named(logits)["output"], maps)
    classes = answers_of(net, logits - 20)
    np.testing.assert_array_equal(classes["boxes"], np.ones((2, 2, 3)))
    np.testing.assert_array_equal(classes["mask"], maps[:, 2] >= 20)
    assert {name: part.shape for name, part in net.named(logits[:0]).items()} == {
        "boxes": (0, 6, 2), "mask": (0, 1, 2, 3)
    }  # fmt: skip


def test_a_folded_map():
    """Four places of a map lie in the channels of one place of the last layer."""
    maps = np.arange(2 * 4 * 6).reshape(1, 2, 4, 6)
    channels = np.stack([maps[:, c, dy::2, dx::3] for c in (0, 1) for dy in (0, 1) for dx in (0, 1, 2)], 1)
    output = Output(name="a", channels=2, shape=(2, 4, 6), fold=(2, 3))
    assert output.taken == 12 and channels.shape == (1, 12, 2, 2)
    np.testing.assert_array_equal(output.unfolded(channels), maps)


def test_the_file_holds_them(tmp_path):
    """Version 6, and part of the hash; a network without names keeps its file and its hash."""
    net, plain = two_outputs(), dataclasses.replace(two_outputs(), outputs=())
    for each, version in ((net, 6), (plain, 1)):
        each.save(tmp_path / "net.spike")
        with zipfile.ZipFile(tmp_path / "net.spike") as archive:
            manifest = json.loads(archive.read("manifest.json"))
        again = SpikeNet.load(tmp_path / "net.spike")
        assert manifest["version"] == version and ("outputs" in manifest) == bool(each.outputs)
        assert again.outputs == each.outputs and again.hash == each.hash
    assert net.hash != plain.hash


@pytest.mark.parametrize(
    ("outputs", "sentence"),
    [
        ((BOXES,), "The outputs have 2 channels, but the last layer has 3."),
        ((BOXES, BOXES), "Two outputs have one name: boxes, boxes."),
        (
            (dataclasses.replace(BOXES, shape=(5, 2)), MASK),
            r"The output 'boxes' of 12 values cannot have the shape \(5, 2\).",
        ),
        (
            (BOXES, dataclasses.replace(MASK, arrangement=LAST)),
            r"The output 'mask' of 6 values cannot have the shape \(1, 2, 3\).",
        ),
        (
            (BOXES, dataclasses.replace(MASK, arrangement=Arrangement(taken=(5,), split=(5,), axes=(0,)))),
            r"The output 'mask' of 6 values cannot have the shape \(1, 2, 3\).",
        ),
    ],
)
def test_what_does_not_share_out_the_channels(outputs, sentence):
    with pytest.raises(OneSpikeError, match=f"^{sentence}$"):
        dataclasses.replace(two_outputs(), outputs=outputs)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": ""}, "The name of an output must be a text of printable characters, not ''."),
        ({"channels": 0}, r"The output 'boxes' of 0 channels and \(6, 2\) has no values."),
        ({"shape": (0, 2)}, r"The output 'boxes' of 2 channels and \(0, 2\) has no values."),
        ({"fold": (0, 1)}, r"The output 'boxes' of 2 channels and \(6, 2\) has no values."),
        ({"fold": (1,)}, r"The fold of the output 'boxes' must be 2 integers, not \(1,\)."),
        ({"channels": 1.5}, "The channels of the output 'boxes' must be an integer, not 1.5."),
    ],
)
def test_what_is_no_output(change, sentence):
    with pytest.raises(OneSpikeError, match=f"^{sentence}$"):
        dataclasses.replace(BOXES, **change)


def test_labels_are_about_one_output():
    with pytest.raises(
        OneSpikeError,
        match=r"^The network has 2 outputs \(boxes, mask\), but the labels of 'a' are about one; compare "
        r"net\.named\(net\.golden\(images\)\) with labels for each\.$",
    ):
        judge_of(two_outputs(), np.zeros(3, int), "'a'")
