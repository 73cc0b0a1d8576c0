"""What counts as an image: a kind that is decoded here, whole, and not too large."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from labelloop.errors import MediaError

#: Pixels from which Pillow itself suspects a decompression bomb.
MAX_PIXELS = 89_478_485
#: Kinds that are opened. Pillow knows more, and reads some of those by running another program.
_KINDS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "AVIF", "PPM")
_SUFFIXES = {"jpeg": "jpg", "mpo": "jpg", "jpeg2000": "jp2", "dib": "bmp"}


@cache
def _kinds() -> tuple[str, ...]:
    Image.init()
    return tuple(kind for kind in _KINDS if kind in Image.OPEN)


def verified_suffix(path: Path, max_pixels: int = MAX_PIXELS) -> str:
    """The suffix that fits an image file's content; MediaError for what is no image, damaged, or too many pixels.

    The file is decoded to its end; of an animation, the first picture.
    """
    try:
        with Image.open(path, formats=_kinds()) as image:
            if image.width * image.height > max_pixels:
                raise MediaError(
                    "too_large", f"{image.width} x {image.height} pixels; at most {max_pixels} are allowed"
                )
            suffix = (image.format or "bin").lower()
            image.verify()
        with Image.open(path, formats=_kinds()) as image:
            image.draft("L", (64, 64))  # a JPEG is then decoded at an eighth of its size; truncation still shows
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError("too_large", f"the image has too many pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise MediaError("unreadable", f"what was fetched is none of {', '.join(_kinds())}") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, KeyError, IndexError) as error:
        raise MediaError("unreadable", f"the image does not decode: {type(error).__name__}") from error
    return _SUFFIXES.get(suffix, suffix)
