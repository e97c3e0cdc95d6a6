# SPDX-License-Identifier: Apache-2.0
"""cocotb testbench: a PsgUnit in Verilog against its golden function, one value per clock cycle."""

import json
import os
import random
import time
from collections import deque
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from ..model.neurons.psg import psg


def vectors(acc_width: int, log2_theta: int, max_shift: int, count: int, seed: int) -> list[tuple[int, int]]:
    """Accumulators and shifts: both ends, the neighbourhood of every threshold, then random ones."""
    low, high = -(2 ** (acc_width - 1)), 2 ** (acc_width - 1) - 1
    cases = []
    for shift in range(max_shift + 1):
        theta = 1 << (log2_theta + shift)
        edges = {low, low + 1, -theta, -1, 0, 1, theta // 2, theta - 1, theta, theta + 1, 2 * theta, high - 1, high}
        cases += [(x, shift) for x in sorted(edges) if low <= x <= high]
    rng = random.Random(seed)
    while len(cases) < count:
        shift = rng.randint(0, max_shift)
        reach = min(2 << (log2_theta + shift), high)  # half of them below the threshold
        cases.append((rng.randint(-reach // 4, reach), shift))
    return cases


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def equals_golden(dut: Any) -> None:
    """Every spike of every vector equals the golden model; prints the speed of the simulation."""
    case = json.loads(os.environ["ONESPIKE_PSG"])
    groups, log2_theta, latency = case["groups"], case["log2_theta"], case["stages"]
    steps = vectors(case["acc_width"], log2_theta, case["max_shift"], case["count"], seed=case["seed"])
    weights = 1 << np.arange(groups, dtype=object)
    expected = [int(psg(x, 1 << (log2_theta + shift), groups) @ weights) for x, shift in steps]

    Clock(dut.clk, 10, unit="ns").start()
    edge = RisingEdge(dut.clk)
    dut.rst.value = 0
    started = time.perf_counter()
    due: deque[tuple[int, int, int]] = deque()
    mask = 2 ** case["acc_width"] - 1
    for i in range(len(steps) + latency + 1):
        await edge
        # What is read after this edge went in before the last `latency` edges.
        if len(due) > latency:
            x, shift, spikes = due.popleft()
            assert dut.spikes.value.to_unsigned() == spikes, (
                f"x={x}, shift={shift}: spikes {dut.spikes.value}, golden {spikes:0{groups}b}"
            )
        if i < len(steps):
            x, shift = steps[i]
            dut.acc.value = x & mask
            if case["max_shift"]:
                dut.shift.value = shift
            due.append((x, shift, expected[i]))
    rate = len(steps) / (time.perf_counter() - started)
    dut._log.info(f"{len(steps)} vectors, {rate:.0f} per second")
