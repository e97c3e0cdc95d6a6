# SPDX-License-Identifier: Apache-2.0
"""From a trained network of windows (windowed.py) to integers (model/network/windowed.py), and how well both agree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import OneSpikeError
from ..network.windowed import WHITE, WindowLayer, WindowNet
from ..neurons.fusion import LEAK_BITS
from .window_training import spikes_of
from .windowed import LAYERS, OMEGA, POOL, WindowedNet

LINEAR_BITS = 12  # of a weight of the linear layer
PIXEL_BITS = 8  # by which weights on pixels 0..255 are finer than those on spikes


def integers(net: WindowedNet, image: tuple[int, int, int], *, fraction: int = 8, weight_bits: int = 8) -> WindowNet:
    """The integer network of images [C, H, W]: batch norm folded, weights of so many bits in units of a power of two
    for each channel, membranes of `fraction` bits behind the point.

    Raises OneSpikeError for a fusion other than Omega, which alone has integers, and for weights that are no numbers.
    """
    plan = net.plan
    if plan.fusion != OMEGA:
        raise OneSpikeError(f"Only the fusion {OMEGA!r} has an integer network, not {plan.fusion!r}; train with it.")
    if not 1 <= fraction <= 16 or not 2 <= weight_bits <= 16:
        raise OneSpikeError(f"Membranes have 1..16 fraction bits and weights 2..16, not {fraction} and {weight_bits}.")
    net.check()
    layers: list[WindowLayer] = []
    blocks: list[Any] = list(net.blocks)
    for place, block in enumerate(blocks):
        for layer in range(LAYERS):
            last = layer == LAYERS - 1
            kernels, bias = _folded(getattr(block, f"conv{layer}"), getattr(block, f"norm{layer}"))
            found = {"weights": kernels / WHITE if not layers else kernels}
            lift = PIXEL_BITS if last and not place else 0
            if last:
                side, more = _folded(block.shortcut, block.shortcut_norm)
                found["shortcut"], bias = side if place else side * 2**lift / WHITE, bias + more
            bits = _unit([*found.values()], weight_bits)
            whole = {
                name: np.rint(value * np.exp2(bits)[:, None, None, None]).astype(np.int64)
                for name, value in found.items()
            }
            shift, scale = bits + lift - fraction, np.exp2(bits + lift)
            half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)  # the current is rounded to the nearest
            layers.append(
                WindowLayer(
                    weights=whole["weights"],
                    shortcut=whole.get("shortcut"),
                    lift=lift,
                    bias=np.rint(bias * scale).astype(np.int64) + half,
                    shift=shift,
                    leak=round(float(getattr(block, f"fire{layer}").leak.detach().clamp(0, 1)) * (1 << LEAK_BITS)),
                    threshold=max(1, round(plan.threshold * (1 << fraction))),
                    dilated=block.dilated[layer],
                    opens=layer == 0,
                    pool=POOL if last and place < len(net.blocks) - 1 else 1,
                )
            )
    places = math.prod((side + 2 * plan.pad) // POOL ** (len(net.blocks) - 1) for side in image[1:])
    weight = net.linear.weight.detach().double().numpy() / places
    scale = float(np.exp2(_unit([weight.reshape(1, -1)], LINEAR_BITS)[0]))
    return WindowNet(
        groups=plan.groups, fraction=fraction, pad=plan.pad, image=image, layers=layers,
        weights=np.rint(weight * scale).astype(np.int64),
        bias=np.rint(net.linear.bias.detach().double().numpy() * scale).astype(np.int64),
    )  # fmt: skip


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Weights [O, C, k, k] and bias [O], batch norm in them."""
    values: list[Any] = [conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]
    weight, gamma, beta, mean, variance = (value.detach().double().numpy() for value in values)
    factor = gamma / np.sqrt(variance + norm.eps)
    return weight * factor[:, None, None, None], beta - factor * mean


def _unit(values: list[np.ndarray], bits: int) -> np.ndarray:
    """For each channel the largest k with all weights below 2**(bits - 1) in units of 2**-k."""
    most = np.max([np.abs(value).reshape(len(value), -1).max(1) for value in values], axis=0)
    top = (1 << bits - 1) - 1
    found = np.floor(np.log2(top / np.maximum(most, 2.0**-20))).astype(np.int64)
    return np.where(np.rint(most * np.exp2(found)) > top, found - 1, found)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of the torch network and the integers on the same images. spikes: share of equal ones of every layer, all windows
    counted. classes: share of equal classes. accuracy: of both.
    """

    images: int
    spikes: tuple[float, ...]
    classes: float
    torch: float
    integers: float


def compare(net: WindowedNet, whole: WindowNet, images: np.ndarray, labels: np.ndarray, batch: int = 100) -> Agreement:
    """How far `whole`, the integers of `net`, agrees with it on images [N, C, H, W] in 0..1; both see whole pixels."""
    equal, same, right = np.zeros(len(whole.layers)), 0, np.zeros(2)
    for start in range(0, len(images), batch):
        pixels, truth = whole.pixels(images[start : start + batch]), labels[start : start + batch]
        spikes, logits = spikes_of(net, torch.from_numpy((pixels / WHITE).astype(np.float32)))
        run = whole.run(pixels)
        equal += [_equal(one, other) * len(pixels) for one, other in zip(spikes, run.spikes, strict=True)]
        decided = logits.argmax(1).numpy()
        same += int((decided == run.classes).sum())
        right += [(decided == truth).sum(), (run.classes == truth).sum()]
    number = len(images)
    return Agreement(
        images=number, spikes=tuple((equal / number).tolist()), classes=same / number,
        torch=float(right[0] / number), integers=float(right[1] / number),
    )  # fmt: skip


def _equal(spikes: Tensor, whole: np.ndarray) -> float:
    return float((spikes.numpy() == whole).mean())
