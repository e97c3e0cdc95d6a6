# SPDX-License-Identifier: Apache-2.0
"""The meaning of each NIR node that the importer knows, in terms of `affine.Value`.

A value is what a node gives in one step, as a mean over all steps: a spike in each of T steps is 1. The image, and
biases, are the same in every step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from ..network.spec import Pool
from . import affine, aten
from .affine import Value
from .builder_larger import Larger
from .graph import Staircase
from .nir_ladders import Ladder
from .nir_neurons import NEURONS, spikes_of, step_of

NEAREST = {
    "Delay": "a network without delays, which one timestep does not know",
    "I": "an integrator as the last node",
    "LI": "an integrator as the last node",
    "CubaLI": "I as the last node",
}


@dataclass(frozen=True)
class Signal:
    """A value, and the shape in which NIR sees it."""

    value: Value
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        return self.value.shape[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drive:
    """What a neuron fires of its input: groups * step of clip(ceil((factor x + offset) / step) - 1, 0, groups).

    factor, offset: float64 [channels].
    """

    factor: np.ndarray
    offset: np.ndarray
    groups: int
    step: float


class NirOperations:
    """One method per kind of node; steps: T, of the network as it was trained; dt: the length of a step."""

    def __init__(self, builder: Larger, steps: int, dt: float) -> None:
        self.builder, self.steps, self.dt = builder, steps, dt
        self.torch = aten.Operations(builder)

    def find(self, node: Any) -> Callable[[Signal, Any], Signal] | None:
        """The method for a node, or None."""
        if isinstance(node, NEURONS):
            return self.neuron
        return getattr(self, f"op_{type(node).__name__}", None)

    def begin(self, name: str) -> None:
        """The node's name, for layers and messages."""
        self.name = self.torch.name = self.torch.where = name

    # -- sums and geometry --------------------------------------------------------------------------------------

    def op_Passing(self, x: Signal, node: Any) -> Signal:
        return x

    op_Output = op_Passing

    def op_Flatten(self, x: Signal, node: Any) -> Signal:
        # Older files count a batch axis in start_dim: they mean everything behind it.
        if int(node.start_dim) not in (0, 1) or int(node.end_dim) not in (-1, len(x.shape) - 1, len(x.shape)):
            raise OneSpikeError(
                f"it flattens axes {int(node.start_dim)} to {int(node.end_dim)} of {list(x.shape)}; only all of them "
                f"together are supported, before an Affine or Linear node"
            )
        return Signal(x.value, (math.prod(x.shape),))

    def op_Affine(self, x: Signal, node: Any) -> Signal:
        return self._linear(x, node.weight, node.bias)

    def op_Linear(self, x: Signal, node: Any) -> Signal:
        return self._linear(x, node.weight, None)

    def _linear(self, x: Signal, weight: Any, bias: Any) -> Signal:
        matrix = numbers(weight, "its weight")
        size = math.prod(x.shape)
        if matrix.ndim != 2 or matrix.shape[1] != size:
            raise OneSpikeError(
                f"its weight {list(matrix.shape)} does not fit an input of {list(x.shape)}; it must be "
                f"[outputs, {size}]"
            )
        offset = np.zeros(len(matrix)) if bias is None else numbers(bias, "its bias").reshape(-1)
        kernel = matrix.reshape(-1, *x.value.shape)
        value = self.builder.convolve(x.value, kernel, offset, origin=self.name, where=self.name)
        return Signal(value, (len(matrix),))

    def op_Conv2d(self, x: Signal, node: Any) -> Signal:
        weights = numbers(node.weight, "its weight")
        axes = weights.ndim - 2
        if axes not in (1, 2) or len(x.shape) != axes + 1:
            raise OneSpikeError(f"its weight {list(weights.shape)} does not fit an input of {list(x.shape)}")
        groups = int(node.groups)
        if groups < 1 or weights.shape[1] * groups != x.channels or len(weights) % groups:
            raise OneSpikeError(
                f"its weight {list(weights.shape)} in {groups} groups does not fit an input of {x.channels} channels"
            )
        padding = node.padding if isinstance(node.padding, str) else whole(node.padding, axes, "padding")
        stride, gaps = whole(node.stride, axes, "stride", 1), whole(node.dilation, axes, "dilation", 1)
        bias = None if node.bias is None else numbers(node.bias, "its bias").reshape(-1)
        value = self.torch.op_conv2d(x.value, weights, bias, stride, padding, gaps, groups)
        return Signal(value, (value.shape[0], *value.shape[3 - axes :]))

    op_Conv1d = op_Conv2d

    def op_Scale(self, x: Signal, node: Any) -> Signal:
        factor = spread(numbers(node.scale, "its scale"), x, "scale")
        return Signal(affine.scale(x.value, factor, 0.0), x.shape)

    def op_SumPool2d(self, x: Signal, node: Any) -> Signal:
        pool = window(node, x)
        value = self.builder.average_pool(x.value, pool, 1.0, self.name)
        return Signal(value, value.shape)

    def op_AvgPool2d(self, x: Signal, node: Any) -> Signal:
        pool = window(node, x)
        value = self.builder.average_pool(x.value, pool, float(math.prod(pool.kernel)), self.name)
        return Signal(value, value.shape)

    # -- neurons ------------------------------------------------------------------------------------------------

    def drive(self, x: Signal, node: Any) -> Drive:
        """What a neuron's input does in it."""
        if isinstance(node, Ladder):
            return self._thresholds(x, node)
        step = step_of(node, self.dt)
        groups = spikes_of(node, step, self.steps)
        theta = numbers(node.v_threshold, "its v_threshold")
        try:
            factor = step.gain / theta
        except ValueError:
            raise OneSpikeError(f"its parameters have different shapes, {step.gain.shape} and {theta.shape}") from None
        factor = spread(factor, x, "r / v_threshold")
        return Drive(factor=factor, offset=np.zeros(x.channels), groups=groups, step=1 / groups)

    def _thresholds(self, x: Signal, node: Ladder) -> Drive:
        first = spread(numbers(node.first, "its threshold"), x, "threshold")
        if node.gap is None:
            # One spike has no distance to the next: any unit in which weights and threshold are small numbers.
            largest = np.max([np.abs(term.weights).max((1, 2, 3)) for term in x.value.terms], axis=0)
            gap = np.exp2(np.ceil(np.log2(np.maximum(np.maximum(np.abs(first), largest), 1e-30))))
        else:
            gap = spread(numbers(node.gap, "its thresholds"), x, "threshold")
        return Drive(factor=1 / gap, offset=1 - first / gap, groups=node.count, step=1.0)

    def neuron(self, x: Signal, node: Any) -> Signal:
        drive = self.drive(x, node)
        value = affine.scale(x.value, drive.factor, drive.offset)
        value = value if value.origin else dataclasses.replace(value, origin=self.name)
        stairs = Staircase(step=np.full(x.channels, drive.step), groups=drive.groups, rounding="below")
        return Signal(self.builder.quantise(value, stairs, self.name), x.shape)

    def op_Ladder(self, x: Signal, node: Ladder) -> Signal:
        fired = self.neuron(x, node)
        if node.pool is None:
            return fired
        pool = dataclasses.replace(window(node.pool, fired), kind="max")
        value = self.builder.max_pool(fired.value, pool, self.name)
        return Signal(value, value.shape)


def numbers(values: Any, what: str) -> np.ndarray:
    """An array of a node, float64; tensors of torch are taken, too."""
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, np.float64)
    if not np.isfinite(array).all():
        raise OneSpikeError(f"{what} holds NaN or infinite values; train the network again")
    return array


def whole(values: Any, axes: int, what: str, least: int = 0) -> list[int]:
    """One whole number for each axis, from one for all or one for each."""
    array = np.asarray(values).reshape(-1)
    if array.size not in (1, axes) or not all(float(v).is_integer() and v >= least for v in array):
        raise OneSpikeError(f"its {what} is {array.tolist()}; give {axes} whole numbers from {least} on")
    return [int(v) for v in np.broadcast_to(array, axes)]


def window(node: Any, x: Signal) -> Pool:
    """The sum pool of a node's kernel_size, stride and padding."""
    if len(x.shape) != 3:
        raise OneSpikeError(f"its input of {list(x.shape)} must have channels, height and width")
    kernel, stride = whole(node.kernel_size, 2, "kernel_size", 1), whole(node.stride, 2, "stride", 1)
    high, wide = whole(node.padding, 2, "padding")
    size = (x.shape[1] + 2 * high, x.shape[2] + 2 * wide)
    if kernel[0] > size[0] or kernel[1] > size[1]:
        raise OneSpikeError(f"its window of {kernel[0]}x{kernel[1]} is larger than the map of {size[0]}x{size[1]}")
    return Pool(
        kind="sum", kernel=(kernel[0], kernel[1]), stride=(stride[0], stride[1]), padding=(high, high, wide, wide)
    )


def spread(values: np.ndarray, x: Signal, what: str) -> np.ndarray:
    """Numbers for all neurons, channels or single ones of `x` as one for each channel."""
    if values.size == 1:
        return np.full(x.channels, values.reshape(()))
    while values.ndim > len(x.shape) and len(values) == 1:  # a batch of one
        values = values[0]
    if values.shape == (x.channels,):
        return values.copy()
    try:
        table = np.broadcast_to(values, x.shape).reshape(x.channels, -1)
    except ValueError:
        raise OneSpikeError(
            f"its {what} of shape {list(values.shape)} does not fit an input of {list(x.shape)}"
        ) from None
    if not (table == table[:, :1]).all():
        raise OneSpikeError(
            f"its {what} differs from place to place of a map; only one number per channel is supported, so take the "
            f"same for all neurons of a channel"
        )
    return table[:, 0].copy()
