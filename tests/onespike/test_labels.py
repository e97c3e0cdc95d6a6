# SPDX-License-Identifier: Apache-2.0
"""Names of classes, from data over the network's file to an answer."""

import dataclasses

import numpy as np
import pytest
from PIL import Image as Picture

from command_line import small_net
from onespike.labels import class_names, said
from onespike.model.errors import OneSpikeError
from onespike.model.network.spec import SpikeNet
from onespike.model.training.data import CIFAR_CLASSES, load

NAMES = ("ant", "bee", "fly")


def test_names_of_a_network(tmp_path):
    net = small_net()
    assert class_names(net) == ()
    named = dataclasses.replace(net, meta={"class_names": list(NAMES)})
    named.save(tmp_path / "named.spike")
    assert class_names(SpikeNet.load(tmp_path / "named.spike")) == NAMES
    for wrong in (["ant"], "ant", [1, 2, 3], None):
        assert class_names(dataclasses.replace(net, meta={"class_names": wrong})) == ()
    (tmp_path / "names.txt").write_text("x\ny y\nz\n\n")
    assert class_names(named, tmp_path / "names.txt") == ("x", "y y", "z")


@pytest.mark.parametrize("text", ["x\ny\n", "x\ny\nz\nw\n", "x\n\nz\n", "", "x\ny\n\x1b[1m\n"])
def test_files_that_do_not_fit(tmp_path, text):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(OneSpikeError, match=r"names.txt must name the 3 classes of the network, a printable name "):
        class_names(small_net(), tmp_path / "names.txt")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(OneSpikeError, match=r"^Cannot read .*none.txt: No such file or directory"):
        class_names(small_net(), tmp_path / "none.txt")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OneSpikeError, match=r"^Cannot read the names in .*bytes: .*; give a text file, a name a line"):
        class_names(small_net(), tmp_path / "bytes")


def test_what_is_said():
    assert said(np.array(1), ()) == "class 1" and said(np.array(1), NAMES) == "class 1 (bee)"
    assert said(np.array([[0, 2]]), NAMES) == "classes 0 (ant) 2 (fly)"


def test_names_of_data(tmp_path):
    for name in ("dog", "cat"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        Picture.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "pets" / name / "1.png")
    assert load(tmp_path / "pets").class_names == ("cat", "dog")
    (tmp_path / "cifar").mkdir()
    np.zeros(3073, np.uint8).tofile(tmp_path / "cifar" / "test_batch.bin")
    assert load(tmp_path / "cifar", "test").class_names == CIFAR_CLASSES and len(CIFAR_CLASSES) == 10
    assert load(tmp_path / "cifar", "test")[:1].class_names == CIFAR_CLASSES
