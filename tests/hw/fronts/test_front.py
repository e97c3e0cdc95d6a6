# SPDX-License-Identifier: Apache-2.0
"""Fronts by name: what each takes, and the numbers of a serial line."""

import math

import pytest

from onespike.hw.config import EngineConfig
from onespike.hw.fronts.front import FRONTS, Front, uart_front
from onespike.model.errors import OneSpikeError


def test_names():
    assert [Front(kind=kind).top for kind in FRONTS] == [f"onespike_{kind}" for kind in FRONTS]
    with pytest.raises(OneSpikeError, match=r"^The front must be one of .*, not 'pcie'\.$"):
        Front(kind="pcie")
    uart = Front(kind="uart", divisor=9, silence=11, network=3).component(EngineConfig())
    assert (uart.uart.divisor, uart.uart.silence, uart.network) == (9, 11, 3)


@pytest.mark.parametrize("kind", sorted(set(FRONTS) - {"axi"}))
def test_only_one_reaches_external_memory(kind):
    config = EngineConfig(external_weights=64)
    Front(kind="axi").component(config)
    with pytest.raises(OneSpikeError, match=rf"^The {kind} front has no port to external memory for streamed weights"):
        Front(kind=kind).component(config)


@pytest.mark.parametrize(("clock", "baud", "divisor"), [(12, 115_200, 104), (25.5, 1_000_000, 26), (0.5, 100_000, 5)])
def test_numbers_of_a_serial_line(clock, baud, divisor):
    """Silence is 20 ms within half a power of two; 40 where the speed is measured."""
    front, measured = uart_front(clock, baud), uart_front(clock, baud, measured=True)
    assert (front.divisor, measured.divisor) == (divisor, None)
    for found, seconds in ((front, 0.02), (measured, 0.04)):
        assert abs(math.log2(2**found.silence / (clock * 1e6) / seconds)) <= 0.5


def test_ends_of_a_serial_line():
    assert uart_front(4.07, 1_000_000).divisor == 4 and uart_front(0.001, 100).silence == 10
    for clock, baud in ((3, 1_000_000), (4.09, 1_000_000)):  # too few cycles; more than 2 % beside it
        with pytest.raises(OneSpikeError, match=r"MHz cannot make 1000000 baud within 2 %; choose a baud rate well"):
            uart_front(clock, baud)
