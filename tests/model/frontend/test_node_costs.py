# SPDX-License-Identifier: Apache-2.0
"""What a graph's matrix costs by rows and words, and what is stored because of it."""

import numpy as np
import pytest
import torch

from onespike.model.frontend.importer import import_module
from onespike.model.frontend.node_costs import LANES, Mixing
from onespike.model.training.gcn import Gcn
from onespike.model.training.graphs import synthetic


def reached(matrix: np.ndarray, together: int) -> int:
    """Weights of the rows of so many nodes that are not all zero, counted one by one."""
    total = 0
    for first in range(0, len(matrix), together):
        block = matrix[first : first + together]
        total += sum(len(block) for column in block.T if column.any())
    return total


@pytest.mark.parametrize("seed", range(5))
def test_rows_or_words_whichever_take_longer(seed):
    rng = np.random.default_rng(seed)
    nodes, columns, inputs = (int(n) for n in rng.integers(2, 50, 3))
    for features in (3, LANES - 1, LANES, 40):
        matrix = rng.random((nodes, columns)) < rng.choice([0.02, 0.3, 1.0])
        for is_map in (False, True):
            mixing = Mixing(matrix=matrix, features=features, inputs=inputs, is_map=is_map)
            alone = reached(matrix, 1 if features >= LANES else LANES) * features * inputs
            for rate, wide in ((0.5, False), (0.5, True), (50.0, True)):
                words = nodes * features * columns * inputs / (4 if wide else 8)
                assert mixing.composed(rate, wide) == pytest.approx(max(alone * rate, words))
            made = columns * features * inputs * 0.5
            words = nodes * features * (columns if is_map else columns * features / 4)
            read = reached(matrix, LANES) * features * 2.0
            assert mixing.apart(0.5, 2.0, True) == pytest.approx(made + max(read, words))


def sums_stored(nodes: int, hidden: int, classes: int) -> list[str]:
    """Layers that keep their sign, of a graph convolution network of two layers."""
    torch.manual_seed(0)
    data = synthetic("train", nodes)
    module = Gcn(data.matrix, data.features.shape[2], classes, hidden).eval()
    graph = import_module(module, torch.from_numpy(data.features[:1]))
    return [node.name for node in graph.nodes if node.signed]


def test_few_features_are_stored_many_are_not():
    """Of few features X W is stored in both layers; of many, reading all words of all nodes costs more than A W."""
    assert sums_stored(24, 8, 4) == ["first", "second"]
    assert sums_stored(24, 8, 32) == ["first"]
