# SPDX-License-Identifier: Apache-2.0
"""torch's activations and quantisers: clips, roundings and the steps that a quantised network brings along."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from . import affine
from .affine import Value
from .aten_base import Context
from .builder_stairs import shows_image
from .curve import Curve
from .graph import Staircase

INTEGERS = {"quint8": (0, 255), "qint8": (-128, 127), "uint8": (0, 255), "int8": (-128, 127)}
SELU = (1.6732632423543772, 1.0507009873554805)  # alpha and scale, as torch and ONNX have them
MAX_GROUPS = 4095  # the most spikes of a value, as in `converter.groups_by_layer`


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Whether `value` lies above (else below) `limit`, one number or one per channel; ends: or equals it.

    As a choice between both, which is a clamp, `ends` means nothing; as a number it is a spike.
    """

    value: Value
    limit: np.ndarray
    above: bool
    ends: bool


class Activations(Context):
    """The operations on each number by itself that a spike count can take over."""

    def op_relu(self, x: Value) -> Value:
        return self._clip(x, None)

    def op_relu6(self, x: Value) -> Value:
        return self._clip(x, 6.0)

    def op_hardtanh(self, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
        return self.op_clamp(x, low, high)

    def op_clamp(self, x: Value, min: Any = None, max: Any = None) -> Value:
        low = None if min is None or math.isinf(float(min)) else float(min)
        high = None if max is None or math.isinf(float(max)) else float(max)
        if x.rounding is not None and x.rounding.positive and low is None:
            low = 0.0
        if x.rounding is not None and low != 0:
            raise OneSpikeError(f"it clamps what was rounded from {min}; clamp(0, 2**bits - 1) is a spike count")
        if self.builder.unsigned(x) and (low is None or low < 0):
            low = 0.0
        if high is not None and low is not None and not low < high:
            raise OneSpikeError(f"it clamps from {low:g} to {high:g}, which leaves nothing; the ceiling must be larger")
        inside = (low is None or low <= 0) and (high is None or high > 0)
        if low is None and high is None:
            return x
        if inside and high is not None and (low is None or -low > high) and self.builder.sign is not False:
            # The farther end is the ceiling, from which steps are counted.
            if x.pool is not None:
                x = self.builder.settled(x, self.where, "it follows a max pool; put it before the pool")
            mirrored = self._clip(affine.scale(x, -1.0, 0.0), None if low is None else -low, -high)
            return affine.scale(mirrored, -1.0, 0.0)
        if inside and (low == 0 or self.builder.sign is not False):
            return self._clip(x, high, low)
        # A range that a count or a count with a sign cannot have: the same, seen from one of its ends.
        if low is not None:
            moved = self._clip(affine.scale(x, 1.0, -low), None if high is None else high - low)
            return affine.scale(moved, 1.0, low)
        assert high is not None, "a clamp has an end"
        return affine.scale(self._clip(affine.scale(x, -1.0, high), None), -1.0, high)

    def op_leaky_relu(self, x: Value, slope: float = 0.01) -> Value:
        return self._leak(x, np.full(x.shape[0], float(slope)))

    def op__prelu_kernel(self, x: Value, slopes: Any) -> Value:
        return self._leak(x, self.per_channel(slopes, x))

    def op_prelu(self, x: Value, slopes: Any) -> Value:
        table = np.asarray(slopes, np.float64).reshape(-1)
        if table.size not in (1, x.shape[0]):
            raise OneSpikeError(f"it has {table.size} slopes for {x.shape[0]} channels; use one, or one per channel")
        return self._leak(x, np.broadcast_to(table, x.shape[:1]))

    def op_abs(self, x: Value) -> Value:
        return self._leak(x, np.full(x.shape[0], -1.0))

    def op_elu(self, x: Value, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
        bent = self._bend(affine.scale(x, input_scale, 0.0), Curve("elu", float(alpha)))
        return affine.scale(bent, scale, 0.0)

    def op_selu(self, x: Value) -> Value:
        return self.op_elu(x, *SELU)

    def op_celu(self, x: Value, alpha: float = 1.0) -> Value:
        return self.op_elu(x, 1.0, alpha, 1 / alpha)

    def op_tanh(self, x: Value) -> Value:
        return self._bend(x, Curve("tanh"))

    def op_sigmoid(self, x: Value) -> Value:
        """One half and half a tanh of half the sum."""
        return affine.scale(self._bend(affine.scale(x, 0.5, 0.0), Curve("tanh")), 0.5, 0.5)

    def op_hardsigmoid(self, x: Value) -> Value:
        return self._clip(affine.scale(x, 1 / 6, 0.5), 1.0)

    def _leak(self, x: Value, slopes: np.ndarray) -> Value:
        """x where it is positive, slopes [channels] * x where not: a table, or relu(x) - slope * relu(-x)."""
        slope = float(slopes[0])
        if (slopes == 1).all():
            return x
        if (slopes == 0).all():
            return self._clip(x, None)
        if (slopes == slope).all() and slope > 0 and self.builder.sign is not False:
            return self._bend(x, Curve("leak", slope))
        if x.pool is not None:
            x = self.builder.settled(x, self.where, "it follows a max pool; put it before the pool")
        eye = np.eye(x.shape[0])
        both = self._clip(affine.rows(x, np.concatenate([eye, -eye])), None)
        return affine.rows(both, np.concatenate([eye, -np.diag(slopes)], 1))

    def _bend(self, x: Value, curve: Curve) -> Value:
        if self.builder.sign is False:
            raise OneSpikeError("its values have a sign; allow signed values (signed='auto'), or use ReLU")
        return self._clip(x, curve.ceiling, curve.floor, curve)

    def op_threshold(self, x: Value, threshold: float, value: float) -> Value:
        if (threshold, value) != (0, 0):
            raise OneSpikeError("a threshold other than (0, 0) is not supported; use ReLU")
        return self._clip(x, None)

    def op_clamp_min(self, x: Value, min: Any) -> Value:
        return self.op_clamp(x, min)

    def op_clamp_max(self, x: Value, max: Any) -> Value:
        return self.op_clamp(x, None, max)

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
        return self._compared(x, y, isinstance(x, Value), False)

    def op_ge(self, x: Any, y: Any) -> Comparison:
        return self._compared(x, y, isinstance(x, Value), True)

    def op_lt(self, x: Any, y: Any) -> Comparison:
        return self._compared(x, y, not isinstance(x, Value), False)

    def op_le(self, x: Any, y: Any) -> Comparison:
        return self._compared(x, y, not isinstance(x, Value), True)

    def op_heaviside(self, x: Value, values: Any) -> Value:
        """A spike where x is above 0; at 0 itself as `values` says."""
        equal = np.unique(np.asarray(values, np.float64))
        if equal.size != 1 or equal[0] not in (0, 1):
            raise OneSpikeError("heaviside gives something else than 0 or 1 at 0; use x > 0 or x >= 0")
        return self.spikes(self._compared(x, 0.0, True, bool(equal[0])))

    def _compared(self, x: Any, y: Any, above: bool, ends: bool) -> Comparison:
        value, limit = (x, y) if isinstance(x, Value) else (y, x)
        if isinstance(limit, Value):
            raise OneSpikeError("it compares two activations; only numbers can be the other side of a comparison")
        if isinstance(value, Comparison):  # of a mask with a number, as in mask.ne(0)
            raise OneSpikeError("it compares the result of a comparison; use that itself")
        return Comparison(value, self.per_channel(limit, value), above, ends)

    def spikes(self, x: Any) -> Any:
        """A comparison that is used as a number: 1 where it holds, else 0. Anything else stays what it is."""
        if not isinstance(x, Comparison):
            return x
        value = x.value if x.value.origin else dataclasses.replace(x.value, origin=self.name)
        # x < c is 1 - (x >= c), and x <= c is 1 - (x > c).
        fired = self.builder.spike(value, x.limit, x.ends == x.above, self.where)
        return fired if x.above else affine.scale(fired, -1.0, 1.0)

    def op_masked_fill(self, x: Value, mask: Any, value: Any) -> Value:
        return self.op_where(mask, value, x)

    def masked(self, x: Value, mask: Comparison) -> Value:
        """x * (x > 0), or x * (x < 0)."""
        if mask.value is not x or mask.limit.any():
            raise OneSpikeError("only x * (x > 0) is a ReLU; a mask of other numbers depends on the image twice")
        if mask.above:
            return self._clip(x, None)
        return affine.scale(self._clip(affine.scale(x, -1.0, 0.0), None), -1.0, 0.0)

    def op_where(self, condition: Any, x: Any, y: Any) -> Value:
        """where(v > c, c, v) and the like: a clamp; where(v > 0, v, s v): a LeakyReLU; where(v > c, 1, 0): spikes."""
        if isinstance(condition, Comparison):
            value, limit = condition.value, condition.limit
            high, low = (x, y) if condition.above else (y, x)
            if not isinstance(x, Value) and not isinstance(y, Value):
                worth, rest = (np.asarray(side, np.float64) for side in (x, y))
                if worth.size == rest.size == 1:
                    fired = self.spikes(condition)
                    return affine.scale(fired, float(worth.flat[0] - rest.flat[0]), float(rest.flat[0]))
            for kept, other, bounded in ((low, high, self.op_clamp_max), (high, low, self.op_clamp_min)):
                if kept is value and not isinstance(other, Value) and (np.ravel(other)[:, None] == limit).all():
                    return bounded(value, limit[0])
            slope = _ratio(low, value) if high is value and isinstance(low, Value) and not limit.any() else None
            if slope is not None:
                return self._leak(value, np.full(value.shape[0], slope))
        raise OneSpikeError(
            "only the choice between an activation and one number is supported, as in a clamp; use clamp"
        )

    def op_clip(self, x: Value, min: Any = None, max: Any = None) -> Value:
        return self.op_clamp(x, min, max)

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
        if zeros.size != 1 or not low <= zeros[0] <= high or zeros[0] != np.rint(zeros[0]):
            raise OneSpikeError(
                f"its zero point is {zeros[0]:g} to {zeros[-1]:g} in {low}..{high}; use one whole number of these"
            )
        if steps.size not in (1, x.shape[0]):
            raise OneSpikeError(f"it has {steps.size} scales for {x.shape[0]} channels; use one, or one per channel")
        if high - low > MAX_GROUPS:
            raise OneSpikeError(
                f"it has {high - low + 1} levels, more than the {MAX_GROUPS + 1} of a spike count; use 12 bits or fewer"
            )
        x = x if x.origin else dataclasses.replace(x, origin=self.name)
        step, zero_point = np.broadcast_to(steps, x.shape[:1]).copy(), int(zeros[0])
        if zero_point > low:
            return self.builder.quantise_signed(x, step, low - zero_point, high - zero_point, "half even", self.where)
        return self.builder.quantise(x, Staircase(step=step, groups=int(high - low)), self.where)

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

    def _clip(
        self, x: Value, ceiling: float | None, floor: float | None = 0.0, curve: Curve | None = None
    ) -> Value:
        if x.rounding is not None:
            return self.builder.clamp_rounded(x, ceiling, self.where)
        x = x if x.origin else dataclasses.replace(x, origin=self.name)
        return self.builder.activate(x, ceiling, self.where, floor, curve)


def _ratio(y: Value, x: Value) -> float | None:
    """s where y = s x, else None."""
    if [t.tensor for t in y.terms] != [t.tensor for t in x.terms] or y.shape != x.shape:
        return None
    own = np.concatenate([x.bias, *(t.weights.reshape(-1) for t in x.terms)])
    other = np.concatenate([y.bias, *(t.weights.reshape(-1) for t in y.terms)])
    if own.shape != other.shape or not own.any():
        return None
    slope = float(other[np.abs(own).argmax()] / own[np.abs(own).argmax()])
    same = all(
        (a.stride, a.padding, a.dilation) == (b.stride, b.padding, b.dilation)
        for a, b in zip(x.terms, y.terms, strict=True)
    )
    return slope if same and np.allclose(other, slope * own, rtol=1e-12, atol=0) else None
