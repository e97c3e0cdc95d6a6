# SPDX-License-Identifier: Apache-2.0
"""Verilog as people read it: ports that have names and are declared once, and a line that says what each module is.

Yosys writes correct Verilog, but a port between modules is called `\\port$1033$146` where what arrives is no signal of
the inner module, the second `shift` of a module `\\shift$20`, and ports are declared three times. Its text is taken
apart into tokens, modules and their ports; identifiers and headers change, nothing else does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# What no identifier is looked for in, a port of an instance, then identifiers. An escaped one ends at its white space.
_TOKEN = re.compile(
    r"""(?P<skip> //[^\n]*\n | /\*.*?\*/ | "(?:[^"\\\n]|\\.)*" | `\w+ | \$\w+
                | \d*'[sS]?[bodhBODH][0-9a-fA-FxXzZ?_]+ | \d\w* )
      | \.(?P<port> \\\S+[ ]? | [A-Za-z_][\w$]* )
      | (?P<name> \\\S+[ ]? | [A-Za-z_][\w$]* )""",
    re.VERBOSE | re.DOTALL,
)
_MODULE = re.compile(r"(?ms)^module .*?^endmodule\n")
_HEADER = re.compile(r"module (\\\S+|\w+) ?\(([^;]*)\);\n")
_ATTRIBUTES = r"(?P<attributes>(?:  \(\*(?:(?!\*\)).)*\*\)\n)*)"
_DIRECTION = re.compile(
    rf"{_ATTRIBUTES}  (?P<direction>input|output|inout) (?P<range>\[\d+:0\] )?(?P<name>\\\S+|[\w$]+) ?;\n"
    rf"(?:  \(\*(?:(?!\*\)).)*\*\)\n)*  (?P<kind>wire|reg) (?:\[\d+:0\] )?(?P=name) ?(?P<start> = [^;]+)?;\n"
)
_PORT = re.compile(r"(?m)^  (input|output|inout) (wire|reg) (?:\[(\d+):0\] )?(\\\S+ |[\w$]+)(?: = [^,\n]+)?,?$")
_NUMBERED = re.compile(r"(?P<base>.*?)\$(?P<number>\d+)")
_NAMELESS = "port$"  # of Amaranth: what arrives is no signal of the module
KEYWORDS = frozenset(re.findall(r"\w+", """
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind
    bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config
    const constraint context continue cover covergroup coverpoint cross deassign default defparam design disable dist
    do edge else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup endinterface
    endmodule endpackage endprimitive endprogram endproperty endsequence endspecify endtable endtask enum event
    eventually expect export extends extern final first_match for force foreach forever fork forkjoin function
    generate genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import incdir
    include initial inout input inside instance int integer interconnect interface intersect join join_any join_none
    large let liblist library local localparam logic longint macromodule matches medium modport module nand negedge
    nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed parameter pmos
    posedge primitive priority program property protected pull0 pull1 pulldown pullup pulsestyle_ondetect
    pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg reject_on release repeat
    restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared
    sequence shortint shortreal showcancelled signed small soft solve specify specparam static string strong strong0
    strong1 struct super supply0 supply1 sync_accept_on sync_reject_on table tagged task this throughout time
    timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg type typedef union unique unique0
    unsigned until until_with untyped use uwire var vectored virtual void wait wait_order wand weak weak0 weak1 while
    wildcard wire with within wor xnor xor
"""))  # fmt: skip
"""Words that are no identifiers in IEEE 1800-2017."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of a module: its name as written, without the backslash of an escaped one."""

    name: str
    direction: str
    bits: int


def module_ports(verilog: str, module: str) -> list[Port]:
    """The ports of a module of `readable` text, in their order. ValueError where there is no such module."""
    header = rf"(?ms)^module \\?{re.escape(module)} (?:#\([^)]*\) )?\(\n(?P<ports>.*?)^\);$"
    found = re.search(header, verilog)
    if found is None:
        raise ValueError(f"no module {module!r}")
    return [
        Port(name=_plain(name), direction=direction, bits=int(high or 0) + 1)
        for direction, _, high, name in _PORT.findall(found["ports"])
    ]


@dataclass(kw_only=True)
class _Module:
    """A module as Yosys wrote it; names: what each of its identifiers becomes."""

    name: str
    text: str
    ports: list[str]
    names: dict[str, str] = field(default_factory=dict)
    instances: dict[str, dict[str, str]] = field(default_factory=dict)  # of each module: port -> what is connected


def readable(verilog: str, comments: Mapping[str, str]) -> str:
    """The same design; verilog: as Yosys writes it; comments: module -> a sentence about it. Deterministic."""
    texts = _MODULE.findall(verilog)
    modules = {module.name: module for module in map(_module, texts)}
    for module in modules.values():
        _instances(module, modules)
    arriving: dict[str, dict[str, str]] = {}  # module -> nameless port -> what its parent calls it
    for module in sorted(modules.values(), key=lambda module: module.name.count(".")):
        _name(module, arriving.get(module.name, {}))
        for child, connections in module.instances.items():
            arriving[child] = {port: _renamed(module, value) for port, value in connections.items()}
    parts = iter(texts)
    return _MODULE.sub(lambda _: _written(modules[_module_name(next(parts))], modules, comments), verilog)


def _plain(name: str) -> str:
    return name.strip().lstrip("\\")


def _module_name(text: str) -> str:
    found = _HEADER.match(text)
    assert found is not None, text[:80]
    return _plain(found[1])


def _module(text: str) -> _Module:
    header = _HEADER.match(text)
    assert header is not None, text[:80]
    ports = [_plain(name) for name in header[2].split(",") if name.strip()]
    return _Module(name=_plain(header[1]), text=text, ports=ports)


def _instances(module: _Module, modules: Iterable[str]) -> None:
    """Find what the instances of modules in `modules` are connected to."""
    for found in re.finditer(r"(?m)^  (\\\S+|\w+)  ?\S+ \(\n((?:    \..*\n)*)  \);$", module.text):
        if _plain(found[1]) in modules:
            pairs = re.findall(r"(?m)^    \.(\\\S+ |[\w$]+)\((.*)\),?$", found[2])
            module.instances[_plain(found[1])] = {_plain(port): value for port, value in pairs}


def _name(module: _Module, arriving: Mapping[str, str]) -> None:
    """Choose names for what has none, or one with a number that changes with every other signal."""
    body = module.text[module.text.index(";") :]
    found = dict.fromkeys(_plain(match["name"]) for match in _TOKEN.finditer(body) if match["name"])
    bases = dict.fromkeys(re.split(r"[.\[]", name, maxsplit=1)[0] if "$auto$" not in name else name for name in found)
    taken = {name for name in bases if "$" not in name} | KEYWORDS
    within = _places(module.text)

    def free(name: str) -> str:
        """The name, or with the first number that is free."""
        numbers = (f"{name}_{number}" for number in range(1, len(taken) + 2))
        chosen = name if name not in taken else next(number for number in numbers if number not in taken)
        taken.add(chosen)
        return chosen

    def order(name: str) -> tuple[int, int]:
        """Ports first; the others by the number that they have."""
        found = re.search(r"\$(\d+)$", name)
        return (0 if name in module.ports else 1 if found is None else 2, int(found[1]) if found else 0)

    for name in sorted((name for name in bases if "$" in name), key=order):
        numbered = _NUMBERED.fullmatch(name)
        if name.startswith(_NAMELESS):
            chosen = arriving.get(name) or within.get(name) or "part"
        elif name.startswith("$auto$verilog_backend"):
            chosen = "at_start"  # what makes simulators look at `always @*` blocks without inputs, once
        elif name.startswith("$auto$") or re.fullmatch(r"\$\d+", name):
            chosen = "n" + name.rsplit("$", 1)[1]  # the value of an expression, or of a process
        else:
            chosen = (numbered["base"] if numbered and numbered["base"] else name).replace("$", "")
        module.names[name] = free(chosen)


def _places(text: str) -> dict[str, str]:
    """What has no name -> the signal of the module that it is a part of, with its place there."""
    found: dict[str, str] = {}
    for signal, parts in re.findall(r"(?m)^  assign (\\\S+|[\w$]+) +(?:\[[\d:]+\] +)?= \{ (.*) \};$", text):
        names = [_plain(part) for part in parts.split(", ")]
        if base := _signal(_plain(signal)):
            found |= {name: f"{base}_{len(names) - 1 - place}" for place, name in enumerate(names) if not _signal(name)}
    return found


def _signal(name: str) -> str:
    """The signal that an identifier is (a field of), without its number; nothing where it is none."""
    base = re.split(r"[.\[]", name, maxsplit=1)[0]
    return "" if base.startswith(("$", _NAMELESS)) else _NUMBERED.sub(r"\g<base>", base)


def _renamed(module: _Module, value: str) -> str:
    """What a parent calls a value that it connects: the signal's name, without a number; nothing for an expression."""
    found = re.fullmatch(r"(\\\S+|[A-Za-z_][\w$]*) *(\[[\d:]+\])?", value.strip())
    if found is None:
        return ""
    name = _plain(found[1])
    name = module.names[name] if name.startswith(_NAMELESS) else name
    return _signal(name) or _places(module.text).get(name, "")


def _written(module: _Module, modules: Mapping[str, _Module], comments: Mapping[str, str]) -> str:
    """The module's text: a comment, ports that are declared in the header, the body with its new names."""
    declared: dict[str, str] = {}

    def take(port: re.Match[str]) -> str:
        name = _plain(port["name"])
        text = f"  {port['direction']} {port['kind']} {port['range'] or ''}{_spelt(module, name)}{port['start'] or ''}"
        declared[name] = (port["attributes"] or "") + text.replace("  =", " =")
        return ""

    end = module.text.index(";") + 2
    body = _DIRECTION.sub(take, module.text[end:])
    assert set(declared) == set(module.ports), (module.name, set(module.ports) ^ set(declared))
    inner: _Module | None = None  # of which an instance has begun

    def token(found: re.Match[str]) -> str:
        nonlocal inner
        if found["skip"]:
            return found[0]
        if found["port"]:
            return "." + (_spelt(inner, _plain(found["port"])) if inner else found["port"])
        if (name := _plain(found["name"])) in modules:
            inner = modules[name]
            return found["name"]
        return name if found["name"] in KEYWORDS else _spelt(module, name)

    comment = comments.get(_NUMBERED.sub(r"\g<base>", module.name))
    comment = f"// {comment}\n" if comment else ""
    name = f"\\{module.name}" if "." in module.name else module.name
    ports = ",\n".join(declared[port] for port in _port_order(module))
    return f"{comment}module {name} (\n{ports}\n);\n{_TOKEN.sub(token, body)}"


def _port_order(module: _Module) -> list[str]:
    """Clock and reset, then ports of one interface side by side, in the order of their first."""
    interfaces = {port: _interface(module.names.get(port, port)) for port in module.ports}
    first: dict[str, int] = {}
    for place, interface in enumerate(interfaces.values()):
        first.setdefault(interface, place)
    clocks = ("clk", "aclk", "rst", "aresetn", "enable")
    rank = {name: place - len(clocks) for place, name in enumerate(clocks)}
    return sorted(module.ports, key=lambda port: rank.get(port, first[interfaces[port]]))


def _interface(port: str) -> str:
    """What a port belongs to: `image` of `image__valid`, `s_axi` of `s_axi_awaddr`."""
    bus = re.match(r"(?:[sm]_axis?|wb)(?=_)", port)
    return bus[0] if bus else port.rpartition("__")[0] or port


def _spelt(module: _Module, name: str) -> str:
    """An identifier of the module with its new name; what belongs to a signal, such as its fields, goes with it."""
    base, rest = name, ""
    if name not in module.names and (parted := re.match(r"([^.\[]+)(.*)", name)):
        base, rest = parted[1], parted[2]
    chosen = module.names.get(base, base) + rest
    plain = re.fullmatch(r"[A-Za-z_][\w$]*", chosen) and chosen not in KEYWORDS
    return chosen if plain else f"\\{chosen} "


__all__ = ["Port", "module_ports", "readable"]
