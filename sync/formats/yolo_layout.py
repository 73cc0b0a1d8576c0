"""Where a YOLO dataset keeps its images and labels: by data.yaml, or by the folders that tools lay out without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labelloop.errors import DataError

#: What tools call a split, in the order in which splits are read.
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
IMAGE_SUFFIXES = frozenset(
    [
        ".avif",
        ".bmp",
        ".dng",
        ".gif",
        ".heic",
        ".heif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".mpo",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
_CLASSES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt")
#: Texts beside labels that are none.
_NO_LABELS = frozenset([*_CLASSES, *(f"{name}.txt" for name in SPLIT_NAMES), "notes.txt", "requirements.txt"])


@dataclass(frozen=True)
class Place:
    """Images and labels of one split: two folders of the same inner paths (maybe one folder), or a list of images.

    `without` are folders directly below that belong to other places.
    """

    split: str | None
    images: Path
    labels: Path
    listed: Path | None = None
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Layout:
    """A dataset on disk; `classes` by id where the files name them, `task`, `keypoints` and `dims` where data.yaml does."""

    root: Path
    places: tuple[Place, ...]
    classes: tuple[str, ...] | None = None
    task: str | None = None
    points: int = 0
    dims: int = 3
    point_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """An image and its label file, either of which may be missing; `name` is the image's path within its split."""

    name: str
    image: Path | None
    label: Path | None


def find_layout(path: Path) -> Layout:
    """The layout of a dataset at a data.yaml or in a folder; DataError when there is nothing like it."""
    if path.is_file():
        if path.suffix.lower() not in (".yaml", ".yml"):
            raise DataError(f"{path} is no data.yaml; name that, or the dataset's folder")
        return _of_yaml(path)
    if not path.is_dir():
        raise DataError(f"{path} is not there; name a data.yaml or a dataset's folder")
    layout = told_in_yaml(path)
    if not layout.places:
        layout = replace(layout, places=tuple(_plain_places(path)))
    return layout if layout.classes is not None else replace(layout, classes=_listed_classes(layout))


def labels_beside(images: Path) -> Path:
    """The folder (or file) of labels by an image's path: `labels` instead of the last `images`, else the same folder."""
    steps = list(images.parts)
    for place in range(len(steps) - 1, -1, -1):
        if steps[place] == "images":
            return Path(*steps[:place], "labels", *steps[place + 1 :])
    return images


def told_in_yaml(path: Path) -> Layout:
    """What the data.yaml at a path, or in a folder, says; nothing where there is none."""
    told = path if path.is_file() else _yaml_in(path)
    return _of_yaml(told) if told is not None else Layout(path, ())


# -- data.yaml ------------------------------------------------------------------------------------------------------------


def _yaml_in(folder: Path) -> Path | None:
    """data.yaml, or the only file of its kind."""
    for name in ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml"):
        if (folder / name).is_file():
            return folder / name
    found = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    return found[0] if len(found) == 1 else None


def _of_yaml(path: Path) -> Layout:
    import yaml

    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path} is no readable data.yaml: {error}") from error
    if not isinstance(told, Mapping):
        raise DataError(f"{path} is no data.yaml: expected keys such as names, train and val")
    root = _root(path, told.get("path"))
    points, dims = _kpt_shape(path, told.get("kpt_shape"))
    task = told.get("task")
    return Layout(
        root,
        tuple(_told_places(root, told)),
        _told_names(path, told),
        task if isinstance(task, str) else None,
        points,
        dims,
        _told_points(told.get("kpt_names"), points),
    )


def _root(path: Path, told: Any) -> Path:
    """The dataset's folder: as told, absolute or from data.yaml on; where that is not there, data.yaml's own."""
    own = path.resolve().parent
    if isinstance(told, str) and told:
        for root in (own / told, own / Path(told).name):  # own / an absolute path is that path
            if root.is_dir():
                return root
    return own


def _told_names(path: Path, told: Mapping[Any, Any]) -> tuple[str, ...] | None:
    names, count = told.get("names"), told.get("nc")
    if isinstance(names, Mapping):
        try:
            by_id = {int(number): name for number, name in names.items()}
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: expected class ids from 0 as the keys of names, got {list(names)[:5]}") from error
        if sorted(by_id) != list(range(len(by_id))):
            raise DataError(f"{path}: expected class ids 0 to {len(by_id) - 1} in names, got {sorted(by_id)[:10]}")
        return _named([by_id[number] for number in range(len(by_id))])
    if isinstance(names, list):
        return _named(names)
    if names is not None:
        raise DataError(f"{path}: expected a list of classes as names, or ids with classes, got {names!r}")
    return _named([None] * count) if isinstance(count, int) and count > 0 else None


def _named(names: Sequence[Any]) -> tuple[str, ...]:
    """Class names as texts, each its own: a class without a name is called by its id."""
    texts = [str(name).strip() if name is not None else "" for name in names]
    return tuple(text or f"class_{number}" for number, text in enumerate(texts))


def _kpt_shape(path: Path, told: Any) -> tuple[int, int]:
    if told is None:
        return 0, 3
    fits = isinstance(told, list) and len(told) == 2 and all(type(n) is int for n in told)
    if not fits or told[0] < 1 or told[1] not in (2, 3):
        raise DataError(f"{path}: expected kpt_shape: [number of key points, 2 or 3], got {told!r}")
    return told[0], told[1]


def _told_points(told: Any, count: int) -> tuple[str, ...]:
    """The names of key points: one list, or one for each class, of which the first counts."""
    if isinstance(told, Mapping):
        told = next(iter(told.values()), None)
    names = [str(name) for name in told] if isinstance(told, list) else []
    return tuple(names) if len(names) == count == len(set(names)) else ()


def _told_places(root: Path, told: Mapping[Any, Any]) -> Iterator[Place]:
    seen: set[Path] = set()
    for key, split in SPLIT_NAMES.items():
        entries = told.get(key)
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, str) or not entry:
                continue
            found = _resolved(root, entry, _is_place)
            if found not in seen:  # val that is train again
                seen.add(found)
                yield Place(split, found, labels_beside(found), found if found.suffix.lower() == ".txt" else None)


def _resolved(root: Path, entry: str, is_there: Callable[[Path], bool]) -> Path:
    """What an entry names: below the root, where needed by its end alone, as of a dataset that was moved."""
    steps = [step for step in Path(entry).parts if step not in ("..", ".", os.sep)]
    candidates = [root / entry, *(root.joinpath(*steps[first:]) for first in range(len(steps)))]
    found = next((candidate for candidate in candidates if is_there(candidate)), candidates[0])
    return Path(os.path.normpath(found))


def _is_place(path: Path) -> bool:
    return path.exists() or labels_beside(path).is_dir()


def label_file(image: Path) -> Path:
    """The label file of an image."""
    return labels_beside(image).with_suffix(".txt")


def _is_item(image: Path) -> bool:
    return image.is_file() or label_file(image).is_file()


# -- without data.yaml ----------------------------------------------------------------------------------------------------


def _plain_places(root: Path) -> Iterator[Place]:
    """images/ and labels/, below them or above them maybe a folder for each split; or one folder with everything."""
    splits = [name for name in SPLIT_NAMES if (root / name).is_dir()]
    if (root / "labels").is_dir():
        yield from _split_places(root / "images", root / "labels")
    elif splits:
        for name in splits:
            of_split = root / name
            images = of_split / "images" if (of_split / "images").is_dir() else of_split
            labels = of_split / "labels" if (of_split / "labels").is_dir() else of_split
            yield Place(SPLIT_NAMES[name], images, labels)
    elif root.name == "labels" and (root.parent / "images").is_dir():
        yield from _split_places(root.parent / "images", root)
    else:
        yield from _split_places(root, root)


def _split_places(images: Path, labels: Path) -> Iterator[Place]:
    splits = [name for name in SPLIT_NAMES if (labels / name).is_dir()]
    for name in splits:
        yield Place(SPLIT_NAMES[name], images / name, labels / name)
    yield Place(None, images, labels, without=frozenset(splits))


def _listed_classes(layout: Layout) -> tuple[str, ...] | None:
    """classes.txt, or what other tools call it: a class a line, its line is its id."""
    folders = [layout.root, layout.root.parent if layout.root.name == "labels" else layout.root]
    for place in layout.places:
        folders += [place.labels, place.labels.parent, place.images]
    for folder in dict.fromkeys(folders):
        for name in _CLASSES:
            if (folder / name).is_file():
                return _classes_of(folder / name)
    return None


def _classes_of(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no readable list of classes: {error}") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return _named(lines)


# -- images and labels ----------------------------------------------------------------------------------------------------


def pairs_of(layout: Layout, place: Place) -> Iterator[Pair]:
    """The images and labels of a place, in the order of their paths; memory for one folder at a time."""
    yield from _listed_pairs(layout, place) if place.listed is not None else _folder_pairs(place)


def _folder_pairs(place: Place) -> Iterator[Pair]:
    left = [""]
    while left:
        inner = left.pop()
        images, of_images = _look(place.images / inner, IMAGE_SUFFIXES)
        labels, of_labels = _look(place.labels / inner, frozenset([".txt"]))
        by_stem: dict[str, list[str]] = {}
        for name in images:
            by_stem.setdefault(os.path.splitext(name)[0], []).append(name)
        stems = {os.path.splitext(name)[0]: name for name in labels if name.lower() not in _NO_LABELS}
        if place.labels == place.images:
            stems = {stem: name for stem, name in stems.items() if not name.lower().startswith("readme")}
        for stem in sorted(by_stem.keys() | stems.keys()):
            label = place.labels / inner / stems[stem] if stem in stems else None
            for name in by_stem.get(stem, ()):
                yield Pair(inner + name, place.images / inner / name, label)
            if stem not in by_stem:
                yield Pair(inner + stem, None, label)
        below = sorted((of_images | of_labels) - (place.without if not inner else frozenset()), reverse=True)
        left += [f"{inner}{folder}/" for folder in below]


def _look(folder: Path, suffixes: frozenset[str]) -> tuple[list[str], set[str]]:
    """(files with one of these suffixes, folders) in a folder that may not be there."""
    if not folder.is_dir():
        return [], set()
    with os.scandir(folder) as found:
        entries = [(entry.name, entry.is_dir()) for entry in found]
    files = sorted(name for name, is_dir in entries if not is_dir and os.path.splitext(name)[1].lower() in suffixes)
    return files, {name for name, is_dir in entries if is_dir}


def _listed_pairs(layout: Layout, place: Place) -> Iterator[Pair]:
    """The images that a list names: "./" is the list's folder; a path that is not there counts by its end."""
    assert place.listed is not None  # noqa: S101  (told to the type checker)
    base = place.listed.parent
    with place.listed.open(encoding="utf-8-sig") as lines:
        for line in lines:
            said = line.strip().replace("\\", "/")
            if not said:
                continue
            image = base / said[2:] if said.startswith("./") else _resolved(layout.root, said, _is_item)
            label = label_file(image)
            name = _inner(said.removeprefix("./"), place.split)
            yield Pair(name, image if image.is_file() else None, label if label.is_file() else None)


def _inner(said: str, split: str | None) -> str:
    """A listed image's path within its split: behind `images/<split>/` or `images/`, else the whole."""
    for mark in (f"/images/{split}/", "/images/"):
        if mark in f"/{said}":
            return f"/{said}".rpartition(mark)[2]
    return said
