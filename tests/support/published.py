# SPDX-License-Identifier: Apache-2.0
"""Networks that people have, after their papers, with random weights and sane activations; small ones for tests."""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def normalised(module: nn.Module, images: torch.Tensor, seed: int = 0) -> nn.Module:
    """The module in eval mode: random weights, batch norms with the statistics of `images` and factors of their own."""
    torch.manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv1d | nn.Linear | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.05)
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
            layer.momentum = None
            layer.reset_running_stats()
    with torch.no_grad():
        module.train()(images)
    return module.eval()


def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, relu: type | None = nn.ReLU):
    """Convolution, batch norm and, perhaps, an activation."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    ]  # fmt: skip
    return nn.Sequential(*layers, *([relu()] if relu else []))


class Residual(nn.Module):
    """x + layers(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


def divisible(width: float) -> int:
    """MobileNet's rounding of channels to eights."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * width else rounded


MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2(width: float = 0.35, settings=MOBILENET, last: int = 1280, classes: int = 1000) -> nn.Module:
    """Sandler et al., 2018: inverted residuals with linear bottlenecks. settings: factor, channels, units, stride."""
    inputs = divisible(32 * width)
    layers = [conv(3, inputs, 3, 2, relu=nn.ReLU6)]
    for factor, channels, units, first in settings:
        for unit in range(units):
            stride, outputs, middle = first if unit == 0 else 1, divisible(channels * width), inputs * factor
            expand = [conv(inputs, middle, relu=nn.ReLU6)] if factor != 1 else []
            body = [*expand, conv(middle, middle, 3, stride, middle, nn.ReLU6), conv(middle, outputs, relu=None)]
            layers.append((Residual if stride == 1 and inputs == outputs else nn.Sequential)(*body))
            inputs = outputs
    head = [conv(inputs, last, relu=nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes)]
    return nn.Sequential(*layers, *head)


class Dense(nn.Module):
    """A layer of a dense block: what came in, beside BN-ReLU-conv of it, perhaps through a bottleneck."""

    def __init__(self, inputs: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        middle = 4 * growth if bottleneck else inputs
        narrow = [nn.Conv2d(inputs, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU()] if bottleneck else []
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), *narrow, nn.Conv2d(middle, growth, 3, padding=1, bias=False)
        )

    def forward(self, x):
        return torch.cat([x, self.layers(x)], 1)


def densenet(blocks=(6, 6, 6), growth: int = 12, bottleneck: bool = True, classes: int = 10) -> nn.Module:
    """Huang et al., 2017, for CIFAR: blocks with transitions that halve channels and places."""
    channels = 2 * growth
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1, bias=False)]
    for index, count in enumerate(blocks):
        for _ in range(count):
            layers.append(Dense(channels, growth, bottleneck))
            channels += growth
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
        if index < len(blocks) - 1:
            layers += [nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Shuffle(nn.Module):
    """A unit of ShuffleNetV2: half of the channels pass, or both branches halve the map; then channels are dealt."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.stride, entry = stride, inputs if stride > 1 else half
        self.right = nn.Sequential(conv(entry, half), conv(half, half, 3, stride, half, None), conv(half, half))
        self.left = nn.Sequential(conv(inputs, inputs, 3, stride, inputs, None), conv(inputs, half))

    def forward(self, x):
        left, right = x.chunk(2, 1) if self.stride == 1 else (self.left(x), x)
        x = torch.cat([left, self.right(right)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def shufflenet_v2(stages=((48, 4), (96, 8), (192, 4)), last: int = 1024, classes: int = 1000) -> nn.Module:
    """Ma et al., 2018, 0.5 x."""
    layers, inputs = [conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)], 24
    for outputs, units in stages:
        layers += [Shuffle(inputs if unit == 0 else outputs, outputs, 2 if unit == 0 else 1) for unit in range(units)]
        inputs = outputs
    return nn.Sequential(*layers, conv(inputs, last), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))


class Temporal(nn.Module):
    """A block of Bai et al., 2018: two causal convolutions with gaps, padded on both sides and cut, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gap: int) -> None:
        super().__init__()
        self.behind = (kernel - 1) * gap
        self.a = nn.Conv1d(inputs, outputs, kernel, padding=self.behind, dilation=gap)
        self.b = nn.Conv1d(outputs, outputs, kernel, padding=self.behind, dilation=gap)
        self.short = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x):
        y = F.relu(self.a(x)[:, :, : -self.behind])
        y = F.relu(self.b(y)[:, :, : -self.behind])
        return F.relu(y + self.short(x))


def tcn(inputs: int = 4, channels: int = 24, levels: int = 6, kernel: int = 3, classes: int = 10) -> nn.Module:
    """A temporal convolutional network on (N, C, L), classes of the whole sequence."""
    blocks = [Temporal(inputs if i == 0 else channels, channels, kernel, 1 << i) for i in range(levels)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(channels, classes))


class Ghost(nn.Module):
    """A module of GhostNet: half of the channels by 1x1, the others from these by a cheap depthwise kernel."""

    def __init__(self, inputs: int, outputs: int, relu: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.main = conv(inputs, half, relu=nn.ReLU if relu else None)
        self.cheap = conv(half, half, 3, 1, half, nn.ReLU if relu else None)

    def forward(self, x):
        x = self.main(x)
        return torch.cat([x, self.cheap(x)], 1)


def ghostnet(units=((16, 32), (16, 48), (24, 72), (24, 72)), classes: int = 10) -> nn.Module:
    """Han et al., 2020, without squeeze and excitation. units: channels behind and within."""
    layers, inputs = [conv(3, 16, 3, 2)], 16
    for outputs, middle in units:
        body = (Ghost(inputs, middle, True), Ghost(middle, outputs, False))
        layers.append(Residual(*body) if inputs == outputs else nn.Sequential(*body))
        inputs = outputs
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


class Nodes(nn.Module):
    """Kipf and Welling, 2017, with a dense adjacency on (N, nodes, features), and classes of the whole graph."""

    def __init__(self, nodes: int = 32, features: int = 16, hidden: int = 32, classes: int = 4) -> None:
        super().__init__()
        edges = np.random.default_rng(0).random((nodes, nodes)) < 4 / nodes
        edges = edges | edges.T | np.eye(nodes, dtype=bool)
        degree = edges.sum(1)
        self.register_buffer("a", torch.tensor(edges / np.sqrt(degree[:, None] * degree)).float())
        self.one, self.two = nn.Linear(features, hidden), nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, classes)

    def forward(self, x):
        x = F.relu(self.a @ self.one(x))
        x = F.relu(self.a @ self.two(x))
        return self.out(x.mean(1))


def points(features: int = 4, widths=(32, 64, 128), classes: int = 10) -> nn.Module:
    """PointNet-like: linear layers on the last axis of (N, points, features), their mean."""

    class Points(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = (features, *widths)
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
            self.head = nn.Linear(widths[-1], classes)

        def forward(self, x):
            for layer in self.layers:
                x = F.relu(layer(x))
            return self.head(x.transpose(1, 2).mean(2))

    return Points()


Make = Callable[[], nn.Module]
# Whole networks: how to make them, and the shape of an image.
PUBLISHED: dict[str, tuple[Make, tuple[int, ...]]] = {
    "MobileNetV2 0.35": (mobilenet_v2, (3, 96, 96)),
    "DenseNet-BC 3 x 6": (densenet, (3, 32, 32)),
    "ShuffleNetV2 0.5": (shufflenet_v2, (3, 96, 96)),
    "TCN, 6 blocks": (tcn, (4, 128)),
    "dense block of 12": (lambda: densenet((12,), bottleneck=False), (3, 16, 16)),
    "dense block of 16": (lambda: densenet((16,), bottleneck=False), (3, 16, 16)),
    "ghost blocks": (ghostnet, (3, 32, 32)),
    "A @ x": (Nodes, (32, 16)),
    "Linear, last axis": (points, (64, 4)),
}
