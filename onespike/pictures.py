# SPDX-License-Identifier: Apache-2.0
"""Pictures and arrays as the codes of a network: every value is scaled by its own range, none is clipped.

| what | black to white |
|---|---|
| 8 bits a channel, palettes (by their colours), uint8 arrays | 0..255 |
| 16-bit grey (PNG, PPM, TIFF), uint16 arrays | 0..65,535 |
| 1 bit, bool arrays | 0..1 |
| floating-point pictures (TIFF, PFM) | 0..1, others are refused |
| floating-point arrays | what the trained network takes, by the rule of `model/network/pixels.py` |

Colours become grey by ITU-R 601 where the network has one channel, grey becomes three equal channels. PNG with 16 bits
a colour keeps the upper 8. Refused, as nothing says what they mean to the network: pixels that are not opaque, CMYK and
other colour spaces, 32-bit integers, several frames. Orientation marks of cameras are not applied.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from .model.errors import OneSpikeError
from .model.network.spec import Image
from .model.system import bounded
from .model.training.data import load_images

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "GIF", "WEBP")
TOPS = {np.dtype(bool): 1, np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}  # the white of integers


def load_codes(path: Path, image: Image) -> np.ndarray:
    """Codes uint8 [N, C, H, W] of a picture or of a `.npy` file, for a network that takes `image`."""
    if path.suffix in (".npy", ".npz"):
        values = load_images(path)
        arrangement = image.arrangement
        if arrangement is not None and arrangement.taken in (values.shape, values.shape[1:]):
            values = arrangement.apply(values.reshape(-1, *arrangement.taken), image.shape)
        elif values.ndim == 2:
            values = values[None, None]
        elif values.ndim == 3:
            values = values[None] if values.shape == image.shape else values[:, None]
    else:
        values = _shown(path, image)
    if values.shape[1:] != image.shape or not len(values):
        raise _other_size(path, values.shape[1:], image.shape)
    top = TOPS.get(values.dtype.newbyteorder("="))
    if top is not None:
        return np.rint(values * ((2**image.bits - 1) / top)).astype(np.uint8)
    if not np.issubdtype(values.dtype, np.floating):
        raise OneSpikeError(
            f"{path} must hold uint8 (0..255), uint16 (0..65,535) or floating-point numbers, not {values.dtype}."
        )
    try:
        return image.quantise(values)
    except OneSpikeError as error:
        raise OneSpikeError(f"{path}: {error}") from None


def _shown(path: Path, image: Image) -> np.ndarray:
    """Values [1, C, H, W] of a picture; where the network cuts pictures up itself, it is of that size before."""
    arrangement = image.arrangement
    if arrangement is not None and image.shape[0] not in (1, 3) and len(arrangement.taken) == 3:
        channels, height, width = arrangement.taken
        if channels in (1, 3):
            return arrangement.apply(_picture(path, (channels, height, width)), image.shape)
    return _picture(path, image.shape)


def _picture(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Values [1, C, H, W] of a picture: bool, uint8 or uint16, or, between 0 and 1, scaled to uint16."""
    from PIL import Image as Pillow

    try:
        with warnings.catch_warnings(), bounded.opened(path) as (file, _):
            warnings.simplefilter("ignore")  # of odd tags; sizes are compared below
            picture = _opened(path, file, shape)
            if picture.format == "PNG":  # checksums, which decoding skips
                picture.verify()
                file.seek(0)
                picture = _opened(path, file, shape)
            pixels = _pixels(path, picture, shape[0])
    except OneSpikeError:
        raise
    except Pillow.UnidentifiedImageError:
        raise OneSpikeError(f"{path} is no picture; give a PNG file or a .npy file.") from None
    except Pillow.DecompressionBombError:
        raise OneSpikeError(f"{path} holds far more pixels than {_size(shape)}; scale it first.") from None
    except Exception as error:  # a damaged picture can fail in a dozen ways
        raise OneSpikeError(f"Cannot read the picture {path}: it is damaged ({type(error).__name__}).") from None
    return pixels[None, None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)[None]


def _opened(path: Path, file: IO[bytes], shape: tuple[int, int, int]) -> Picture:
    """The picture, of which nothing has been decoded yet: its size is the network's."""
    from PIL import Image as Pillow

    picture = Pillow.open(file, formats=FORMATS)
    if (picture.height, picture.width) != shape[1:]:
        raise _other_size(path, (len(picture.getbands()), picture.height, picture.width), shape)
    if (frames := getattr(picture, "n_frames", 1)) != 1:
        raise OneSpikeError(f"{path} holds {frames} pictures; save one of them as a file of its own.")
    return picture


def _pixels(path: Path, picture: Picture, channels: int) -> np.ndarray:
    """Values [H, W] or [H, W, 3] of the picture, grey or in colour as the network takes it."""
    picture.load()
    if "transparency" in picture.info or picture.mode in ("LA", "PA", "RGBA"):
        if picture.mode.startswith("I") or np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
            raise OneSpikeError(f"{path} has pixels that are not opaque; put it on a background first.")
        picture = picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    wide = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    if picture.mode not in ("1", "L", "RGB", "F") and not wide:
        raise OneSpikeError(
            f"{path} is a picture of the mode {picture.mode!r}, whose black and white nothing says; save it as grey or "
            f"RGB with 8 bits, or as grey with 16."
        )
    if picture.mode == "RGB" and channels == 1:
        picture = picture.convert("L")
    pixels = np.asarray(picture)
    if wide:
        pixels = pixels.astype(np.uint16)
    elif picture.mode == "F":
        if not ((pixels >= 0) & (pixels <= 1)).all():
            raise OneSpikeError(f"{path} holds floating-point pixels beyond 0 (black) to 1 (white); scale them first.")
        pixels = np.rint(pixels.astype(np.float64) * 65535).astype(np.uint16)
    return np.stack([pixels] * 3, -1) if pixels.ndim == 2 and channels == 3 else pixels


def _other_size(path: Path, found: tuple[int, ...], wanted: tuple[int, ...]) -> OneSpikeError:
    return OneSpikeError(
        f"{path} holds images of {_size(found)}, but the network takes {_size(wanted)} (channels x height x width); "
        f"scale them first."
    )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
