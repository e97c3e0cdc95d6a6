# SPDX-License-Identifier: Apache-2.0
"""Drawn networks: random integer networks in which options meet that networks of people rarely bring together.

Sources of several tensors with strides, dilations and groups of their own, copies into larger maps, pools that overlap
or reach past the map, uneven averages as layers, rows of zero weights, weights of 2 to 16 bits, images of one pixel or
around zero, signed counts, tables of levels, maps as outputs. Thresholds lie in the middle of the sums.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from ..hw.config import EngineConfig
from ..model.network.levels import Levels
from ..model.network.spec import INPUT, Image, Layer, Pool, Source, SpikeNet

TRIES = 12  # draws of a further source's geometry until its map has the layer's size
TABLES = [  # of one or two events each, more than 16 levels, with a sign, and such as only eight bits hold
    Levels((0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48), tuple(range(1, 30, 2)), 0),
    Levels((0, 1, 7, 9, 11, 13, 14, 15, 33, 43), (1, 2, 3, 5, 8, 12, 17, 20, 30), 0),
    Levels(tuple(range(0, 200, 10)), tuple(range(2, 40, 2)), 0),
    Levels((-12, -5, -1, 0, 2, 3, 9), (-9, -4, 0, 1, 2, 8), 1),
    Levels((-31, 0, 97, 105), (-3, 2, 5), 0),
]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What an engine can run, as the drawing must know it."""

    groups: tuple[int, ...]
    max_code: int
    weight_bits: int
    signed: bool
    tables: bool
    maps: bool
    even: bool  # all layers have one g (the psg code)
    own: bool  # lanes may take values of their own: depthwise layers on values of four bits


def scope(config: EngineConfig) -> Scope:
    psg = config.code == "psg"
    groups = (config.max_groups,) if psg else tuple(g for g in (1, 3, 8, 12, 15, 20) if g <= config.max_groups)
    return Scope(groups=groups, max_code=config.max_code if config.word_bits == 32 else min(16, config.max_code),
                 weight_bits=config.weight_bits, signed=config.signed_codes, tables=config.tables > 0,
                 maps=config.maps, even=psg, own=config.depthwise)  # fmt: skip


def draw(rng: np.random.Generator, within: Scope) -> SpikeNet:
    """One to four firing layers and a last one; OneSpikeError where the drawn sizes contradict each other."""
    bits = int(rng.choice([1, 4, 8]))
    one_pixel = rng.random() < 0.1
    sides = ((1, 5), (3, 11), (3, 11))
    shape = (int(rng.integers(1, 40)), 1, 1) if one_pixel else tuple(int(rng.integers(*side)) for side in sides)
    offset = tuple(-rng.random(shape[0]) * 0.6) if rng.random() < 0.5 else ()
    middle = (2 ** (bits - 1),) * shape[0] if rng.random() < 0.3 else ()  # as images around zero are padded
    image = Image(shape=shape, bits=bits, offset=offset, pad_code=middle)  # type: ignore[arg-type]
    weight_bits = int(rng.integers(2, within.weight_bits + 1))
    net = _Growing(rng, within, image, weight_bits)
    for index in range(int(rng.integers(1, 5))):
        net.fire(f"layer{index}")
    return net.end()


class _Growing:
    """A network that gets layer after layer; shapes and largest values by tensor."""

    def __init__(self, rng: np.random.Generator, within: Scope, image: Image, weight_bits: int):
        self.rng, self.within, self.image, self.weight_bits = rng, within, image, weight_bits
        self.shapes: dict[str, tuple[int, int, int]] = {INPUT: image.shape}
        self.tops = {INPUT: 2**image.bits - 1}
        self.layers: list[Layer] = []

    @property
    def newest(self) -> str:
        return next(reversed(self.shapes))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def integer(self, low: int, high: int) -> int:
        """low .. high, both included."""
        return int(self.rng.integers(low, high + 1))

    def fire(self, name: str) -> None:
        tensor = self.newest
        channels = self.shapes[tensor][0]
        kinds = ["dense", "dense", "grouped", "depthwise", "uneven", "pruned", *["depthwise"] * 4 * self.within.own]
        kind = str(self.rng.choice(kinds))
        if tensor == INPUT and kind in ("depthwise", "uneven") and self.chance(0.5):
            kind = "dense"
        groups = {"depthwise": channels, "uneven": channels, "grouped": self.divisor(channels)}.get(kind, 1)
        own = kind == "depthwise" and self.chance(0.6)  # as lanes with values of their own can have it
        if tensor != INPUT and max(self.shapes[tensor][1:]) <= 6 and self.chance(0.2):
            out, source = self.integer(1, 24), self.larger(tensor)
            source = dataclasses.replace(source, weights=self.weights(out, channels, 1, 1))
        elif kind == "uneven":
            out, source = channels, self.uneven(tensor)
        else:
            times = 1 + (not own and self.chance(0.3)) if kind == "depthwise" else max(1, 40 // groups)
            out = groups * self.integer(1, times)
            source = self.source(tensor, out, groups, pruned=kind == "pruned")
        size = source.output_shape(*self.shapes[tensor][1:])
        sources = [source]
        for other in [] if own else list(self.shapes)[::-1]:
            if len(sources) < 3 and self.chance(0.5) and (further := self.further(other, out, size)) is not None:
                sources.append(further)
        four = (0, int(self.rng.choice([8, 12, 15])), None)  # values of four bits
        low, g, levels = four if own and self.within.own else self.value()
        most = self.within.max_code // g if not low else 127 // max(g, -low)
        pool = None if own else self.pool(size[0], size[1], most)
        self.layers.append(self.layer(name, sources, low, g, levels, pool))
        window = math.prod(pool.kernel) if pool is not None and pool.kind == "sum" else 1
        self.tops[name] = max(g, -low) * window
        self.shapes[name] = (out, *(pool.output_shape(*size) if pool else size))

    def end(self) -> SpikeNet:
        tensor, classes = self.newest, self.integer(1, 20)
        shape = self.shapes[tensor]
        if self.within.maps and self.chance(0.5):
            last = self.source(tensor, classes, 1)
        else:
            last = Source(tensor=tensor, weights=self.weights(classes, *shape))
        sources = [last]
        if self.chance(0.3):
            size = last.output_shape(*shape[1:])
            others = [self.further(other, classes, size) for other in list(self.shapes)[:-1]]
            sources += [other for other in others if other is not None][:1]
        zero = np.zeros(classes, int)
        bias = self.rng.integers(-999, 1000, classes)
        self.layers.append(Layer(name="out", sources=tuple(sources), bias=bias, shift=zero, groups=0))
        read = {source.tensor for layer in self.layers for source in layer.sources}
        layers = [layer for layer in self.layers if layer.name in read or not layer.fires]
        return SpikeNet(image=self.image, layers=tuple(layers), weight_bits=self.weight_bits)

    def divisor(self, channels: int) -> int:
        return int(self.rng.choice([n for n in range(1, channels + 1) if channels % n == 0]))

    def weights(self, *shape: int, pruned: bool = False) -> np.ndarray:
        limit = 2 ** (self.weight_bits - 1)
        found = self.rng.integers(-limit, limit, shape)
        if pruned:
            rows = int(self.rng.choice([4, 8, 16]))
            keep = self.rng.random((-(-shape[0] // rows), *shape[1:])) < self.rng.choice([0.1, 0.5])
            return found * keep.repeat(rows, 0)[: shape[0]]
        return found * (self.rng.random(shape) < self.rng.choice([0.3, 0.8, 1.0]))

    def geometry(self, height: int, width: int) -> dict[str, tuple[int, ...]]:
        """Kernel, stride, dilation and padding that leave something of a map."""
        kernel, stride, dilation, padding = [], [], [], []
        for size in (height, width):
            k = self.integer(1, min(4, size))
            d = self.integer(1, 3) if self.chance(0.3) and k > 1 else 1
            d = d if d * (k - 1) < size else 1
            kernel.append(k)
            dilation.append(d)
            stride.append(self.integer(1, 3) if self.chance(0.4) else 1)
            padding += [self.integer(0, d * (k - 1)) if d * (k - 1) < size else 0 for _ in range(2)]
        found = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}
        return {name: tuple(values) for name, values in found.items()}

    def source(self, tensor: str, out: int, groups: int, *, pruned: bool = False) -> Source:
        channels, *size = self.shapes[tensor]
        form = self.geometry(size[0], size[1])
        weights = self.weights(out, channels // groups, *form.pop("kernel"), pruned=pruned)
        return Source(tensor=tensor, weights=weights, groups=groups, **form)  # type: ignore[arg-type]

    def larger(self, tensor: str) -> Source:
        """A copy into a larger map, of one output."""
        up = (self.integer(1, 3), self.integer(2, 3))
        weights = np.ones((1, self.shapes[tensor][0], 1, 1), int)
        return Source(tensor=tensor, weights=weights, up=up, held=self.chance(0.5))

    def uneven(self, tensor: str) -> Source:
        """An average over windows that reach past the end of the map (ceil_mode), as imports write it."""
        channels, height, width = self.shapes[tensor]
        kernel = [self.integer(1, min(3, size)) for size in (height, width)]
        stride = tuple(self.integer(1, k) for k in kernel)
        padding = (0, self.integer(0, kernel[0] - 1), 0, self.integer(0, kernel[1] - 1))
        worth = self.integer(1, 2 ** (self.weight_bits - 1) - 1)
        weights = np.full((channels, 1, *kernel), worth)
        return Source(tensor=tensor, weights=weights, groups=channels, stride=stride, padding=padding)  # type: ignore[arg-type]

    def further(self, tensor: str, out: int, size: tuple[int, int]) -> Source | None:
        """A source of another tensor whose map has this size: a copy into a larger one, or whatever geometry fits."""
        channels, *have = self.shapes[tensor]
        shift = self.integer(0, 3) if self.chance(0.5) else 0
        if tensor != INPUT and self.chance(0.7):
            up = tuple(max(1, want // got) for want, got in zip(size, have, strict=True))
            weights = self.weights(out, channels, 1, 1)
            copy = Source(tensor=tensor, weights=weights, up=up, held=self.chance(0.5), shift=shift)  # type: ignore[arg-type]
            if max(up) <= 4 and copy.output_shape(*have) == size:
                return copy
        for _ in range(TRIES):
            groups = self.divisor(math.gcd(channels, out)) if self.chance(0.3) else 1
            source = self.source(tensor, out, groups, pruned=self.chance(0.2))
            if source.output_shape(*have) == size:
                return dataclasses.replace(source, shift=shift)
        return None

    def value(self) -> tuple[int, int, Levels | None]:
        """Low end, high end and perhaps levels of what a layer fires."""
        g = int(self.rng.choice(self.within.groups))
        if self.within.own and self.chance(0.5):
            return 0, int(self.rng.choice([8, 12, 15])), None
        if self.within.tables and self.chance(0.4):
            levels = TABLES[self.integer(0, len(TABLES) - 1)]
            if self.within.signed or levels.low == 0:
                return levels.low, levels.top, levels
        if self.within.signed and self.chance(0.4):
            return -int(self.rng.choice([1, 8, g, 20])), g, None
        return 0, g, None

    def pool(self, rows: int, columns: int, room: int) -> Pool | None:
        """A maximum may reach past every side; the engine sums whole windows only."""
        if self.chance(0.45):
            return None
        kernel = tuple(self.integer(1, min(3, size)) for size in (rows, columns))
        if kernel == (1, 1):
            return None
        stride = tuple(self.integer(1, 3) for _ in kernel)
        if self.chance(0.5) and room >= math.prod(kernel):
            return Pool(kind="sum", kernel=kernel, stride=stride)  # type: ignore[arg-type]
        sides = [self.integer(0, k - 1) if self.chance(0.4) else 0 for k in kernel for _ in range(2)]
        return Pool(kind="max", kernel=kernel, stride=stride, padding=tuple(sides))  # type: ignore[arg-type]

    def layer(
        self, name: str, sources: list[Source], low: int, g: int, levels: Levels | None, pool: Pool | None
    ) -> Layer:
        """Its thresholds are those that its sums reach."""
        out = len(sources[0].weights)
        spread = sum(
            np.sqrt((s.weights.astype(float) ** 2).sum((1, 2, 3)).mean() + 1) * self.tops[s.tensor] * 0.3 * 2**s.shift
            for s in sources
        )
        shift = np.clip(np.rint(np.log2(max(spread / g, 1))) + self.rng.integers(-1, 2, out), 0, 24).astype(int)
        bias = self.rng.integers(-int(spread / 2) - 1, int(spread) + 2, out)
        return Layer(name=name, sources=tuple(sources), bias=bias, shift=shift, groups=g, pool=pool, low=low,
                     levels=levels)  # fmt: skip


def draw_codes(rng: np.random.Generator, net: SpikeNet, images: int) -> np.ndarray:
    """Image codes uint8 [N, C, H, W]: an empty or a full one, or with a share of zeros."""
    shape = (images, *net.image.shape)
    codes = rng.integers(0, 2**net.image.bits, shape) * (rng.random(shape) < rng.choice([0.1, 0.6, 1.0]))
    if rng.random() < 0.1:
        codes[0] = rng.choice([0, 2**net.image.bits - 1])
    return codes.astype(np.uint8)
