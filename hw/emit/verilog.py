# SPDX-License-Identifier: Apache-2.0
"""Verilog of an engine: one deterministic file, whatever the network; the memory images are read when it starts."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping as Map
from types import MappingProxyType
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import ClockSignal, Elaboratable, Instance, ResetSignal, Value
from amaranth.lib import wiring

from ...model.errors import OneSpikeError
from ..config import EngineConfig
from ..engine.bank import Bank, bank_signature
from ..engine.engine import TOP, Engine
from ..memory import page_names

MOST_ROWS = 1 << 17  # of all memories together, one bank's: Amaranth writes some thousand in a second
BANK = "onespike_bank"
LEVELS_PARAMETERS = ("signed_codes", "tables", "table_codes")  # named where an engine has one of them
_IMAGE_FILES = {
    "program_memory": "program.hex",
    "row_memory": "rows.hex",
    "column_memory": "columns.hex",
    "channel_memory": "channels.hex",
}


def image_files(config: EngineConfig) -> dict[str, str]:
    """The memory image that each memory of module `onespike` starts from."""
    return _IMAGE_FILES | ({"table_memory": "tables.hex"} if config.tables else {})


def weight_files(config: EngineConfig, bank: int) -> tuple[str, ...]:
    """Name of the memory image of every page of one bank's weights."""
    pages = len(config.weight_pages)
    return tuple(f"weights{bank}{f'_{page}' if pages > 1 else ''}.hex" for page in range(pages))


def _weight_parameters(config: EngineConfig) -> list[str]:
    """The bank module's parameters that name these images."""
    return page_names("WEIGHTS", len(config.weight_pages))


class _BankInstance(Elaboratable):
    """A bank as an instance of one Verilog module that all banks share."""

    def __init__(self, config: EngineConfig, index: int):
        self.images = {}
        if not config.streams_weights:
            names = (f"p_{name}" for name in _weight_parameters(config))
            self.images = dict(zip(names, weight_files(config, index), strict=True))
        self.interface = bank_signature(config).create(path=(f"bank{index}",))
        for name in self.interface.signature.members:
            setattr(self, name, getattr(self.interface, name))

    def elaborate(self, platform: Any) -> Instance:
        ports: dict[str, Any] = {"i_clk": ClockSignal(), "i_rst": ResetSignal(), **self.images}
        for path, member, value in self.interface.signature.flatten(self.interface):
            direction = "o_" if member.flow is wiring.Out else "i_"
            ports[direction + "__".join(map(str, path))] = Value.cast(value)
        return Instance(BANK, **ports)


def bank_verilog(config: EngineConfig) -> str:
    """Verilog of `Bank(config)`, module `onespike_bank`; its parameter WEIGHTS names the memory image.

    Where the weight memory has pages, there is an image for each, and the parameters are WEIGHTS0, WEIGHTS1 ..; where
    weights are streamed, there is none.
    """
    if config.streams_weights:
        return convert(Bank(config), BANK)
    names = _weight_parameters(config)
    memories = page_names("weight_memory", len(names))
    text = convert(Bank(config), BANK, dict(zip(memories, names, strict=True)))
    files = weight_files(config, 0)
    parameters = ", ".join(f'parameter {name} = "{file}"' for name, file in zip(names, files, strict=True))
    return re.sub(rf"(?m)^module {BANK}\(", f"module {BANK} #({parameters}) (", text)


@functools.lru_cache(maxsize=8)
def to_verilog(config: EngineConfig) -> str:
    """Verilog of `Engine(config)`, module `onespike`; its memories start from `image_files` and `weight_files`.

    Defining ONESPIKE_BLANK leaves the memories empty, to be filled through the load stream.
    OneSpikeError where the memories are deeper than those of any part.
    """
    rows = {name: value for name, value in vars(config).items() if name.endswith("_depth")}
    if (total := sum(rows.values())) > MOST_ROWS:
        deepest = max(rows, key=lambda name: rows[name])
        raise OneSpikeError(
            f"The engine's memories have {total:,} rows ({deepest} = {rows[deepest]:,}), but Verilog is written for at "
            f"most {MOST_ROWS:,}; use more lanes or banks, or stream the weights (--external-weights)."
        )
    files = {memory: f'"{file}"' for memory, file in image_files(config).items()}
    engine = convert(Engine(config, make_bank=_BankInstance), TOP, files)
    text = "// SPDX-License-Identifier: Apache-2.0\n"
    text += f"// OneSpike accelerator: {config.banks} banks x {config.lanes} lanes.\n"
    text += "// Generated; change the generator instead. Parameters:\n"
    for name, value in vars(config).items():
        if config.signed_values or name not in LEVELS_PARAMETERS:
            text += f"//   {name} = {value}\n"
    return text + engine + bank_verilog(config)


def convert(component: wiring.Component, name: str, images: Map[str, str] = MappingProxyType({})) -> str:
    """Verilog of a component; images: the file that each memory starts from, as a Verilog expression."""

    def initial(block: re.Match[str]) -> str:
        """What a memory starts with: its image file, or nothing in particular."""
        if block[1] not in images:
            return ""
        return f"`ifndef ONESPIKE_BLANK\n  initial $readmemh({images[block[1]]}, {block[1]});\n`endif\n"

    saved = os.environ.get("AMARANTH_USE_YOSYS")
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"  # a system Yosys would write other text
    try:
        text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    finally:
        if saved is None:
            del os.environ["AMARANTH_USE_YOSYS"]
        else:
            os.environ["AMARANTH_USE_YOSYS"] = saved
    text = re.sub(r"(?m)^/\* Generated by .*\*/\n", "", text)
    return re.sub(r"(?m)^  initial begin\n(?:    \\?([\w$]+) ?\[\d+\] = [^;]+;\n)+  end\n", initial, text)
