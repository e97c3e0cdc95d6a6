# SPDX-License-Identifier: Apache-2.0
"""Phase coding of a trained network: its tables, the base that suits real activations, and what is refused."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

from networks import float_graph
from onespike.model.convert import phase_base
from onespike.model.convert.converter import convert, prepare
from onespike.model.convert.phase import CUBE_ROOT, table_of, usable
from onespike.model.errors import OneSpikeError
from onespike.model.frontend.curve import Curve
from onespike.model.frontend.graph import Graph
from onespike.model.network.codes import MULTIPLES, level_terms
from onespike.model.network.storage import hidden
from onespike.model.neurons.phase import round_code

GRAPH, IMAGES = float_graph()


@pytest.mark.parametrize(("phases", "least"), [(15, 4), (16, 3), (12, 4), (7, 3), (4, 3)])
def test_the_cube_root_has_levels_of_one_event(phases, least):
    table = table_of(CUBE_ROOT, phases)
    assert len(table.levels) == phases + 1 and table.levels[1] == least
    assert all(len(level_terms(level, MULTIPLES[-1])) == 1 for level in table.levels[1:])
    falling = np.array(table.levels[:0:-1]) / table.levels[-1] * 0.75
    np.testing.assert_allclose(falling, CUBE_ROOT ** -np.arange(1.0, phases + 1), rtol=0.06)
    doubled = np.ldexp(table.thresholds, 1 - table.fraction)
    assert [a + b for a, b in itertools.pairwise(table.levels[1:])] == doubled[1:].tolist()  # in the middle


@pytest.mark.parametrize(("base", "phases"), [(1.28, 15), (1.4, 12), (2**0.25, 15), (1.2, 10), (2.0, 8)])
def test_a_free_base_takes_up_to_two_events_in_four_bits(base, phases):
    table = table_of(base, phases)
    assert all(1 <= len(level_terms(level, MULTIPLES[-1])) <= 2 for level in table.levels[1:])
    falling = np.array(table.levels[:0:-1], float)
    np.testing.assert_allclose(falling, 2**8 * base ** -np.arange(1.0, phases + 1), rtol=0.03, atol=0.5)


@pytest.mark.parametrize(
    ("base", "phases", "code", "field"),
    [(CUBE_ROOT, 15, "levels", 4), (1.3, 15, "levels", 4), (CUBE_ROOT, 16, "levels", 8), (2**0.25, 24, "levels", 8),
     (1.2, 24, "levels", 8), (1.12, 31, "signed", 8)],
)
def test_fifteen_phases_and_silence_fit_four_bits(base, phases, code, field):
    net = convert(GRAPH, None, IMAGES[:64], method="phase", base=base, phases=phases)
    held = hidden(net, net.layers[0], MULTIPLES[-1])
    assert (held.code, held.field) == (code, field)


def test_more_phases_come_closer_to_the_float_network():
    wanted = GRAPH.run(IMAGES[64:])
    distances = []
    for base, phases in ((1.7, 5), (CUBE_ROOT, 15), (1.2, 24)):
        net = convert(GRAPH, None, IMAGES[:64], method="phase", base=base, phases=phases)
        found = net.golden(IMAGES[64:]) * net.layers[-1].step
        distances.append(np.abs(found - wanted).mean() / np.abs(wanted).mean())
    assert distances[0] > distances[1] > distances[2] and distances[1] < 0.1


@pytest.mark.parametrize(
    ("phases", "base", "least", "root", "of_root"), [(16, 1.28, 3.06, 3, 3.08), (24, 1.20, 2.17, 4, 2.19)]
)
def test_minima_of_the_paper(phases, base, least, root, of_root):
    values = phase_base.normal()
    found = phase_base.errors(values, phases)
    assert phase_base.BASES[found.argmin()] == base
    assert round(100 * found.min(), 2) == least
    assert round(100 * phase_base.error(values, 2 ** (1 / root), phases), 2) == of_root


def test_the_error_is_that_of_coded_values():
    """Against rounding each value's logarithm, whose borders differ by a hundredth."""
    x = np.random.default_rng(0).normal(size=200_000)
    inside = x[(x > 0) & (x <= 1)]
    coded = np.where((p := round_code(inside, 1.3, 10)) > 0, 1.3 ** -p.astype(float), 0)
    wanted = (np.abs(inside - coded) / inside).sum() / len(x)
    assert phase_base.error(phase_base.normal(), 1.3, 10) == pytest.approx(wanted, rel=0.03)


def test_activations_are_brought_to_one_by_their_channels_maximum():
    """Whatever the scale of a channel."""
    found = phase_base.activations(GRAPH, IMAGES[:20])
    assert found.total == 20 * (8 * 144 + 12 * 36 + 8 * 36)  # before the pools
    assert found.counts[0] >= 8  # the maxima themselves
    first, factor = GRAPH.nodes[0], np.array([1, 100, 0.01, 3, 1, 1, 1, 7.0])
    (term,) = first.terms
    scaled = dataclasses.replace(term, weights=term.weights * factor[:, None, None, None])
    last = dataclasses.replace(GRAPH.nodes[-1].terms[0], tensor="a", weights=np.ones((4, 8, 6, 6)))
    alone = []
    for node in (first, dataclasses.replace(first, bias=first.bias * factor, terms=(scaled,))):
        graph = Graph(shape=GRAPH.shape, nodes=(node, dataclasses.replace(GRAPH.nodes[-1], terms=(last,))))
        alone.append(np.cumsum(phase_base.activations(graph, IMAGES[:20]).counts))
    np.testing.assert_allclose(*alone, atol=8)  # a value at the border of two bins may fall into the other


def test_an_automatic_base_has_the_least_error_or_is_the_cube_root():
    conversion = prepare(GRAPH, None, IMAGES[:64], method="phase", base="auto", phases=10)
    found = conversion.settings["base"]
    values = phase_base.activations(GRAPH, IMAGES[:64])
    assert found == phase_base.choose(values, 10)
    least = phase_base.errors(values, 10).min()
    assert phase_base.error(values, found, 10) <= (phase_base.PREFERRED if found == CUBE_ROOT else 1) * least
    assert conversion.net.meta["base"] == found
    assert phase_base.choose(phase_base.normal(), 16) == CUBE_ROOT


@pytest.mark.parametrize("phases", [3, 16, 24, 31])
def test_an_automatic_base_has_a_table(phases):
    """Whatever the activations want: steep ones, and all alike."""
    counts = np.zeros(phase_base.OCTAVES * phase_base.OCTAVE)
    for place in (0, len(counts) // 2, len(counts) - 1):
        values = phase_base.Activations(np.where(np.arange(len(counts)) == place, 1.0, 0.0), 1)
        table_of(phase_base.choose(values, phases, usable(phases)), phases)
    assert (CUBE_ROOT in usable(phases)) == (phases == 16)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"base": 1.0}, r"^The base of phase coding must lie above 1 and up to 2, not 1\.0\.$"),
        ({"base": 2.01}, r"^The base of phase coding must lie above 1 and up to 2, not 2\.01\.$"),
        ({"base": float("nan")}, r"^The base of phase coding must lie above 1 and up to 2, not nan\.$"),
        ({"base": "big"}, r"^The base of phase coding must lie above 1 and up to 2, or be 'auto', not 'big'\.$"),
        ({"phases": 1}, r"^The phases of phase coding must be a whole number in 2\.\.31, not 1\.$"),
        ({"phases": 32}, r"^The phases of phase coding must be a whole number in 2\.\.31, not 32\.$"),
        ({"phases": 8.5}, r"^The phases of phase coding must be a whole number in 2\.\.31, not 8\.5\.$"),
        ({"base": 1.1, "phases": 5},
         r"^5 phases are too few for the base 1\.1: the largest value is only 1\.46 times the least; give at least 9, "
         r"or a base of 1\.19 or more\.$"),
        ({"base": 1.01, "phases": 5},
         r"^5 phases are too few for the base 1\.01: .* only 1\.04 times the least; give a base of 1\.19 or more\.$"),
        ({"base": 2.0, "phases": 12},
         r"^12 phases of base 2 have no different levels in 8 bits: values of the last phases collide; give at most 8 "
         r"phases, or a base of at most 1\.\d\d\.$"),
        ({"phases": 24},
         r"^24 phases of base 1\.25992 have no different levels in 8 bits: .*; give at most 19 phases, or a base of at "
         r"most 1\.2\d\.$"),
        ({"base": "auto", "phases": 40},
         r"^The phases of phase coding must be a whole number in 2\.\.31, not 40\.$"),
        ({"base": 1.3, "phases": 24},
         r"^24 phases of base 1\.3 have no different levels in 8 bits: .*; give at most 18 phases, or a base of at "
         r"most 1\.2\d\.$"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(settings, sentence):
    with pytest.raises(OneSpikeError, match=sentence):
        convert(GRAPH, None, IMAGES[:32], **({"method": "phase"} | settings))


@pytest.mark.parametrize(("base", "phases"), [(1.1, 5), (1.01, 5), (2.0, 12), (1.3, 24), (1.5, 31), (1.99, 10)])
def test_the_ways_to_mend_it_work(base, phases):
    with pytest.raises(OneSpikeError) as refused:
        table_of(base, phases)
    numbers = re.search(
        r"give (?:at \w+ (\d+))?.*?(?:base of (?:at most )?([\d.]+\d))?(?: or more)?\.$", str(refused.value)
    )
    assert numbers is not None and any(numbers.groups())
    if numbers[1]:
        table_of(base, int(numbers[1]))
    if numbers[2]:
        table_of(float(numbers[2]), phases)


def test_a_network_without_a_relu_is_refused():
    term = dataclasses.replace(GRAPH.nodes[-1].terms[0], tensor="input", weights=np.ones((4, 2, 12, 12)))
    linear = Graph(shape=GRAPH.shape, nodes=(dataclasses.replace(GRAPH.nodes[-1], terms=(term,)),))
    with pytest.raises(OneSpikeError, match=r"^Phase coding needs a ReLU, and no layer of this network has one whose"):
        convert(linear, None, IMAGES[:32], method="phase")
    curved = dataclasses.replace(GRAPH.nodes[0], floor=None, curve=Curve(kind="leak", alpha=0.1))
    with pytest.raises(
        OneSpikeError, match=r"^Layer 'a': phase coding has one spike for values above 0, so it needs a ReLU"
    ):
        convert(Graph(shape=GRAPH.shape, nodes=(curved, *GRAPH.nodes[1:])), None, IMAGES[:32], method="phase")
