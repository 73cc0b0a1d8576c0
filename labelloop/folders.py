"""Folders that are written once: dataset versions and artefacts, in a local folder or at an fsspec address such as s3://.

A reader never sees half of one: a local folder gets its name by a rename, a remote one is there once its marker is.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from labelloop.errors import NotReady, ServiceDown

#: What is uploaded last.
MARKER = ".complete"
#: Folders in the making whose process is on another host are taken for dead after so long.
_ABANDONED_S = 24 * 3600.0
_REMOTE_LIBRARIES = ("botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "adlfs", "azure")


def is_local(uri: str) -> bool:
    """Whether an address is a plain path of this machine."""
    return "://" not in uri or uri.startswith("file://")


def local_path(uri: str) -> Path:
    """The path behind a local address."""
    return Path(uri.removeprefix("file://"))


def join(uri: str, *parts: str) -> str:
    """An address below another one."""
    return "/".join([uri.rstrip("/"), *parts])


@contextmanager
def in_the_making(uri: str) -> Iterator[Path]:
    """A new, empty folder for something that is to be published below `uri`; what is left of it goes at the end.

    Beside its later place where that is local, so that it gets its name without being copied. What killed processes
    left there goes first.
    """
    if not is_local(uri):
        with tempfile.TemporaryDirectory(prefix="labelloop-") as folder:
            yield Path(folder)
        return
    parent = local_path(uri)
    parent.mkdir(parents=True, exist_ok=True)
    clear_abandoned(parent)
    partial = partial_name(parent, uuid.uuid4().hex[:8])
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def publish(folder: Path, uri: str) -> str:
    """Put a finished folder at `uri` unless something is there already; the address.

    A folder that `in_the_making` gave is moved, another one is copied.
    """
    if not is_local(uri):
        with remote(uri) as (filesystem, path):
            if not filesystem.exists(f"{path}/{MARKER}"):
                try:
                    _upload(filesystem, folder, path)
                except FileNotFoundError as error:
                    raise NotReady(f"{uri} cannot be made ({error}); make its bucket first") from error
        return uri
    target = local_path(uri)
    if target.exists():
        return str(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = folder
    if folder.parent != target.parent or not folder.name.startswith("."):
        clear_abandoned(target.parent)
        partial = partial_name(target.parent, target.name)
        shutil.copytree(folder, partial)
    try:
        partial.rename(target)
    except OSError:
        # Somebody else published the same folder in the meantime.
        shutil.rmtree(partial, ignore_errors=True)
        if not target.exists():
            raise
    return str(target)


def fetch(uri: str, into: Path) -> Path:
    """A local folder with what `uri` holds: the folder itself where it is local, else a copy at `into`, made once."""
    if is_local(uri):
        if not local_path(uri).is_dir():
            raise NotReady(f"{uri} does not exist; was the artifacts folder moved or emptied?")
        return local_path(uri)
    if into.is_dir():
        return into
    with remote(uri) as (filesystem, path):
        if not filesystem.exists(f"{path}/{MARKER}"):
            raise NotReady(f"{uri} does not exist or is not complete; check LABELLOOP_ARTIFACTS_URI")
        into.parent.mkdir(parents=True, exist_ok=True)
        clear_abandoned(into.parent)
        partial = partial_name(into.parent, into.name)
        _download(filesystem, path, partial)
    try:
        partial.rename(into)
    except OSError:
        shutil.rmtree(partial)
        if not into.is_dir():
            raise
    return into


def is_published(uri: str) -> bool:
    """Whether something finished lies at an address."""
    if is_local(uri):
        return local_path(uri).is_dir()
    with remote(uri) as (filesystem, path):
        return bool(filesystem.exists(f"{path}/{MARKER}"))


def set_aside(folder: Path) -> None:
    """Remove a local copy at once, as others see it: by a rename first."""
    doomed = partial_name(folder.parent, folder.name)
    with suppress(FileNotFoundError):
        folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def remove(uri: str) -> None:
    """Remove a published folder, as others see it at once; nothing where there is none."""
    if is_local(uri):
        set_aside(local_path(uri))
        return
    with remote(uri) as (filesystem, path):
        # Without the marker it is not there; the rest may take a while.
        for each in (f"{path}/{MARKER}", path):
            with suppress(FileNotFoundError):
                filesystem.rm(each, recursive=True)


def names_starting(uri: str, prefix: str) -> list[str]:
    """The names of the folders directly below an address that begin so, whole or not, sorted."""
    if is_local(uri):
        parent = local_path(uri)
        return sorted(each.name for each in parent.glob(f"{prefix}*") if each.is_dir())
    with remote(uri) as (filesystem, path):
        filesystem.invalidate_cache()
        return sorted(each.rstrip("/").rpartition("/")[2] for each in filesystem.glob(f"{path}/{prefix}*"))


def names_below(uri: str) -> list[str]:
    """The names of the finished folders directly below an address, sorted; none where the address does not exist."""
    if is_local(uri):
        parent = local_path(uri)
        found = list(parent.iterdir()) if parent.is_dir() else []
        return sorted(each.name for each in found if each.is_dir() and not each.name.startswith("."))
    with remote(uri) as (filesystem, path):
        # A listing that was kept from before would not have what others published since.
        filesystem.invalidate_cache()
        try:
            below = filesystem.ls(path, detail=False)
        except FileNotFoundError:
            return []
        return sorted(
            each.rstrip("/").rpartition("/")[2] for each in below if filesystem.exists(f"{each.rstrip('/')}/{MARKER}")
        )


def read_file(uri: str, name: str) -> bytes:
    """One file of a published folder; NotReady when it is not there."""
    try:
        if is_local(uri):
            return (local_path(uri) / name).read_bytes()
        with remote(uri) as (filesystem, path):
            return bytes(filesystem.cat_file(f"{path}/{name}"))
    except FileNotFoundError as error:
        raise NotReady(f"{uri} has no {name}; was it moved or emptied?") from error


@contextmanager
def opened_file(uri: str, name: str) -> Iterator[IO[bytes]]:
    """One file of a published folder, opened for reading here and there; of a remote one only those pieces are read."""
    if is_local(uri):
        with (local_path(uri) / name).open("rb") as file:
            yield file
        return
    with remote(uri) as (filesystem, path), filesystem.open(f"{path}/{name}", "rb") as file:
        yield file


def replace_file(uri: str, name: str, content: Path) -> None:
    """Put another content in the place of one file of a published folder, at once: for what must be forgotten only."""
    if is_local(uri):
        target = local_path(uri) / name
        partial = target.with_name(f".{name}.{uuid.uuid4().hex[:8]}.part")
        shutil.copyfile(content, partial)
        partial.replace(target)
        return
    with remote(uri) as (filesystem, path):
        filesystem.put_file(str(content), f"{path}/{name}")


@contextmanager
def remote(uri: str) -> Iterator[tuple[Any, str]]:
    """(file system, path without a slash at its end) of an fsspec address; ServiceDown when it cannot be reached."""
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        yield filesystem, path.rstrip("/")
    except (FileNotFoundError, NotReady, ServiceDown):
        raise
    except ImportError as error:
        raise NotReady(
            f"{uri} needs a library that is not installed ({error}); for s3:// install labelloop[s3]"
        ) from error
    except Exception as error:
        # The libraries behind fsspec have errors of their own for what cannot be reached or is refused.
        if not isinstance(error, OSError) and type(error).__module__.partition(".")[0] not in _REMOTE_LIBRARIES:
            raise
        raise ServiceDown(f"{uri} cannot be read or written: {error}; check its credentials and endpoint") from error


def _upload(filesystem: Any, folder: Path, path: str) -> None:
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        filesystem.put_file(str(file), f"{path}/{file.relative_to(folder).as_posix()}")
    filesystem.pipe_file(f"{path}/{MARKER}", b"")


def _download(filesystem: Any, path: str, partial: Path) -> None:
    partial.mkdir()
    try:
        for name in filesystem.find(path):
            relative = name[len(path) + 1 :]
            if relative != MARKER:
                target = partial / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                filesystem.get_file(name, str(target))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def partial_name(parent: Path, name: str) -> Path:
    """A name for a folder in the making that tells whose it is."""
    return parent / f".{name}.{socket.gethostname()[:40]}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part"


def clear_abandoned(parent: Path) -> None:
    """Remove the folders in the making whose processes are no more."""
    for left in parent.glob(".*.part"):
        host, _, process = left.name.removesuffix(".part").rpartition(".")[0].rpartition(".")
        if not process.isdigit() or not left.is_dir():
            continue
        with suppress(FileNotFoundError):
            ours = host.endswith(f".{socket.gethostname()[:40]}")
            dead = not _lives(int(process)) if ours else time.time() - left.stat().st_mtime > _ABANDONED_S
            if dead:
                shutil.rmtree(left, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
