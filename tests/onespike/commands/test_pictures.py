# SPDX-License-Identifier: Apache-2.0
"""Pictures as codes: black is 0 and white the highest code, whatever the file's numbers; unclear ones are refused."""

import argparse

import numpy as np
import pytest
from PIL import Image as Picture

from onespike.commands import labelled
from onespike.model.errors import OneSpikeError
from onespike.model.network.arrangement import Arrangement
from onespike.model.network.spec import Image
from onespike.model.training.data import Dataset
from onespike.pictures import load_codes

GREY, COLOUR = Image(shape=(1, 4, 4)), Image(shape=(3, 4, 4))
RAMP = np.arange(16, dtype=np.uint8).reshape(4, 4) * 17  # 0..255


def codes(path, picture, image=GREY, **options):
    picture.save(path, **options)
    return load_codes(path, image)[0]


@pytest.mark.parametrize("end", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled(tmp_path, end):
    """65,535 is white, 983 (0.015) nearly black."""
    wide = RAMP * np.uint16(257)
    wide[0, 1] = 983
    found = codes(tmp_path / f"a.{end}", Picture.fromarray(wide))
    np.testing.assert_array_equal(found[0], np.rint(wide / 257))
    assert found[0, 0, 1] == 4 and found.max() == 255


@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize(("dtype", "top"), [(bool, 1), (np.uint8, 255), (np.uint16, 65535), (">u2", 65535)])
def test_integer_arrays_are_scaled_by_their_type(tmp_path, bits, dtype, top):
    """Also where the network takes another scale than 0..1."""
    values = np.rint(RAMP / 255 * top).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    image = Image(shape=(1, 4, 4), bits=bits, scale=(1 / 0.3081 / (2**bits - 1),), offset=(-0.1307 / 0.3081,))
    found = load_codes(tmp_path / "a.npy", image)
    np.testing.assert_array_equal(found[0, 0], np.rint(values.astype(float) / top * (2**bits - 1)))


def test_every_mode_that_has_black_and_white(tmp_path):
    grey = Picture.fromarray(RAMP)
    colour = Picture.merge("RGB", [Picture.fromarray(part) for part in (RAMP, RAMP.T, 255 - RAMP)])
    rgb = np.asarray(colour).transpose(2, 0, 1)
    opaque = colour.copy()
    opaque.putalpha(255)
    path = tmp_path / "a.png"
    np.testing.assert_array_equal(codes(path, grey)[0], RAMP)
    np.testing.assert_array_equal(codes(path, grey, COLOUR), [RAMP] * 3)
    np.testing.assert_array_equal(codes(path, colour, COLOUR), rgb)
    np.testing.assert_array_equal(codes(path, colour)[0], np.asarray(colour.convert("L")))
    np.testing.assert_array_equal(codes(path, opaque, COLOUR), rgb)
    np.testing.assert_array_equal(codes(path, grey.convert("1"))[0], np.asarray(grey.convert("1")) * 255)
    np.testing.assert_array_equal(codes(path, colour.quantize(16), COLOUR), rgb)  # sixteen colours, one a pixel
    fractions = Picture.fromarray(RAMP / np.float32(255))
    np.testing.assert_array_equal(codes(tmp_path / "a.tif", fractions)[0], RAMP)


LAST = Image(shape=(3, 4, 4), arrangement=Arrangement(taken=(4, 4, 3), split=(4, 4, 3), axes=(2, 0, 1)))
BLOCKS = Image(shape=(4, 2, 2), arrangement=Arrangement(taken=(1, 4, 4), split=(2, 2, 2, 2), axes=(1, 3, 0, 2)))
UNSHUFFLED = RAMP.reshape(2, 2, 2, 2).transpose(1, 3, 0, 2).reshape(4, 2, 2)


def test_networks_that_rearrange_their_image(tmp_path):
    """Arrays in the module's shape or the engine's, pictures, of which a pixel unshuffle makes channels."""
    colour = np.stack([RAMP, RAMP.T, 255 - RAMP])
    for array in (colour.transpose(1, 2, 0), colour.transpose(1, 2, 0)[None], colour, colour[None]):
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(load_codes(tmp_path / "a.npy", LAST), colour[None])
    np.testing.assert_array_equal(codes(tmp_path / "a.png", Picture.fromarray(colour.transpose(1, 2, 0)), LAST), colour)
    np.testing.assert_array_equal(codes(tmp_path / "a.png", Picture.fromarray(RAMP), BLOCKS), UNSHUFFLED)


def test_data_sets_of_networks_that_rearrange_their_image(monkeypatch):
    shares = np.stack([RAMP, 255 - RAMP])[:, None] / np.float32(255)
    monkeypatch.setattr(labelled, "load", lambda *_: Dataset(name="two", images=shares, labels=np.arange(2)))
    arguments = argparse.Namespace(data="two", split="test", images=None)
    found = BLOCKS.quantise(labelled.load_for(arguments, BLOCKS).images)
    np.testing.assert_array_equal(found[0], UNSHUFFLED)


def seen_through() -> Picture.Image:
    picture = Picture.new("RGBA", (4, 4), (9, 9, 9, 255))
    picture.putpixel((1, 1), (9, 9, 9, 254))
    return picture


REFUSED = {
    "float beyond white": ("a.tif", lambda: Picture.fromarray(RAMP.astype(np.float32)), {}, r"beyond 0 \(black\) to 1"),
    "NaN": ("a.tif", lambda: Picture.fromarray(np.full((4, 4), np.nan, np.float32)), {}, r"beyond 0 \(black\) to 1"),
    "32 bits": ("a.tif", lambda: Picture.fromarray(RAMP.astype(np.int32)), {}, "of the mode 'I', whose black"),
    "CMYK": ("a.tif", lambda: Picture.new("CMYK", (4, 4)), {}, "of the mode 'CMYK', whose black and white"),
    "alpha": ("a.png", seen_through, {}, "has pixels that are not opaque; put it on a background"),
    "one colour is transparent": ("a.png", lambda: Picture.new("L", (4, 4), 7), {"transparency": 7}, "not opaque"),
    "palette": ("a.png", lambda: Picture.new("P", (4, 4)), {"transparency": 0}, "not opaque"),
    "frames": (
        "a.gif",
        lambda: Picture.fromarray(RAMP),
        {"save_all": True, "append_images": [Picture.fromarray(RAMP.T)]},
        "holds 2 pictures; save one of them",
    ),
    "size": ("a.png", lambda: Picture.new("L", (5, 4)), {}, "holds images of 1 x 4 x 5, but the network takes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_pictures_that_say_too_little(tmp_path, name):
    file, make, options, message = REFUSED[name]
    with pytest.raises(OneSpikeError, match=message):
        codes(tmp_path / file, make(), **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RAMP.astype(np.float32), r"a\.npy: The images range from 0 to 255, but the network takes 0 to 1, so that 9"),
        (np.full((4, 4), -0.5), r"a\.npy: The images range from -0\.5 to -0\.5, but the network takes 0 to 1, so"),
        (RAMP.astype(np.int32), r"must hold uint8 \(0\.\.255\), uint16 .* or floating-point numbers, not int32"),
        (np.zeros((0, 1, 4, 4)), "holds images of 1 x 4 x 4"),
    ],
)  # fmt: skip
def test_arrays_out_of_range(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(OneSpikeError, match=message):
        load_codes(tmp_path / "a.npy", GREY)


def test_floating_point_arrays_are_what_the_network_takes(tmp_path):
    image = Image(shape=(1, 4, 4), scale=(1 / 127.5,), offset=(-1.0,))
    np.save(tmp_path / "a.npy", RAMP / 127.5 - 1)
    np.testing.assert_array_equal(load_codes(tmp_path / "a.npy", image)[0, 0], RAMP)
