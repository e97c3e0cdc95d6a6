# SPDX-License-Identifier: Apache-2.0
"""Random integer networks: every geometry that the engine accepts, with thresholds in the middle of the sums."""

import dataclasses

import numpy as np

from onespike.model.frontend.graph import Graph, Node, Term
from onespike.model.network.levels import Levels
from onespike.model.network.spec import INPUT, Image, Layer, Pool, Source, SpikeNet


def random_network(
    rng: np.random.Generator, groups: tuple[int, ...], max_code: int, tables: bool = False, maps: bool = False
) -> SpikeNet:
    """One to three firing layers and a last one; g is drawn from `groups`, no sum pool exceeds `max_code`.

    tables: half of the layers fire signed counts, or by a table. maps: half of the networks end with a map.
    """
    channels, height, width = int(rng.integers(1, 4)), int(rng.integers(5, 10)), int(rng.integers(5, 10))
    bits = int(rng.choice([1, 4, 8]))
    offset = tuple(-rng.random(channels) * 0.5) if rng.random() < 0.5 else ()
    image = Image(shape=(channels, height, width), bits=bits, offset=offset)
    shapes = {INPUT: image.shape}
    tops = {INPUT: 2**bits - 1}
    layers: list[Layer] = []
    tensor = INPUT
    for index in range(int(rng.integers(1, 4))):
        source = _source(rng, tensor, shapes[tensor], int(rng.integers(1, 40)))
        out = source.weights.shape[0]
        rows, columns = source.output_shape(*shapes[tensor][1:])
        sources = [source]
        # A shortcut: any earlier map of the right size, through a 1x1 kernel that counts more than its weights.
        for other, shape in shapes.items():
            if other != INPUT and shape[1:] == (rows, columns) and rng.random() < 0.7 and len(sources) < 3:
                weights = rng.integers(-128, 128, (out, shape[0], 1, 1))
                sources.append(Source(tensor=other, weights=weights, shift=int(rng.integers(0, 4))))
        g = int(rng.choice(groups))
        low, levels = 0, None
        if tables and rng.random() < 0.6:
            low, g, levels = _other_values(rng, g)
        pool = _pool(rng, rows, columns, max_code // g if not low else 127 // max(g, -low))
        spread = sum(
            np.sqrt((s.weights.astype(float) ** 2).sum((1, 2, 3)).mean() + 1) * tops[s.tensor] * 0.3 * 2**s.shift
            for s in sources
        )
        shift = np.clip(np.rint(np.log2(max(spread / g, 1))) + rng.integers(-1, 2, out), 0, 20).astype(int)
        bias = rng.integers(-int(spread) - 1, int(spread) + 1, out)
        name = f"layer{index}"
        layers.append(
            Layer(
                name=name, sources=tuple(sources), bias=bias, shift=shift, groups=g, pool=pool, low=low, levels=levels
            )
        )
        tops[name] = g * (int(np.prod(pool.kernel)) if pool and pool.kind == "sum" else 1)
        if pool is not None:
            rows, columns = (len(windows) for windows in pool.windows(rows, columns))
        shapes[name] = (out, rows, columns)
        tensor = name
    classes = int(rng.integers(1, 20))
    if maps and rng.random() < 0.5:
        last = _source(rng, tensor, shapes[tensor], classes)
    else:
        last = Source(tensor=tensor, weights=rng.integers(-128, 128, (classes, *shapes[tensor])))
    zero = np.zeros(classes, int)
    layers.append(Layer(name="out", sources=(last,), bias=rng.integers(-999, 999, classes), shift=zero, groups=0))
    return SpikeNet(image=image, layers=tuple(layers))


SPECIAL = [  # of one or two events each, more than 16, with a sign, and such as only eight bits hold
    Levels((0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48), tuple(range(1, 30, 2)), 0),
    Levels((0, 1, 7, 9, 11, 13, 14, 15, 33, 43), (1, 2, 3, 5, 8, 12, 17, 20, 30), 0),
    Levels(tuple(range(0, 200, 10)), tuple(range(2, 40, 2)), 0),
    Levels((*range(17), 18, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 96, 112), tuple(range(1, 31)), 0),
    Levels((-12, -5, -1, 0, 2, 3, 9), (-9, -4, 0, 1, 2, 8), 1),
    Levels((-31, 0, 97, 105), (-3, 2, 5), 0),
]


def _other_values(rng: np.random.Generator, groups: int) -> tuple[int, int, Levels | None]:
    """Low end, high end and perhaps levels of a layer."""
    if rng.random() < 0.4:
        return -int(rng.choice([1, 8, groups, 20])), groups, None
    levels = SPECIAL[rng.integers(len(SPECIAL))]
    return levels.low, levels.top, levels


def _source(rng: np.random.Generator, tensor: str, shape: tuple[int, int, int], out: int) -> Source:
    kernel = [int(rng.integers(1, min(4, size + 1))) for size in shape[1:]]
    padding = tuple(int(rng.integers(0, k)) for k in (kernel[0], kernel[0], kernel[1], kernel[1]))
    stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    dilation = (1, 1)
    if rng.random() < 0.2 and all(size > 2 * k for k, size in zip(kernel, shape[1:], strict=True)):
        dilation, padding = (2, 2), (0, 0, 0, 0)
    weights = rng.integers(-128, 128, (out, shape[0], *kernel)) * (rng.random((out, shape[0], *kernel)) < 0.8)
    return Source(tensor=tensor, weights=weights, stride=stride, padding=padding, dilation=dilation)  # type: ignore[arg-type]


def _pool(rng: np.random.Generator, rows: int, columns: int, room: int) -> Pool | None:
    draw = rng.random()
    if rows < 2 or columns < 2 or draw > 0.6:
        return None
    kernel = (2, 2) if rng.random() < 0.6 or min(rows, columns) < 3 else (3, 3)
    kind = "max" if draw < 0.4 or room < kernel[0] * kernel[1] else "sum"
    stride = (2, 2) if rng.random() < 0.7 else (1, 2)
    padding = (1, 0, 0, 1) if kind == "max" and rng.random() < 0.4 else (0, 0, 0, 0)
    return Pool(kind=kind, kernel=kernel, stride=stride, padding=padding)


def grouped_network(*, grouped: bool) -> SpikeNet:
    """A depthwise layer with two outputs a channel, one of three groups, and a shortcut, in groups or as dense."""
    rng = np.random.default_rng(7)

    def source(tensor: str, groups: int, *shape: int, **geometry: object) -> Source:
        found = Source(tensor=tensor, weights=rng.integers(1, 99, shape), groups=groups, **geometry)  # type: ignore[arg-type]
        return found if grouped else dataclasses.replace(found, weights=found.dense, groups=1)

    one = (1, 1, 1, 1)
    layers = [
        Layer(name="a", sources=(source(INPUT, 3, 6, 1, 3, 3, padding=one),), bias=rng.integers(-99, 99, 6),
              shift=np.full(6, 13), groups=9),
        Layer(name="b", sources=(source("a", 3, 6, 2, 2, 2, padding=(1, 0, 0, 1)), source("a", 6, 6, 1, 1, 1)),
              bias=rng.integers(-99, 99, 6), shift=np.full(6, 8), groups=7),
        Layer(name="c", sources=(source("b", 1, 4, 6, 6, 5),), bias=np.zeros(4, int), shift=np.zeros(4, int), groups=0),
    ]  # fmt: skip
    return SpikeNet(image=Image(shape=(3, 6, 5), pad_code=(0, 9, 1)), layers=tuple(layers))


def residual(low: int = 0) -> SpikeNet:
    """Three convolutions whose last one reads the first one's output, too; signed counts where low is below 0."""
    rng = np.random.default_rng(low + 9)

    def layer(name: str, reads: dict[str, int], out: int, groups: int = 5) -> Layer:
        sources = tuple(
            Source(tensor=tensor, weights=rng.integers(-7, 8, (out, channels, 3, 3)), padding=(1, 1, 1, 1))
            for tensor, channels in reads.items()
        )
        shift = np.full(out, 4 if groups else 0)
        bias = rng.integers(-20, 20, out)
        return Layer(name=name, sources=sources, bias=bias, shift=shift, groups=groups, low=low if groups else 0)

    layers = (layer("a", {INPUT: 2}, 3), layer("b", {"a": 3}, 4), layer("c", {"b": 4, "a": 3}, 5),
              layer("d", {"c": 5, INPUT: 2}, 3, 0))  # fmt: skip
    return SpikeNet(image=Image(shape=(2, 5, 6), pad_code=(3, 9)), layers=layers, weight_bits=4)


def random_codes(rng: np.random.Generator, net: SpikeNet, images: int) -> np.ndarray:
    """Image codes uint8 [N, C, H, W], two fifths of them zero."""
    shape = (images, *net.image.shape)
    return (rng.integers(0, 2**net.image.bits, shape) * (rng.random(shape) < 0.6)).astype(np.uint8)


def float_graph(seed: int = 0) -> tuple[Graph, np.ndarray]:
    """A residual float network with random weights and four classes, and 256 smooth 12x12 pictures for it."""
    rng = np.random.default_rng(seed)

    def term(tensor: str, out: int, channels: int, size: int) -> Term:
        weights = rng.normal(size=(out, channels, size, size)) * np.sqrt(2 / (channels * size * size))
        return Term(tensor=tensor, weights=weights, padding=(size // 2,) * 4 if size == 3 else (0, 0, 0, 0))

    nodes = (
        Node(name="a", terms=(term(INPUT, 8, 2, 3),), bias=rng.normal(size=8) * 0.1,
             pool=Pool(kind="max", kernel=(2, 2), stride=(2, 2))),
        Node(name="b", terms=(term("a", 12, 8, 3),), bias=rng.normal(size=12) * 0.1),
        Node(name="c", terms=(term("b", 8, 12, 3), Term(tensor="a", weights=np.eye(8)[:, :, None, None])),
             bias=rng.normal(size=8) * 0.1, pool=Pool(kind="sum", kernel=(3, 3), stride=(3, 3))),
        Node(name="d", terms=(term("c", 4, 8, 2),), bias=np.zeros(4), fires=False),
    )  # fmt: skip
    coarse = rng.random((256, 2, 4, 4))
    images = np.clip(coarse.repeat(3, 2).repeat(3, 3) + rng.normal(size=(256, 2, 12, 12)) * 0.1, 0, 1)
    return Graph(shape=(2, 12, 12), nodes=nodes), images.astype(np.float32)
