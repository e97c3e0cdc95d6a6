# SPDX-License-Identifier: Apache-2.0
"""How fast the tool itself is: golden model against PyTorch, Verilog, and simulation against the stock runner."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .hw.emit import emit
from .model import golden
from .model.mapping import Mapping
from .model.spec import SpikeNet
from .sim.engine import simulate

REPEATS = 5  # the fastest counts: what the machine can do when nothing disturbs it


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def golden_and_torch(net: SpikeNet, module: torch.nn.Module, images: np.ndarray) -> dict[str, float]:
    """Images per second of the golden model and of the float network in PyTorch, one thread each, in turns."""
    codes, tensor = net.image.quantise(images), torch.from_numpy(images)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            times = [(seconds(lambda: golden.run(net, codes)), seconds(lambda: module(tensor))) for _ in range(REPEATS)]
    finally:
        torch.set_num_threads(threads)
    ours, theirs = (min(column) for column in zip(*times, strict=True))
    return {
        "golden_images_per_second": len(images) / ours,
        "torch_images_per_second": len(images) / theirs,
        "ratio": theirs / ours,
    }


def verilog_seconds(mapping: Mapping) -> float:
    """From the integer network on its engine to Verilog, memory images and manifest on disk."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds(lambda: emit(mapping, Path(folder)))


def stock_cycles_per_second(mapping: Mapping, codes: np.ndarray, build_dir: Path) -> float:
    """Simulated cycles per second with every signal visible and one step of Python per cycle, and all else alike."""
    found = simulate(mapping, codes, build_dir, stock=True)
    return found.simulated_cycles / found.seconds
