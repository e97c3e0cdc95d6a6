# SPDX-License-Identifier: Apache-2.0
"""Sums without a ReLU behind them: stored with their sign, or left to be computed by every layer that reads them.

What computing and reading would cost is estimated in events, one for each weight that one value of a tensor is
multiplied by, times the events that values of its kind have on average; and one for each weight, which has to come from
somewhere. A sum is stored where that is cheaper, and where the engine cannot do without: behind padding, below a
maximum, where composed kernels would be huge.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..errors import OneSpikeError
from ..network.spec import INPUT
from . import affine
from .affine import NO_PADDING, Value
from .builder_nodes import MAX_TERMS, Nodes
from .compose import joint_sides
from .graph import Term
from .node_costs import Mixing

# Events per value, zeros included: of images, counts behind a ReLU (g = 8), signed counts of 8 bits and of unit normal
# numbers (g = 31, clipped at three deviations).
IMAGE, COUNT, SIGNED = 0.8, 0.41, 1.25

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """What a value is read for: `outputs` channels (0: as many as it has) at `share` of its places.

    inputs: channels of a convolution's group; 0 where each output reads its own channel alone, as in an activation,
    which has as many outputs as stand side by side.
    taps, dilation: of the kernel; an activation has one of a single place.
    features: of a linear layer, how many numbers it takes at each place; 0 for others.
    """

    outputs: int = 0
    inputs: int = 0
    share: float = 1.0
    taps: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    features: int = 0

    def places(self, value: Value) -> float:
        """How many outputs of each channel read `value`."""
        return 1.0 if self.features == math.prod(value.shape) else math.prod(value.shape[1:]) * self.share


def consumers(
    order: Sequence[Key], users: Callable[[Key], Iterable[Key]], reader: Callable[[Key], Reader | None]
) -> dict[Key, dict[Key, Reader]]:
    """By operation, everything that reads its result in the end, each once: through operations, of those in `order`,
    that only rewrite a sum, for which `reader` gives None.
    """
    found: dict[Key, dict[Key, Reader]] = {}
    for key in reversed(order):
        table = found[key] = {}
        for user in users(key):
            made = reader(user)
            table.update(found.get(user, {}) if made is None else {user: made})
    return found


class Storing(Nodes):
    """Decides which sums become tensors of their own."""

    def stored(self, value: Value, where: str) -> Value:
        """The value as a tensor of its own, whatever its sign; zeros around it stay to be put there."""
        if any(value.padding):
            bare = self.stored(dataclasses.replace(value, padding=NO_PADDING), where)
            return dataclasses.replace(bare, padding=value.padding)
        if len(value.terms) == 1 and value.terms[0].identity and not value.bias.any() and value.pool is None:
            return value
        value = self._narrowed(value, where)
        term = value.terms[0]
        unpooled = term.output_shape(*self.shapes[term.tensor][1:])
        floor = 0.0 if self.unsigned(dataclasses.replace(value, pool=None)) else None
        made = self._node(value, value.origin, where, unpooled=unpooled, floor=floor, pool=value.pool)
        self.kept.append(made.terms[0].tensor)
        return made

    def settled(self, value: Value, where: str, need: str) -> Value:
        """The value as a tensor, because of `need`, which is what to say where it may not be stored."""
        if self.sign is False:
            raise OneSpikeError(f"{need}, or signed values (signed='auto')")
        return self.stored(value, where)

    def whole(self, value: Value, where: str, need: str) -> Value:
        """The value made of single places of tensors: its channels that are not become one of their own (`settled`)."""
        across = np.any([term.weights.any((1, 2, 3)) for term in value.terms if not term.pointwise], axis=0)
        if np.all(across):
            return self.settled(value, where, need)
        every = np.eye(value.shape[0])
        parts = []
        for chosen, settle in ((across, True), (~across, False)):
            part = affine.rows(value, every[chosen])
            part = dataclasses.replace(part, terms=tuple(term for term in part.terms if term.weights.any()))
            if not part.terms:  # constants alone
                return self.settled(value, where, need)
            parts.append(affine.rows(self.settled(part, where, need) if settle else part, every[:, chosen]))
        return affine.add(*parts)

    def offer(
        self, value: Value, readers: Iterable[Reader], where: str, mixing: Callable[[Value], Mixing] | None = None
    ) -> Value:
        """The value, stored where `signed` says so, or where that is cheaper for its readers; mixing: what its only
        reader does, where that is a graph's matrix, whose zeros count.
        """
        readers = list(readers)
        open_ends = value.averages is not None or value.rounding is not None or value.view is not None
        kernels = sum(1 if reader.features or reader.taps != (1, 1) else 0 for reader in readers)
        if self.sign is False or open_ends or value.pool is not None or not readers or _plain_read(value):
            return value
        if mixing is not None and len(value.terms) == 1:
            again, once = self._mixed(value, mixing(value))
        else:
            again = sum(self._composed(value, reader) for reader in readers)
            once = self._price(value) + sum(self._read(value, reader) for reader in readers)
        if once < again:
            self.saved += again - once
        elif self.sign != True or not (kernels or len(readers) > 1):  # noqa: E712
            return value
        return self.stored(value, where)

    def _narrowed(self, value: Value, where: str) -> Value:
        """The same with no more tensors than a layer can read: sums of the first ones become tensors."""
        while len(value.terms) > MAX_TERMS and self.sign is not False:
            first, rest = value.terms[:MAX_TERMS], value.terms[MAX_TERMS:]
            part = dataclasses.replace(value, terms=first, bias=np.zeros_like(value.bias), pool=None)
            part = self.stored(part, where)
            value = dataclasses.replace(value, terms=(*part.terms, *rest))
        return value

    def _rate(self, tensor: str) -> float:
        return IMAGE if tensor == INPUT else SIGNED if tensor in self.signed else COUNT

    def _cost(self, term: Term, outputs: int, places: float, taps: int, inputs: int) -> float:
        """Of `outputs` channels, each of `inputs` of the term's, which has no more."""
        weights = outputs * min(inputs, term.weights.shape[1]) * taps
        return weights * (places * self._rate(term.tensor) + 1)

    def _price(self, value: Value) -> float:
        """Of computing the value once."""
        places = math.prod(value.shape[1:])
        return sum(
            self._cost(t, value.shape[0], places, math.prod(t.weights.shape[2:]), _inputs(t)) for t in value.terms
        )

    def _composed(self, value: Value, reader: Reader) -> float:
        """Of a reader that computes the value for itself."""
        outputs, places = reader.outputs or value.shape[0], reader.places(value)
        if reader.features == math.prod(value.shape):
            maps = [math.prod(self.shapes[term.tensor][1:]) for term in value.terms]
            return sum(
                self._cost(t, outputs, places, m, t.weights.shape[1]) for t, m in zip(value.terms, maps, strict=True)
            )
        total = 0.0
        for term in value.terms:
            sides = zip(
                term.weights.shape[2:], reader.taps, joint_sides(term, reader.taps, reader.dilation), strict=True
            )
            # The places of both kernels together; a single place leaves no gaps.
            taps = math.prod(joint if min(own, outer) > 1 else max(own, outer) for own, outer, joint in sides)
            inputs = value.shape[0] if reader.features else max(1, reader.inputs)
            total += self._cost(term, outputs, places, taps, inputs * _inputs(term))
        return total

    def _read(self, value: Value, reader: Reader) -> float:
        """Of a reader of the stored value."""
        taps = math.prod(reader.taps)
        if reader.features == math.prod(value.shape):
            taps = math.prod(value.shape[1:])
        rate = COUNT if self.unsigned(value) else SIGNED
        inputs = value.shape[0] if reader.features else min(reader.inputs, value.shape[0])
        # An activation reads each channel once, for all that stands beside it in a concatenation.
        weights = (reader.outputs or value.shape[0]) * inputs * taps if inputs else value.shape[0]
        return weights * (reader.places(value) * rate + 1)

    def _mixed(self, value: Value, mixing: Mixing) -> tuple[float, float]:
        """Of a graph's matrix on the value: computing it within, and storing it before."""
        tensor, unsigned = value.terms[0].tensor, self.unsigned(value)
        rate = self._rate(tensor)
        return (
            mixing.composed(rate, rate != COUNT),
            mixing.apart(rate, COUNT if unsigned else SIGNED, not unsigned),
        )

    def told(self) -> list[str]:
        """What to tell the user of the sums that are stored."""
        if not self.kept:
            return []
        names = ", ".join(self.kept[:6]) + (f" and {len(self.kept) - 6} more" if len(self.kept) > 6 else "")
        what = "sum without a ReLU is" if len(self.kept) == 1 else "sums without a ReLU are"
        saved = f", which saves about {self.saved:,.0f} events an image" if self.saved >= 1 else ""
        return [f"{len(self.kept)} {what} stored with a sign ({names}){saved}; signed=False computes them anew."]


def _inputs(term: Term) -> int:
    """The most channels that an output of the term reads: one in a depthwise kernel. For a shortcut, a selection or an
    average all, as if it was dense: to be stored it would be rounded, and its readers take it in for little.
    """
    known = term.weights[term.weights != 0]
    if term.weights.shape[2:] == (1, 1) or (known == known[:1]).all():
        return term.weights.shape[1]
    return max(1, int(np.count_nonzero(term.weights.any((2, 3)), axis=1).max()))


def _plain_read(value: Value) -> bool:
    """Whether the value is one tensor, scaled: reading it costs no more than reading the tensor."""
    if len(value.terms) > 1 or not value.terms[0].pointwise:
        return False
    return bool((np.count_nonzero(value.terms[0].weights, axis=1) <= 1).all())
