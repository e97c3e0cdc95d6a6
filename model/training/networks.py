# SPDX-License-Identifier: Apache-2.0
"""Example networks of convolutions, ReLU and pools, by name, and trained residual networks from files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import OneSpikeError
from ..system import bounded
from .imagenet import Add, OneSpikeRepVgg, ResNet18, ResNet50, Vgg16, Vgg16ImageNet


class Digits(nn.Sequential):
    """The demo network for 28x28 grey digits: 1.6 M multiplications, nine tenths of them in layers 16 channels wide."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(288, 10),
        )  # fmt: skip


class DigitsSmall(nn.Sequential):
    """A digits network for parts of a few thousand LUTs and some ten block RAMs: 5,000 weights."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(144, 10),
        )  # fmt: skip


class Mlp(nn.Sequential):
    """Two linear layers: 784-128-10 unless told otherwise."""

    def __init__(self, inputs: int = 784, hidden: int = 128) -> None:
        super().__init__(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 10))


class Wide(nn.Sequential):
    """A late layer as large networks have them, 256 to 256 channels on 8x8, with as little around it as possible."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(8), nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip


class LeNet5(nn.Sequential):
    """LeNet-5 with ReLU and maximum pools, for 28x28 images, grey unless told otherwise."""

    def __init__(self, inputs: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip


class VggSmall(nn.Sequential):
    """Four convolutions with batch norm and three pools in the manner of VGG, for 32x32 colour images; 20 M MACs."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        inputs = 3
        for outputs, pool in ((32, True), (64, True), (128, False), (128, True)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pool else []
            inputs = outputs
        super().__init__(*layers, nn.Flatten(), nn.Linear(2048, 10))


class Vgg8(nn.Sequential):
    """Seven convolutions with batch norm and three pools in the manner of VGG, for 32x32 colour images; 48 M MACs."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        inputs = 3
        for outputs, convolutions in ((32, 2), (64, 2), (128, 3)):
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers, nn.Flatten(), nn.Linear(2048, 10))


class Vgg6(nn.Sequential):
    """Three convolutions and two linear layers in the manner of VGG, with average pools and dropout, as one-timestep
    training takes them, for 32x32 colour images; 16 M MACs. norm: with batch norm.
    """

    def __init__(self, norm: bool = True) -> None:
        layers: list[nn.Module] = []
        inputs = 3
        for outputs, pool in ((32, True), (64, False), (64, True)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=not norm)]
            layers += [
                *([nn.BatchNorm2d(outputs)] if norm else []),
                nn.ReLU(),
                nn.AvgPool2d(2) if pool else nn.Dropout(0.1),
            ]
            inputs = outputs
        linear = [nn.Flatten(), nn.Dropout(0.2), nn.Linear(4096, 256, bias=not norm)]
        linear += [*([nn.BatchNorm1d(256)] if norm else []), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10)]
        super().__init__(*layers, *linear)


class _OptionA(nn.Module):
    """A shortcut without weights: every second pixel, zero channels on both sides."""

    def forward(self, x: Tensor) -> Tensor:
        extra = x.shape[1] // 2
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _OptionA() if stride > 1 else nn.Identity()
        self.add = Add()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.add(self.bn2(self.conv2(y)), self.shortcut(x)))


class ResNet20(nn.Module):
    """He's CIFAR-10 network with option-A shortcuts; it takes images in [0, 1] and normalises them itself."""

    mean: Tensor
    std: Tensor

    def __init__(self, blocks: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = (16, 16, 32, 64)
        for stage in (1, 2, 3):
            first = _Block(widths[stage - 1], widths[stage], 1 if stage == 1 else 2)
            rest = [_Block(widths[stage], widths[stage], 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(first, *rest))
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1((x - self.mean) / self.std)))
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.linear(x.mean((2, 3)))


class ResNet8(nn.Module):
    """MLPerf Tiny's image classification network: raw pixels 0..255, TensorFlow's 'same' padding (right and bottom)."""

    def __init__(self) -> None:
        super().__init__()
        shapes = (
            (3, 16, 3, 1), (16, 16, 3, 1), (16, 16, 3, 1), (16, 32, 3, 2), (32, 32, 3, 1), (16, 32, 1, 2),
            (32, 64, 3, 2), (64, 64, 3, 1), (32, 64, 1, 2),
        )  # fmt: skip
        for index, (inputs, outputs, kernel, stride) in enumerate(shapes):
            setattr(self, f"conv2d_{index}".removesuffix("_0"), nn.Conv2d(inputs, outputs, kernel, stride))
        for index, channels in enumerate((16, 16, 16, 32, 32, 64, 64)):
            norm = nn.BatchNorm2d(channels, eps=1e-3)
            setattr(self, f"batch_normalization_{index}".removesuffix("_0"), norm)
        self.dense = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        def conv(index: int, y: Tensor, pads: tuple[int, ...] = (0, 0, 0, 0)) -> Tensor:
            return self.get_submodule(f"conv2d_{index}".removesuffix("_0"))(F.pad(y, pads))

        def norm(index: int, y: Tensor) -> Tensor:
            return self.get_submodule(f"batch_normalization_{index}".removesuffix("_0"))(y)

        around, behind = (1, 1, 1, 1), (0, 1, 0, 1)
        x = F.relu(norm(0, conv(0, x, around)))
        y = F.relu(norm(1, conv(1, x, around)))
        x = F.relu(x + norm(2, conv(2, y, around)))
        y = F.relu(norm(3, conv(3, x, behind)))
        x = F.relu(conv(5, x) + norm(4, conv(4, y, around)))
        y = F.relu(norm(5, conv(6, x, behind)))
        x = F.relu(conv(8, x) + norm(6, conv(7, y, around)))
        return self.dense(x.mean((2, 3)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "digits": Digits, "digits-small": DigitsSmall, "mlp": Mlp, "mlp64": lambda: Mlp(64, 32), "lenet5": LeNet5,
    "lenet5-ice": functools.partial(LeNet5, inputs=6),
    "resnet20": ResNet20, "resnet8": ResNet8, "vgg-small": VggSmall, "vgg8": Vgg8, "wide": Wide,
    "vgg6": Vgg6, "vgg6-bare": functools.partial(Vgg6, norm=False),
    "vgg16-cifar": functools.partial(Vgg16, classes=10), "vgg16": Vgg16ImageNet, "resnet18": ResNet18,
    "resnet50": ResNet50, "onespike": OneSpikeRepVgg,
}  # fmt: skip
# Shape of one image.
IMAGES = {
    "digits": (1, 28, 28), "digits-small": (1, 28, 28), "mlp": (1, 28, 28), "mlp64": (1, 8, 8), "lenet5": (1, 28, 28),
    "lenet5-ice": (6, 28, 28),
    "resnet20": (3, 32, 32), "resnet8": (3, 32, 32), "vgg-small": (3, 32, 32), "vgg8": (3, 32, 32),
    "wide": (3, 8, 8), "vgg6": (3, 32, 32), "vgg6-bare": (3, 32, 32),
    "vgg16-cifar": (3, 32, 32), "vgg16": (3, 224, 224), "resnet18": (3, 224, 224), "resnet50": (3, 224, 224),
    "onespike": (3, 224, 224),
}  # fmt: skip


def build(name: str, seed: int = 0, device: str = "cpu") -> nn.Module:
    """A fresh network by name, its random weights fixed by `seed`; the caller's random state is left alone.

    device: "meta" for a network without weights, of which only the shapes exist.
    """
    if name not in NETWORKS:
        raise OneSpikeError(f"There is no network {name!r}; choose one of {', '.join(NETWORKS)}.")
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        return NETWORKS[name]()


def outputs(name: str) -> int:
    """How many logits a network by name has."""
    with torch.no_grad():
        return int(build(name, device="meta").eval()(torch.empty(1, *IMAGES[name], device="meta")).shape[1])


def load_npz(name: str, path: str | Path) -> nn.Module:
    """A trained network in eval mode from a NumPy archive that holds its parameters by PyTorch name."""
    module = build(name)
    wanted = {
        key: tuple(value.shape)
        for key, value in module.state_dict().items()
        if key.rsplit(".", 1)[-1] not in ("num_batches_tracked", "mean", "std")
    }
    arrays: dict[str, np.ndarray] = {}
    try:
        with bounded.opened(Path(path)) as (file, size):
            archive = bounded.Archive(file, size)
            members = {member.removesuffix(".npy").replace("/", "."): member for member in archive.names}
            if missing := sorted(wanted.keys() - members.keys()):
                raise OneSpikeError(f"{path} lacks {missing[0]!r}, which the network {name!r} needs.")
            for key in wanted:
                arrays[key] = archive.array(members[key].removesuffix(".npy"))
    except bounded.Damaged as reason:
        raise OneSpikeError(f"Cannot read the weights in {path}: {reason}; write the file again.") from None
    for key, shape in wanted.items():
        if arrays[key].shape != shape:
            found = arrays[key].shape
            raise OneSpikeError(f"{path}: {key!r} has the shape {found}, but the network {name!r} needs {shape}.")
        if not np.isfinite(arrays[key]).all():
            raise OneSpikeError(f"{path}: {key!r} holds NaN or infinite values; train the network again.")
    weights = {key: torch.from_numpy(np.array(value, np.float32)) for key, value in arrays.items()}
    module.load_state_dict(weights, strict=False)
    return module.eval()
