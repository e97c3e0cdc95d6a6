# SPDX-License-Identifier: Apache-2.0
import dataclasses
import random

import numpy as np
import pytest

from blocks import random_net
from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.machine.walk import records
from onespike.model.mapping import mapper
from onespike.model.mapping.images import memory_images, stored_rows, weight_rows
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.mapping import Mapping
from onespike.model.mapping.parts import part_rows, split
from onespike.model.mapping.prefetch import prefetch
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet
from sparse_networks import sparse_network


def random_parts(rng: random.Random, *, sparse: bool = False) -> Mapping:
    """A random network on an engine whose weight memory holds a fraction of it."""
    while True:
        lanes, fire_lanes = rng.choice([(4, 4), (8, 8), (8, 4)] if sparse else [(2, 1), (2, 2), (4, 2), (4, 4)])
        config = EngineConfig(
            banks=rng.choice([1, 2, 4]), lanes=lanes, fire_lanes=fire_lanes, word_bits=rng.choice([16, 32]),
            weight_bits=8 if sparse else 4, weight_depth=1, external_weights=rng.choice([32, 64, 128]),
        )  # fmt: skip
        slices = rng.choice([s for s in (1, 1, 2, 4) if s <= config.banks])
        try:
            if sparse:
                net = sparse_network(np.random.default_rng(rng.randrange(1 << 32)))
                own = fire_lanes % config.word_chunks == 0
                config = dataclasses.replace(config, row_masks=True, depthwise=own)
            else:
                net = random_net(rng)
            config = fit_config(net, config, slices=slices)
            config = dataclasses.replace(config, weight_depth=config.weight_depth * rng.choice([1, 1, 2]))
            return map_network(net, fit_config(net, config, slices=slices), slices=slices)
        except OneSpikeError:
            continue


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_parts_make_up_their_layers(seed, sparse):
    """The parts' channels, parameters and weights are the layer's, each once, and begin with a spike word."""
    mapping = random_parts(random.Random(seed), sparse=sparse)
    slices = {layer.layer.name: layer.slices for layer in mapping.layers}
    on_chip = dataclasses.replace(mapping.config, external_weights=0)
    whole = map_network(mapping.net, fit_config(mapping.net, on_chip, slices=slices), slices=slices)
    for index, layer in enumerate(whole.layers):
        parts = [part for part in mapping.layers if part.index == index]
        assert [part.part for part in parts] == list(range(len(parts))) and {part.parts for part in parts} == {
            len(parts)
        }
        assert sum((part.order for part in parts), ()) == layer.order
        for part in parts:
            done = part.first * layer.columns_at_once
            assert part.channel_base == layer.channel_base + done // mapping.config.fire_lanes
            if part.first and layer.output is not None:
                in_slice = part.first % layer.output.channels_per_slice
                assert in_slice % (mapping.config.word_bits // layer.output.field) == 0


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_no_weights_in_use_are_overwritten(seed, sparse):
    """Reading the image over and over: a layer finds its weights in every bank, however far ahead the prefetch is."""
    mapping = random_parts(random.Random(seed), sparse=sparse)
    config, images = mapping.config, memory_images(mapping)
    layers = mapping.layers
    header, _ = records(config, images.program)
    restart = header["restart"]
    assert restart % config.burst == 0 and restart + header["beats"] == len(images.external)
    memory = [[-1] * config.weight_depth for _ in range(config.banks)]

    def write(writes):
        for banks, address, row in writes:
            for b in range(config.banks):
                if banks >> b & 1:
                    memory[b][address] = row

    write(prefetch(config, images.external[: header["first_beats"]] if restart else [])[0])
    writes, complete = prefetch(config, images.external[restart:])
    assert len(complete) == len(layers)
    fetched = 0
    for step in range(3 * len(layers)):  # layer `step` computes while as much as possible has been fetched
        while fetched <= step or (fetched - layers[fetched % len(layers)].hold <= step):
            number = fetched % len(layers)
            assert fetched - layers[number].hold <= step, "a layer can never get its weights"
            write(writes[complete[number - 1] if number else 0 : complete[number]])
            fetched += 1
        layer = layers[step % len(layers)]
        base = layer.row_base
        for b in range(config.banks):
            rows = (stored_rows if sparse else weight_rows)(config, layer, b)
            assert memory[b][base : base + len(rows)] == rows and len(rows) <= layer.weight_rows


def big(outputs: int, inputs: int = 64) -> SpikeNet:
    rng = np.random.default_rng(0)
    first = Source(tensor=INPUT, weights=rng.integers(-8, 8, (inputs, 1, 1, 1)))
    second = Source(tensor="a", weights=rng.integers(-8, 8, (outputs, inputs, 3, 3)), padding=(1, 1, 1, 1))
    last = Source(tensor="b", weights=rng.integers(-8, 8, (5, outputs, 4, 4)))
    layers = [
        Layer(name=name, sources=(source,), bias=np.zeros(len(source.weights), int),
              shift=np.full(len(source.weights), 0 if name == "c" else 6), groups=0 if name == "c" else 8)
        for name, source in (("a", first), ("b", second), ("c", last))
    ]  # fmt: skip
    return SpikeNet(image=Image(shape=(1, 4, 4)), layers=tuple(layers))


def test_a_part_that_does_not_fit():
    config = EngineConfig(banks=2, external_weights=64, spike_depth=4096, program_depth=1024, weight_depth=550)
    with pytest.raises(
        OneSpikeError,
        match=r"^Layer 'b': its smallest part has 576 weight rows in each bank, but weight_depth is 550; raise it to "
        r"at least 576, or use more slices\.$",
    ):
        map_network(big(64), config)
    mapping = map_network(big(64), dataclasses.replace(config, channel_depth=128), slices=2)
    assert [part.name for part in mapping.layers if part.index == 1] == [f"b[{i}/4]" for i in (1, 2, 3, 4)]


def test_all_that_fits_stays():
    config = fit_config(big(64), EngineConfig(banks=4, external_weights=64, weight_depth=8192))
    mapping = map_network(big(64), config)
    assert config.weight_depth == 8192
    assert all(part.resident and part.hold == 2 for part in mapping.layers) and len(mapping.layers) == 3


def test_too_many_parts(monkeypatch):
    monkeypatch.setattr(mapper, "MAX_LAYERS", 5)
    config = EngineConfig(banks=2, external_weights=64, weight_depth=600)
    with pytest.raises(
        OneSpikeError, match=r"^The weights fall into 6 parts, but the layer program can hold 5; raise we"
    ):
        map_network(big(64), config, slices=2)


def test_slices_that_are_no_whole_words():
    """24 channels in two slices of 12, 8 to a word: parts begin with the words at 0, 8, 12 and 20, not at 16."""
    config = EngineConfig(
        banks=2, lanes=4, fire_lanes=4, word_bits=32, external_weights=64, spike_depth=4096, program_depth=1024,
        weight_depth=2048,
    )  # fmt: skip
    mapping = map_network(big(24), config, slices=2)
    parts = [part for part in mapping.layers if part.index == 1]
    output = parts[0].output
    assert output is not None
    assert (output.channels_per_slice, output.words, config.word_bits // output.field) == (12, 2, 8)
    whole = dataclasses.replace(parts[0], first=0, blocks=6, order=sum((part.order for part in parts), ()))
    smallest = split(whole, config, 1)
    assert [(part.first, part.blocks) for part in smallest] == [(0, 2), (8, 1), (12, 2), (20, 1)]
    assert [part.first for part in split(whole, config, part_rows(whole, 0, 3))] == [0, 12]

    _, found = records(config, memory_images(mapping).program)
    seen = [record.layer for record, layer in zip(found, mapping.layers, strict=True) if layer.index == 1]
    starts = {0: (0, 0, 3), 8: (0, 1, 1), 12: (1, 0, 3), 20: (1, 1, 1)}  # slice, word, groups of 4 left in the slice
    for part, record in zip(parts, seen, strict=True):
        fields = record["first_slice"], record["first_word"], record["first_slice_groups"] + 1
        assert fields == starts[part.first]
    assert len(parts) > 1
