"""Digests of artefact folders and verified local copies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from labelloop.artefacts import fetch_artefact, folder_digest, write_digest
from labelloop.errors import DataError


def artefact(folder: Path, weights: bytes = b"weights") -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "best.bin").write_bytes(weights)
    (folder / "labels.json").write_text('{"classes": ["a"]}', encoding="utf-8")
    return folder


def test_the_digest_is_that_of_the_sorted_names_and_file_hashes(tmp_path: Path) -> None:
    folder = artefact(tmp_path / "v1")
    labels = hashlib.sha256(b'{"classes": ["a"]}').hexdigest()
    weights = hashlib.sha256(b"weights").hexdigest()
    expected = hashlib.sha256(f"labels.json\0{labels}\nmodel/best.bin\0{weights}\n".encode()).hexdigest()
    assert folder_digest(folder) == expected


def test_writing_the_digest_does_not_change_it(tmp_path: Path) -> None:
    folder = artefact(tmp_path / "v1")
    digest = write_digest(folder)
    assert folder_digest(folder) == digest == write_digest(folder)
    written = json.loads((folder / "digest.json").read_text(encoding="utf-8"))
    assert written["digest"] == digest
    assert sorted(written["files"]) == ["labels.json", "model/best.bin"]


@pytest.mark.parametrize("change", ["content", "name", "more"])
def test_every_change_changes_the_digest(tmp_path: Path, change: str) -> None:
    folder = artefact(tmp_path / "v1")
    before = folder_digest(folder)
    if change == "content":
        (folder / "model" / "best.bin").write_bytes(b"weightz")
    elif change == "name":
        (folder / "model" / "best.bin").rename(folder / "model" / "last.bin")
    else:
        (folder / "model" / "digest.json").write_text("{}", encoding="utf-8")
    assert folder_digest(folder) != before


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = artefact(tmp_path / "v1")
    (folder / "model" / "link").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match="symbolic link model/link"):
        folder_digest(folder)


def test_an_empty_or_missing_folder_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(DataError):
            folder_digest(folder)


def test_a_copy_is_fetched_once_and_needs_the_source_no_more(tmp_path: Path) -> None:
    source = artefact(tmp_path / "v1")
    digest = write_digest(source)
    copy = fetch_artefact(str(source), digest, tmp_path / "copies")
    assert copy == tmp_path / "copies" / digest
    assert (copy / "model" / "best.bin").read_bytes() == b"weights"
    (source / "model" / "best.bin").unlink()
    assert fetch_artefact(str(source), digest, tmp_path / "copies") == copy


def test_an_fsspec_address_is_fetched_without_its_marker(tmp_path: Path) -> None:
    import fsspec

    source = artefact(tmp_path / "v1")
    digest = folder_digest(source)
    memory = fsspec.filesystem("memory")
    memory.put(f"{source}/", "/artefacts/v1/", recursive=True)
    memory.pipe_file("/artefacts/v1/.complete", b"")
    copy = fetch_artefact("memory://artefacts/v1", digest, tmp_path / "copies")
    assert folder_digest(copy) == digest
    assert sorted(file.name for file in copy.rglob("*") if file.is_file()) == ["best.bin", "labels.json"]


def test_a_wrong_digest_leaves_nothing_behind(tmp_path: Path) -> None:
    source = artefact(tmp_path / "v1")
    with pytest.raises(DataError, match="was expected"):
        fetch_artefact(str(source), "0" * 64, tmp_path / "copies")
    assert list((tmp_path / "copies").iterdir()) == []


def test_a_damaged_copy_is_fetched_again(tmp_path: Path) -> None:
    source = artefact(tmp_path / "v1")
    digest = folder_digest(source)
    copy = fetch_artefact(str(source), digest, tmp_path / "copies")
    (copy / "model" / "best.bin").write_bytes(b"bit rot")
    assert fetch_artefact(str(source), digest, tmp_path / "copies") == copy
    assert (copy / "model" / "best.bin").read_bytes() == b"weights"
    assert [each.name for each in (tmp_path / "copies").iterdir()] == [digest]


@pytest.mark.parametrize("digest", ["../../etc", "", "A" * 64, "0" * 63])
def test_a_digest_is_never_a_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(DataError, match="64 hex digits"):
        fetch_artefact(str(artefact(tmp_path / "v1")), digest, tmp_path / "copies")


def test_a_missing_source_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        fetch_artefact(str(tmp_path / "gone"), "0" * 64, tmp_path / "copies")
