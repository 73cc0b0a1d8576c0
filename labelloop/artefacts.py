"""Model artefacts as content: the digest of a folder, and a verified local copy of a folder or fsspec address."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from pathlib import Path

import orjson

from labelloop.errors import DataError, ServiceDown
from labelloop.folders import clear_abandoned, partial_name

DIGEST_FILE = "digest.json"
#: What `labelloop.folders.publish` leaves at a remote address when everything is there.
_PUBLISHED_MARKER = ".complete"


def _file_hashes(path: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of each file below `path`, digest.json at the top left out, sorted by path."""
    if not path.is_dir():
        raise DataError(f"{path} is no folder; expected the folder of a model artefact")
    hashes: dict[str, str] = {}
    for file in path.rglob("*"):
        name = file.relative_to(path).as_posix()
        if file.is_symlink():
            raise DataError(f"{path} holds the symbolic link {name}; an artefact must hold plain files only")
        if file.is_file() and name != DIGEST_FILE:
            with file.open("rb") as stream:
                hashes[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    if not hashes:
        raise DataError(f"{path} holds no file; expected the files of a model artefact")
    return dict(sorted(hashes.items()))


def _digest_of(hashes: dict[str, str]) -> str:
    pairs = "".join(f"{name}\0{file_hash}\n" for name, file_hash in hashes.items())
    return hashlib.sha256(pairs.encode()).hexdigest()


def folder_digest(path: Path) -> str:
    """SHA-256 hex over the sorted (relative path, SHA-256 of the file) pairs of a folder, without its digest.json.

    Raises DataError for a missing or empty folder and for symbolic links.
    """
    return _digest_of(_file_hashes(path))


def write_digest(path: Path) -> str:
    """Write digest.json ({"digest", "files": {path: sha256}}) into the folder and return the digest."""
    hashes = _file_hashes(path)
    digest = _digest_of(hashes)
    partial = path.parent / f".{path.name}-{DIGEST_FILE}-{uuid.uuid4().hex}"
    partial.write_bytes(orjson.dumps({"digest": digest, "files": hashes}, option=orjson.OPT_INDENT_2))
    partial.replace(path / DIGEST_FILE)
    return digest


def _copy(uri: str, target: Path) -> None:
    """Copy a folder or everything below an fsspec address to `target`; ServiceDown when it cannot be read."""
    try:
        if "://" not in uri:
            shutil.copytree(uri, target, symlinks=True)
            return
        from fsspec.core import url_to_fs

        files, root = url_to_fs(uri)
        target.mkdir(parents=True)
        files.get(root.rstrip("/") + "/", f"{target}/", recursive=True)
        (target / _PUBLISHED_MARKER).unlink(missing_ok=True)
    except FileNotFoundError as error:
        raise DataError(
            f"the artefact {uri} does not exist; was it deleted, or is the address of another machine?"
        ) from error
    except OSError as error:
        raise ServiceDown(f"the artefact {uri} cannot be read: {error}") from error


def fetch_artefact(uri: str, digest: str, into: Path) -> Path:
    """The verified local copy `into`/`digest` of an artefact, fetched when it is not there or no longer intact.

    `uri` is a folder or an fsspec address. A copy appears by one rename, so a reader never sees half of one, and
    several processes may fetch the same one. Raises DataError when the content is not what `digest` names.
    """
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise DataError(f"{digest!r} is no digest of an artefact; expected 64 hex digits")
    copy = into / digest
    if copy.is_dir():
        if _is_intact(copy, digest):
            return copy
        _set_aside(copy)
    into.mkdir(parents=True, exist_ok=True)
    clear_abandoned(into)
    partial = partial_name(into, digest)
    try:
        _copy(uri, partial)
        found = folder_digest(partial)
        if found != digest:
            raise DataError(
                f"the artefact {uri} has the digest {found[:12]}…, and {digest[:12]}… was expected: it was "
                "changed after it was registered; register it again"
            )
        try:
            partial.rename(copy)
        except OSError:
            if not (copy.is_dir() and _is_intact(copy, digest)):  # else another process was first
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return copy


def _is_intact(copy: Path, digest: str) -> bool:
    try:
        return folder_digest(copy) == digest
    except DataError:
        return False


def _set_aside(copy: Path) -> None:
    """Move a damaged copy out of the way by a rename, then delete it; a model loaded from it keeps its open files."""
    doomed = partial_name(copy.parent, copy.name)
    copy.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
