# SPDX-License-Identifier: Apache-2.0
"""Test bench: an example in plain Verilog that streams images through an emitted engine and compares what comes out.

| file           | what                                                                       |
|----------------|----------------------------------------------------------------------------|
| TOP_tb.v       | the bench of module TOP; of the engine alone where a front is serial        |
| tb_image.hex   | beats of all images                                                        |
| tb_logits.hex  | the golden model's logits, in the order of the stream                      |
| tb_classes.hex | the class of every place                                                   |
"""

from __future__ import annotations

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib.wiring import In

from ...model.cost.cycles import predict_all
from ...model.mapping.images import image_beats, load_words, memory_images
from ...model.mapping.mapping import Mapping
from ...model.network import golden
from ...model.network.spec import SpikeNet
from ..engine.axi_read import axi_read_signals
from ..engine.counters import counter_stride
from ..engine.engine import TOP
from ..engine.faults import FAULTS
from ..fronts.control import logit_words
from ..fronts.front import Front
from ..fronts.registers import REGISTERS
from ..program import layer_depth
from . import testbench_fronts as fronts
from . import testbench_text as text

STREAMED = ("axi",)  # fronts with streams, and with registers alone: those that a bench is written for
ADDRESSED = ("wishbone",)
WEIGHT_ADDRESS = 0x10000


def made_up_image(net: SpikeNet) -> np.ndarray:
    """Codes uint8 [1, C, H, W] of a picture that stands for a real one: a bright disc above a slope, on nothing."""
    channels, height, width = net.image.shape
    y, x = (np.linspace(-1, 1, size).reshape(shape) for size, shape in ((height, (-1, 1)), (width, (1, -1))))
    disc = np.clip(1.5 - 3 * np.hypot(x, y + 0.1), 0, 1)
    slope = np.clip(0.4 * y * (np.abs(x) < 0.6), 0, 1)
    shares = np.arange(1, channels + 1).reshape(-1, 1, 1) / channels * np.maximum(disc, slope)
    if height * width == 1:  # features
        shares = (0.5 + 0.5 * np.sin(np.arange(channels))).reshape(-1, 1, 1)
    return np.rint(shares * (2**net.image.bits - 1)).astype(np.uint8)[None]


def bench_top(front: Front | None) -> str:
    """The module that the bench runs: what stands in front of it, if it is no serial line."""
    return front.top if front is not None and front.kind in STREAMED + ADDRESSED else TOP


def testbench(mapping: Mapping, front: Front | None = None, codes: np.ndarray | None = None) -> dict[str, str]:
    """File name -> text of the bench of an engine; codes: images uint [N, C, H, W], by default one that is made up."""
    net, config, top = mapping.net, mapping.config, bench_top(front)
    known = codes is not None and len(codes) > 0
    images = net.image.quantise(codes if codes is not None and known else made_up_image(net))
    result = golden.run(net, images, layers=True, trains=config.code == "psg")
    logits = mapping.to_stream(result.logits)
    classes = logits.reshape(-1, mapping.channels).argmax(1)
    beats = image_beats(mapping, images)
    cycles = sum(layer.total for image in predict_all(mapping, result) for layer in image)
    loads = load_words(memory_images(mapping), config) if config.loadable and top == TOP else []
    memory = memory_images(mapping).external
    values = {
        "TOP": top,
        "IMAGES": len(images),
        "BEATS": beats.shape[1],
        "LOGITS": logits.shape[1],
        "CHANNELS": mapping.channels,
        "LOAD_WORDS": max(1, len(loads)),
        "LIMIT": 20_000 + len(loads) + 8 * (cycles + beats.size + 4 * logits.size) + 16 * len(memory),
        "W": config.word_bits,
        "ACC": config.acc_bits,
        "LOGIT_WORDS": logit_words(config),
        "COUNTER": (counter_stride(config) * layer_depth(config) - 1).bit_length(),
        "CLOCK": "aclk" if top.endswith("_axi") else "clk",
        "ORIGIN": "The images come from the data that `onespike verilog --data` was given."
        if known
        else "The image is made up, a disc above a slope; `onespike verilog --data DATA --images N` takes real ones.",
        "FILES": f"{TOP}.v" if top == TOP else f"{TOP}.v {top}.v",
        "RUN_NOTE": text.BLANK_NOTE if loads else "",
    }
    values |= {f"REG_{register.name.upper()}": register.offset for register in REGISTERS}
    if config.streams_weights:
        values |= _external(mapping, len(memory))
    parts = {"MEMORY": text.MEMORY if config.streams_weights else "", "LOAD": text.LOAD if loads else text.NO_LOAD}
    parts["LOAD_PORTS"] = text.LOAD_PORTS if loads else text.BLANK_LOAD_PORTS if config.loadable else ""
    parts["MEMORY_PORTS"] = values.pop("MEMORY_PORTS", "")
    parts["FAULTS"] = text.FAULTS.replace("<FAULT_BITS>", str(len(FAULTS))) if config.notes_faults else ""
    parts["FAULT_PORT"] = text.FAULT_PORT if config.notes_faults else ""
    parts["WEIGHT_ADDRESS_PORT"] = text.WEIGHT_PORTS if config.streams_weights else ""
    parts["WEIGHT_ADDRESS_REGISTER"] = text.WEIGHT_REGISTER if config.streams_weights else ""
    body = {TOP: text.ENGINE, f"{TOP}_axi": fronts.AXI, f"{TOP}_wishbone": fronts.WISHBONE}[top]
    written = text.HEAD + body + text.END
    for name, part in parts.items():
        written = written.replace(f"<{name}>", str(part))
    for name, value in values.items():
        written = written.replace(f"<{name}>", str(value))
    mask, digits = (1 << config.acc_bits) - 1, -(-config.acc_bits // 4)
    return {
        f"{top}_tb.v": written,
        "tb_image.hex": "".join(f"{int(beat):0{config.word_bits // 4}x}\n" for beat in beats.reshape(-1)),
        "tb_logits.hex": "".join(f"{int(value) & mask:0{digits}x}\n" for value in logits.reshape(-1)),
        "tb_classes.hex": "".join(f"{int(best):04x}\n" for best in classes),
    }


def _external(mapping: Mapping, beats: int) -> dict[str, object]:
    """What the bench says of the AXI4 port to the weights, and of the memory behind it."""
    constants = {"rid": "1'b0", "rresp": "2'b00"}
    wires, ports = "", ""
    for name, port in axi_read_signals(mapping.config).items():
        if name not in constants:
            kind = "reg" if port.flow is In else "wire"
            wires += f"  {kind} {_range(Shape.cast(port.shape).width)}m_axi_{name};\n"
        ports += f",\n      .m_axi_{name}({constants.get(name, f'm_axi_{name}')})"
    size = mapping.config.external_weights // 8
    return {
        "MEMORY_PORTS": ports,
        "MEMORY_WIRES": wires,
        "MEMORY_BYTES": beats * size,
        "BEAT_BYTES": size,
        "BEAT_SHIFT": size.bit_length() - 1,
        "WEIGHT_ADDRESS": WEIGHT_ADDRESS,
    }


def _range(bits: int) -> str:
    return f"[{bits - 1}:0] " if bits > 1 else ""


__all__ = ["bench_top", "made_up_image", "testbench"]
