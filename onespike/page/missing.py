# SPDX-License-Identifier: Apache-2.0
"""What nobody has measured yet, and the commands that do, for this network on this engine."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Mapping as Map
from typing import Any

import numpy as np

from .. import figures
from ..hw.config import EngineConfig
from ..model.cost.choose import spike_rates
from ..model.errors import OneSpikeError
from ..model.mapping.mapper import fit_config
from ..model.mapping.mapping import Mapping
from ..model.network import golden
from ..model.targets import Target
from ..parsers.options import CHOOSING, default_fire_lanes, engine_config, make_mapping
from .measured import Measured

SIMULATED = 16  # images of `simulate`, unless the data hold fewer
# What `engine_words` says by options.
ALIKE = ("banks", "lanes", "fire_lanes", "word_bits", "code", "arithmetic", "external_weights")


def missing(
    args: argparse.Namespace, mapping: Mapping, codes: np.ndarray, measured: Measured, target: Target
) -> list[dict[str, str]]:
    """Part, what it is and the command that measures it, for each part that no file holds."""
    net, data = str(args.net), ["--data", str(args.data)]
    data += ["--split", args.split] if args.split != "test" else []
    few = ["--images", str(len(codes))] if len(codes) < SIMULATED else []
    engine = (
        engine_words(args, mapping.config) if measured.hardware is None else described(args, mapping, codes, measured)
    )
    rows: dict[str, tuple[str, list[str]]] = {
        "accuracy": ("accuracy on all of the data", ["eval", net, *data]),
        "losses": ("what each layer costs in accuracy", ["eval", net, *data, "--model", "MODEL.pt2"]),
        "front": ("other engines, all that are worth having", ["explore", net, *data, "--target", target.name]),
    }
    on_engine: dict[str, tuple[str, list[str]]] = {
        "rtl": ("the Verilog against the model", ["simulate", net, *data, *few]),
        "synthesis": ("LUTs, block RAMs and clock", ["synth", net, *data, "--target", target.name]),
        "asic": ("area and power in standard cells", ["asic", net, *data, "--liberty", "CELLS.lib"]),
    }
    board = measured.figures("bitstream")
    for part, (what, words) in on_engine.items():
        if engine is not None:
            rows[part] = (what, [*words, *engine])
        elif board is not None:  # the same part and size, but with memories that the options give it
            what += "; this engine was fitted to its part: of one of its size, the bitstream comes first"
            words = ["fpga", net, *data, "--board", board["bitstream"]["board"], "-o", "build/fpga"]
            rows[part] = (what, [*words, *engine_words(args, mapping.config)])
        else:
            rows[part] = (f"{what}, with the engine's options of the command that measured it", words)
    have = set(measured.of) | ({"synthesis"} if board is not None else set())
    evaluated = measured.figures("accuracy") or {}
    layers = evaluated.get("layers") if isinstance(evaluated.get("layers"), dict) else {}
    if any("error" in row for row in (layers or {}).get("layers", [])):
        have.add("losses")
    return [
        {"part": part, "what": rows[part][0], "command": _command(rows[part][1])}
        for part in ("accuracy", "losses", "rtl", "synthesis", "asic", "front")
        if part not in have
    ]


def _command(words: list[str]) -> str:
    return f"onespike {shlex.join(words)} --json {words[0]}.json"


def engine_words(args: argparse.Namespace, config: EngineConfig) -> list[str]:
    """The options that describe an engine of this size to other commands."""
    words = ["--banks", str(config.banks), "--lanes", str(config.lanes)]
    if config.fire_lanes != default_fire_lanes(config.lanes):
        words += ["--fire-lanes", str(config.fire_lanes)]
    if config.drain_banks != EngineConfig.drain_banks:
        words += ["--drain-banks", str(config.drain_banks)]
    if config.word_bits != EngineConfig.word_bits:
        words += ["--word-bits", str(config.word_bits)]
    if config.code != EngineConfig.code:
        words += ["--code", config.code]
    if config.multiplies:
        words += ["--arithmetic", config.arithmetic]
    if args.slices != "auto":
        words += ["--slices", str(args.slices)]
    if config.streams_weights:
        words += ["--external-weights", "--axi-bits", str(config.external_weights)]
    for name, value in args.fixed:
        words += ["--set", f"{name}={_value(value)}"]
    return words


def described(args: argparse.Namespace, mapping: Mapping, codes: np.ndarray, measured: Measured) -> list[str] | None:
    """`engine_words` of the engine that files measured, with parameters that its size does not say; None where they
    give another. Either commands that take these options made it, or they are tried here.
    """
    config, wanted = mapping.config, figures.hardware(mapping)
    asked = {name: getattr(config, name) for name in ALIKE[:-1]}
    asked |= {"external_weights": config.streams_weights, "axi_bits": config.external_weights or 64, "slices": "auto"}
    plain = argparse.Namespace(**(vars(args) | asked | {"fixed": []}))
    if measured.of.keys() & {"rtl", "asic"}:
        options: dict[str, Any] = mapping.options
        if len(codes):
            seen = golden.run(mapping.net, codes[:CHOOSING], layers=True, trains=config.code == "psg")
            options["rates"] = spike_rates(mapping.net, seen, config)
        usual = dataclasses.replace(engine_config(plain), shadows=config.shadows)
        try:
            return _words(plain, config, vars(fit_config(mapping.net, usual, **options)))
        except OneSpikeError:
            return engine_words(plain, config)
    trial = plain
    for _ in range(2):  # by its size alone, then with every other parameter that it has
        try:
            found = figures.hardware(make_mapping(trial, mapping.net, codes))
        except OneSpikeError:
            return None
        if found == wanted:
            return engine_words(trial, config)
        if trial is not plain:
            return None
        trial = argparse.Namespace(**(vars(plain) | {"fixed": _other(wanted, found)}))
    return None


def _words(plain: argparse.Namespace, config: EngineConfig, usual: dict[str, Any]) -> list[str]:
    return engine_words(argparse.Namespace(**(vars(plain) | {"fixed": _other(vars(config), usual)})), config)


def _other(wanted: Map[str, Any], found: Map[str, Any]) -> list[tuple[str, Any]]:
    """Parameters in which engines of one size differ."""
    same = (*ALIKE, "slices", "ordered")
    return [(name, value) for name, value in wanted.items() if name not in same and value != found[name]]


def _value(value: Any) -> Any:
    """As --set takes it."""
    return value[-1] if isinstance(value, tuple) else int(value)
