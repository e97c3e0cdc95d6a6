# SPDX-License-Identifier: Apache-2.0
"""Sources: kernels written out between their groups, the map that they make, and what their numbers may be."""

import numpy as np
import pytest

from onespike.model.errors import OneSpikeError
from onespike.model.network import source as module
from onespike.model.network.source import Source

WEIGHTS = np.arange(1, 9).reshape(4, 2, 1, 1)


def test_a_kernel_written_out(monkeypatch):
    whole, grouped = Source(tensor="a", weights=WEIGHTS), Source(tensor="a", weights=WEIGHTS, groups=2)
    assert whole.dense.tolist() == WEIGHTS.tolist()
    expected = [[1, 2, 0, 0], [3, 4, 0, 0], [0, 0, 5, 6], [0, 0, 7, 8]]
    assert grouped.dense[..., 0, 0].tolist() == expected
    assert (whole.in_channels, whole.fan_out, grouped.in_channels, grouped.fan_out) == (2, 4, 4, 2)
    monkeypatch.setattr(module, "MAX_VALUES", 16)
    assert Source(tensor="a", weights=WEIGHTS, groups=2).dense.size == 16
    monkeypatch.setattr(module, "MAX_VALUES", 15)
    with pytest.raises(OneSpikeError, match=r"^The kernel on 'a', in 2 groups, has 16 weights with the zeros between"):
        _ = Source(tensor="a", weights=WEIGHTS, groups=2).dense


def test_the_map_that_it_makes():
    weights = np.ones((1, 1, 3, 2))
    source = Source(tensor="a", weights=weights.astype(int), stride=(2, 1), padding=(1, 2, 0, 3), dilation=(2, 4))
    rows = [y for y in range(-1, 9 + 2, 2) if y + 2 * 2 <= 9 + 2 - 1]
    columns = [x for x in range(6 + 3) if x + 4 <= 6 + 3 - 1]
    assert source.output_shape(9, 6) == (len(rows), len(columns))
    assert Source(tensor="a", weights=weights[..., :1, :1].astype(int), up=(2, 3)).output_shape(5, 7) == (10, 21)


@pytest.mark.parametrize(
    ("most", "beyond", "sentence"),
    [
        ({"shift": 15}, {"shift": 16}, r"^The shift of a source must lie in 0\.\.15, not 16\.$"),
        ({"shift": 0}, {"shift": -1}, r"^The shift of a source must lie in 0\.\.15, not -1\.$"),
        ({"groups": 1}, {"groups": 0}, r"^The groups of a source must be at least 1, not 0\.$"),
        ({"padding": (0, 0, 0, 1)}, {"padding": (0, 0, 0, -1)}, r"^Stride, dilation and every kernel side must be"),
        ({"dilation": (1, 2)}, {"dilation": (1, 0)}, r"^Stride, dilation and every kernel side must be at least 1"),
        ({"up": (16, 1)}, {"up": (17, 1)}, r"^A source that makes a larger map, up = \(17, 1\), must be a kernel of"),
        ({"up": (2, 2)}, {"up": (2, 2), "stride": (1, 2)}, r"^A source that makes a larger map, up = \(2, 2\), must"),
        ({"up": (2, 2)}, {"up": (2, 2), "padding": (1, 0, 0, 0)}, r"^A source that makes a larger map, up = \(2, 2\),"),
        ({"up": (2, 2)}, {"up": (2, 2), "tensor": "input"}, r"^A source that makes a larger map, up = \(2, 2\), must"),
    ],
)
def test_ends(most, beyond, sentence):
    Source(**{"tensor": "a", "weights": WEIGHTS, **most})
    with pytest.raises(OneSpikeError, match=sentence):
        Source(**{"tensor": "a", "weights": WEIGHTS, **beyond})
