# SPDX-License-Identifier: Apache-2.0
"""The nodes of a graph that is being built, and tensors that are made to be read again: copies and ones."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np

from ..errors import OneSpikeError
from ..network.spec import INPUT, Image, Pool
from .affine import Value
from .compose import uncropped
from .graph import Node, Staircase, Term
from .own_cost import Work

MAX_CHANNELS, MAX_PLACES = 1 << 14, 1 << 26  # of a map; beyond, nothing that we make could hold it
MAX_TERMS = 16  # tensors that one layer can read: `EngineConfig.segments`
MOST_BESIDE = 8  # tensors side by side that readers read one by one; more are copied into one


@dataclass(kw_only=True)
class Nodes:
    """Collects the nodes that activations and pools make.

    shape: (C, H, W) of the image. shapes: of every tensor so far. zero: what padding of the image stands for. pooled,
    ones, raised: nodes that were made already, by what they hold. image: the codes of the pixels, where the network
    says so. sign: whether sums without a ReLU may be stored with their sign: "auto" (where it is cheaper), True, False.
    signed: tensors with values below 0. kept: sums that were stored; saved: events an image that this saves.
    own: what each of the user's layers multiplies; origins: which of them every node belongs to.
    """

    shape: tuple[int, int, int]
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    zero: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    pooled: dict[tuple[str, Pool], str] = field(default_factory=dict)
    ones: dict[tuple[int, int], str] = field(default_factory=dict)
    raised: dict[tuple[str, tuple[int, int], bool], str] = field(default_factory=dict)
    image: Image | None = None
    sign: bool | str = "auto"
    signed: set[str] = field(default_factory=set)
    kept: list[str] = field(default_factory=list)
    saved: float = 0.0
    own: dict[str, Work] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.shape[0] > MAX_CHANNELS or math.prod(self.shape) > MAX_PLACES or min(self.shape) < 1:
            raise OneSpikeError(
                f"The network takes images of {'x'.join(map(str, self.shape))} (channels, height, width); up to "
                f"{MAX_CHANNELS:,} channels or features and {MAX_PLACES:,} numbers are supported."
            )
        self.shapes[INPUT] = self.shape

    def read(self, tensor: str, origin: str = "") -> Value:
        """The tensor itself."""
        channels = self.shapes[tensor][0]
        identity = np.eye(channels).reshape(channels, channels, 1, 1)
        term = Term(tensor=tensor, weights=identity)
        return Value(shape=self.shapes[tensor], terms=(term,), bias=np.zeros(channels), origin=origin)

    def unsigned(self, value: Value) -> bool:
        """Whether the value cannot be negative: non-negative mixtures of activations that are not."""
        return (
            value.pointwise
            and value.pool is None
            and value.rounding is None
            and bool((value.bias >= 0).all())
            and all(term.tensor not in (INPUT, *self.signed) for term in value.terms)
            and all(bool((term.weights >= 0).all()) for term in value.terms)
        )

    def _node(self, value: Value, name: str, where: str, *, unpooled: tuple[int, int], **options: object) -> Value:
        if value.shape[0] * math.prod(unpooled) > MAX_PLACES or min(unpooled) < 1:
            raise OneSpikeError(
                f"its map of {'x'.join(map(str, (value.shape[0], *unpooled)))} (channels, height, width) is empty or "
                f"holds more than {MAX_PLACES:,} numbers; mend kernel, stride and padding"
            )
        name, stem, count = name or "layer", name or "layer", 1
        while name in self.shapes:
            count += 1
            name = f"{stem}_{count}"
        if len(value.terms) > MAX_TERMS:
            raise OneSpikeError(
                f"it depends on {len(value.terms)} tensors without a ReLU of their own, more than the {MAX_TERMS} that "
                f"one layer can read; put a ReLU behind some of the additions or concatenations before it, or allow "
                f"signed values (signed='auto')"
            )
        terms = tuple(uncropped(term) for term in value.terms)
        node = Node(name=name, terms=terms, bias=value.bias, where=where, **options)  # type: ignore[arg-type]
        height, width = unpooled
        if node.pool is not None:
            windows = node.pool.windows(height, width)
            height, width = len(windows[0]), len(windows[1])
        self.nodes.append(node)
        self.origins[name] = value.origin
        if node.signed or (node.exact and any(term.tensor in self.signed for term in node.terms)):
            self.signed.add(name)
        self.shapes[name] = (value.shape[0], height, width)
        return dataclasses.replace(self.read(name, value.origin), flat=value.flat, view=value.view)

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

    def joined(self, value: Value, where: str) -> Value:
        """A concatenation, as one tensor where it has many that only stand side by side: copied once, not rounded."""
        total = [term.weights[:, :, 0, 0] for term in value.terms]
        beside = all(term.whole and term.tensor != INPUT for term in value.terms)
        waits = value.pool is not None or value.averages is not None or value.rounding is not None or any(value.padding)
        if len(value.terms) <= MOST_BESIDE or not beside or waits:
            return value
        if (sum(np.count_nonzero(matrix, axis=1) for matrix in total) != 1).any():  # sums, or channels of zeros
            return value
        terms = tuple(dataclasses.replace(t, weights=(t.weights != 0).astype(np.float64)) for t in value.terms)
        copies = dataclasses.replace(value, terms=terms, bias=np.zeros_like(value.bias))
        made = self._node(copies, f"{value.origin}.beside", where, unpooled=value.shape[1:], exact=True)
        factor = sum(matrix.sum(1) for matrix in total)
        scaled = dataclasses.replace(made.terms[0], weights=np.diag(factor)[:, :, None, None])
        return dataclasses.replace(made, terms=(scaled,), bias=value.bias)

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
