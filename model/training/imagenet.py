# SPDX-License-Identifier: Apache-2.0
"""Larger networks by shape: VGG-16, ResNet-18 and ResNet-50, and the RepVGG of the OneSpike paper as it is deployed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: a maximum pool


class Add(nn.Module):
    """A residual sum; a module, so that counting sees it."""

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        return x + shortcut


def _vgg_features(norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for width in VGG16:
        if width:
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=not norm)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()] if norm else [nn.ReLU()]
            inputs = width
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class Vgg16(nn.Module):
    """VGG-16 with batch norm for 32x32 images: one linear layer behind the last pool."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = _vgg_features(norm=True)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(512, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))  # type: ignore[no-any-return]


class Vgg16ImageNet(nn.Module):
    """VGG-16 as published, without batch norm, for 224x224 images."""

    def __init__(self) -> None:
        super().__init__()
        self.features = _vgg_features(norm=False)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 1000),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))  # type: ignore[no-any-return]


class _Residual(nn.Module):
    """Convolutions with batch norm, a shortcut, and the ReLU behind their sum."""

    def __init__(self, inputs: int, kernels: Sequence[tuple[int, int, int]]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = inputs
        for index, (outputs, kernel, stride) in enumerate(kernels):
            layers += [nn.ReLU()] if index else []
            layers += [nn.Conv2d(width, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
            width = outputs
        self.body = nn.Sequential(*layers)
        stride = max(stride for _, _, stride in kernels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or width != inputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.add, self.relu = Add(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.add(self.body(x), self.shortcut(x)))  # type: ignore[no-any-return]


class _ResNet(nn.Module):
    """He's ImageNet networks; in bottlenecks the 3x3 kernel has the stride."""

    def __init__(self, blocks: Sequence[int], bottleneck: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        layers, inputs = [], 64
        for stage, count in enumerate(blocks):
            width = 64 << stage
            for index in range(count):
                stride = 2 if stage and not index else 1
                if bottleneck:
                    layers.append(_Residual(inputs, [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]))
                else:
                    layers.append(_Residual(inputs, [(width, 3, stride), (width, 3, 1)]))
                inputs = 4 * width if bottleneck else width
        self.layers = nn.Sequential(*layers)
        self.pool, self.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(inputs, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.layers(self.stem(x))), 1))  # type: ignore[no-any-return]


class ResNet18(_ResNet):
    """Two 3x3 convolutions in a block."""

    def __init__(self) -> None:
        super().__init__((2, 2, 2, 2), bottleneck=False)


class ResNet50(_ResNet):
    """1x1, 3x3 and 1x1 convolutions in a block."""

    def __init__(self) -> None:
        super().__init__((3, 4, 6, 3), bottleneck=True)


class OneSpikeRepVgg(nn.Sequential):
    """The RepVGG of the OneSpike paper (Tables 3 to 5) with every block merged into its 3x3 convolution."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        inputs = 3
        for width, count in zip((64, 160, 320, 640, 2560), (1, 8, 14, 24, 1), strict=True):
            for index in range(count):
                layers += [nn.Conv2d(inputs, width, 3, 1 if index else 2, 1), nn.ReLU()]
                inputs = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))
