"""Reads folders of images that are named by class, maybe below one folder for each split: YOLO classify."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelloop.errors import DataError
from labelloop.label_config import Control, LabelConfig
from sync.formats.reading import Labelled, LabelledItem, Unread, WantedControl, config_for, control_for, region_for
from sync.formats.yolo_layout import IMAGE_SUFFIXES, SPLIT_NAMES, told_in_yaml
from sync.formats.yolo_places import class_of_folder


def is_of_classes(path: Path) -> bool:
    """Whether a data.yaml says so, or a folder has images in folders of classes, and nothing of images/ and labels/."""
    if not path.is_dir():
        return path.is_file() and told_in_yaml(path).task == "classify"
    if any((path / name).is_dir() for name in ("images", "labels")):
        return False
    for folder, _ in _split_folders(path):
        below = _folders(folder)
        if not below or below & {"images", "labels"} or _has_texts(folder):
            return False
        if not any(next(_image_files(folder / name), None) for name in below):
            return False
    return True


def read_classes(path: Path, config: LabelConfig | None) -> Labelled:
    """Open folders of classes; the order of the classes is that of data.yaml, else of their folders' names."""
    root = path.parent if path.is_file() else path
    if not root.is_dir():
        raise DataError(f"{path} is not there; expected a folder with a folder for each class, or for each split")
    places = list(_split_folders(root))
    found = sorted({class_of_folder(name) for folder, _ in places for name in _folders(folder)})
    told = told_in_yaml(path).classes or ()
    classes = [*told, *(name for name in found if name not in told)]
    if not found:
        raise DataError(f"{path} has no folders of classes; expected <split>/<class>/<image>, or <class>/<image>")
    made = config or config_for("Image", "image", [WantedControl("Choices", "class", classes)])
    if control_for(made, ("Choices",)) is None:
        raise DataError("the label config has no <Choices>; classes of images have no place in it")
    reader = _Reader(root, places, made)
    return Labelled(made, reader.items, ("images that are in no folder of a class",))


@dataclass(frozen=True)
class _Reader:
    """Turns the images in folders into items."""

    root: Path
    places: Sequence[tuple[Path, str | None]]
    config: LabelConfig

    def items(self, rejected: list[Unread]) -> Iterator[LabelledItem]:
        """Every image in a folder of a class that the config has; other folders go into `rejected`."""
        names: set[int] = set()
        for folder, split in self.places:
            for below in sorted(_folders(folder)):
                label = class_of_folder(below)
                control = control_for(self.config, ("Choices",), label)
                if control is None or control.object_tag != "Image":
                    detail = f"the label config has no <Choices> on an <Image> with {label!r}"
                    rejected.append(Unread(self._shown(folder / below), "class_not_in_config", detail))
                    continue
                for file in _image_files(folder / below):
                    yield self._item(file, folder / below, split, label, control, names)

    def _item(
        self, file: Path, folder: Path, split: str | None, label: str, control: Control, names: set[int]
    ) -> LabelledItem:
        name = file.relative_to(folder).as_posix()
        if hash(name) in names:  # another class, or split, has an image of that name
            name = self._shown(file)
        names.add(hash(name))
        data: Mapping[str, object] = {control.data_key: [name] if control.listed else name}
        region = region_for(control, 1, {}, [label])
        return LabelledItem(data, [region], self._shown(file), file, control.data_key, None, split)

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _split_folders(root: Path) -> Iterator[tuple[Path, str | None]]:
    """(folder of the folders of classes, split)."""
    splits = [name for name in SPLIT_NAMES if (root / name).is_dir()]
    yield from [(root / name, SPLIT_NAMES[name]) for name in splits]
    if not splits:
        yield root, None


def _folders(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")}


def _has_texts(folder: Path) -> bool:
    """Whether label files may be there: texts directly in a folder of classes, or beside the images."""
    return any(folder.glob("*/*.txt"))


def _image_files(folder: Path) -> Iterator[Path]:
    """The images below a folder, in the order of their paths."""
    for inner, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                yield Path(inner, name)
