# SPDX-License-Identifier: Apache-2.0
"""The critical path in words: units by the names of cells, and where its time goes."""

import pytest

from onespike.page.critical_path import described, unit


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("engine.bank2.fetch.port__addr_TRELLIS_FF_Q_11", "fetch of bank 2, which reads spike words"),
        ("front.core.engine.engine.bank5.fetch.spike_memory0.0.5", "the spike memory of bank 5"),
        ("engine.bank12.lanes.group3.sum_LUT4_Z_1", "the lanes of bank 12, which add weights"),
        ("engine.sequencer.state_TRELLIS_FF_Q", "the sequencer, which runs the layer program"),
        ("front.core.registers_LUT4_Z", "the front, which talks to the host"),
        ("engine.bank0.something", "logic of bank 0"),
        ("$abc$12345$lut", "logic whose name synthesis has lost"),
    ],
)
def test_units(cell, words):
    assert unit(cell) == words


def test_described():
    steps = [
        "0.50 ns clk-to-q engine.bank1.extract.a -> engine.bank1.extract.a",
        "1.00 ns routing engine.bank1.extract.a -> engine.bank1.lanes.b",
        "0.25 ns logic engine.bank1.lanes.b -> engine.bank1.lanes.b",
        "1.25 ns routing engine.bank1.lanes.b -> engine.bank1.drain.c",
        "0.00 ns setup engine.bank1.drain.c -> engine.bank1.drain.c",
    ]
    found = described(steps)
    assert (found["ns"], found["wires_ns"], found["logic_cells"]) == (3.0, 2.25, 1)
    assert found["sentence"] == (
        "The critical path goes from extract of bank 1, which finds events in spike words, by way of the lanes of bank "
        "1, which add weights; to drain of bank 1, which collects sums. It takes 3.00 ns, 2.25 ns of it (75 %) in "
        "wires, and passes 1 logic cell."
    )
    assert found["advice"].startswith("More than half of it is wire")
    inside = described([*steps[:1], "1.50 ns logic engine.bank1.extract.a -> engine.bank1.extract.a"])
    assert "goes inside extract of bank 1, which finds events in spike words. It" in inside["sentence"]
    assert inside["advice"].startswith("More than half of it is logic")
    assert described([]) is None and described(["of an older version"]) is None
