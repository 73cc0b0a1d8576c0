"""What counts as an image: a kind that is decoded here, whole, and not too large."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from labelloop.errors import MediaError

#: Pixels from which Pillow itself suspects a decompression bomb.
MAX_PIXELS = 89_478_485
#: Kinds that are opened. Pillow knows more, and reads some of those by running another program.
_KINDS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "AVIF", "PPM")
_SUFFIXES = {"jpeg": "jpg", "mpo": "jpg", "jpeg2000": "jp2", "dib": "bmp"}
#: EXIF orientations by which a browser turns an image on its side.
_ON_ITS_SIDE = range(5, 9)
_EXIF_ORIENTATION = 0x0112
#: A JPEG need not be decoded larger than this to see that it is whole, and what it looks like.
_DRAFT = (64, 64)


@dataclass(frozen=True)
class Picture:
    """An image file that decodes: `width` and `height` are those that a browser shows, with EXIF's orientation applied.

    `suffix` fits the content; `frames` is over 1 for an animation, of which the first picture counts; `mode` is Pillow's;
    `turned` tells that the orientation puts it on its side.
    """

    suffix: str
    width: int
    height: int
    frames: int
    mode: str
    turned: bool


@cache
def _kinds() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in _KINDS if kind in Image.OPEN)


def verified_suffix(path: Path, max_pixels: int = MAX_PIXELS) -> str:
    """The suffix that fits an image file's content; MediaError for what is no image, damaged, or too many pixels."""
    return examined(path, max_pixels).suffix


def examined(
    path: Path,
    max_pixels: int = MAX_PIXELS,
    look: Callable[[Image.Image], None] | None = None,
    draft: tuple[int, int] = _DRAFT,
    draft_mode: str = "L",
) -> Picture:
    """What an image file holds; MediaError for what is no image, damaged, or too many pixels.

    The file is decoded to its end; of an animation, the first picture. `look` sees that picture, upright, of a JPEG
    reduced to no less than `draft`, in grey, or with `draft_mode` "RGB" in its colours.
    """
    try:
        with Image.open(path, formats=_kinds()) as image:
            if image.width * image.height > max_pixels:
                raise MediaError(
                    "too_large", f"{image.width} x {image.height} pixels; at most {max_pixels} are allowed"
                )
            suffix, frames, mode = (image.format or "bin").lower(), _frames(image), image.mode
            image.verify()
        with Image.open(path, formats=_kinds()) as image:
            stored = image.size
            image.draft(draft_mode, draft)  # a JPEG is then decoded at an eighth of its size; truncation still shows
            image.load()
            # Asked for only now: a PNG may have its EXIF behind the pixels.
            turned = image.getexif().get(_EXIF_ORIENTATION, 1) in _ON_ITS_SIDE
            if look is not None:
                look(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError("too_large", f"the image has too many pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise MediaError("unreadable", f"what was fetched is none of {', '.join(_kinds())}") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, KeyError, IndexError) as error:
        raise MediaError("unreadable", f"the image does not decode: {type(error).__name__}") from error
    width, height = stored[::-1] if turned else stored
    return Picture(_SUFFIXES.get(suffix, suffix), width, height, frames, mode, turned)


def _frames(image: Image.Image) -> int:
    """How many pictures follow one another; the further ones of an MPO are previews."""
    return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
