# SPDX-License-Identifier: Apache-2.0
"""alkaid, live: the integer network of linear layers as unrolled shift-add logic, where the package is installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..fpga.place_route import cells
from ..fpga.synth import run_yosys
from ..model.errors import OneSpikeError
from ..model.network import golden
from ..model.network.spec import SpikeNet
from ..model.system import bounded
from ..model.system.files import write_atomically
from ..model.system.locks import in_turn

STAGE = 5.0  # alkaid's delay units per pipeline stage: its own default in the documentation


def installed() -> bool:
    return importlib.util.find_spec("alkaid") is not None


def run(net: SpikeNet, codes: np.ndarray, folder: str | Path, *, cells: bool) -> dict[str, Any]:
    """Latency, registers and alkaid's own LUT estimate of a network of linear layers; exactness on the image codes.

    A value is the same count as in ours: shift, floor, clip. cells: also map its Verilog to ECP5 with yosys (minutes).
    """
    if any(len(layer.sources) > 1 or layer.pool or net.shapes[layer.name][1:] != (1, 1) for layer in net.layers):
        raise OneSpikeError("alkaid is run on networks of linear layers only.")
    from alkaid.codegen import RTLModel
    from alkaid.trace import FVArray, trace

    started = time.perf_counter()
    inputs = codes[0].size
    zeros = np.zeros(inputs, int)
    image = values = FVArray.from_kif(zeros, np.full(inputs, net.image.bits), zeros)
    for layer in net.layers:
        weights = layer.sources[0].dense.reshape(layer.channels, -1) * 2.0 ** layer.sources[0].shift
        values = values @ weights.T + layer.bias.astype(float)
        if layer.fires:
            counts = (values * np.ldexp(1.0, -layer.shift.astype(int))).quantize(f=np.zeros(layer.channels, int))
            values = np.clip(counts, 0, layer.groups)
    logic = trace(image, values)
    exact = bool((logic.predict(codes.reshape(len(codes), -1).astype(float)) == golden.run(net, codes)).all())
    folder = Path(folder)
    with in_turn(folder.with_name(f"{folder.name}.lock")):
        model = RTLModel(logic, folder, "unrolled", latency_cutoff=STAGE, print_latency=False)
        model.write()
        luts = {"ecp5_luts": _ecp5_luts(folder)} if cells else {}
    found = {
        "version": importlib.metadata.version("alkaid"),
        "stages": int(model.latency or 0),
        "interval": 1,
        "lut_estimate": round(logic.cost),
        "registers": int(model.reg_bits),
        "exact": exact,
        "images": len(codes),
        "seconds": time.perf_counter() - started,
    }
    return found | luts


def _ecp5_luts(folder: Path) -> int:
    """LUT4s after yosys, with those of the carry cells (two each), before packing; kept in the folder."""
    kept = folder / "ecp5.json"
    if (before := bounded.kept(kept, lambda found: int(found["luts"]))) is not None:
        return before
    files = " ".join(sorted(str(path.relative_to(folder)) for path in (folder / "src").rglob("*.v")))
    run_yosys(f"read_verilog -sv {files}", "synth_ecp5 -noabc9 -top unrolled", folder)
    found = cells(folder)
    luts = found.get("LUT4", 0) + 2 * found.get("CCU2C", 0)
    write_atomically(kept, json.dumps({"luts": luts}))
    return luts
