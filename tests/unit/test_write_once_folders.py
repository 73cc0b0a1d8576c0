"""Folders that are written once, on a local disk and at an fsspec address."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from labelloop import folders
from labelloop.errors import NotReady


def finished(folder: Path, text: str = "one") -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text(text)
    (folder / "deep" / "b.txt").write_text(text)
    return folder


@pytest.fixture(params=["local", "file", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    below = f"{uuid.uuid4().hex}/datasets/d1"
    return {
        "local": str(tmp_path / "store" / below),
        "file": f"file://{tmp_path}/store/{below}",
        "memory": f"memory://{below}",
    }[str(request.param)]


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_what_is_published_can_be_fetched(uri: str, tmp_path: Path) -> None:
    address = folders.publish(finished(tmp_path / "work"), uri)
    fetched = folders.fetch(address, tmp_path / "cache" / "d1")
    assert names(fetched) == ["a.txt", "deep/b.txt"]
    assert (fetched / "deep" / "b.txt").read_text() == "one"
    assert folders.fetch(address, tmp_path / "cache" / "d1") == fetched


def test_publishing_again_changes_nothing(uri: str, tmp_path: Path) -> None:
    folders.publish(finished(tmp_path / "first"), uri)
    address = folders.publish(finished(tmp_path / "second", "two"), uri)
    assert (folders.fetch(address, tmp_path / "cache" / "d1") / "a.txt").read_text() == "one"


def test_what_is_not_there_is_not_ready(uri: str, tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="does not exist"):
        folders.fetch(uri, tmp_path / "cache" / "d1")


def test_a_remote_folder_without_its_marker_is_not_ready(tmp_path: Path) -> None:
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(f"memory://{uuid.uuid4().hex}/d1")
    filesystem.pipe_file(f"{path}/a.txt", b"half")
    with pytest.raises(NotReady, match="not complete"):
        folders.fetch(f"memory://{path}", tmp_path / "cache" / "d1")
    assert not (tmp_path / "cache" / "d1").exists()


def test_a_publication_that_stopped_half_way_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    def full_disk(source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        (target / "a.txt").write_text("half")
        raise OSError("No space left on device")

    target = tmp_path / "store" / "d1"
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", full_disk)
        with pytest.raises(OSError, match="No space"):
            folders.publish(finished(tmp_path / "work"), str(target))
    assert not target.exists()
    folders.publish(tmp_path / "work", str(target))
    assert names(target) == ["a.txt", "deep/b.txt"]


def test_addresses_join_with_one_slash() -> None:
    assert folders.join("s3://bucket/", "models", "v1") == "s3://bucket/models/v1"
    assert folders.is_local("/data") and folders.is_local("file:///data") and not folders.is_local("s3://bucket")
