# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onespike.model.errors import OneSpikeError
from onespike.model.mapping.layout import TensorLayout, allocate, deal, tensor_layout
from onespike.model.network import codes

fixed = settings(derandomize=True, max_examples=60, deadline=None)


@st.composite
def layouts(draw) -> tuple[TensorLayout, int]:
    """A random layout, and its word width."""
    word_bits = draw(st.sampled_from([16, 32]))
    code, top = draw(st.sampled_from([("radix", 1), ("radix", 9), ("radix", 255), ("unary", 7), ("unary", 16),
                                      ("psg", 4), ("signed", 255)]))  # fmt: skip
    channels = draw(st.integers(1, 20))
    rates = draw(st.none() | st.lists(st.floats(0, 3), min_size=channels, max_size=channels))
    layout = tensor_layout(
        name="x",
        shape=(channels, draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        code=code,
        top=top,
        slices=draw(st.sampled_from([1, 2, 4, 8])),
        granule=draw(st.sampled_from([1, 2, 4])),
        word_bits=word_bits,
        rates=rates,
        pad=draw(st.tuples(*[st.integers(0, 2)] * 4)),
    )
    return layout, word_bits


@fixed
@given(st.integers(1, 40), st.sampled_from([1, 2, 4, 8]), st.data())
def test_deal(channels, slices, data):
    """Every channel once; no slice holds more than its share; equal runs without rates."""
    rates = data.draw(st.none() | st.lists(st.floats(0, 9), min_size=channels, max_size=channels))
    dealt = deal(channels, slices, rates)
    assert sorted(c for s in dealt for c in s) == list(range(channels))
    assert len(dealt) == slices and max(map(len, dealt)) <= -(-channels // slices)
    assert all(list(s) == sorted(s) for s in dealt)
    if rates is None:
        assert [c for s in dealt for c in s] == list(range(channels))


def test_deal_balances():
    assert deal(4, 2, [9, 1, 8, 2]) == ((0, 1), (2, 3))
    assert deal(5, 2, [1, 1, 1, 1, 1]) == ((0, 2, 4), (1, 3))
    assert deal(2, 4) == ((0,), (1,), (), ())


@fixed
@given(layouts(), st.integers(0, 2**32 - 1))
def test_pack(case, seed):
    """Every field at its place: slice, pixel, word, field; zero everywhere else."""
    layout, word_bits = case
    channels = sum(map(len, layout.slices))
    values = np.random.default_rng(seed).integers(0, layout.top + 1, (channels, layout.height, layout.width))
    fields = codes.encode(values, layout.code, layout.top)
    words = layout.pack(fields, word_bits)
    assert words.shape == (len(layout.slices), layout.height * layout.width, layout.words)
    assert layout.size == words.shape[1] * words.shape[2]
    assert words.max(initial=0) < 1 << word_bits
    per_word = word_bits // layout.field
    mask = (1 << layout.field) - 1
    for s, held in enumerate(layout.slices):
        for pixel in range(words.shape[1]):
            row = [int(w) >> i * layout.field & mask for w in words[s, pixel] for i in range(per_word)]
            expected = [int(fields[c].reshape(-1)[pixel]) for c in held]
            assert row == expected + [0] * (len(row) - len(expected))


@fixed
@given(layouts())
def test_order(case):
    """Physical places: every channel once, slice by slice, as many places in each."""
    layout, word_bits = case
    order = layout.order
    assert len(order) == len(layout.slices) * layout.channels_per_slice
    assert sorted(c for c in order if c >= 0) == sorted(c for s in layout.slices for c in s)
    for s, held in enumerate(layout.slices):
        part = order[s * layout.channels_per_slice : (s + 1) * layout.channels_per_slice]
        assert part == [*held, *[-1] * (len(part) - len(held))]
    assert layout.words * word_bits >= layout.channels_per_slice * layout.field > (layout.words - 1) * word_bits
    assert layout.field & (layout.field - 1) == 0 and layout.field <= word_bits


@fixed
@given(st.data())
def test_allocate(data):
    """Tensors that live at the same time never share a word; the fixed one shares with none; nothing below zero."""
    count = data.draw(st.integers(1, 12))
    names = [f"t{i}" for i in range(count)]
    sizes = {name: data.draw(st.integers(1, 20)) for name in names}
    lives = {}
    for name in names:
        first = data.draw(st.integers(0, 10))
        lives[name] = (first, first + data.draw(st.integers(0, 6)))
    always = names[:1] if data.draw(st.booleans()) else []
    bases = allocate(sizes, lives, fixed=always)
    assert set(bases) == set(names) and min(bases.values()) >= 0
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            together = a in always or (lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1])
            apart = bases[a] + sizes[a] <= bases[b] or bases[b] + sizes[b] <= bases[a]
            assert apart or not together, f"{a} and {b} share words while both live"
    assert max(bases[n] + sizes[n] for n in names) <= sum(sizes.values())


def test_allocate_reuses():
    """A chain of layers needs room for two tensors, behind the image."""
    sizes = {"image": 5, "a": 10, "b": 10, "c": 10}
    assert allocate(sizes, {"image": (-1, 0), "a": (0, 1), "b": (1, 2), "c": (2, 3)}, fixed=["image"]) == {
        "image": 0, "a": 5, "b": 15, "c": 5,
    }  # fmt: skip


def test_refusal():
    message = (
        "Values of 'x' up to 20 need 32 bits each in the unary code, more than a spike word of 16 bits; use the radix "
        "code or word_bits=32."
    )
    with pytest.raises(OneSpikeError, match=f"^{message}$"):
        tensor_layout(name="x", shape=(1, 1, 1), code="unary", top=20, slices=1, granule=1, word_bits=16)
