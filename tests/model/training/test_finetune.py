# SPDX-License-Identifier: Apache-2.0
"""Training and clamp-and-quantise training: reproducible, and the integers equal what was trained."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from onespike.model.convert.converter import prepare
from onespike.model.convert.evaluate import evaluate
from onespike.model.errors import OneSpikeError
from onespike.model.training.clamped import ClampQuantised, FloatGraph, quick
from onespike.model.training.data import Dataset
from onespike.model.training.finetune import finetune
from onespike.model.training.networks import IMAGES, NETWORKS, build, load_npz
from onespike.model.training.train import Training, accuracy, augment, train, train_or_load

pytestmark = pytest.mark.usefixtures("one_thread")


class Small(nn.Module):
    """Padding of a normalised image, an identity shortcut, ReLU6, both pools: what fine-tuning must reproduce."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.c = nn.BatchNorm2d(6), nn.Linear(6 * 4, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu6(self.a((x - 0.5) / 0.25)), 2)
        x = F.relu(self.norm(self.b(x)) + x)
        return self.c(F.avg_pool2d(x, 2).flatten(1))


def quadrants(number, seed):
    """Four classes: which corner of a noisy 8x8 picture is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, number)
    images = rng.random((number, 1, 8, 8)) * 0.85
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 0.15
    return Dataset(name="quadrants", images=images.astype(np.float32), labels=labels)


QUICK = Training(epochs=6, batch=50, shift=0)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    return train(Small(), quadrants(600, 0), QUICK, progress=False)


def test_training_learns(trained):
    assert accuracy(trained, quadrants(300, 1)) > 0.85


@pytest.mark.parametrize("rounding", ["nearest", "floor"])
def test_training_network_equals_the_integers(trained, rounding):
    """The torch network of fine-tuning computes the golden model's integers, before and after training."""
    data = quadrants(200, 2)
    conversion = prepare(trained, None, data.images, groups=6, rounding=rounding)
    for state in (conversion, finetune(conversion, data, epochs=1, batch=50, shift=0, progress=False)):
        with torch.no_grad():
            wanted = ClampQuantised(state)(torch.from_numpy(data.images)).numpy() / state.net.layers[-1].step
        found = state.net.golden(data.images)
        np.testing.assert_array_equal(np.rint(wanted), found)
        np.testing.assert_allclose(wanted, found, atol=0.01, rtol=1e-5)
    # Nothing is lost between module, graph and result.
    again = ClampQuantised(conversion).result()
    np.testing.assert_allclose(
        again.graph.nodes[0].terms[0].weights, conversion.graph.nodes[0].terms[0].weights, rtol=1e-6
    )
    wanted = torch.from_numpy(conversion.original.run(data.images)).float()
    for kind, error in ((torch.float32, 1e-4), (torch.bfloat16, 0.02)):
        answers = FloatGraph(conversion, kind)(torch.from_numpy(data.images))
        assert answers.dtype == torch.float32
        torch.testing.assert_close(answers, wanted, rtol=0, atol=error * float(wanted.abs().max()))


def test_the_teacher_answers_in_bfloat16_where_the_processor_has_it(monkeypatch):
    assert quick() in (torch.bfloat16, torch.float32)
    known = [{"avx512_bf16": True}, {"avx512_bf16": False}, {}]
    for has, kind in zip(known, (torch.bfloat16, torch.float32, torch.float32), strict=True):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: has)
        assert quick() == kind


def test_gradient_is_one_inside_the_clamp_and_zero_outside(trained):
    data = quadrants(50, 3)
    model = ClampQuantised(prepare(trained, None, data.images, groups=2))
    model(torch.from_numpy(data.images)).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name


def test_finetuning_helps_and_is_reproducible(trained):
    data, held_out = quadrants(600, 0), quadrants(300, 1)
    conversion = prepare(trained, None, data.images, groups=2, weight_bits=2, refit=False)
    before = (conversion.net.golden(held_out.images).argmax(1) == held_out.labels).mean()
    runs = [finetune(conversion, data, epochs=4, batch=50, shift=0, rate=1e-2, progress=False) for _ in range(2)]
    after = (runs[0].net.golden(held_out.images).argmax(1) == held_out.labels).mean()
    assert after > before + 0.03
    assert runs[0].net.hash == runs[1].net.hash != conversion.net.hash
    other = finetune(conversion, data, epochs=1, batch=50, shift=0, seed=1, progress=False)
    assert other.net.hash != runs[0].net.hash


def test_finetuning_from_a_module(trained):
    data = quadrants(100, 0)
    result = finetune(trained, data, epochs=1, batch=50, shift=0, distil=0.0, groups=4, progress=False)
    assert {layer.groups for layer in result.net.layers} == {4, 0}


def test_bad_settings(trained):
    data = quadrants(60, 0)
    conversion = prepare(trained, None, data.images)
    with pytest.raises(OneSpikeError, match=r"^'groups' is fixed by the conversion already; leave it out\.$"):
        finetune(conversion, data, groups=4)
    for name, near in (("epoch", "epochs"), ("group", "groups"), ("prune_row", "prune_rows")):
        with pytest.raises(OneSpikeError, match=rf"^finetune takes no argument '{name}'; did you mean {near}\?$"):
            finetune(conversion, data, **{name: 4})
    with pytest.raises(OneSpikeError, match=r"^distil must lie in 0\.\.1, not 2\.$"):
        finetune(conversion, data, distil=2)
    with pytest.raises(OneSpikeError, match=r"^temperature must be positive, not 0\.$"):
        finetune(conversion, data, temperature=0)
    with pytest.raises(OneSpikeError, match=r"^Mixed images have no labels: mix needs distil = 1, not 0\.5\.$"):
        finetune(conversion, data, mix=0.5)
    with pytest.raises(OneSpikeError, match=r"^mix must lie in 0\.\.1, not 2\.$"):
        finetune(conversion, data, mix=2, distil=1.0)
    with pytest.raises(OneSpikeError, match=r"^The data set quadrants is empty\.$"):
        finetune(conversion, data[:0])
    with pytest.raises(OneSpikeError, match=r"^The data set quadrants is empty\.$"):
        train(Small(), data[:0], QUICK)
    with pytest.raises(OneSpikeError, match=r"^Epochs must be at least 1"):
        Training(epochs=0)


def test_cache_is_keyed_by_settings_and_data(tmp_path):
    data = Dataset(
        name="noise", images=np.random.default_rng(0).random((40, 1, 28, 28), np.float32), labels=np.arange(40) % 10
    )
    settings = Training(epochs=1, batch=20)
    first, cached = train_or_load("mlp", data, settings, tmp_path, progress=False)
    assert not cached
    again, cached = train_or_load("mlp", data, settings, tmp_path, progress=False)
    assert cached
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    assert not train_or_load("mlp", data, Training(epochs=1, batch=20, seed=1), tmp_path, progress=False)[1]
    assert not train_or_load("mlp", data[:20], settings, tmp_path, progress=False)[1]
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:200])  # damaged: trained again, to the same weights
    third, cached = train_or_load("mlp", data, settings, tmp_path, progress=False)
    assert not cached
    assert torch.equal(third.state_dict()["1.weight"], first.state_dict()["1.weight"])


@pytest.mark.parametrize("tuned", [False, True])
def test_a_run_goes_on_after_a_break(trained, tmp_path, tuned, stop_in_second_epoch):
    """Stopped in the second epoch and started again: the same weights as in one go, dropout and shifts included."""
    data = quadrants(100, 4)
    settings = Training(epochs=3, batch=50)

    def run(folder):
        if tuned:
            conversion = prepare(trained, None, data.images, groups=3)
            return finetune(conversion, data, epochs=3, batch=50, checkpoints=folder, progress=False).net.hash
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 4))
        train(module, data, settings, checkpoint=folder / "state.checkpoint", progress=False)
        return module[2].weight.tolist()

    wanted = run(tmp_path / "whole")
    calls = stop_in_second_epoch()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut")
    assert len(list((tmp_path / "cut").iterdir())) == 1
    assert run(tmp_path / "cut") == wanted
    assert len(calls) == 4  # one epoch was kept
    assert not list((tmp_path / "cut").iterdir())


def test_images_move_but_keep_their_pixels():
    images = torch.zeros(50, 1, 8, 8)
    images[:, 0, 4, 4] = 1
    moved = augment(images, Training(shift=2, flip=True), torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(50))
    assert len(set(moved.flatten(1).argmax(1).tolist())) > 10


def test_features_stay_and_sequences_move_along_their_axis():
    """A row of features has nowhere to go, and a sequence only one way."""
    features = torch.arange(12.0).reshape(4, 3, 1, 1) + 1
    assert torch.equal(augment(features, Training(shift=2), torch.Generator().manual_seed(0)), features)
    sequences = torch.arange(1.0, 7).expand(50, 2, 1, 6)
    moved = augment(sequences, Training(shift=2), torch.Generator().manual_seed(0))
    assert {row.tolist().index(4) for row in moved[:, 0, 0]} == {1, 2, 3, 4, 5}


def test_mixed_images():
    """Every image keeps its share, and the other one's is as random as the share is drawn."""
    images = torch.eye(50).view(50, 1, 5, 10)
    mixed = augment(images, Training(shift=0, mix=0.5), torch.Generator().manual_seed(0)).flatten(1)
    assert torch.allclose(mixed.sum(1), torch.ones(50))
    own, other = mixed.diagonal(), mixed.flip(1).diagonal()
    assert torch.allclose(own + other, torch.ones(50)) and other.max() <= 0.5 and other.max() - other.min() > 0.3


def test_finetuning_on_mixed_images(trained):
    data = quadrants(200, 0)
    plain, mixed = (finetune(trained, data, epochs=1, batch=50, distil=1.0, mix=m, progress=False) for m in (0, 1))
    assert plain.net.hash != mixed.net.hash


def test_networks_are_built_by_name(tmp_path):
    for name in NETWORKS:
        images = torch.zeros((2, *IMAGES[name]), device="meta")
        assert build(name, device="meta").eval()(images).shape == (2, 1000 if images.shape[-1] == 224 else 10)
    assert torch.equal(build("mlp", 1)[1].weight, build("mlp", 1)[1].weight)
    with pytest.raises(OneSpikeError, match=r"^There is no network 'vgg'; choose one of digits, "):
        build("vgg")
    module = build("resnet8", 3).eval()
    np.savez(tmp_path / "net.npz", **{key: value.numpy() for key, value in module.state_dict().items()})
    loaded = load_npz("resnet8", tmp_path / "net.npz")
    images = torch.rand(1, 3, 32, 32) * 255
    assert torch.equal(loaded(images), module(images))
    with pytest.raises(OneSpikeError, match=r"net\.npz lacks 'bn1\.bias', which the network 'resnet20' needs\.$"):
        load_npz("resnet20", tmp_path / "net.npz")
    with pytest.raises(OneSpikeError, match=r"^Cannot read .*absent\.npz: No such file or directory\.$"):
        load_npz("mlp", tmp_path / "absent.npz")


def test_one_output():
    """Bright above or below, by one logit: trained with a sigmoid's loss, judged by its sign."""
    torch.manual_seed(0)
    module = Small()
    module.c = nn.Linear(24, 1)
    data, held_out = (
        Dataset(name=part.name, images=part.images, labels=part.labels // 2)
        for part in (quadrants(600, 0), quadrants(300, 1))
    )
    module = train(module, data, QUICK, progress=False)
    assert accuracy(module, held_out) > 0.9
    conversion = prepare(module, calibration=data.images[:200], groups=3)
    found = finetune(conversion, data, epochs=2, shift=0, progress=False)
    measured = evaluate(found, held_out.images, held_out.labels)
    assert measured.golden > measured.real - 0.03
    four = quadrants(60, 0)
    with pytest.raises(OneSpikeError, match=r"^The network has 1 output, which tell classes 0\.\.1 apart, "):
        finetune(conversion, four, epochs=1, progress=False)


def test_damaged_weights(tmp_path):
    """Cut, flipped, of another shape or not finite: one sentence; what passes its checksum is the same."""
    weights = {key: value.numpy() for key, value in build("resnet8", 3).state_dict().items()}
    path = tmp_path / "net.npz"
    np.savez(path, **weights)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    broken = [data[: int(rng.integers(len(data)))] for _ in range(10)]
    for place in rng.integers(0, len(data), 20):
        broken.append(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
    for content in broken:
        path.write_bytes(content)
        try:
            found = load_npz("resnet8", path).state_dict()
        except OneSpikeError as error:
            assert str(error).endswith(".") and str(error).isprintable()
        else:
            assert all(torch.equal(found[key], torch.from_numpy(value)) for key, value in weights.items())
    key = next(key for key in weights if key.endswith("bias"))
    for change, message in (
        (weights[key][:-1], r"has the shape \(\d+,\), but the network 'resnet8' needs \(\d+,\)\.$"),
        (weights[key] * np.nan, r"holds NaN or infinite values; train the network again\.$"),
        (np.array(["a"]), r"it holds values of type <U1, not numbers; write the file again\.$"),
    ):
        np.savez(path, **(weights | {key: change}))
        with pytest.raises(OneSpikeError, match=message):
            load_npz("resnet8", path)
