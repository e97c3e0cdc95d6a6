# SPDX-License-Identifier: Apache-2.0
"""Commands that size, build and use hardware."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..fpga.boards import BOARDS
from ..hw.config import ENGINE_CODES
from ..model.targets import TARGETS
from . import jobs, options
from .options import Command, add_net

PARTS = f"{', '.join(TARGETS)} (default: ecp5-25k)"


def add_explore(command: Command) -> None:
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
        "--multiples",
        type=options.several(options.multiples),
        metavar="M,..",
        help="largest odd multiple of a weight that an event may add: 1, 3 or 5 (default: 5)",
    )
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
        type=lambda text: f"local:{options.number(1, 256)(text)}",
        dest="executor",
        default=argparse.SUPPRESS,  # that of --executor
        metavar="N",
        help="the same as --executor local:N",
    )
    explore.add_argument("-o", "--output", type=Path, metavar="FILE.svg", help="plot the points (matplotlib)")
    explore.add_argument(
        "--build",
        type=Path,
        default=Path("build/synth"),
        metavar="DIR",
        help="build folder and cache of --synthesise (default: build/synth)",
    )
    jobs.add_executor(explore, "an engine, counted or synthesised", "none are")
    options.add_common(explore, seed=True)


def add_synth(command: Command) -> None:
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
    jobs.add_seeds(synth, "the spread of the clocks")
    jobs.add_executor(synth, "an engine with a seed", "DIR/jobs of --output")
    options.add_common(synth, seed=True)


def add_fpga(command: Command) -> None:
    fpga = command(
        "fpga",
        "make the bitstream of a board, with a network built in",
        "Uses yosys, nextpnr and the packers from PyPI (the extra `synth`); minutes for each attempt, then from the "
        "cache. The clock is lowered until timing is met.",
    )
    add_net(fpga)
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
    jobs.add_seeds(fpga, "the fastest is kept")
    jobs.add_executor(fpga, "the bitstream of a seed", "DIR/jobs of --output")
    options.add_common(fpga, seed=True)


def add_project(command: Command) -> None:
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


def add_asic(command: Command) -> None:
    asic = command(
        "asic",
        "area, clock and power of the engine's logic in standard cells, with activities from real images",
        "Uses yosys, Verilator and OpenSTA; minutes. Before layout: no wires, no clock tree. docs/energy.md says what "
        "each figure rests on.",
    )
    add_net(asic)
    options.add_data(asic, 2, "images whose simulation gives the activities")
    asic.add_argument("--liberty", type=Path, required=True, metavar="FILE", help="the library, .lib or .lib.gz")
    asic.add_argument(
        "--frequency", type=options.number(1, 5000, float), default=100.0, metavar="MHZ", help="clock (default: 100)"
    )
    asic.add_argument(
        "--clock-gating",
        choices=("auto", "on", "off"),
        default="auto",
        help="give flip-flops with a common enable a gated clock (default: auto, where the library has a cell for it)",
    )
    asic.add_argument(
        "--node",
        type=options.number(5, 1000, float),
        metavar="NM",
        help="process of the library, for the energy of memories (default: known from its name, as sky130)",
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


def add_run(command: Command) -> None:
    run = command(
        "run",
        "load a network into a board and classify images on it",
        "The board runs the design of `onespike fpga` or `onespike verilog --front uart`; `onespike board` simulates "
        "one. A network that the board holds already is not loaded again.",
    )
    add_net(run)
    run.add_argument(
        "images",
        type=Path,
        metavar="IMAGES",
        help="a picture (PNG) of the network's size, or a .npy file: uint8, uint16 or what the trained network takes",
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
    run.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="names of the classes, one a line (default: those that the network was converted with, if any)",
    )
    run.add_argument(
        "--data",
        metavar="DATA",
        help=f"images whose first {options.CHOOSING} choose the mapping, as with `onespike fpga` (default: one that "
        "needs none)",
    )
    run.add_argument(
        "--clock",
        type=options.number(0.1, 1000, float),
        metavar="MHZ",
        help="of the board's design, to predict images a second with (default: those of the serial line alone)",
    )
    options.add_common(run)


def add_board(command: Command) -> None:
    board = command(
        "board",
        "simulate a board with a serial port, until interrupted",
        "Its engine is sized for the network and blank: load it with `onespike run`.",
    )
    add_net(board)
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


COMMANDS = (add_explore, add_synth, add_fpga, add_project, add_asic, add_run, add_board)
