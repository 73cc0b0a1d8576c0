"""Images fitted to a network's input: a large JPEG decoded reduced shows the same picture, upright, and tells its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backends.yolo.images import letterbox, read_fitted, read_image
from labelloop.errors import MediaError

SIDE = 64


def write_image(file: Path, width: int, height: int, orientation: int = 1) -> Path:
    """Soft noise, as a photograph would be; `orientation` as cameras note it."""
    coarse = np.random.default_rng(2).integers(0, 256, (max(2, height // 40), max(2, width // 40), 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(file, exif=exif, **({"quality": 92} if file.suffix == ".jpg" else {}))
    return file


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(("width", "height"), [(640, 360), (300, 511), (50, 40), (64, 64)])
def test_a_fitted_image_is_the_letterboxed_one(tmp_path: Path, width: int, height: int, orientation: int) -> None:
    file = write_image(tmp_path / "a.jpg", width, height, orientation)
    whole = read_image(file)
    fitted = read_fitted(file, SIDE)
    assert (fitted.width, fitted.height) == whole.size
    expected = letterbox(whole, SIDE)[0].astype(int)
    assert fitted.pixels.shape == expected.shape and fitted.pixels.dtype == np.uint8
    assert np.abs(fitted.pixels - expected).mean() < 2.0
    assert (fitted.pixels == 114).all(axis=2).sum() == (expected == 114).all(axis=2).sum()


def test_only_a_jpeg_may_differ_at_all(tmp_path: Path) -> None:
    file = write_image(tmp_path / "a.png", 500, 300)
    assert (read_fitted(file, SIDE).pixels == letterbox(read_image(file), SIDE)[0]).all()


def test_a_file_that_is_no_image_gives_its_reason(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    cut = write_image(tmp_path / "b.jpg", 900, 700)
    cut.write_bytes(cut.read_bytes()[:-2000])
    given = MediaError("too_large", "over the limit")
    for path, reason in [
        (None, "not_found"), (tmp_path / "none.jpg", "not_found"), (tmp_path / "a.jpg", "unreadable"),
        (cut, "unreadable"), (given, "too_large"),
    ]:  # fmt: skip
        with pytest.raises(MediaError) as raised:
            read_fitted(path, SIDE)
        assert raised.value.reason == reason
