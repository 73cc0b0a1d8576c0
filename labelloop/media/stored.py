"""Media in buckets and in the one allowed folder of this machine."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from labelloop.errors import MediaError
from labelloop.media.places import BucketPlace, FilePlace
from labelloop.media.shelves import Stamp
from labelloop.media.sink import Sink

_CHUNK = 1 << 20
#: protocol -> (library that fsspec needs for it, extra that installs it)
_LIBRARIES = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gcs"), "gcs": ("gcsfs", "gcs")}


def read_bucket(place: BucketPlace, sink: Sink) -> Stamp:
    """Write an object into `sink`; MediaError "not_found" says what is missing, also a library."""
    import fsspec

    library, extra = _LIBRARIES.get(place.protocol, (f"fsspec's library for {place.protocol}", place.protocol))
    try:
        files: Any = fsspec.filesystem(place.protocol)
    except ImportError as error:
        raise MediaError(
            "not_found",
            f"{place.protocol}:// needs {library}, which is not installed: pip install 'labelloop[{extra}]'",
        ) from error
    except ValueError as error:
        raise MediaError("not_found", f"{place.protocol}:// is not known to fsspec") from error
    try:
        about = files.info(place.path)
        sink.expect(about.get("size"))
        with files.open(place.path, "rb") as source:
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
    except MediaError:
        raise
    except FileNotFoundError as error:
        raise MediaError("not_found", "the bucket has no such object") from error
    except Exception as error:  # each store's library raises errors of its own, of refusals and broken connections
        raise MediaError("not_found", f"the bucket did not give the object: {type(error).__name__}") from error
    etag = about.get("ETag") or about.get("etag")
    return Stamp(state=str(etag) if etag else None)


def file_state(place: FilePlace, folder: Path) -> tuple[Path, str]:
    """The true path of a file of the folder, and what changes when the file does.

    MediaError "not_found" for what is no plain file, or is outside once links are followed.
    """
    try:
        path = place.path.resolve(strict=True)
        inside = path.is_relative_to(folder.resolve(strict=True))
        about = path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
        raise MediaError("not_found", "there is no such file in the folder of LABELLOOP_MEDIA_FOLDER") from error
    if not inside or not stat.S_ISREG(about.st_mode):
        raise MediaError("not_found", "the file is refused: it is no plain file inside LABELLOOP_MEDIA_FOLDER")
    return path, f"{about.st_size}-{about.st_mtime_ns}-{about.st_ino}"


def read_file(place: FilePlace, folder: Path, sink: Sink) -> Stamp:
    """Write a file of the folder into `sink`."""
    path, state = file_state(place, folder)
    try:  # the checked path has no links; one put there since is not followed, and a pipe put there does not block
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise MediaError("not_found", f"the file cannot be opened: {error.strerror}") from error
    with open(descriptor, "rb") as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MediaError("not_found", "the file is refused: it is no plain file")
        while chunk := source.read(_CHUNK):
            sink.write(chunk)
    return Stamp(state=state)
