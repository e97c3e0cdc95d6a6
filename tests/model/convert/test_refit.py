# SPDX-License-Identifier: Apache-2.0
"""Refitted weights lie on the integers' grid, follow the float network more closely and keep zeros."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest

from networks import float_graph
from onespike.model.convert import calibrate, least_squares, refit
from onespike.model.convert.converter import prepare
from onespike.model.convert.layerwise import float_tensors
from onespike.model.convert.least_squares import (
    RIDGES,
    TURNS,
    choose_ridge,
    fit,
    fit_places,
    ridged,
    round_in_turn,
)
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


def in_plain_turns(weights: np.ndarray, gram: np.ndarray, limit: int, mask: np.ndarray) -> np.ndarray:
    """GPTQ as it is written down: each input's error moves all inputs to come, by the inverse of the Gram matrix."""
    weights, rounded = weights.copy(), np.empty_like(weights)
    spread = np.linalg.cholesky(np.linalg.inv(gram)).T
    for turn in range(weights.shape[1]):
        rounded[:, turn] = np.where(mask[:, turn], np.clip(np.rint(weights[:, turn]), -limit, limit), 0)
        error = (weights[:, turn] - rounded[:, turn]) / spread[turn, turn]
        weights[:, turn:] -= error[:, None] * spread[turn, turn:]
    return rounded


@pytest.mark.parametrize("inputs", [1, TURNS - 1, TURNS, TURNS + 1, 3 * TURNS + 7])
def test_rounding_in_turn_is_that_of_gptq(inputs):
    rng = np.random.default_rng(inputs)
    read = rng.normal(size=(600, 8)) @ rng.normal(size=(8, inputs)) + rng.normal(size=(600, inputs))
    mask = rng.random((9, inputs)) < 0.8
    weights = np.where(mask, rng.uniform(-9, 9, mask.shape), 0)
    for own in (mask, np.ones_like(mask)):
        np.testing.assert_array_equal(
            round_in_turn(weights, read.T @ read, 7, own), in_plain_turns(weights, read.T @ read, 7, own)
        )


@pytest.mark.parametrize("silent", [False, True])
def test_many_inputs_are_fitted_place_by_place(silent, monkeypatch):
    """The same as with an unknown for every input, also where inputs are silent; and no larger system is solved."""
    rng = np.random.default_rng(4)
    read, error = rng.normal(size=(60, 150)), rng.normal(size=(60, 5))
    read[:, 40:50] *= not silent
    read, error = (each.astype(np.float32) for each in (read - read.mean(0), error))
    monkeypatch.setattr(least_squares, "MANY", 32)
    for ridge in RIDGES:
        wanted = np.linalg.solve(ridged(read.astype(np.float64).T @ read, ridge), read.astype(np.float64).T @ error)
        np.testing.assert_allclose(fit_places(read, error, ridge), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    sizes, solve = [], np.linalg.solve
    monkeypatch.setattr(np.linalg, "solve", lambda a, b: sizes.append(len(a)) or solve(a, b))
    assert choose_ridge(read, read @ rng.normal(size=(150, 5)).astype(np.float32)) in (*RIDGES, np.inf)
    assert sizes == [30] * len(RIDGES)


def test_work_of_a_layer(monkeypatch):
    """What conversion takes for each layer does not depend on how many there are: one pass in floats, one in integers
    (two where a bias moves the grid), and of its Gram matrix a triangle and no inverse."""
    passes, triangles = Counter(), []
    sums, integers, cholesky = Graph.sums, calibrate.integer_sums, np.linalg.cholesky
    monkeypatch.setattr(calibrate, "in_parts", lambda graph, tensors, function: function(tensors))
    monkeypatch.setattr(Graph, "sums", lambda self, node, at: passes.update([node.name]) or sums(self, node, at))

    def counted(layer, *rest):
        passes.update([f"{layer.name} counts"])
        return integers(layer, *rest)

    monkeypatch.setattr(calibrate, "integer_sums", counted)
    monkeypatch.setattr(np.linalg, "cholesky", lambda gram: triangles.append(len(gram)) or cholesky(gram))
    monkeypatch.setattr(np.linalg, "inv", None)
    _, images = float_graph()
    for groups, depth in ((1, 1), (1, 3)):
        first, middle, last = squeezed(groups, 12)
        chain = [dataclasses.replace(middle, name=f"b{i}") for i in range(depth)]
        chain = [
            dataclasses.replace(node, terms=(dataclasses.replace(node.terms[0], tensor=f"b{i - 1}" if i else "a"),))
            for i, node in enumerate(chain)
        ]
        last = dataclasses.replace(last, terms=(dataclasses.replace(last.terms[0], tensor=chain[-1].name),))
        graph = Graph(shape=(2, 12, 12), nodes=(first, *chain, last))
        passes.clear()
        triangles.clear()
        prepare(graph, None, images[:64], groups=7)
        assert all(passes[node.name] == 1 and passes[f"{node.name} counts"] <= 2 for node in graph.nodes), passes
        assert len(triangles) <= refit.TRIES * len(graph.nodes) and triangles.count(12 * 9) == depth


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
