# SPDX-License-Identifier: Apache-2.0
"""The integer network as a torch module that can be trained: the same integers forward, smooth gradients backward.

Forward, every activation is the whole count clip(floor(sum), 0, g), every weight a multiple of 2**-k and every bias
too, exactly as `quantise` makes them. Backward, rounding is the identity, so the gradient is 1 inside the clamp and 0
outside (value-range encoding, Yan, Zhou and Wong); the steps learn as in LSQ (Esser et al., arXiv 1902.08153).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..convert.converter import Conversion
from ..convert.exact import common_factor
from ..convert.quantise import image_scale, nearest, output_scale, summed, thresholds, whole_bias
from ..convert.rounding import shared
from ..frontend.graph import Node, Staircase, Term
from ..network.spec import INPUT, Pool
from .events import Price, pay
from .firing import activated, fire_node
from .prune import RowPruning


class ClampQuantised(nn.Module):
    """The network of a `Conversion` with trainable weights, biases and steps (in float64, as `quantise` reads them).

    Tensors hold codes (counts), as in the hardware; what a count is worth sits in the weights that read it. Sums are
    multiples of 2**-k below 2**24, so that float32 holds them exactly: the codes equal those of the golden model, and
    the logits are its integers times the last layer's step. Weights of zero stay zero: kernels of grouped layers and of
    shortcuts are mostly such, and the engine will skip them.

    prices: of tensors, by name; `cost` is then what the last images cost, in events per MAC, those of the image left
    out. pruning: what rows of weights are zero, too.
    """

    def __init__(
        self, conversion: Conversion, prices: Mapping[str, Price] | None = None, pruning: RowPruning | None = None
    ) -> None:
        super().__init__()
        self.pruning = pruning
        self.prices = dict(prices or {})
        self.cost = torch.zeros(())
        self.conversion = conversion
        self.nodes = conversion.graph.nodes
        self.norms = [[kernel_norms(term.weights) for term in node.terms] for node in self.nodes]
        self.weights = nn.ModuleList(
            nn.ParameterList(
                nn.Parameter(torch.tensor(term.weights) / norm.view(-1, 1, 1, 1), not node.exact)
                for term, norm in zip(node.terms, norms, strict=True)
            )
            for node, norms in zip(self.nodes, self.norms, strict=True)
        )
        self.live = [[torch.tensor(term.weights != 0) for term in node.terms] for node in self.nodes]
        # A bias learns in units of its channel's clip level, a weight in units of its channel's kernel.
        self.levels = [
            _power_of_two(conversion.steps[n.name] * conversion.groups[n.name])
            if n.name in conversion.steps
            else torch.ones(n.channels, dtype=torch.float64)
            for n in self.nodes
        ]
        self.biases = nn.ParameterList(
            nn.Parameter(torch.tensor(n.bias) / level, not n.exact)
            for n, level in zip(self.nodes, self.levels, strict=True)
        )
        self.steps = nn.ParameterDict(
            {
                str(index): nn.Parameter(torch.tensor(conversion.steps[node.name]).log())
                for index, node in enumerate(self.nodes)
                if node.fires and not node.exact
            }
        )
        self.scale = torch.tensor(conversion.image.scale, dtype=torch.float64)
        self.offset = torch.tensor(conversion.image.offset, dtype=torch.float64)
        self.pad_code = torch.tensor(conversion.image.pad_code, dtype=torch.float32).view(1, -1, 1, 1)
        scales = {INPUT: image_scale(conversion.image)}
        for node in self.nodes:
            step = conversion.steps.get(node.name, np.ones(node.channels))
            scales[node.name] = output_scale(node, step, conversion.groups.get(node.name, 0), scales)
        self.places: dict[str, int] = {}  # of the least shift of every node, as its weights are now
        self.spans = {name: scale.span for name, scale in scales.items()}

    def step(self, index: int) -> Tensor:
        """The worth of one count of a node [channels]; its clip level stays below the activation's ceiling."""
        node = self.nodes[index]
        if not node.fires:
            return torch.ones(node.channels, dtype=torch.float64)
        step = self.steps[str(index)].exp()
        if shared(node):
            step = step.max().expand_as(step)
        return step if node.ceiling is None else step.clamp(max=node.ceiling / self.conversion.groups[node.name])

    def kernels(self, index: int) -> list[Tensor]:
        """The weights of a node's terms, in the scale of the float network."""
        parameters = cast(nn.ParameterList, self.weights[index])
        norms = [norm.view(-1, 1, 1, 1) for norm in self.norms[index]]
        live = self.live[index]
        if (pruning := self.pruning) is not None:
            live = [pruning.masked(index, number, one) for number, one in enumerate(live)]
        return [w * norm * one for w, norm, one in zip(parameters, norms, live, strict=True)]

    def bias(self, index: int) -> Tensor:
        """The bias of a node, in the scale of the float network."""
        return self.biases[index] * self.levels[index]

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W] in the module's own scale."""
        pixels = (images - self.offset.view(1, -1, 1, 1)) / self.scale.view(1, -1, 1, 1)
        image = self.conversion.image
        codes = {INPUT: pixels.round().clamp(image.first, 2**image.bits - 1).float()}
        worth, offsets = {INPUT: self.scale}, {INPUT: self.offset}
        costs: list[Tensor] = []
        for index, node in enumerate(self.nodes):
            price = self.prices.get(node.name)
            maximum = node.pool if node.pool is not None and node.pool.kind == "max" else None
            if node.exact:
                counts, worth[node.name], offsets[node.name] = self._copied(node, codes, worth, offsets)
                counts = counts if maximum is None else pooled(counts, maximum)
            else:
                step = self.step(index)
                sums = self._sums(index, codes, worth, offsets, step)
                if not node.fires:
                    self.cost = torch.stack(costs).sum() if costs else torch.zeros(())
                    return sums.flatten(1)
                # Firing is monotone: the value of the maximum is the maximum of the values.
                sums = sums if maximum is None else pooled(sums, maximum)
                counts, cost = fire_node(
                    node, sums, step, self.conversion, self.places[node.name], price if node.pool is maximum else None
                )
                costs.append(cost)
                worth[node.name], offsets[node.name] = step, torch.zeros_like(step)
            if node.pool is not maximum and node.pool is not None:
                counts = pooled(counts, node.pool)
                offsets[node.name] = offsets[node.name] * (node.pool.kernel[0] * node.pool.kernel[1])
            if price is not None and (node.exact or node.pool is not maximum):
                costs.append(pay(counts, price))
            codes[node.name] = counts
        raise AssertionError("the last node does not fire")

    def _copied(
        self, node: Node, codes: dict[str, Tensor], worth: dict[str, Tensor], offsets: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Codes, steps and offsets of a node that copies its source, or puts several side by side."""
        parts = []
        for term in node.terms:
            kernel = torch.tensor(term.weights, dtype=torch.float32)
            counts = convolved(codes[term.tensor], kernel, term, self.pad_code if term.tensor == INPUT else None)
            matrix = kernel.amax((2, 3)).to(worth[term.tensor].dtype)
            parts.append((counts, matrix @ worth[term.tensor], matrix @ offsets[term.tensor] * summed(node)))
        counts, steps, zeros = (torch.stack(each).sum(0) for each in zip(*parts, strict=True))
        return counts, steps, zeros

    def _sums(
        self, index: int, codes: dict[str, Tensor], worth: dict[str, Tensor], offsets: dict[str, Tensor], step: Tensor
    ) -> Tensor:
        """bias + sum of W * code in units of one count, float32; with the half of round-to-nearest."""
        node = self.nodes[index]
        real, bias = [], self.bias(index)
        for weights, term in zip(self.kernels(index), node.terms, strict=True):
            real.append(weights * worth[term.tensor][:, None, None] / step[:, None, None, None])
            bias = bias + weights.sum((2, 3)) @ offsets[term.tensor]
        bias = bias / step
        unit, lifts, half = self._units(node, [w.detach().numpy() for w in real], bias.detach().numpy())
        total: Tensor | None = None
        whole = torch.from_numpy(whole_bias(node, (bias * unit + half).detach().numpy(), unit.numpy()))
        bias = _pass(bias, whole / unit).float()
        for weights, term, lift in zip(real, node.terms, lifts, strict=True):
            scale = (unit / 2**lift).view(-1, 1, 1, 1)
            rounded = _pass(weights, (weights * scale).round() / scale).float()
            base = self.pad_code if term.tensor == INPUT else None
            part = convolved(codes[term.tensor], rounded, term, base, bias if total is None else None)
            total = part if total is None else total + part
        assert total is not None, "a node reads something"
        return total

    def _units(self, node: Node, real: list[np.ndarray], bias: np.ndarray) -> tuple[Tensor, list[int], Tensor]:
        """Integer units per count [channels], the shift of every source, and the half step in those units."""
        arithmetic = self.conversion.arithmetic
        spans = [self.spans[term.tensor] for term in node.terms]
        if not node.fires:
            lifts = [term.lift for term in node.terms]
            factor = common_factor(real, bias, spans, lifts, arithmetic)
            unit = torch.full((node.channels,), factor, dtype=torch.float64)
            return unit, lifts, torch.zeros_like(unit)
        shift, lifts = thresholds(node.name, real, bias, spans, self.conversion.groups[node.name], arithmetic)
        unit = torch.tensor(np.ldexp(1.0, shift))
        self.places[node.name] = int(shift.min())
        # Of a curve and of a table, the thresholds carry it.
        half = nearest(node, arithmetic) and node.curve is None and node.name not in self.conversion.levels
        return unit, lifts, (unit / 2).floor() if half else torch.zeros_like(unit)

    def result(self) -> Conversion:
        """The trained weights, biases and steps as a `Conversion`."""
        nodes, steps = [], {}
        for index, node in enumerate(self.nodes):
            terms = tuple(
                dataclasses.replace(term, weights=weights.detach().numpy().copy())
                for weights, term in zip(self.kernels(index), node.terms, strict=True)
            )
            nodes.append(dataclasses.replace(node, terms=terms, bias=self.bias(index).detach().numpy().copy()))
            if str(index) in self.steps:
                steps[node.name] = self.step(index).detach().numpy().copy()
        graph = dataclasses.replace(self.conversion.graph, nodes=tuple(nodes))
        facts = dict(self.conversion.facts) | ({} if self.pruning is None else self.pruning.facts)
        return dataclasses.replace(self.conversion, graph=graph, steps=steps, facts=facts)


class FloatGraph(nn.Module):
    """The float network of a `Conversion` in torch, without gradients: the teacher.

    kind: what it computes with; bfloat16 takes half the time of float32 on processors that have it.
    """

    def __init__(self, conversion: Conversion, kind: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.kind = kind
        self.nodes = conversion.original.nodes
        self.pad = torch.tensor(conversion.original.pad, dtype=kind).view(1, -1, 1, 1)
        self.weights = [[torch.tensor(t.weights).to(kind) for t in node.terms] for node in self.nodes]
        self.biases = [torch.tensor(node.bias).to(kind) for node in self.nodes]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W]."""
        tensors = {INPUT: images.to(self.kind)}
        for node, weights, bias in zip(self.nodes, self.weights, self.biases, strict=True):
            value = None
            for term, kernel in zip(node.terms, weights, strict=True):
                base = self.pad if term.tensor == INPUT else None
                part = convolved(tensors[term.tensor], kernel, term, base, bias if value is None else None)
                value = part if value is None else value.add_(part)
            assert value is not None
            if node.fires:
                if node.staircase is not None:
                    value = climbed(value, node.staircase)
                elif not node.exact:
                    value = activated(value, node)
                value = pooled(value, node.pool) if node.pool is not None else value
            tensors[node.name] = value
        return tensors[self.nodes[-1].name].flatten(1).to(images.dtype)


def quick() -> torch.dtype:
    """The kind of number that a teacher answers in soonest, on this processor."""
    return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32


def kernel_norms(weights: np.ndarray) -> Tensor:
    """The Euclidean norm of every channel's kernel, as powers of two, so that dividing by it changes no bit."""
    return _power_of_two(np.sqrt((weights**2).sum((1, 2, 3))))


def _power_of_two(values: np.ndarray) -> Tensor:
    """The nearest powers of two [channels]; 1 for 0."""
    return torch.tensor(np.exp2(np.rint(np.log2(np.where(values > 0, values, 1.0)))))


def _pass(value: Tensor, rounded: Tensor) -> Tensor:
    """`rounded`, exactly, with the gradient of `value`."""
    return rounded.detach() + (value - value.detach())


def climbed(value: Tensor, staircase: Staircase) -> Tensor:
    """`Staircase.__call__` of [N, C, H, W]."""
    step = torch.tensor(staircase.step, dtype=value.dtype).view(1, -1, 1, 1)
    counts = value / step
    rounded = {
        "half even": counts.round(), "half up": (counts + 0.5).floor(), "floor": counts.floor(),
        "below": counts.ceil() - 1,
    }  # fmt: skip
    return rounded[staircase.rounding].clamp(staircase.low, staircase.groups) * step


def _diagonal(term: Term) -> bool:
    """Whether the term scales the tensor's channels one by one."""
    return (
        term.whole
        and term.weights.shape[0] == term.weights.shape[1]
        and not np.any(term.weights[:, :, 0, 0] * (1 - np.eye(len(term.weights))))
    )


def _spread(tensor: Tensor, term: Term) -> Tensor:
    """`network/spread.py` of [N, C, H, W]."""
    fields = tensor.repeat_interleave(term.up[0], 2).repeat_interleave(term.up[1], 3)
    if term.held:
        return fields
    first = torch.zeros(fields.shape[2:])
    first[:: term.up[0], :: term.up[1]] = 1
    return fields * first


def convolved(
    tensor: Tensor, weights: Tensor, term: Term, base: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """One term, with a bias [channels]; the image's padding holds `base`."""
    if term.up != (1, 1):
        tensor = _spread(tensor, term)
    top, bottom, left, right = term.padding
    if base is None and (top, left) == (bottom, right):
        if _diagonal(term):
            part = tensor * weights.diagonal()[0, 0].view(1, -1, 1, 1)
            return part if bias is None else part + bias.view(1, -1, 1, 1)
        return F.conv2d(tensor, weights, bias, term.stride, (top, left), term.dilation)
    if any(term.padding):
        around = (left, right, top, bottom)
        tensor = F.pad(tensor, around) if base is None else F.pad(tensor - base, around) + base
    return F.conv2d(tensor, weights, bias, term.stride, 0, term.dilation)


def pooled(counts: Tensor, pool: Pool) -> Tensor:
    """Maximum or sum of every window, clipped to the map."""
    top, bottom, left, right = pool.padding
    if any(pool.padding):
        counts = F.pad(counts, (left, right, top, bottom), value=-torch.inf if pool.kind == "max" else 0.0)
    if pool.kind == "max":
        return F.max_pool2d(counts, pool.kernel, pool.stride)
    return F.avg_pool2d(counts, pool.kernel, pool.stride, divisor_override=1)
