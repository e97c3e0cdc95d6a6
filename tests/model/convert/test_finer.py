# SPDX-License-Identifier: Apache-2.0
"""Weights of a file on no grid of ours: two sources for one, errors that cancel, and what notes say of them."""

import dataclasses

import numpy as np
import pytest

from onespike.model.convert.converter import prepare
from onespike.model.convert.finer import _flipped, in_two
from onespike.model.convert.quantise import Arithmetic, Scale, lossless, quantise_node
from onespike.model.frontend.graph import Graph, Node, Staircase, Term
from onespike.model.network.spec import INPUT, Image

RNG = np.random.default_rng(0)
STAIRS = Staircase(step=np.ones(3), groups=255)


def addition(*ratios):
    """A node that adds tensors of one channel three times over, each with its own ratio of scales."""
    terms = tuple(Term(tensor=f"t{i}", weights=np.eye(3)[:, :, None, None] * r) for i, r in enumerate(ratios))
    return Node(name="sum", terms=terms, bias=np.zeros(3), staircase=STAIRS)


def scales(top, low=0):
    return {f"t{i}": Scale(step=np.ones(3), offset=np.zeros(3), top=top, low=low) for i in range(2)}


@pytest.mark.parametrize(("top", "error"), [(255, 2**-13), (2295, 2**-10), (31875, 2**-7)])
def test_an_addition_has_twice_the_bits(top, error):
    """Less where an event of a long value is shifted as far as one can be, and the source can not be."""
    node, arithmetic = addition(0.7731 * 255 / top, 0.1931 * 255 / top), Arithmetic()
    layer = quantise_node(in_two(node, scales(top), STAIRS.step, arithmetic), scales(top), STAIRS.step, 255, arithmetic)
    assert len(layer.sources) > 2
    for place, ratio in enumerate((0.7731, 0.1931)):
        whole = sum(int(s.dense[0, 0, 0, 0]) << s.shift for s in layer.sources if s.tensor == f"t{place}")
        wanted = ratio * 255 / top
        assert abs(whole / 2.0 ** layer.shift[0] - wanted) < error * 255 / top
    assert max(s.shift for s in layer.sources) + 4 * -(-int(top).bit_length() // 4) - 1 <= 15
    one = quantise_node(node, scales(top), STAIRS.step, 255, arithmetic)
    assert not lossless(node, one, scales(top), STAIRS.step)


def test_exact_ratios_stay_one_source():
    node = addition(0.75, 2.0)
    assert in_two(node, scales(255), STAIRS.step, Arithmetic()) is node
    free = dataclasses.replace(addition(0.7), staircase=None)  # without steps of its own
    assert in_two(free, scales(255), STAIRS.step, Arithmetic()) is free


def test_errors_cancel():
    weights = RNG.normal(size=(6, 5, 3, 3)) * 30
    weights[0, 1] = 0
    found = _flipped(weights, 127)
    errors = found - weights
    assert (found == np.rint(found)).all() and not found[0, 1].any()
    assert np.abs(errors).max() < 1 and (np.abs(errors.sum((1, 2, 3))) <= 0.5).all()
    assert np.abs(errors).mean() < 0.3  # rounding to nearest has 0.25
    nearest = (np.rint(weights) - weights).sum((1, 2, 3))
    assert np.abs(nearest).max() > 1
    assert np.array_equal(_flipped(found, 127), found)


def test_sums_keep_their_mean():
    """Without images, a layer of counts whose weights are rounded gives what the float layer gives on average."""
    step = np.full(8, 0.37)
    node = Node(
        name="a", terms=(Term(tensor=INPUT, weights=RNG.normal(size=(8, 40, 1, 1)) * 0.05),), bias=np.full(8, 300.0),
        staircase=Staircase(step=step, groups=4095),
    )  # fmt: skip
    last = Node(name="y", terms=(Term(tensor="a", weights=np.ones((1, 8, 1, 1))),), bias=np.zeros(1), fires=False)
    image = Image(shape=(40, 1, 1), bits=8, scale=(1.0,) * 40, offset=(0.0,) * 40)
    graph = Graph(shape=(40, 1, 1), nodes=(node, last), image=image)
    images = RNG.integers(0, 256, (400, 40, 1, 1)).astype(float)
    conversion = prepare(graph, weight_bits=5)
    found = conversion.net.golden(images.astype(np.uint8), layers=True).codes["a"] * step[0]
    wanted = graph.sums(node, {INPUT: images.transpose(0, 2, 3, 1)})[:, 0, 0]
    shift = np.abs(found[:, :, 0, 0].mean(0) - wanted.mean(0))
    assert shift.max() < 1.0
    assert conversion.notes[-1] == "The weights of a are rounded to 5 bits; more weight bits come closer."


def test_sums_are_longer_where_steps_are_given():
    """Steps that cannot grow leave no other way to keep the weights' bits."""
    table = Staircase(step=np.full(4, 900.0), groups=15)
    weights = np.abs(RNG.normal(size=(4, 2000, 1, 1)))
    node = Node(name="a", terms=(Term(tensor=INPUT, weights=weights),), bias=np.zeros(4), staircase=table)
    last = Node(name="y", terms=(Term(tensor="a", weights=np.ones((1, 4, 1, 1))),), bias=np.zeros(1), fires=False)
    image = Image(shape=(2000, 1, 1), bits=8, scale=(1.0,) * 2000, offset=(0.0,) * 2000)
    graph = Graph(shape=(2000, 1, 1), nodes=(node, last), image=image)
    longer, shorter = prepare(graph).net, prepare(graph, accumulator_bits=24).net
    assert 24 < longer.accumulator_bits <= 32 and shorter.accumulator_bits <= 24
    largest = [int(np.abs(net.layers[0].sources[0].weights).max()) for net in (shorter, longer)]
    assert largest[0] < 64 <= largest[1]
    images = RNG.uniform(0, 255, (16, 2000, 1, 1)).astype(np.float32)
    free = dataclasses.replace(graph, nodes=(dataclasses.replace(node, staircase=None), last))
    assert prepare(free, None, images).net.accumulator_bits <= 24
