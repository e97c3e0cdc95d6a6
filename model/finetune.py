# SPDX-License-Identifier: Apache-2.0
"""Clamp-and-quantise training: the network learns with the activations and weights that the integers will have.

In the forward pass every activation is a whole count clip(floor(sum + 1/2), 0, g) (or floor(sum)), and every weight a
multiple of 2**-k as in `quantise`; in the backward pass rounding is the identity, so the gradient is 1 inside the clamp
and 0 outside (value-range encoding, Yan, Zhou and Wong; learned steps as in LSQ, Esser et al., arXiv 1902.08153).
Batch norm is folded beforehand: what is trained is exactly the graph that is then quantised.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from torch.nn import functional as F

from .converter import Conversion, check_images, prepare
from .data import Dataset
from .errors import OneSpikeError
from .graph import Node
from .quantise import image_scale, output_scale, thresholds
from .spec import INPUT, Pool
from .train import Training, batches


class ClampQuantised(nn.Module):
    """The network of a `Conversion` with quantised weights and activations and trainable weights, biases and steps.

    Tensors hold codes (counts), as in the hardware; a count's worth sits in the weights that read it.
    """

    def __init__(self, conversion: Conversion) -> None:
        super().__init__()
        self.conversion = conversion
        self.nodes = conversion.graph.nodes
        self.weights = nn.ParameterList(
            nn.Parameter(torch.tensor(term.weights, dtype=torch.float32)) for node in self.nodes for term in node.terms
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.tensor(node.bias, dtype=torch.float32)) for node in self.nodes
        )
        self.steps = nn.ParameterDict(
            {
                str(index): nn.Parameter(torch.tensor(conversion.steps[node.name], dtype=torch.float32).log())
                for index, node in enumerate(self.nodes)
                if node.fires and not node.exact
            }
        )
        image = conversion.image
        self.scale = torch.tensor(image.scale).view(1, -1, 1, 1)
        self.offset = torch.tensor(image.offset).view(1, -1, 1, 1)
        self.pad_code = torch.tensor(image.pad_code, dtype=torch.float32).view(1, -1, 1, 1)
        scales = {INPUT: image_scale(image)}
        for node in self.nodes:
            step = conversion.steps.get(node.name, np.ones(node.channels))
            scales[node.name] = output_scale(node, step, conversion.groups.get(node.name, 0), scales)
        self.tops = {name: scale.top for name, scale in scales.items()}
        for index, node in enumerate(self.nodes):
            if node.exact:  # copies are not trained
                self.biases[index].requires_grad_(False)
        position = 0
        for node in self.nodes:
            for _ in node.terms:
                self.weights[position].requires_grad_(not node.exact)
                position += 1

    def worth(self, index: int) -> Tensor:
        """The worth of one count of a node [channels]."""
        node = self.nodes[index]
        step = self.steps[str(index)].exp()
        if node.ceiling is not None:
            step = step.clamp(max=node.ceiling / self.conversion.groups[node.name])
        return step

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W] in the module's own scale."""
        top = 2**self.conversion.image.bits - 1
        codes = {INPUT: ((images - self.offset) / self.scale).round().clamp(0, top)}
        worth = {INPUT: self.scale.flatten()}
        offsets = {INPUT: self.offset.flatten()}
        position = 0
        for index, node in enumerate(self.nodes):
            source = node.terms[0].tensor
            if node.exact:
                counts, worth[node.name], offsets[node.name] = codes[source], worth[source], offsets[source]
                position += 1
            else:
                terms = list(range(position, position + len(node.terms)))
                position += len(node.terms)
                out = self.worth(index) if node.fires else torch.ones(node.channels)
                counts = self._sums(index, node, terms, codes, worth, offsets, out)
                if not node.fires:
                    return counts.flatten(1)
                half = 0.5 if self.conversion.arithmetic.nearest else 0.0
                counts = _floor(counts + half).clamp(0, self.conversion.groups[node.name])
                worth[node.name], offsets[node.name] = out, torch.zeros(node.channels)
            if node.pool is not None:
                counts = _pool(counts, node.pool)
                if node.pool.kind == "sum":
                    offsets[node.name] = offsets[node.name] * (node.pool.kernel[0] * node.pool.kernel[1])
            codes[node.name] = counts
        raise AssertionError("the last node does not fire")

    def _sums(
        self,
        index: int,
        node: Node,
        terms: list[int],
        codes: dict[str, Tensor],
        worth: dict[str, Tensor],
        offsets: dict[str, Tensor],
        out: Tensor,
    ) -> Tensor:
        """bias + sum of W * code, in output counts."""
        real = [
            self.weights[position] * worth[term.tensor][:, None, None] / out[:, None, None, None]
            for position, term in zip(terms, node.terms, strict=True)
        ]
        units = self._units(node, real)
        bias = self.biases[index]
        for position, term in zip(terms, node.terms, strict=True):
            if term.tensor == INPUT or offsets[term.tensor].any():
                bias = bias + torch.einsum("oihw,i->o", self.weights[position], offsets[term.tensor])
        total = (bias / out).view(1, -1, 1, 1)
        for weights, term, unit in zip(real, node.terms, units, strict=True):
            rounded = weights + ((weights * unit).round() / unit - weights).detach()
            tensor = codes[term.tensor]
            top, bottom, left, right = term.padding
            if any(term.padding):
                base = self.pad_code if term.tensor == INPUT else 0
                tensor = F.pad(tensor - base, (left, right, top, bottom)) + base
            total = total + F.conv2d(tensor, rounded, None, term.stride, 0, term.dilation)
        return total

    def _units(self, node: Node, real: list[Tensor]) -> list[Tensor]:
        """Integer units per count of every term [channels, 1, 1, 1], exactly as `quantise` chooses them."""
        arrays = [w.detach().double().numpy() for w in real]
        arithmetic = self.conversion.arithmetic
        tops = [self.tops[term.tensor] for term in node.terms]
        if node.fires:
            shift, lifts = thresholds(node.name, arrays, tops, self.conversion.groups[node.name], arithmetic)
            factors = [np.ldexp(1.0, shift - lift) for lift in lifts]
        else:
            largest = max(float(np.abs(w).max()) for w in arrays)
            factors = [np.full(node.channels, arithmetic.limit / max(largest, 1e-30))] * len(real)
        return [torch.tensor(factor, dtype=torch.float32).view(-1, 1, 1, 1) for factor in factors]

    def result(self) -> Conversion:
        """The trained weights, biases and steps as a `Conversion`."""
        weights = iter(self.weights)
        nodes, steps = [], {}
        for index, node in enumerate(self.nodes):
            terms = tuple(
                dataclasses.replace(term, weights=next(weights).detach().double().numpy()) for term in node.terms
            )
            bias = self.biases[index].detach().double().numpy()
            nodes.append(dataclasses.replace(node, terms=terms, bias=bias))
            if str(index) in self.steps:
                steps[node.name] = self.worth(index).detach().double().numpy()
        graph = dataclasses.replace(self.conversion.graph, nodes=tuple(nodes))
        return dataclasses.replace(self.conversion, graph=graph, steps=steps)


def _floor(x: Tensor) -> Tensor:
    """Round down; the gradient passes."""
    return x + (x.floor() - x).detach()


def _pool(counts: Tensor, pool: Pool) -> Tensor:
    top, bottom, left, right = pool.padding
    if any(pool.padding):  # counts are never negative: zeros change neither a maximum nor a sum
        counts = F.pad(counts, (left, right, top, bottom))
    if pool.kind == "max":
        return F.max_pool2d(counts, pool.kernel, pool.stride)
    return F.avg_pool2d(counts, pool.kernel, pool.stride, divisor_override=1)


def finetune(
    network: Any,
    data: Dataset,
    *,
    epochs: int = 4,
    rate: float = 1e-3,
    batch: int = 100,
    shift: int = 2,
    flip: bool = False,
    distil: float = 0.5,
    seed: int = 0,
    progress: bool = True,
    **settings: Any,
) -> Conversion:
    """Train the quantised network for a few epochs; `.net` of the result is the integer network.

    network: a `Conversion`, or whatever `prepare` takes, which `settings` go to (the data serve as calibration).
    data: images in the module's own scale. distil: weight of the float network's answers beside the labels. Equal seeds
    give equal networks on the same machine and number of threads. Raises OneSpikeError as `prepare` does.
    """
    if not len(data):
        raise OneSpikeError(f"The data set {data.name} is empty.")
    if not isinstance(network, Conversion):
        settings.setdefault("calibration", data.images)
        network = prepare(network, **settings)
    elif settings:
        raise OneSpikeError(f"{sorted(settings)[0]!r} is fixed by the conversion already; leave it out.")
    if not 0 <= distil <= 1:
        raise OneSpikeError(f"distil must lie in 0..1, not {distil}.")
    check_images(data.images, network.image)
    plan = Training(epochs=epochs, batch=batch, rate=rate, shift=shift, flip=flip, seed=seed)
    model, teacher = ClampQuantised(network), FloatGraph(network)
    generator = torch.Generator().manual_seed(seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, rate)
    steps = epochs * -(-len(data) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=not progress) as bar:
        task = bar.add_task("fine-tuning", total=steps, note="")
        for epoch in range(epochs):
            right = 0
            for images, labels in batches(data, plan, generator):
                logits = model(images)
                loss = (1 - distil) * F.cross_entropy(logits, labels)
                if distil:
                    with torch.no_grad():
                        answers = teacher(images).softmax(1)
                    loss = loss + distil * F.kl_div(logits.log_softmax(1), answers, reduction="batchmean")
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                right += int((logits.argmax(1) == labels).sum())
                bar.advance(task)
            bar.update(task, note=f"epoch {epoch + 1}/{epochs}, {100 * right / len(data):.1f} % right")
    return model.result()


class FloatGraph(nn.Module):
    """The float network of a `Conversion` in torch, without gradients: the teacher."""

    def __init__(self, conversion: Conversion) -> None:
        super().__init__()
        self.nodes = conversion.original.nodes
        self.pad = torch.tensor(conversion.original.pad, dtype=torch.float32).view(1, -1, 1, 1)
        self.weights = [[torch.tensor(t.weights, dtype=torch.float32) for t in node.terms] for node in self.nodes]
        self.biases = [torch.tensor(node.bias, dtype=torch.float32).view(1, -1, 1, 1) for node in self.nodes]

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W]."""
        tensors = {INPUT: images}
        for node, weights, bias in zip(self.nodes, self.weights, self.biases, strict=True):
            value = bias
            for term, kernel in zip(node.terms, weights, strict=True):
                tensor = tensors[term.tensor]
                top, bottom, left, right = term.padding
                if any(term.padding):
                    base = self.pad if term.tensor == INPUT else 0
                    tensor = F.pad(tensor - base, (left, right, top, bottom)) + base
                value = value + F.conv2d(tensor, kernel, None, term.stride, 0, term.dilation)
            if node.fires:
                value = value if node.exact else value.clamp(0, node.ceiling)
                value = _pool(value, node.pool) if node.pool is not None else value
            tensors[node.name] = value
        return tensors[self.nodes[-1].name].flatten(1)


def quantised_logits(conversion: Conversion, images: np.ndarray) -> np.ndarray:
    """What training saw: logits [N, classes] in real units."""
    model = ClampQuantised(conversion)
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()
