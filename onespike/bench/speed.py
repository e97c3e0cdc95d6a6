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


def golden_and_torch(net: SpikeNet, module: torch.nn.Module, images: np.ndarray) -> dict[str, float]:
    """Images per second of the golden model and of the float network in PyTorch, in turns: on one thread each, and
    (`_all`) on `threads` each, as many as `parallel.count` says.
    """
    codes, tensor, threads = net.image.quantise(images), torch.from_numpy(images), parallel.count()

    def ours(number: int) -> float:
        return seconds(lambda: golden.run(net, codes, threads=number))

    def theirs(number: int) -> float:
        with torch_threads(number):
            return seconds(lambda: module(tensor))

    with torch.inference_mode():
        times = [(ours(1), theirs(1), ours(threads), theirs(threads)) for _ in range(REPEATS)]
    least = [min(column) for column in zip(*times, strict=True)]
    return {
        "golden_images_per_second": len(images) / least[0],
        "torch_images_per_second": len(images) / least[1],
        "ratio": least[1] / least[0],
        "threads": threads,
        "golden_all_images_per_second": len(images) / least[2],
        "torch_all_images_per_second": len(images) / least[3],
        "ratio_all": least[3] / least[2],
    }


def verilog_seconds(mapping: Mapping) -> float:
    """From the integer network on its engine to Verilog, memory images and manifest on disk."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds(lambda: emit(mapping, Path(folder)))


def stock_cycles_per_second(mapping: Mapping, codes: np.ndarray, build_dir: Path) -> float:
    """Simulated cycles per second with every signal visible and one step of Python per cycle, and all else alike."""
    found = simulate(mapping, codes, build_dir, stock=True)
    return found.simulated_cycles / found.seconds
