# SPDX-License-Identifier: Apache-2.0
"""Quantised activations of a network that is quantised already: staircases, from quantisers, roundings and clamps."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import OneSpikeError
from ..network.image import MAX_BITS
from ..network.spec import INPUT, Image
from .affine import NO_PADDING, Rounding, Value, plain, scale
from .builder_nodes import Nodes
from .graph import Node, Staircase


def shows_image(value: Value, signed: bool) -> bool:
    """Whether a quantiser of `value` (to `signed` numbers, or not) is one of the plain or normalised image itself.

    A layer that only scales the image can be a normalisation, too; but its unsigned numbers are counts of its own.
    """
    term = value.terms[0]
    if len(value.terms) != 1 or term.tensor != INPUT or not term.whole or (value.origin and not signed):
        return False
    matrix = term.weights[:, :, 0, 0]
    if matrix.shape[0] != matrix.shape[1]:
        return False
    diagonal = np.diag(matrix)
    return np.array_equal(matrix, np.diag(diagonal)) and bool((diagonal > 0).all())


class Stairs(Nodes):
    """Staircases become nodes, and the image's own tells its codes."""

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

    def spike(self, value: Value, threshold: np.ndarray, ends: bool, where: str) -> Value:
        """1 where the value exceeds the threshold [channels], or equals it and `ends`; else 0.

        The step of one count is 1; where integers are made it becomes what suits the weights (`single_spikes.py`).
        """
        value = self.clamped(value, where)
        if value.averages is not None:
            plain(value, "a threshold")
        value = dataclasses.replace(value, bias=value.bias + 1 - threshold)
        stairs = Staircase(step=np.ones(value.shape[0]), groups=1, rounding="floor" if ends else "below")
        return self.quantise(value, stairs, where)

    def quantise_signed(
        self, value: Value, step: np.ndarray, low: int, top: int, rounding: str, where: str
    ) -> Value:
        """step * clip(round(value / step), low, top), low below 0: counts with a sign, as 8 bits hold them.

        Where -128..127 do not, as with a zero point, all counts are moved until they do, and the value moved back; with
        sign=False until none is below 0.
        """
        if any(value.padding):
            bare = dataclasses.replace(value, padding=NO_PADDING)
            bare = self.quantise_signed(bare, step, low, top, rounding, where)
            return dataclasses.replace(bare, padding=value.padding)
        if self.unsigned(value) and top > 0:
            return self.quantise(value, Staircase(step=step, groups=top, rounding=rounding), where)
        moved = max(-128 - low, 0) + min(127 - top, 0)
        if self.sign is False or low + moved < -128 or top + moved > 127:
            moved = -low
        moved = max(moved, 1 - top)
        stairs = Staircase(step=step, groups=top + moved, rounding=rounding, low=low + moved)
        if not moved:
            return self.quantise(value, stairs, where)
        return scale(self.quantise(scale(value, 1.0, moved * step), stairs, where), 1.0, -moved * step)

    def quantise_image(self, value: Value, step: np.ndarray, zero: float, low: int, high: int) -> Value:
        """The pixels' codes, from a quantised image (see `shows_image`): value = step * (code + low - zero)."""
        diagonal = np.diag(value.terms[0].weights[:, :, 0, 0])
        bits = (high - low).bit_length()
        # Of a narrow quantiser, -127..127, the lowest code of its bits stays unused.
        narrow = int(high - low + 2 == 1 << bits and bits > 1 and low < 0)
        low -= narrow
        if high - low + 1 != 1 << bits or bits > MAX_BITS:
            raise OneSpikeError(f"the image has {high - low + 1} levels; use 2, 4, 8 .. {2**MAX_BITS}")
        scale, offset = step / diagonal, ((low - zero) * step - value.bias) / diagonal
        image = Image(shape=self.shape, bits=bits, scale=tuple(scale), offset=tuple(offset), first=narrow)
        same = self.image is None or (self.image.bits, self.image.scale, self.image.offset, self.image.first) == (
            image.bits, image.scale, image.offset, image.first
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
        rounding = Rounding(kind=kind, unit=np.ones(value.shape[0]), positive=self.unsigned(value))
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


def _ceiling(node: Node) -> np.ndarray | None:
    """The largest value of each channel of a node's tensor, where it is known."""
    if node.exact or node.signed or (node.pool is not None and node.pool.kind == "sum"):
        return None
    if node.staircase is not None:
        return node.staircase.step * node.staircase.groups
    return None if node.ceiling is None else np.full(node.channels, node.ceiling)
