# SPDX-License-Identifier: Apache-2.0
"""Refitted weights lie on the integers' grid, follow the float network more closely and keep zeros."""

import numpy as np
import pytest
from networks import float_graph

from onespike.model import golden
from onespike.model.converter import prepare
from onespike.model.graph import Term
from onespike.model.least_squares import round_in_turn
from onespike.model.refit import patches


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
        ((2, 3), (2, 1), (0, 1, 2, 0), (1, 2)),
        ((5, 4), (1, 1), (0,) * 4, (1, 1)),
    ],
)
def test_patches_are_what_the_golden_model_sums(kernel, stride, padding, dilation):
    rng = np.random.default_rng(0)
    term = Term(tensor="t", weights=rng.integers(-9, 9, (4, 3, *kernel)).astype(float), stride=stride, padding=padding,
                dilation=dilation)  # fmt: skip
    codes, pad = rng.integers(0, 16, (2, 5, 6, 3)).astype(np.float32), np.array([1, 2, 3], np.float32)
    matrix = term.weights.transpose(2, 3, 1, 0).reshape(-1, 4).astype(np.float32)
    wanted = golden.accumulate(codes, term, matrix, pad).reshape(-1, 4)
    every = patches(term, codes, pad, np.arange(len(wanted)))
    np.testing.assert_array_equal(every @ term.weights.reshape(4, -1).T, wanted)
    np.testing.assert_array_equal(patches(term, codes, pad, np.array([1, 3])), every[[1, 3]])


def test_rounding_in_turn_takes_over_errors():
    rng = np.random.default_rng(1)
    read = rng.normal(size=(400, 8)) @ rng.normal(size=(8, 40)) + 0.3 * rng.normal(size=(400, 40))
    gram, weights = read.T @ read, rng.uniform(-4, 4, (16, 40))

    def error(rounded):
        return np.einsum("oi,ij,oj->o", weights - rounded, gram, weights - rounded).sum()

    found = round_in_turn(weights, gram, 7)
    assert np.array_equal(found, np.rint(found))
    assert error(found) < 0.5 * error(np.rint(weights))
    assert np.abs(round_in_turn(weights * 10, gram, 7)).max() == 7
    np.testing.assert_array_equal(round_in_turn(weights, np.eye(40), 7), np.rint(weights))


def test_logits_follow_the_float_network_more_closely():
    graph, images = float_graph()
    wanted = graph.run(images)
    errors = []
    for refit in (False, True):
        conversion = prepare(graph, None, images[:128], groups=5, weight_bits=5, refit=refit)
        found = conversion.net.golden(images) * conversion.net.layers[-1].step
        errors.append(float(((found - wanted) ** 2)[128:].mean()))
    assert errors[1] < 0.9 * errors[0]


def test_pruned_weights_stay_zero():
    graph, images = float_graph()
    pruned = graph.nodes[1].terms[0].weights
    pruned[np.abs(pruned) < np.median(np.abs(pruned))] = 0
    conversion = prepare(graph, None, images[:64])
    found = conversion.graph.nodes[1].terms[0].weights
    assert not found[pruned == 0].any() and not np.array_equal(found, pruned)
    assert not conversion.net.layers[1].sources[0].weights[pruned == 0].any()
    shortcut = conversion.graph.nodes[2].terms[1].weights[:, :, 0, 0]
    np.testing.assert_array_equal(shortcut, np.eye(8))
