# SPDX-License-Identifier: Apache-2.0
"""Run a whole engine on images in cocotb/Verilator and hold every written word, logit and cycle against the model."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib.wiring import In

from ..fpga.netlist import netlist
from ..hw.config import EngineConfig
from ..hw.emit.emit import hex_lines, memory_files, weight_bytes
from ..hw.emit.verilog import to_verilog
from ..hw.engine.axi_read import axi_read_signals
from ..hw.engine.counters import COUNTERS, counter_names, counter_stride, layer_depth
from ..model.cost.cycles import LayerCycles, predict_all
from ..model.cost.external import ExternalMemory, beat_cycles, with_memory
from ..model.errors import OneSpikeError
from ..model.mapping.images import expected_writes, image_beats, load_words, memory_images
from ..model.mapping.mapping import Mapping
from ..model.mapping.prefetch import block_beats, blocks
from ..model.network import golden
from ..model.system.files import write_atomically
from ..model.system.locks import owned

STEP = "ONESPIKE_STEP"  # set for a test bench that wakes in every cycle
HARNESS = Path(__file__).with_name("harness.v")
AXI_MEMORY = Path(__file__).with_name("axi_memory.v")
COMPUTE_COUNTERS = len(COUNTERS)  # those that external memory does not change
UNCHECKED = ("arid", "arcache", "arprot", "rid")  # signals that the memory model has no use for
WEIGHT_ADDRESS = 0x13000  # where the weights lie in external memory
LEAST_DEPTH = 1 << 16  # words of the harness's memories, which are cleared before every run
BRIEF = 250_000  # cycles that end sooner in an engine compiled without optimisation, compilation included
WHOLE_LANES = 64  # engines of up to so many compile faster in one piece, in half the processor time


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What the simulation of `images` images showed.

    mismatches: words of any layer, logits and classes that differ from the golden model. cycle_mismatches: counters
    that differ from the prediction. counters [images or 1, layers, 4 or 5] in the order of `counter_names`. finished:
    cycle of each image's last logit. seconds: of real time, from the start of the clock to the end.
    """

    images: int
    mismatches: int
    cycle_mismatches: int
    words: int
    logits: np.ndarray
    counters: np.ndarray
    finished: np.ndarray
    predicted: list[list[LayerCycles]]
    simulated_cycles: int
    seconds: float
    utilisation: float

    @property
    def cycles_per_image(self) -> float:
        return float(total_cycles(self.counters).mean())

    @property
    def predicted_cycles_per_image(self) -> float:
        return float(np.mean([sum(layer.total for layer in image) for image in self.predicted]))


def total_cycles(counters: np.ndarray) -> np.ndarray:
    """Cycles of each image: those of its layers, and those in which they waited for streamed weights."""
    return counters[:, :, 0].sum(1) + counters[:, :, 4:].sum((1, 2))


def harness_text(config: EngineConfig, outside: bool = False, depth: int = 1) -> str:
    """The harness with the engine's instance and widths filled in.

    outside: external memory and clock are ports. depth: words that its memories must hold.
    """
    counter_bits = (counter_stride(config) * layer_depth(config) - 1).bit_length()
    ports, memory = _memory_text(config, outside) if config.streams_weights else ("", "assign broken = 0;")
    bus = ""
    if config.streams_weights:
        bus = f".weight_address({WEIGHT_ADDRESS}), .weight_error(weight_error), "
        bus += "".join(f".m_axi_{name}(m_axi_{name}), " for name in axi_read_signals(config))
    address, word = config.spike_addr_bits, config.word_bits
    load = (
        ".load__payload(load[loaded - 1]), .load__valid(load_valid), .load__ready(load_ready),"
        if config.loadable
        else ""
    )
    unused = "" if config.loadable else "assign load_ready = 1;"
    dut = f"""onespike dut (
      .clk(clk), .rst(rst), .enable(enable), {load} {bus}
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
    text = text.replace("parameter DEPTH = 1 << 22", f"parameter DEPTH = {_roomy(depth)}")
    text = text.replace("parameter W = 32", f"parameter W = {word}")
    text = text.replace("parameter ACC = 20", f"parameter ACC = {config.acc_bits}")
    return text.replace("parameter COUNTER = 6", f"parameter COUNTER = {counter_bits}")


def _roomy(words: int) -> int:
    """Words of a memory outside the engine that must hold so many: few sizes, so that runs share a build."""
    return 1 << (max(words, LEAST_DEPTH) - 1).bit_length()


def _memory_text(config: EngineConfig, outside: bool) -> tuple[str, str]:
    """Verilog of the harness's ports and of its external memory."""
    signals = [
        (name, port.flow is In, f"[{Shape.cast(port.shape).width - 1}:0] m_axi_{name}")
        for name, port in axi_read_signals(config).items()
    ]
    if outside:
        ports = "".join(f", {'input' if inward else 'output'} wire {signal}" for _, inward, signal in signals)
        return f"{ports}, input wire clk", "wire weight_error; assign broken = weight_error;"
    wires = "".join(f"wire {signal}; " for *_, signal in signals)
    bus = ", ".join(f".{name}(m_axi_{name})" for name, *_ in signals if name not in UNCHECKED)
    return (
        "",
        f"""{wires}
  assign m_axi_rid = 0;
  axi_memory #(.A({config.external_weights}), .BASE({WEIGHT_ADDRESS})) memory (
      .clk(clk), .rst(rst), .latency(control[10]), .interval(control[11]), .size(control[12]), .varied(control[13][0]),
      .random(random), .broken(violated), {bus}
  );
  wire violated, weight_error;
  assign broken = violated | weight_error;""",
    )


def simulate(
    mapping: Mapping,
    codes: np.ndarray,
    build_dir: str | Path,
    *,
    run_dir: str | Path | None = None,
    through_load: bool = False,
    stall: tuple[float, float] = (0.0, 0.0),
    seed: int = 1,
    serial: bool = True,
    waves: bool | str = False,
    gates: str | Map[str, str] | None = None,
    stock: bool = False,
    timeout: float = 1800,
    memory: ExternalMemory | None = None,
    axi_ram: bool = False,
    brief: int = BRIEF,
) -> Simulated:
    """Run images, as `model/network/pixels.py` says; AssertionError where hardware and model differ.

    through_load: fill the memories, zero at start, through the load stream. stall: share of cycles in which the
    image stream pauses and the logits stream is not taken. run_dir: keeps logs and waves; by default a new folder below
    build_dir, removed if all is well and there are no waves. serial: one image at a time, with all its counters read;
    otherwise images follow back to back and only the last one's counters are compared. gates: "ecp5" or "ice40"
    simulates the engine's netlist after synthesis for that family; file name -> text, any netlist of module `onespike`.
    stock: the slow way, as cocotb's own runner has it:
    every signal visible, and Python awake in every cycle; to measure what ours gains. memory: delivers streamed
    weights; the stalls are compared too, unless it is varied. axi_ram: cocotbext-axi's memory model delivers them
    instead, with random pauses, and Python makes the clock. brief: an engine that runs for at most so many cycles is
    compiled without optimisation, unless it has been compiled before. Raises OneSpikeError where another run uses
    run_dir.
    """
    from .verilator import build, run

    build_dir = Path(build_dir)
    config = mapping.config
    names = counter_names(config)
    if len(codes) == 0:
        raise OneSpikeError("Nothing to simulate: give at least one image.")
    if through_load and not config.loadable:
        raise OneSpikeError("This engine has no load stream; use a configuration with loadable=True.")
    if not config.counters:
        raise OneSpikeError("The simulation compares the counters; use a configuration with counters=True.")
    with _run_folder(build_dir, run_dir, kept=bool(waves)) as folder:
        codes = mapping.net.image.quantise(codes)
        needs_trains = config.code == "psg"
        result = golden.run(mapping.net, codes, layers=True, trains=needs_trains)
        fields = mapping.golden_fields(result.codes, result.trains if needs_trains else None)
        memory = memory or ExternalMemory()
        predicted = with_memory(mapping, predict_all(mapping, result), memory, back_to_back=not serial)
        settle = _settle(mapping, memory) if config.streams_weights and not axi_ram else 0

        images = memory_images(mapping)
        memories = memory_files(images, config)
        engine = {"onespike.v": to_verilog(config)}
        if isinstance(gates, Map):
            engine = dict(gates)
        elif gates is not None:
            engine = netlist(engine["onespike.v"], gates, build_dir, contents=None if through_load else memories)
        beats = image_beats(mapping, codes)
        loads = load_words(images, config) if through_load else []
        depth = max(len(codes) * beats.shape[1], len(loads))
        texts = engine | {"harness.v": harness_text(config, axi_ram, depth)}
        if config.streams_weights and not axi_ram:
            depth = f"parameter DEPTH = {_roomy(len(images.external))}"
            texts["axi_memory.v"] = AXI_MEMORY.read_text().replace("parameter DEPTH = 1 << 20", depth)
        digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:16]
        sources = build_dir / f"verilog-{digest}"  # engines that are simulated side by side do not share a file
        for name, text in texts.items():
            write_atomically(sources / name, text)
        expected_cycles = max(sum(layer.total for layer in image) for image in predicted)
        # Tens of thousands of cells take long to compile, and run briefly.
        fast = not isinstance(gates, str) and (stock or len(codes) * expected_cycles + len(loads) > brief)
        built = build([sources / name for name in texts], "onespike_harness", build_dir, waves=waves,
                      ports_only=not stock, timeout=timeout, fast=fast,
                      whole=config.banks * config.lanes <= WHOLE_LANES and not isinstance(gates, str))  # fmt: skip

        for name, text in memories.items():
            write_atomically(folder / name, "0\n" * text.count("\n") if through_load else text)
        write_atomically(folder / "image.hex", hex_lines([int(b) for b in beats.reshape(-1)], config.word_bits))
        if config.streams_weights:
            write_atomically(folder / "external.hex", hex_lines(images.external, config.external_weights))
            write_atomically(folder / "weights.bin", weight_bytes(images, config))
        if loads:
            write_atomically(folder / "load.hex", hex_lines(loads, 32))
        slack = 1 / (1 - min(0.99, max(stall)))
        if memory.varied or axi_ram:
            expected_cycles += (8 + memory.latency) * len(images.external)
        limit = int(
            1000 + len(loads) + len(codes) * (slack * (4 * expected_cycles + 4 * beats.shape[1] + 2000) + 2 * settle)
        )
        counters = counter_stride(config) * len(mapping.layers)
        control = [len(codes), beats.shape[1], len(loads), counters, *(int(256 * s) for s in stall)]
        control += [seed, serial, limit]
        control += [settle, memory.latency, memory.interval, len(images.external), memory.varied]
        write_atomically(folder / "control.hex", hex_lines([int(c) for c in control], 32))
        writes = [
            np.column_stack([np.full(len(part), layer), part])
            for i in range(len(codes))
            for layer, part in enumerate(expected_writes(mapping, fields, i))
        ]
        expected = io.BytesIO()
        np.savez(
            expected,
            writes=np.concatenate(writes) if writes else np.zeros((0, 4), np.int64),
            logits=mapping.to_stream(result.logits),
            channels=mapping.channels,
            counters=np.array([[[getattr(layer, c) for c in names] for layer in image] for image in predicted]),
            stride=counter_stride(config),
            exact=len(names) if serial and not (memory.varied or axi_ram) else COMPUTE_COUNTERS,
            axi_ram=WEIGHT_ADDRESS if axi_ram else 0,
            seed=seed,
        )
        write_atomically(folder / "expected.npz", expected.getvalue())
        env = {STEP: "1"} if stock else {}
        run(built, "onespike.sim.engine_bench", test_dir=folder, env=env, timeout=timeout)
        found = json.loads((folder / "result.json").read_text())
        measured = np.array(found["counters"]).reshape(-1, len(mapping.layers), len(names))
        useful = [sum(layer.useful for layer in image) for image in predicted][-len(measured) :]
        return Simulated(
            images=len(codes),
            mismatches=found["mismatches"],
            cycle_mismatches=found["cycle_mismatches"],
            words=found["words"],
            logits=mapping.from_stream(np.array(found["logits"])),
            counters=measured,
            predicted=predicted,
            finished=np.array(found["finished"]),
            simulated_cycles=found["simulated_cycles"],
            seconds=found["seconds"],
            utilisation=sum(useful) / (config.banks * config.lanes * int(total_cycles(measured).sum())),
        )


@contextlib.contextmanager
def _run_folder(build_dir: Path, run_dir: str | Path | None, *, kept: bool) -> Iterator[Path]:
    """The folder of one run: run_dir, while no other run has it, or a new one below build_dir.

    A new one is removed at the end unless it is kept, or holds the log of a mismatch.
    """
    from .verilator import new_folder

    if run_dir is not None:
        with owned(run_dir) as folder:
            yield folder
        return
    folder = new_folder("run-", build_dir)
    try:
        yield folder
    except AssertionError:
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not kept:
        shutil.rmtree(folder)


def _settle(mapping: Mapping, memory: ExternalMemory) -> int:
    """Cycles in which all weights arrive that may be there before an image begins."""
    config = mapping.config
    beats = sum(block_beats(config, block.rows) for layer in mapping.layers for block in blocks(layer))
    return int(1000 + 2 * memory.latency + 2 * beats * beat_cycles(config, memory))
