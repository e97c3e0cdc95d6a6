# SPDX-License-Identifier: Apache-2.0
"""What the block tests share: memories filled before a run, patterns of a port over time, small random networks."""

import random
from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory

from onespike.hw.config import EngineConfig
from onespike.hw.program import WORD
from onespike.model.errors import OneSpikeError
from onespike.model.machine.fetch import Terms
from onespike.model.mapping.mapper import fit_config, image_codes, map_network
from onespike.model.mapping.mapping import Mapping
from onespike.model.network.codes import MULTIPLES, Term, factors, most_terms
from onespike.model.network.spec import Image, Layer, Pool, Source, SpikeNet


def preload(m: Module, name: str, port, rows: Sequence[int]) -> Value:
    """Write `rows` through a memory's write port, from the first cycle on; the result is high when all are written."""
    m.submodules[f"{name}_rows"] = memory = Memory(shape=len(port.data), depth=max(2, len(rows)), init=list(rows))
    read = memory.read_port(domain="comb")
    place = Signal(range(len(rows) + 1), name=f"{name}_place")
    left = place != len(rows)
    m.d.comb += [read.addr.eq(place), port.enable.eq(left), port.address.eq(place), port.data.eq(read.data)]
    m.d.sync += place.eq(place + left)
    return ~left


def preload_words(m: Module, name: str, port, rows: Sequence[int], words: int) -> Value:
    """Write `rows` of so many words each through a bank's port for its weights, as `preload` does."""
    layout = data.StructLayout({"word": WORD, "enable": 1, "address": len(port.address)})
    steps = [
        layout.const({"word": row >> WORD * i & 2**WORD - 1, "enable": i == words - 1, "address": address})
        for address, row in enumerate(rows)
        for i in range(words)
    ]
    init = [step.as_value().value for step in steps]
    m.submodules[f"{name}_words"] = memory = Memory(shape=layout.size, depth=max(2, len(init)), init=init)
    read = memory.read_port(domain="comb")
    place = Signal(range(len(init) + 1), name=f"{name}_place")
    left, step = place != len(init), data.View(layout, read.data)
    m.d.comb += [read.addr.eq(place), port.shift.eq(left), port.word.eq(step.word)]
    m.d.comb += [port.enable.eq(left & step.enable), port.address.eq(step.address)]
    m.d.sync += place.eq(place + left)
    return ~left


def fill_terms(m: Module, port, tables: Terms, multiples: tuple[int, ...]) -> Value:
    """Send the terms of all tables through an extractor's port, or a bank's; the result is high when all are sent."""
    fields = [(t, f, found) for t, table in enumerate(tables) for f, found in enumerate(table)]
    rows = [
        {
            "enable": 1,
            "table": table,
            "field": field,
            "number": len(found),
            "terms": [t._asdict() | {"multiple": factors(multiples).index(t.multiple)} for t in found]
            + [{"multiple": 0, "shift": 0, "negative": 0}] * (most_terms(multiples) - len(found)),
        }
        for table, field, found in fields
    ]
    init = [port.shape().const(row).as_value().value for row in rows]
    m.submodules.terms_rows = memory = Memory(shape=len(Value.cast(port)), depth=len(rows), init=init)
    read = memory.read_port(domain="comb")
    place = Signal(range(len(rows) + 1), name="terms_place")
    left = place != len(rows)
    m.d.comb += [read.addr.eq(place), Value.cast(port).eq(Mux(left, read.data, 0))]
    m.d.sync += place.eq(place + left)
    return ~left & (place == len(rows))


def random_terms(rng: random.Random, tables: int, multiples: tuple[int, ...], fields: int = 16) -> Terms:
    """Terms of any shift for every digit but 0 of so many tables."""

    def field(number: int) -> tuple[Term, ...]:
        count = rng.randint(1, most_terms(multiples)) if number % 16 else 0
        return tuple(Term(rng.choice(factors(multiples)), rng.randrange(8), rng.random() < 0.5) for _ in range(count))

    return [tuple(field(number) for number in range(fields)) for _ in range(tables)]


def pattern(m: Module, name: str, bits: Sequence[int]) -> Value:
    """bits[cycle], counted from the first cycle; high ever after."""
    if not len(bits):
        return Value.cast(1)
    m.submodules[f"{name}_pattern"] = memory = Memory(shape=1, depth=max(2, len(bits)), init=list(bits))
    read = memory.read_port(domain="comb")
    cycle = Signal(range(len(bits) + 1), name=f"{name}_cycle")
    left = cycle != len(bits)
    m.d.comb += read.addr.eq(cycle)
    m.d.sync += cycle.eq(cycle + left)
    return ~left | read.data


def random_bits(rng: random.Random, count: int, share: float) -> list[int]:
    return [int(rng.random() < share) for _ in range(count)]


def weights(rng: random.Random, *shape: int, bits: int = 4) -> np.ndarray:
    """Random weights, none of them zero."""
    values = [w for w in range(-(1 << (bits - 1)), 1 << (bits - 1)) if w]
    return np.array(rng.choices(values, k=int(np.prod(shape)))).reshape(shape)


def random_net(rng: random.Random, *, groups: int | None = None, image_bits: int | None = None) -> SpikeNet:
    """A small network with strides, padding, dilation, pools and residuals drawn at random."""
    while True:
        try:
            return _random_net(rng, groups, image_bits)
        except OneSpikeError:
            continue  # draw again


def _random_net(rng: random.Random, groups: int | None, image_bits: int | None) -> SpikeNet:
    bits = image_bits or rng.choice([1, 4, 8])
    shape = (rng.randint(1, 3), rng.randint(3, 7), rng.randint(3, 7))
    pad_code = tuple(rng.choice([0, rng.randrange(1 << bits)]) for _ in range(shape[0]))
    image = Image(shape=shape, bits=bits, pad_code=pad_code)
    layers: list[Layer] = []
    shapes = {"input": shape}
    for index in range(rng.randint(1, 3)):
        before, channels = list(shapes)[-1], rng.randint(1, 9)
        kernel, step = (rng.randint(1, 3), rng.randint(1, 3)), (rng.randint(1, 2), rng.randint(1, 2))
        border = [rng.randrange(k) for k in (kernel[0], kernel[0], kernel[1], kernel[1])]
        source = Source(
            tensor=before,
            weights=weights(rng, channels, shapes[before][0], *kernel),
            stride=step,
            padding=tuple(border),
            dilation=(rng.choice([1, 1, 2]), rng.choice([1, 1, 2])),
        )
        sources, out = [source], source.output_shape(*shapes[before][1:])
        if min(out) < 1:
            raise OneSpikeError("an empty map")
        for other, (inputs, height, width) in shapes.items():
            extra = weights(rng, channels, inputs, 1, 1)
            shortcut = Source(tensor=other, weights=extra, stride=step, shift=rng.choice([0, 2]))
            if len(sources) == 1 and rng.random() < 0.7 and shortcut.output_shape(height, width) == out:
                sources.append(shortcut)
        pools = [
            None,
            Pool(kind="max", kernel=(2, 2), stride=(2, 2)),
            Pool(kind="max", kernel=(3, 2), stride=(2, 1), padding=(1, 1, 0, 1)),
            Pool(kind="sum", kernel=(2, 1), stride=(1, 2)),
        ]
        layers.append(
            Layer(
                name=f"layer{index}",
                sources=tuple(sources),
                bias=np.array([rng.randint(-40, 60) for _ in range(channels)]),
                shift=np.array([rng.randint(0, 5) for _ in range(channels)]),
                groups=groups or rng.randint(1, 7),
                pool=rng.choice(pools),
            )
        )
        shapes[f"layer{index}"] = (channels, *pooled(layers[-1].pool, *out))
    last = list(shapes)[-1]
    return SpikeNet(image=image, layers=(*layers, head(rng, last, shapes[last])), weight_bits=4)


def pooled(pool: Pool | None, height: int, width: int) -> tuple[int, int]:
    if pool is None:
        return height, width
    rows, columns = pool.windows(height, width)
    if not rows or not columns:
        raise OneSpikeError("an empty map")
    return len(rows), len(columns)


def head(rng: random.Random, tensor: str, shape: tuple[int, int, int], classes: int | None = None) -> Layer:
    """A last layer whose kernel is as large as the map."""
    classes = classes or rng.randint(1, 7)
    bias, shift = np.array([rng.randint(-40, 40) for _ in range(classes)]), np.zeros(classes, int)
    return Layer(
        name="head",
        sources=(Source(tensor=tensor, weights=weights(rng, classes, *shape)),),
        bias=bias,
        shift=shift,
        groups=0,
    )


def random_mapping(rng: random.Random, *, loadable: bool = True, **fixed) -> Mapping:
    """A random network on a random engine that fits it; keywords fix parameters of the engine."""
    while True:
        lanes, fire_lanes = rng.choice([(2, 1), (2, 2), (4, 2), (4, 4), (6, 2), (8, 8), (12, 1)])
        config = EngineConfig(
            **{
                "banks": rng.choice([1, 2, 4]),
                "lanes": lanes,
                "fire_lanes": fire_lanes,
                "word_bits": rng.choice([16, 32]),
                "weight_bits": 4,
                "loadable": loadable,
                "multiples": rng.choice(MULTIPLES),
                **fixed,
            }
        )
        net = random_net(rng)
        slices = rng.choice([s for s in (1, 2, 4) if s <= config.banks])
        options = {"slices": slices, "image_code": rng.choice(["auto", *image_codes(net)])}
        try:
            config = fit_config(net, config, **options)
            rates = {name: np.array([rng.random() for _ in range(s[0])]) for name, s in net.shapes.items()}
            return map_network(net, config, rates=rates, **options)
        except OneSpikeError:
            continue  # say, an output wholly in the padding: draw again
