# SPDX-License-Identifier: Apache-2.0
"""cocotb test bench of `flips.v`: wait until all trials have ended."""

import cocotb
from cocotb.triggers import RisingEdge


@cocotb.test()
async def flips(dut) -> None:
    await RisingEdge(dut.done)
