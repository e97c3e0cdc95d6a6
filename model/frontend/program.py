# SPDX-License-Identifier: Apache-2.0
"""Operations of a `torch.export` program: kind, name, the user's line and what is said of one; those at its end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import OneSpikeError
from .aten import CLASSIFIERS, RESHAPES, RISING, TRANSPARENT


def ends(node: torch.fx.Node) -> bool:
    """Whether nothing but reshapes and further softmax-like operations follow."""
    follow = TRANSPARENT | RESHAPES | CLASSIFIERS | RISING
    return all(user.op == "output" or (kind_of(user) in follow and ends(user)) for user in node.users)


def returned(
    output: torch.fx.Node, values: Mapping[torch.fx.Node, Any], kind: type, finals: Sequence[torch.fx.Node]
) -> tuple[Any, torch.fx.Node, int]:
    """The one value of this kind that a program returns, the operation that makes it, behind which come `finals` and
    reshapes alone, and its place among the results. OneSpikeError where there is another number of results.
    """
    found = results(output, values, kind)
    if len(found) != 1:
        raise OneSpikeError(f"The network must return one tensor of logits, not {len(found)} tensors.")
    ((result, place),) = found.items()
    return values[result], before_end(result, finals), place


def results(output: torch.fx.Node, values: Mapping[torch.fx.Node, Any], kind: type) -> dict[torch.fx.Node, int]:
    """The tensors that a program returns, and the first place of each among all results; OneSpikeError where there is
    none, or one that is not of this kind, as it does not depend on the image.
    """
    found: dict[torch.fx.Node, int] = {}
    for place, leaf in enumerate(torch.utils._pytree.tree_leaves(output.args)):
        if isinstance(leaf, torch.fx.Node):
            found.setdefault(leaf, place)
    fixed = [node for node in found if not isinstance(values[node], kind)]
    if fixed or not found:
        raise OneSpikeError(
            f"The network returns {user_line(fixed[0]) or fixed[0].name}, which does not depend on the image; return "
            f"what does." if fixed else "The network must return one tensor of logits, not 0 tensors."
        )  # fmt: skip
    return found


def result_names(exported: torch.export.ExportedProgram, count: int) -> list[str]:
    """A name for each of `count` results: keys of dictionaries and places in tuples, with points between."""
    spec = exported.call_spec.out_spec
    if spec is None or spec.num_leaves != count:
        return [f"output{place}" for place in range(count)]
    tree = torch.utils._pytree.tree_unflatten(list(range(count)), spec)
    names = [""] * count
    for path, place in torch.utils._pytree.tree_flatten_with_path(tree)[0]:
        keys = (getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))) for key in path)
        name = ".".join(map(str, keys))
        names[place] = f"output{name}" if name.isdigit() else name or "output"
    return names


def before_end(node: torch.fx.Node, finals: Sequence[torch.fx.Node]) -> torch.fx.Node:
    """The operation that makes a result, behind which come `finals` and reshapes alone."""
    last: Any = node
    while last in finals or kind_of(last) in TRANSPARENT | RESHAPES:
        last = last.args[0]
    return last  # type: ignore[no-any-return]


def left_out(node: torch.fx.Node, finals: Sequence[torch.fx.Node]) -> list[torch.fx.Node]:
    """Those of `finals` that a result has passed, the first one first."""
    found: list[torch.fx.Node] = []
    while node in finals or (kind_of(node) in TRANSPARENT and any(n in finals for n in node.all_input_nodes)):
        found += [node] * (node in finals)
        node = node.all_input_nodes[0]
    return found[::-1]


def replay(
    finals: Sequence[torch.fx.Node], values: Mapping[torch.fx.Node, Any], first: torch.fx.Node, logits: torch.Tensor
) -> torch.Tensor:
    """What `finals`, one after the other, make of the numbers that `first` gives."""
    known: dict[torch.fx.Node, Any] = {first: logits}
    for node in finals:
        args, options = torch.fx.map_arg((node.args, node.kwargs), lambda n: known.get(n, values[n]))
        known[node] = node.target(*args, **options)  # type: ignore[operator]
    found: torch.Tensor = known[finals[-1]] if finals else logits
    return found


def operands(
    node: torch.fx.Node, values: Mapping[torch.fx.Node, Any], followed: Callable[[Any], Any]
) -> tuple[Any, Any, list[torch.fx.Node]]:
    """Positional and named arguments of an operation, and its inputs whose values are followed."""
    args, options = torch.fx.map_arg((node.args, node.kwargs), lambda n: values[n])  # type: ignore[misc]
    return args, options, [n for n in node.all_input_nodes if followed(values[n])]


def settled(node: torch.fx.Node, args: Any, options: Any, sources: Sequence[torch.fx.Node]) -> tuple[Any, ...]:
    """The result of an operation as a tuple of one, where it does not follow the image's numbers: a size, also one
    that follows the batch, or what depends on parameters alone. Otherwise an empty tuple."""
    found = node.meta.get("val")
    if isinstance(found, torch.SymInt | torch.SymBool | torch.SymFloat):
        return (found.node.pytype(found),)
    if not sources:
        return (node.target(*args, **options),)  # type: ignore[operator]
    return (found,) if isinstance(found, int | bool) else ()


def kind_of(node: torch.fx.Node) -> str:
    """`conv2d` of `aten.conv2d.default`."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target._schema.name).rsplit("::", 1)[-1]
    return target.__name__ if callable(target) else str(target)


def layer_name(node: torch.fx.Node) -> str:
    """The module's path (`layer1.0.conv1`) where a module was called, else the operation's own name."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    leaf = stack and str(stack[-1][1]).rsplit(".", 1)[0].startswith("torch.nn")
    return path if path and leaf else node.name


def user_line(node: torch.fx.Node) -> str:
    """`file.py, line 12: code` of the user's deepest line, from torch's stack trace."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if "site-packages/torch/" not in frame[0].replace("\\", "/")]
    return f"{Path(own[-1][0]).name}, line {own[-1][1]}: {own[-1][2].strip()}" if own else ""


def refusal(node: torch.fx.Node, reason: str) -> OneSpikeError:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    module = str(stack[-1][1]).rsplit(".", 1)[-1] if stack and str(stack[-1][1]).startswith("torch.nn") else ""
    kind = f"{module}, {kind_of(node)}" if module else kind_of(node)
    line = user_line(node)
    return OneSpikeError(f"Layer {layer_name(node)!r} ({kind}): {reason}{f' [{line}]' if line else ''}.")
