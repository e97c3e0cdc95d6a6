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
from amaranth.hdl import ClockSignal, Elaboratable, Fragment, Instance, Module, ResetSignal, Value
from amaranth.lib import wiring

from ...model.errors import OneSpikeError
from ..config import EngineConfig
from ..engine.bank import Bank, bank_signature
from ..engine.engine import TOP, Engine
from ..memory import page_names
from .readable import readable

MOST_ROWS = 1 << 17  # of all memories together, one bank's: Amaranth writes some thousand in a second
BANK = "onespike_bank"
LEVELS_PARAMETERS = ("signed_codes", "tables", "table_codes")  # named where an engine has one of them
MASK_PARAMETERS = ("row_masks", "mask_depth", "depthwise")  # the same
PRODUCT_PARAMETERS = ("arithmetic", "product_bits", "dsp")
NOT_IN_HARDWARE = r"`ifndef SYNTHESIS\n`ifndef ONESPIKE_BLANK\n\1`endif\n`endif\n"
UNNAMED_IF_OFF = ("maps", "single_port", "parity", "watchdog")
_IMAGE_FILES = {
    "program_memory": "program.hex",
    "row_memory": "rows.hex",
    "column_memory": "columns.hex",
    "channel_memory": "channels.hex",
}


def image_files(config: EngineConfig) -> dict[str, str]:
    """The memory image that each memory of module `onespike` starts from."""
    return _IMAGE_FILES | ({"table_memory": "tables.hex"} if config.tables else {})


def bank_memories(config: EngineConfig) -> dict[str, tuple[int, ...]]:
    """The memories of which every bank starts from an image of its own: rows of each page."""
    weights = {} if config.streams_weights else {"weights": config.weight_pages}
    return weights | ({"masks": config.mask_pages} if config.row_masks else {})


def bank_files(config: EngineConfig, name: str, bank: int) -> tuple[str, ...]:
    """Name of the memory image of every page of one bank's `weights` or `masks`."""
    pages = len(bank_memories(config)[name])
    return tuple(f"{name}{bank}{f'_{page}' if pages > 1 else ''}.hex" for page in range(pages))


def bank_pages(config: EngineConfig, name: str) -> list[str]:
    """The memories in the bank module that are these pages."""
    return page_names(f"{name.removesuffix('s')}_memory", len(bank_memories(config)[name]))


def _parameters(config: EngineConfig, name: str) -> list[str]:
    """The bank module's parameters that name these images."""
    return page_names(name.upper(), len(bank_memories(config)[name]))


class _BankInstance(Elaboratable):
    """A bank as an instance of one Verilog module that all banks share."""

    def __init__(self, config: EngineConfig, index: int):
        self.images: dict[str, str] = {}
        for memory in bank_memories(config):
            names = (f"p_{name}" for name in _parameters(config, memory))
            self.images |= zip(names, bank_files(config, memory, index), strict=True)
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
    """Verilog of `Bank(config)`, module `onespike_bank`; its parameters WEIGHTS and MASKS name the memory images.

    Where a memory has pages, there is an image for each, and the parameters are WEIGHTS0, WEIGHTS1 ..; where weights
    are streamed, there is none. Single-port RAM starts from its image in simulation alone.
    """
    images: dict[str, str] = {}
    files: dict[str, str] = {}
    for memory in bank_memories(config):
        names = _parameters(config, memory)
        images |= zip(bank_pages(config, memory), names, strict=True)
        files |= zip(names, bank_files(config, memory, 0), strict=True)
    text = convert(Bank(config), BANK, images)
    if config.single_port:  # a simulation may start from the images, the RAMs cannot
        text = re.sub(r"`ifndef ONESPIKE_BLANK\n(  initial \$readmemh\(WEIGHTS.*\n)`endif\n", NOT_IN_HARDWARE, text)
    if not files:
        return text
    parameters = ",\n".join(f'  parameter {name} = "{file}"' for name, file in files.items())
    return re.sub(rf"(?m)^module {BANK} \(", f"module {BANK} #(\n{parameters}\n) (", text)


@functools.lru_cache(maxsize=8)
def to_verilog(config: EngineConfig) -> str:
    """Verilog of `Engine(config)`, module `onespike`; its memories start from `image_files` and `bank_files`.

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
        left_out = [] if config.signed_values else [*LEVELS_PARAMETERS]
        left_out += [] if config.row_masks else MASK_PARAMETERS
        left_out += [option for option in UNNAMED_IF_OFF if not getattr(config, option)]
        left_out += ["multiples"] if config.multiplies else PRODUCT_PARAMETERS
        if name not in left_out:
            text += f"//   {name} = {value}\n"
    return text + engine + bank_verilog(config)


class _Recorder(Elaboratable):
    """A component, and the hierarchy that it became."""

    def __init__(self, component: wiring.Component):
        self.component = component
        self.signature = component.signature
        self.fragment: Fragment | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.component, name)

    def elaborate(self, platform: Any) -> Fragment:
        self.fragment = Fragment.get(self.component, platform)
        return self.fragment


def _sentences(fragment: Fragment, name: str) -> dict[str, str]:
    """Module -> class and first sentence of the docstring of the component that became it."""
    found = {}
    for origin in fragment.origins or ():
        if not isinstance(origin, Module | _Recorder) and (text := type(origin).__doc__):
            found[name] = f"{type(origin).__name__.lstrip('_')}: {' '.join(text.partition(chr(10) * 2)[0].split())}"
            break
    for inner, own, _ in fragment.subfragments:
        found |= _sentences(inner, f"{name}.{own}")
    return found


def convert(component: wiring.Component, name: str, images: Map[str, str] = MappingProxyType({})) -> str:
    """Verilog of a component; images: the file that each memory starts from, as a Verilog expression."""

    def initial(block: re.Match[str]) -> str:
        """What a memory starts with: its image file, or nothing in particular."""
        rows = block[0].count(";\n")
        if block[1] not in images:
            return ""
        read = f"$readmemh({images[block[1]]}, {block[1]}, 0, {rows - 1})"
        return f"`ifndef ONESPIKE_BLANK\n  initial {read};\n`endif\n"

    recorder = _Recorder(component)
    saved = os.environ.get("AMARANTH_USE_YOSYS")
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"  # a system Yosys would write other text
    try:
        text = verilog.convert(recorder, name=name, emit_src=False, strip_internal_attrs=True)
    finally:
        if saved is None:
            del os.environ["AMARANTH_USE_YOSYS"]
        else:
            os.environ["AMARANTH_USE_YOSYS"] = saved
    assert recorder.fragment is not None
    text = re.sub(r"(?m)^/\* Generated by .*\*/\n", "", text)
    text = re.sub(r"(?m)^  initial begin\n(?:    \\?([\w$]+) ?\[\d+\] = [^;]+;\n)+  end\n", initial, text)
    return readable(text, _sentences(recorder.fragment, name))
