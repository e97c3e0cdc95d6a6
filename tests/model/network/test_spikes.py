# SPDX-License-Identifier: Apache-2.0
"""Spikes: counted by layer, and only where values are counts from 0."""

import dataclasses

import numpy as np
import pytest

from described import network
from onespike.model.errors import OneSpikeError
from onespike.model.network.spikes import count_spikes


def test_what_has_no_spikes_is_refused():
    net = network()
    images = np.zeros((1, *net.image.shape), np.uint8)
    assert count_spikes(net, images).images == 1
    with pytest.raises(OneSpikeError, match=r"^There is nothing to count: give at least one image\.$"):
        count_spikes(net, images[:0])
    signed = network(layers=(dataclasses.replace(net.layers[0], low=-2), *net.layers[1:]))
    with pytest.raises(OneSpikeError, match=r"^Counting spikes needs counts from 0 to g, but layer 'a' fires signed"):
        count_spikes(signed, images)
