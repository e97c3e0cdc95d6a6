# SPDX-License-Identifier: Apache-2.0
"""Harness: the test bench around the engine in Verilog (`harness.v`), with the engine's ports and widths filled in."""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Shape
from amaranth.lib.wiring import In

from ..hw.config import EngineConfig
from ..hw.engine.axi_read import axi_read_signals
from ..hw.engine.counters import counter_stride
from ..hw.engine.faults import FAULTS
from ..hw.program import layer_bits, layer_depth

HARNESS = Path(__file__).with_name("harness.v")
AXI_MEMORY = Path(__file__).with_name("axi_memory.v")
UNCHECKED = ("arid", "arcache", "arprot", "rid")  # signals that the memory model has no use for
WEIGHT_ADDRESS = 0x13000  # where the weights of the first episode lie in external memory
LEAST_DEPTH = 1 << 16  # words of the harness's memories, which are cleared before every run
SERIES_DEPTH = 1 << 18  # the same where networks follow one another: one build serves every series
MOST_EPISODES = 256
CONTROL = 16  # words for each episode, and as many before the first


def harness_text(config: EngineConfig, outside: bool = False, depth: int = 1, series: bool = False) -> str:
    """The harness with the engine's instance and widths filled in.

    outside: external memory and clock are ports. depth: words that its memories must hold. series: of a
    run of several networks.
    """
    counter_bits = (counter_stride(config) * layer_depth(config) - 1).bit_length()
    ports, memory = _memory_text(config, outside) if config.streams_weights else ("", "assign broken = |faults;")
    bus = ""
    if config.streams_weights:
        bus = ".weight_address(weights_at), .weight_error(weight_error), "
        bus += "".join(f".m_axi_{name}(m_axi_{name}), " for name in axi_read_signals(config))
    address, word = config.spike_addr_bits, config.word_bits
    load = (
        ".load__payload(load[loaded - 1]), .load__valid(load_valid), .load__ready(load_ready),"
        if config.loadable
        else ""
    )
    unused = "" if config.loadable else "assign load_ready = 1;"
    faults = f"wire [{len(FAULTS) - 1}:0] faults;" if config.notes_faults else "wire faults = 0;"
    dut = f"""{faults}
  onespike dut (
      .clk(clk), .rst(rst), .enable(enable), {load} {bus}{" .faults(faults)," if config.notes_faults else ""}
      .image__payload(image[beat]), .image__valid(image_valid), .image__ready(image_ready),
      .logits__payload(logits), .logits__valid(logits_valid), .logits__ready(logits_ready),
      .counter(counter), .count(count),
      .write__enable(write_enable), .write__address(write_address[{address - 1}:0]),
      .write__data(write_data[{word - 1}:0]), .write__slice(write_slice), .write__layer(write_layer)
  );
  {unused}
  {memory}
  assign write_address[31:{address}] = 0;
  {"" if word == 32 else f"assign write_data[31:{word}] = 0;"}"""
    text = HARNESS.read_text().replace("`HARNESS_DUT", dut).replace("`HARNESS_PORTS", ports)
    text = text.replace("`HARNESS_CLOCK", "" if outside else "reg clk = 0; always #5 clk = ~clk;")
    text = text.replace("parameter DEPTH = 1 << 22", f"parameter DEPTH = {roomy(depth, series)}")
    text = text.replace("parameter EPISODES = 1", f"parameter EPISODES = {MOST_EPISODES}")
    text = text.replace("parameter W = 32", f"parameter W = {word}")
    text = text.replace("parameter LAYER = 8", f"parameter LAYER = {layer_bits(config)}")
    text = text.replace("parameter ACC = 20", f"parameter ACC = {config.acc_bits}")
    return text.replace("parameter COUNTER = 6", f"parameter COUNTER = {counter_bits}")


def memory_text(beats: int, series: bool = False) -> str:
    """The model of external memory, for so many beats."""
    return AXI_MEMORY.read_text().replace("parameter DEPTH = 1 << 20", f"parameter DEPTH = {roomy(beats, series)}")


def roomy(words: int, series: bool) -> int:
    """Words of a memory outside the engine that must hold so many: few sizes, so that runs share a build."""
    return 1 << (max(words, SERIES_DEPTH if series else LEAST_DEPTH) - 1).bit_length()


def _memory_text(config: EngineConfig, outside: bool) -> tuple[str, str]:
    """Verilog of the harness's ports and of its external memory."""
    signals = [
        (name, port.flow is In, f"[{Shape.cast(port.shape).width - 1}:0] m_axi_{name}")
        for name, port in axi_read_signals(config).items()
    ]
    if outside:
        ports = "".join(f", {'input' if inward else 'output'} wire {signal}" for _, inward, signal in signals)
        return f"{ports}, input wire clk", "wire weight_error; assign broken = weight_error | |faults;"
    wires = "".join(f"wire {signal}; " for *_, signal in signals)
    bus = ", ".join(f".{name}(m_axi_{name})" for name, *_ in signals if name not in UNCHECKED)
    return (
        "",
        f"""{wires}
  assign m_axi_rid = 0;
  axi_memory #(.A({config.external_weights}), .BASE({WEIGHT_ADDRESS})) memory (
      .clk(clk), .rst(rst), .latency(latency), .interval(interval), .size(external_beats), .varied(varied[0]),
      .random(random), .broken(violated), {bus}
  );
  wire violated, weight_error;
  assign broken = violated | weight_error | |faults;""",
    )
