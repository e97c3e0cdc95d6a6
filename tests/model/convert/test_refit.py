# SPDX-License-Identifier: Apache-2.0
"""Refitted weights lie on the integers' grid, follow the float network more closely and keep zeros."""

import itertools

import numpy as np
import pytest

from networks import float_graph
from onespike.model.convert import refit
from onespike.model.convert.converter import prepare
from onespike.model.convert.layerwise import float_tensors
from onespike.model.convert.least_squares import RIDGES, choose_ridge, fit, ridged, round_in_turn
from onespike.model.convert.quantise import rounded_layers
from onespike.model.convert.refit import patches
from onespike.model.frontend.graph import Graph, Node, Term
from onespike.model.network import golden
from onespike.model.network.spec import INPUT


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
    for on in (False, True):
        conversion = prepare(graph, None, images[:128], groups=5, weight_bits=5, refit=on)
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


def test_zeros_are_kept_and_the_rest_moves():
    """Least squares over the weights that are not zero only; whole numbers of less error than rounding one by one."""
    rng = np.random.default_rng(2)
    read = rng.normal(size=(600, 8)) @ rng.normal(size=(8, 30)) + 0.3 * rng.normal(size=(600, 30))
    error, mask = rng.normal(size=(600, 5)), rng.random((5, 30)) < 0.6
    gram, cross = ridged(read.T @ read, 0.1), read.T @ error
    move = fit(gram, cross, mask)
    for channel, kept in enumerate(mask):
        exact = np.linalg.solve(gram[np.ix_(kept, kept)], cross[kept, channel])
        np.testing.assert_allclose(move[channel, kept], exact, rtol=0, atol=1e-3 * np.abs(exact).max())
    assert not move[~mask].any()
    weights = np.where(mask, rng.uniform(-4, 4, mask.shape), 0)
    found = round_in_turn(weights, gram, 7, mask)
    assert not found[~mask].any() and np.array_equal(found, np.rint(found))
    left = [np.einsum("oi,ij,oj->", weights - w, gram, weights - w) for w in (found, np.rint(weights))]
    assert left[0] < 0.6 * left[1]


def test_the_ridge_is_chosen_on_unseen_places_where_places_are_few():
    rng = np.random.default_rng(3)
    few, many = rng.normal(size=(100, 60)).astype(np.float32), rng.normal(size=(1000, 60)).astype(np.float32)
    truth = rng.normal(size=(60, 4)).astype(np.float32)
    noise = rng.normal(size=(1000, 4)).astype(np.float32)
    assert choose_ridge(few, noise[:100]) == np.inf
    assert choose_ridge(few, few @ truth) == RIDGES[0]
    assert choose_ridge(many, noise) == RIDGES[0]


def squeezed(groups: int, channels: int) -> tuple[Node, ...]:
    """A grouped 3x3 convolution between two dense layers."""
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(channels, channels, 3, 3))
    each = channels // groups
    weights *= np.kron(np.eye(groups), np.ones((each, each)))[:, :, None, None]
    first = Term(tensor=INPUT, weights=rng.normal(size=(channels, 2, 3, 3)))
    middle = Term(tensor="a", weights=weights / np.sqrt(9 * each), padding=(1, 1, 1, 1))
    last = Term(tensor="b", weights=rng.normal(size=(4, channels, 10, 10)) / 30)
    return (
        Node(name="a", terms=(first,), bias=rng.normal(size=channels) * 0.1),
        Node(name="b", terms=(middle,), bias=rng.normal(size=channels) * 0.1),
        Node(name="c", terms=(last,), bias=np.zeros(4), fires=False),
    )


@pytest.mark.parametrize(("groups", "block"), [(12, None), (3, None), (1, 40)])
def test_grouped_and_large_nodes_gain(groups, block, monkeypatch):
    """Depthwise, grouped, and one that is taken in blocks: each with less error than without refit."""
    if block:
        monkeypatch.setattr(refit, "LARGEST", block)
        monkeypatch.setattr(refit, "BLOCK", block)
    _, images = float_graph()
    graph = Graph(shape=(2, 12, 12), nodes=squeezed(groups, 12))
    wanted = graph.sums(graph.nodes[1], float_tensors(graph, images[128:]))
    errors = []
    for on in (False, True):
        conversion = prepare(graph, None, images[:128], groups=7, weight_bits=4, refit=on)
        kernel = conversion.graph.nodes[1].terms[0].weights
        assert np.array_equal(kernel != 0, kernel.astype(bool) & (graph.nodes[1].terms[0].weights != 0))
        counts = conversion.net.golden(images[128:], layers=True).codes["b"].transpose(0, 2, 3, 1)
        step = conversion.steps["b"]
        errors.append(((counts * step - np.clip(wanted, 0, 7 * step)) ** 2).mean())
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("accumulator_bits", [20, 24])
def test_more_groups_never_cost_accuracy(accumulator_bits):
    """Weights of 16 bits fill the accumulator: what refit has rounded is not rounded again, and the sums that the next
    layer is calibrated on are those of the integers that are used."""
    rng = np.random.default_rng(6)
    names = [INPUT, *"abcde"]
    nodes = tuple(
        Node(
            name=name,
            terms=(Term(tensor=tensor, weights=rng.normal(size=(24, 24, 1, 1)) * np.sqrt(2 / 24)),),
            bias=rng.normal(size=24) * 0.1,
            fires=name != "e",
        )
        for tensor, name in itertools.pairwise(names)
    )
    graph = Graph(shape=(24, 1, 1), nodes=nodes)
    images = np.clip(rng.random((700, 3)) @ rng.random((3, 24)) / 2 + 0.1 * rng.random((700, 24)), 0, 1)
    images = images.reshape(-1, 24, 1, 1).astype(np.float32)
    wanted = graph.run(images)[512:]
    last = np.inf
    for groups in (15, 31, 63):
        errors = []
        for on in (False, True):
            conversion = prepare(graph, None, images[:512], groups=groups, weight_bits=16, refit=on,
                                 accumulator_bits=accumulator_bits)  # fmt: skip
            found = conversion.net.golden(images[512:]) * conversion.net.layers[-1].step
            errors.append(float(((found - wanted) ** 2).mean() / wanted.var()))
            if on:
                lossy = rounded_layers(
                    conversion.graph, conversion.net, conversion.image, conversion.steps, conversion.groups
                )
                assert not lossy
        assert errors[1] < min(1.1 * errors[0], last)
        last = errors[1]
