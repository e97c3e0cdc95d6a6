# SPDX-License-Identifier: Apache-2.0
import dataclasses
import importlib
import re
from pathlib import Path

import pytest

from onespike import hw
from onespike.hw.config import MOST, EngineConfig
from onespike.hw.emit.verilog import to_verilog
from onespike.model.errors import OneSpikeError


def test_defaults_are_frozen_and_keyword_only():
    config = EngineConfig()
    assert (config.banks, config.lanes, config.code) == (4, 16, "radix")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.banks = 8
    with pytest.raises(TypeError):
        EngineConfig(8)
    assert EngineConfig(banks=2) == EngineConfig(banks=2) != EngineConfig(banks=4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"banks": 0}, "Engine parameter banks must be a positive integer, not 0"),
        ({"banks": 2.0}, "Engine parameter banks must be a positive integer, not 2.0"),
        ({"banks": True}, "Engine parameter banks must be a positive integer, not True"),
        ({"spike_depth": "1024"}, "Engine parameter spike_depth must be a positive integer, not '1024'"),
        ({"max_shift": -1}, "Engine parameter max_shift must be a positive integer, not -1"),
        ({"banks": 3}, "banks must be 1, 2, 4 .. 64, not 3"),
        ({"banks": 128}, "banks must be 1, 2, 4 .. 64, not 128"),
        ({"lanes": 257, "fire_lanes": 257}, "lanes must lie in 1..256, not 257"),
        ({"lanes": 12, "fire_lanes": 8}, "fire_lanes must be a power of two that divides lanes, not 8 of 12"),
        ({"lanes": 6, "fire_lanes": 3}, "fire_lanes must be a power of two that divides lanes, not 3 of 6"),
        ({"word_bits": 64}, "word_bits must be 16 or 32, not 64"),
        ({"weight_bits": 1}, "weight_bits must lie in 2..16, not 1"),
        ({"weight_bits": 17}, "weight_bits must lie in 2..16, not 17"),
        ({"acc_bits": 3}, "acc_bits must lie in 4..48, not 3"),
        ({"acc_bits": 49}, "acc_bits must lie in 4..48, not 49"),
        ({"max_shift": 16}, "max_shift must lie in 0..15, not 16"),
        ({"drain_banks": 3}, "drain_banks must be a power of two up to the 4 banks, not 3"),
        ({"banks": 2, "drain_banks": 4}, "drain_banks must be a power of two up to the 2 banks, not 4"),
        ({"code": "phase"}, "code must be one of radix, unary, psg, not 'phase'"),
        (
            {"code": "psg", "max_groups": 15},
            "The psg code needs a power of two of groups, so that theta = groups << k is one, not 15; "
            "use the unary code.",
        ),
        ({"multiples": (1, 5)}, "multiples must be (1,), (1, 3) or (1, 3, 5), not (1, 5)"),
        ({"arithmetic": "sparse"}, "arithmetic must be one of spikes, zero-skip, dense, not 'sparse'"),
        (
            {"arithmetic": "dense", "code": "unary"},
            "An engine that multiplies takes values in binary; dense arithmetic needs the radix code, not 'unary'.",
        ),
        (
            {"arithmetic": "zero-skip", "multiples": (1,)},
            "multiples are what lanes of spikes add; leave them out with zero-skip arithmetic.",
        ),
        ({"single_port": True, "loadable": False}, "single_port needs loadable: such memories have no initial"),
        ({"single_port": True, "external_weights": 32}, "single_port needs loadable: such memories have no "),
        ({"product_bits": 5}, "product_bits must be 4 or 8, not 5"),
        ({"dsp": True}, "dsp is for engines that multiply; take it away, or choose zero-skip or dense arithmetic."),
        ({"multiples": 3}, "multiples must be (1,), (1, 3) or (1, 3, 5), not 3"),
        ({"tables": 3}, "tables must be 0, 1, 2, 4 or 8, not 3"),
        ({"table_codes": 64}, "table_codes must be 16 or 32, not 64"),
        (
            {"code": "unary", "signed_codes": True},
            "signed_codes and tables need the radix code: an engine with the unary code has only counts.",
        ),
        ({"code": "psg", "max_groups": 8, "tables": 1}, "signed_codes and tables need the radix code"),
        ({"segments": 17}, "segments must lie in 1..16, not 17"),
        ({"lanes": 64, "fire_lanes": 64, "word_bits": 32}, "fire_lanes must be at most word_bits, not 64"),
    ],
)
def test_messages(change, message):
    with pytest.raises(OneSpikeError, match=re.escape(message)):
        EngineConfig(**change)


@pytest.mark.parametrize("field", dataclasses.fields(EngineConfig), ids=lambda field: field.name)
def test_every_parameter_has_an_end(field):
    """Far too large a number is refused at once, with the limit or the choices."""
    if field.type == "bool":
        with pytest.raises(OneSpikeError, match=rf"^Engine parameter {field.name} must be True or False, not 2\.$"):
            EngineConfig(**{field.name: 2})
    elif field.type == "int":
        with pytest.raises(OneSpikeError, match=rf"{field.name} must .*, not \d+( of 16| beats of 0 bits)?\.$"):
            EngineConfig(**{field.name: 10**12})
        with pytest.raises(OneSpikeError, match=rf"^Engine parameter {field.name} must be far smaller than 2\*\*64\.$"):
            EngineConfig(**{field.name: 10**5000})


@pytest.mark.parametrize("name", [name for name in MOST if name.endswith("_depth")])
def test_verilog_of_deep_memories_is_refused(name):
    config = EngineConfig(**{name: MOST[name]})
    with pytest.raises(OneSpikeError, match=rf"\({name} = [\d,]+\), but Verilog is written for at most 131,072; use"):
        to_verilog(config)
    with pytest.raises(OneSpikeError, match=rf"^Engine parameter {name} must lie in 1\.\.{MOST[name]}, not "):
        EngineConfig(**{name: MOST[name] + 1})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("banks", (1, 64)), ("word_bits", (16, 32)), ("weight_bits", (2, 16)), ("acc_bits", (4, 48)),
        ("max_shift", (0, 15)), ("segments", (1, 16)), ("spike_depth", (1,)), ("word_fifo", (1,)),
        ("shadows", (1, 4)),
    ],
)  # fmt: skip
def test_ends_of_the_ranges(name, values):
    for value in values:
        assert getattr(EngineConfig(**{name: value}), name) == value


@pytest.mark.parametrize(("depth", "bits"), [(1, 1), (2, 1), (3, 2), (512, 9), (513, 10)])
def test_address_bits(depth, bits):
    """As many as the last address needs, never none."""
    for name in ("spike", "weight", "walk", "channel", "program"):
        assert getattr(EngineConfig(**{f"{name}_depth": depth}), f"{name}_addr_bits") == bits


def test_value_widths():
    config = EngineConfig(lanes=12, fire_lanes=4, max_groups=8, max_code=7, acc_bits=17)
    assert config.drain_steps == 3
    assert (config.count_bits, config.code_bits) == (4, 4)  # max_code is never less than what fires
    assert config.shift_bits == 5 and config.channel_bits == 22  # shifts 0..16
    assert EngineConfig(max_groups=7, max_code=28).code_bits == 5


def golden_names() -> list[tuple[str, str]]:
    """Every golden function that a component's docstring names, and the component's file."""
    found = []
    for path in sorted(Path(hw.__path__[0]).rglob("*.py")):
        for sentence in re.findall(r"(?:Golden functions?:|Equals) (.*)", path.read_text()):
            found += [(name, path.stem) for name in re.findall(r"onespike\.[a-z_.]+[a-z]", sentence)]
    return found


def test_golden_functions_exist():
    names = golden_names()
    for name, file in names:
        module, function = name.rsplit(".", 1)
        assert callable(getattr(importlib.import_module(module), function, None)), f"{file}.py names {name}"
    blocks = {"bank", "count", "counters", "drain", "engine", "extract", "faults", "fetch", "fire", "fusion", "image",
              "lanes", "levels", "load", "logits", "pack", "products", "psg", "sequencer", "shadows", "tables",
              "values", "walk"}  # fmt: skip
    assert {file for _, file in names} >= blocks
