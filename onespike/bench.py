# SPDX-License-Identifier: Apache-2.0
"""`make bench`: golden model against the float network in PyTorch, one thread each, in turns in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is first imported

import numpy as np
import torch
from rich.console import Console

from . import tables
from .model import golden
from .model.converter import prepare
from .model.files import write_atomically
from .model.networks import build

NETWORKS = {"digits": (1, 28, 28), "mlp": (1, 28, 28), "lenet5": (1, 28, 28), "resnet20": (3, 32, 32)}


def seconds(function: Any, repeats: int) -> float:
    """The least of `repeats` runs: what the machine can do when nothing disturbs it."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def measure(name: str, number: int, repeats: int) -> dict[str, float]:
    """Images per second of both, and their ratio; weights are random, which changes no shape."""
    module = build(name).eval()
    images = np.random.default_rng(0).random((number, *NETWORKS[name]), dtype=np.float32)
    net = prepare(module, calibration=images[:64]).net
    codes, tensor = net.image.quantise(images), torch.from_numpy(images)
    torch.set_num_threads(1)
    with torch.inference_mode():
        golden_times, torch_times = [], []
        for _ in range(repeats):
            golden_times.append(seconds(lambda: golden.run(net, codes), 1))
            torch_times.append(seconds(lambda: module(tensor), 1))
    found = {
        "golden_images_per_second": number / min(golden_times),
        "torch_images_per_second": number / min(torch_times),
    }
    return found | {"ratio": min(torch_times) / min(golden_times)}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m onespike.bench", description=__doc__)
    parser.add_argument(
        "--networks", nargs="+", choices=tuple(NETWORKS), default=["digits", "mlp", "lenet5", "resnet20"]
    )
    parser.add_argument("--images", type=int, default=256, help="in one batch (default: 256)")
    parser.add_argument("--repeats", type=int, default=7, help="runs, of which the fastest counts (default: 7)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)
    result: dict[str, Any] = {name: measure(name, args.images, args.repeats) for name in args.networks}
    rows = [
        (name, f"{r['golden_images_per_second']:,.0f} images/s golden, {r['torch_images_per_second']:,.0f} images/s "
               f"PyTorch: {r['ratio']:.2f} times")
        for name, r in result.items()
    ]  # fmt: skip
    tables.facts(Console(highlight=False), f"One thread, batches of {args.images}", rows)
    if args.json is not None:
        result["machine"] = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
        write_atomically(args.json, json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
