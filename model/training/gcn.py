# SPDX-License-Identifier: Apache-2.0
"""A graph convolutional network of two layers (Kipf and Welling, arXiv 1609.02907), and its training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import OneSpikeError
from ..frontend.torch_threads import torch_threads
from ..system import parallel
from .graphs import GraphData, checked


class Gcn(nn.Module):
    """A relu(A X W1 + b1) W2 + b2 of features X [nodes, features] or [sets, nodes, features]; one row of logits a node.

    matrix: the normalised adjacency A, [nodes, nodes]. Dropout acts in training alone.
    """

    matrix: Tensor

    def __init__(self, matrix: np.ndarray | Tensor, features: int, classes: int, hidden: int = 8) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.from_numpy(checked(np.asarray(matrix)).astype(np.float32)))
        self.first, self.second = nn.Linear(features, hidden, bias=False), nn.Linear(hidden, classes, bias=False)
        self.bias1, self.bias2 = nn.Parameter(torch.zeros(hidden)), nn.Parameter(torch.zeros(classes))
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (len(self.matrix), self.first.in_features):
            raise OneSpikeError(
                f"The graph's matrix is for {len(self.matrix)} nodes with {self.first.in_features} features; the input "
                f"must be (sets, {len(self.matrix)}, {self.first.in_features}), not {tuple(x.shape)}."
            )
        hidden = F.relu(self.matrix @ self.first(self.dropout(x)) + self.bias1)
        return self.matrix @ self.second(self.dropout(hidden)) + self.bias2


@dataclass(frozen=True, kw_only=True)
class GraphTraining:
    """Settings of `train_gcn`; equal settings and data on the same machine give equal weights."""

    epochs: int = 200
    rate: float = 0.01
    decay: float = 5e-4
    hidden: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.hidden < 1 or not self.rate > 0:
            raise OneSpikeError(f"Epochs and hidden features must be at least 1, the rate positive: not {self}.")


def train_gcn(data: GraphData, settings: GraphTraining | None = None) -> Gcn:
    """A network for the graph of `data` in eval mode, trained by Adam on all sets of features at a time."""
    settings = settings or GraphTraining()
    if not (data.labels >= 0).any():
        raise OneSpikeError(f"No node of {data.name} has a label to learn.")
    features, labels = torch.from_numpy(data.features), torch.from_numpy(data.labels)
    with torch.random.fork_rng(devices=[]), torch_threads(parallel.chosen()):
        torch.manual_seed(settings.seed)
        module = Gcn(data.matrix, features.shape[2], data.classes, settings.hidden)
        optimiser = torch.optim.Adam(module.parameters(), settings.rate, weight_decay=settings.decay)
        for _ in range(settings.epochs):
            optimiser.zero_grad()
            loss = F.cross_entropy(module(features).flatten(0, 1), labels.flatten(), ignore_index=-1)
            loss.backward()
            optimiser.step()
    return module.eval()


def node_accuracy(module: nn.Module, data: GraphData) -> float:
    """Share of the nodes with a label that are classified rightly."""
    with torch.no_grad():
        found = module(torch.from_numpy(data.features)).argmax(-1).numpy()
    asked = data.labels >= 0
    return float((found == data.labels)[asked].mean())
