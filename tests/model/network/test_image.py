# SPDX-License-Identifier: Apache-2.0
"""The input tensor: what its numbers may be, at both ends, and what padding is by default."""

import numpy as np
import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.network.image import Image

SHAPE = (1, 2, 3)


@pytest.mark.parametrize(
    ("most", "beyond", "sentence"),
    [
        ({"bits": 16}, {"bits": 17}, r"^Input bits must lie in 1\.\.16, not 17\.$"),
        ({"bits": 1}, {"bits": 0}, r"^Input bits must lie in 1\.\.16, not 0\.$"),
        ({"bits": 4, "first": 14}, {"bits": 4, "first": 15}, r"first code of the image must lie in 0\.\.14, not 15\.$"),
        ({"first": 0}, {"first": -1}, r"first code of the image must lie in 0\.\.254, not -1\.$"),
        ({"bits": 4, "pad_code": (15,)}, {"bits": 4, "pad_code": (16,)}, r"must be 1 codes in 0\.\.15, not \(16,\)\.$"),
        ({"pad_code": (0,)}, {"pad_code": (-1,)}, r"must be 1 codes in 0\.\.255, not \(-1,\)\.$"),
        ({"pad_code": (3,)}, {"pad_code": (3, 3)}, r"must be 1 codes in 0\.\.255, not \(3, 3\)\.$"),
        ({"scale": (1e-9,)}, {"scale": (0.0,)}, r"^The image scale must be positive, not \(0\.0,\)\.$"),
        ({"offset": (1.0,)}, {"offset": (1.0, 2.0)}, r"^The image offset must be 1 finite numbers, not"),
        ({"shape": (1, 1, 1)}, {"shape": (1, 0, 1)}, r"must be \(channels, height, width\), not \(1, 0, 1\)\.$"),
        ({"shape": (1, 1, 9), "channels_last": True}, {"channels_last": True}, "^channels_last is for images of"),
    ],
)
def test_ends(most, beyond, sentence):
    Image(**{"shape": SHAPE, **most})
    with pytest.raises(OneSpikeError, match=sentence):
        Image(**{"shape": SHAPE, **beyond})


def test_padding_is_the_code_nearest_to_zero():
    image = Image(shape=(4, 1, 1), bits=4, scale=(0.5,) * 4, offset=(-2.1, 0.3, -90.0, 0.0))
    assert image.pad_code == (4, 0, 15, 0)
    assert Image(shape=SHAPE).scale == (1 / 255,) and Image(shape=SHAPE).offset == (0.0,)


def test_type_of_codes():
    assert [Image(shape=SHAPE, bits=bits).code_type for bits in (1, 8, 9, 16)] == [np.uint8] * 2 + [np.uint16] * 2
