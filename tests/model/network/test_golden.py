# SPDX-License-Identifier: Apache-2.0
"""The fast golden model equals the definition, written as plain loops over Python integers, on random networks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import random_network
from onespike.model.errors import OneSpikeError
from onespike.model.network import golden
from onespike.model.network.levels import Levels
from onespike.model.network.operations import count as count_operations
from onespike.model.network.spec import INPUT, Image, Layer, Pool, Source, SpikeNet
from onespike.model.neurons.psg import psg


def naive(net: SpikeNet, image: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor of one image [C, H, W], from the definition in `spec`."""
    tensors = {INPUT: image.astype(object)}
    for layer in net.layers:
        channels, height, width = net.conv_shapes[layer.name]
        out = np.empty((channels, height, width), object)
        for channel in range(channels):
            for y in range(height):
                for x in range(width):
                    acc = int(layer.bias[channel])
                    for source in layer.sources:
                        tensor = tensors[source.tensor]
                        _, inputs, kernel_h, kernel_w = source.dense.shape
                        for c in range(inputs):
                            for i in range(kernel_h):
                                for j in range(kernel_w):
                                    row = y * source.stride[0] + i * source.dilation[0] - source.padding[0]
                                    column = x * source.stride[1] + j * source.dilation[1] - source.padding[2]
                                    if 0 <= row < tensor.shape[1] and 0 <= column < tensor.shape[2]:
                                        code = tensor[c, row, column]
                                    else:
                                        code = net.image.pad_code[c] if source.tensor == INPUT else 0
                                    acc += (int(source.dense[channel, c, i, j]) << source.shift) * int(code)
                    if layer.levels is not None:
                        at = acc >> int(layer.shift[channel])
                        acc = layer.levels.levels[sum(threshold <= at for threshold in layer.levels.thresholds)]
                    elif layer.fires:
                        acc = min(max(acc >> int(layer.shift[channel]), layer.low), layer.groups)
                    out[channel, y, x] = acc
        if layer.pool is not None:
            rows, columns = layer.pool.windows(height, width)
            combine = max if layer.pool.kind == "max" else sum
            out = np.array(
                [[[combine(out[c][np.ix_(r, s)].flat) for s in columns] for r in rows] for c in range(channels)], object
            )
        tensors[layer.name] = out
    return tensors


def random_net(rng: np.random.Generator) -> SpikeNet:
    """A small network with every feature of the file format: strides, dilation, asymmetric padding, pad codes, several
    sources, groups, shifted sources, clipped and overlapping pools, g not a power of two.
    """

    def integer(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def pairs(low: int, high: int, count: int = 2) -> tuple:
        return tuple(integer(low, high) for _ in range(count))

    bits, weight_bits = integer(1, 8), integer(2, 16)
    shape = (integer(1, 3), integer(3, 8), integer(3, 8))
    image = Image(shape=shape, bits=bits, pad_code=tuple(integer(0, 2**bits - 1) for _ in range(shape[0])))
    shapes, layers = {INPUT: shape}, []

    def kernel(tensor: str, channels: int, size: tuple | None = None) -> Source | None:
        """A random source; where `size` is given, one that yields that map, or None."""
        inputs, height, width = shapes[tensor]
        for _ in range(20):
            sides = pairs(1, 3)
            groups = int(rng.choice([n for n in range(1, 5) if inputs % n == channels % n == 0]))
            shape = (channels, inputs // groups, *sides)
            source = Source(
                tensor=tensor,
                weights=rng.integers(-(2 ** (weight_bits - 1)), 2 ** (weight_bits - 1), shape),
                stride=pairs(1, 3),
                padding=pairs(0, 2, 4),
                dilation=pairs(1, 2),
                shift=integer(0, 3),
                groups=groups,
            )
            out = source.output_shape(height, width)
            if min(out) >= 1 and (size is None or out == size):
                return source
        return None

    for index in range(integer(0, 3)):
        tensor = list(shapes)[integer(0, len(shapes) - 1)]
        channels = integer(1, 4)
        sources = [kernel(tensor, channels)]
        if sources[0] is None:
            continue
        size = sources[0].output_shape(*shapes[tensor][1:])
        sources += [kernel(list(shapes)[integer(0, len(shapes) - 1)], channels, size) for _ in range(integer(0, 2))]
        pool = None
        if integer(0, 1):
            sides = (min(integer(1, 3), size[0]), min(integer(1, 3), size[1]))
            around = [integer(0, side - 1) for side in (sides[0], sides[0], sides[1], sides[1])]
            pool = Pool(kind=["max", "sum"][integer(0, 1)], kernel=sides, stride=pairs(1, 3), padding=tuple(around))
        levels, (low, groups) = None, (-integer(0, 9) * integer(0, 1), integer(1, 17))
        if integer(0, 2) == 0:
            known = sorted({0, integer(1, 60), *rng.integers(low, 60, integer(0, 20)).tolist()})
            thresholds = rng.choice(np.arange(-40, 200), len(known) - 1, replace=False)
            levels = Levels(tuple(known), tuple(sorted(thresholds.tolist())))
            low, groups = levels.low, levels.top
        layer = Layer(
            name=f"layer{index}",
            sources=tuple(source for source in sources if source is not None),
            bias=rng.integers(-1000, 1000, channels),
            shift=rng.integers(0, weight_bits + 2, channels),
            groups=groups,
            low=low,
            levels=levels,
            pool=pool,
        )
        layers.append(layer)
        windows = pool.windows(*size) if pool is not None else (range(size[0]), range(size[1]))
        shapes[layer.name] = (channels, len(windows[0]), len(windows[1]))
    inputs, height, width = shapes[list(shapes)[-1]]
    low, high = -(2 ** (weight_bits - 1)), 2 ** (weight_bits - 1)
    last = Source(tensor=list(shapes)[-1], weights=rng.integers(low, high, (3, inputs, height, width)))
    zeros = np.zeros(3, np.int64)
    layers.append(Layer(name="last", sources=(last,), bias=rng.integers(-99, 99, 3), shift=zeros, groups=0))
    return SpikeNet(image=image, layers=tuple(layers), weight_bits=weight_bits)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    net = random_net(rng)
    images = rng.integers(0, 2**net.image.bits, (2, *net.image.shape))
    found = golden.run(net, images, layers=True)
    np.testing.assert_array_equal(golden.run(net, images), found.logits)
    for index, image in enumerate(images):
        wanted = naive(net, image)
        for layer in net.layers[:-1]:
            np.testing.assert_array_equal(found.codes[layer.name][index], wanted[layer.name].astype(np.int64))
        np.testing.assert_array_equal(found.logits[index], wanted["last"].astype(np.int64).ravel())
        # Nothing ever leaves the proven range.
        low, high = net.accumulator_range(net.layers[-1])
        assert low <= found.logits.min() and found.logits.max() <= high


def threshold_net(weight: int, bias: int, shift: int, groups: int) -> SpikeNet:
    def one(value: int) -> np.ndarray:
        return np.full((1, 1, 1, 1), value)

    fire = Layer(
        name="fire",
        sources=(Source(tensor=INPUT, weights=one(weight)),),
        bias=np.array([bias]),
        shift=np.array([shift]),
        groups=groups,
    )
    last = Layer(
        name="last",
        sources=(Source(tensor="fire", weights=one(1)),),
        bias=np.array([0]),
        shift=np.array([0]),
        groups=0,
    )
    return SpikeNet(image=Image(shape=(1, 1, 1)), layers=(fire, last))


@pytest.mark.parametrize("groups", [1, 5, 8])
@pytest.mark.parametrize("shift", [0, 3, 7])
def test_thresholds_are_hit_exactly(groups, shift):
    theta = 1 << shift
    for count in range(-1, groups + 2):
        for near in (-1, 0, 1):
            acc = count * theta + near
            logits = golden.run(threshold_net(0, acc, shift, groups), np.zeros((1, 1, 1, 1), np.uint8))
            assert logits.item() == min(max(acc // theta, 0), groups)


@pytest.mark.parametrize("bits", [24, 52])
def test_trains_at_the_edge_of_the_accumulator(bits):
    """Literal spikes of the largest and smallest sums that floating point holds exactly, and near thresholds."""
    high = (1 << bits) - 1
    shift = min(40, bits - 3)
    for acc in (high, high - 1, -high, (8 << shift) - 1, 7 << shift, (7 << shift) - 1, (3 << shift) - 1, 3 << shift):
        if abs(acc) <= high:
            net = threshold_net(0, acc, shift, 8)
            found = golden.run(net, np.zeros((1, 1, 1, 1), np.uint8), trains=True)
            wanted = psg(np.array(acc), 8 << shift, 8)
            assert found.trains["fire"].item() == sum(int(spike) << i for i, spike in enumerate(wanted))
            assert found.logits.item() == wanted.sum()


def test_wide_sums_are_exact():
    # 2**24 + 1 is the first integer that float32 cannot hold.
    net = threshold_net(127, 2**24 + 1 - 127 * 255, 0, 65535)
    last = Layer(
        name="last", sources=net.layers[0].sources, bias=net.layers[0].bias, shift=np.array([0]), groups=0
    )  # fmt: skip
    net = SpikeNet(image=net.image, layers=(last,))
    assert golden.run(net, np.full((1, 1, 1, 1), 255)).item() == 2**24 + 1


def test_example_c_of_semantics():
    """Weights 9, -5, 12, counts 3, 1, 4, bias 7 per group, g = 4, threshold 32: 98 >> 5 = 3 (not 2)."""
    source = Source(tensor=INPUT, weights=np.array([9, -5, 12]).reshape(1, 3, 1, 1))
    fire = Layer(name="fire", sources=(source,), bias=np.array([4 * 7]), shift=np.array([5]), groups=4)
    one = Source(tensor="fire", weights=np.ones((1, 1, 1, 1), int))
    last = Layer(name="last", sources=(one,), bias=np.array([0]), shift=np.array([0]), groups=0)
    net = SpikeNet(image=Image(shape=(3, 1, 1), bits=3), layers=(fire, last))
    assert golden.run(net, np.array([3, 1, 4]).reshape(1, 3, 1, 1)).item() == 3


def test_bad_codes_are_refused():
    net = threshold_net(1, 0, 0, 4)
    with pytest.raises(
        OneSpikeError, match=r"^Image codes must be integers \(N, \(1, 1, 1\)\), not float64 \(1, 1, 1, 1\)"
    ):
        golden.run(net, np.zeros((1, 1, 1, 1)))
    with pytest.raises(OneSpikeError, match=r"^Image codes must lie in 0\.\.255\.$"):
        golden.run(net, np.full((1, 1, 1, 1), 256))
    with pytest.raises(OneSpikeError, match=r"^Images must have the shape \(N, 1, 1, 1\), not \(1, 2, 2\)\.$"):
        net.golden(np.zeros((1, 2, 2)))
    with pytest.raises(OneSpikeError, match=r"^The images hold NaN or infinite values; clean the data first\.$"):
        net.golden(np.full((1, 1, 1, 1), np.nan))


def test_results_on_request():
    """One call gives logits, every layer's codes, literal spike trains and operation counts, all in agreement."""
    rng = np.random.default_rng(7)
    net = random_network(rng, (3, 8), 60)
    images = rng.random((3, *net.image.shape))
    logits = net.golden(images)
    result = net.golden(images, layers=True, trains=True, operations=True)
    assert (result.logits == logits).all()
    assert result.operations == count_operations(net, net.image.quantise(images))
    assert (net.golden(images, operations=True).logits == logits).all()
    for layer in net.layers[:-1]:
        spikes = np.bitwise_count(result.trains[layer.name])
        assert spikes.max() <= layer.groups
        if layer.pool is None:
            assert (spikes == result.codes[layer.name]).all()


def test_codes_above_65535():
    """255 groups summed over 17x17 places: the codes are those that the next layer reads, not modulo 2**16."""
    one = Source(tensor=INPUT, weights=np.ones((1, 1, 1, 1), int))
    first = Layer(name="a", sources=(one,), bias=np.array([255]), shift=np.array([0]), groups=255,
                  pool=Pool(kind="sum", kernel=(17, 17), stride=(17, 17)))  # fmt: skip
    last = Layer(name="b", sources=(Source(tensor="a", weights=np.ones((1, 1, 1, 1), int)),), bias=np.zeros(1, int),
                 shift=np.zeros(1, int), groups=0)  # fmt: skip
    net = SpikeNet(image=Image(shape=(1, 17, 17)), layers=(first, last))
    result = golden.run(net, np.zeros((2, 1, 17, 17), np.uint8), layers=True)
    assert result.codes["a"].ravel().tolist() == result.logits.ravel().tolist() == [255 * 289] * 2
    assert result.codes[INPUT].dtype == np.uint16  # the others stay as small as they can
    counted = count_operations(net, result.codes).layers[0]
    assert (counted.spikes_unary, counted.spikes_radix) == (2 * 255 * 289, 2 * (255 * 289).bit_count())


def test_sums_of_some_sources():
    """By source: what is there is summed, in its own type, with the image's pad code; nothing gives 0."""
    weights = np.arange(-4, 5).reshape(1, 1, 3, 3)
    sources = (
        Source(tensor=INPUT, weights=weights, padding=(1, 1, 1, 1)),
        Source(tensor="other", weights=np.full((1, 2, 1, 1), 3), shift=2),
    )
    layer = Layer(name="a", sources=sources, bias=np.array([9]), shift=np.zeros(1, int), groups=0)
    tensors = {INPUT: np.ones((1, 2, 2, 1), np.float32), "other": np.full((1, 2, 2, 2), 5, np.float32)}
    padded = np.full((4, 4), 7)
    padded[1:3, 1:3] = 1
    first = [[(padded[y : y + 3, x : x + 3] * weights[0, 0]).sum() for x in range(2)] for y in range(2)]
    assert golden.sums(layer, {}, (7,)) == 0
    for names, wanted in ((INPUT,), np.array(first)), (("other",), 2 * 5 * 3 * 4), (tensors, np.array(first) + 120):
        found = golden.sums(layer, {name: tensors[name] for name in names}, (7,))
        assert found.dtype == np.float32 and (found[0, :, :, 0] == wanted).all()


@pytest.mark.parametrize("gap", [1, 2])
def test_kernels_of_many_channels(gap):
    """One product for each row of the kernel, where a row is long enough."""
    rng = np.random.default_rng(gap)
    weights = rng.integers(-8, 8, (3, 11, 3, 3))  # 33 inputs a row
    layers = [
        Layer(name="last", bias=rng.integers(-9, 9, 3), shift=np.zeros(3, np.int64), groups=0,
              sources=(Source(tensor=INPUT, weights=weights, stride=(1, 2), padding=(1, 0, 2, 1), dilation=(gap, 1)),)),
    ]  # fmt: skip
    net = SpikeNet(image=Image(shape=(11, 7, 6), bits=4), layers=tuple(layers), weight_bits=5)
    images = rng.integers(0, 16, (2, 11, 7, 6))
    for image, found in zip(images, golden.run(net, images), strict=True):
        np.testing.assert_array_equal(found, naive(net, image)["last"].astype(np.int64).ravel())
