# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures: classes by name, dealt in turn, only as many read as are asked for."""

from pathlib import Path

import numpy as np
import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.training import picture_folders
from onespike.model.training.data import check, load

Pillow = pytest.importorskip("PIL.Image")


def save(path: Path, pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.asarray(pixels, np.uint8)).save(path)


def grey(value: int) -> np.ndarray:
    return np.full((4, 5), value)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two of class 0 (ant), three of class 1 (bee), one of class 2 (cow)."""
    for name, value in (("bee/b.png", 3), ("ant/2.png", 2), ("cow/x.bmp", 6), ("bee/a.png", 1), ("ant/1.png", 0)):
        save(tmp_path / "set" / name, grey(value))
    save(tmp_path / "set/bee/c.PNG", grey(5))
    (tmp_path / "set/bee/Thumbs.db").write_bytes(b"x")
    (tmp_path / "set/.hidden").mkdir()
    return tmp_path / "set"


def values(data) -> list[int]:
    return np.rint(data.images[:, 0, 0, 0] * 255).astype(int).tolist()


def test_classes_are_dealt_in_turn(folder):
    data = load(folder)
    assert data.images.shape == (6, 1, 4, 5) and data.images.dtype == np.float32
    assert values(data) == [0, 1, 6, 2, 3, 5] and data.labels.tolist() == [0, 1, 2, 0, 1, 1]
    assert (data.name, data.native, data.parted) == ("set", False, False)
    assert values(load(folder, "test")) == values(data)


def test_no_more_is_read_than_asked_for(folder):
    (folder / "bee/c.PNG").write_bytes(b"no picture")
    assert load(folder, most=5).labels.tolist() == [0, 1, 2, 0, 1]
    check(folder)
    with pytest.raises(OneSpikeError, match=r"c\.PNG is no picture; give"):
        load(folder)


def test_splits_have_the_same_classes(folder, tmp_path):
    folder.rename(tmp_path / "train")
    save(tmp_path / "val/cow/1.png", grey(9))
    train, test = load(tmp_path), load(tmp_path, "test")
    assert train.parted and train.labels.tolist() == [0, 1, 2, 0, 1, 1]
    assert test.labels.tolist() == [2] and values(test) == [9]
    save(tmp_path / "test/ant/1.png", grey(8))
    assert values(load(tmp_path, "test")) == [8]  # rather than val


def test_colour_and_grey(folder):
    save(folder / "cow/y.png", np.full((4, 5, 3), (255, 0, 0)))
    assert load(folder).images.shape == (7, 3, 4, 5)  # one in colour: all are
    red = load(folder, shape=(1, 4, 5)).images[5, 0, 0, 0]
    assert round(255 * red) == 76  # ITU-R 601
    np.testing.assert_array_equal(load(folder, shape=(60, 1, 1)).images, load(folder).images.reshape(7, 60, 1, 1))


def test_16_bits(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        Pillow.fromarray(np.full((2, 2), 13107, np.uint16)).save(tmp_path / name / "1.png")
    np.testing.assert_allclose(load(tmp_path).images, 0.2)


def test_without_classes(folder):
    data = load(folder / "bee")
    assert values(data) == [1, 3, 5] and not data.labelled


def test_bad_folders(folder, tmp_path, monkeypatch):
    def says(sentence: str, source: Path = folder, **options) -> None:
        with pytest.raises(OneSpikeError, match=sentence):
            load(source, **options)

    says(r"1\.png holds images of 1 x 4 x 5, but the network takes 1 x 8 x 8 \(.*; scale them", shape=(1, 8, 8))
    save(folder / "cow/y.png", grey(1)[:3])
    says(r"y\.png holds images of 1 x 3 x 5, but 1\.png is one of 1 x 4 x 5 \(channels")
    (folder / "cow/y.png").write_bytes((folder / "ant/1.png").read_bytes()[:-20])
    says(r"^Cannot read the picture .*y\.png: it is damaged")
    (folder / "cow/y.png").unlink()
    monkeypatch.setattr(picture_folders, "MOST_BYTES", 479)
    says(r"^The 6 images of set take .* GiB of memory, more than .*; take fewer, with --images, --cal")
    assert len(load(folder, most=5)) == 5
    (folder / "dog").mkdir()
    says(r"^The class folder .*dog holds no pictures \(png, jpg, .*\); fill it or remove it\.$")
    save(folder / "1.png", grey(1))
    says(r"^The data folder .*set has pictures beside the sub-folders 'ant', 'bee', 'cow', 'dog'; move them")
    save(tmp_path / "one/ant/1.png", grey(1))
    says(r"one has one class only, 'ant'; give a folder with a sub-folder for each class, or .*ant", tmp_path / "one")
    save(tmp_path / "part/train/a/1.png", grey(1))
    says(r"part has no sub-folder 'test', but 'train'; give", tmp_path / "part", split="test")
    (tmp_path / "none/a").mkdir(parents=True)
    says(r"none is empty\.$", tmp_path / "none")


def test_without_pillow(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OneSpikeError, match=r"^The pictures in set need Pillow; run `pip install onespike\[host\]`\.$"):
        load(folder)
