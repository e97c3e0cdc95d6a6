# SPDX-License-Identifier: Apache-2.0
"""From an ONNX or QONNX file to the float graph, checked against the file's own operations in float64."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ..errors import OneSpikeError
from ..network.image import MAX_BITS
from ..network.spec import INPUT, Image
from . import onnx_reference as reference
from .affine import scale
from .builder_larger import Larger
from .builder_nodes import MAX_PLACES
from .builder_signed import Reader, consumers
from .graph import Graph
from .heads import Head, finished, given_by
from .layout import OTHER_ORDER, Layout, Moved, laid_out, of_image
from .network_file import told
from .onnx_base import Levels, Mask, Tensor, kind_of, label, refusal
from .onnx_ops import ANY_ORDER, CLASSIFIERS, MOVES, NEAREST, RISING, SCALED, SUMS, OnnxOperations
from .onnx_qoperator import lowered

MASKED = {"Where", "Mul", "Cast", "Identity"}  # that take a comparison as it is; to others it is a number
TOLERANCE = 1e-9  # of the largest logit, in float64
IMAGE_KEY = "onespike.image"  # metadata of the files that `onnx_export` writes: what the codes of the pixels mean
QUANTISERS = {"Quant", "IntQuant", "QuantizeLinear"}
FOLLOWERS = (
    CLASSIFIERS
    | QUANTISERS
    | RISING
    | {"Identity", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "DequantizeLinear", "Clip"}
)


def import_onnx(path: str | Path, signed: bool | str = "auto") -> Graph:
    """The float graph of an `.onnx` file; quantised activations keep the file's own steps. signed: as `convert` says.

    Raises OneSpikeError for whatever cannot become spikes, naming the node, its kind and the nearest supported choice.
    """
    path = Path(path)
    with told():
        return import_model(lowered(reference.in_double(reference.read(path))), path, signed)


def import_model(model: onnx.ModelProto, path: Path, signed: bool | str = "auto") -> Graph:
    """The same of a model whose numbers are all float64; path: the file that it comes from."""
    with np.errstate(all="ignore"):  # NaN and infinity are refused where they arise
        return _Front(model, path).graph(signed)


class _Front:
    """One walk over the nodes of a model."""

    def __init__(self, model: onnx.ModelProto, path: Path) -> None:
        self.model, self.path = model, path
        self.constants: dict[str, np.ndarray] = {t.name: reference.array_of(t) for t in model.graph.initializer}
        for name, array in self.constants.items():
            if np.iscomplexobj(array):
                raise OneSpikeError(f"The parameter {name!r} holds complex numbers; export the network in real ones.")
            if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
                raise OneSpikeError(f"The parameter {name!r} holds NaN or infinite values; train the network again.")
        inputs = [info for info in model.graph.input if info.name not in self.constants]
        if len(inputs) != 1 or not model.graph.output:
            raise OneSpikeError(
                f"{path} must have one input and an output, not {len(inputs)} and {len(model.graph.output)}; export "
                f"the network alone."
            )
        self.input = inputs[0].name
        self.nodes = _needed(model.graph)
        self.sizes = self._sizes(inputs[0])
        self.channels = _channels(model)
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.skipped: list[onnx.NodeProto] = []

    def _sizes(self, info: onnx.ValueInfoProto) -> tuple[int, ...]:
        """The input's shape; a batch that is left open is one."""
        dims = info.type.tensor_type.shape.dim
        if not info.type.tensor_type.HasField("shape") or len(dims) not in (2, 3, 4):
            raise OneSpikeError(
                f"The input {info.name!r} has {len(dims)} axes; it must be (batch, channels, height, width), (batch, "
                f"channels, length) or (batch, features)."
            )
        for index, dim in enumerate(dims):
            if index and not (dim.HasField("dim_value") and dim.dim_value > 0):
                raise OneSpikeError(
                    f"Axis {index} of the input {info.name!r} ({dim.dim_param or 'unnamed'}) is dynamic; only the "
                    f"batch may be, so export the network for one image size."
                )
        if dims[0].dim_value * math.prod(dim.dim_value for dim in dims[1:]) > MAX_PLACES:
            raise OneSpikeError(
                f"The input {info.name!r} of {[dim.dim_value for dim in dims]} holds more than {MAX_PLACES:,} numbers; "
                f"export the network for one image."
            )
        return max(1, dims[0].dim_value), *(dim.dim_value for dim in dims[1:])

    def graph(self, signed: bool | str) -> Graph:
        """The graph of the whole model, checked."""
        rest = self.sizes[1:]
        shape = {1: (*rest, 1, 1), 2: (rest[0], 1, rest[-1]), 3: rest}[len(rest)]
        return laid_out(rest, shape, lambda layout: self._walk(layout, signed))  # type: ignore[arg-type]

    def _walk(self, layout: Layout, signed: bool | str) -> Graph:
        """The graph with the image laid out so."""
        self.skipped = []
        builder = Larger(shape=layout.shape, sign=signed)
        operations = OnnxOperations(builder, self.sizes[0])
        values: dict[str, Any] = dict(self.constants)
        start = builder.read(INPUT)
        declared = self._declared_image(builder.shape)
        if declared is not None:  # the file takes codes
            builder.image = declared
            start = scale(start, 1 / np.array(declared.scale), -np.array(declared.offset) / np.array(declared.scale))
        values[self.input] = Tensor(layout.start(start), len(self.sizes))
        numbers = {id(node): index for index, node in enumerate(self.nodes)}
        users = [
            [numbers[id(user)] for name in node.output for user in self.users.get(name, []) if user.op_type != "Shape"]
            for node in self.nodes
        ]
        readers = consumers(range(len(users)), lambda key: users[key] or [-1], self._reader)
        for index, node in enumerate(self.nodes):
            self._apply(node, values, operations)
            made, following = values[node.output[0]], [self.nodes[user].op_type for user in users[index]]
            folds = len(following) == 1 and following[0] in SUMS
            if isinstance(made, Tensor) and node not in self.skipped and node.op_type not in MOVES and not folds:
                try:
                    stored = builder.offer(made.value, readers[index].values(), label(node))
                except OneSpikeError as error:
                    raise refusal(node, str(error)) from None
                values[node.output[0]] = Tensor(stored, made.rank)
        producer = {name: node for node in self.nodes for name in node.output}
        heads = []
        for info in self.model.graph.output:
            final, given = info.name, values.get(info.name)
            if not isinstance(given, Tensor):
                raise OneSpikeError(f"The output {final!r} does not depend on the image; export the network again.")
            while final in producer and (producer[final] in self.skipped or producer[final].op_type in FOLLOWERS):
                final = producer[final].input[0]
            heads.append(Head(name=info.name, value=given.value, shape=given.shape[1:], where=final))
        try:
            graph = layout.finish(finished(builder, heads))
        except OneSpikeError as error:
            if final in producer:
                raise refusal(producer[final], str(error)) from None
            raise OneSpikeError(f"{self.path}: {error}.") from None
        self._check(graph, declared, heads)
        return graph

    def _reader(self, index: int) -> Reader | None:
        """What a node reads its first source for, or None where it only rewrites the sum; -1 is the end."""
        node = self.nodes[index]
        if index < 0 or node.op_type not in SUMS | MOVES | {"Conv", "Gemm", "MatMul"}:
            return Reader(outputs=self.channels.get(node.input[0], 0) if index >= 0 else 0)
        shape = next((self.constants[name].shape for name in node.input[1:2] if name in self.constants), ())
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in SUMS | MOVES:
            return None
        if node.op_type != "Conv" or len(shape) not in (3, 4):
            out, features = (*shape, 0, 0)[:2] if attributes.get("transB") else (*shape[::-1], 0, 0)[:2]
            return Reader(outputs=out, features=features)
        strides, gaps = (attributes.get(name, (1, 1)) for name in ("strides", "dilations"))
        taps, gaps = (1, *shape[2:])[-2:], (1, *gaps)[-2:]
        return Reader(
            outputs=shape[0], inputs=shape[1], share=1 / math.prod(strides), taps=taps, dilation=gaps
        )

    def _declared_image(self, shape: tuple[int, int, int]) -> Image | None:
        """The codes that the file says it takes: in our metadata, or as QONNX's integer type of the input."""
        for entry in self.model.metadata_props:
            if entry.key == IMAGE_KEY:
                try:
                    facts = json.loads(entry.value)
                    return Image(shape=shape, bits=facts["bits"], scale=facts["scale"], offset=facts["offset"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    raise OneSpikeError(
                        f"The metadata {IMAGE_KEY!r} of {self.path} is damaged; export it again."
                    ) from None
        for annotation in self.model.graph.quantization_annotation:
            kinds = {p.key: p.value for p in annotation.quant_parameter_tensor_names}
            kind = re.fullmatch(r"UINT([1-9]\d?)", kinds.get("finn_datatype", ""), re.ASCII)
            if annotation.tensor_name == self.input and kind is not None and int(kind[1]) <= MAX_BITS:
                return Image(shape=shape, bits=int(kind[1]), scale=(1.0,) * shape[0], offset=(0.0,) * shape[0])
        return None

    def _apply(self, node: onnx.NodeProto, values: dict[str, Any], operations: OnnxOperations) -> None:
        """Compute one node's results into `values`."""
        known = (*reference.STANDARD_DOMAINS, *reference.QONNX_DOMAINS)
        if node.domain not in known:
            raise refusal(node, f"the domain {node.domain!r} is unknown; only standard ONNX and QONNX are supported")
        inputs = [values.get(name) if name else None for name in node.input]
        if missing := [n for n, v in zip(node.input, inputs, strict=True) if n and v is None]:
            raise refusal(node, f"its input {missing[0]!r} is a second result, of which only the first is supported")
        active = [value for value in inputs if isinstance(value, Tensor | Levels | Mask)]
        if not active:
            values.update(zip(node.output, self._fold(node, inputs), strict=True))
            return
        first = active[0] if isinstance(active[0], Tensor) else active[0].tensor
        labelled = kind_of(node) != node.op_type
        operations.begin(self._layer_name(node), label(node), first.rank, len(node.output), labelled)
        left = CLASSIFIERS | QUANTISERS
        if isinstance(active[0], Tensor) and active[0].value.pool is None:
            left = left | RISING | {"Clip"}
        behind = any(name in other.output for other in self.skipped for name in node.input)
        if self._ends(node) and (behind or node.op_type in left):
            if not behind:
                self._compares_channels(node, first.rank)
                operations.builder.notes.append(f"The last {kind_of(node)} is left out: logits are given before it.")
            self.skipped.append(node)
            values[node.output[0]] = active[0]
            return
        handler = operations.find(node.op_type)
        if not _any_order(node, inputs):
            inputs = [operations.unfolded(value) if isinstance(value, Tensor) else value for value in inputs]
            active = [value for value in inputs if isinstance(value, Tensor | Levels)]
        ordered = all(not isinstance(value, Tensor) or value.value.view is None for value in active)
        attributes = {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute}
        try:
            if handler is None:
                near = f"; the nearest supported choice is {NEAREST[node.op_type]}" if node.op_type in NEAREST else ""
                raise OneSpikeError(f"this operation is not supported{near}")
            if not ordered and not _any_order(node, inputs):
                moved = next(v.value for v in active if isinstance(v, Tensor) and v.value.view is not None)
                if of_image(moved) and moved.view is not None:
                    raise Moved(moved.view, OneSpikeError(OTHER_ORDER))
                raise OneSpikeError(
                    "its input is a map whose places were moved; the nearest supported choice is an export with "
                    "(channels, height, width) in this order throughout"
                )
            masks = node.op_type in MASKED and (node.op_type != "Mul" or any(isinstance(v, Tensor) for v in inputs))
            made = handler(*(inputs if masks else map(operations.spikes, inputs)), **attributes)
            results = made if isinstance(made, tuple) else (made,)
            values.update(zip(node.output, results, strict=False))
        except Moved as moved:
            raise Moved(moved.view, refusal(node, str(moved.refusal))) from None
        except OneSpikeError as error:
            raise refusal(node, str(error)) from None
        except TypeError:
            raise refusal(node, "this form of the operation is not supported") from None
        except (ValueError, LookupError, ArithmeticError, AttributeError, MemoryError) as error:
            raise refusal(node, f"its inputs do not fit together ({_first_line(error)})") from None
        if any(isinstance(result, Tensor) and not result.value.finite for result in results):
            raise refusal(node, "its numbers make NaN or infinite values; train the network again")

    def _fold(self, node: onnx.NodeProto, inputs: list[Any]) -> list[Any]:
        try:
            return reference.compute(node, inputs, self.model.opset_import)
        except Exception as error:
            raise refusal(node, f"it cannot be computed ({_first_line(error)})") from None

    def _ends(self, node: onnx.NodeProto) -> bool:
        """Whether nothing but reshapes and softmax-like operations follow."""
        return all(
            user.op_type in FOLLOWERS and self._ends(user) for name in node.output for user in self.users.get(name, [])
        )

    def _before(self, name: str) -> str:
        """The tensor before what is left out on the way to an output; the output itself where nothing is."""
        producer = {output: node for node in self.skipped for output in node.output}
        while name in producer:
            name = next(n for n in producer[name].input if n in producer or n not in self.constants)
        return name
    def _compares_channels(self, node: onnx.NodeProto, rank: int) -> None:
        """Refuses a softmax or argmax that compares one image with others."""
        if node.op_type not in CLASSIFIERS:
            return
        newest = max((o.version for o in self.model.opset_import if o.domain in reference.STANDARD_DOMAINS), default=1)
        usual = 0 if node.op_type == "ArgMax" else -1 if newest >= 13 else 1
        axis = next((a.i for a in node.attribute if a.name == "axis"), usual)
        if rank and axis % rank == 0:
            raise refusal(node, "it compares the images of a batch with each other; give it the axis of classes, 1")

    def _layer_name(self, node: onnx.NodeProto) -> str:
        """`layer1.0.conv1`: the stem of the weights' name where an exporter kept it, else the node's own name."""
        weights = node.input[1] if node.op_type in ("Conv", "Gemm", "MatMul") and len(node.input) > 1 else ""
        if weights.endswith(".weight"):
            return weights.removesuffix(".weight")
        return node.name.strip("/").removesuffix(f"/{node.op_type}").replace("/", ".") or node.output[0]

    def _check(self, graph: Graph, declared: Image | None, heads: Sequence[Head]) -> None:
        """Run the file's operations and the graph on random numbers in float64."""
        rng = np.random.default_rng(0)
        if graph.image is None:
            images = fed = rng.normal(size=(self.sizes[0], *graph.shape))
        else:
            codes = rng.integers(graph.image.first, 2**graph.image.bits, (self.sizes[0], *graph.shape))
            column = (1, -1, 1, 1)
            images = codes * np.reshape(graph.image.scale, column) + np.reshape(graph.image.offset, column)
            fed = images if declared is None else codes.astype(np.float64)
        found = graph.run(images)
        if graph.arrangement is not None:
            fed = graph.arrangement.undo(fed)
        model = self.model
        if self.skipped:
            model = onnx.ModelProto.FromString(model.SerializeToString())
            for info in model.graph.output:
                info.name = self._before(info.name)
        try:
            results: Any = reference.evaluator(model).run(None, {self.input: fed.reshape(self.sizes)})
        except Exception as error:
            raise OneSpikeError(
                f"{self.path} cannot be run by onnx.reference ({_first_line(error)}); export it again."
            ) from None
        off = 0.0
        for wanted, given in zip(results, given_by(graph, heads, found), strict=True):
            exact = np.asarray(wanted, np.float64)
            if not np.isfinite(exact).all():
                raise OneSpikeError(f"{self.path} answers NaN or infinite values for random numbers; export it again.")
            if exact.size != given.size:
                raise OneSpikeError(
                    f"{self.path} gives {list(exact.shape)} for an input of {list(self.sizes)}, which mixes the images "
                    f"of a batch; export it with the batch first throughout."
                )
            exact = exact.reshape(given.shape)
            off = max(off, float(np.abs(given - exact).max() / max(np.abs(exact).max(), 1e-300)))
        if not off < TOLERANCE:
            raise OneSpikeError(
                f"The imported graph differs from {self.path} by {off:.1e} of its largest logit, more than "
                f"{TOLERANCE:.0e}; please report this network."
            )


def _plain(value: Any) -> Any:
    """An attribute's value, texts decoded."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _channels(model: onnx.ModelProto) -> dict[str, int]:
    """Channels of every map whose shape the file tells; they only weigh what is stored."""
    try:
        known = onnx.shape_inference.infer_shapes(model).graph.value_info
    except Exception:  # a damaged file is refused where it is read
        return {}
    dims = {info.name: info.type.tensor_type.shape.dim for info in known}
    return {name: int(found[1].dim_value) for name, found in dims.items() if len(found) > 2}


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes on which the output depends, in their order."""
    wanted, nodes = {info.name for info in graph.output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def _any_order(node: onnx.NodeProto, inputs: list[Any]) -> bool:
    """Whether an operation does not mind in which order the places of a map are."""
    if node.op_type in SCALED:
        return all(np.size(value) == 1 for value in inputs[1:] if value is not None)
    return node.op_type in ANY_ORDER


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
