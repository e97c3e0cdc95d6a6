# SPDX-License-Identifier: Apache-2.0
"""The registry of methods: every row is true, its settings are its own, and what it makes says so."""

import importlib
import inspect

import numpy as np
import pytest

from networks import float_graph
from onespike.model.convert.converter import convert, prepare
from onespike.model.convert.methods import METHODS, Method, Settings
from onespike.model.errors import OneSpikeError
from onespike.model.network.spec import SpikeNet
from paths import ROOT

GRAPH, IMAGES = float_graph()
ROWS = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@ROWS
def test_every_row_names_what_exists(method: Method):
    module, _, name = method.neuron.rpartition(".")
    neuron = getattr(importlib.import_module(module), name)
    assert callable(neuron) and module.startswith("onespike.model.neurons.")
    assert f"\n## {method.name}\n" in (ROOT / "docs/methods.md").read_text()
    assert method.hardware and method.paper and method.code and method.parameters


@ROWS
def test_settings_are_the_keywords_of_the_function_and_have_defaults(method: Method):
    (start, *own) = inspect.signature(method.convert).parameters.values()
    assert start.name == "start" and [parameter.name for parameter in own] == list(method.settings)
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in own)
    shared = set(inspect.signature(prepare).parameters)
    assert not shared & set(method.settings), "a setting of every method is none of a row's"


def test_convert_shows_every_argument_by_its_name():
    """As `help` and editors show them: those of `prepare`, and the settings of the rows with psg's defaults."""
    shown = inspect.signature(convert)
    shared = dict(inspect.signature(prepare).parameters)
    own = {name for row in METHODS.values() for name in row.settings}
    del shared["own"]
    assert set(shown.parameters) == set(shared) | own and own == set(Settings.__annotations__)
    assert {name: shown.parameters[name] for name in shared} == shared
    assert all(p.kind is p.KEYWORD_ONLY for p in list(shown.parameters.values())[3:])
    usual = {name: p.default for name, p in inspect.signature(METHODS["psg"].convert).parameters.items()}
    assert {shown.parameters[name].default == usual.get(name, ...) for name in own} == {True}
    assert shown.return_annotation == "SpikeNet" and shown.parameters["groups"].annotation == "Groups"


@ROWS
def test_every_method_converts_with_its_defaults_and_says_which_it_was(method: Method, tmp_path):
    conversion = prepare(GRAPH, None, IMAGES[:64], method=method.name)
    assert conversion.method == method.name
    conversion.net.save(tmp_path / "net.spike")
    assert SpikeNet.load(tmp_path / "net.spike").meta.get("method", "psg") == method.name


def test_psg_is_what_no_method_means():
    assert convert(GRAPH, None, IMAGES[:64], method="psg", groups=8).hash == convert(GRAPH, None, IMAGES[:64]).hash


def test_phase_is_the_table_of_its_phases():
    net = convert(GRAPH, None, IMAGES[:64], method="phase", base=1.3, phases=12)
    assert net.meta == {"method": "phase", "base": 1.3, "phases": 12}
    (table,) = {layer.levels for layer in net.layers[:-1]}
    assert table is not None and len(table.levels) == 13
    falling = np.array(table.levels[:0:-1])
    np.testing.assert_allclose(falling[1:] / falling[:-1], 1 / 1.3, rtol=0.05)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"method": "phase", "groups": 8},
         r"^groups is a setting of method psg, if and ctt, not of phase; leave it out, or give method='psg'\.$"),
        ({"phases": 8}, r"^phases is a setting of method phase, not of psg; leave it out, or give method='phase'\.$"),
        ({"method": "phases"}, r"^method must be one of psg, phase.*, not 'phases'\.$"),
        ({"method": None}, r"^method must be one of .*, not None\.$"),
        ({"method": "phase", "bases": 1.3}, r"^convert takes no argument 'bases'; did you mean base\?$"),
        ({"method": "phase", "xyz": 1}, r"^convert takes no argument 'xyz'; it takes .*, base, phases, .*\.$"),
    ],
)  # fmt: skip
def test_settings_of_another_method_are_refused(settings, sentence):
    with pytest.raises(OneSpikeError, match=sentence):
        convert(GRAPH, None, IMAGES, **settings)


def test_prepare_refuses_what_no_method_takes():
    with pytest.raises(OneSpikeError, match=r"^No method takes a setting 'xyz'; phase takes base, phases\.$"):
        prepare(GRAPH, None, IMAGES, method="phase", xyz=1)
