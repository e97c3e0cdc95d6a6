# SPDX-License-Identifier: Apache-2.0
"""What the commands say of weights of zero: memory, rows pruned for another engine, lanes without a weight."""

import dataclasses

import numpy as np
import pytest
from rich.console import Console

from networks import grouped_network
from onespike import figures, tables
from onespike.commands.verilog import _sparse_rows
from onespike.hw.config import EngineConfig
from onespike.model.cost.cycles import predict_all
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.mapping import Mapping


def mapped(meta: dict | None = None, **fixed) -> Mapping:
    net = dataclasses.replace(grouped_network(grouped=True), meta=meta or {})
    config = fit_config(net, EngineConfig(banks=1, lanes=8, fire_lanes=8, **fixed), fixed=fixed)
    return map_network(net, config)


def test_memory_of_rows_that_are_not_zero():
    ((name, text),) = _sparse_rows(mapped(row_masks=True))
    assert name == "row masks" and text.endswith("of a network of 0.8 KB")
    assert _sparse_rows(mapped(row_masks=False)) == []


@pytest.mark.parametrize(
    ("meta", "found"),
    [
        ({"prune_rows": 0.5, "prune_lanes": 8}, None),
        ({"prune_rows": 0.5, "prune_lanes": 16}, "in rows of 16 output channels, but a row of this engine has 8"),
        ({"prune_rows": 0.5, "prune_lanes": "x"}, "for no known engine"),
    ],
)
def test_rows_pruned_for_another_engine(meta, found):
    texts = [text for name, text in _sparse_rows(mapped(meta, row_masks=False)) if name == "pruned"]
    assert (found is None and texts == []) or (len(texts) == 1 and texts[0].startswith(found))


def test_both_utilisations_where_they_differ():
    mapping = mapped(row_masks=False)
    codes = np.full((1, *mapping.net.image.shape), 9, np.uint8)
    found = figures.cycles(mapping, predict_all(mapping, mapping.net.golden(codes, layers=True)))
    assert found["utilisation"] < found["utilisation_with_zeros"]
    assert found["lane_cycles"]["no_weight"] > 0
    console = Console(width=100, record=True)
    console.print(tables.cycles(found, 1, 8))
    console.print(tables.lane_cycles(found))
    text = " ".join(console.export_text().split())
    assert f"with these it would be {found['utilisation_with_zeros']:.3f}" in text and "other" in text
