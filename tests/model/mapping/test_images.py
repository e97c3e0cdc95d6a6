# SPDX-License-Identifier: Apache-2.0
"""Images become beats of the image stream only where they are codes of the network."""

import random

import numpy as np
import pytest

from blocks import head
from onespike.hw.config import EngineConfig
from onespike.model.errors import OneSpikeError
from onespike.model.mapping.images import image_beats
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.network.spec import Image, SpikeNet


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.full((1, 1, 4, 4), 16, np.uint8), r"^Image codes of 4 bits must lie in 0\.\.15, not 16\.\.16; make"),
        (np.full((1, 1, 4, 4), -1), r"^Image codes of 4 bits must lie in 0\.\.15, not -1\.\.-1; make them from"),
        (np.zeros((1, 1, 4, 4)), r"^Image codes must be integers \(N, \(1, 4, 4\)\), not float64 \(1, 1, 4, 4\)\.$"),
        (np.zeros((1, 4, 4), np.uint8), r"^Image codes must be integers .* not uint8 \(1, 4, 4\)\.$"),
    ],
)
def test_image_codes_that_the_network_has_not(codes, message):
    network = SpikeNet(image=Image(shape=(1, 4, 4), bits=4), layers=(head(random.Random(0), "input", (1, 4, 4), 2),))
    config = fit_config(network, EngineConfig(banks=2, lanes=4, fire_lanes=2))
    with pytest.raises(OneSpikeError, match=message):
        image_beats(map_network(network, config), codes)
