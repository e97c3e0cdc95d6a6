# SPDX-License-Identifier: Apache-2.0
"""SpikeNet: the integer network, the single source of truth for golden model, mapper and hardware.

Every layer computes, per output channel and position, with exact integers,

    acc = bias + sum over sources of W * value
    v   = acc >> shift                          (the last layer gives acc itself)
    n   = clip(v, low, groups)                  (a spike count; signed where low < 0)
    n   = levels[number of thresholds <= v]     (instead, where the layer has a table, see `levels.py`)

and then, where the layer has one, a pool over values. See `spike_file.py` for its file.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OneSpikeError
from ..system import parallel
from . import fields
from .bounds import reach as reach
from .bounds import signed_bits as signed_bits
from .image import Image as Image
from .levels import Levels
from .membranes import Membranes
from .outputs import Output, check_outputs, parts
from .pool import Pool as Pool
from .source import MAX_VALUES
from .source import Source as Source

MAX_WEIGHT_BITS = 16
INPUT = "input"  # the name of the image tensor
HASHED = 1 << 20  # integers that are hashed at a time


def _fits(layer: Layer, channels: int, height: int, width: int) -> tuple[int, int, int]:
    """The shape, after making sure that an image's tensor of it has a size that can be computed."""
    if channels * height * width > MAX_VALUES:
        raise OneSpikeError(
            f"Layer {layer.name!r} has a map of {channels} x {height} x {width} values, more than {MAX_VALUES:,}; use "
            f"smaller images."
        )
    return channels, height, width


def _divides(layer: Layer, source: Source, inputs: int) -> None:
    """OneSpikeError unless the groups of a source on so many channels share out inputs and outputs."""
    if inputs % source.groups or layer.channels % source.groups:
        raise OneSpikeError(
            f"Layer {layer.name!r}: groups = {source.groups} on {source.tensor!r} must divide its {inputs} input and "
            f"its {layer.channels} output channels; take a divisor of both."
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """One layer of the machine.

    bias: int64 [channels]; shift: int8 [channels], theta of one count = 2**shift; groups: g, the most spikes a
    value can have, or 0 for the last layer, which does not fire; step: the real value of one count (or of one unit
    of the accumulator in the last layer), kept for reports only. low: the least value, below 0 in signed counts.
    levels: the table that the layer fires by, or None; groups and low are then its last and its first level.
    """

    name: str
    sources: tuple[Source, ...]
    bias: np.ndarray
    shift: np.ndarray
    groups: int
    pool: Pool | None = None
    step: float = 1.0
    low: int = 0
    levels: Levels | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise OneSpikeError(f"Layer {self.name!r} has no source.")
        fields.name(self.name, "The name of a layer")
        channels = self.sources[0].weights.shape[0]
        object.__setattr__(self, "sources", tuple(self.sources))
        object.__setattr__(self, "groups", fields.whole(self.groups, f"Layer {self.name!r}: groups", 2**62))
        object.__setattr__(self, "step", fields.real(self.step, f"Layer {self.name!r}: the step"))
        object.__setattr__(self, "bias", fields.integers(self.bias, np.int64, f"The bias of layer {self.name!r}", 1))
        object.__setattr__(self, "shift", fields.integers(self.shift, np.int8, f"The shift of layer {self.name!r}", 1))
        if any(s.weights.shape[0] != channels for s in self.sources) or not (
            len(self.bias) == len(self.shift) == channels
        ):
            raise OneSpikeError(f"Layer {self.name!r}: sources, bias and shift disagree on the number of channels.")
        for source in self.sources:
            _divides(self, source, source.in_channels)
        if self.shift.min() < 0 or self.shift.max() > 40:
            raise OneSpikeError(f"Layer {self.name!r}: every shift must lie in 0..40.")
        if not 0 <= self.groups < 2**16:
            raise OneSpikeError(f"Layer {self.name!r}: groups must lie in 0..65535, not {self.groups}.")
        object.__setattr__(self, "low", fields.whole(self.low, f"Layer {self.name!r}: low"))
        if self.low > 0:
            raise OneSpikeError(f"Layer {self.name!r}: low, the least value, must lie in -65535..0, not {self.low}.")
        if not self.fires and (self.pool is not None or self.shift.any() or self.low or self.levels is not None):
            raise OneSpikeError(
                f"Layer {self.name!r} does not fire, so it can have neither a pool nor a shift, low end or levels."
            )
        if self.levels is not None and (self.low, self.groups) != (self.levels.low, self.levels.top):
            raise OneSpikeError(
                f"Layer {self.name!r}: its levels lie in {self.levels.low}..{self.levels.top}, so low and groups must "
                f"be these, not {self.low} and {self.groups}."
            )

    @property
    def channels(self) -> int:
        return self.sources[0].weights.shape[0]

    @property
    def fires(self) -> bool:
        return self.groups > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class SpikeNet:
    """An image tensor and layers in execution order; only the last layer does not fire. Immutable and validated.

    places: of how many places (nodes of a graph) the last layer gives all classes, class after class, as its channels.
    outputs: names and shapes of the parts of the last layer's channels, where the module gives several tensors, or one
    in another order; empty where it gives one map (C, H, W).
    meta: free text facts (where the network came from, accuracies); never used in arithmetic.
    membranes: of a network that runs over T steps (`stepped.py`), as no hardware does; None: one timestep.
    """

    image: Image
    layers: tuple[Layer, ...]
    weight_bits: int = 8
    places: int = 1
    meta: dict[str, Any] = field(default_factory=dict)
    membranes: Membranes | None = None
    outputs: tuple[Output, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "outputs", tuple(self.outputs))
        if not self.layers:
            raise OneSpikeError("A SpikeNet needs at least one layer.")
        object.__setattr__(self, "weight_bits", fields.whole(self.weight_bits, "Weight bits"))
        if not isinstance(self.meta, dict):
            raise OneSpikeError(f"The facts of a network (meta) must be a dictionary, not {type(self.meta).__name__}.")
        if not 1 < self.weight_bits <= MAX_WEIGHT_BITS:
            raise OneSpikeError(f"Weight bits must lie in 2..{MAX_WEIGHT_BITS}, not {self.weight_bits}.")
        seen: set[str] = {INPUT}
        limit = 2 ** (self.weight_bits - 1)
        for index, layer in enumerate(self.layers):
            if layer.name in seen:
                raise OneSpikeError(f"Two tensors are called {layer.name!r}.")
            if layer.fires == (index == len(self.layers) - 1):
                raise OneSpikeError(f"Layer {layer.name!r}: every layer but the last must fire, and the last must not.")
            for source in layer.sources:
                if source.tensor not in seen:
                    raise OneSpikeError(f"Layer {layer.name!r} reads {source.tensor!r}, which no earlier layer makes.")
                if source.weights.min() < -limit or source.weights.max() >= limit:
                    raise OneSpikeError(f"Layer {layer.name!r}: weights do not fit in {self.weight_bits} bits.")
            seen.add(layer.name)
        channels, *size = self.shapes[self.layers[-1].name]  # raises where shapes disagree
        object.__setattr__(self, "places", fields.whole(self.places, "The places of the outputs"))
        if self.places < 1 or channels % self.places or (self.places > 1 and size != [1, 1]):
            raise OneSpikeError(f"{self.places} places do not share out {channels} outputs at {size} places.")
        if self.outputs and self.places > 1:
            raise OneSpikeError(f"A network of {self.places} places has one output, not {len(self.outputs)} with names")
        check_outputs(self.outputs, (channels, size[0], size[1]))
        if self.membranes is not None:
            self.membranes.check(self)

    @functools.cached_property
    def conv_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Shape (C, H, W) of every layer before its pool."""
        return self._both_shapes[0]

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Shape (C, H, W) of every tensor, after its pool."""
        return self._both_shapes[1]

    @functools.cached_property
    def _both_shapes(self) -> tuple[dict[str, tuple[int, int, int]], dict[str, tuple[int, int, int]]]:
        shapes: dict[str, tuple[int, int, int]] = {INPUT: self.image.shape}
        conv_shapes: dict[str, tuple[int, int, int]] = {}
        for layer in self.layers:
            found: set[tuple[int, int]] = set()
            for source in layer.sources:
                channels, height, width = shapes[source.tensor]
                _divides(layer, source, channels)
                if source.in_channels != channels:
                    raise OneSpikeError(
                        f"Layer {layer.name!r} expects {source.in_channels} channels of {source.tensor!r}, "
                        f"which has {channels}."
                    )
                top, bottom, left, right = source.padding
                _fits(layer, channels, height + top + bottom, width + left + right)
                found.add(source.output_shape(height, width))
            if len(found) != 1 or min(min(found)) < 1:
                raise OneSpikeError(
                    f"Layer {layer.name!r}: its sources give the shapes {sorted(found)}; need one, not empty."
                )
            height, width = found.pop()
            conv_shapes[layer.name] = _fits(layer, layer.channels, height, width)
            if layer.pool is not None:
                rows, columns = layer.pool.output_shape(height, width)
                if not rows or not columns:
                    raise OneSpikeError(f"Layer {layer.name!r}: its pool is larger than the {height}x{width} map.")
                height, width = rows, columns
            shapes[layer.name] = (layer.channels, height, width)
        return conv_shapes, shapes

    @functools.cached_property
    def ranges(self) -> dict[str, tuple[int, int]]:
        """The least and the largest value of every tensor, at most 0 and at least 0: low and g, times the window of a
        sum pool; 0 and 2**bits - 1 for the image.
        """
        found = {INPUT: (0, 2**self.image.bits - 1)}
        for layer in self.layers[:-1]:
            window = math.prod(layer.pool.kernel) if layer.pool is not None and layer.pool.kind == "sum" else 1
            found[layer.name] = layer.low * window, layer.groups * window
        return found

    @functools.cached_property
    def by_name(self) -> dict[str, Layer]:
        """The layer that makes each tensor."""
        return {layer.name: layer for layer in self.layers}

    def require_counts(self, what: str, instead: str = "convert with uniform levels and signed=False") -> None:
        """OneSpikeError unless all layers fire counts from 0 to g; what needs that, and what to do instead."""
        for layer in self.layers:
            if layer.low or layer.levels is not None:
                kind = "signed counts" if layer.levels is None else "the levels of a table"
                raise OneSpikeError(
                    f"{what} needs counts from 0 to g, but layer {layer.name!r} fires {kind}; {instead}."
                )

    @functools.cached_property
    def top_code(self) -> dict[str, int]:
        """The largest value of every tensor."""
        return {name: top for name, (_, top) in self.ranges.items()}

    def accumulator_range(self, layer: Layer) -> tuple[int, int]:
        """Proven bounds of every sum the layer can hold, with and without its bias, partial or complete.

        A sum of any subset of the terms W * value, low <= value <= top, lies between the sums over all W of the least
        and of the largest that each can give; the bias is added once.
        """
        low = high = np.zeros(layer.channels, object)
        for source in layer.sources:
            least, most = reach(source, *self.ranges[source.tensor])
            low, high = low + least, high + most
        return (
            int(min(low.min(), (low + layer.bias).min(), layer.bias.min())),
            int(max(high.max(), (high + layer.bias).max(), layer.bias.max())),
        )

    def value_bits(self, tensor: str) -> int:
        """Bits of a tensor's values as integers, with a sign where they have one."""
        low, top = self.ranges[tensor]
        return signed_bits(low, top) if low else top.bit_length()

    @functools.cached_property
    def accumulator_bits(self) -> int:
        """The width that no accumulator of any layer can overflow."""
        return max(signed_bits(*self.accumulator_range(layer)) for layer in self.layers)

    @property
    def output(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of the outputs, of the last layer but for `places`; logits are flat, in this order."""
        channels, height, width = self.shapes[self.layers[-1].name]
        return (channels // self.places, 1, self.places) if self.places > 1 else (channels, height, width)

    def named(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        """Logits [N, C * H * W], integers or times the last layer's step, as the module gives them: [N, *shape] of each
        of `outputs` by name; of a network without, "output" alone, [N, C, H, W].
        """
        maps = np.reshape(logits, (len(logits), *self.output))
        if not self.outputs:
            return {"output": maps}
        found = parts(self.outputs, maps)
        return {output.name: output.of(found[output.name]) for output in self.outputs}

    @property
    def classes(self) -> int:
        return math.prod(self.output)

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 over every integer and geometry of the network (not over `meta`)."""
        from .spike_file import contents

        manifest, arrays = contents(self)
        digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode())
        for name in sorted(arrays):
            digest.update(name.encode())
            values = arrays[name].reshape(-1)
            for start in range(0, len(values), HASHED):  # eight bytes each: not all at a time
                digest.update(values[start : start + HASHED].astype("<i8").tobytes())
        return digest.hexdigest()

    @parallel.takes_threads
    def golden(
        self,
        images: Any,
        *,
        layers: bool = False,
        trains: bool = False,
        operations: bool = False,
        progress: Callable[[int], None] | None = None,
        threads: int | None = None,
    ) -> Any:
        """Integer logits int64 [N, classes] of images [N, C, H, W]: integers are codes, floats are in the module's own
        scale, as `pixels.py` says; (N, C, L) and (N, F) are taken as `convert` takes them.

        With `layers` (every tensor's codes), `trains` (the literal PSG spikes of eq. 11) or `operations` (dense MACs,
        additions and spikes, see operations.py) a `golden.Result` that holds them too. threads: how many work at a time
        (by default ONESPIKE_THREADS of the environment, or every core); the result is the same for any number. With
        `membranes`: `stepped.golden_of`.
        """
        from . import golden, stepped
        from .operations import count

        codes = self.image.quantise(images)
        if self.membranes is not None:
            return stepped.golden_of(self, codes, layers=layers, refused=trains or operations, progress=progress)
        result = golden.run(self, codes, layers=layers, trains=trains, progress=progress)  # type: ignore[call-overload]
        if not operations:
            return result
        if isinstance(result, np.ndarray):
            result = golden.Result(logits=result)
        result.operations = count(self, result.codes if layers else codes)
        return result

    def save(self, path: str | Path) -> None:
        """Write a `.spike` file, see spike_file.py."""
        from .spike_file import save

        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> SpikeNet:
        """Read and validate a `.spike` file."""
        from .spike_file import load

        return load(Path(path))
