# SPDX-License-Identifier: Apache-2.0
"""cocotb test bench of the engine: start the harness, wait for its end, compare its logs with expected.npz."""

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge


def tables(name: str, columns: int) -> list[np.ndarray]:
    """A log of decimal integers: [rows, columns] of every episode that has ended, then the rows of one that has not."""
    rows = np.array(Path(name).read_text().split(), dtype=np.int64).reshape(-1, columns)
    ends = np.flatnonzero((rows == -1).all(1))
    return [part[int(index > 0) :] for index, part in enumerate(np.split(rows, ends))]


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


def compare(expected: dict[str, np.ndarray], writes: np.ndarray, logits: np.ndarray, counters: np.ndarray) -> Any:
    """What an episode's logs show beside what was expected; problem: the first difference as a sentence, or ""."""
    images, classes = expected["logits"].shape
    # expected: layer address word slice; log: layer address slice word
    wanted = expected["writes"][:, [0, 1, 3, 2]]
    if len(writes) != len(wanted):
        return {"problem": f"{len(writes)} spike words were written, {len(wanted)} expected"}
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
    problem = ""
    if len(wrong):
        got, right = writes[wrong[0]].tolist(), wanted[wrong[0]].tolist()
        problem = f"{len(wrong)} spike words differ; first [layer, address, slice, word] {got}, not {right}"
    elif len(wrong_logits):
        problem = f"logits differ at {wrong_logits[:5].tolist()}"
    elif len(wrong_best):
        problem = f"argmax differs at places {wrong_best[:5].tolist()}"
    elif len(wrong_cycles):
        problem = (
            f"{len(wrong_cycles)} counters differ (image, layer, counter), first {wrong_cycles[0].tolist()}: "
            f"got {measured.tolist()}, predicted {predicted.tolist()}"
        )
    return {
        "problem": problem,
        "mismatches": len(wrong) + len(wrong_logits) + len(wrong_best),
        "cycle_mismatches": len(wrong_cycles),
        "words": len(writes),
        "logits": values.tolist(),
        "counters": measured.tolist(),
        "finished": logits[classes - 1 :: classes, 3].tolist(),
    }


@cocotb.test()
async def engine(dut) -> None:
    """Every spike word, logit, class and counter of every layer equals the model, in every episode."""
    contents = np.load("expected.npz")
    if contents["axi_ram"]:
        attach_ram(dut, int(contents["axi_ram"]), int(contents["seed"]))
    started = time.perf_counter()
    if os.environ.get("ONESPIKE_STEP"):
        while not dut.done.value:
            await RisingEdge(dut.clk)
    else:
        await RisingEdge(dut.done)
    run = {"simulated_cycles": int(dut.cycle.value), "seconds": time.perf_counter() - started}
    logs = [tables("writes.log", 4), tables("logits.log", 4), tables("counters.log", 3)]
    ended = len(logs[2]) - 1
    found = []
    for index in range(int(contents["episodes"])):
        expected = {name: contents[f"{name}{index}"] for name in ("writes", "logits", "channels", "counters", "stride",
                                                                  "exact")}  # fmt: skip
        if index < ended:
            found.append(compare(expected, *(log[index] for log in logs)))
        elif index == ended:
            writes, logits, _ = (log[index] if index < len(log) else () for log in logs)
            hung = f"the engine hung: no end after {run['simulated_cycles']} cycles, {len(writes)} of "
            hung += f"{len(expected['writes'])} words written, {len(logits)} of {expected['logits'].size} logits"
            found.append({"problem": hung})
    Path("result.json").write_text(json.dumps(run | {"episodes": found}))
    problems = [f"episode {index}: {each['problem']}" for index, each in enumerate(found) if each["problem"]]
    assert not problems, problems[0]
    assert not dut.failed.value
