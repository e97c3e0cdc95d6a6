# SPDX-License-Identifier: Apache-2.0
"""Mutations: every single-point fault of a source file that a test should notice.

Made for Amaranth: a statement of `m.d.comb += [..]` is lost, a register put where there was a wire, the operands of a
`Mux` swapped, the condition of an `m.If` turned around, beside the usual ones of operators, numbers and conditions.

What no test can notice is left out by rule: texts, annotations, decorators, assertions, what an error says, names and
other attributes of signals, default values, and numbers that only make a signal wider than it need be.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COMPARED: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}  # fmt: skip
OPERATED: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "//"), ast.FloorDiv: ("//", "*"), ast.Div: ("/", "*"),
    ast.Mod: ("%", "//"), ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<"), ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"), ast.BitXor: ("^", "|"),
}  # fmt: skip
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}
WIDER = {"-", "//", "/", "%", ">>"}  # whose change makes a width larger
SHAPES = {"Signal", "In", "Out", "signed", "unsigned", "StructLayout", "ArrayLayout", "Signature"}
WIDTHS = ("_bits", "_width")  # functions of such names give one
ATTRIBUTES = {"name", "reset_less", "strict", "attrs", "src_loc_at", "dtype"}
FREE = (ast.Assert, ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr)


@dataclass(frozen=True)
class Mutation:
    """Bytes start..end of a file become `text`; line: what stands there, in one line; change: what is done, as text.

    kind: "number", "operator", "condition", "statement" or "choice" (of two operands, two functions, wire or register).
    """

    kind: str
    file: str
    start: int
    end: int
    text: str
    line: str
    change: str
    row: int  # the number of the line

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]

    @property
    def name(self) -> str:
        """The mutation, wherever in the file its line stands."""
        return f"{self.file}: {self.line}: {self.change}"

    @property
    def shown(self) -> str:
        return f"{self.file}:{self.row}: {self.change}"

    def rank(self, seed: int) -> str:
        """Its place in the order in which mutations are drawn: what stands elsewhere in the file does not move it."""
        return hashlib.sha256(f"{seed} {self.name}".encode()).hexdigest()


def drawn(found: list[Mutation], source: bytes, count: int, seed: int) -> list[Mutation]:
    """So many of a file's mutations, of each kind in turn; all of them still Python."""
    turns: dict[str, int] = {}
    order = []
    for mutation in sorted(found, key=lambda m: m.rank(seed)):
        turns[mutation.kind] = turns.get(mutation.kind, 0) + 1
        order.append((turns[mutation.kind], mutation.rank(seed), mutation))
    order.sort(key=lambda turn: turn[:2])
    return list(itertools.islice((m for _, _, m in order if _compiles(m.apply(source))), count))


def mutations(file: str, source: bytes) -> list[Mutation]:
    """Every mutation of a file, in the order of its lines, none twice."""
    found = {(m.start, m.end, m.text): m for m in _Finder(file, source).found()}
    return [found[place] for place in sorted(found)]


class _Finder:
    def __init__(self, file: str, source: bytes):
        self.file, self.source = file, source
        self.chosen: set[int] = set()  # comparisons that only choose between what they compare
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def found(self) -> Iterator[Mutation]:
        yield from self._walk(ast.parse(self.source), shape=False)

    def _walk(self, node: ast.AST, *, shape: bool) -> Iterator[Mutation]:
        if isinstance(node, FREE):
            return
        if isinstance(node, ast.Call) and self._chooses(node):
            self.chosen.add(id(node.args[0]))
        yield from self._of(node, shape)
        for child, of_shape in self._children(node, shape):
            yield from self._walk(child, shape=of_shape)

    def _children(self, node: ast.AST, shape: bool) -> Iterator[tuple[ast.AST, bool]]:
        """What may be mutated below a node, and whether it is about a width alone."""
        if isinstance(node, ast.FunctionDef):
            inside = node.name.endswith(WIDTHS) or node.name.startswith("bits_")
            yield from ((child, inside) for child in node.body)
        elif isinstance(node, ast.ClassDef):
            yield from ((child, False) for child in node.body if not isinstance(child, ast.AnnAssign))
        elif isinstance(node, ast.AnnAssign):
            yield from ((child, shape) for child in [node.value] if child)
        elif isinstance(node, ast.If) and _called(node.test) == "TYPE_CHECKING":
            return
        elif isinstance(node, ast.Call):
            if _called(node.func) == "super" or _called(node.func).endswith("Error"):
                return
            inside = shape or _called(node.func) in SHAPES
            yield node.func, shape
            yield from ((child, inside) for child in node.args)
            for keyword in node.keywords:
                if keyword.arg == "init":
                    yield keyword.value, shape
                elif keyword.arg not in ATTRIBUTES:
                    yield keyword.value, inside
        else:
            yield from ((child, shape) for child in ast.iter_child_nodes(node))

    def _of(self, node: ast.AST, shape: bool) -> Iterator[Mutation]:
        if isinstance(node, ast.BinOp):
            before, after = OPERATED.get(type(node.op), ("", ""))
            plain = not any(isinstance(side, ast.List | ast.Tuple | ast.JoinedStr) or _is_text(side)
                            for side in (node.left, node.right))  # fmt: skip
            if before and plain and not (shape and before in WIDER):
                yield from self._operator(node, node.left, before, after, node.right)
        elif isinstance(node, ast.Compare) and not shape and id(node) not in self.chosen:
            sides = [node.left, *node.comparators]
            for left, kind, right in zip(sides, node.ops, sides[1:], strict=False):
                yield from self._operator(node, left, *COMPARED[type(kind)], right)
        elif isinstance(node, ast.BoolOp):
            before, after = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
            for left, right in zip(node.values, node.values[1:], strict=False):
                yield from self._operator(node, left, before, after, right)
        elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.UAdd):
            operand = self._text(node.operand)
            yield self._whole(node, operand if not isinstance(node.op, ast.USub) else f"+{operand}", "operator")
        elif isinstance(node, ast.Constant):
            yield from self._constant(node, shape)
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.If) and _called(node.test) != "TYPE_CHECKING":
            yield self._whole(node.test, f"not ({self._text(node.test)})", "condition")
        elif isinstance(node, ast.IfExp) and not shape:
            yield self._whole(node.test, f"(not ({self._text(node.test)}))", "condition")
        elif isinstance(node, ast.comprehension):
            yield from (self._whole(test, f"not ({self._text(test)})", "condition") for test in node.ifs)
        elif isinstance(node, ast.AugAssign | ast.Expr):
            yield from self._statement(node)

    def _chooses(self, node: ast.Call) -> bool:
        """Whether it is Mux(a > b, a, b): what it does where they are equal is nobody's business."""
        if _called(node.func) != "Mux" or not isinstance(node.args[0], ast.Compare):
            return False
        compared = [node.args[0].left, *node.args[0].comparators]
        return sorted(map(self._text, compared)) == sorted(map(self._text, node.args[1:]))

    def _operator(self, node: ast.AST, left: ast.expr, before: str, after: str, right: ast.expr) -> Iterator[Mutation]:
        start, end = self._span(left)[1], self._span(right)[0]
        at = self.source.find(before.encode(), start, end)
        if at >= 0:
            whole = self._span(node)
            changed = self.source[whole[0] : at] + after.encode() + self.source[at + len(before) : whole[1]]
            yield self._made("operator", at, at + len(before), after, f"{self._flat(*whole)} -> {_flat(changed)}")

    def _constant(self, node: ast.Constant, shape: bool) -> Iterator[Mutation]:
        if isinstance(node.value, bool):
            if not shape:
                yield self._whole(node, str(not node.value), "condition")
        elif isinstance(node.value, int):
            for value in (node.value - 1, node.value + 1):
                if value >= 0 and (0 < value < node.value or not shape):
                    start, end = self._span(node)
                    change = f"{node.value} -> {value} in {self._around(node)}"
                    yield self._made("number", start, end, str(value), change)

    def _call(self, node: ast.Call) -> Iterator[Mutation]:
        called = _called(node.func)
        if called == "Mux" and len(node.args) == 3:
            first, *rest = map(self._text, node.args)
            yield self._whole(node, f"Mux({first}, {rest[1]}, {rest[0]})", "choice")
        elif called in ("If", "Elif") and len(node.args) == 1:
            yield self._whole(node.args[0], f"({self._text(node.args[0])}) == 0", "condition")
        elif called in CALLED and isinstance(node.func, ast.Name) and (called in ("any", "all") or len(node.args) > 1):
            yield self._whole(node.func, CALLED[called], "choice")
        elif called in ("any", "all") and isinstance(node.func, ast.Attribute):
            end = self._span(node.func)[1]
            change = f"{self._flat(*self._span(node))} -> .{CALLED[called]}()"
            yield self._made("choice", end - 3, end, CALLED[called], change)

    def _statement(self, node: ast.AugAssign | ast.Expr) -> Iterator[Mutation]:
        """It is lost; of Amaranth's, one of a list is, or a wire becomes a register."""
        if isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Call) and "super" not in self._text(node):
                yield self._whole(node, "pass", "statement")
        elif not (domain := _domain(node.target)):
            yield self._whole(node, "pass", "statement")
        elif isinstance(node.value, ast.List):
            for item in node.value.elts:
                yield self._whole(item, "*()" if isinstance(item, ast.Starred) else "()", "statement")
        else:
            yield self._whole(node.value, "()", "statement")
            if domain == "comb":
                end = self._span(node.target)[1]
                yield self._made("choice", end - 4, end, "sync", f"a register: {self._flat(*self._span(node))}")

    def _span(self, node: Any) -> tuple[int, int]:
        start = self.starts[node.lineno - 1] + node.col_offset
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset

    def _line(self, node: Any) -> tuple[int, int]:
        return self.starts[node.lineno - 1], self.starts[node.lineno]

    def _around(self, node: Any) -> str:
        """What stands beside a number in its line."""
        start, end = self._span(node)
        first, last = self._line(node)
        near = self.source[max(first, start - 16) : min(last, end + 16)].decode(errors="ignore")
        return f"`{' '.join(near.split())}`"

    def _text(self, node: ast.AST) -> str:
        return self.source[slice(*self._span(node))].decode()

    def _flat(self, start: int, end: int) -> str:
        return _flat(self.source[start:end])

    def _whole(self, node: ast.AST, text: str, kind: str) -> Mutation:
        start, end = self._span(node)
        return self._made(kind, start, end, text, f"{self._flat(start, end)} -> {_flat(text.encode())}")

    def _made(self, kind: str, start: int, end: int, text: str, change: str) -> Mutation:
        first = self.source.rfind(b"\n", 0, start) + 1
        last = self.source.find(b"\n", start)
        row = self.source.count(b"\n", 0, start) + 1
        return Mutation(kind, self.file, start, end, text, self._flat(first, last if last >= 0 else end), change, row)


def _compiles(source: bytes) -> bool:
    with warnings.catch_warnings(action="ignore"):
        try:
            compile(source, "mutant", "exec", dont_inherit=True)
        except SyntaxError:
            return False
    return True


def _flat(text: bytes) -> str:
    return " ".join(text.decode().split())


def _called(node: ast.AST) -> str:
    """The last name of what is called."""
    if isinstance(node, ast.Call):
        return _called(node.func)
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _domain(node: ast.AST) -> str:
    """The domain of m.d.domain, or nothing."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "d":
        return node.attr
    return ""


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
