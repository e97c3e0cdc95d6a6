# SPDX-License-Identifier: Apache-2.0
"""The quantisers of ONNX and QONNX as staircases: QuantizeLinear, Clip, DequantizeLinear; Quant; MultiThreshold.

An unsigned quantiser of b bits computes scale * clip(round(x / scale), 0, 2**b - 1): counts of spikes, g = 2**b - 1,
each worth `scale`; one with a sign, or with a zero point, counts with a sign. One on the image itself says what the
pixels' codes are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from . import affine
from .affine import Value
from .builder_stairs import shows_image
from .graph import Staircase
from .onnx_base import Levels, OnnxContext, Tensor
from .onnx_reference import ROUNDING_MODES, bounds, integer_range

SPACING = 1e-6  # of a step: how far thresholds may lie from an even staircase


class Quantisers(OnnxContext):
    """The operations that quantise."""

    def op_Quant(
        self,
        x: Any,
        scale: Any,
        zero: Any,
        bits: Any,
        *,
        signed: int = 1,
        narrow: int = 0,
        rounding_mode: str = "ROUND",
    ) -> Tensor:
        if rounding_mode.upper() not in ROUNDING_MODES:
            raise OneSpikeError(f"the rounding mode {rounding_mode!r} is not supported; use ROUND or FLOOR")
        widths = np.unique(np.asarray(bits))
        if len(widths) != 1 or widths[0] != np.rint(widths[0]) or not 1 <= widths[0] <= 16:
            raise OneSpikeError(f"a bit width of {_shown(bits)} is not supported; use one whole number in 1..12")
        low, high = bounds(widths, bool(signed), bool(narrow))
        return self._quantise(x, scale, zero, low, high, ROUNDING_MODES[rounding_mode.upper()])

    op_IntQuant = op_Quant

    def op_QuantizeLinear(self, x: Any, scale: Any, zero: Any = None, *, axis: int = 1, **options: Any) -> Levels:
        if not isinstance(x, Tensor) or isinstance(zero, Tensor):
            raise OneSpikeError("it quantises integers that are quantised already; put DequantizeLinear between them")
        if unknown := sorted(key for key, value in options.items() if value and key not in ("saturate", "precision")):
            raise OneSpikeError(f"the attribute {unknown[0]} is not supported; use scale and zero_point alone")
        zero = np.zeros((), np.uint8) if zero is None else np.asarray(zero)
        low, high = integer_range(zero.dtype)
        return Levels(tensor=x, scale=scale, zero=zero, low=low, high=high, axis=axis)

    def op_DequantizeLinear(self, x: Any, scale: Any, zero: Any = None, *, axis: int = 1, **_: Any) -> Tensor:
        if not isinstance(x, Levels):
            raise OneSpikeError("it must follow QuantizeLinear")
        offset = np.zeros((), np.int64) if zero is None else np.asarray(zero)
        if not np.array_equal(scale, x.scale) or not np.array_equal(offset.astype(int), np.asarray(x.zero).astype(int)):
            raise OneSpikeError(
                "its scale or zero point differs from that of the QuantizeLinear before it; use the same"
            )
        return self._quantise(x.tensor, scale, offset.astype(int), x.low, x.high, "half even", axis)

    def op_MultiThreshold(
        self, x: Any, thresholds: Any, *, out_dtype: str = "", out_scale: float = 1.0, out_bias: float = 0.0,
        data_layout: str = "NCHW",
    ) -> Tensor:  # fmt: skip
        if not isinstance(x, Tensor) or isinstance(thresholds, Tensor):
            raise OneSpikeError("its thresholds must be constant and its input an activation")
        if data_layout not in ("", "NCHW", "NC", "NCL", "NCW"):
            raise OneSpikeError(f"the data layout {data_layout!r} is not supported; use NCHW")
        if not out_scale > 0:
            raise OneSpikeError(f"out_scale must be positive, not {out_scale}")
        table = np.asarray(thresholds, np.float64)
        channels = x.value.shape[0]
        if table.ndim != 2 or table.shape[0] not in (1, channels):
            raise OneSpikeError(f"thresholds of shape {table.shape} do not fit {channels} channels")
        groups = table.shape[1]
        first = np.broadcast_to(table[:, 0], channels)
        # A single threshold leaves the step open: any does.
        step = np.broadcast_to((table[:, -1] - table[:, 0]) / (groups - 1) if groups > 1 else 1.0, channels)
        even = first[:, None] + step[:, None] * np.arange(groups)
        if not (step > 0).all() or (np.abs(even - table) > SPACING * step[:, None]).any():
            raise OneSpikeError(
                "its thresholds are not evenly spaced; the nearest supported choice is a uniform quantiser (Quant)"
            )
        value = affine.scale(x.value, out_scale / step, out_scale * (1 - first / step))
        unit, low = np.full(channels, float(out_scale)), out_bias / out_scale
        value = self._named(value)
        if low < 0 and low == np.rint(low):  # counts with a sign
            value = affine.scale(value, 1.0, out_bias)
            made = self.builder.quantise_signed(value, unit, int(low), int(low) + groups, "floor", self.where)
            return Tensor(made, x.rank)
        made = self.builder.quantise(value, Staircase(step=unit, groups=groups, rounding="floor"), self.where)
        return Tensor(affine.scale(made, 1.0, out_bias), x.rank)

    def _quantise(self, x: Any, scale: Any, zero: Any, low: float, high: float, rounding: str, axis: int = 1) -> Tensor:
        """scale * (clip(round(x / scale) + zero, low, high) - zero)."""
        if not isinstance(x, Tensor) or any(isinstance(v, Tensor) for v in (scale, zero)):
            raise OneSpikeError("its scale and zero point must be constant and its input an activation")
        step = self._step(scale, x, axis)
        offset = np.unique(np.asarray(zero, np.float64))
        if len(offset) != 1 or offset[0] != np.rint(offset[0]):
            raise OneSpikeError(f"a zero point of {_shown(zero)} is not supported; use one whole number")
        bottom, top = int(low - offset[0]), int(high - offset[0])
        if shows_image(x.value, signed=bottom < 0):
            if rounding != "half even":
                raise OneSpikeError("it does not round the image to nearest; the nearest supported choice is ROUND")
            return Tensor(self.builder.quantise_image(x.value, step, 0, bottom, top), x.rank)
        if bottom > 0 or top <= bottom:
            raise OneSpikeError(f"it quantises to {bottom}..{top} steps; use a quantiser with 0 among its numbers")
        if max(top, top - bottom) > 4095:
            raise OneSpikeError(f"it quantises to {bottom}..{top} steps; the nearest supported choice is 12 bits")
        value = self._named(x.value)
        if bottom < 0:
            return Tensor(self.builder.quantise_signed(value, step, bottom, top, rounding, self.where), x.rank)
        staircase = Staircase(step=step, groups=top, rounding=rounding)
        return Tensor(self.builder.quantise(value, staircase, self.where), x.rank)

    def _step(self, scale: Any, x: Tensor, axis: int) -> np.ndarray:
        """The scale as one number per channel."""
        array = np.asarray(scale, np.float64)
        channels = x.value.shape[0]
        if not np.isfinite(array).all() or (array <= 0).any():
            raise OneSpikeError(f"its scale must be positive, not {_shown(array)}")
        if array.size == 1:
            return np.full(channels, float(array.reshape(())))
        by_channel = array.shape in ((channels,), (1, channels, *[1] * (x.rank - 2)), (channels, *[1] * (x.rank - 2)))
        if not by_channel or x.value.flat or axis % x.rank != 1:
            raise OneSpikeError(f"a scale of shape {array.shape} is not supported; use one number, or one per channel")
        return array.reshape(-1)

    def _named(self, value: Value) -> Value:
        own = value.origin and not (self.labelled and value.pointwise)
        return value if own else dataclasses.replace(value, origin=self.name)


def _shown(values: Any) -> str:
    array = np.asarray(values).reshape(-1)
    return f"{array[0]:g}" if array.size == 1 else f"{array.min():g} to {array.max():g} in {array.size} numbers"
