# SPDX-License-Identifier: Apache-2.0
"""Equation 6 of the paper on phase coding, worked out by hand."""

import numpy as np
import pytest

from onespike.model.convert.phase import CUBE_ROOT, table_of
from onespike.model.cost.phase_energy import TABLE, phase_energy
from onespike.model.network.operations import count
from onespike.model.network.spec import INPUT, Image, Layer, Source, SpikeNet


def net(phases: int) -> SpikeNet:
    """Two pixels, each with a neuron of its own, three classes."""
    table = table_of(CUBE_ROOT, phases)
    zero, shift = np.zeros(2, int), np.full(2, 1)
    hidden = Layer(name="hidden", sources=(Source(tensor=INPUT, weights=np.array([[9, 1], [1, 9]])[:, :, None, None]),),
                   bias=zero, shift=shift, groups=table.top, levels=table)  # fmt: skip
    last = Layer(name="last", sources=(Source(tensor="hidden", weights=np.ones((3, 2, 1, 1), int)),),
                 bias=np.zeros(3, int), shift=np.zeros(3, int), groups=0)  # fmt: skip
    return SpikeNet(image=Image(shape=(2, 1, 1)), layers=(hidden, last))


def test_by_hand():
    """100 = 96 + 4 is two digits of one event, for two neurons; both fire, for three classes; one image is black."""
    made, images = net(15), np.array([[100, 0], [0, 0]], np.uint8)[:, :, None, None]
    assert (made.golden(images, layers=True).codes["hidden"] > 0).sum((1, 2, 3)).tolist() == [2, 0]
    found = phase_energy(made, count(made, images), 15)
    additions = (2 * 2 + 2 * 3) / 2
    assert (found.macs, found.additions) == (4 + 6, additions)
    assert found.dense_uj == pytest.approx(10 * 0.2e-6)
    assert found.spiking_uj == pytest.approx(additions * 0.03e-6)
    assert found.scaling_uj == pytest.approx(15 * 2 * 0.2e-6)
    assert found.gain == pytest.approx(10 * 0.2 / (additions * 0.03))
    assert found.streaming_gain < 1 < found.gain
    real = phase_energy(made, count(made, images), 15, fp32=True)
    assert real.gain == pytest.approx(10 * 4.6 / (additions * 0.9))


def test_the_table_names_its_source():
    assert "Horowitz" in TABLE and "eq. 6" in TABLE


def test_silence_costs_nothing():
    made = net(7)
    found = phase_energy(made, count(made, np.zeros((1, 2, 1, 1), np.uint8)), 7)
    assert found.additions == found.spiking_uj == 0 and np.isfinite(found.gain)
