# SPDX-License-Identifier: Apache-2.0
"""The AXI4-Lite subordinate in Amaranth's simulator: every port in every cycle, and reads and writes that both wait."""

import random

import pytest

from onespike.hw.fronts.axi_lite import AxiLite, axi_lite_ports
from onespike.hw.fronts.registers import ADDRESS_BITS
from onespike.sim.stream import run_pipeline

READY = ("s_axi_arready", "s_axi_awready", "s_axi_wready", "s_axi_bvalid", "s_axi_rvalid")
DATA = ("s_axi_rdata", "s_axi_bresp", "s_axi_rresp", "bus.address", "bus.data", "bus.write")
OUTPUTS = ("bus.valid", *READY, *DATA)


def reference(steps: list[dict]) -> list[dict]:
    """What the ports say in every cycle; ports without a meaning in a cycle are left out.

    Reads and writes take turns where both wait; a write needs its address and its data, and all its strobes."""
    rows, state, read_next = [], "idle", False
    write = address = value = answer = 0
    for step in steps:
        row = {"bus.valid": int(state == "access"), "s_axi_bresp": 0, "s_axi_rresp": 0} | dict.fromkeys(READY, 0)
        rows.append(row)
        if state == "idle":
            may_write = step["s_axi_awvalid"] and step["s_axi_wvalid"]
            if step["s_axi_arvalid"] and (read_next or not may_write):
                row["s_axi_arready"] = 1
                state, write, read_next, address = "access", 0, False, step["s_axi_araddr"] >> 2
            elif may_write:
                row["s_axi_awready"] = row["s_axi_wready"] = 1
                state = "access" if step["s_axi_wstrb"] == 0xF else "response"
                write, read_next = 1, True
                address, value = step["s_axi_awaddr"] >> 2, step["s_axi_wdata"]
        elif state == "access":
            row |= {"bus.write": write, "bus.address": address} | ({"bus.data": value} if write else {})
            if step["bus.done"]:
                state, answer = "response", step["bus.answer"]
        else:
            row["s_axi_bvalid" if write else "s_axi_rvalid"] = 1
            row |= {} if write else {"s_axi_rdata": answer}
            if step["s_axi_bready" if write else "s_axi_rready"]:
                state = "idle"
    return rows


def check(steps: list[dict]) -> list[dict]:
    found = run_pipeline(AxiLite(), {name: [step[name] for step in steps] for name in steps[0]}, OUTPUTS)
    expected = reference(steps)
    for cycle, row in enumerate(expected):
        assert {name: found[name][cycle] for name in row} == row, f"cycle {cycle}: {steps[cycle]}"
    return expected


def drawn(rng: random.Random, share: float) -> dict:
    names = ("s_axi_arvalid", "s_axi_awvalid", "s_axi_wvalid", "s_axi_bready", "s_axi_rready", "bus.done")
    return dict.fromkeys(names, 0) | {name: int(rng.random() < share) for name in names} | {
        "s_axi_araddr": rng.randrange(256), "s_axi_awaddr": rng.randrange(256), "s_axi_wdata": rng.getrandbits(32),
        "s_axi_wstrb": rng.choice([0xF, 0xF, 0xF, 0, 1, 7, 8, 14]), "bus.answer": rng.getrandbits(32),
    }  # fmt: skip


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_every_cycle(share):
    rng = random.Random(int(10 * share))
    rows = check([drawn(rng, share) for _ in range(1200)])
    assert all(any(row[name] for row in rows) for name in READY)


@pytest.mark.parametrize("slow", [1, 2, 7])
def test_reads_and_writes_that_both_wait_take_turns(slow):
    """Both masters ask without a pause, from the first cycle on: neither has to wait for two accesses of the other."""
    rng = random.Random(slow)
    always = dict.fromkeys(("s_axi_arvalid", "s_axi_awvalid", "s_axi_wvalid"), 1) | {"s_axi_wstrb": 0xF}
    steps = [drawn(rng, 1 / slow) | always for _ in range(400)]
    rows = check(steps)
    begun = [row for row in rows if row["s_axi_arready"] or row["s_axi_awready"]]
    order = ["read" if row["s_axi_arready"] else "write" for row in begun]
    assert len(order) > 400 // (4 * slow) and order == (["write", "read"] * len(order))[: len(order)]


@pytest.mark.parametrize("late", range(1, 6))
def test_a_write_whose_data_come_late_does_not_hold_up_reads(late):
    rng = random.Random(late)
    always = {"s_axi_arvalid": 1, "s_axi_awvalid": 1, "bus.done": 1, "s_axi_rready": 1, "s_axi_bready": 1}
    steps = [drawn(rng, 1) | always | {"s_axi_wvalid": cycle >= 3 * late, "s_axi_wstrb": 0xF} for cycle in range(40)]
    rows = check(steps)
    reads, writes = ([c for c, row in enumerate(rows) if row[name]] for name in ("s_axi_arready", "s_axi_awready"))
    assert reads[:late] == [3 * turn for turn in range(late)] and writes[0] == 3 * late


def test_widths_of_the_ports():
    """Those of the standard, with 32 bits of data and the registers' byte addresses."""
    dut = AxiLite()
    widths = {"addr": ADDRESS_BITS + 2, "prot": 3, "data": 32, "strb": 4, "resp": 2}
    for name in axi_lite_ports():
        kind = name.removeprefix("s_axi_").lstrip("arwb") if name.endswith(("valid", "ready")) else name[-4:]
        assert len(getattr(dut, name)) == widths.get(kind, 1), name
