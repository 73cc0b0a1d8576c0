"""Files by their address: a path of this machine, `https://`, or whatever fsspec knows (`s3://`, `gs://`, `memory://` ...)."""

from __future__ import annotations

import glob
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs, unquote, urlsplit

from labelloop.errors import DataError, LabelloopError, UsageError
from sync.ingesting.items import Refusal

_CHUNK = 1 << 20
_WILD = re.compile(r"[*?\[]")
_WEB = ("http://", "https://")
#: protocol -> extra of labelloop that installs its library
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_WEB_TIMEOUT_S = 60.0
#: Label Studio puts eight hex digits before the name of an uploaded file.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


@dataclass(frozen=True)
class Found:
    """A file that is there. `state` changes when the file does; None where nothing tells."""

    address: str
    size: int | None
    state: str | None


def is_address(value: str) -> bool:
    """Whether a text is an address with a protocol, other than of this machine's files."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value) is not None and not value.startswith("file://")


def is_pattern(address: str) -> bool:
    """Whether an address has wildcards, and no file carries that very name; on the web a "?" begins a query."""
    return (
        not address.startswith(_WEB)
        and bool(_WILD.search(address))
        and (is_address(address) or not local(address).exists())
    )


def local(address: str) -> Path:
    """The path behind an address of this machine."""
    return Path(unquote(urlsplit(address).path) if address.startswith("file://") else address)


def joined(base: str, relative: str) -> str:
    """An address beside or below a folder; one that stands by itself stays as it is."""
    if is_address(relative) or relative.startswith(("file://", "/")):
        return relative
    if is_address(base):
        return f"{base.rstrip('/')}/{relative.removeprefix('./')}"
    return str(local(base) / relative)


def parent(address: str) -> str:
    """The folder that a file is in."""
    return address.rsplit("/", 1)[0] if is_address(address) else str(local(address).parent)


def name_of(address: str) -> str:
    """The last part of an address, without a query."""
    path = urlsplit(address).path if address.startswith(_WEB) else address
    return unquote(path.rstrip("/").rsplit("/", 1)[-1]) if is_address(address) else local(address).name


def address_name(address: str) -> str:
    """The name of the file behind a media address, without what Label Studio put before it."""
    local = parse_qs(urlsplit(address).query).get("d")
    name = name_of(local[0] if local else urlsplit(address).path)
    return _UPLOADED.sub("", name) if "/data/upload/" in address else name


def suffix_of(address: str) -> str:
    """The suffix of an address in lower case, with its dot."""
    return Path(name_of(address)).suffix.lower()


def is_folder(address: str) -> bool:
    """Whether an address is a folder (in a bucket: whether anything lies below it)."""
    if address.startswith(_WEB):
        return False
    if is_address(address):
        files, path = filesystem_of(address)
        with _translated(address):
            return bool(files.isdir(path))
    return local(address).is_dir()


def found(address: str) -> Found | None:
    """What is known of a file; None where there is none."""
    if address.startswith(_WEB):
        return Found(address, None, None)
    if is_address(address):
        files, path = filesystem_of(address)
        with _translated(address):
            try:
                about = files.info(path)
            except FileNotFoundError:
                return None
        return _remote(address, about) if about.get("type") != "directory" else None
    try:
        about = os.stat(local(address))
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return Found(address, about.st_size, f"{about.st_size}-{about.st_mtime_ns}-{about.st_ino}")


def files_of(address: str) -> Iterator[Found]:
    """Every file of a folder and of those inside it, or that fits a pattern; by name, hidden ones left out."""
    if is_address(address):
        yield from _remote_files(address)
    elif is_pattern(address):
        for name in sorted(glob.iglob(str(local(address)), recursive=True)):
            if os.path.isfile(name) and (file := found(name)) is not None:
                yield file
    else:
        yield from _local_files(str(local(address)))


def _local_files(folder: str) -> Iterator[Found]:
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _local_files(entry.path)
        elif entry.is_file() and (file := found(entry.path)) is not None:
            yield file


def _remote_files(address: str) -> Iterator[Found]:
    files, path = filesystem_of(address)
    scheme = address.split("://", 1)[0]
    with _translated(address):
        listed = files.glob(path, detail=True) if is_pattern(address) else files.find(path, detail=True)
    for name in sorted(listed):
        hidden = any(part.startswith(".") for part in name.split("/"))
        if listed[name].get("type") != "directory" and not hidden and not name.endswith("/"):
            yield _remote(f"{scheme}://{name.lstrip('/')}", listed[name])


def _remote(address: str, about: dict[str, Any]) -> Found:
    told = [about.get(key) for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "updated", "created")]
    size = about.get("size")
    state = "-".join(str(each) for each in (size, *told) if each is not None) if any(told) else None
    return Found(address, int(size) if size is not None else None, state)


def filesystem_of(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, with credentials from the environment, and the path in it.

    UsageError for a protocol that is not known or whose library is missing.
    """
    import fsspec

    protocol = address.split("://", 1)[0]
    try:
        files, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        what = f"pip install 'labelloop[{extra}]'" if extra else str(error)
        raise UsageError(f"{protocol}:// needs a library that is not installed: {what}") from error
    except ValueError as error:
        raise UsageError(f"{address}: expected a path, https:// or a protocol that fsspec knows; {error}") from error
    return files, str(path)


@contextmanager
def opened(address: str) -> Iterator[IO[bytes]]:
    """A file opened for reading bytes; a web address is fetched into a file of no name first. DataError when it is not there."""
    if address.startswith(_WEB):
        with tempfile.TemporaryFile() as file:
            _read_web(address, file, None)
            file.seek(0)
            yield file
        return
    with _translated(address):
        if is_address(address):
            files, path = filesystem_of(address)
            source: IO[bytes] = io.BufferedReader(_Guarded(address, files.open(path, "rb")), _CHUNK)
        else:
            source = local(address).open("rb")
    with source:
        yield source


class _Guarded(io.RawIOBase):
    """A remote file whose errors, at any read, say which file it was."""

    def __init__(self, address: str, file: Any) -> None:
        self._address, self._file = address, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _translated(self._address):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def fetch(address: str, target: Path, max_bytes: int) -> str:
    """Write a file's bytes to `target`; their SHA-256. Refusal "not_found" or "too_large"."""
    try:
        with target.open("wb") as file:
            if address.startswith(_WEB):
                _read_web(address, file, max_bytes)
            else:
                with opened(address) as source:
                    _copy(source, file, max_bytes)
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (DataError, Refusal) as error:
        target.unlink(missing_ok=True)
        raise error if isinstance(error, Refusal) else Refusal("not_found", str(error)) from error


def _copy(source: IO[bytes], target: IO[bytes], max_bytes: int | None) -> None:
    size = 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        _bounded(size, max_bytes)
        target.write(chunk)


def _read_web(address: str, target: IO[bytes], max_bytes: int | None) -> None:
    import httpx

    size = 0
    try:
        with httpx.stream("GET", address, follow_redirects=True, timeout=_WEB_TIMEOUT_S) as answer:
            if answer.status_code != 200:
                raise DataError(f"{address} answered with status {answer.status_code}")
            for chunk in answer.iter_bytes(_CHUNK):
                size += len(chunk)
                _bounded(size, max_bytes)
                target.write(chunk)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DataError(f"{address} cannot be read: {type(error).__name__}") from error


def _bounded(size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise Refusal("too_large", f"more than {max_bytes / 1e6:g} MB (LABELLOOP_IMAGE_MAX_MB)")


@contextmanager
def _translated(address: str) -> Iterator[None]:
    """Every library's errors of a place that is not there, refuses or does not answer, as one that says which it was."""
    try:
        yield
    except (LabelloopError, Refusal):
        raise
    except FileNotFoundError as error:
        raise DataError(f"{address} does not exist") from error
    except PermissionError as error:
        raise DataError(f"{address} may not be read; check its permissions or the credentials") from error
    except Exception as error:
        if not is_address(address) and not isinstance(error, OSError):
            raise
        detail = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else f": {error}"
        raise DataError(f"{address} cannot be read: {type(error).__name__}{detail[:200]}") from error
