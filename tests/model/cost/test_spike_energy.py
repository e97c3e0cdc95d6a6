# SPDX-License-Identifier: Apache-2.0
"""Equation 4 of Chowdhury, Rathi and Roy on the networks of their table."""

import pytest

from onespike.model.cost.spike_energy import energy_ratio, memory_accesses

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)


def vgg16(side: int, last: int, classes: int) -> list[float]:
    """MACs of VGG-16's layers on images of side x side; the classifier reads 512 maps of last x last."""
    macs, channels = [], 3
    for width in WIDTHS:
        if width:
            macs.append(side * side * 9.0 * channels * width)
            channels = width
        else:
            side //= 2
    return [*macs, 512.0 * last * last * 4096, 4096.0 * 4096, 4096.0 * classes]


@pytest.mark.parametrize(
    ("macs", "rate", "printed", "alpha"),
    [
        (vgg16(32, 2, 10), 0.13, 33.0, 32.75),
        (vgg16(32, 2, 100), 0.15, 29.24, 29.05),
        (vgg16(224, 7, 1000), 0.18, 24.61, 24.62),
    ],
)
def test_vgg16_as_the_paper_has_it_with_rates_of_two_digits(macs, rate, printed, alpha):
    found = energy_ratio(macs, [rate] * (len(macs) - 1))
    assert found == pytest.approx(alpha, abs=0.02)
    assert found == pytest.approx(printed, rel=0.01)


def test_more_steps_read_weights_again_and_move_membranes():
    assert memory_accesses(1000, 50, 1) == 1000
    assert memory_accesses(1000, 50, 5) == 5 * (1000 + 2 * 50)
