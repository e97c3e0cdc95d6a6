# SPDX-License-Identifier: Apache-2.0
"""Random integer networks of depthwise, grouped and pruned layers."""

import numpy as np

from onespike.model.network.spec import INPUT, Image, Layer, Pool, Source, SpikeNet


def sparse_network(rng: np.random.Generator) -> SpikeNet:
    """A dense layer on the image, two to four layers of all kinds (the second one depthwise), a last layer."""
    shape = (int(rng.integers(1, 4)), int(rng.integers(5, 11)), int(rng.integers(5, 11)))
    image = Image(shape=shape, bits=int(rng.choice([1, 4, 8])))
    layers = [_layer(rng, "dense", "layer0", INPUT, shape, 2**image.bits - 1, int(rng.choice([8, 12, 24])))]
    before, top = shape_of(layers[0], shape), layers[0].groups
    for index in range(1, int(rng.integers(3, 6))):
        kind = "depthwise" if index == 1 else str(rng.choice(["depthwise", "grouped", "pruned", "dense"]))
        name, tensor = f"layer{index}", f"layer{index - 1}"
        layers.append(_layer(rng, kind, name, tensor, before, top, before[0] if kind == "depthwise" else None))
        before, top = shape_of(layers[-1], before), top_of(layers[-1])
    classes = int(rng.integers(1, 20))
    weights = rng.integers(-128, 128, (classes, *before)) * (rng.random((classes, before[0], 1, 1)) < 0.6)
    zero = np.zeros(classes, int)
    last = Source(tensor=layers[-1].name, weights=weights)
    layers.append(Layer(name="out", sources=(last,), bias=rng.integers(-99, 99, classes), shift=zero, groups=0))
    return SpikeNet(image=image, layers=tuple(layers))


def shape_of(layer: Layer, before: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape that a layer makes of its first source's."""
    rows, columns = layer.sources[0].output_shape(*before[1:])
    if layer.pool is not None:
        rows, columns = layer.pool.output_shape(rows, columns)
    return layer.channels, rows, columns


def top_of(layer: Layer) -> int:
    """The largest value of a layer's tensor."""
    return layer.groups * (int(np.prod(layer.pool.kernel)) if layer.pool and layer.pool.kind == "sum" else 1)


def _layer(
    rng: np.random.Generator, kind: str, name: str, tensor: str, before: tuple[int, int, int], top: int, out: int | None
) -> Layer:
    """One layer of a kind; the other half of a pruned one's weights is zero in rows of 16, 8 or 4 outputs."""
    inputs, height, width = before
    kernel = [int(rng.integers(1, min(4, size + 1))) for size in (height, width)]
    padding = tuple(int(rng.integers(0, k)) for k in (kernel[0], kernel[0], kernel[1], kernel[1]))
    stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    groups = {"depthwise": inputs}.get(kind, 1)
    if kind == "grouped":
        groups = int(rng.choice([g for g in range(1, inputs + 1) if inputs % g == 0]))
    out = out or groups * int(rng.integers(1, max(2, 40 // groups)))
    weights = rng.integers(-128, 128, (out, inputs // groups, *kernel))
    if kind == "pruned":
        rows = int(rng.choice([4, 8, 16]))
        keep = rng.random((-(-out // rows), *weights.shape[1:])) < rng.choice([0.1, 0.5])
        weights = weights * keep.repeat(rows, 0)[:out]
    dilation = (1, 1)
    if rng.random() < 0.2 and all(size > 2 * k for k, size in zip(kernel, (height, width), strict=True)):
        dilation, padding = (2, 2), (0, 0, 0, 0)
    source = Source(
        tensor=tensor, weights=weights, stride=stride, padding=padding, dilation=dilation, groups=groups  # type: ignore[arg-type]
    )  # fmt: skip
    rows, columns = source.output_shape(height, width)
    pool = None
    if kind != "depthwise" and min(rows, columns) > 3 and rng.random() < 0.3:
        pool = Pool(kind=str(rng.choice(["max", "sum"])), kernel=(2, 2), stride=(2, 2))
    g = int(rng.choice([3, 8, 9, 12, 15, 15, 15, 20]))
    spread = np.sqrt((weights.astype(float) ** 2).sum((1, 2, 3)).mean() + 1) * top * 0.4
    shift = np.clip(np.rint(np.log2(max(spread / g, 1))) + rng.integers(-1, 2, out), 0, 20).astype(int)
    bias = rng.integers(-int(spread / 4) - 1, int(spread) + 1, out)
    return Layer(name=name, sources=(source,), bias=bias, shift=shift, groups=g, pool=pool)


def graph_network(rng: np.random.Generator, nodes: int, features: int, *, near: float = 0.2) -> SpikeNet:
    """X W on each node; A on the map of all nodes, node after node; a W on each; A, feature after feature."""
    matrix = (rng.random((nodes, nodes)) < near) | np.eye(nodes, dtype=bool)
    matrix = np.where(matrix, rng.integers(1, 100, (nodes, nodes)), 0)
    each = np.arange(features)
    on_map = np.zeros((nodes, features, features, nodes), int)
    on_map[:, each, each] = matrix[:, None]
    at_one = np.einsum("mn,cd->cmnd", matrix, np.eye(features, dtype=int))
    kernels = (
        rng.integers(-99, 100, (features, 5, 1, 1)),
        on_map.reshape(nodes * features, features, 1, nodes),
        rng.integers(-99, 100, (nodes * features, features, 1, 1)),
        at_one.reshape(features * nodes, nodes * features, 1, 1),
    )
    layers: list[Layer] = []
    for index, kernel in enumerate(kernels):
        tensor, last = f"layer{index - 1}" if index else INPUT, index == len(kernels) - 1
        source = Source(tensor=tensor, weights=kernel, groups=nodes if index == 2 else 1)
        bias, shift = rng.integers(-99, 99, len(kernel)), np.full(len(kernel), 0 if last else 6)
        layers.append(Layer(name=f"layer{index}", sources=(source,), bias=bias, shift=shift, groups=0 if last else 8))
    return SpikeNet(image=Image(shape=(5, 1, nodes), bits=4), layers=tuple(layers), places=nodes)
