# SPDX-License-Identifier: Apache-2.0
"""The edges of the quantiser: limits of weights and accumulators, rounding without a fraction, clip levels."""

import numpy as np
import pytest

from onespike.model.convert.calibrate import BINS, Clipping, clip_levels
from onespike.model.convert.converter import groups_by_layer
from onespike.model.convert.exact import Span, most_lift
from onespike.model.convert.quantise import Arithmetic, Scale, quantise_node
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.graph import Graph, Node, Term
from onespike.model.network.spec import INPUT


def node_of(weights, bias=(0.0,), **options):
    term = Term(tensor=INPUT, weights=np.array(weights, float).reshape(len(bias), -1, 1, 1))
    return Node(name="n", terms=(term,), bias=np.array(bias, float), **options)


def layer_of(node, groups=8, step=1.0, top=255, **arithmetic):
    channels = node.terms[0].weights.shape[1]
    scale = {INPUT: Scale(step=np.ones(channels), offset=np.zeros(channels), top=top)}
    return quantise_node(node, scales=scale, step=np.full(node.channels, step), groups=groups,
                         arithmetic=Arithmetic(**arithmetic))  # fmt: skip


def test_without_a_fraction_there_is_no_half():
    """k = 0: counts are whole sums already; a half would make 1 of 0.5 and round the bias up."""
    layer = layer_of(node_of([[100.3], [90.2]], (1.0, -3.0)))
    assert layer.shift.tolist() == [0, 0]
    assert layer.sources[0].weights.ravel().tolist() == [100, 90] and layer.bias.tolist() == [1, -3]
    assert layer_of(node_of([[60.3]], (1.0,))).bias.tolist() == [2 + 1]  # k = 1: its half is 1


@pytest.mark.parametrize(("bits", "limit"), [(4, 7), (8, 127), (16, 32767)])
def test_the_largest_weight_may_round_down_to_the_limit(bits, limit):
    for peak, k in ((limit + 0.45, 3), (limit + 0.55, 2)):
        layer = layer_of(node_of([[peak / 8, 0.1]]), top=1, weight_bits=bits)
        assert layer.shift.tolist() == [k]
        assert layer.sources[0].weights.max() == (limit if k == 3 else np.rint(peak / 2))


def test_so_may_the_largest_of_a_shifted_shortcut():
    """Two shortcuts, the larger of 127.45 where the smaller is 32: the kernel beside them keeps its twelve places."""
    kernel = np.random.default_rng(0).uniform(0.5, 1, (2, 2, 3, 3)) * 0.03
    kernel[:, 0, 0, 0] = 0.03
    shortcut = np.diag([1.0, 127.45 / 32])[:, :, None, None]
    terms = (Term(tensor="a", weights=kernel, padding=(1, 1, 1, 1)), Term(tensor="b", weights=shortcut))
    scale = Scale(step=np.ones(2), offset=np.zeros(2), top=8)
    node = Node(name="n", terms=terms, bias=np.zeros(2))
    layer = quantise_node(node, {"a": scale, "b": scale}, np.ones(2), 8, Arithmetic())
    assert layer.shift.tolist() == [12, 12] and layer.sources[1].shift == 7
    assert np.diag(layer.sources[1].dense[:, :, 0, 0]).tolist() == [32, 127]


@pytest.mark.parametrize(("spare", "k"), [(100, 4), (-100, 3)])
def test_the_accumulator_keeps_room_for_half_a_step_of_every_weight(spare, k):
    """100 weights on codes up to 255: half of 25,500 is kept free in a quarter of the accumulator."""
    weights = np.random.default_rng(0).uniform(0.9, 1.1, 100)
    reach = 2.0**18 - 25500 / 2 - spare
    layer = layer_of(node_of([weights * (reach / 16 / 255 / weights.sum())]), accumulator_bits=20)
    assert layer.shift.tolist() == [k]


def test_a_place_less_where_rounding_needs_most_of_the_accumulator():
    """600 weights: 76,500 of 262,144 are kept free, so that sums of 120,000 fit but not twice as much."""
    weights = np.random.default_rng(0).uniform(0.9, 1.1, 600)
    layer = layer_of(node_of([weights * (120000 / 16 / 255 / weights.sum())]), accumulator_bits=20)
    assert layer.shift.tolist() == [4]


def test_the_last_layer_keeps_room_for_a_step_of_every_weight():
    weights = np.random.default_rng(0).uniform(0.9, 1.1, (1, 100))
    layer = layer_of(node_of(weights, fires=False), groups=0, accumulator_bits=18)
    assert 1 / layer.step == pytest.approx((2**17 - 25500 - 1) / (255 * weights.sum()))
    # Weights that are whole multiples of one unit need no room: they stay what they are.
    whole = np.rint(weights * 4.9)
    layer = layer_of(node_of(whole * 0.3, fires=False), groups=0, accumulator_bits=18)
    np.testing.assert_array_equal(layer.sources[0].weights.ravel(), whole.ravel())


def test_whole_weights_need_no_room_for_rounding():
    """What has been rounded to a grid that fits is not rounded again, at every size of its sums."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        whole = rng.integers(-9, 10, (3, 100)).astype(float)
        whole[:, 0] = 9
        whole *= np.minimum(1, np.floor(2**18 / (255 * np.abs(whole).sum(1, keepdims=True))))
        step = rng.uniform(0.5, 2)
        node = node_of(whole * step / 8, rng.normal(size=3))  # k = 3 at least
        layer = layer_of(node, step=step, accumulator_bits=20)
        np.testing.assert_allclose(layer.sources[0].weights[:, :, 0, 0] * np.exp2(3 - layer.shift)[:, None], whole)


def test_mse_clip_of_counts_that_are_rounded_down():
    sums = np.random.default_rng(1).exponential(size=(50, 8, 8, 1)).astype(np.float32)
    chosen = clip_levels(sums, node_of([[1.0]]), 7, False, Clipping())[0]

    def error(clip):
        return ((sums - np.clip(np.floor(sums / clip * 7), 0, 7) * clip / 7) ** 2).mean()

    assert error(chosen) < 1.02 * min(error(clip) for clip in np.linspace(0.1, sums.max(), 400))
    assert chosen < 0.95 * clip_levels(sums, node_of([[1.0]]), 7, True, Clipping())[0]


@pytest.mark.parametrize("percent", [25, 50, 75, 100])
def test_the_percentile_is_exact(percent):
    """One value in every bin: the clip is the upper edge of the bin that completes the share."""
    values = ((np.arange(BINS) + 0.5) / BINS).astype(np.float32).reshape(1, -1, 1, 1)
    clip = clip_levels(values, node_of([[1.0]]), 8, True, Clipping(method="percentile", percentile=percent))
    assert clip[0] == values.max() * np.float64(percent / 100)


def test_the_most_groups():
    last = Node(name="l", terms=(Term(tensor="n", weights=np.ones((1, 1, 1, 1))),), bias=np.zeros(1), fires=False)
    graph = Graph(shape=(1, 1, 1), nodes=(node_of([[1.0]]), last))
    assert groups_by_layer(graph, 4095) == {"n": 4095} and groups_by_layer(graph, 1) == {"n": 1}
    with pytest.raises(OneSpikeError, match=r"^groups of layer 'n' must be a whole number in 1\.\.4095, not 4096\.$"):
        groups_by_layer(graph, 4096)


@pytest.mark.parametrize(
    ("span", "most"), [(Span(0, 1), 15), (Span(0, 15), 12), (Span(0, 16), 11), (Span(0, 255), 8), (Span(-5, 3), 8)]
)
def test_weights_are_shifted_as_far_as_the_codes_beside_them_leave(span, most):
    """An event is shifted by at most 15, its code's own place included; values with a sign have eight bits."""
    assert most_lift(span) == most
