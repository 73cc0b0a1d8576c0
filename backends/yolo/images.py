"""Reads images as people see them: orientation applied, 8-bit RGB; and fits them to the model's square input."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from labelloop.errors import MediaError

_PAD = 114


def read_image(path: Path | MediaError | None) -> Image.Image:
    """The image in RGB, its EXIF orientation applied; MediaError with the reason when it cannot be had."""
    if isinstance(path, MediaError):
        raise path
    if path is None or not path.is_file():
        raise MediaError("not_found", f"expected an image file, found none at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what matters is whether it decodes
            with Image.open(path) as opened:
                return _rgb(ImageOps.exif_transpose(opened))
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
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def letterbox(image: Image.Image, side: int) -> tuple[NDArray[np.uint8], float, float, float]:
    """(pixels (side, side, 3), scale, left, top): input x = original x * scale + left, in pixels."""
    small = reduced(image, side)
    left, top = (side - small.width) // 2, (side - small.height) // 2
    pixels = np.full((side, side, 3), _PAD, dtype=np.uint8)
    pixels[top : top + small.height, left : left + small.width] = np.asarray(small)
    return pixels, side / max(image.size), float(left), float(top)
