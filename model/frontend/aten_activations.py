# SPDX-License-Identifier: Apache-2.0
"""torch's activations and quantisers: clips, roundings and the steps that a quantised network brings along."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from .affine import Value
from .aten_base import Context
from .builder_stairs import shows_image
from .graph import Staircase

INTEGERS = {"quint8": (0, 255), "qint8": (-128, 127), "uint8": (0, 255), "int8": (-128, 127)}
MAX_GROUPS = 4095  # the most spikes of a value, as in `converter.groups_by_layer`


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Whether `value` lies above (else below) `limit`; at the limit both sides of the choice are equal."""

    value: Value
    limit: float
    above: bool


class Activations(Context):
    """The operations on each number by itself that a spike count can take over."""

    def op_relu(self, x: Value) -> Value:
        return self._clip(x, None)

    def op_relu6(self, x: Value) -> Value:
        return self._clip(x, 6.0)

    def op_hardtanh(self, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
        return self.op_clamp(x, low, high)

    def op_clamp(self, x: Value, min: Any = None, max: Any = None) -> Value:
        if max is not None and min is None and (x.unsigned or (x.rounding is not None and x.rounding.positive)):
            min = 0
        if min is None or float(min) != 0:
            raise OneSpikeError(f"it clamps from {min}; only from 0 is a spike count, so use clamp(0, ceiling) or ReLU")
        if max is not None and not float(max) > 0:
            raise OneSpikeError(f"it clamps to {max}, which leaves nothing; the ceiling must be positive")
        return self._clip(x, None if max is None or math.isinf(float(max)) else float(max))

    def op_threshold(self, x: Value, threshold: float, value: float) -> Value:
        if (threshold, value) != (0, 0):
            raise OneSpikeError("a threshold other than (0, 0) is not supported; use ReLU")
        return self._clip(x, None)

    def op_clamp_min(self, x: Value, min: Any) -> Value:
        return self.op_clamp(x, min)

    def op_clamp_max(self, x: Value, max: Any) -> Value:
        if isinstance(x, Value) and not x.unsigned and (x.rounding is None or not x.rounding.positive):
            raise OneSpikeError("it clamps from above only; use clamp(0, ceiling) or ReLU first")
        return self.op_clamp(x, 0, max)

    def op_minimum(self, x: Any, y: Any) -> Value:
        return self.op_clamp_max(*self._with_number(x, y))

    def op_maximum(self, x: Any, y: Any) -> Value:
        return self.op_clamp(*self._with_number(x, y))

    def _with_number(self, x: Any, y: Any) -> tuple[Value, float]:
        value, constant = (x, y) if isinstance(x, Value) else (y, x)
        if isinstance(constant, Value) or np.unique(np.asarray(constant)).size != 1:
            raise OneSpikeError("only one number can be the other side of a minimum or maximum; use a max pool")
        return value, float(np.asarray(constant).reshape(-1)[0])

    def op_gt(self, x: Any, y: Any) -> Comparison:
        return Comparison(*self._with_number(x, y), above=isinstance(x, Value))

    def op_lt(self, x: Any, y: Any) -> Comparison:
        return Comparison(*self._with_number(x, y), above=not isinstance(x, Value))

    op_ge, op_le = op_gt, op_lt

    def op_where(self, condition: Any, x: Any, y: Any) -> Value:
        """where(v > c, c, v) and the like: a clamp."""
        if isinstance(condition, Comparison):
            value, limit = condition.value, condition.limit
            high, low = (x, y) if condition.above else (y, x)
            for kept, other, bounded in ((low, high, self.op_clamp_max), (high, low, self.op_clamp_min)):
                if kept is value and not isinstance(other, Value) and (np.asarray(other) == limit).all():
                    return bounded(value, limit)
        raise OneSpikeError(
            "only the choice between an activation and one number is supported, as in a clamp; use clamp"
        )

    def op_floor(self, x: Value) -> Value:
        return self.builder.round(x, "floor")

    def op_round(self, x: Value, decimals: int = 0) -> Value:
        if decimals:
            raise OneSpikeError("rounding to decimals is not supported; scale, round to whole numbers and scale back")
        return self.builder.round(x, "half even")

    def _quantised(self, x: Value, step: Any, zero: Any, low: int, high: int) -> Value:
        """step * (clip(round(x / step) + zero, low, high) - zero)."""
        x = self.builder.clamped(x, self.where)
        steps = np.asarray(step, np.float64).reshape(-1)
        zeros = np.unique(np.asarray(zero, np.float64))
        if not (np.isfinite(steps).all() and (steps > 0).all()):
            raise OneSpikeError(
                f"its scale is {steps.min():g}; a scale must be a positive number, so calibrate it again"
            )
        if zeros.size == 1 and shows_image(x, signed=bool(zeros[0] != low)):
            return self.builder.quantise_image(x, steps, float(zeros[0]), low, high)
        if zeros.size != 1 or zeros[0] != low:
            raise OneSpikeError(
                f"its activation is signed (zero point {zeros[0]:g} in {low}..{high}), but a spike count is not; "
                f"quantise behind a ReLU with zero point {low}"
            )
        if steps.size not in (1, x.shape[0]):
            raise OneSpikeError(f"it has {steps.size} scales for {x.shape[0]} channels; use one, or one per channel")
        if high - low > MAX_GROUPS:
            raise OneSpikeError(
                f"it has {high - low + 1} levels, more than the {MAX_GROUPS + 1} of a spike count; use 12 bits or fewer"
            )
        x = x if x.origin else dataclasses.replace(x, origin=self.name)
        stairs = Staircase(step=np.broadcast_to(steps, x.shape[:1]).copy(), groups=int(high - low))
        return self.builder.quantise(x, stairs, self.where)

    def op_quantize_per_tensor(self, x: Value, scale: Any, zero: Any, *span: Any, dtype: Any = None) -> Value:
        low, high = span[:2] if len(span) > 1 else INTEGERS[str(span[0] if span else dtype).removeprefix("torch.")]
        return self._quantised(x, scale, zero, int(low), int(high))

    def op_quantize_affine(
        self, x: Value, block: Any, scale: Any, zero: Any, dtype: Any, low: Any = None, high: Any = None
    ) -> Value:
        least, most = INTEGERS[str(dtype).removeprefix("torch.")]
        return self._quantised(x, scale, zero, int(least if low is None else low), int(most if high is None else high))

    def op_dequantize(self, x: Value, *options: Any, **settings: Any) -> Value:
        return x

    op_dequantize_per_tensor = op_dequantize_affine = op_dequantize

    def op_fake_quantize_per_tensor_affine(self, x: Value, scale: Any, zero: Any, low: int, high: int) -> Value:
        return self._quantised(x, scale, zero, low, high)

    def op_fake_quantize_per_tensor_affine_cachemask(self, x: Value, *settings: Any) -> tuple[Value]:
        return (self._quantised(x, *settings),)

    def op__fake_quantize_per_tensor_affine_cachemask_tensor_qparams(
        self, x: Value, scale: Any, zero: Any, enabled: Any, low: int, high: int
    ) -> tuple[Value]:
        return (self._quantised(x, scale, zero, low, high),)

    def op_fake_quantize_per_channel_affine(
        self, x: Value, scale: Any, zero: Any, axis: int, low: int, high: int
    ) -> Value:
        if axis != 1:
            raise OneSpikeError(
                f"it has a scale for every place of axis {axis}; only channels (axis 1) can have their own"
            )
        return self._quantised(x, scale, zero, low, high)

    def _clip(self, x: Value, ceiling: float | None) -> Value:
        if x.rounding is not None:
            return self.builder.clamp_rounded(x, ceiling, self.where)
        return self.builder.activate(x if x.origin else dataclasses.replace(x, origin=self.name), ceiling, self.where)
