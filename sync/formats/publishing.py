"""How an export gets onto the disk or to another address: all of it or nothing, whenever it is cut off."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelloop import folders
from labelloop.errors import DataError

MANIFEST = "manifest.json"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder that takes the place of `target` when the block ends well, and leaves no trace when it does not.

    A `target` that is there must be an earlier export (it has a manifest) or empty; DataError otherwise. What a killed
    process left behind is put right first.
    """
    _recover(target)
    if target.exists() and not _replaceable(target):
        raise DataError(f"{target} has files that no export wrote; name an empty or a new folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.{os.getpid()}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        _take_place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """A folder below `parent` for an export whose final name is not known yet; it goes when the block ends.

    Those of processes that were killed go too.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(".staging.*"):
        owner = left.name.rpartition(".")[2]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    folder = parent / f".staging.{os.getpid()}"
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def move_export(made: Path, target: Path) -> None:
    """Give a finished export on the same disk its final name; see `whole_folder` for what may be there already."""
    _recover(target)
    if target.exists() and not _replaceable(target):
        raise DataError(f"{target} has files that no export wrote; name an empty or a new folder")
    _take_place(made, target)


def _take_place(made: Path, target: Path) -> None:
    old = target.parent / f".{target.name}.{os.getpid()}.old"
    if target.exists():
        target.rename(old)
    made.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _recover(target: Path) -> None:
    """Put back an earlier export whose place was being taken, and clear what processes left that are no more."""
    if not target.parent.is_dir():
        return
    for left in target.parent.glob(f".{target.name}.*.*"):
        owner, _, kind = left.name.removeprefix(f".{target.name}.").partition(".")
        if kind not in ("part", "old") or not owner.isdigit() or _lives(int(owner)):
            continue
        if kind == "old" and not target.exists():
            left.rename(target)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def _replaceable(target: Path) -> bool:
    return target.is_dir() and ((target / MANIFEST).is_file() or not any(target.iterdir()))


def upload(folder: Path, uri: str) -> None:
    """Copy a finished export to an fsspec address; its manifest goes last and, of an earlier export there, first.

    DataError when something is there that no export wrote.
    """
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(uri)
    path = path.rstrip("/")
    manifest = f"{path}/{MANIFEST}"
    there = filesystem.find(path) if filesystem.exists(path) else []
    if there and not filesystem.exists(manifest):
        raise DataError(f"{uri} has files that no finished export wrote; name another address, or empty this one")
    if there:
        filesystem.rm_file(manifest)
        filesystem.rm([name for name in there if not name.endswith(f"/{MANIFEST}") or name != manifest])
    for file in sorted(each for each in folder.rglob("*") if each.is_file() and each != folder / MANIFEST):
        filesystem.put_file(str(file), f"{path}/{file.relative_to(folder).as_posix()}")
    filesystem.put_file(str(folder / MANIFEST), manifest)


def log_to_mlflow(folder: Path, run_id: str, tracking_uri: str, name: str) -> None:
    """Keep a finished export as artefacts of an MLflow run, below `exports/<name>`."""
    from mlflow import MlflowClient

    MlflowClient(tracking_uri).log_artifacts(run_id, str(folder), artifact_path=f"exports/{name}")


def is_remote(out: str) -> bool:
    """Whether an export's target is an address rather than a folder of this machine."""
    return not folders.is_local(out)
