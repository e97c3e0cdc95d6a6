# SPDX-License-Identifier: Apache-2.0
"""`onespike convert` and `eval` from weights in a .npz file: raw pixels, groups by sensitivity, fine-tuning, layers."""

import json

import numpy as np
import pytest

from command_line import fails
from onespike.cli import main
from onespike.model.network.spec import SpikeNet
from onespike.model.training.networks import build


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Weights of an MLP for pixels of 0..255, and a folder of 28x28 pictures in two splits."""
    folder = tmp_path_factory.mktemp("convert")
    state = {key: value.numpy() for key, value in build("mlp").state_dict().items()}
    state["1.weight"] = state["1.weight"] / 255
    np.savez(folder / "weights.npz", **state)
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for split, number in (("train", 60), ("t10k", 30)):
        pictures = rng.integers(0, 256, (number, 7, 7)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
        labels = rng.integers(0, 10, number).astype(np.uint8)
        for name, array in ((f"{split}-images-idx3-ubyte", pictures), (f"{split}-labels-idx1-ubyte", labels)):
            header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            (folder / "images" / name).write_bytes(header + array.tobytes())
    return folder


def command(folder, *more):
    arguments = ["convert", folder / "weights.npz", "--calibration", folder / "images", "-o", folder / "net.spike"]
    return [str(argument) for argument in (*arguments, *more)]


def test_from_weights_to_figures_of_every_layer(capsys, made):
    assert (
        main(command(made, "--network", "mlp", "--input-range", "0", "255", "--groups", "auto", "--budget", "6")) == 0
    )
    net = SpikeNet.load(made / "net.spike")
    assert net.image.scale == (1.0,) and net.image.offset == (0.0,)
    assert 1 < net.layers[0].groups < 8
    capsys.readouterr()
    arguments = ["eval", made / "net.spike", "--data", made / "images", "--json", made / "eval.json"]
    arguments += ["--model", made / "weights.npz", "--network", "mlp"]
    assert main([str(argument) for argument in arguments]) == 0
    found = json.loads((made / "eval.json").read_text())
    assert set(found["accuracy"]) == {"golden", "float", "quantised", "images"}
    first, last = found["layers"]["layers"]
    assert first["groups"] == net.layers[0].groups and 0 < first["zero"] < 1 and 0 < first["error"] < 0.1
    assert "zero" not in last and last["upto"] == found["accuracy"]["golden"]
    assert last["alone"] == found["accuracy"]["float"]
    assert "clamp-quantised" in capsys.readouterr().out


def test_fine_tuning(made):
    options = ("--network", "mlp", "--input-range", "0", "255")
    assert main(command(made, *options)) == 0
    before = SpikeNet.load(made / "net.spike").hash
    tuning = ("--finetune", "1", "--rate", "1e-3", "--shift", "0", "--flip", "--distil", "1", "--temperature", "4")
    assert main(command(made, *options, *tuning)) == 0
    after = SpikeNet.load(made / "net.spike").hash
    assert after != before
    assert main(command(made, *options, *tuning)) == 0
    assert SpikeNet.load(made / "net.spike").hash == after
    priced = (*tuning, "--events", "10", "--json", str(made / "priced.json"))
    assert main(command(made, *options, *priced)) == 0
    assert SpikeNet.load(made / "net.spike").hash != after
    assert 0 < json.loads((made / "priced.json").read_text())["events_per_mac"] < 3


def test_row_pruning(capsys, made):
    """Half of the rows of the hidden layer, which reads the image as a whole; the engine's lanes stay in the file."""
    options = ("--network", "mlp", "--input-range", "0", "255", "--finetune", "1", "--shift", "0")
    pruning = ("--prune-rows", "0.5", "--prune-lanes", "32", "--json", str(made / "pruned.json"))
    assert main(command(made, *options, *pruning)) == 0
    net = SpikeNet.load(made / "net.spike")
    assert net.meta == {"prune_rows": 0.5, "prune_lanes": 32}
    hidden = net.layers[0].sources[0].weights
    rows = int(hidden.reshape(4, 32, -1).any(1).sum())
    found = json.loads((made / "pruned.json").read_text())["rows"]
    assert found["lanes"] == 32 and found["all"] == 4 * 784 + 128 and rows <= found["left"] - 128
    assert 0.3 < found["share_left"] < 0.7 and 0.3 < found["events_left"] < 0.7
    printed = f"{found['left']} of {found['all']} rows of 32 weights are left ({100 * found['share_left']:.1f} %), with"
    assert printed in capsys.readouterr().out.replace("\n", " ")


def test_training_in_float(capsys, made):
    """It prunes, with fine-tuning behind it or alone; the accuracy beside ours is that of the network as it came."""
    options = ("--network", "mlp", "--input-range", "0", "255", "--shift", "0", "--json", str(made / "float.json"))
    assert main(command(made, *options)) == 0
    whole = json.loads((made / "float.json").read_text())
    pruning = ("--float-epochs", "2", "--prune-rows", "0.5", "--prune-lanes", "32")
    assert main(command(made, *options, *pruning)) == 0
    found, net = json.loads((made / "float.json").read_text()), SpikeNet.load(made / "net.spike")
    assert "Training in float on 60 images (epochs: 2)" in capsys.readouterr().err
    assert net.meta == {"prune_rows": 0.5, "prune_lanes": 32}
    assert 0.3 < found["rows"]["share_left"] < 0.7 and found["float_seconds"] > 0 and "finetune_seconds" not in found
    assert found["accuracy"]["float"] == whole["accuracy"]["float"]
    assert main(command(made, *options, *pruning, "--finetune", "1")) == 0
    tuned, after = json.loads((made / "float.json").read_text()), SpikeNet.load(made / "net.spike")
    assert after.meta == net.meta and after.hash != net.hash
    assert tuned["rows"]["left"] == found["rows"]["left"] and tuned["finetune_seconds"] > 0
    assert main(command(made, *options, *pruning, "--float-rate", "1e-4")) == 0
    assert SpikeNet.load(made / "net.spike").hash != net.hash


def test_mistakes(capsys, made):
    weights = made / "weights.npz"
    fails(
        capsys,
        f"{weights} holds weights alone; name the network that they are for with --network.",
        *command(made),
    )
    alone = "--events prices the events of fine-tuning; give --finetune EPOCHS as well."
    fails(capsys, alone, *command(made), "--events", "1")
    alone = "--prune-rows needs training to make up for the rows; give --finetune EPOCHS, --float-epochs N, or both."
    fails(capsys, alone, *command(made), "--prune-rows", "0.5")
    alone = "--float-rate is for the epochs in float; give --float-epochs N as well."
    fails(capsys, alone, *command(made), "--finetune", "1", "--float-rate", "0.01")
    alone = "--prune-lanes says what a row of --prune-rows is; give --prune-rows SHARE as well."
    fails(capsys, alone, *command(made), "--finetune", "1", "--prune-lanes", "32")
    np.save(made / "plain.npy", np.zeros((4, 1, 28, 28), np.float32))
    fails(
        capsys,
        f"Fine-tuning needs labels, which {made / 'plain.npy'} has not; give a data folder or a .npz file with "
        "labels.",
        "convert", weights, "--calibration", made / "plain.npy", "--finetune", "1", "-o", made / "x.spike",
    )  # fmt: skip
    fails(
        capsys,
        "Fine-tuning needs training data; give --calibration.",
        "convert", weights, "--float-epochs", "1", "-o", made / "x.spike",
    )  # fmt: skip
    assert not (made / "x.spike").exists()


def test_ends_with_accuracy_and_the_next_command(capsys, made):
    """On the test split of the calibration data, on --test, or with the reason why there is none."""
    options = ("--network", "mlp", "--input-range", "0", "255", "--json", str(made / "convert.json"))
    assert main(command(made, *options)) == 0
    said, found = capsys.readouterr().out, json.loads((made / "convert.json").read_text())["accuracy"]
    net, weights = made / "net.spike", ["--model", made / "weights.npz", "--network", "mlp"]
    evaluation = ["eval", net, "--data", made / "images", "--json", made / "eval.json", *weights]
    assert main([str(argument) for argument in evaluation]) == 0
    wanted = json.loads((made / "eval.json").read_text())["accuracy"]
    assert found == {name: wanted[name] for name in ("golden", "float", "images")} and found["images"] == 30
    assert f"% of 30 images (images, test); {100 * found['float']:.2f} % in floating point" in said
    assert f"next       onespike simulate {net} --data {made / 'images'}" in said
    rng = np.random.default_rng(1)
    np.savez(made / "own.npz", images=rng.integers(0, 256, (20, 28, 28), np.uint8), labels=rng.integers(0, 10, 20))
    np.save(made / "plain.npy", rng.integers(0, 256, (20, 28, 28), np.uint8))
    capsys.readouterr()
    assert main(command(made, *options, "--test", str(made / "own.npz"))) == 0
    assert json.loads((made / "convert.json").read_text())["accuracy"]["images"] == 20
    assert "% of 20 images (own.npz); " in capsys.readouterr().out
    plain = [*command(made, *options)[:3], str(made / "plain.npy"), *command(made, *options)[4:]]
    assert main(plain) == 0
    assert "not measured: give --test DATA, labelled images that it has not seen" in capsys.readouterr().out
    assert "accuracy" not in json.loads((made / "convert.json").read_text())


def test_data_to_judge_on_must_be_there(capsys, made):
    (made / "net.spike").unlink(missing_ok=True)
    said = (
        f"There is no data set {str(made / 'nowhere')!r}: give 'digits' or a folder of IDX or CIFAR-10 files, 'graph' "
        f"or a folder of a citation network's files, a .npz, .npy or .csv file, or a folder of pictures by class."
    )
    fails(capsys, said, *command(made, "--network", "mlp", "--test", str(made / "nowhere")))
    assert not (made / "net.spike").exists()
