# SPDX-License-Identifier: Apache-2.0
"""OneSpike: a trained PyTorch ReLU network in, a verified single-timestep spiking accelerator out.

>>> import onespike, torch
>>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
>>> images = torch.rand(100, 1, 8, 8)                          # in the scale that the module takes
>>> net = onespike.convert(module.eval(), calibration=images)  # SpikeNet: integers only
>>> net.golden(images.numpy()).shape                           # logits
(100, 4)
>>> config = onespike.fit_config(net, onespike.EngineConfig(banks=2, lanes=8))
>>> mapping = onespike.map_network(net, config)

Then `onespike.emit(mapping, "build/verilog")` writes Verilog, memory images and a manifest, and
`onespike.simulate(mapping, images.numpy(), "build/simulation")` compares every bit and every cycle with the model.

Names are imported when first used, so that torch is only needed for what trains, and for `convert` of what is torch's.
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
    "Conversion": "model.convert.converter",
    "Dataset": "model.training.data",
    "ExternalMemory": "model.cost.external",
    "evaluate": "model.convert.evaluate",
    "load_graph": "model.training.graphs",
    "prepare": "model.convert.converter",
    "train_float": "model.training.float_epochs",
    "train_gcn": "model.training.gcn",
}
__all__ = [
    "Board",
    "Conversion",
    "Dataset",
    "EngineConfig",
    "ExternalMemory",
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
    "evaluate",
    "finetune",
    "fit_config",
    "load_graph",
    "map_network",
    "predict",
    "prepare",
    "simulate",
    "to_verilog",
    "train_float",
    "train_gcn",
]

if TYPE_CHECKING:
    from .fpga.host import Board
    from .fpga.link import MmioLink, SerialLink, SpiLink
    from .hw.config import EngineConfig
    from .hw.emit.emit import emit
    from .hw.emit.verilog import to_verilog
    from .hw.fronts.front import Front
    from .model.convert.converter import Conversion, convert, prepare
    from .model.convert.evaluate import evaluate
    from .model.cost.cycles import predict
    from .model.cost.energy import estimate
    from .model.cost.external import ExternalMemory
    from .model.errors import OneSpikeError
    from .model.mapping.mapper import fit_config, map_network
    from .model.network.operations import count
    from .model.network.spec import SpikeNet
    from .model.training.data import Dataset
    from .model.training.finetune import finetune
    from .model.training.float_epochs import train_float
    from .model.training.gcn import train_gcn
    from .model.training.graphs import load_graph
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
