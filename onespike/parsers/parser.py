# SPDX-License-Identifier: Apache-2.0
"""What the command line accepts."""

from __future__ import annotations

import argparse
from typing import NoReturn

from .. import __version__
from ..model.errors import OneSpikeError
from . import compare as parser_compare
from . import complete as parser_complete
from . import engine as parser_engine
from . import fpga as parser_fpga
from . import network as parser_network

DESCRIPTION = """\
A trained PyTorch ReLU network in, a verified single-timestep spiking accelerator out.

  onespike demo                                        the whole way on real handwritten digits, in minutes

  onespike train --data digits -o model.pt2            train the example network
  onespike convert model.pt2 --calibration digits -o digits.spike
  onespike eval digits.spike --data digits             accuracy of the integer network
  onespike compare model.pt2 --data digits             the network under every method, side by side
  onespike steps model.pt2 --data digits               one timestep against integrate-and-fire over T
  onespike report digits.spike --data digits --images 16
  onespike report digits.spike --data digits -o report.html --from eval.json simulate.json
  onespike verilog digits.spike --banks 4 --lanes 16 -o build/verilog
  onespike simulate digits.spike --data digits --images 16
  onespike bases model.pt2 --calibration digits        which base phase coding wants on its activations
  onespike export digits.spike -o digits.onnx          as QONNX or NIR, for other tools
  onespike run --port /dev/ttyUSB0 digits.spike image.png     load and classify on a board
  onespike explore digits.spike --data digits --target ecp5-25k
  onespike synth digits.spike --target ecp5-25k        LUTs, block RAMs and clock of the engine
  onespike fpga digits.spike --board ulx3s-25f -o build/fpga  the bitstream of a board
  onespike project build/verilog --tool vivado --part xc7a35tcpg236-1
  onespike bench                                       the engine beside its rivals, on several networks
  eval "$(onespike complete bash)"                     the tab key completes all of this
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

    for group in (parser_network, parser_compare, parser_engine, parser_fpga, parser_complete):
        for add in group.COMMANDS:
            add(command)
    return parser
