# SPDX-License-Identifier: Apache-2.0
"""Images that the host rearranges: every reshape and transpose is found again, and images come in either shape."""

import numpy as np
import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.network.arrangement import Arrangement, arrangement_of
from onespike.model.network.image import Image

RNG = np.random.default_rng(3)
LAST = Arrangement(taken=(4, 5, 3), split=(4, 5, 3), axes=(2, 0, 1))


def test_every_transpose_is_found():
    for _ in range(60):
        split = RNG.integers(1, 5, RNG.integers(1, 6))
        axes = RNG.permutation(len(split))
        images = RNG.random((3, *split))
        wanted = images.transpose(0, *(axes + 1)).reshape(3, -1)
        places = np.arange(images[0].size).reshape(split).transpose(axes)
        found = arrangement_of(images.shape[1:], places)
        assert np.array_equal(found.apply(images, wanted.shape[1:]), wanted)
        assert np.array_equal(found.undo(wanted), images)
    assert LAST.apply(np.zeros((0, 4, 5, 3)), (3, 4, 5)).shape == (0, 3, 4, 5)
    assert LAST.undo(np.zeros((0, 3, 4, 5))).shape == (0, 4, 5, 3)


@pytest.mark.parametrize("places", [[3, 2, 1, 0], [1, 0, 2, 3], [0, 2, 1, 3, 4, 5], [1, 2, 3, 4], [0, 1, 0, 1]])
def test_what_no_transpose_makes(places):
    assert arrangement_of((len(places),), np.array(places)) is None


def test_images_in_either_shape():
    image = Image(shape=(3, 4, 5), scale=(0.5, 0.25, 0.125), offset=(0.0, 1.0, 2.0), arrangement=LAST)
    codes = RNG.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    maps = codes.transpose(0, 3, 1, 2)
    assert np.array_equal(image.quantise(codes), maps) and np.array_equal(image.quantise(maps), maps)
    floats = codes * np.array(image.scale) + image.offset
    assert np.array_equal(image.quantise(floats), maps)
    assert np.array_equal(image.quantise(floats.transpose(0, 3, 1, 2)), maps)
    with pytest.raises(
        OneSpikeError, match=r"^Images must have the shape \(N, 4, 5, 3\) or \(N, 3, 4, 5\), not \(6, 60\)\.$"
    ):
        image.quantise(codes.reshape(6, -1))


@pytest.mark.parametrize(
    "facts",
    [{"taken": (4, 5)}, {"axes": (2, 0)}, {"axes": (0, 0, 1)}, {"split": ()}, {"taken": (0,)}, {"taken": (-4, -5, 3)},
     {"axes": (2, 0, 1.0)}],
    ids=str,
)  # fmt: skip
def test_damaged(facts):
    with pytest.raises(OneSpikeError):
        Arrangement(**({"taken": LAST.taken, "split": LAST.split, "axes": LAST.axes} | facts))
    with pytest.raises(OneSpikeError, match=r"^Images of \(4, 5, 3\) cannot be arranged as \(1, 4, 5\)\.$"):
        Image(shape=(1, 4, 5), arrangement=LAST)
