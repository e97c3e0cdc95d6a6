# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from idx_files import idx
from onespike.model.errors import OneSpikeError
from onespike.model.network.ice import ice
from onespike.model.training.data import load

PIXELS = np.array([0, 64, 85, 102, 128, 204, 255])


def copies(pixels: np.ndarray, steps: int, scale: float, **more) -> list[list[int]]:
    found = ice((pixels.astype(np.float32) / np.float32(255)).reshape(1, 1, 1, -1), steps, scale, **more)
    return found[0, :, 0].tolist()


def test_the_example():
    """Tq = 2.5, T = 1; 102 and 204 lie exactly on a border, and float32 pixels below it count as on it."""
    found = copies(PIXELS, 1, 2.5)
    assert found[:3] == [[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1]]
    assert found[3:] == found[:3] and copies(PIXELS, 1, 2.5, twins=1) == found[:3]
    assert (ice(PIXELS.reshape(1, 1, 1, -1) / 255, 1) == ice(PIXELS.reshape(1, 1, 1, -1) / 255, 1, 2.5)).all()


@pytest.mark.parametrize(("steps", "scale"), [(1, 2.5), (2, 3.5), (2, 5.0)])
def test_every_pixel_in_integers(steps, scale):
    pixels, halves = np.arange(256), round(2 * scale)
    wanted = [np.minimum(pixels * per // 510, steps).tolist() for per in (halves, halves + 2, halves - 2)]
    assert copies(pixels, steps, scale) == wanted * 2


def test_copies_of_all_channels_lie_behind_one_another():
    images = np.random.default_rng(0).random((2, 3, 4, 4))
    found = ice(images, 2, 3.5)
    assert found.shape == (2, 18, 4, 4) and found.dtype == np.uint8
    assert (found[:, 3:6] == np.clip(np.floor(images * 4.5), 0, 2)).all()


def test_a_prefix_expands_data_sets(tmp_path):
    pixels, labels = np.random.default_rng(0).integers(0, 256, (5, 4, 4)), np.arange(5)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(pixels))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    plain, one, two = (load(f"{prefix}{tmp_path}", "test") for prefix in ("", "ice1:", "ice2:"))
    assert one.images.dtype == np.float32 and one.name == f"ice1:{plain.name}" and (one.labels == labels).all()
    assert (one.images == ice(plain.images, 1)).all()
    # Two steps are codes of two bits, of which white would be the third.
    assert (np.rint(two.images * 3) == ice(plain.images, 2)).all()
    with pytest.raises(OneSpikeError, match=r"^There is no data set 'nowhere': give 'digits'"):
        load("ice2:nowhere")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0,), r"^ICE is for T = 1 or 2 steps, not 0; give more steps plain images\.$"),
        ((3,), r"^ICE is for T = 1 or 2 steps, not 3"),
        ((True,), r"^ICE is for T = 1 or 2 steps, not True"),
        ((1, 1.0), r"^The scale Tq of ICE must be above 1, as Tq - 1 is one of the copies, not 1\.0\.$"),
        ((1, float("nan")), r"^The scale Tq of ICE must be above 1"),
    ],
)
def test_bad_arguments(arguments, sentence):
    with pytest.raises(OneSpikeError, match=sentence):
        ice(np.zeros((1, 1, 2, 2)), *arguments)
    with pytest.raises(OneSpikeError, match=r"^ICE makes every copy once or twice, not 3 times\.$"):
        ice(np.zeros((1, 1, 2, 2)), 1, twins=3)
