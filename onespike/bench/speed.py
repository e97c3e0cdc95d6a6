# SPDX-License-Identifier: Apache-2.0
"""How fast the tool itself is: golden model against PyTorch, Verilog, and simulation against the stock runner."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..hw.emit.emit import emit
from ..model.frontend.torch_threads import torch_threads
from ..model.mapping.mapping import Mapping
from ..model.network import golden
from ..model.network.spec import SpikeNet
from ..model.system import parallel
from ..sim.engine import simulate

REPEATS = 5  # the fastest counts: what the machine can do when nothing disturbs it


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def golden_and_torch(net: SpikeNet, module: torch.nn.Module | None, images: np.ndarray) -> dict[str, float]:
    """Images per second of the golden model and of the float network in PyTorch, if it is there, in turns: on one
    thread each, and (`_all`) on `threads` each, as many as `parallel.count` says.
    """
    codes, tensor, threads = net.image.quantise(images), torch.from_numpy(images), parallel.count()

    def ours(number: int) -> float:
        return seconds(lambda: golden.run(net, codes, threads=number))

    def theirs(number: int) -> float:
        if module is None:
            return 0.0
        with torch_threads(number):
            return seconds(lambda: module(tensor))

    with torch.inference_mode():
        times = [(ours(1), theirs(1), ours(threads), theirs(threads)) for _ in range(REPEATS)]
    least = [min(column) for column in zip(*times, strict=True)]
    found: dict[str, float] = {"threads": threads}
    for cores, own, other in (("", least[0], least[1]), ("_all", least[2], least[3])):
        found[f"golden{cores}_images_per_second"] = len(images) / own
        if module is not None:
            found |= {f"torch{cores}_images_per_second": len(images) / other, f"ratio{cores}": other / own}
    return found


def verilog_seconds(mapping: Mapping) -> float:
    """From the integer network on its engine to Verilog, memory images and manifest on disk."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds(lambda: emit(mapping, Path(folder)))


def stock_cycles_per_second(mapping: Mapping, codes: np.ndarray, build_dir: Path) -> float:
    """Simulated cycles per second with every signal visible and one step of Python per cycle, and all else alike."""
    found = simulate(mapping, codes, build_dir, stock=True)
    return found.simulated_cycles / found.seconds
