# SPDX-License-Identifier: Apache-2.0
"""Arrays and tables of one's own: which array is what, what its numbers mean, and one sentence for each bad file."""

import gzip

import numpy as np
import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.network.judge import judge
from onespike.model.network.spec import Image
from onespike.model.training import picture_folders
from onespike.model.training.data import check, in_scale, load

BYTES = np.random.default_rng(3).integers(0, 256, (6, 4, 5), np.uint8)
CLASSES = np.array([0, 1, 2, 2, 1, 0])
NAMES = [
    ("images", "labels"), ("x", "y"), ("X", "Y"), ("data", "target"), ("arr_0", "arr_1"), ("Features", "targets"),
]  # fmt: skip


@pytest.mark.parametrize("images, labels", NAMES)
def test_names_of_one_set(tmp_path, images, labels):
    np.savez(tmp_path / "a.npz", **{"other": np.eye(2), labels: CLASSES[:, None], images: BYTES})
    for split in ("train", "test"):
        data = load(tmp_path / "a.npz", split)
        np.testing.assert_array_equal(np.rint(data.images[:, 0] * 255), BYTES)
        np.testing.assert_array_equal(data.labels, CLASSES)
        assert data.labels.dtype == np.int64 and data.images.dtype == np.float32
        assert not data.native and not data.parted and data.name == "a.npz"


@pytest.mark.parametrize(
    "pattern", ["x_{}|y_{}", "{}_images|{}_labels", "X-{}|y-{}"], ids=["Keras", "MedMNIST", "dashes"]
)
@pytest.mark.parametrize("other", ["test", "val"])
def test_names_of_splits(tmp_path, pattern, other):
    images, labels = pattern.split("|")
    arrays = {images.format("train"): BYTES[:4], labels.format("train"): CLASSES[:4]}
    arrays |= {images.format(other): BYTES[4:], labels.format(other): CLASSES[4:]}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    train, test = load(tmp_path / "a.npz"), load(tmp_path / "a.npz", "test")
    assert (len(train), len(test), train.parted) == (4, 2, True)
    np.testing.assert_array_equal(test.labels, CLASSES[4:])
    np.testing.assert_array_equal(np.rint(test.images[:, 0] * 255), BYTES[4:])
    np.savez(tmp_path / "b.npz", **{images.format(other): BYTES})
    with pytest.raises(OneSpikeError, match=r"b\.npz has no images to train with, but "):
        load(tmp_path / "b.npz")


def test_what_numbers_mean(tmp_path):
    """uint8, uint16 and bool span black to white; all others are what the network takes."""
    image = Image(shape=(1, 4, 5), scale=(0.5,), offset=(-10.0,))
    for name, values in (("a", BYTES), ("b", BYTES.astype(np.uint16) * 257), ("c", BYTES.astype(">u2") * 257)):
        np.save(tmp_path / f"{name}.npy", values)
        data = in_scale(load(tmp_path / f"{name}.npy"), image)
        np.testing.assert_array_equal(image.quantise(data.images)[:, 0], BYTES)
    np.save(tmp_path / "d.npy", BYTES > 127)
    np.testing.assert_array_equal(load(tmp_path / "d.npy").images[:, 0], BYTES > 127)
    for kind in (np.float32, np.float64, ">f4", np.int64):
        np.save(tmp_path / "e.npy", (BYTES // 2).astype(kind))
        data = in_scale(load(tmp_path / "e.npy"), image)
        assert data.native and data.images.dtype == np.float32
        np.testing.assert_array_equal(data.images[:, 0], BYTES // 2)


@pytest.mark.parametrize("most", [None, 2])
@pytest.mark.parametrize(
    "shape, wanted, axes",
    [
        ((6, 4, 5), (1, 4, 5), None),
        ((6, 4, 5, 3), (3, 4, 5), (0, 3, 1, 2)),
        ((6, 4, 5, 1), (1, 4, 5), None),
        ((6, 3, 4, 5), (3, 4, 5), None),
        ((6, 3, 3, 3), (3, 3, 3), None),
        ((6, 4, 5), (4, 1, 5), None),
        ((6, 5, 4), (4, 1, 5), (0, 2, 1)),
        ((6, 60), (3, 4, 5), None),
        ((6, 60), (60, 1, 1), None),
        ((6, 3, 4, 5), (60, 1, 1), None),
    ],
)
def test_order_of_axes(tmp_path, shape, wanted, axes, most):
    images = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    np.save(tmp_path / "a.npy", images)
    expected = (images if axes is None else images.transpose(axes)).reshape(6, *wanted)
    np.testing.assert_array_equal(load(tmp_path / "a.npy", shape=wanted, most=most).images, expected[:most])


def test_more_than_memory_holds(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", BYTES)
    monkeypatch.setattr(picture_folders, "MOST_BYTES", 3 * 4 * 4 * 5)
    assert len(load(tmp_path / "a.npy", most=3)) == 3
    with pytest.raises(OneSpikeError, match=r"^The 4 images of a\.npy take .* GiB of memory, more than .*; take fewer"):
        load(tmp_path / "a.npy", most=4)


def test_other_shapes_stay(tmp_path):
    np.save(tmp_path / "a.npy", BYTES)
    assert load(tmp_path / "a.npy", shape=(1, 8, 8)).images.shape == (6, 1, 4, 5)


def test_one_graph(tmp_path):
    """[nodes, features] and a label for each node, for a network of that many nodes."""
    features = np.random.default_rng(0).random((7, 5))
    np.savez(tmp_path / "a.npz", x=features, y=np.arange(7) % 3)
    data = load(tmp_path / "a.npz", shape=(5, 1, 7), most=1)
    np.testing.assert_array_equal(data.images[0, :, 0], features.T.astype(np.float32))
    assert data.labels.shape == (1, 7)


TABLES = {
    "label last": ("a,b,label\n1,2,0\n3,4.5,1\n", [[1, 2], [3, 4.5]], [0, 1]),
    "named classes": ("Class;a;b\ndog;1;2\ncat;3;4.5\n", [[1, 2], [3, 4.5]], [1, 0]),
    "pandas' index": (",a,b,target\n0,1,2,7\n1,3,4.5,3.0\n", [[1, 2], [3, 4.5]], [7, 3]),
    "no header": ("\ufeff1,2\n3,4.5\n\n", [[1, 2], [3, 4.5]], None),
    "tabs, no label": ('"a"\tb\r\n1\t2\r\n3\t4.5\r\n', [[1, 2], [3, 4.5]], None),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(tmp_path, name):
    text, features, labels = TABLES[name]
    (tmp_path / "a.csv").write_bytes(text.encode())
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    for path in (tmp_path / "a.csv", tmp_path / "a.csv.gz"):
        data = load(path)
        np.testing.assert_array_equal(data.images[:, :, 0, 0], features)
        assert data.native and data.labelled == (labels is not None)
        if labels is not None:
            np.testing.assert_array_equal(data.labels, labels)


@pytest.mark.parametrize("header", ["label,pixel0,pixel1,pixel2,pixel3", "label,1x1,1x2,2x1,2x2"])
def test_tables_of_pixels(tmp_path, header):
    (tmp_path / "a.csv").write_text(f"{header}\n5,0,255,51,102\n")
    data = load(tmp_path / "a.csv", shape=(1, 2, 2))
    np.testing.assert_allclose(data.images[0, 0], [[0, 1], [0.2, 0.4]])
    assert not data.native and data.labels.tolist() == [5]
    (tmp_path / "a.csv").write_text(f"{header}\n5,0,256,51,102\n")
    with pytest.raises(OneSpikeError, match=r"are pixels, which must be whole numbers of 0 \(black\) to 255"):
        load(tmp_path / "a.csv")


BAD_TABLES = {
    "": r"^Cannot read the table .*a\.csv: it is empty\.$",
    "a,label\n": r"it has no rows below its header\.$",
    "label\n1\n": r"it has no features\.$",
    "a,b\n1,2\n1\n": r"line 3 has 1 values, but the first line has 2\.$",
    "1,2\n1,2,3\n": r"line 2 has 3 values, but the first line has 2\.$",
    "a,b\n1,2\n1,?\n": r"'\?' in line 3, column 'b', is no number; call a column of labels 'label'\.$",
    "1,2\n1,\n": r"'' in line 2, column 2, is no number; call",
    "a,label\n,1\n": r"'' in line 2, column 'a', is no number\.$",
    "a,label\n1,\n": r"line 2 has no label\.$",
    "a,label,class\n1,1,1\n": r"its columns 'label' and 'class' could both be the label; rename one of them\.$",
    "a\n1\n1e99\n": r"a\.csv holds NaN, infinite or too large numbers in 1 of 2 images, first in image 1; clean",
    "a,label\n1,nan\n": r"a\.csv has labels that are NaN or infinite; clean the data first\.$",
    "a,b\n" + "1" * 200_000 + ",2\n": r"it does not part its columns \(field larger than field limit",
    "\udcff\udcfe1,2": r"it is no text\.$",
}


@pytest.mark.parametrize("text", BAD_TABLES, ids=range(len(BAD_TABLES)))
def test_bad_tables(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(OneSpikeError, match=BAD_TABLES[text]):
        load(tmp_path / "a.csv")


BAD_ARRAYS = {
    "one axis": ({"images": np.zeros(3)}, r"a\.npz must have the shape \(N, features\), .*, not \(3,\)\.$"),
    "five axes": ({"images": np.zeros((1, 1, 1, 1, 1))}, r"none of them 0, not \(1, 1, 1, 1, 1\)\.$"),
    "no images": ({"images": np.zeros((0, 4, 5))}, r"none of them 0, not \(0, 4, 5\)\.$"),
    "fewer labels": ({"images": BYTES, "labels": CLASSES[:5]}, r"a\.npz has 6 images but 5 labels\.$"),
    "one label": ({"images": BYTES, "labels": np.array(1)}, r"a\.npz has 6 images but no labels\.$"),
    "NaN": ({"images": np.full((2, 3), np.nan)}, r"holds NaN, infinite or too large numbers in 2 of 2 images, first"),
    "text": ({"images": BYTES, "labels": np.array(["a"] * 6)}, r"labels: it holds values of type <U1, not numbers; w"),
    "pickles": ({"images": np.array([{}])}, r"images: it holds values of type object, not numbers; write"),
    "complex": ({"images": np.zeros((2, 2), complex)}, r"it holds values of type complex128, not numbers; write"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays(tmp_path, name):
    arrays, sentence = BAD_ARRAYS[name]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(OneSpikeError, match=sentence):
        load(tmp_path / "a.npz")


def test_truncated_everywhere(tmp_path):
    np.savez_compressed(tmp_path / "whole.npz", images=BYTES, labels=CLASSES)
    data = (tmp_path / "whole.npz").read_bytes()
    for size in range(0, len(data), 7):
        (tmp_path / "a.npz").write_bytes(data[:size])
        with pytest.raises(OneSpikeError, match=r"^(Cannot read the images in|The images in) .*a\.npz"):
            load(tmp_path / "a.npz")
    for source in ("b.npz", "b.npy", "b.csv"):
        for read in (load, check):
            with pytest.raises(OneSpikeError, match=rf"^Cannot read .*{source}: No such file or directory\.$"):
                read(tmp_path / source)


def test_labels_that_are_no_classes(tmp_path):
    np.savez(tmp_path / "a.npz", x=BYTES, y=CLASSES + 0.5)
    with pytest.raises(OneSpikeError, match=r"^The labels of 'a\.npz' are float64, not classes"):
        judge((3, 1, 1), load(tmp_path / "a.npz").labels, "'a.npz'")
    np.savez(tmp_path / "a.npz", x=BYTES, y=np.eye(3)[CLASSES])  # one-hot, as floats
    np.testing.assert_array_equal(judge((3, 1, 1), load(tmp_path / "a.npz").labels).labels, CLASSES)
    np.save(tmp_path / "a.npy", BYTES)
    with pytest.raises(OneSpikeError, match=r"^'a\.npy' holds images without labels; give labels, too, as a \.npz"):
        judge((3, 1, 1), load(tmp_path / "a.npy").labels, "'a.npy'")


def test_ice_takes_pictures_only(tmp_path):
    np.save(tmp_path / "a.npy", BYTES)
    assert load(f"ice1:{tmp_path / 'a.npy'}").images.shape == (6, 6, 4, 5)
    np.save(tmp_path / "a.npy", BYTES / 255)
    with pytest.raises(OneSpikeError, match=r"^ice1: expands pictures, black to white, but a\.npy holds other numbers"):
        load(f"ice1:{tmp_path / 'a.npy'}")
