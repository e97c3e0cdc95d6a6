# SPDX-License-Identifier: Apache-2.0
"""Pools: of the tensors that a value is made of, in its kernel, or left for the ReLU that follows."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..errors import OneSpikeError
from ..network.spec import Pool
from .affine import NO_PADDING, Value, plain, plus
from .builder_signed import Storing
from .compose import averaged
from .graph import Term


class Pools(Storing):
    """Maxima and averages of values."""

    def max_pool(self, value: Value, pool: Pool, where: str) -> Value:
        """The maximum of every window; over signed values it waits for the ReLU, with which it commutes."""
        if value.pool is not None:
            value = self.settled(value, where, "two max pools over signed values need a ReLU between them")
        if value.averages is not None:
            plain(value, "a max pool")
        if any(value.padding):
            if not self.unsigned(value) or value.bias.any():
                raise OneSpikeError(
                    "a max pool over signed, padded values is not supported; put the ReLU before the pool"
                )
            pool = dataclasses.replace(pool, padding=plus(pool.padding, value.padding))
        if value.pointwise and all((term.weights >= 0).all() for term in value.terms) and not value.mixes:
            return self._pool_tensors(self._copied(value), pool, 1.0, where)
        if self.unsigned(value):
            return self._node(value, f"{value.origin}.sum", where, unpooled=value.shape[1:], pool=pool)
        rows_, columns = pool.windows(*value.shape[1:])
        return dataclasses.replace(value, shape=(value.shape[0], len(rows_), len(columns)), pool=pool)

    def average_pool(self, value: Value, pool: Pool, divisor: float, where: str) -> Value:
        """Window sums over `divisor`: of the tensors where the value is made of plain tensors, else in the kernel."""
        if value.pool is not None:
            need = "an average pool after a max pool over signed values needs a ReLU between them"
            value = self.settled(value, where, need)
        if value.averages is not None:
            plain(value, "an average pool")
        pool = dataclasses.replace(pool, padding=plus(pool.padding, value.padding))
        value = dataclasses.replace(value, padding=NO_PADDING)
        spans = pool.windows(*value.shape[1:])
        shape = (value.shape[0], len(spans[0]), len(spans[1]))
        clipped = any(len(r) < k for axis, k in zip(spans, pool.kernel, strict=True) for r in axis)
        apart = all(step >= size for step, size in zip(pool.stride, pool.kernel, strict=True))
        if clipped and not value.pointwise:
            need = "an average pool with padding over signed values needs a ReLU before it"
            value = self.settled(value, where, need)
        bias = value.bias * (pool.kernel[0] * pool.kernel[1] / divisor)
        if not value.pointwise:
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
        """Every tensor pooled, by a kernel of ones if `kernel`; sums of signed tensors are left to who reads them."""
        if pool == Pool(kind=pool.kind, kernel=(1, 1), stride=(1, 1)):
            return dataclasses.replace(value, padding=NO_PADDING)
        terms, shape = [], value.shape
        for term in value.terms:
            if term.tensor in self.signed and pool.kind == "sum":
                # A stored sum of a window would need more bits than a value with a sign has.
                rows_, columns = pool.windows(*value.shape[1:])
                terms.append(
                    dataclasses.replace(averaged(term, pool.kernel, pool.stride, divisor), padding=pool.padding)
                )
                shape = (value.shape[0], len(rows_), len(columns))
                continue
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
