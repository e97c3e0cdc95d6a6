# SPDX-License-Identifier: Apache-2.0
"""Pictures as numbers: what black and white are, and which files say too little.

| what | black to white |
|---|---|
| 8 bits a channel, palettes (by their colours) | 0..255 |
| 16-bit grey (PNG, PPM, TIFF) | 0..65,535 |
| 1 bit | 0..1 |
| floating-point pictures (TIFF, PFM) | 0..1, others are refused |

Colours become grey by ITU-R 601 where one channel is wanted, grey becomes three equal channels. PNG with 16 bits a
colour keeps the upper 8. Refused, as nothing says what they mean to the network: pixels that are not opaque, CMYK and
other colour spaces, 32-bit integers, several frames. Orientation marks of cameras are not applied.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ..errors import OneSpikeError
from ..system import bounded

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Shape = tuple[int, int, int]
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "TIFF", "GIF", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm", ".pbm", ".pfm", ".tif", ".tiff", ".gif", ".webp")
TOPS = {np.dtype(bool): 1, np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}  # the white of integers


def read_picture(path: Path, shape: Shape, wanted_by: str = "the network takes") -> np.ndarray:
    """Values [1, C, H, W] of a picture of exactly this shape, C 1 or 3: bool, uint8 or uint16, or, between 0 and 1,
    scaled to uint16.

    wanted_by: what a picture of another size is told. Raises OneSpikeError for what the table above refuses.
    """
    from PIL import Image as Pillow

    try:
        with warnings.catch_warnings(), bounded.opened(path) as (file, _):
            warnings.simplefilter("ignore")  # of odd tags; sizes are compared below
            picture = _opened(path, file, shape, wanted_by)
            if picture.format == "PNG":  # checksums, which decoding skips
                picture.verify()
                file.seek(0)
                picture = _opened(path, file, shape, wanted_by)
            pixels = _pixels(path, picture, shape[0])
    except OneSpikeError:
        raise
    except Pillow.UnidentifiedImageError:
        raise OneSpikeError(f"{path} is no picture; give a PNG file or a .npy file.") from None
    except Pillow.DecompressionBombError:
        raise OneSpikeError(f"{path} holds far more pixels than {size_text(shape)}; scale it first.") from None
    except Exception as error:  # a damaged picture can fail in a dozen ways
        raise OneSpikeError(f"Cannot read the picture {path}: it is damaged ({type(error).__name__}).") from None
    return pixels[None, None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)[None]


def _opened(path: Path, file: IO[bytes], shape: Shape, wanted_by: str) -> Picture:
    """The picture, of which nothing has been decoded yet: its size is the one that is wanted."""
    from PIL import Image as Pillow

    picture = Pillow.open(file, formats=FORMATS)
    if (picture.height, picture.width) != shape[1:]:
        raise other_size(path, (len(picture.getbands()), picture.height, picture.width), shape, wanted_by)
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


def header(path: Path) -> Shape:
    """Channels (1: grey, else 3), height and width of a picture, of which nothing is decoded."""
    from PIL import Image as Pillow

    try:
        with warnings.catch_warnings(), bounded.opened(path) as (file, _):
            warnings.simplefilter("ignore")
            picture = Pillow.open(file, formats=FORMATS)
            grey = picture.mode in ("1", "L", "LA", "F") or picture.mode.startswith("I")
            return 1 if grey else 3, picture.height, picture.width
    except OneSpikeError:
        raise
    except Pillow.UnidentifiedImageError:
        raise OneSpikeError(f"{path} is no picture; give a PNG file or a .npy file.") from None
    except Exception as error:
        raise OneSpikeError(f"Cannot read the picture {path}: it is damaged ({type(error).__name__}).") from None


def other_size(path: Path, found: tuple[int, ...], wanted: tuple[int, ...], by: str = "the network takes") -> Exception:
    """The sentence about images of a size that is not wanted."""
    return OneSpikeError(
        f"{path} holds images of {size_text(found)}, but {by} {size_text(wanted)} (channels x height x width); "
        f"scale them first."
    )


def size_text(shape: tuple[int, ...]) -> str:
    """The sides of an image with x between them."""
    return " x ".join(map(str, shape))
