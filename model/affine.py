# SPDX-License-Identifier: Apache-2.0
"""What an operation of the user's network means before its activation: a sum of kernels over tensors, plus a bias.

The importer walks the user's operations with `Value`s. Convolution, batch norm, addition, concatenation, slicing,
scaling and average pooling only rewrite the sum, exactly; a ReLU turns it into a `Node` of the graph. So residual
additions become further terms, re-parameterised branches merge into one kernel, and a normalised input ends in the
first weights, all by the same few rules.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from .errors import OneSpikeError
from .graph import Graph, Node, Staircase, Term, tidy
from .spec import INPUT, Pool

Padding = tuple[int, int, int, int]  # top, bottom, left, right
NO_PADDING: Padding = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Value:
    """bias + sum of terms, shape (C, H, W).

    padding: zeros still to be put around the map (top, bottom, left, right). pool: a maximum still to be taken, which
    the following ReLU takes along. flat: whether the user sees (C * H * W) in one axis. origin: the last convolution
    or linear layer, which names the node.
    """

    shape: tuple[int, int, int]
    terms: tuple[Term, ...]
    bias: np.ndarray
    padding: Padding = NO_PADDING
    pool: Pool | None = None
    flat: bool = False
    origin: str = ""

    @property
    def pointwise(self) -> bool:
        return all(term.pointwise for term in self.terms)

    @property
    def mixes(self) -> bool:
        """Whether some channel adds several tensors or channels."""
        return not self.pointwise or bool(np.max(sum((t.weights[:, :, 0, 0] != 0).sum(1) for t in self.terms)) > 1)

    @property
    def unsigned(self) -> bool:
        """Whether the value cannot be negative: non-negative mixtures of activations."""
        return (
            self.pointwise
            and self.pool is None
            and bool((self.bias >= 0).all())
            and all(term.tensor != INPUT and bool((term.weights >= 0).all()) for term in self.terms)
        )


def _plain(value: Value, what: str) -> None:
    if value.pool is not None:
        raise OneSpikeError(f"{what} after a max pool needs a ReLU between them")
    if any(value.padding):
        raise OneSpikeError(f"{what} after padding is not supported; pad right before a convolution or a pool")


def scale(value: Value, factor: ArrayLike, offset: ArrayLike) -> Value:
    """factor * value + offset, per channel."""
    channels = value.shape[0]
    factor = np.broadcast_to(np.asarray(factor, np.float64), channels)
    offset = np.broadcast_to(np.asarray(offset, np.float64), channels)
    if value.pool is not None and (factor <= 0).any():
        raise OneSpikeError("a max pool followed by a factor that is not positive does not fold; put the ReLU first")
    if any(value.padding) and offset.any():
        raise OneSpikeError("an offset after padding is not supported; pad right before a convolution or a pool")
    terms = tuple(dataclasses.replace(t, weights=t.weights * factor[:, None, None, None]) for t in value.terms)
    return dataclasses.replace(value, terms=terms, bias=value.bias * factor + offset)


def add(left: Value, right: Value) -> Value:
    """left + right, terms on the same tensor merged where one kernel covers the other."""
    for value in (left, right):
        _plain(value, "an addition")
    if left.shape != right.shape or left.flat != right.flat:
        raise OneSpikeError(f"the added maps have different shapes, {left.shape} and {right.shape}")
    terms = list(left.terms)
    for term in right.terms:
        for index, other in enumerate(terms):
            if (merged := _merge(other, term) or _merge(term, other)) is not None:
                terms[index] = merged
                break
        else:
            terms.append(term)
    origin = left.origin if not left.pointwise or right.pointwise else right.origin
    return dataclasses.replace(left, terms=tuple(terms), bias=left.bias + right.bias, origin=origin)


def _merge(large: Term, small: Term) -> Term | None:
    """One term for both, or None: the taps of `small` must be taps of `large`."""
    if large.tensor != small.tensor or large.stride != small.stride:
        return None
    places = []
    for axis in (0, 1):
        size, count = large.weights.shape[2 + axis], small.weights.shape[2 + axis]
        gap, pad = large.dilation[axis], large.padding[2 * axis]
        offsets = [i * small.dilation[axis] - small.padding[2 * axis] + pad for i in range(count)]
        if any(offset % gap or not 0 <= offset // gap < size for offset in offsets):
            return None
        places.append([offset // gap for offset in offsets])
    weights = large.weights.copy()
    weights[:, :, np.array(places[0])[:, None], np.array(places[1])] += small.weights
    return dataclasses.replace(large, weights=weights)


def rows(value: Value, matrix: np.ndarray) -> Value:
    """matrix [channels, old channels] applied to the channels: selection, reordering, zero channels."""
    if value.pool is not None:
        raise OneSpikeError("a max pool needs its ReLU before channels are selected")
    terms = tuple(dataclasses.replace(t, weights=np.tensordot(matrix, t.weights, 1)) for t in value.terms)
    return dataclasses.replace(value, shape=(len(matrix), *value.shape[1:]), terms=terms, bias=matrix @ value.bias)


def concatenate(values: list[Value]) -> Value:
    """Channels of all values, one after the other."""
    total = sum(value.shape[0] for value in values)
    result, start = None, 0
    for value in values:
        matrix = np.zeros((total, value.shape[0]))
        matrix[start : start + value.shape[0]] = np.eye(value.shape[0])
        start += value.shape[0]
        spread = rows(value, matrix)
        result = spread if result is None else add(result, spread)
    assert result is not None
    return result


def subsample(value: Value, step: tuple[int, int]) -> Value:
    """Every step-th row and column, from the first."""
    _plain(value, "slicing")
    _, height, width = value.shape
    terms = tuple(dataclasses.replace(t, stride=(t.stride[0] * step[0], t.stride[1] * step[1])) for t in value.terms)
    shape = (value.shape[0], (height - 1) // step[0] + 1, (width - 1) // step[1] + 1)
    return dataclasses.replace(value, shape=shape, terms=terms)


def pad(value: Value, padding: Padding) -> Value:
    """Zeros around the map: taken along by the convolution or pool that follows."""
    if value.pool is not None:
        raise OneSpikeError("padding after a max pool needs a ReLU between them")
    if min(padding) < 0:
        raise OneSpikeError(f"negative padding {padding} (cropping) is not supported")
    return dataclasses.replace(value, padding=_plus(value.padding, padding))


def _plus(left: Padding, right: Padding) -> Padding:
    return left[0] + right[0], left[1] + right[1], left[2] + right[2], left[3] + right[3]


@dataclass(kw_only=True)
class Builder:
    """Collects the nodes that activations and pools make.

    shape: (C, H, W) of the image. shapes: of every tensor so far. zero: what padding of the image stands for.
    """

    shape: tuple[int, int, int]
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    zero: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    pooled: dict[tuple[str, Pool], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes[INPUT] = self.shape

    def read(self, tensor: str, origin: str = "") -> Value:
        """The tensor itself."""
        channels = self.shapes[tensor][0]
        identity = np.eye(channels).reshape(channels, channels, 1, 1)
        term = Term(tensor=tensor, weights=identity)
        return Value(shape=self.shapes[tensor], terms=(term,), bias=np.zeros(channels), origin=origin)

    def _node(self, value: Value, name: str, where: str, *, unpooled: tuple[int, int], **options: object) -> Value:
        name, stem, count = name or "layer", name or "layer", 1
        while name in self.shapes:
            count += 1
            name = f"{stem}_{count}"
        node = Node(name=name, terms=value.terms, bias=value.bias, where=where, **options)  # type: ignore[arg-type]
        height, width = unpooled
        if node.pool is not None:
            windows = node.pool.windows(height, width)
            height, width = len(windows[0]), len(windows[1])
        self.nodes.append(node)
        self.shapes[name] = (value.shape[0], height, width)
        return dataclasses.replace(self.read(name, value.origin), flat=value.flat)

    def convolve(
        self,
        value: Value,
        weights: np.ndarray,
        bias: np.ndarray,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: Padding = NO_PADDING,
        dilation: tuple[int, int] = (1, 1),
        origin: str = "",
    ) -> Value:
        """A convolution of `value`: weights float64 [O, C, kh, kw], bias float64 [O]."""
        if value.pool is not None:
            raise OneSpikeError("a max pool over signed values needs a ReLU before the next layer")
        top, bottom, left, right = padding = _plus(padding, value.padding)
        _, height, width = value.shape
        kernel_h, kernel_w = weights.shape[2:]
        out_h = (height + top + bottom - dilation[0] * (kernel_h - 1) - 1) // stride[0] + 1
        out_w = (width + left + right - dilation[1] * (kernel_w - 1) - 1) // stride[1] + 1
        if any(padding):
            self._padded(value)
        bias = bias + weights.sum((2, 3)) @ value.bias
        if value.pointwise:
            terms = []
            for t in value.terms:
                step_y, step_x = t.stride
                full_h, full_w = self.shapes[t.tensor][1:]
                # A subsampled map: its neighbours lie `step` apart in the tensor itself.
                below = max(0, (height - 1 + bottom) * step_y - (full_h - 1)) if step_y > 1 else bottom
                beside = max(0, (width - 1 + right) * step_x - (full_w - 1)) if step_x > 1 else right
                terms.append(
                    Term(
                        tensor=t.tensor,
                        weights=weights if t.identity else _before(weights, t.weights[:, :, 0, 0]),
                        stride=(stride[0] * step_y, stride[1] * step_x),
                        padding=(top * step_y, below, left * step_x, beside),
                        dilation=(
                            dilation[0] * step_y if kernel_h > 1 else 1,
                            dilation[1] * step_x if kernel_w > 1 else 1,
                        ),
                    )
                )
        elif (kernel_h, kernel_w) == (1, 1) and not any(padding):
            terms = [
                dataclasses.replace(
                    t,
                    weights=np.tensordot(weights[:, :, 0, 0], t.weights, 1),
                    stride=(t.stride[0] * stride[0], t.stride[1] * stride[1]),
                )
                for t in value.terms
            ]
        else:
            raise OneSpikeError("it follows another convolution or linear layer without a ReLU between them")
        return Value(shape=(len(bias), out_h, out_w), terms=tuple(terms), bias=bias, origin=origin)

    def _padded(self, value: Value) -> None:
        """Padding puts zeros around `value`; note what that means for the image where `value` is a scaled image."""
        if not value.pointwise:
            raise OneSpikeError("padding follows a convolution or linear layer without a ReLU between them")
        if all(term.tensor != INPUT for term in value.terms):
            if value.bias.any():
                raise OneSpikeError("padding follows an offset, so that its zeros would be shifted; apply a ReLU first")
            return
        matrix = value.terms[0].weights[:, :, 0, 0]
        diagonal = np.diag(matrix)
        square = matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.diag(diagonal))
        if len(value.terms) > 1 or not square or not diagonal.all():
            raise OneSpikeError(
                "padding follows a mixture of image channels; pad the plain or normalised image instead"
            )
        zero = -value.bias / diagonal
        if self.zero is not None and not np.allclose(zero, self.zero, rtol=1e-12, atol=1e-12):
            raise OneSpikeError("the image is padded twice with different normalisations")
        self.zero = zero

    def activate(self, value: Value, ceiling: float | None, where: str) -> Value:
        """clip(value, 0, ceiling), with the maximum still to be taken."""
        if any(value.padding):
            bare = self.activate(dataclasses.replace(value, padding=NO_PADDING), ceiling, where)
            return dataclasses.replace(bare, padding=value.padding)
        if ceiling is None and value.unsigned and not value.mixes:
            return value
        term = value.terms[0]
        unpooled = term.output_shape(*self.shapes[term.tensor][1:])
        return self._node(value, value.origin, where, unpooled=unpooled, ceiling=ceiling, pool=value.pool)

    def quantise(self, value: Value, staircase: Staircase, where: str) -> Value:
        """The staircase of the value; a value that has climbed the same already stays as it is."""
        if any(value.padding):
            bare = self.quantise(dataclasses.replace(value, padding=NO_PADDING), staircase, where)
            return dataclasses.replace(bare, padding=value.padding)
        term = value.terms[0]
        if len(value.terms) == 1 and term.identity and not value.bias.any() and value.pool is None:
            made = {node.name: node for node in self.nodes}
            before = made.get(term.tensor)
            while before is not None and before.exact and before.pool is not None and before.pool.kind == "max":
                before = made.get(before.terms[0].tensor)
            if before is not None and staircase.same(before.staircase):
                return value
        unpooled = term.output_shape(*self.shapes[term.tensor][1:])
        return self._node(value, value.origin, where, unpooled=unpooled, staircase=staircase, pool=value.pool)

    def max_pool(self, value: Value, pool: Pool, where: str) -> Value:
        """The maximum of every window; over signed values it waits for the ReLU, with which it commutes."""
        if value.pool is not None:
            raise OneSpikeError("two max pools over signed values need a ReLU between them")
        if any(value.padding):
            if not value.unsigned or value.bias.any():
                raise OneSpikeError(
                    "a max pool over signed, padded values is not supported; put the ReLU before the pool"
                )
            pool = dataclasses.replace(pool, padding=_plus(pool.padding, value.padding))
        positive = all((term.weights >= 0).all() and term.stride == (1, 1) for term in value.terms)
        if positive and not value.mixes:
            return self._pool_tensors(value, pool, 1.0, where)
        if value.unsigned:
            return self._node(value, f"{value.origin}.sum", where, unpooled=value.shape[1:], pool=pool)
        rows_, columns = pool.windows(*value.shape[1:])
        return dataclasses.replace(value, shape=(value.shape[0], len(rows_), len(columns)), pool=pool)

    def average_pool(self, value: Value, pool: Pool, divisor: float, where: str) -> Value:
        """Window sums over `divisor`: of the tensors where the value is made of plain tensors, else in the kernel."""
        if value.pool is not None:
            raise OneSpikeError("an average pool after a max pool over signed values needs a ReLU between them")
        if any(value.padding):
            if value.bias.any():
                raise OneSpikeError("an average pool over padded values with an offset is not supported")
            pool = dataclasses.replace(pool, padding=_plus(pool.padding, value.padding))
        height, width = value.shape[1:]
        spans = pool.windows(height, width)
        window = pool.kernel[0] * pool.kernel[1]
        clipped = any(len(r) < k for axis, k in zip(spans, pool.kernel, strict=True) for r in axis)
        if clipped and (value.bias.any() or any(t.tensor == INPUT for t in value.terms) or not value.pointwise):
            raise OneSpikeError("an average pool with padding needs a plain activation before it")
        if value.pointwise and all(term.stride == (1, 1) for term in value.terms):
            pooled = self._pool_tensors(value, pool, divisor, where)
            return dataclasses.replace(pooled, bias=value.bias * window / divisor)
        if clipped or any(term.dilation != (1, 1) for term in value.terms):
            raise OneSpikeError("an average pool over signed values needs a ReLU before it")
        terms = tuple(_average_kernel(term, pool, divisor) for term in value.terms)
        shape = (value.shape[0], len(spans[0]), len(spans[1]))
        bias = value.bias * window / divisor
        return dataclasses.replace(value, shape=shape, terms=terms, bias=bias, padding=NO_PADDING)

    def _pool_tensors(self, value: Value, pool: Pool, divisor: float, where: str) -> Value:
        if pool == Pool(kind=pool.kind, kernel=(1, 1), stride=(1, 1)):
            return value
        terms, shape = [], value.shape
        for term in value.terms:
            key = (term.tensor, pool)
            if key not in self.pooled:
                tensor = self.read(term.tensor)
                name = f"{term.tensor}.pool"
                tensor = self._node(tensor, name, where, unpooled=tensor.shape[1:], pool=pool, exact=True)
                self.pooled[key] = tensor.terms[0].tensor
            terms.append(dataclasses.replace(term, tensor=self.pooled[key], weights=term.weights / divisor))
            shape = (value.shape[0], *self.shapes[self.pooled[key]][1:])
        return dataclasses.replace(value, shape=shape, terms=tuple(terms), padding=NO_PADDING)

    def finish(self, value: Value, where: str) -> Graph:
        """The graph whose last node gives `value`."""
        if value.pool is not None or any(value.padding):
            raise OneSpikeError("the network must end with a convolution or linear layer, not with a pool or padding")
        if len(value.terms) == 1 and value.terms[0].identity and not value.bias.any():
            if value.terms[0].tensor == INPUT:
                raise OneSpikeError("the network has no convolution or linear layer")
            raise OneSpikeError(
                "the network must end with a convolution or linear layer, not with an activation or pool"
            )
        self._node(value, value.origin, where, unpooled=value.shape[1:], fires=False)
        zero = () if self.zero is None else tuple(float(z) for z in self.zero)
        return tidy(Graph(shape=self.shape, nodes=tuple(self.nodes), pad=zero, notes=tuple(self.notes)))


def _before(weights: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The kernel [O, I, kh, kw] that applies `matrix` [C, I] and then `weights` [O, C, kh, kw]."""
    if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.diag(diagonal := np.diag(matrix))):
        return weights * diagonal[:, None, None]
    return np.tensordot(weights, matrix, (1, 0)).transpose(0, 3, 1, 2)


def _average_kernel(term: Term, pool: Pool, divisor: float) -> Term:
    """One kernel that convolves and then averages: its taps are the shifted copies of the first."""
    out, inner, height, width = term.weights.shape
    (step_y, step_x), (rows_, columns) = term.stride, pool.kernel
    weights = np.zeros((out, inner, height + (rows_ - 1) * step_y, width + (columns - 1) * step_x))
    for y in range(rows_):
        for x in range(columns):
            weights[:, :, y * step_y : y * step_y + height, x * step_x : x * step_x + width] += term.weights / divisor
    stride = (step_y * pool.stride[0], step_x * pool.stride[1])
    return dataclasses.replace(term, weights=weights, stride=stride)
