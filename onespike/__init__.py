# SPDX-License-Identifier: Apache-2.0
"""OneSpike: a trained PyTorch ReLU network in, a verified single-timestep spiking accelerator out.

    net = onespike.convert(module, example, calibration)       # SpikeNet: integers only
    config = onespike.fit_config(net, onespike.EngineConfig(banks=4, lanes=16))
    mapping = onespike.map_network(net, config)
    onespike.emit(mapping, "build/verilog")                    # Verilog, memory images, manifest
    onespike.simulate(mapping, codes, "build/simulation")      # every bit and every cycle against the model

Names are imported when first used, so that torch is only needed for `convert`, `finetune` and `evaluate`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "OneSpikeError": "model.errors",
    "SpikeNet": "model.spec",
    "EngineConfig": "hw.config",
    "map_network": "model.mapper",
    "fit_config": "model.mapper",
    "predict": "model.cycles",
    "count": "model.operations",
    "estimate": "model.energy",
    "to_verilog": "hw.verilog",
    "emit": "hw.emit",
    "simulate": "sim.engine",
    "Board": "fpga.host",
    "SerialLink": "fpga.link",
    "SpiLink": "fpga.link",
    "MmioLink": "fpga.link",
    "Front": "hw.front",
    "convert": "model.converter",
    "finetune": "model.finetune",
}
__all__ = [
    "Board",
    "EngineConfig",
    "Front",
    "MmioLink",
    "OneSpikeError",
    "SerialLink",
    "SpiLink",
    "SpikeNet",
    "__version__",
    "convert",
    "count",
    "emit",
    "estimate",
    "finetune",
    "fit_config",
    "map_network",
    "predict",
    "simulate",
    "to_verilog",
]

if TYPE_CHECKING:
    from .fpga.host import Board
    from .fpga.link import MmioLink, SerialLink, SpiLink
    from .hw.config import EngineConfig
    from .hw.emit import emit
    from .hw.front import Front
    from .hw.verilog import to_verilog
    from .model.converter import convert
    from .model.cycles import predict
    from .model.energy import estimate
    from .model.errors import OneSpikeError
    from .model.finetune import finetune
    from .model.mapper import fit_config, map_network
    from .model.operations import count
    from .model.spec import SpikeNet
    from .sim.engine import simulate


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'onespike' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
