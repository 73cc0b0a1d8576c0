"""Sources and staging: what is read, what is refused, copies verified."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from labelloop.errors import MediaError, UsageError
from sync.sources import IngestItem, LocalFiles, check_image, content_hash, read_source


def image(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 6), shade).save(path)
    return path


def test_a_folder_gives_its_images_in_order_and_nothing_else(tmp_path: Path) -> None:
    image(tmp_path / "b.png")
    image(tmp_path / "sub" / "a.JPG")
    (tmp_path / "notes.txt").write_text("x")
    assert [item.media for item in read_source(tmp_path)] == [tmp_path / "b.png", tmp_path / "sub" / "a.JPG"]


def test_jsonl_lines_are_flat_or_nested_and_may_name_images(tmp_path: Path) -> None:
    image(tmp_path / "pics" / "x.png")
    lines = ['{"text": "one", "group": 3}', "", '{"data": {"text": "two", "k": 1}}', "{broken", '["no object"]']
    lines.append('{"data": {"image": "pics/x.png", "site": "A"}, "group": "g"}')
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(lines))
    source = read_source(path)
    one, two, three = list(source)
    assert (one.data, one.group_key) == ({"text": "one"}, "3")
    assert (two.data, two.group_key) == ({"text": "two", "k": 1}, None)
    assert (three.data, three.media, three.media_key) == ({"site": "A"}, tmp_path / "pics" / "x.png", "image")
    assert [r.source for r in source.rejected] == [f"{path}:4", f"{path}:5"]


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no images"):
        read_source(tmp_path)
    with pytest.raises(UsageError, match=r"\.jsonl file; it is absent"):
        read_source(tmp_path / "absent.jsonl")


def test_content_is_what_a_person_sees(tmp_path: Path) -> None:
    first, copy = image(tmp_path / "a.png"), image(tmp_path / "b.png")
    other = image(tmp_path / "c.png", 9)
    hashes = [content_hash(IngestItem({}, media=path)) for path in (first, copy, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert content_hash(IngestItem({"a": 1, "b": 2})) == content_hash(IngestItem({"b": 2, "a": 1}))
    with pytest.raises(MediaError) as caught:
        content_hash(IngestItem({}, media=tmp_path / "gone.png"))
    assert caught.value.reason == "not_found"


def test_images_are_decoded_whole(tmp_path: Path) -> None:
    good = tmp_path / "a.png"
    Image.effect_noise((64, 48), 60).save(good)
    check_image(good, 1.0)
    torn = tmp_path / "torn.png"
    torn.write_bytes(good.read_bytes()[:1500])
    with pytest.raises(MediaError) as caught:
        check_image(torn, 1.0)
    assert caught.value.reason == "unreadable"
    with pytest.raises(MediaError) as caught:
        check_image(good, 0.00001)
    assert caught.value.reason == "too_large"


def test_staging_copies_once_and_repairs_a_spoilt_copy(tmp_path: Path) -> None:
    source = image(tmp_path / "my pic é.PNG")
    content = hashlib.sha256(source.read_bytes()).hexdigest()
    files = LocalFiles(tmp_path / "root", "/data/files")
    address = files.stage(source, 4, content)
    assert address == f"/data/local-files/?d=labelloop/p4/my_pic_-{content[:12]}.png"
    staged = tmp_path / "root" / address.removeprefix("/data/local-files/?d=")
    before = staged.stat().st_mtime_ns
    assert files.stage(source, 4, content) == address
    assert staged.stat().st_mtime_ns == before
    staged.write_bytes(b"spoilt")
    files.stage(source, 4, content)
    assert staged.read_bytes() == source.read_bytes()
    assert files.server_path(4) == "/data/files/labelloop/p4"
    with pytest.raises(MediaError, match="changed while it was copied"):
        files.stage(source, 4, "0" * 64)
