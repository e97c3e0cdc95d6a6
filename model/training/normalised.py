# SPDX-License-Identifier: Apache-2.0
"""The float network with batch norm behind its kernels again, to be trained in half of the time of the integers.

Importing has folded batch norm into the weights, and without it a network that has lost half of its weights recovers
slowly. Here every kernel has one of its own (Ioffe and Szegedy, arXiv 1502.03167), which begins as what changes nothing
on some images, and is folded again at the end. Nothing is quantised: conversion comes afterwards.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ..convert.converter import Conversion
from ..errors import OneSpikeError
from ..frontend.graph import Graph, Node, Term
from ..network.spec import INPUT
from .clamped import convolved, kernel_norms, pooled
from .firing import activated
from .prune import RowPruning

BEGUN = 512  # images that batch norm begins with the statistics of


class Normalised(nn.Module):
    """The float network of a `Conversion`, as it was imported, with trainable weights, biases and batch norm.

    Kernels of one weight a channel, as in shortcuts, are not trained, and have no batch norm; the last layer has none,
    either. Weights of zero stay zero. images: float [N, C, H, W] in the module's own scale, of which no more than BEGUN
    are used. pruning: of the same conversion: what rows of weights are zero, too. kind: what it computes with;
    parameters and batch norm are float32.
    Raises OneSpikeError for a network that brings the steps of its activations along.
    """

    def __init__(
        self,
        conversion: Conversion,
        images: np.ndarray,
        pruning: RowPruning | None = None,
        kind: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.graph, self.pruning, self.kind = conversion.original, pruning, kind
        self.pad = torch.tensor(self.graph.pad, dtype=torch.float32).view(1, -1, 1, 1)
        self.kernels_of, self.norms_of = nn.ModuleList(), nn.ModuleList()
        self.biases = nn.ParameterList()
        self.live: list[list[Tensor]] = []
        self.scales: list[list[Tensor]] = []
        for node in self.graph.nodes:
            if node.staircase is not None:
                raise OneSpikeError(
                    f"Layer {node.name!r} is quantised already, and has no float network to train; leave out "
                    f"train_float (--float-epochs)."
                )
            scales = [kernel_norms(term.weights).view(-1, 1, 1, 1).float() for term in node.terms]
            weights = [torch.tensor(term.weights, dtype=torch.float32) for term in node.terms]
            self.scales.append(scales)
            self.live.append([found != 0 for found in weights])
            self.kernels_of.append(
                nn.ParameterList(
                    nn.Parameter(found / scale, trained(node, term))
                    for found, scale, term in zip(weights, scales, node.terms, strict=True)
                )
            )
            self.norms_of.append(
                nn.ModuleList(
                    nn.BatchNorm2d(node.channels) if normed(node, term) else nn.Identity() for term in node.terms
                )
            )
            bias = torch.tensor(node.bias, dtype=torch.float32)
            self.biases.append(nn.Parameter(bias, not any(normed(node, term) for term in node.terms)))
        self._begin(torch.from_numpy(images[:: -(-len(images) // BEGUN)]))
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, classes] of images [N, C, H, W] in the module's own scale."""
        with torch.autocast("cpu", self.kind, enabled=self.kind != torch.float32):
            return self._answers(images).flatten(1).to(images.dtype)

    def _answers(self, images: Tensor, begin: bool = False) -> Tensor:
        """The last node's sums; begin: set every batch norm, from the images, to what changes nothing."""
        tensors, value = {INPUT: images}, images
        for index, node in enumerate(self.graph.nodes):
            value = self._sums(index, node, tensors, begin)
            if node.fires:
                value = value if node.exact else activated(value, node)
                value = pooled(value, node.pool) if node.pool is not None else value
            tensors[node.name] = value
        return value

    def _sums(self, index: int, node: Node, tensors: dict[str, Tensor], begin: bool) -> Tensor:
        norms = [self._norm(index, number) for number in range(len(node.terms))]
        total: Tensor | None = None
        for number, term in enumerate(node.terms):
            norm = norms[number]
            part = tensors[term.tensor]
            if trained(node, term) or not term.identity:
                base = self.pad if term.tensor == INPUT else None
                part = convolved(part, self._weights(index, number, norm is not None), term, base)
            if norm is not None:
                if begin:
                    first = not any(norms[:number])
                    _unchanging(norm, part, self.scales[index][number], self.biases[index], first)
                part = norm(part)
            total = part if total is None else total + part
        assert total is not None, "a node reads something"
        return total if any(norms) or node.exact else total + self.biases[index].view(1, -1, 1, 1)

    @torch.no_grad()
    def _begin(self, images: Tensor) -> None:
        self.eval()
        self._answers(images.contiguous(memory_format=torch.channels_last), begin=True)

    def _norm(self, index: int, number: int) -> nn.BatchNorm2d | None:
        """The batch norm of a term, where it has one."""
        norm = cast(nn.ModuleList, self.norms_of[index])[number]
        return norm if isinstance(norm, nn.BatchNorm2d) else None

    def _weights(self, index: int, number: int, bare: bool) -> Tensor:
        """A term's weights as they are now; bare: as batch norm is to scale them."""
        live = self.live[index][number]
        if self.pruning is not None:
            live = self.pruning.masked(index, number, live)
        weights = cast(nn.ParameterList, self.kernels_of[index])[number] * live
        return weights if bare else weights * self.scales[index][number]

    @torch.no_grad()
    def kernels(self, index: int) -> list[Tensor]:
        """The weights of a node's terms, batch norm folded, float64 [out, in, kh, kw] each."""
        return [self._folded(index, number)[0] for number in range(len(self.graph.nodes[index].terms))]

    def _folded(self, index: int, number: int) -> tuple[Tensor, Tensor]:
        """Weights and bias [channels] that a term has without its batch norm."""
        norm = self._norm(index, number)
        if norm is None:
            weights = self._weights(index, number, False).double()
            return weights, torch.zeros(len(weights), dtype=torch.float64)
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weights = self._weights(index, number, True).double() * scale.view(-1, 1, 1, 1)
        return weights, norm.bias.double() - norm.running_mean.double() * scale

    @torch.no_grad()
    def result(self) -> Graph:
        """The trained network, batch norm folded; what was not trained is as it was, to the bit."""
        nodes = []
        for index, node in enumerate(self.graph.nodes):
            if not any(trained(node, term) for term in node.terms):
                nodes.append(node)
                continue
            folded = [self._folded(index, number) for number in range(len(node.terms))]
            biased = not any(normed(node, term) for term in node.terms)  # otherwise batch norm has its bias
            bias = sum((found for _, found in folded), self.biases[index].double() * biased)
            terms = tuple(
                dataclasses.replace(term, weights=weights.numpy()) if trained(node, term) else term
                for term, (weights, _) in zip(node.terms, folded, strict=True)
            )
            nodes.append(dataclasses.replace(node, terms=terms, bias=bias.numpy()))
        return dataclasses.replace(self.graph, nodes=tuple(nodes))


def trained(node: Node, term: Term) -> bool:
    """Whether the weights of a term change."""
    return not node.exact and not (node.fires and term.light)


def normed(node: Node, term: Term) -> bool:
    """Whether a term has a batch norm."""
    return node.fires and trained(node, term)


@torch.no_grad()
def _unchanging(norm: nn.BatchNorm2d, sums: Tensor, scale: Tensor, bias: Tensor, first: bool) -> None:
    """Sets a batch norm so that it scales sums [N, C, H, W] by scale [C, 1, 1, 1], and adds the bias if it is first."""
    assert norm.running_mean is not None and norm.running_var is not None
    variance, mean = torch.var_mean(sums, (0, 2, 3), correction=0)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_(scale.flatten() * (variance + norm.eps).sqrt())
    norm.bias.copy_(scale.flatten() * mean + (bias if first else 0))
