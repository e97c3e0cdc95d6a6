# SPDX-License-Identifier: Apache-2.0
"""Images of few channels stored with the columns of the kernel side by side: when, which pixels where, and what for."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onespike.hw.config import EngineConfig
from onespike.model.mapping.images import image_beats
from onespike.model.mapping.layout import deal_words
from onespike.model.mapping.mapper import fit_config, map_network
from onespike.model.mapping.mapping import Mapping
from onespike.model.mapping.unroll import Unroll
from onespike.model.network.spec import INPUT, Image, Layer, Pool, Source, SpikeNet

ENGINE = EngineConfig(banks=4, lanes=4, fire_lanes=2)


def network(image: Image, source: Source, **more) -> SpikeNet:
    """One layer on the image, and a last one on what it fires."""
    out = len(source.weights)
    first = Layer(name="a", sources=(source,), bias=np.zeros(out, int), shift=np.zeros(out, int), groups=3, **more)
    _, height, width = SpikeNet(image=image, layers=(dataclasses.replace(first, groups=0, pool=None),)).conv_shapes["a"]
    if first.pool is not None:
        height, width = first.pool.output_shape(height, width)
    classes = Source(tensor="a", weights=np.ones((2, out, height, width), int))
    zero = np.zeros(2, int)
    return SpikeNet(image=image, layers=(first, Layer(name="b", sources=(classes,), bias=zero, shift=zero, groups=0)))


def mapped(
    shape=(1, 6, 8), kernel=(3, 3), out=4, bits=8, pad=0, slices=1, pool=None, code="radix", **geometry
) -> Mapping:
    weights = np.ones((out, shape[0], *kernel), int)
    image = Image(shape=shape, bits=bits, pad_code=(pad,) * shape[0])
    net = network(image, Source(tensor=INPUT, weights=weights, **geometry), pool=pool)
    options = {"slices": slices, "image_code": code}
    return map_network(net, fit_config(net, ENGINE, **options), **options)


BORDER = {"padding": (1, 1, 1, 1)}
HALVES = Pool(kind="max", kernel=(2, 2), stride=(2, 2))


@pytest.mark.parametrize(
    ("case", "turns", "size"),
    [
        (BORDER, 4, 6 * 2),  # jobs go to four banks in turn, columns are eight
        (BORDER | {"shape": (1, 6, 6)}, 2, 6 * 3),  # a row of six: bank and column agree modulo 2 only
        (BORDER | {"shape": (1, 6, 7)}, 1, 6 * 7),
        (BORDER | {"pool": HALVES}, 2, 6 * 4),  # a window's two columns, over and over
        (BORDER | {"out": 5}, 1, 6 * 8),  # two output blocks: a column's jobs go to two banks
        (BORDER | {"slices": 2}, 1, 6 * 8),  # a job has two banks
        ({"kernel": (1, 4), "padding": (0, 0, 2, 2)}, 1, None),  # nine columns for eight pixels: more words
        ({"kernel": (2, 5)}, 4, 6 * 2),  # four columns of two words, one in each bank
        ({"kernel": (2, 5), "shape": (1, 6, 7)}, 1, 6 * 3 * 2),
        ({"kernel": (2, 5), "shape": (1, 6, 7), "padding": (0, 0, 2, 2)}, 1, None),  # seven columns of two words
        ({"kernel": (1, 4), "padding": (0, 0, 2, 2), "pad": 9}, 1, 6 * 9),  # a border would be stored, too
        ({"kernel": (1, 4), "padding": (0, 0, 2, 2), "pad": 128, "code": "twos"}, 1, None),  # around zero none would
        ({"kernel": (1, 4), "padding": (0, 0, 2, 2), "pad": 0, "code": "twos"}, 1, 6 * 9),
        ({"shape": (4, 6, 8)}, 1, None),  # a word holds a pixel: nothing to gain
        ({"kernel": (3, 1)}, 4, 6 * 2),  # as many reads, but a bank keeps its own columns only
        ({"kernel": (6, 8)}, 1, None),  # a linear layer: the image is flat
    ],
)
def test_when(case, turns, size):
    tensor = mapped(**case).tensors[INPUT]
    if size is None:
        assert tensor.unroll is None
    else:
        assert tensor.unroll is not None and (tensor.unroll.turns, tensor.size) == (turns, size)
        assert len(tensor.slices) == max(turns, case.get("slices", 1))


def test_readers_that_differ():
    """Two layers that read the image in different ways see it as it is."""
    mapping = mapped(**BORDER)
    first, last = mapping.net.layers
    wide = Source(tensor=INPUT, weights=np.ones((4, 1, 3, 5), int), padding=(1, 1, 2, 2))
    for other, plain in ((first.sources[0], False), (wide, True)):
        layers = (dataclasses.replace(first, sources=(first.sources[0], other)), last)
        net = dataclasses.replace(mapping.net, layers=layers)
        tensor = map_network(net, fit_config(net, ENGINE)).tensors[INPUT]
        assert (tensor.unroll is None) == plain


def test_beats():
    """Two slices, even and odd columns; a word holds a pixel's left neighbour, itself, and its right one."""
    mapping = mapped(shape=(1, 2, 4), kernel=(1, 3), padding=(0, 0, 1, 1), pad=7, pool=HALVES)
    assert mapping.tensors[INPUT].unroll == Unroll(taps=3, step=1, gap=1, left=1, right=1, turns=2)
    beats = image_beats(mapping, np.array([[[[1, 2, 3, 4], [5, 6, 8, 9]]]], np.uint8))
    assert [f"{beat:06x}" for beat in beats[0]] == [
        "020107", "040302", "060507", "090806", "030201", "070403", "080605", "070908",
    ]  # fmt: skip


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.integers(0, 2),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_sums_stay(channels, taps, step, gap, left, right, seed):
    """Each output column's tap row in one place, against the definition of the convolution."""
    rng = np.random.default_rng(seed)
    unroll = Unroll(taps=taps, step=step, gap=gap, left=left, right=right)
    width = gap * (taps - 1) + 1 + int(rng.integers(0, 6))
    padded = rng.integers(0, 9, (2, channels, 3, width + left + right))
    weights = rng.integers(-9, 9, (2, channels, 3, taps))
    stored, kernel = unroll.values(padded), unroll.weights(weights)
    count = (width + left + right - gap * (taps - 1) - 1) // step + 1
    assert stored.shape == (2, channels * taps, 3, count) and unroll.columns(width) == count
    assert kernel.shape == (2, channels * taps, 3, 1)
    for x in range(count):
        run = padded[..., x * step : x * step + gap * (taps - 1) + 1 : gap]
        expected = np.einsum("ncyx,ocyx->no", run, weights)
        assert (np.einsum("ncy,ocy->no", stored[..., x], kernel[..., 0]) == expected).all()


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(1, 200), st.sampled_from([1, 2, 4, 8]), st.sampled_from([2, 4, 8, 32]))
def test_words_of_a_flat_image(values, slices, per_word):
    """Every value once, whole words but for the last one, and no slice with two words more than another."""
    dealt = deal_words(values, slices, per_word)
    assert len(dealt) == slices and sorted(v for s in dealt for v in s) == list(range(values))
    words = [[s[i : i + per_word] for i in range(0, len(s), per_word)] for s in dealt]
    for word in (word for own in words for word in own):
        assert word == tuple(range(word[0], word[0] + len(word))) and word[0] % per_word == 0
        assert len(word) == per_word or word[-1] == values - 1
    assert max(map(len, words)) - min(map(len, words)) <= 1


def test_quarters_in_turn():
    """An image of 4 x 4 bytes and two slices: rows one after the other, and each slice has its share of every row."""
    assert deal_words(16, 1, 2) == ((0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15),)
    assert deal_words(16, 2, 2) == ((0, 1, 6, 7, 8, 9, 14, 15), (2, 3, 4, 5, 10, 11, 12, 13))
