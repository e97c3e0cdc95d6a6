# SPDX-License-Identifier: Apache-2.0
"""Row pruning: weight rows that matter least become zero while the network is fine-tuned, and cost no cycle then.

Of every layer rows go that take the same share of its cycles. The first to go are those whose absence changes the
layer's sums least for each cycle that it saves: sum of (W / step)**2 over the row's channels, times the mean square of
the values that it meets, divided by its events. Pruning is gradual (Zhu and Gupta, arXiv 1710.01878): after a share t
of the steps in which rows go, 1 - (1 - t)**3 of them are gone. A row that is gone stays so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..convert.converter import Conversion
from ..errors import OneSpikeError
from ..frontend.graph import Node, Term
from ..network.spec import INPUT
from .row_costs import RowStatistics, rows_of, statistics, terms

PART = 0.5  # of the steps in which rows go; in the others the network recovers
ROUNDS = 50  # in which they go


class RowPruning(nn.Module):
    """The rows of a network that are kept; its state goes into checkpoints.

    Whole stay: the last layer, which takes few cycles; a convolution of the image, whose few rows carry everything
    behind them; terms of one weight a channel, as in shortcuts. Every block of output channels keeps a row at least.

    share: of the rows of every other layer, weighed by their events, that goes at most; below 1. lanes: output channels
    of a row. images: training images [N, C, H, W] that events are counted on, once, before any row goes. Raises
    OneSpikeError for a share that leaves a layer without rows.
    """

    def __init__(self, conversion: Conversion, images: np.ndarray, share: float, lanes: int = 16) -> None:
        super().__init__()
        check(share, lanes)
        self.share, self.lanes = share, lanes
        self.of_node: dict[int, list[int]] = {}
        self.importance: dict[tuple[int, int], Tensor] = {}  # of a squared weight, per event [out, in, kh, kw]
        self.events: dict[tuple[int, int], Tensor] = {}  # of an image, of every row [blocks, in, kh, kw]
        self.rounds: Tensor
        self.register_buffer("rounds", torch.tensor(0))  # of pruning that are done
        found = statistics(conversion, images)
        places = {name: shape[1] * shape[2] for name, shape in conversion.one_step.conv_shapes.items()}
        for index, number, node, term in terms(conversion):
            if stays(node, term, places[node.name]):
                continue
            self.of_node.setdefault(index, []).append(number)
            self.importance[index, number] = _importance(found[index, number], conversion.steps.get(node.name))
            live = rows_of(term.weights != 0, lanes).any(1)
            self.register_buffer(_name(index, number), torch.from_numpy(live))
            self.events[index, number] = torch.from_numpy(found[index, number].events).expand(live.shape)
        if not self.of_node:
            raise OneSpikeError(
                "No layer has rows to prune: the last layer, a convolution of the image and shortcuts stay whole."
            )
        self.total = {index: float(self._costs(index).sum()) for index in self.of_node}
        self._check(conversion.graph.nodes)

    @property
    def facts(self) -> dict[str, Any]:
        """What the network says of itself, so that an engine of other lanes can be told from the one it is for."""
        return {"prune_rows": self.share, "prune_lanes": self.lanes}

    def kept(self, index: int, number: int) -> Tensor | None:
        """Whether each row of a term is kept, bool [blocks, in, kh, kw]; None where all of them are."""
        return getattr(self, _name(index, number)) if (index, number) in self.importance else None

    def masked(self, index: int, number: int, live: Tensor) -> Tensor:
        """Which weights of a term there are [out, in, kh, kw]: `live`, without those of rows that are gone."""
        kept = self.kept(index, number)
        return live if kept is None else live & kept.repeat_interleave(self.lanes, 0)[: len(live)]

    @torch.no_grad()
    def after(self, done: int, steps: int, kernels: Callable[[int], list[Tensor]]) -> None:
        """To be called when so many of `steps` steps are done: prunes, where it is time to.

        kernels: gives the weights of all terms of a node, by its index, in the scale of the float network.
        """
        now = min(ROUNDS, int(done * ROUNDS / (PART * steps)))
        if now <= int(self.rounds):
            return
        self.rounds.fill_(now)
        part = gone(now / ROUNDS)
        for index in self.of_node:
            costs = self._costs(index)
            more = (part * self.share * (1 + 1e-9) - 1) * self.total[index] + float(costs.sum())
            if more > 0:
                self._prune(index, kernels(index), costs, more)

    def _prune(self, index: int, weights: list[Tensor], costs: Tensor, events: float) -> None:
        """Takes the least important rows of a node away, as many as cost so many events together."""
        squares = [weights[term] ** 2 * self.importance[index, term] for term in self.of_node[index]]
        rows = [torch.from_numpy(rows_of(found.numpy(), self.lanes).sum(1)) for found in squares]
        score, kept = torch.cat([found.flatten(1) for found in rows], 1), self._joined(index)
        score[~kept] = torch.inf
        last = score.where(kept, -torch.inf).argmax(1)  # the best of a block stays
        score[torch.arange(len(score)), last] = torch.inf
        order = score.flatten().argsort(stable=True)
        pruned = (costs.flatten()[order].cumsum(0) <= events) & score.flatten()[order].isfinite()
        kept.view(-1)[order[pruned]] = False
        at = 0
        for term in self.of_node[index]:
            part = getattr(self, _name(index, term))
            part.copy_(kept[:, at : at + part[0].numel()].view_as(part))
            at += part[0].numel()

    def _joined(self, index: int) -> Tensor:
        """Which rows of a node are kept [blocks, rows of a block]."""
        return torch.cat([getattr(self, _name(index, term)).flatten(1) for term in self.of_node[index]], 1)

    def _costs(self, index: int) -> Tensor:
        """Events of an image of a node's rows that are kept, 0 of the others [blocks, rows of a block]."""
        return torch.cat([self.events[index, term].flatten(1) for term in self.of_node[index]], 1) * self._joined(index)

    def _check(self, nodes: tuple[Node, ...]) -> None:
        """OneSpikeError where a block of any node might have no row left."""
        last = {index: float(self._costs(index).amax(1).sum()) for index in self.of_node}
        shares = [(1 - last[index] / self.total[index], index) for index in self.of_node if self.total[index]]
        most, index = min(shares, default=(1.0, 0))
        if self.share > most:
            raise OneSpikeError(
                f"Pruning {self.share:g} of the rows leaves too few in layer {nodes[index].name!r}, where one must "
                f"stay for each {self.lanes} output channels; prune at most "
                f"{max(0, math.floor(100 * most)) / 100:g}."
            )


def gone(part: float) -> float:
    """Of what is pruned in the end, how much is after this part of the steps in which pruning takes place."""
    return 1 - (1 - part) ** 3


def check(share: float, lanes: int) -> None:
    """OneSpikeError unless share and lanes can be."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise OneSpikeError(f"prune_rows must be at least 0 and below 1, not {share!r}.")
    if isinstance(lanes, bool) or not isinstance(lanes, int) or not 1 <= lanes <= 256:
        raise OneSpikeError(f"prune_lanes must be a whole number in 1..256, not {lanes!r}.")


def stays(node: Node, term: Term, places: int) -> bool:
    """Whether a term of a node, which has so many output places, is not pruned."""
    return not node.fires or term.light or (term.tensor == INPUT and places > 1)


def _importance(found: RowStatistics, step: np.ndarray | None) -> Tensor:
    """What the square of each weight is worth per event, float64 [out or 1, in, kh, kw]; step: of the node's counts."""
    events = np.maximum(found.events, 1e-9)  # a channel that is always 0 has neither squares nor events
    worth = (found.squares[:, None, None] / events)[None]
    return torch.from_numpy(worth if step is None else worth / step[:, None, None, None] ** 2)


def _name(index: int, number: int) -> str:
    return f"kept{index}_{number}"
