"""Folders that are written once: dataset versions and artefacts, in a local folder or at an fsspec address such as s3://."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from labelloop.errors import NotReady


def is_local(uri: str) -> bool:
    """Whether an address is a plain path of this machine."""
    return "://" not in uri or uri.startswith("file://")


def local_path(uri: str) -> Path:
    """The path behind a local address."""
    return Path(uri.removeprefix("file://"))


def join(uri: str, *parts: str) -> str:
    """An address below another one."""
    return "/".join([uri.rstrip("/"), *parts])


def publish(folder: Path, uri: str) -> str:
    """Copy a finished folder to `uri` unless something is there already; the address. A reader never sees half of it."""
    if is_local(uri):
        target = local_path(uri)
        if target.exists():
            return str(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.part"
        shutil.copytree(folder, partial)
        try:
            partial.rename(target)
        except OSError:
            # Somebody else published the same folder in the meantime.
            shutil.rmtree(partial)
            if not target.exists():
                raise
        return str(target)
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(uri)
    marker = f"{path}/.complete"
    if not filesystem.exists(marker):
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            filesystem.put_file(str(file), f"{path}/{file.relative_to(folder).as_posix()}")
        filesystem.pipe_file(marker, b"")
    return uri


def fetch(uri: str, into: Path) -> Path:
    """A local folder with what `uri` holds: the folder itself where it is local, else a copy at `into`, made once."""
    if is_local(uri):
        if not local_path(uri).is_dir():
            raise NotReady(f"{uri} does not exist; was the artifacts folder moved or emptied?")
        return local_path(uri)
    if into.is_dir():
        return into
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(uri)
    if not filesystem.exists(f"{path}/.complete"):
        raise NotReady(f"{uri} does not exist or is not complete; check LABELLOOP_ARTIFACTS_URI")
    partial = into.parent / f".{into.name}.{uuid.uuid4().hex[:8]}.part"
    partial.mkdir(parents=True)
    for remote in filesystem.find(path):
        relative = remote[len(path.rstrip("/")) + 1 :]
        target = partial / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        if relative != ".complete":
            filesystem.get_file(remote, str(target))
    try:
        os.rename(partial, into)
    except OSError:
        shutil.rmtree(partial)
        if not into.is_dir():
            raise
    return into
