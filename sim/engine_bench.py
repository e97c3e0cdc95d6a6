# SPDX-License-Identifier: Apache-2.0
"""cocotb test bench of the engine: start the harness, wait for its end, compare its logs with expected.npz."""

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge


def table(name: str, columns: int) -> np.ndarray:
    """A log of decimal integers, [rows, columns]."""
    text = Path(name).read_text()
    return np.array(text.split(), dtype=np.int64).reshape(-1, columns)


def attach_ram(dut, base: int, seed: int) -> None:
    """cocotbext-axi's memory with the weights, whose channels pause at random."""
    from cocotbext.axi import AxiRamRead, AxiReadBus

    content = Path("weights.bin").read_bytes()
    ram = AxiRamRead(AxiReadBus.from_prefix(dut, "m_axi"), dut.clk, size=1 << (base + len(content)).bit_length())
    ram.write(base, content)
    rng = random.Random(seed)

    def pauses(share: float, longest: int) -> Iterator[bool]:
        while True:
            for _ in range(rng.randrange(1, longest)):
                yield rng.random() < share

    ram.ar_channel.set_pause_generator(pauses(0.9, 40))
    ram.r_channel.set_pause_generator(pauses(0.4, 20))
    Clock(dut.clk, 10, unit="ns").start()


@cocotb.test()
async def engine(dut) -> None:
    """Every spike word of every layer, every logit, every class and every counter equals the model."""
    expected = np.load("expected.npz")
    if expected["axi_ram"]:
        attach_ram(dut, int(expected["axi_ram"]), int(expected["seed"]))
    started = time.perf_counter()
    if os.environ.get("ONESPIKE_STEP"):
        while not dut.done.value:
            await RisingEdge(dut.clk)
    else:
        await RisingEdge(dut.done)
    seconds = time.perf_counter() - started
    writes, logits, counters = table("writes.log", 4), table("logits.log", 4), table("counters.log", 3)
    assert not dut.failed.value, (
        f"the engine hung: no end after {int(dut.cycle.value)} cycles, "
        f"{len(writes)} of {len(expected['writes'])} words written, {len(logits)} of {expected['logits'].size} logits"
    )
    images, classes = expected["logits"].shape
    # expected: layer address word slice; log: layer address slice word
    wanted = expected["writes"][:, [0, 1, 3, 2]]
    assert len(writes) == len(wanted), f"{len(writes)} spike words were written, {len(wanted)} expected"
    wrong = np.flatnonzero((writes != wanted).any(1))
    values = logits[:, 1].reshape(images, classes)
    channels = int(expected["channels"])  # of a place
    best = logits[channels - 1 :: channels, 2]
    wrong_logits = np.argwhere(values != expected["logits"])
    wrong_best = np.flatnonzero(best != expected["logits"].reshape(-1, channels).argmax(1))
    _, layers, names = expected["counters"].shape
    measured = counters[:, 2].reshape(-1, layers, int(expected["stride"]))[:, :, :names]
    predicted = expected["counters"][-len(measured) :]
    exact = int(expected["exact"])
    wrong_cycles = np.argwhere(measured[:, :, :exact] != predicted[:, :, :exact])
    Path("result.json").write_text(
        json.dumps(
            {
                "mismatches": len(wrong) + len(wrong_logits) + len(wrong_best),
                "cycle_mismatches": len(wrong_cycles),
                "words": len(writes),
                "logits": values.tolist(),
                "counters": measured.tolist(),
                "finished": logits[classes - 1 :: classes, 3].tolist(),
                "simulated_cycles": int(dut.cycle.value),
                "seconds": seconds,
            }
        )
    )
    if len(wrong):
        got, right = writes[wrong[0]].tolist(), wanted[wrong[0]].tolist()
        raise AssertionError(f"{len(wrong)} spike words differ; first [layer, address, slice, word] {got}, not {right}")
    assert not len(wrong_logits), f"logits differ at {wrong_logits[:5].tolist()}"
    assert not len(wrong_best), f"argmax differs at places {wrong_best[:5].tolist()}"
    assert not len(wrong_cycles), (
        f"{len(wrong_cycles)} counters differ (image, layer, counter), first {wrong_cycles[0].tolist()}: "
        f"got {measured.tolist()}, predicted {predicted.tolist()}"
    )
