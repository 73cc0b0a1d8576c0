"""Reads images as people see them: orientation applied, 8-bit RGB; and fits them to the model's square input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from labelloop.errors import MediaError

T = TypeVar("T")
_PAD = 114
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)


@dataclass(frozen=True)
class FittedImage:
    """An image as a network takes it: pixels (side, side, 3), and the size in pixels that people see it in."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


def read_image(path: Path | MediaError | None) -> Image.Image:
    """The image in RGB, its EXIF orientation applied; MediaError with the reason when it cannot be had."""
    return _opened(path, lambda opened: _rgb(ImageOps.exif_transpose(opened)))


def read_fitted(path: Path | MediaError | None, side: int) -> FittedImage:
    """As `letterbox(read_image(path), side)`, and several times faster for a large JPEG.

    Such a file is decoded at a half, a quarter or an eighth of its size where that is still large enough. MediaError
    with the reason when it cannot be had.
    """

    def fitted(opened: Image.Image) -> FittedImage:
        width, height = opened.size
        if opened.getexif().get(_ORIENTATION) in _LYING:
            width, height = height, width
        opened.draft(None, _reduced_size(opened.size, side))
        image = _rgb(ImageOps.exif_transpose(opened))
        return FittedImage(_padded(_resized(image, _reduced_size((width, height), side)), side), width, height)

    return _opened(path, fitted)


def _opened(path: Path | MediaError | None, read: Callable[[Image.Image], T]) -> T:
    if isinstance(path, MediaError):
        raise path
    if path is None or not path.is_file():
        raise MediaError("not_found", f"expected an image file, found none at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters is whether it decodes
            with Image.open(path) as opened:
                return read(opened)
    except Image.DecompressionBombError as error:
        raise MediaError("too_large", f"{path.name}: {error}; reduce the image") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise MediaError("unreadable", f"{path.name} does not decode as an image: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    """Transparent pixels over white, as on an annotator's page; deep grey levels scaled to 8 bits."""
    if image.mode.startswith(("I", "F")):
        levels = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I;16") else max(float(levels.max(initial=0.0)), 255.0)
        return Image.fromarray(np.clip(levels * 255.0 / top, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return image.convert("RGB")


def reduced(image: Image.Image, side: int) -> Image.Image:
    """The image scaled so that its longer side is `side` pixels."""
    return _resized(image, _reduced_size(image.size, side))


def _reduced_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def letterbox(image: Image.Image, side: int) -> tuple[NDArray[np.uint8], float, float, float]:
    """(pixels (side, side, 3), scale, left, top): input x = original x * scale + left, in pixels."""
    small = reduced(image, side)
    left, top = _margins(small, side)
    return _padded(small, side), side / max(image.size), float(left), float(top)


def _margins(image: Image.Image, side: int) -> tuple[int, int]:
    return (side - image.width) // 2, (side - image.height) // 2


def _padded(image: Image.Image, side: int) -> NDArray[np.uint8]:
    left, top = _margins(image, side)
    pixels = np.full((side, side, 3), _PAD, dtype=np.uint8)
    pixels[top : top + image.height, left : left + image.width] = np.asarray(image)
    return pixels
