# SPDX-License-Identifier: Apache-2.0
"""Networks that end with a map: which engine takes them, and in which order its outputs come."""

import dataclasses
import re

import numpy as np
import pytest

from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.machine.walk import records
from onespike.model.mapping.images import memory_images
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.spec import Image, Layer, Source, SpikeNet

SMALL = EngineConfig(banks=2, lanes=4, fire_lanes=4, weight_bits=4)


def test_a_map_needs_an_engine_with_maps():
    classes = Layer(name="out", sources=(Source(tensor="input", weights=np.ones((5, 1, 2, 3), int)),),
                    bias=np.zeros(5, int), shift=np.zeros(5, int), groups=0)  # fmt: skip
    network = SpikeNet(image=Image(shape=(1, 4, 4)), layers=(classes,), weight_bits=4)
    roomy = dataclasses.replace(SMALL, class_depth=100)
    sentence = ("The last layer 'out' gives a 3x2 map, but the engine streams the outputs of one place; build it with "
                "maps, or let the configuration be fitted to the network.")  # fmt: skip
    for config in (roomy, fit_config(network, roomy, fixed={"maps": False})):
        with pytest.raises(OneSpikeError, match=f"^{re.escape(sentence)}$"):
            map_network(network, config)
    fitted = fit_config(network, SMALL)
    assert fitted.maps
    assert not fit_config(dataclasses.replace(network, image=Image(shape=(1, 2, 3))), SMALL).maps
    assert fit_config(dataclasses.replace(network, image=Image(shape=(1, 2, 4))), SMALL).maps  # two places
    mapping = map_network(network, fitted)
    rows = -(-5 // SMALL.fire_lanes)
    assert mapping.needs["class_depth"] == 6 * rows
    header, program = records(fitted, memory_images(mapping).program)
    assert (header["classes"], header["channels"], program[-1].layer["dest_words"]) == (29, 4, rows)
    with pytest.raises(OneSpikeError, match=rf"^The network needs class_depth = {6 * rows}, but the engine has 11; "):
        map_network(network, dataclasses.replace(fitted, class_depth=6 * rows - 1))


def test_the_order_of_a_map():
    """The engine's: place after place, all channels of each; the golden model's: channel after channel."""
    source = Source(tensor="input", weights=np.ones((5, 1, 2, 3), int))
    last = Layer(name="out", sources=(source,), bias=np.zeros(5, int), shift=np.zeros(5, int), groups=0)
    network = SpikeNet(image=Image(shape=(1, 4, 4)), layers=(last,))
    mapping = map_network(network, fit_config(network, SMALL))
    logits = np.arange(60).reshape(2, 5, 3, 2)
    streamed = mapping.to_stream(logits.reshape(2, -1))
    np.testing.assert_array_equal(streamed.reshape(2, 3, 2, 5), logits.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(mapping.from_stream(streamed), logits.reshape(2, -1))
    assert mapping.from_stream(streamed[:0]).shape == mapping.to_stream(streamed[:0]).shape == (0, 30)
