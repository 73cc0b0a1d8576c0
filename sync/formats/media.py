"""Image files of an export: fetched once in several threads, their sizes, and copies that stand upright."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from labelloop.errors import MediaError
from sync.formats.examples import ImageKey, addresses_of, image_size, media_path

Fetch = Callable[[str], Path]
"""Gives the local file of a media address; MediaError with a reason code."""
_THREADS = 8
#: JPEG quality of an image that had to be turned.
_QUALITY = 95


@dataclass(frozen=True)
class PartMedia:
    """What is known of a part's images by address: local file, size in pixels, or why there is none."""

    files: Mapping[str, Path] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


class MediaDesk:
    """Fetches the images of one part after another; a context, which ends its threads."""

    def __init__(self, fetch: Fetch, keys: Sequence[ImageKey]) -> None:
        self._fetch, self._keys = fetch, keys
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="export-media")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)

    def fetched(self, data: Iterable[Mapping[str, object]]) -> PartMedia:
        """The files and sizes of every image that these tasks name."""
        addresses = (address for each in data for _, _, address in addresses_of(each, self._keys))
        return self._looked_up(list(dict.fromkeys(addresses)))

    def sized(self, known: PartMedia, addresses: Sequence[str]) -> PartMedia:
        """What is known, and the sizes of these images."""
        more = self._looked_up(list(dict.fromkeys(addresses)))
        return PartMedia(known.files, {**known.sizes, **more.sizes}, {**known.reasons, **more.reasons})

    def _looked_up(self, addresses: Sequence[str]) -> PartMedia:
        files, sizes, reasons = {}, {}, {}
        for address, found in zip(addresses, self._threads.map(self._look_up, addresses), strict=True):
            if isinstance(found, str):
                reasons[address] = found
            else:
                files[address], sizes[address] = found
        return PartMedia(files, sizes, reasons)

    def _look_up(self, address: str) -> tuple[Path, tuple[int, int]] | str:
        try:
            file = self._fetch(address)
        except MediaError as error:
            return f"{error.reason}: {error}"
        size = image_size(file)
        return (file, size) if size is not None else f"unreadable: {address} is no image"


def folder_fetch(folder: Path) -> Fetch:
    """A fetch from a folder of this machine: by the whole path of an address, or by its end, down to the base name."""

    def fetch(address: str) -> Path:
        steps = media_path(address).split("/")
        for first in range(len(steps)):
            file = folder.joinpath(*steps[first:])
            if steps[first] and file.is_file():
                return file
        raise MediaError("not_found", f"{folder} has no file {steps[-1] or address!r}")

    return fetch


def copy_upright(source: Path, target: Path) -> bool:
    """Copy an image; one that EXIF data turns is turned for good, so that every reader sees it as people did.

    True when it was turned (and, a JPEG, encoded again at quality 95).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    turned = _turned(source)
    if turned is None:
        shutil.copyfile(source, target)
    else:
        target.write_bytes(turned)
    return turned is not None


def upright_bytes(source: Path) -> tuple[bytes, bool]:
    """The file as `copy_upright` would copy it, and whether it was turned."""
    turned = _turned(source)
    return (source.read_bytes(), False) if turned is None else (turned, True)


def _turned(source: Path) -> bytes | None:
    """The file of an image that EXIF data turns, turned for good; None for one that stands upright."""
    from PIL import Image, ImageOps

    with Image.open(source) as image:
        if image.getexif().get(0x0112, 1) in (0, 1):
            return None
        upright = ImageOps.exif_transpose(image)
        options = {"quality": _QUALITY} if image.format == "JPEG" else {}
        file = io.BytesIO()
        upright.save(file, format=image.format, **options)
        return file.getvalue()
