# SPDX-License-Identifier: Apache-2.0
"""The register map, once: the hardware, the host, the C header and `docs/registers.md` all come from it.

python -m onespike.hw.fronts.registers      rewrites the header and the page
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...model.errors import OneSpikeError
from ...model.network.codes import MULTIPLES
from ...model.system.files import write_atomically
from ..config import ARITHMETICS, ENGINE_CODES, EngineConfig
from ..engine.faults import FAULTS

ADDRESS_BITS = 6  # of a word address: 64 registers of 32 bits
ID = int.from_bytes(b"1SPK", "little")
VERSION = 10
CODED = ("arithmetic", "product_bits", "dsp", "drain_banks")  # in the registers of `multiples` and `fire_lanes`
PARAMETERS = tuple(field.name for field in dataclasses.fields(EngineConfig) if field.name not in CODED)


@dataclass(frozen=True)
class Field:
    """Bits of a register, from `low` on."""

    name: str
    low: int
    bits: int
    text: str


@dataclass(frozen=True)
class Register:
    """One 32-bit word. access: "r", "w", "rw" or "c" (read; a one that is written clears its bit)."""

    name: str
    offset: int
    access: str
    text: str
    fields: tuple[Field, ...] = ()

    @property
    def word(self) -> int:
        """Word address."""
        return self.offset // 4


EVENTS = (
    Field("done", 0, 1, "the result of an image has left"),
    Field("short", 1, 1, "a frame ended before the image did; zeros took the place of the missing beats"),
    Field("long", 2, 1, "a frame went on after the image's end; the surplus beats were dropped"),
    Field("refused", 3, 1, "an access was refused; it changed nothing and read 0"),
    Field("memory", 4, 1, "external memory answered with an error: no layer begins until control is written 0"),
    Field("fault", 5, 1, "a parity was wrong, or the watchdog has ended an image: faults says which"),
)

FAULT_FIELDS = tuple(
    Field(name, bit, 1, "a layer, or the pause before one, took longer than config_watchdog says: it has been ended, "
          "and images inside are lost" if name == "watchdog" else f"a wrong parity in the memory of the {name}")
    for bit, name in enumerate(FAULTS)
)  # fmt: skip
CONFIG = 0x40  # offset of the first engine parameter
REGISTERS = (
    Register("id", 0x00, "r", f"0x{ID:08X}, the letters 1SPK"),
    Register("version", 0x04, "r", f"of this register map: {VERSION}"),
    Register(
        "features",
        0x08,
        "r",
        "what this core has",
        (
            Field("streams", 0, 1, "images and logits go through streams; the registers image, image_last and logit "
                  "do not exist"),
            Field("logit_words", 4, 4, "32-bit words of a logit, 1 or 2, low word first"),
        ),
    ),
    Register(
        "control",
        0x0C,
        "rw",
        "writing 0 stops and resets the engine at any time: images inside are lost; memories, beats, "
        "weight_address and irq_enable stay, everything else reads 0 again",
        (Field("run", 0, 1, "1: run, refused where no whole network is loaded; 0: stopped, memories can be loaded"),),
    ),
    Register(
        "status",
        0x10,
        "r",
        "what the core is doing",
        (
            Field("running", 0, 1, "control.run"),
            Field("busy", 1, 1, "images are inside"),
            Field("room", 2, 1, "an image may begin, or go on"),
            Field("result", 3, 1, "a logit waits"),
            Field("inside", 4, 4, "images that have begun and whose result has not left"),
        ),
    ),
    Register("events", 0x14, "c", "what has happened since control was written 0 or the bit was cleared", EVENTS),
    Register("irq_enable", 0x18, "rw", "events that raise the interrupt line, bit by bit", EVENTS),
    Register("beats", 0x1C, "rw", "beats of an image, 24 bits; no image is taken while it is 0; written while stopped"),
    Register("images", 0x20, "r", "images whose result has left, modulo 65,536"),
    Register("class", 0x24, "r", "class of the image whose result left last; of a map, of its last place"),
    Register("counter", 0x28, "rw", "address of the counter that count reads: 4 * layer + (0 cycles, 1 events, "
             "2 empty, 3 waiting), up to 15 bits; 8 * layer + (the same, 4 stalled) where weights are streamed"),
    Register("count", 0x2C, "r", "the counter, of the layer's last run; then counter goes on by one"),
    Register("load", 0x30, "w", "the next word of the load stream; refused while the engine runs"),
    Register("image", 0x34, "w", "the next beat of an image; refused where status.room is 0"),
    Register("image_last", 0x38, "w", "the last beat of an image"),
    Register("logit", 0x3C, "r", "the next word of the logits, sign-extended; waits for it, and is refused after "
             "65,536 cycles or where no image is inside"),
    *(
        Register(
            f"config_{name}",
            CONFIG + 4 * index,
            "r",
            "engine parameter `code`: " + ", ".join(f"{i} {c}" for i, c in enumerate(ENGINE_CODES))
            if name == "code"
            else "engine parameter `multiples`: the largest of 1, 3, 5 that an event may add; of engines that "
            "multiply, 256 x (1 zero-skip, 2 dense) + 16 x `dsp` + `product_bits`"
            if name == "multiples"
            else "engine parameter `fire_lanes` + 65,536 x (`drain_banks` - 1)"
            if name == "fire_lanes"
            else f"engine parameter `{name}`",
        )
        for index, name in enumerate(PARAMETERS)
    ),
    Register("weight_address", 0xF0, "rw", "where the image of streamed weights (weights.bin) lies in external memory, "
             "a multiple of 4096; written while stopped; exists where config_external_weights is not 0"),
    Register("faults", 0xF4, "r", "what has gone wrong in the engine since control was written 0, of engines with "
             "config_parity or config_watchdog; after `watchdog`, it stands still until control is written 0",
             FAULT_FIELDS),
    Register("network", 0xF8, "rw", "the network in the memories: the CRC-32 of the words of its load stream, low byte "
             "first; 0 where there is none, or not all of it. Written after the last of the words, with their CRC-32: "
             "refused where it is not that of all that has been written to load since control was written 0"),
)  # fmt: skip
BY_NAME = {register.name: register for register in REGISTERS}


def word(name: str) -> int:
    """Word address of a register."""
    return BY_NAME[name].word


def flag(register: str, field: str) -> int:
    """The mask of a field."""
    found = next(f for f in BY_NAME[register].fields if f.name == field)
    return ((1 << found.bits) - 1) << found.low


def bus_signature() -> wiring.Signature:
    """The bus in front of the registers, seen from its master.

    A request (`valid`, with `write`, word `address` and `data`) stands until `done`; in that cycle `answer` is what was
    read and `refused` says that nothing was done. Every request is done within 65,600 cycles.
    """
    return wiring.Signature(
        {
            "valid": Out(1),
            "write": Out(1),
            "address": Out(ADDRESS_BITS),
            "data": Out(32),
            "done": In(1),
            "answer": In(32),
            "refused": In(1),
        }
    )


def parameter_words(config: EngineConfig) -> list[int]:
    """The engine's parameters as the config registers hold them."""
    values = dataclasses.asdict(config)
    multiples = config.multiples[-1]
    if config.multiplies:
        multiples = ARITHMETICS.index(config.arithmetic) << 8 | config.dsp << 4 | config.product_bits
    fire_lanes = config.fire_lanes | config.drain_banks - 1 << 16
    coded = {"code": ENGINE_CODES.index(config.code), "multiples": multiples, "fire_lanes": fire_lanes}
    return [int(value) for name, value in (values | coded).items() if name not in CODED]


def config_of(words: list[int]) -> EngineConfig:
    """The configuration that `parameter_words` describes; OneSpikeError where no engine can have it."""
    values: dict[str, Any] = dict(zip(PARAMETERS, words, strict=True))
    if values["code"] >= len(ENGINE_CODES):
        raise OneSpikeError(f"There is no spike code number {values['code']}.")
    kind, of_product = divmod(values["multiples"], 256)
    usual = MULTIPLES[-1] if kind else None
    multiples = next((each for each in MULTIPLES if each[-1] == values["multiples"]), usual)
    if multiples is None or kind >= len(ARITHMETICS):
        raise OneSpikeError(f"There is no engine with multiples up to {values['multiples']}.")
    fields = dataclasses.fields(EngineConfig)
    switches = {f.name: bool(values[f.name]) for f in fields if f.name in values and f.type == "bool"}
    coded: dict[str, Any] = {"code": ENGINE_CODES[values["code"]], "multiples": multiples}
    coded |= {"arithmetic": ARITHMETICS[kind], "fire_lanes": values["fire_lanes"] & 0xFFFF}
    coded |= {"drain_banks": (values["fire_lanes"] >> 16) + 1}
    if kind:
        coded |= {"product_bits": of_product % 16, "dsp": bool(of_product >> 4)}
    return EngineConfig(**(values | switches | coded))


def c_header() -> str:
    """The registers as C macros."""
    lines = [
        "/* SPDX-License-Identifier: Apache-2.0 */",
        "/* Generated by `python -m onespike.hw.fronts.registers`; change hw/fronts/registers.py instead. */",
        "#ifndef ONESPIKE_REGISTERS_H",
        "#define ONESPIKE_REGISTERS_H",
        "",
        f"#define ONESPIKE_ID_VALUE 0x{ID:08X}u",
        f"#define ONESPIKE_VERSION_VALUE {VERSION}u",
    ]
    for register in REGISTERS:
        name = f"ONESPIKE_{register.name.upper()}"
        lines += ["", f"/* {register.text} ({register.access}) */", f"#define {name} 0x{register.offset:02X}u"]
        for field in register.fields:
            mask = ((1 << field.bits) - 1) << field.low
            lines.append(f"#define {name}_{field.name.upper()} 0x{mask:02X}u /* {field.text} */")
            if field.bits > 1:
                lines.append(f"#define {name}_{field.name.upper()}_SHIFT {field.low}")
    return "\n".join([*lines, "", "#endif", ""])


ACCESS = {"r": "read", "w": "write", "rw": "read, write", "c": "read, write 1 to clear"}


def markdown() -> str:
    """The registers as a page."""
    lines = [
        "<!-- Generated by `python -m onespike.hw.fronts.registers`; change hw/fronts/registers.py instead. -->",
        "# Registers",
        "",
        "All fronts (AXI4-Lite, Wishbone, UART, SPI) show the same registers: 32-bit words at these byte offsets.",
        "An access that cannot be done is answered like any other (many processors take a bus error for a crash),",
        "changes nothing, reads 0 and sets `events.refused`. Every access is answered within 65,600 cycles.",
        "",
        "To run a network: read `id` and `config_*`; write 0 to `control`; write the words of `load.hex` to `load` and",
        "their CRC-32 to `network`; write `beats`; write 1 to `control`. Where loading stops half-way (a host ends,",
        "a reset, a loss of power), `network` reads 0, and `control.run` is refused until all of a network has come.",
        "Then, image by image: wait for `status.room`, write the beats (the last",
        "one to `image_last`), wait for `status.result`, read the logits from `logit` and the class from `class`.",
        "Where `features.streams` is set, AXI4-Streams carry images and logits instead. The logits of a map (engines",
        "with `config_maps`) come place after place, rows from the top, all channels of each.",
        "",
        "| offset | register | access | what |",
        "|---|---|---|---|",
    ]
    lines += [f"| 0x{r.offset:02X} | `{r.name}` | {ACCESS[r.access]} | {r.text} |" for r in REGISTERS]
    lines += ["", "Fields; other bits read 0.", "", "| register | bits | field | what |", "|---|---|---|---|"]
    for register in REGISTERS:
        for field in register.fields:
            bits = str(field.low) if field.bits == 1 else f"{field.low + field.bits - 1}..{field.low}"
            lines.append(f"| `{register.name}` | {bits} | `{field.name}` | {field.text} |")
    return "\n".join(lines) + "\n"


FILES = {"fpga/driver/onespike_registers.h": c_header, "docs/registers.md": markdown}

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    for name, text in FILES.items():
        sys.stdout.write(f"{name}: {'written' if write_atomically(root / name, text()) else 'up to date'}\n")
