"""Images that come in: decoded whole, not too large, upright sizes, and none that only pretends to be one."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sync.ingesting.examining import Examiner, Limits, digest_of
from sync.ingesting.fingerprints import image_rows
from sync.ingesting.items import IngestItem, Medium, Refusal
from sync.ingesting.shown import shown_by

CONFIG = '<View><Image name="i" value="$image"/><RectangleLabels name="b" toName="i"><Label value="a"/></RectangleLabels></View>'
SHOWN = shown_by(CONFIG)
PAGES = shown_by(CONFIG.replace('value="$image"', 'valueList="$pages"'))
ASKED = shown_by(CONFIG.replace("<View>", '<View><Header value="$question"/>'))


def examiner(folder: Path, **limits: int) -> Examiner:
    return Examiner(SHOWN, Limits(**limits), folder / "fetched")


def item(*paths: Path, **data: str) -> IngestItem:
    return IngestItem(data, media=tuple(Medium("image", str(path)) for path in paths))


def scene(width: int = 320, height: int = 240, seed: int = 3) -> Image.Image:
    """A picture whose structure is coarse and fine in the shares of a photograph's."""
    rng = np.random.default_rng(seed)
    squared = np.fft.rfftfreq(width)[None, :] ** 2 + np.fft.fftfreq(height)[:, None] ** 2
    waves = (rng.normal(size=squared.shape) + 1j * rng.normal(size=squared.shape)) / (squared + 1e-4) ** 0.55
    pixels = np.fft.irfft2(waves, s=(height, width))
    scaled = (pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")


def refused(folder: Path, path: Path, **limits: int) -> Refusal:
    with pytest.raises(Refusal) as caught:
        examiner(folder, **limits).examine(item(path))
    return caught.value


def distance(one: str | None, other: str | None) -> int:
    assert one is not None and other is not None
    rows = image_rows([one, other])
    return int(np.bitwise_count(rows[0] ^ rows[1]).sum())


def test_what_an_image_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    scene().save(path, quality=90)
    found = examiner(tmp_path).examine(item(path))
    assert found.content == digest_of(path) == found.facts[0].content
    assert found.facts[0].picture == {
        "suffix": "jpg", "width": 320, "height": 240, "frames": 1, "mode": "RGB", "turned": False
    }  # fmt: skip
    assert found.fingerprint is not None and found.fingerprint.startswith("phash256:")
    assert Examiner(SHOWN, Limits(), tmp_path, near=False).examine(item(path)).fingerprint is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_the_one_that_a_browser_shows(tmp_path: Path, orientation: int) -> None:
    path, upright = tmp_path / "a.jpg", tmp_path / "b.png"
    picture = scene()
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = picture if turned is None else picture.transpose(turned)
    stored.save(path, exif=exif, quality=95)
    picture.save(upright)
    found = examiner(tmp_path).examine(item(path))
    assert found.facts[0].picture is not None
    assert (found.facts[0].picture["width"], found.facts[0].picture["height"]) == (320, 240)
    assert found.facts[0].picture["turned"] == (orientation >= 5)
    assert distance(found.fingerprint, examiner(tmp_path).examine(item(upright)).fingerprint) <= 8


@pytest.mark.parametrize(
    "kind", ["cmyk", "palette", "clear palette", "deep", "float", "clear", "grey clear", "one bit"]
)
def test_unusual_modes_come_in_and_look_like_themselves(tmp_path: Path, kind: str) -> None:
    picture = scene()
    grey = np.asarray(picture.convert("L"))
    plain, path = tmp_path / "plain.png", tmp_path / "a.png"
    picture.save(plain)
    if kind == "cmyk":
        path = tmp_path / "a.jpg"
        picture.convert("CMYK").save(path, quality=95)
    elif kind == "palette":
        picture.quantize(64).save(path)
    elif kind == "clear palette":
        picture.quantize(64).save(path, transparency=0)
    elif kind == "deep":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    elif kind == "float":
        path = tmp_path / "a.tif"
        Image.fromarray(grey.astype(np.float32) / 255).save(path)
    elif kind == "clear":
        picture.convert("RGBA").save(path)
    elif kind == "grey clear":
        picture.convert("LA").save(path)
    else:
        picture.convert("1").save(path)
    found = examiner(tmp_path).examine(item(path))
    near = 90 if kind in ("one bit", "clear palette") else 24
    assert distance(found.fingerprint, examiner(tmp_path).examine(item(plain)).fingerprint) <= near


def test_an_animation_counts_as_its_first_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    scene().save(path, save_all=True, append_images=[scene(seed=4), scene(seed=5)], duration=100)
    found = examiner(tmp_path).examine(item(path))
    assert found.facts[0].picture is not None and found.facts[0].picture["frames"] == 3


def test_damaged_empty_and_pretending_files_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.jpg"
    scene(800, 600).save(good, quality=95)
    for name, content, reason, told in (
        ("torn.jpg", good.read_bytes()[:-4000], "unreadable", "does not decode"),
        ("torn.png", b"\x89PNG\r\n\x1a\n", "unreadable", "none of JPEG"),
        ("empty.jpg", b"", "empty", "no bytes"),
        ("page.png", b"\n<!DOCTYPE html><html>404</html>", "not_an_image", "an HTML page"),
        ("drawing.png", b'<?xml version="1.0"?><svg xmlns="x"/>', "not_an_image", "an SVG drawing"),
        ("paper.jpg", b"%PDF-1.7", "not_an_image", "a PDF"),
        ("noise.png", b"noise" * 100, "unreadable", "none of JPEG"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        found = refused(tmp_path, path)
        assert (found.reason, told in found.detail) == (reason, True), (name, found.detail)
    assert refused(tmp_path, tmp_path / "absent.png").reason == "not_found"
    assert refused(tmp_path, good, max_bytes=1000).reason == "too_large"


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)))
    decoded: list[str] = []
    monkeypatch.setattr(Image.Image, "load", lambda self: decoded.append(self.format))
    found = refused(tmp_path, path)
    assert (found.reason, decoded) == ("too_large", [])
    small = tmp_path / "small.png"
    buffer = io.BytesIO()
    monkeypatch.undo()
    scene(100, 100).save(buffer, "PNG")
    small.write_bytes(buffer.getvalue())
    assert "at most 9999" in refused(tmp_path, small, max_pixels=9999).detail


def test_the_content_is_what_a_person_sees(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for n, path in enumerate(paths):
        scene(seed=n % 2).save(path)
    one, other, same = (examiner(tmp_path).examine(item(path, note=str(n))) for n, path in enumerate(paths))
    assert one.content == same.content != other.content
    asking = Examiner(ASKED, Limits(), tmp_path)
    first, second = (asking.examine(item(paths[0], question=q)) for q in ("How many?", "Which colour?"))
    assert first.content != second.content  # one image, two questions: two tasks
    listed = Examiner(PAGES, Limits(), tmp_path)
    forth, back = (
        listed.examine(IngestItem({}, media=tuple(Medium("pages", str(p), n) for n, p in enumerate(order))))
        for order in (paths[:2], paths[1::-1])
    )
    assert forth.content != back.content and forth.fingerprint is None


def test_bytes_of_a_row_become_a_file_of_the_ingest(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    scene().save(buffer, "PNG")
    row = IngestItem({}, media=(Medium("image", "inside.png", content=buffer.getvalue()),))
    (facts,) = examiner(tmp_path).examine(row).facts
    assert facts.fetched and Path(facts.path).read_bytes() == buffer.getvalue()
    broken = IngestItem({}, media=(Medium("image", "x.png", content=b"no image"),))
    with pytest.raises(Refusal):
        examiner(tmp_path).examine(broken)
    assert [p.name for p in (tmp_path / "fetched").iterdir()] == [Path(facts.path).name]
