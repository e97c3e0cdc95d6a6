# SPDX-License-Identifier: Apache-2.0
"""Rows that values read, and lanes that add them: with masks and without, those of the cycle model."""

import dataclasses

import numpy as np
import pytest

from networks import random_codes, random_network
from onespike.hw.config import EngineConfig
from onespike.model.cost.cycles import predict_all
from onespike.model.cost.energy import estimate, mask_bits
from onespike.model.cost.row_reads import RowReads
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.mapping import Mapping
from onespike.model.network.operations import work_maps
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet


def pruned(net: SpikeNet, rng: np.random.Generator, share: float) -> SpikeNet:
    """A share of all taps of input channels set to zero for all outputs, and as many single weights."""
    layers = []
    for layer in net.layers:
        sources = []
        for source in layer.sources:
            kept = (rng.random(source.weights.shape[1:]) > share) & (rng.random(source.weights.shape) > share)
            sources.append(dataclasses.replace(source, weights=source.weights * kept))
        layers.append(dataclasses.replace(layer, sources=tuple(sources)))
    return dataclasses.replace(net, layers=tuple(layers))


def counted(mapping: Mapping, codes: np.ndarray, kind: str) -> dict[str, tuple[int, int]]:
    """By layer: rows and lanes of all sources, of one of the `work_maps`."""
    result = mapping.net.golden(codes, layers=True)
    code, multiples = mapping.tensors[INPUT].code, mapping.config.multiples
    maps = {n: work_maps(mapping.net, n, v, code, multiples)[kind] for n, v in result.codes.items()}
    border = work_maps(mapping.net, INPUT, np.array(mapping.net.image.pad_code), code, multiples)[kind]
    found = {}
    for layer in mapping.layers:
        read = [RowReads(mapping, layer, source)(maps[source.tensor.name], border) for source in layer.sources]
        found[layer.name] = tuple(map(sum, zip(*read, strict=True)))
    return found


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_events_are_those_of_the_cycle_model(seed, masks):
    rng = np.random.default_rng(seed)
    net = pruned(random_network(rng, (1, 3, 8, 15), 255), rng, 0.4)
    banks, lanes = int(rng.choice([1, 2, 4])), int(rng.choice([2, 8]))
    config = EngineConfig(banks=banks, lanes=lanes, fire_lanes=2, row_masks=masks)
    slices = int(rng.choice([1, config.banks]))
    mapping = map_network(net, fit_config(net, config, fixed={"row_masks": masks}, slices=slices), slices=slices)
    codes = random_codes(rng, net, 2)
    found = counted(mapping, codes, "events_radix")
    for layers in zip(*predict_all(mapping, net.golden(codes, layers=True)), strict=True):
        events = sum(layer.event for layer in layers)
        adding = sum(layer.event * lanes - layer.padding for layer in layers)
        assert found[layers[0].name] == (events, adding)


def depthwise() -> SpikeNet:
    """Nine channels of 3 x 5, then a kernel of 1 x 2 for each, then a class."""
    zero = np.zeros(9, int)
    first = Source(tensor=INPUT, weights=np.ones((9, 1, 1, 1), int))
    own = Source(tensor="a", weights=np.full((9, 1, 1, 2), 2), groups=9)
    layers = (
        Layer(name="a", sources=(first,), bias=zero, shift=zero, groups=15),
        Layer(name="b", sources=(own,), bias=zero, shift=zero, groups=15),
        Layer(name="c", sources=(Source(tensor="b", weights=np.ones((1, 9, 3, 4), int)),), bias=zero[:1],
              shift=zero[:1], groups=0),
    )  # fmt: skip
    return SpikeNet(image=Image(shape=(1, 3, 5)), layers=layers)


def test_lanes_with_values_of_their_own():
    """Two words a place, two output columns a job: a filled word reads one row, and two lanes add each value."""
    net = depthwise()
    options = {"banks": 1, "lanes": 16, "fire_lanes": 8, "row_masks": True, "depthwise": True}
    mapping = map_network(net, fit_config(net, EngineConfig(**options)))
    (source,) = mapping.layers[1].sources
    assert source.own and source.weights.shape == (2 * 16, 1, 1, 3) and mapping.layers[1].columns == (0, 2)
    values = np.zeros((1, 9, 3, 5), int)
    values[0, 2, 0, 1] = values[0, 8, 1, 2] = 5
    # Column 1 is read by the first job, column 2 by both.
    walk = RowReads(mapping, mapping.layers[1], source)
    assert walk(values) == (1 + 2, 2 * 5 + 2 * 2 * 5)
    assert walk(values != 0) == (3, 2 + 4)


def test_masks_are_read_and_save_rows():
    """The energy of a depthwise network with masks: fewer weights, a mask with every word, and the same rivals."""
    net = depthwise()
    found = {}
    for masks in (False, True):
        config = EngineConfig(banks=1, lanes=16, fire_lanes=8, row_masks=masks)
        mapping = map_network(net, fit_config(net, config, fixed={"row_masks": masks}))
        found[masks] = estimate(mapping, np.full((1, 1, 3, 5), 9, np.uint8))
    plain, masked = found[False]["onespike"].bits, found[True]["onespike"].bits
    assert plain["weights_read"] == masked["weights_read"] > 0  # one block has a row of every channel
    words = masked["activations_read"] / mapping.config.word_bits
    assert plain["masks_read"] == 0 < masked["masks_read"] == words * mask_bits(mapping.config)
    for name in ("dense", "quantised", "quantised_skip"):
        assert dict(found[False][name].bits) == dict(found[True][name].bits)
