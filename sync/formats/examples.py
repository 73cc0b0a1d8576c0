"""What a format writes: one labelled task, its pictures with names and sizes, and the part of the data it belongs to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region

SPLITS = ("train", "val", "test")


@dataclass(slots=True)
class Picture:
    """One image of a task. `name` is its relative path, unique in the export; `file_name` is what the files say.

    The two differ only where paths are rebased. `file` is the local copy, None where the image is not at hand.
    """

    to_name: str
    index: int
    address: str
    name: str
    file_name: str
    size: tuple[int, int] | None
    file: Path | None = None


@dataclass(slots=True)
class Example:
    """One task with the label that counts as its truth.

    `split` is one of SPLITS; `source` says who made the label as a whole ("person", "import", "model", "rule",
    "consensus"); `n_agreeing` of `n_labels` people said the same (None: not counted).
    """

    task_id: int
    data: dict[str, Any]
    meta: dict[str, Any]
    group_key: str
    split: str
    annotation_id: int
    annotator: int | None
    at: datetime
    rev_hash: str
    shown_serving_id: str | None
    ground_truth: bool
    source: str
    review_status: str
    n_labels: int | None
    n_agreeing: int | None
    result: list[Region]
    pictures: list[Picture] = field(default_factory=list)

    def regions_on(self, picture: Picture) -> list[Region]:
        """The regions drawn on one picture; of a task with one picture, its whole result."""
        if len(self.pictures) == 1:
            return self.result
        place = picture.to_name, picture.index
        return [region for region in self.result if _place_of(region) == place]

    def strays(self) -> list[Region]:
        """Regions, and relations of regions, that `regions_on` gives for none of the pictures."""
        if len(self.pictures) == 1:
            return []
        places = [(picture.to_name, picture.index) for picture in self.pictures]
        return [region for region in self.result if _place_of(region) not in places]


def _place_of(region: Region) -> tuple[Any, int]:
    """The object tag and the place in its list of images; 0 where a region does not say it."""
    index = region.get("item_index")
    return region.get("to_name"), index if isinstance(index, int) else 0


@dataclass(frozen=True)
class ExportOptions:
    """What an export may be told.

    `train_share` of what is not test goes into train, the rest into val; `test_share` is taken first. `keep_splits`: a
    split that the data already carries (in meta) stays. `images`: whether image files are copied. `rebase` replaces the
    beginning of a media address, (from, to). `values`: what the variant of a format may be told besides, as plain text.
    """

    task: str | None = None
    train_share: float = 0.85
    test_share: float = 0.0
    keep_splits: bool = False
    images: bool = False
    rebase: tuple[str, str] | None = None
    values: Mapping[str, str] = field(default_factory=dict)


def split_of(group_key: str, role_split: str | None, meta: Mapping[str, Any], options: ExportOptions) -> str:
    """One of SPLITS: decided by the group alone, so that it stays when tasks are added and groups stay together.

    The blind holdout that models are measured on (`role_split` "holdout") is always test.
    """
    ours = meta.get("labelloop") if options.keep_splits else None
    kept = ours.get("split") if isinstance(ours, Mapping) else None
    if kept in SPLITS:
        return str(kept)
    if role_split == "holdout":
        return "test"
    if options.test_share and _unit(b"export test", group_key) < options.test_share:
        return "test"
    return "train" if _unit(b"export split", group_key) < options.train_share else "val"


def _unit(purpose: bytes, group_key: str) -> float:
    digest = hashlib.sha256(purpose + b"\x1f" + group_key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


# -- pictures -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageKey:
    """Where a config's tasks carry an image: its object tag's name and the key of the data."""

    to_name: str
    data_key: str
    listed: bool


def image_keys(config: LabelConfig) -> tuple[ImageKey, ...]:
    """The images of a config's tasks, in document order."""
    found = {c.to_name: ImageKey(c.to_name, c.data_key, c.listed) for c in config.controls if c.object_tag == "Image"}
    return tuple(found.values())


def addresses_of(data: Mapping[str, Any], keys: Sequence[ImageKey]) -> Iterator[tuple[ImageKey, int, str]]:
    """(key, index within a list, address) of every image that a task's data names."""
    for key in keys:
        value = data.get(key.data_key)
        for index, address in enumerate(value if key.listed and isinstance(value, list) else [value]):
            if isinstance(address, str) and address:
                yield key, index, address


#: How Label Studio addresses the files of a local storage, which most projects have only.
_LOCAL = "/data/local-files/?d="


@lru_cache(maxsize=256)
def media_path(address: str) -> str:
    """The path of a media address without server, query or leading slash, safe below any folder.

    `?d=` names local files; `data/` before an upload is Label Studio's own. "" where the address has no path.
    """
    if address.startswith(_LOCAL) and "&" not in address and "#" not in address:
        path = address[len(_LOCAL) :]
        path = unquote(path.replace("+", " ")) if "%" in path or "+" in path else path
    else:
        parts = urlsplit(address)
        local = parse_qs(parts.query).get("d") if parts.query else None
        path = local[0] if local else unquote(parts.path)
    steps = [step for step in path.replace("\\", "/").replace("\0", "").split("/") if step not in ("", ".", "..")]
    return "/".join(steps[1:] if steps[:2] == ["data", "upload"] else steps)


def name_key(path: str) -> str:
    """What may be taken once: a path without its suffix, as a file system that ignores case sees it."""
    folder, _, base = path.rpartition("/")
    stem = base.rpartition(".")[0] or base
    return f"{folder}/{stem}".casefold()


def picture_name(path: str, task_id: int, index: int, taken_twice: Collection[str]) -> str:
    """The path, with the task's id in it where another image claims the same; stable when tasks are added."""
    if path and name_key(path) not in taken_twice:
        return path
    folder, _, base = path.rpartition("/")
    stem, _, suffix = base.rpartition(".")
    marked = f"{stem or base or 'image'}-{task_id}" + (f"-{index}" if index else "") + (f".{suffix}" if stem else "")
    return f"{folder}/{marked}" if folder else marked


def rebased(address: str, name: str, rebase: tuple[str, str] | None) -> str:
    """What the files call an image: its name, or its address with another beginning."""
    if rebase is None or not address.startswith(rebase[0]):
        return name
    return rebase[1] + address[len(rebase[0]) :]


def size_in(regions: Sequence[Region]) -> tuple[int, int] | None:
    """(width, height) in pixels as the labels of one image carry it."""
    for region in regions:
        width, height = region.get("original_width"), region.get("original_height")
        if _is_size(width) and _is_size(height):
            return int(width), int(height)  # type: ignore[arg-type]
    return None


def size_in_meta(meta: Mapping[str, Any]) -> tuple[int, int] | None:
    """(width, height) in pixels as ingest noted it."""
    ours = meta.get("labelloop")
    width, height = (ours.get("width"), ours.get("height")) if isinstance(ours, Mapping) else (None, None)
    return (int(width), int(height)) if _is_size(width) and _is_size(height) else None  # type: ignore[arg-type]


def _is_size(value: Any) -> bool:
    return (type(value) is int or type(value) is float) and 1 <= value < math.inf


def image_size(path: Path) -> tuple[int, int] | None:
    """The size of an image file as a browser shows it: with the turn that its EXIF data asks for; None if unreadable."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            width, height = image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    return (height, width) if turned else (width, height)


def labels_of(region: Region, control: Control) -> list[str]:
    """The classes of a region under its control; a taxonomy's path is joined by " / "."""
    value = region.get("value")
    found = value.get(control.value_key) if value else None
    if type(found) is list and len(found) == 1 and type(found[0]) is str:
        return found
    listed = found if isinstance(found, list) else [found] if isinstance(found, str) else []
    return [" / ".join(map(str, each)) if isinstance(each, list) else str(each) for each in listed]


def no_place_for(region: Region, format: str) -> str:
    """Why a region, or a relation of two, is not in the files of a format that has nothing like it."""
    if region.get("type") == "relation":
        return f"region {region.get('from_id')} -> {region.get('to_id')}: {format} has no place for relations"
    return f"region {region.get('id')}: {format} has no place for {region.get('type')}"
