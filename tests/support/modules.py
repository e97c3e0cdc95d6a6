# SPDX-License-Identifier: Apache-2.0
"""Torch modules of every structure that the importer knows, and what makes more of them."""

import torch
from torch import nn
from torch.nn import functional as F


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms with statistics that are not trivial; eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for child in module.modules():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            size = child.running_mean.shape
            child.running_mean.copy_(torch.randn(size, generator=generator))
            child.running_var.copy_(torch.rand(size, generator=generator) + 0.5)
            if child.affine:
                child.weight.data.copy_(torch.randn(size, generator=generator))  # of both signs
                child.bias.data.copy_(torch.randn(size, generator=generator))
    return module.eval()


class Plain(nn.Module):
    """A module whose forward is a function of (self, x); layers by keyword."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.function = forward

    def forward(self, x):
        return self.function(self, x)


def conv(inputs, outputs, kernel=3, **options):
    return nn.Conv2d(inputs, outputs, kernel, **options)


def body_of_all(m, x):
    """Normalisation inside, ReLU in every guise, dropout, residual addition, a pool between convolution and ReLU."""
    x = m.act(m.norm(m.a((x - 0.5) / 0.25)))
    y = F.relu(m.b(x), inplace=True)
    y += x
    y = torch.relu(y)
    x = F.max_pool2d(m.c(m.drop(y)), 2).relu_()
    return m.d(torch.flatten(m.pool(x), 1))


def everything():
    return Plain(
        body_of_all,
        a=conv(2, 4, padding="same", bias=False),
        norm=nn.BatchNorm2d(4, eps=1e-2),
        act=nn.ReLU(inplace=True),
        b=conv(4, 4, padding=1),
        c=conv(4, 6, padding=(2, 0), stride=(1, 2), dilation=(2, 1)),
        drop=nn.Dropout(0.3),
        pool=nn.AdaptiveAvgPool2d(1),
        d=nn.Linear(6, 3),
    )


def option_a(m, x):
    x = F.relu(m.a(x))
    return m.c(F.relu(m.b(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))).mean((2, 3)))


def repvgg(m, x):
    x = F.relu(m.n0(m.a(x)))
    return m.c(torch.flatten(F.relu(m.n1(m.b3(x)) + m.n2(m.b1(x)) + m.n3(x)), 1))


def fire(m, x):
    x = F.relu(m.s(x))
    x = torch.cat([F.relu(m.e1(x)), F.relu(m.e3(x))], 1)
    return m.c(F.max_pool2d(x, 2).flatten(1))


def same_padding(m, x):
    x = F.relu6(m.a(F.pad(x, (0, 1, 0, 1))))
    return m.c(F.avg_pool2d(F.hardtanh(m.b(x), 0, 2.5), 2).flatten(1))


SUPPORTED = {
    "everything": (everything, (2, 2, 9, 8)),
    "option A shortcut": (
        lambda: Plain(option_a, a=conv(1, 4, padding=1), b=conv(4, 8, stride=2, padding=1), c=nn.Linear(8, 3)),
        (1, 1, 8, 8),
    ),
    "RepVGG": (
        lambda: Plain(
            repvgg,
            a=conv(1, 4, padding=1),
            b3=conv(4, 4, padding=1, bias=False),
            b1=conv(4, 4, 1, bias=False),
            c=nn.Linear(64, 3),
            **{f"n{i}": nn.BatchNorm2d(4) for i in range(4)},
        ),
        (1, 1, 4, 4),
    ),
    "fire module": (
        lambda: Plain(fire, s=conv(1, 3), e1=conv(3, 2, 1), e3=conv(3, 4, padding=1), c=nn.Linear(54, 3)),
        (2, 1, 8, 8),
    ),
    "TensorFlow padding": (
        lambda: Plain(same_padding, a=conv(1, 3, stride=2), b=conv(3, 4, groups=1, padding=1), c=nn.Linear(16, 3)),
        (1, 1, 8, 8),
    ),
    "depthwise, 1x1 without ReLU": (
        lambda: nn.Sequential(
            conv(2, 4, padding=1), nn.ReLU6(), conv(4, 8, groups=4, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            conv(8, 2, 1), conv(2, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2),
        ),
        (1, 2, 5, 5),
    ),
    "pools after pools, ceil_mode, average before ReLU": (
        lambda: nn.Sequential(
            conv(1, 4, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2, padding=1),
            nn.MaxPool2d(2, ceil_mode=True), conv(4, 4, padding=1), nn.AvgPool2d(2), nn.ReLU(),
            nn.Flatten(), nn.Linear(4, 2),
        ),
        (1, 1, 13, 13),
    ),
    "first channels only": (
        lambda: Plain(
            lambda m, x: m.b(F.relu(F.max_pool2d(F.relu(m.a(x)), 2)[:, :2]).flatten(1)), a=conv(1, 4), b=nn.Linear(2, 3)
        ),
        (1, 1, 4, 4),
    ),
    "mlp": (
        lambda: nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3), nn.LogSoftmax(1)),
        (4, 12),
    ),
    "one dimension": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 5, 2, 2), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(4, 4, 3, dilation=2), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(8, 3),
        ),
        (3, 2, 32),
    ),
    "clamp, mm, weight norm": (
        lambda: Plain(
            lambda m, x: torch.clamp(m.a(x), 0, 1.5).flatten(1) @ m.w,
            a=nn.utils.parametrizations.weight_norm(conv(1, 2)),
            w=nn.Parameter(torch.randn(8, 3)),
        ),
        (1, 1, 4, 4),
    ),
}  # fmt: skip
