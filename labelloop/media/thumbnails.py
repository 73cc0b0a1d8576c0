"""Small copies of images, for pages that show many."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from labelloop.media.pictures import MAX_PIXELS, examined

_QUALITY = 78


@dataclass(frozen=True)
class Thumbnail:
    """A JPEG, and the width and height that a browser shows the original with."""

    jpeg: bytes
    width: int
    height: int


def thumbnail_of(path: Path, widest: int = 1000, max_pixels: int = MAX_PIXELS) -> Thumbnail:
    """An image at most `widest` pixels wide and high, upright, over white where it is transparent; without its metadata.

    MediaError for what is no image, damaged, or too many pixels.
    """
    made = io.BytesIO()

    def shrink(image: Image.Image) -> None:
        image.thumbnail((widest, widest))
        _opaque(image).save(made, "JPEG", quality=_QUALITY)

    picture = examined(path, max_pixels, shrink, draft=(widest, widest), draft_mode="RGB")
    return Thumbnail(made.getvalue(), picture.width, picture.height)


def _opaque(image: Image.Image) -> Image.Image:
    """The image in plain colours. Sixteen bits of grey are taken down to eight, not cut off."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        low, high = image.getextrema()
        low, high = float(low), float(high)  # type: ignore[arg-type]
        scale = 255.0 / ((high - low) or 1.0)
        return image.convert("F").point(lambda value: value * scale - low * scale).convert("L")
    if "A" in image.mode or "transparency" in image.info:
        shown = image.convert("RGBA")
        ground = Image.new("RGBA", shown.size, "white")
        return Image.alpha_composite(ground, shown).convert("RGB")
    return image.convert("RGB")
