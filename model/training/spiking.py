# SPDX-License-Identifier: Apache-2.0
"""A network of leaky integrate-and-fire neurons over T steps, as one-timestep training needs it (latency.py).

Chowdhury, Rathi and Roy, arXiv 2110.05929:

    u <- leak * u + I        o = u > V        u <- u - V o        I = W o of the layer before + bias

The image is the first layer's input in every step; the last layer adds its sums up and gives their mean. Thresholds and
leaks, one of each a layer, are trained. Backward, a spike's slope is gamma * max(0, 1 - |z|), z = u / V - 1 (eq. 12,
which prints |u - V|), gamma = 0.3. With T = 1 there is neither membrane nor leak: o = I > V, which is what
`onespike.convert` turns into single spikes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OneSpikeError

GAMMA = 0.3
POOLS = (nn.AvgPool2d, nn.MaxPool2d)
SEEN = 1 << 20  # currents of a layer whose percentile is taken


class Spike(torch.autograd.Function):
    """1 where the membrane [any shape] exceeds the threshold (one number), else 0, with the linear surrogate slope."""

    @staticmethod
    def forward(ctx: Any, membrane: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(membrane, threshold)
        return (membrane > threshold).to(membrane.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        membrane, threshold = ctx.saved_tensors
        ratio = membrane / threshold
        per_z = (ratio - 1).abs_().neg_().add_(1).clamp_(min=0).mul_(GAMMA).mul_(gradient)  # memory takes the time
        of_threshold = -(per_z * ratio).sum() / threshold
        return per_z.div_(threshold), of_threshold


class Fire(nn.Module):
    """The neurons of one layer: a threshold, a leak, and the membranes of the images in hand."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.ones(()))
        self.leak = nn.Parameter(torch.ones(()))
        self.membrane: Tensor | None = None
        self.counted: Tensor | None = None  # spikes, and neurons in all steps, where they are counted

    def forward(self, current: Tensor) -> Tensor:
        """The spikes of one step."""
        before = self.membrane
        membrane = current if before is None else self.leak * before + current
        spikes: Tensor = Spike.apply(membrane, self.threshold)
        self.membrane = membrane - self.threshold * spikes
        if self.counted is not None:
            self.counted += torch.tensor([float(spikes.detach().sum()), spikes.numel()])
        return spikes

    def clear(self) -> None:
        self.membrane = None


class HeldDropout(nn.Module):
    """Dropout whose mask stays the same in all steps of an image."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.share:
            return x
        if self.mask is None:
            self.mask = torch.empty_like(x).bernoulli_(1 - self.share) / (1 - self.share)
        return x * self.mask

    def clear(self) -> None:
        self.mask = None


class SpikingNet(nn.Module):
    """The layers of a sequential ReLU network, batch norm folded, with spiking neurons in place of each ReLU.

    steps: T; may be changed at any time. ann: `nn.Sequential` of Conv2d or Linear, BatchNorm, ReLU, AvgPool2d,
    MaxPool2d, Dropout and Flatten, nested or not, in any order in which every ReLU follows a Conv2d or Linear. Raises
    OneSpikeError for anything else.
    """

    def __init__(self, ann: nn.Module, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(_layers(ann))
        for index, layer in self.weighted():
            self.register_buffer(f"kept{index}", (layer.weight != 0).to(layer.weight.dtype))

    @property
    def fires(self) -> list[Fire]:
        """The spiking layers in order."""
        return [layer for layer in self.layers if isinstance(layer, Fire)]

    def weighted(self) -> Iterator[tuple[int, nn.Conv2d | nn.Linear]]:
        """The layers with weights, and their places."""
        return ((i, each) for i, each in enumerate(self.layers) if isinstance(each, nn.Conv2d | nn.Linear))

    @property
    def weights(self) -> int:
        """How many there are, pruned ones too."""
        return sum(layer.weight.numel() for _, layer in self.weighted())

    def check(self) -> None:
        """OneSpikeError unless all thresholds are positive and all leaks finite."""
        found = torch.stack([torch.stack([fire.threshold, fire.leak]) for fire in self.fires]).detach()
        bad = ~(found.isfinite().all(1) & (found[:, 0] > 0))
        if bad.any():
            layer = int(bad.nonzero()[0])
            raise OneSpikeError(
                f"At T = {self.steps} the threshold of spiking layer {layer + 1} became {float(found[layer, 0]):.3g} "
                f"and its leak {float(found[layer, 1]):.3g}; train with a lower --stage-rate, or a longer stage before."
            )

    def kept(self, index: int) -> Tensor:
        """Which weights of the layer at this place the ANN had: ones, and zeros, which stay."""
        return self.get_buffer(f"kept{index}")

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W]: the mean over the steps."""
        first = next(i for i, layer in enumerate(self.layers) if isinstance(layer, Fire))
        current = images
        for layer in self.layers[:first]:  # the same in every step
            current = layer(current)
        total: Tensor | None = None
        for _ in range(self.steps):
            x = current
            for layer in self.layers[first:]:
                x = layer(x)
            total = x if total is None else total + x
        self.clear()
        assert total is not None
        return total / self.steps

    def clear(self) -> None:
        """Forget the images in hand."""
        for layer in self.layers:
            if isinstance(layer, Fire | HeldDropout):
                layer.clear()

    @torch.no_grad()
    def sizes(self, image: Tensor) -> tuple[list[int], list[int]]:
        """Multiplications of an image [1, C, H, W] in every layer with weights, and neurons of every spiking layer."""
        macs, neurons = [], []
        for layer in self.layers:
            made = image if isinstance(layer, Fire | HeldDropout) else layer(image)
            if isinstance(layer, nn.Conv2d | nn.Linear):
                places = made[0, 0].numel()
                macs.append(layer.weight.numel() * places)
            elif isinstance(layer, Fire):
                neurons.append(made[0].numel())
            image = made
        return macs, neurons

    @torch.no_grad()
    def balance(self, images: Tensor, percentile: float) -> None:
        """Set every threshold to a percentile of the currents of its layer over all steps, one layer after the other,
        and let the weights behind it carry what its spikes are worth: the threshold.
        """
        training = self.training
        self.eval()
        trains = [images]  # what the layer in hand reads: the same in all steps, or of every step
        for place, layer in enumerate(self.layers):
            if not isinstance(layer, Fire):
                trains = [layer(x) for x in trains]
                continue
            seen = torch.cat([x.flatten() for x in trains])
            seen = seen[:: -(-len(seen) // SEEN)]
            level = float(torch.quantile(seen, percentile / 100))
            if not level > 0:
                raise OneSpikeError(
                    f"Percentile {percentile:g} of what spiking layer {self.fires.index(layer) + 1} adds up is "
                    f"{level:.3g}, which is no threshold; give a larger percentile, or train the network before."
                )
            layer.threshold.fill_(level)
            trains = [layer(x) for x in (trains * self.steps if len(trains) == 1 else trains)]
            layer.clear()
            behind = next(one for one in self.layers[place + 1 :] if isinstance(one, nn.Conv2d | nn.Linear))
            behind.weight.mul_(level)
        self.train(training)

    @torch.no_grad()
    def rates(self, images: Tensor, batch: int = 250) -> list[float]:
        """Spikes per neuron and step of every spiking layer, the mean over images [N, C, H, W]."""
        training = self.training
        self.eval()
        for fire in self.fires:
            fire.counted = torch.zeros(2, dtype=torch.float64)
        for part in images.split(batch):
            self(part)
        found = []
        for fire in self.fires:
            assert fire.counted is not None
            found.append(float(fire.counted[0] / fire.counted[1]))
            fire.counted = None
        self.train(training)
        return found

    def one_step(self) -> nn.Sequential:
        """The same network at T = 1 without state, in eval mode, to be exported; it shares the weights."""
        layers = [Threshold(layer.threshold) if isinstance(layer, Fire) else layer for layer in self.layers]
        return nn.Sequential(*(layer for layer in layers if not isinstance(layer, HeldDropout))).eval()


class Threshold(nn.Module):
    """A spike where the sum exceeds the threshold."""

    def __init__(self, threshold: nn.Parameter) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, current: Tensor) -> Tensor:
        return (current > self.threshold).to(current.dtype)


def _layers(ann: nn.Module) -> list[nn.Module]:
    """Copies of the layers, batch norms folded."""
    made: list[nn.Module] = []
    for layer in _flat(ann):
        last = made[-1] if made else None
        if isinstance(layer, nn.Conv2d | nn.Linear):
            made.append(copy.deepcopy(layer))
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d) and isinstance(last, nn.Conv2d | nn.Linear):
            made[-1] = _folded(last, layer)
        elif isinstance(layer, nn.ReLU) and isinstance(last, nn.Conv2d | nn.Linear):
            made.append(Fire())
        elif isinstance(layer, nn.Dropout | nn.Dropout2d):
            made.append(HeldDropout(layer.p))
        elif isinstance(layer, (*POOLS, nn.Flatten)):
            made.append(copy.deepcopy(layer))
        elif not isinstance(layer, nn.Identity):
            raise OneSpikeError(
                f"One-timestep training takes Conv2d or Linear, BatchNorm and ReLU behind them, pools, Dropout and "
                f"Flatten, one after the other; {layer} stands behind {last}. Choose a network such as vgg6 or mlp."
            )
    if not made or not isinstance(made[-1], nn.Conv2d | nn.Linear) or not any(isinstance(m, Fire) for m in made):
        raise OneSpikeError("A spiking network needs a ReLU, and ends with a Conv2d or Linear that adds up.")
    return made


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _flat(child)
    else:
        yield module


def _folded(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | nn.BatchNorm1d) -> nn.Conv2d | nn.Linear:
    still: Any = copy.deepcopy(norm).eval()
    if isinstance(layer, nn.Conv2d):
        return nn.utils.fuse_conv_bn_eval(layer.eval(), still)
    return nn.utils.fuse_linear_bn_eval(layer.eval(), still)
