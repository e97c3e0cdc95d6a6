# SPDX-License-Identifier: Apache-2.0
"""From a trained `torch.nn.Module`, or a `.pt2` file, to the float graph, checked against the original in float64."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import operator
import re
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .affine import Value
from .aten import CLASSIFIERS, ELEMENTWISE, LINEAR, NEAREST, REARRANGES, RESHAPES, TRANSPARENT, Operations
from .builder import Builder
from .errors import OneSpikeError
from .graph import Graph
from .pixels import nearest_codes

TOLERANCE = 1e-9  # of the largest logit, in float64


def import_module(module: torch.nn.Module, example: Any) -> Graph:
    """The float graph of `module`, which must be in eval mode.

    example: one input batch [N, C, H, W] ([N, C, L] and [N, F] are read as maps of height 1 and of one place).
    Raises OneSpikeError for whatever cannot become spikes, naming the layer, its kind and the user's source line.
    """
    example = as_example(example)
    for name, child in module.named_modules():
        if child.training and isinstance(child, torch.nn.modules.batchnorm._BatchNorm | torch.nn.Dropout):
            raise OneSpikeError(
                f"Layer {name!r} ({type(child).__name__}) is in training mode; call module.eval() before the import."
            )
    kind = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    # With two images, operations that mix them show.
    several = example if len(example) > 1 else example.repeat(2, *[1] * (example.ndim - 1))
    with _quiet():
        try:
            exported = torch.export.export(module, (several.to(kind),))
        except Exception as error:
            raise _not_exported(module, example, error) from error
        graph, finals = _walk(exported)
        try:
            reference = copy.deepcopy(module).double()
        except Exception:  # a module that cannot be copied: what torch exported of it stands in
            reference = exported.module().double()
        _check(graph, finals, reference, example)
    return graph


def import_exported(path: str | Path) -> Graph:
    """The float graph of a `.pt2` file written by `torch.export.save`."""
    path = Path(path)
    if not path.is_file():
        raise OneSpikeError(f"Cannot read {path}: no such file.")
    with _quiet():
        try:
            exported = torch.export.load(path)
        except Exception as error:
            raise OneSpikeError(
                f"{path} is not a .pt2 file of torch.export ({type(error).__name__}); write it with torch.export.save."
            ) from error
        graph, finals = _walk(exported)
        fake = next(n.meta["val"] for n in exported.graph.nodes if n.name in exported.graph_signature.user_inputs)
        _check(graph, finals, exported.module().double(), torch.zeros(tuple(map(int, fake.shape))))
    return graph


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch's warnings, log lines and prints, which repeat what the sentence to the user says, are kept back."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        sink = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _not_exported(module: torch.nn.Module, example: torch.Tensor, error: Exception) -> OneSpikeError:
    """What torch.export stumbled over, with the user's line."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _foreign(f.filename)]
    line = f" [{Path(frames[-1].filename).name}, line {frames[-1].lineno}: {frames[-1].line}]" if frames else ""
    text = str(error).strip() or type(error).__name__
    fakes = [(name, child) for name, child in module.named_modules() if hasattr(child, "fake_quant_enabled")]
    if fakes:
        name, child = fakes[0]
        return OneSpikeError(
            f"Layer {name!r} ({type(child).__name__}) switches itself on and off by its data, which torch.export "
            f"cannot read; put torch.fake_quantize_per_tensor_affine in its place."
        )
    if "data-dependent" in text or "DataDependent" in type(error).__name__ or "GuardOnDataDependent" in text:
        return OneSpikeError(
            f"{type(module).__name__} decides from the values of its data what to compute, but a spiking network is "
            f"the same for every image; compute both ways and add them, or remove the condition{line}."
        )
    return OneSpikeError(
        f"torch.export cannot read {type(module).__name__} with an input of {list(example.shape)}: "
        f"{text.splitlines()[0].rstrip('.')}{line}."
    )


def _foreign(filename: str) -> bool:
    """Whether a frame of a stack trace is torch's or ours, not the user's."""
    return "site-packages/torch/" in filename.replace("\\", "/") or filename == __file__ or filename.startswith("<")


def as_example(example: Any) -> torch.Tensor:
    """A float tensor of at least one input; anything else is refused."""
    if isinstance(example, (tuple, list)) and len(example) == 1:
        example = example[0]
    if isinstance(example, np.ndarray):
        example = torch.from_numpy(np.ascontiguousarray(example))
    if not isinstance(example, torch.Tensor) or example.ndim not in (2, 3, 4) or not len(example):
        found = f"shape {list(example.shape)}" if isinstance(example, torch.Tensor) else type(example).__name__
        raise OneSpikeError(
            f"The example must be one batch of inputs such as [1, channels, height, width], not {found}."
        )
    if not example.is_floating_point():
        raise OneSpikeError(
            f"The example must hold floating-point numbers, not {example.dtype}; scale images as in training."
        )
    return example.detach().cpu()


def as_maps(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of torch's (N, C, H, W), (N, C, L) or (N, F)."""
    rest = tuple(int(size) for size in shape[1:])
    return {1: (*rest, 1, 1), 2: (rest[0], 1, rest[-1]), 3: rest}[len(rest)]  # type: ignore[return-value]


def _walk(exported: torch.export.ExportedProgram) -> tuple[Graph, list[torch.fx.Node]]:
    """Read every operation once; also gives the softmax-like nodes at the end that were left out."""
    exported = exported.run_decompositions({})
    constants = _constants(exported)
    inputs = [n for n in exported.graph.nodes if n.op == "placeholder" and n.name not in constants]
    if len(inputs) != 1:
        raise OneSpikeError(f"The network must have one input tensor, not {len(inputs)}.")
    builder = Builder(shape=as_maps(tuple(inputs[0].meta["val"].shape)))
    operations = Operations(builder)
    values: dict[torch.fx.Node, Any] = {inputs[0]: builder.read("input")}
    finals: list[torch.fx.Node] = []
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            values.setdefault(node, constants.get(node.name))
        elif node.op == "output":
            results = [r for r in torch.utils._pytree.tree_leaves(node.args) if isinstance(r, torch.fx.Node)]
            if len(results) != 1 or not isinstance(values[results[0]], Value):
                raise OneSpikeError(f"The network must return one tensor of logits, not {len(results)} tensors.")
            last: Any = results[0]
            while last in finals or _kind(last) in TRANSPARENT | RESHAPES:
                last = last.args[0]
            try:
                return builder.finish(values[results[0]], user_line(last)), finals
            except OneSpikeError as error:
                raise _refusal(last, str(error)) from None
        elif node.op == "call_function" and node.users:
            values[node] = _apply(node, values, operations, finals)
    raise OneSpikeError("The network returns nothing.")


def _constants(exported: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    """Placeholder name -> parameter, buffer or constant in float64; NaN and infinity are refused."""
    signature, found = exported.graph_signature, {}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    for placeholder, name in names.items():
        tensor = exported.state_dict[name] if name in exported.state_dict else exported.constants[name]
        tensor = tensor.detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.double()
            if not torch.isfinite(tensor).all():
                raise OneSpikeError(f"The parameter {name!r} holds NaN or infinite values; train the network again.")
        found[placeholder] = tensor
    return found


def _apply(node: torch.fx.Node, values: dict[torch.fx.Node, Any], operations: Operations, finals: list[Any]) -> Any:
    kind = _kind(node)
    args: Any
    options: Any
    args, options = torch.fx.map_arg((node.args, node.kwargs), lambda n: values[n])  # type: ignore[misc]
    sources = [n for n in node.all_input_nodes if _values(values[n])]
    if not sources:  # depends on parameters alone
        return node.target(*args, **options)  # type: ignore[operator]
    if node.target is operator.getitem:
        if args[1] >= len(args[0]):
            raise _refusal(sources[0], "only its first result is supported")
        return args[0][args[1]]
    if kind in TRANSPARENT:
        return args[0]
    if kind in CLASSIFIERS and _ends(node):
        finals.append(node)
        operations.builder.notes.append(
            f"The last {kind.strip('_')} is left out: logits are given, argmax stays the same."
        )
        return args[0]
    operations.where, operations.name = user_line(node), _layer_name(node)
    shapes = [tuple(map(int, n.meta["val"].shape)) for n in sources if isinstance(n.meta["val"], torch.Tensor)]
    operations.ranks = tuple(map(len, shapes))
    operations.source_shape = shapes[0] if shapes else ()
    result = node.meta["val"][0] if isinstance(node.meta["val"], (tuple, list)) else node.meta["val"]
    operations.result_shape = tuple(int(size) for size in result.shape)
    try:
        return _operate(node, kind.rstrip("_"), args, options, operations)
    except OneSpikeError as error:
        raise _refusal(node, str(error)) from None
    except TypeError:
        raise _refusal(node, "this form of the operation is not supported") from None


def _operate(node: torch.fx.Node, kind: str, args: Any, options: Any, operations: Operations) -> Any:
    if kind not in ELEMENTWISE:
        args, options = torch.utils._pytree.tree_map_only(
            Value, lambda value: operations.builder.clamped(value, operations.where), (args, options)
        )
    if kind in REARRANGES:

        def move(numbers: np.ndarray) -> Any:
            moved = node.target(torch.from_numpy(numbers), *args[1:], **options)  # type: ignore[operator]
            return moved.numpy() if isinstance(moved, torch.Tensor) else [part.numpy() for part in moved]

        return operations.rearrange(args[0], move)
    handler = operations.find(kind)
    if handler is None:
        near = f"; the nearest supported choice is {NEAREST[kind]}" if kind in NEAREST else ""
        raise OneSpikeError(f"this operation is not supported{near}")
    if kind not in ELEMENTWISE | LINEAR and any(v.view is not None for v in _values(args)):
        raise OneSpikeError(
            "a reshape, permute or upsampling before it leaves a map that is not (channels, height, width) in place; "
            "only a linear layer over the whole map can read that"
        )
    return handler(*args, **options)


def _values(args: Any) -> list[Value]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(args) if isinstance(leaf, Value)]


def _ends(node: torch.fx.Node) -> bool:
    """Whether nothing but reshapes and further softmax-like operations follow."""
    follow = TRANSPARENT | RESHAPES | CLASSIFIERS
    return all(user.op == "output" or (_kind(user) in follow and _ends(user)) for user in node.users)


def _kind(node: torch.fx.Node) -> str:
    """`conv2d` of `aten.conv2d.default`."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target._schema.name).rsplit("::", 1)[-1]
    return target.__name__ if callable(target) else str(target)


def _layer_name(node: torch.fx.Node) -> str:
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


def _refusal(node: torch.fx.Node, reason: str) -> OneSpikeError:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    module = str(stack[-1][1]).rsplit(".", 1)[-1] if stack and str(stack[-1][1]).startswith("torch.nn") else ""
    kind = f"{module}, {_kind(node)}" if module else _kind(node)
    line = user_line(node)
    return OneSpikeError(f"Layer {_layer_name(node)!r} ({kind}): {reason}{f' [{line}]' if line else ''}.")


def _check(graph: Graph, finals: list[torch.fx.Node], reference: torch.nn.Module, example: torch.Tensor) -> None:
    """Run both on random numbers in float64."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(example.shape, generator=generator, dtype=torch.float64)
    if graph.image is not None:  # pixels that its own quantisation leaves as they are
        scale, offset = (np.reshape(v, (1, -1, 1, 1)) for v in (graph.image.scale, graph.image.offset))
        codes = nearest_codes(graph.image, images.numpy().reshape(-1, *graph.shape))
        images = torch.from_numpy(codes * scale + offset).reshape(images.shape)
    stairs = any(node.staircase is not None for node in graph.nodes)
    found = torch.from_numpy(graph.run(images.numpy().reshape(-1, *graph.shape)))
    for node in finals:
        found = node.target(found, *node.args[1:], **node.kwargs)  # type: ignore[operator]
    try:
        with torch.no_grad():
            # torch's own quantisers divide by their scale in float32.
            wanted, tolerance = reference(images), 1e-6 if stairs else TOLERANCE
    except (RuntimeError, AssertionError):  # a module that insists on float32 somewhere; there a value can fall one
        with torch.no_grad():  # step beside
            wanted, tolerance = reference.float()(images.float()), 0.05 if stairs else 1e-4
    wanted = torch.utils._pytree.tree_leaves(wanted)[0].double().reshape(found.shape)
    error = float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-300))
    if not error < tolerance:
        raise OneSpikeError(
            f"The imported graph differs from the module by {error:.1e} of its largest logit, more than "
            f"{tolerance:.0e}; please report this network."
        )
