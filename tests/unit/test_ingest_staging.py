"""Staged copies: made once, verified, whole under their final name or not there, the original untouched."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from labelloop.errors import DataError
from sync.ingesting import LocalFiles
from sync.ingesting.items import Refusal


def image(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 6), shade).save(path)
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_staging_copies_once_and_repairs_a_spoilt_copy(tmp_path: Path) -> None:
    source = image(tmp_path / "my pic é.PNG")
    content = digest(source)
    files = LocalFiles(tmp_path / "root", "/data/files")
    address = files.stage(source, 4, content)
    assert address == f"/data/local-files/?d=labelloop/p4/my_pic_-{content[:12]}.png"
    staged = tmp_path / "root" / address.removeprefix("/data/local-files/?d=")
    before = staged.stat().st_mtime_ns
    assert files.stage(source, 4, content) == address
    assert staged.stat().st_mtime_ns == before
    staged.write_bytes(b"spoilt")
    assert files.stage(source, 4, content) == address
    assert staged.read_bytes() == source.read_bytes()
    assert files.server_path(4) == "/data/files/labelloop/p4"
    assert files.stage(source, 4, content, name="other", suffix=".jpg").endswith(f"/other-{content[:12]}.jpg")


def test_a_source_that_changes_or_goes_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    source = image(tmp_path / "a.png")
    files = LocalFiles(tmp_path / "root")
    with pytest.raises(Refusal, match="changed while it was copied"):
        files.stage(source, 1, "0" * 64)
    content = digest(source)
    source.unlink()
    with pytest.raises(Refusal, match="cannot be read") as caught:
        files.stage(source, 1, content)
    assert caught.value.reason == "not_found"
    assert list((tmp_path / "root" / files.folder(1)).iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_told_and_leaves_no_half_file(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = image(tmp_path / "a.png")
    files = LocalFiles(tmp_path / "root")

    def half(src: Any, dst: Any) -> None:
        """What a full disk does to a copy; Python names the source in the error."""
        Path(dst).write_bytes(Path(src).read_bytes()[:20])
        raise OSError(code, "No space left on device", str(src) if code != errno.EROFS else str(dst))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", half)
        with pytest.raises(DataError, match=r"takes no more files .*run this again"):
            files.stage(source, 1, digest(source))
    folder = tmp_path / "root" / files.folder(1)
    assert list(folder.iterdir()) == []
    assert (tmp_path / "root").joinpath(files.stage(source, 1, digest(source)).partition("?d=")[2]).is_file()
