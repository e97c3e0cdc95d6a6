# SPDX-License-Identifier: Apache-2.0
"""Carry chains and wide LUTs: which LUTs go, which must stay, and that every output remains the same function."""

import functools
import itertools
import json
import random
from collections import Counter
from typing import Any

import pytest

from onespike.fpga.carry_chains import pack_carry_chains, place
from onespike.fpga.place_route import NETLIST
from onespike.fpga.synth import run_yosys
from onespike.fpga.wide_luts import merge_wide_luts
from onespike.model.targets import ECP5

# Module body with inputs a, b, c (8 bits), s (4 bits); outputs y (10 bits), z (8 bits): -> LUTs that go. The
# begin of a chain is worth 1 or 2, its end 2, each bit of an operand 1.
CARRIES = {
    "multiplexer": ("assign y = a + (s[0] ? b : c);", 12),
    "gate": ("assign y = a - (b & {8{s[0]}});", 12),
    "inverter": ("assign y = {a, s[0]} + {b ^ {8{s[0]}}, s[0]};", 12),
    "both operands": ("assign y = (a & {8{s[0]}}) + (b & {8{s[1]}});", 20),
    "multiple": ("assign y = a + (s[1] ? s[0] ? a : a << 2 : s[0] ? ~(a << 2) : 0);", 13),
    "odd": ("assign y = a[6:0] + (s[0] ? b[6:0] : c[6:0]);", 9),
    "increment": ("assign y = a + 8'd1;", 4),
    "two readers": ("assign y = a + (s[0] ? b : c); assign z = s[0] ? b : c;", 4),
    "five inputs": ("assign y = a + ((b ^ c) & {8{s[0]}} | {8{s[1]}});", 4),
    "carry read": ("wire [8:0] w; assign w = {1'b0, a} + b; assign y = w[7:0]; assign z = w[8];", 4),
    "difference": ("assign y = a - b; assign z = a < b;", 3),
}
WIDE = {
    "four to one": ("assign y = s[1] ? s[0] ? a : b : s[0] ? c : {a[3:0], b[7:4]};", 8),
    "five inputs": ("assign y = a ^ b & c | {8{s[0]}} & {8{s[1]}};", 0),
    "two readers": ("wire [7:0] w = a ^ b & c; assign y = w & {8{s[0]}} | ~w & {8{s[1]}}; assign z = w;", 0),
    "four inputs": ("assign y = a & b | c & {8{s[0]}};", 0),
}


@pytest.fixture(scope="module")
def netlists(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A module for every case, with a hierarchy of its own."""
    folder = tmp_path_factory.mktemp("cases")
    text, names = [], []
    for index, (body, _) in enumerate([*CARRIES.values(), *WIDE.values()]):
        ports = "input [7:0] a, b, c, input [3:0] s, output [9:0] y, output [7:0] z"
        text.append(f"(* keep_hierarchy *) module m{index}({ports});\n{body}\nendmodule")
        names.append(f"(* keep *) m{index} i{index}(.a(a), .b(b), .c(c), .s(s));")
    (folder / "top.v").write_text(
        "\n".join([*text, "module top(input [7:0] a, b, c, input [3:0] s);", *names, "endmodule"])
    )
    run_yosys("read_verilog top.v", ECP5.synthesis("top", NETLIST), folder)
    modules: dict[str, Any] = json.loads((folder / NETLIST).read_text())["modules"]
    return modules


def count(module: dict[str, Any]) -> int:
    """LUTs as the router counts them: it adds a cell in front of a carry that comes in, and behind one that is led out.

    A carry that goes nowhere but has a net is led out, too.
    """
    cells = [cell for cell in module["cells"].values() if cell["type"] == "CCU2C"]
    kinds = Counter(cell["type"] for cell in module["cells"].values())
    carries = {cell["connections"]["COUT"][0] for cell in cells} - {"x"}
    taken = Counter(cell["connections"]["CIN"][0] for cell in cells)
    begins = sum(cell["connections"]["CIN"][0] not in {*carries, "x"} for cell in cells)
    ends = sum(not taken[carry] for carry in carries)
    return kinds["LUT4"] + 2 * (kinds["CCU2C"] + begins + ends)


def outputs(module: dict[str, Any], values: dict[str, int]) -> dict[str, int]:
    """What the module's cells compute; an open carry is 1, as bad as it can be where it matters."""
    drivers = {}
    for cell in module["cells"].values():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] == "output":
                drivers[bits[0]] = cell, pin
    known: dict[Any, bool] = {"0": False, "1": True, "x": True}
    for name, value in values.items():
        known |= {bit: bool(value >> i & 1) for i, bit in enumerate(module["ports"][name]["bits"])}

    @functools.cache
    def half(name: str, number: int) -> tuple[bool, bool]:
        cell = module["cells"][name]
        init = int(cell["parameters"][f"INIT{number}"], 2)
        at = [bit(cell["connections"][f"{pin}{number}"][0]) for pin in "ABCD"]
        carry = half(name, 0)[1] if number else bit(cell["connections"]["CIN"][0])
        propagate = bool(init >> sum(value << i for i, value in enumerate(at)) & 1)
        return propagate != carry, carry if propagate else bool(init >> (at[0] + 2 * at[1]) & 1)

    @functools.cache
    def bit(net: Any) -> bool:
        if net in known:
            return known[net]
        cell, pin = drivers[net]
        pins = {name: bits[0] for name, bits in cell["connections"].items()}
        if cell["type"] == "LUT4":
            index = sum(bit(pins[name]) << i for i, name in enumerate("ABCD"))
            return bool(int(cell["parameters"]["INIT"], 2) >> index & 1)
        if cell["type"] == "PFUMX":
            return bit(pins["ALUT"] if bit(pins["C0"]) else pins["BLUT"])
        if cell["type"] == "L6MUX21":
            return bit(pins["D1"] if bit(pins["SD"]) else pins["D0"])
        (name,) = (name for name, own in module["cells"].items() if own is cell)
        return half(name, 1)[1] if pin == "COUT" else half(name, int(pin[1]))[0]

    ports = module["ports"].items()
    return {
        name: sum(bit(b) << i for i, b in enumerate(port["bits"]) if b not in ("x",))
        for name, port in ports
        if port["direction"] == "output"
    }


def check(before: dict[str, Any], step: Any, expected: int | None, seed: int) -> None:
    after = json.loads(json.dumps(before))
    saved = step({"modules": {"m": after}})
    assert saved == count(before) - count(after), "the step counts as the router does"
    assert expected in (None, saved)
    rng = random.Random(seed)
    for _ in range(60):
        values = {name: rng.getrandbits(len(before["ports"][name]["bits"])) for name in ("a", "b", "c", "s")}
        assert outputs(after, values) == outputs(before, values), values


@pytest.mark.parametrize(("index", "name"), list(enumerate(CARRIES)), ids=list(CARRIES))
def test_carry_chains(netlists: dict[str, Any], index: int, name: str) -> None:
    check(netlists[f"m{index}"], pack_carry_chains, CARRIES[name][1], index)


@pytest.mark.parametrize(("index", "name"), list(enumerate(WIDE, len(CARRIES))), ids=list(WIDE))
def test_wide_luts(netlists: dict[str, Any], index: int, name: str) -> None:
    check(netlists[f"m{index}"], merge_wide_luts, WIDE[name][1], index)


def test_both_on_all(netlists: dict[str, Any]) -> None:
    """What one step leaves is what the other one takes."""
    for index in range(len(CARRIES) + len(WIDE)):
        check(netlists[f"m{index}"], lambda n: pack_carry_chains(n) + merge_wide_luts(n), None, index)


def test_generate_must_be_a_function_of_two_pins() -> None:
    """a + (b & c) fits; a carry that is made from three inputs does not."""
    rows = list(itertools.product((False, True), repeat=3))
    gate = tuple(a != (b and c) for c, b, a in rows), tuple(a for c, b, a in rows)
    assert place(3, *gate) is not None
    parity = (False,) * 8, tuple((a != b) != c for c, b, a in rows)
    assert place(3, *parity) is None
