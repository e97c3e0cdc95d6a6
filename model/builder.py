# SPDX-License-Identifier: Apache-2.0
"""The builder of a graph: activations and pools turn the sums of `affine` into its nodes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from .affine import NO_PADDING, Padding, Rounding, Value, plain, plus, scale
from .compose import averaged, before, behind, uncropped
from .errors import OneSpikeError
from .graph import Graph, Node, Staircase, Term, tidy
from .spec import INPUT, Image, Pool

MAX_TERMS = 16  # tensors that one layer can read: `EngineConfig.segments`


@dataclass(kw_only=True)
class Builder:
    """Collects the nodes that activations and pools make.

    shape: (C, H, W) of the image. shapes: of every tensor so far. zero: what padding of the image stands for. pooled,
    ones: nodes that were made already, by what they hold. image: the codes of the pixels, where the network says so.
    """

    shape: tuple[int, int, int]
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    zero: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    pooled: dict[tuple[str, Pool], str] = field(default_factory=dict)
    ones: dict[tuple[int, int], str] = field(default_factory=dict)
    image: Image | None = None

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
        if len(value.terms) > MAX_TERMS:
            raise OneSpikeError(
                f"it depends on {len(value.terms)} tensors without a ReLU of their own, more than the {MAX_TERMS} that "
                f"one layer can read; put a ReLU behind some of the additions or concatenations before it"
            )
        terms = tuple(uncropped(term) for term in value.terms)
        node = Node(name=name, terms=terms, bias=value.bias, where=where, **options)  # type: ignore[arg-type]
        height, width = unpooled
        if node.pool is not None:
            windows = node.pool.windows(height, width)
            height, width = len(windows[0]), len(windows[1])
        self.nodes.append(node)
        self.shapes[name] = (value.shape[0], height, width)
        return dataclasses.replace(self.read(name, value.origin), flat=value.flat, view=value.view)

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
        plain(dataclasses.replace(value, padding=NO_PADDING), "a convolution")
        top, bottom, left, right = padding = plus(padding, value.padding)
        _, height, width = value.shape
        kernel_h, kernel_w = weights.shape[2:]
        out_h = (height + top + bottom - dilation[0] * (kernel_h - 1) - 1) // stride[0] + 1
        out_w = (width + left + right - dilation[1] * (kernel_w - 1) - 1) // stride[1] + 1
        terms = []
        if value.pointwise and any(self._neighbours(t, value.shape[1:], padding) for t in value.terms):
            value = self._copied(value)
        if any(padding) and self._padded(value):
            # Zeros around a map with an offset: the offset is there only where the map is.
            constant = (weights * value.bias[:, None, None]).sum(1, keepdims=True)
            ones = self._ones(value)
            terms.append(Term(tensor=ones, weights=constant, stride=stride, padding=padding, dilation=dilation))
        else:
            bias = bias + weights.sum((2, 3)) @ value.bias
        if value.pointwise:
            terms += [self._on_places(t, weights, (out_h, out_w), stride, (top, left), dilation) for t in value.terms]
        else:
            terms += [behind(t, weights, stride, dilation) for t in value.terms]
        return Value(shape=(len(bias), out_h, out_w), terms=tuple(terms), bias=bias, origin=origin)

    def _on_places(
        self,
        term: Term,
        weights: np.ndarray,
        size: tuple[int, int],
        stride: tuple[int, int],
        first: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Term:
        """`weights` on a map made of single places of a tensor, perhaps strided or cropped; the result has `size`.

        first: rows and columns of padding in front.
        """
        steps, gaps, around = [], [], []
        for axis in (0, 1):
            taps, inner, full = weights.shape[2 + axis], term.stride[axis], self.shapes[term.tensor][1 + axis]
            step, gap = stride[axis] * inner, dilation[axis] * inner if taps > 1 else 1
            front = first[axis] * inner + term.padding[2 * axis]
            missing = (size[axis] - 1) * step + (taps - 1) * gap + 1 - front - full
            # Places behind the last one read need cropping only where they make up another step.
            around += [front, missing if missing >= 0 else min(0, missing + step - 1)]
            steps.append(step)
            gaps.append(gap)
        return Term(
            tensor=term.tensor,
            weights=weights if term.identity else before(weights, term.weights[:, :, 0, 0]),
            stride=(steps[0], steps[1]),
            padding=(around[0], around[1], around[2], around[3]),
            dilation=(gaps[0], gaps[1]),
        )

    def _neighbours(self, term: Term, size: tuple[int, ...], padding: Padding) -> bool:
        """Whether padding of a cropped map of `size`, which should hold zeros, would show what was cropped."""
        for axis in (0, 1):
            first, step = -term.padding[2 * axis], term.stride[axis]
            last = first + (size[axis] - 1) * step
            if (padding[2 * axis] and first >= step) or (
                padding[2 * axis + 1] and last + step < self.shapes[term.tensor][1 + axis]
            ):
                return True
        return False

    def _copied(self, value: Value) -> Value:
        """The same with a tensor of its own for every map that is strided or cropped."""
        terms = []
        for term in value.terms:
            if not term.whole:
                channels = self.shapes[term.tensor][0]
                part = dataclasses.replace(term, weights=np.eye(channels)[:, :, None, None])
                copy = Value(shape=(channels, *value.shape[1:]), terms=(part,), bias=np.zeros(channels))
                copy = self._node(copy, f"{term.tensor}.part", "", unpooled=value.shape[1:], exact=True)
                term = dataclasses.replace(copy.terms[0], weights=term.weights)
            terms.append(term)
        return dataclasses.replace(value, terms=tuple(terms))

    def _ones(self, value: Value) -> str:
        """A tensor of ones, one channel, as large as the map `value`, which is made of single places."""
        size = value.shape[1:]
        if size not in self.ones:
            like = value.terms[0]
            nothing = dataclasses.replace(like, weights=np.zeros((1, like.weights.shape[1], 1, 1)))
            one = Value(shape=(1, *size), terms=(nothing,), bias=np.ones(1))
            single = Staircase(step=np.ones(1), groups=1, rounding="floor")
            self.ones[size] = self._node(one, "ones", "", unpooled=size, staircase=single).terms[0].tensor
        return self.ones[size]

    def _padded(self, value: Value) -> bool:
        """Padding puts zeros around `value`: note what that means for the image where `value` is a scaled image.

        True where it cannot hold for all of them, so that an offset must be told where the map is.
        """
        if not value.pointwise:
            raise OneSpikeError("padding follows a convolution or linear layer without a ReLU between them")
        if all(term.tensor != INPUT for term in value.terms):
            return bool(value.bias.any())
        matrix = value.terms[0].weights[:, :, 0, 0]
        diagonal = np.diag(matrix)
        square = matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.diag(diagonal))
        if len(value.terms) > 1 or not square or not diagonal.all():
            self._zero(np.zeros(self.shape[0]))
            return bool(value.bias.any())
        self._zero(-value.bias / diagonal)
        return False

    def _zero(self, zero: np.ndarray) -> None:
        """Padding of the image stands for `zero`."""
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
        if value.averages is not None:
            plain(value, "an activation")
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

    def quantise_image(self, value: Value, step: np.ndarray, zero: float, low: int, high: int) -> Value:
        """The pixels' codes, from a quantised (normalised) image: value = step * (code + low - zero)."""
        matrix = value.terms[0].weights[:, :, 0, 0]
        diagonal = np.diag(matrix)
        if not value.terms[0].whole or not np.array_equal(matrix, np.diag(diagonal)) or (diagonal <= 0).any():
            raise OneSpikeError("only the plain or normalised image can be quantised")
        bits = (high - low).bit_length()
        if high - low + 1 != 1 << bits or bits > 8:
            raise OneSpikeError(f"the image has {high - low + 1} levels; use 2, 4, 8 .. 256")
        scale, offset = step / diagonal, ((low - zero) * step - value.bias) / diagonal
        image = Image(shape=self.shape, bits=bits, scale=tuple(scale), offset=tuple(offset))
        same = self.image is None or (self.image.bits, self.image.scale, self.image.offset) == (
            image.bits, image.scale, image.offset
        )  # fmt: skip
        if not same:
            raise OneSpikeError("the image is quantised twice, in different steps")
        self.image = image
        return value

    def round(self, value: Value, kind: str) -> Value:
        """The value rounded to whole numbers, "floor" or "half even"; it waits for its clamp."""
        plain(value, "rounding")
        if value.rounding is not None:
            raise OneSpikeError("it rounds what was rounded already; clamp between the two")
        rounding = Rounding(kind=kind, unit=np.ones(value.shape[0]), positive=value.unsigned)
        return dataclasses.replace(value, rounding=rounding)

    def clamp_rounded(self, value: Value, top: float | None, where: str) -> Value:
        """clip(value, 0, top) of a rounded value: a staircase."""
        assert value.rounding is not None
        if top is None:
            return dataclasses.replace(value, rounding=dataclasses.replace(value.rounding, positive=True))
        levels = np.unique(np.round(top / value.rounding.unit, 6))
        if levels.size > 1 or levels[0] != np.rint(levels[0]) or levels[0] < 1:
            raise OneSpikeError(
                f"it clamps to {levels[0]:g} steps; a spike count ends at a whole number, the same in all channels"
            )
        return self._climb(value, int(levels[0]), where)

    def clamped(self, value: Value, where: str) -> Value:
        """The value without a rounding that waits: its range must follow from what it was rounded from."""
        if value.rounding is None:
            return value
        ceilings = {node.name: _ceiling(node) for node in self.nodes}
        low = high = value.bias
        for term in value.terms:
            ceiling = ceilings.get(term.tensor)
            if ceiling is None or not term.pointwise:
                raise OneSpikeError(
                    "it rounds without a clamp; add clamp(0, 2**bits - 1) behind the rounding, or a clamp before it"
                )
            weights = term.weights[:, :, 0, 0]
            low, high = low + np.minimum(weights, 0) @ ceiling, high + np.maximum(weights, 0) @ ceiling
        nearest = 0.5 if value.rounding.kind == "half even" else 0.0
        tops = np.unique(np.floor(high + nearest + 1e-9))
        signed = (low + nearest < -1e-9).any() and not value.rounding.positive
        if tops.size > 1 or tops[0] < 1 or signed:
            raise OneSpikeError(
                f"it rounds to {np.floor(low.min() + nearest):g}..{tops[-1]:g}; a spike count begins at 0 and ends at "
                f"the same number in all channels"
            )
        return self._climb(value, int(tops[0]), where)

    def _climb(self, value: Value, groups: int, where: str) -> Value:
        """unit * clip(round(value), 0, groups); in steps of the tensor itself where it is only scaled."""
        assert value.rounding is not None
        kind, unit, term = value.rounding.kind, value.rounding.unit, value.terms[0]
        value = dataclasses.replace(value, rounding=None)
        if kind == "floor" and (value.bias == 0.5).all():
            value, kind = dataclasses.replace(value, bias=np.zeros_like(value.bias)), "half up"
        diagonal = np.diag(term.weights[:, :, 0, 0])
        scaled = len(value.terms) == 1 and term.whole and term.weights.shape[0] == term.weights.shape[1]
        if scaled and np.array_equal(term.weights[:, :, 0, 0], np.diag(diagonal)) and (diagonal > 0).all():
            value, unit = scale(value, 1 / diagonal, 0.0), unit * diagonal
        else:
            diagonal = np.ones(value.shape[0])
        # Dividing and multiplying must meet the same number again, or the tensor is not seen as itself.
        term = value.terms[0]
        if scaled and np.allclose(term.weights[:, :, 0, 0], np.eye(len(diagonal)), rtol=0, atol=1e-12):
            plain = dataclasses.replace(term, weights=np.eye(len(diagonal))[:, :, None, None])
            value = dataclasses.replace(value, terms=(plain,))
        stairs = Staircase(step=1 / diagonal, groups=groups, rounding=kind)
        return scale(self.quantise(value, stairs, where), unit, 0.0)

    def max_pool(self, value: Value, pool: Pool, where: str) -> Value:
        """The maximum of every window; over signed values it waits for the ReLU, with which it commutes."""
        if value.pool is not None:
            raise OneSpikeError("two max pools over signed values need a ReLU between them")
        if value.averages is not None:
            plain(value, "a max pool")
        if any(value.padding):
            if not value.unsigned or value.bias.any():
                raise OneSpikeError(
                    "a max pool over signed, padded values is not supported; put the ReLU before the pool"
                )
            pool = dataclasses.replace(pool, padding=plus(pool.padding, value.padding))
        if value.pointwise and all((term.weights >= 0).all() for term in value.terms) and not value.mixes:
            return self._pool_tensors(self._copied(value), pool, 1.0, where)
        if value.unsigned:
            return self._node(value, f"{value.origin}.sum", where, unpooled=value.shape[1:], pool=pool)
        rows_, columns = pool.windows(*value.shape[1:])
        return dataclasses.replace(value, shape=(value.shape[0], len(rows_), len(columns)), pool=pool)

    def average_pool(self, value: Value, pool: Pool, divisor: float, where: str) -> Value:
        """Window sums over `divisor`: of the tensors where the value is made of plain tensors, else in the kernel."""
        if value.pool is not None:
            raise OneSpikeError("an average pool after a max pool over signed values needs a ReLU between them")
        if value.averages is not None:
            plain(value, "an average pool")
        pool = dataclasses.replace(pool, padding=plus(pool.padding, value.padding))
        value = dataclasses.replace(value, padding=NO_PADDING)
        spans = pool.windows(*value.shape[1:])
        shape = (value.shape[0], len(spans[0]), len(spans[1]))
        clipped = any(len(r) < k for axis, k in zip(spans, pool.kernel, strict=True) for r in axis)
        apart = all(step >= size for step, size in zip(pool.stride, pool.kernel, strict=True))
        bias = value.bias * (pool.kernel[0] * pool.kernel[1] / divisor)
        if not value.pointwise:
            if clipped:
                raise OneSpikeError("an average pool with padding over signed values needs a ReLU before it")
            terms = tuple(averaged(term, pool.kernel, pool.stride, divisor) for term in value.terms)
            return dataclasses.replace(value, shape=shape, terms=terms, bias=bias)
        value = self._copied(value)
        if apart and not clipped:
            return dataclasses.replace(self._pool_tensors(value, pool, divisor, where), bias=bias)
        # Windows that overlap or reach past the map are sums of a kernel of ones; padding adds nothing.
        summed = self._pool_tensors(value, pool, divisor, where, kernel=True)
        if clipped and self._padded(value):
            constant = value.bias.reshape(-1, 1, 1, 1) * np.full((1, 1, *pool.kernel), 1 / divisor)
            part = Term(tensor=self._ones(value), weights=constant, stride=pool.stride, padding=pool.padding)
            return dataclasses.replace(summed, terms=(*summed.terms, part), bias=0 * bias)
        return dataclasses.replace(summed, bias=bias)

    def uneven_pool(self, value: Value, rows_: np.ndarray, columns: np.ndarray) -> Value:
        """Averages over windows of different sizes: rows_ [H', H] and columns [W', W] hold the shares.

        Only a linear layer over the whole map can take them into its weights.
        """
        plain(value, "an average over uneven windows")
        return dataclasses.replace(value, shape=(value.shape[0], len(rows_), len(columns)), averages=(rows_, columns))

    def _pool_tensors(self, value: Value, pool: Pool, divisor: float, where: str, *, kernel: bool = False) -> Value:
        """Every tensor pooled, by a kernel of ones if `kernel`."""
        if pool == Pool(kind=pool.kind, kernel=(1, 1), stride=(1, 1)):
            return dataclasses.replace(value, padding=NO_PADDING)
        terms, shape = [], value.shape
        for term in value.terms:
            key = (term.tensor, pool)
            if key not in self.pooled:
                tensor = self.read(term.tensor)
                size, options = tensor.shape[1:], {"pool": pool}
                if kernel:
                    ones = np.eye(tensor.shape[0])[:, :, None, None] * np.ones((1, 1, *pool.kernel))
                    total = Term(tensor=term.tensor, weights=ones, stride=pool.stride, padding=pool.padding)
                    size, options = total.output_shape(*size), {}
                    tensor = dataclasses.replace(tensor, terms=(total,))
                tensor = self._node(tensor, f"{term.tensor}.pool", where, unpooled=size, exact=True, **options)
                self.pooled[key] = tensor.terms[0].tensor
            terms.append(dataclasses.replace(term, tensor=self.pooled[key], weights=term.weights / divisor))
            shape = (value.shape[0], *self.shapes[self.pooled[key]][1:])
        return dataclasses.replace(value, shape=shape, terms=tuple(terms), padding=NO_PADDING)

    def finish(self, value: Value, where: str) -> Graph:
        """The graph whose last node gives `value`."""
        if value.pool is not None or any(value.padding):
            raise OneSpikeError("the network must end with a convolution or linear layer, not with a pool or padding")
        plain(value, "the end of the network")
        value = self.clamped(value, where)
        if value.view is not None:
            raise OneSpikeError("the network ends with a reshape or permute that changes the order of its outputs")
        if len(value.terms) == 1 and value.terms[0].identity and not value.bias.any():
            if value.terms[0].tensor == INPUT:
                raise OneSpikeError("the network has no convolution or linear layer")
            raise OneSpikeError(
                "the network must end with a convolution or linear layer, not with an activation or pool"
            )
        self._node(value, value.origin, where, unpooled=value.shape[1:], fires=False)
        zero = () if self.zero is None else tuple(float(z) for z in self.zero)
        return tidy(
            Graph(shape=self.shape, nodes=tuple(self.nodes), pad=zero, image=self.image, notes=tuple(self.notes))
        )


def _ceiling(node: Node) -> np.ndarray | None:
    """The largest value of each channel of a node's tensor, where it is known."""
    if node.exact or (node.pool is not None and node.pool.kind == "sum"):
        return None
    if node.staircase is not None:
        return node.staircase.step * node.staircase.groups
    return None if node.ceiling is None else np.full(node.channels, node.ceiling)
