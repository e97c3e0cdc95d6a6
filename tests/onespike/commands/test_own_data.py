# SPDX-License-Identifier: Apache-2.0
"""Commands on data of one's own: the same images in every form give the same network and the same figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from command_line import ENGINE, fails
from idx_files import idx
from onespike.cli import main
from onespike.model.network.judge import judge
from onespike.model.network.spec import Image, SpikeNet
from onespike.model.training.data import in_scale, load
from onespike.model.training.networks import build

Pillow = pytest.importorskip("PIL.Image")
CLASSES = np.arange(30) % 10  # in the order in which a folder of pictures deals them


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Weights of an MLP for 8x8 pixels, and 30 pictures, three of each class, in every form."""
    folder = tmp_path_factory.mktemp("own")
    np.savez(folder / "weights.npz", **{key: value.numpy() for key, value in build("mlp64").state_dict().items()})
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
    (folder / "idx").mkdir()
    for split in ("train", "t10k"):
        (folder / "idx" / f"{split}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / "idx" / f"{split}-labels-idx1-ubyte").write_bytes(idx(CLASSES))
    np.savez(folder / "a.npz", images=images, labels=CLASSES)
    np.savez(folder / "last.npz", x_train=images[..., None], y_train=CLASSES, x_test=images[..., None], y_test=CLASSES)
    np.savez(folder / "floats.npz", data=images.reshape(30, 64) / np.float32(255), target=np.eye(10)[CLASSES])
    np.save(folder / "a.npy", images)
    header = ",".join(["label", *(f"pixel{place}" for place in range(64))])
    rows = np.column_stack([CLASSES, images.reshape(30, 64)])
    np.savetxt(folder / "a.csv", rows, "%d", ",", header=header, comments="")
    np.savetxt(folder / "bare.csv", rows, "%d", ",")
    for place, image in enumerate(images):
        path = folder / "pictures" / str(CLASSES[place]) / f"{place:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(image).save(path)
    return folder


def convert(made, source: str, *more: object, output: str = "net") -> SpikeNet:
    path = made / f"{output}.spike"
    words = ["convert", made / "weights.npz", "--network", "mlp64", "--calibration", made / source, "-o", path, *more]
    assert main([str(word) for word in words]) == 0
    return SpikeNet.load(path)


def figures(made, *words: object) -> dict:
    path = made / "figures.json"
    assert main([str(word) for word in (*words, "--json", path)]) == 0
    return json.loads(path.read_text())


@pytest.mark.parametrize("form", ["a.npz", "last.npz", "floats.npz", "a.csv", "pictures", "a.npy"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_form_holds_the_same(made, form, split):
    image = Image(shape=(1, 8, 8))
    wanted, found = (in_scale(load(made / source, split, image.shape), image) for source in ("idx", form))
    np.testing.assert_array_equal(image.quantise(found.images), image.quantise(wanted.images))
    np.testing.assert_array_equal(load(made / form, split, (64, 1, 1)).images.reshape(30, 1, 8, 8), found.images)
    if form != "a.npy":
        np.testing.assert_array_equal(judge((10, 1, 1), found.labels).labels, wanted.labels)


def test_networks_and_figures_are_the_same(made, capsys):
    wanted = convert(made, "idx", "--calibration-images", "20", output="idx")
    assert convert(made, "floats.npz", "--calibration-images", "20").hash == wanted.hash
    words = ("eval", made / "idx.spike", "--images", "25", "--data")
    right = figures(made, *words, made / "idx")["accuracy"]
    assert right["images"] == 25 and right == figures(made, *words, made / "pictures")["accuracy"]
    capsys.readouterr()
    sentence = (
        "'a.npy' holds images without labels; give labels, too, as a .npz file of images and labels or a folder of "
        "pictures by class does."
    )
    fails(capsys, sentence, *words, made / "a.npy")
    reports = [
        figures(made, "report", made / "idx.spike", *ENGINE, "--images", "3", "--data", made / source)
        for source in ("idx", "a.npy")
    ]
    assert reports[0]["cycles"] == reports[1]["cycles"] and reports[1]["accuracy"]["golden"] is None


def test_fine_tuning_with_a_limit(made):
    """The first N images are the whole data: as of a file that has no more."""
    images = np.load(made / "a.npz")["images"]
    np.savez(made / "few.npz", images=images[:20], labels=CLASSES[:20])
    tuned = ("--finetune", "1", "--batch", "10")
    wanted = convert(made, "few.npz", *tuned)
    limited = convert(made, "pictures", *tuned, "--limit", "20", "--json", made / "figures.json")
    assert limited.hash == wanted.hash
    assert json.loads((made / "figures.json").read_text())["finetune_images"] == 20
    assert convert(made, "a.npz", *tuned).hash != wanted.hash


def test_training(made, capsys):
    words = ("train", "--network", "mlp64", "--epochs", "1", "-o", made / "model.pt2", "--data")
    alone = figures(made, *words, made / "a.npz", "--limit", "20")
    assert alone["accuracy"]["seen"] and alone["accuracy"]["images"] == 20
    assert "images that it was trained on, as there are no others: give --test DATA" in capsys.readouterr().out
    hot = figures(made, *words, made / "floats.npz", "--limit", "20")  # one-hot labels
    assert hot["reused"] and hot["accuracy"] == alone["accuracy"]
    apart = figures(made, *words, made / "pictures", "--limit", "20", "--test", made / "a.csv")
    assert apart["reused"] and apart["accuracy"]["images"] == 30 and "seen" not in apart["accuracy"]
    assert "seen" not in figures(made, *words, made / "last.npz")["accuracy"]


def test_pictures_are_not_overwritten(made, capsys):
    picture = next((made / "pictures").rglob("*.png"))
    before = picture.read_bytes()
    sentence = f"--json {picture} would overwrite {picture}, which is read; name another file."
    fails(capsys, sentence, "eval", made / "a.spike", "--data", made / "pictures", "--json", picture)
    sentence = f"--output {picture} would overwrite {picture}, which is read; name another file."
    fails(capsys, sentence, "train", "--data", "digits", "--test", made / "pictures", "-o", picture)
    assert picture.read_bytes() == before


def test_mistakes(made, capsys):
    source = ("convert", made / "weights.npz", "--network", "mlp64", "-o", made / "x.spike", "--calibration")
    fails(capsys, f"Cannot read {made / 'no.npz'}: No such file or directory.", *source, made / "no.npz")
    shape = "have the shape (65, 1, 1), but the network takes (1, 8, 8); give"
    named = "with a header in which the column of the labels is called 'label'."
    sentence = f"The images of 'bare.csv' {shape} images like those that it was trained on, {named}"
    fails(capsys, sentence, *source, made / "bare.csv")
    convert(made, "a.npz", output="other")
    capsys.readouterr()
    sentence = f"The images of 'bare.csv' {shape} it the data that it was trained on, {named}"
    fails(capsys, sentence, "eval", made / "other.spike", "--data", made / "bare.csv")
    fails(
        capsys, "--limit says how many images fine-tuning takes; give --finetune EPOCHS as well, or "
        "--calibration-images.", *source, made / "a.npz", "--limit", "5",
    )  # fmt: skip
    images = np.load(made / "a.npz")["images"]
    order = np.argsort(CLASSES, kind="stable")
    np.savez(made / "sorted.npz", x=images, y=CLASSES[order])
    sentence = "The first 3 images of 'sorted.npz' are all of one class: shuffle the data, or raise --limit."
    fails(capsys, sentence, *source, made / "sorted.npz", "--finetune", "1", "--limit", "3")
    train = ("train", "--network", "mlp64", "-o", made / "x.pt2", "--data")
    fails(capsys, sentence, *train, made / "sorted.npz", "--limit", "3")
    np.savez(made / "far.npz", x=images, y=CLASSES + 1)
    sentence = (
        "The network has 10 outputs, which tell classes 0..9 apart, but the labels of 'far.npz' range from 1 to 10; "
        "give data with the classes that it was trained on."
    )
    fails(capsys, sentence, *train, made / "far.npz")
    fails(capsys, sentence, *source, made / "far.npz", "--finetune", "1")
    fails(capsys, sentence, "eval", made / "other.spike", "--data", made / "far.npz")
    np.savez(made / "many.npz", x=images, y=np.ones((30, 10), int))
    sentence = "'many.npz' has several labels of an image; training takes one class for each."
    fails(capsys, sentence, *train, made / "many.npz")
    fails(capsys, sentence, *source, made / "many.npz", "--finetune", "1")
    small, sides = made / "small.npz", "(1, 7, 7), but those that are trained on (1, 8, 8)"
    np.savez(small, x=images[:, 1:, 1:], y=CLASSES)
    sentence = f"The images of 'small.npz' have the shape {sides}; give --test images of the same shape."
    fails(capsys, sentence, *train, made / "a.npz", "--test", small)
    sentence = "--limit and --test are for images; leave them out for 'gcn': nodes are one graph."
    fails(capsys, sentence, "train", "--network", "gcn", "--data", "graph", "-o", made / "x.pt2", "--limit", "5")
    np.save(made / "bytes.npy", images.astype(np.float32))
    sentence = (
        "The calibration data ranges from 0 to 255, but the network's pixels range from 0 to 1; give input_range, mean "
        "and std as in training."
    )
    assert main([*map(str, source), str(made / "bytes.npy")]) == 2
    assert capsys.readouterr().err.endswith(f"onespike: {sentence}\n")
    sentence = "'a.csv' has 30 images, fewer than 31."
    fails(capsys, sentence, "eval", made / "other.spike", "--images", "31", "--data", made / "a.csv")
    assert not (made / "x.spike").exists() and not (made / "x.pt2").exists()
