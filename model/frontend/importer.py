# SPDX-License-Identifier: Apache-2.0
"""From a trained `torch.nn.Module`, an `ExportedProgram` or a `.pt2` file to the float graph, checked in float64."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.nn import Module

from ..errors import OneSpikeError
from ..network.pixels import as_maps, nearest_codes
from .exported import Ending, input_shape, walk
from .graph import Graph
from .network_file import existing
from .torch_threads import torch_threads

TOLERANCE = 1e-9  # of the largest logit, in float64


def import_module(module: Module, example: Any, signed: bool | str = "auto") -> Graph:
    """The float graph of `module`, which must be in eval mode.

    example: one input batch [N, C, H, W] ([N, C, L] and [N, F] are read as maps of height 1 and of one place).
    signed: as `prepare` says.
    Raises OneSpikeError for whatever cannot become spikes, naming the layer, its kind and the user's source line.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise OneSpikeError("A TorchScript module keeps no layers to read; give the module that it was made from.")
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
        graph, ending = walk(exported, signed)
        try:
            reference = _copied(module)
        except Exception:  # a module that cannot be copied (hooks make tensors of its weights): the program stands in
            reference = _runnable(exported)
        _check(graph, ending, reference.double(), tuple(several.shape))
    return graph


def import_program(exported: ExportedProgram, signed: bool | str = "auto") -> Graph:
    """The float graph of a program of `torch.export`, decomposed or not, its batch open or not."""
    with _quiet():
        graph, ending = walk(exported, signed)
        _check(graph, ending, _runnable(exported).double(), input_shape(exported))
    return graph


def _copied(module: Module) -> Module:
    """A copy with parameters of its own; compressed sparse matrices, which deepcopy does not take, are cloned."""
    tensors = (*module.parameters(), *module.buffers())
    sparse = {id(t): t.detach().clone() for t in tensors if t.layout not in (torch.strided, torch.sparse_coo)}
    return copy.deepcopy(module, sparse)


def _runnable(exported: ExportedProgram) -> Module:
    """A module of the program with parameters of its own: those of the program are the user's."""
    return copy.deepcopy(exported.module(check_guards=False))


def import_exported(path: str | Path, signed: bool | str = "auto") -> Graph:
    """The float graph of a `.pt2` file written by `torch.export.save`."""
    path = existing(path)
    with _quiet():
        try:
            exported = torch.export.load(path)
        except Exception as error:
            raise OneSpikeError(
                f"{path} is not a .pt2 file of torch.export ({type(error).__name__}); write it with "
                f"torch.export.save(torch.export.export(module.eval(), (example,)), {path.stem + '.pt2'!r})."
            ) from error
    return import_program(exported, signed)


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


def _not_exported(module: Module, example: torch.Tensor, error: Exception) -> OneSpikeError:
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
    if mixed := _other_nodes(module, example, text):
        return OneSpikeError(f"{mixed}{line}.")
    if "data-dependent" in text or "DataDependent" in type(error).__name__ or "GuardOnDataDependent" in text:
        return OneSpikeError(
            f"{type(module).__name__} decides from the values of its data what to compute, but a spiking network is "
            f"the same for every image; compute both ways and add them, or remove the condition{line}."
        )
    return OneSpikeError(
        f"torch.export cannot read {type(module).__name__} with an input of {list(example.shape)}: "
        f"{text.splitlines()[0].rstrip('.')}{line}."
    )


def _other_nodes(module: Module, example: torch.Tensor, text: str) -> str:
    """What to say where a graph's matrix does not fit the nodes of the example; empty for other errors."""
    if example.ndim in (2, 3) and re.search("multipl|reduction dim|Expected dim|Expected size|must match", text):
        for name, buffer in module.named_buffers():
            if buffer.ndim == 2 and min(buffer.shape) > 1 and tuple(buffer.shape) != (example.shape[-2],) * 2:
                return (
                    f"The graph's matrix {name!r} {list(buffer.shape)} does not fit {list(example.shape)}, "
                    f"{example.shape[-2]} nodes with {example.shape[-1]} features; it must have a row and a column for "
                    f"each node"
                )
    return ""


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


def _check(graph: Graph, ending: Ending, reference: Module, shape: tuple[int, ...]) -> None:
    """Run both on random numbers in float64."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(shape, generator=generator, dtype=torch.float64)
    if graph.image is not None:  # pixels that its own quantisation leaves as they are
        scale, offset = (np.reshape(v, (1, -1, 1, 1)) for v in (graph.image.scale, graph.image.offset))
        codes = nearest_codes(graph.image, as_maps(graph.image, images.numpy()))
        laid = codes * scale + offset
        given = laid if graph.arrangement is None else graph.arrangement.undo(laid)
        images = torch.from_numpy(given).reshape(images.shape)
    stairs = any(node.staircase is not None for node in graph.nodes)
    maps = images.numpy()
    if graph.channels_last:
        maps = np.swapaxes(maps, -1, -2)
    if graph.arrangement is not None:
        maps = graph.arrangement.apply(maps, graph.shape)
    answers = ending(torch.from_numpy(graph.run(maps.reshape(-1, *graph.shape))))
    try:
        with torch.no_grad(), torch_threads(1):
            # torch's own quantisers divide by their scale in float32.
            wanted, tolerance = reference(images), 1e-6 if stairs else TOLERANCE
    except (RuntimeError, AssertionError):  # a module that insists on float32 somewhere; there a value can fall one
        with torch.no_grad(), torch_threads(1):  # step beside
            wanted, tolerance = reference.float()(images.float()), 0.05 if stairs else 1e-4
    leaves, error = torch.utils._pytree.tree_leaves(wanted), 0.0
    for place, found in answers.items():
        if not torch.isfinite(leaves[place]).all():
            raise OneSpikeError(
                "The module answers NaN or infinite values for random numbers; train the network again."
            )
        exact = leaves[place].double().reshape(found.shape)
        error = max(error, float((found.double() - exact).abs().max() / exact.abs().max().clamp_min(1e-300)))
    if not error < tolerance:
        raise OneSpikeError(
            f"The imported graph differs from the module by {error:.1e} of its largest logit, more than "
            f"{tolerance:.0e}; please report this network."
        )
