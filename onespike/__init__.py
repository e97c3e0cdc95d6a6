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
    "SpikeNet": "model.network.spec",
    "EngineConfig": "hw.config",
    "map_network": "model.mapping.mapper",
    "fit_config": "model.mapping.mapper",
    "predict": "model.cost.cycles",
    "count": "model.network.operations",
    "estimate": "model.cost.energy",
    "to_verilog": "hw.emit.verilog",
    "emit": "hw.emit.emit",
    "simulate": "sim.engine",
    "Board": "fpga.host",
    "SerialLink": "fpga.link",
    "SpiLink": "fpga.link",
    "MmioLink": "fpga.link",
    "Front": "hw.fronts.front",
    "convert": "model.convert.converter",
    "finetune": "model.training.finetune",
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
    from .hw.emit.emit import emit
    from .hw.emit.verilog import to_verilog
    from .hw.fronts.front import Front
    from .model.convert.converter import convert
    from .model.cost.cycles import predict
    from .model.cost.energy import estimate
    from .model.errors import OneSpikeError
    from .model.mapping.mapper import fit_config, map_network
    from .model.network.operations import count
    from .model.network.spec import SpikeNet
    from .model.training.finetune import finetune
    from .sim.engine import simulate


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'onespike' has no attribute {name!r}")
    try:
        home = importlib.import_module(f".{_HOME[name]}", __name__)
    except ModuleNotFoundError as error:
        from .model.system import extras

        raise extras.missing(f"{name} needs", error) from None
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
