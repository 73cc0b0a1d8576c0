"""Reads Pascal VOC files (VOC's own folders, and any folder of such XML) as labelled images, one file after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.formats.examples import image_size
from sync.formats.flags import DIFFICULT, flag_choice, flag_region, wanted_flags
from sync.formats.image_reading import ImageFiles, Unfit, box_value, fitting_control, percents, size_told
from sync.formats.reading import Labelled, LabelledItem, Unread, WantedControl, config_for, control_for, region_for
from sync.formats.text_reading import split_named
from sync.formats.voc import ANNOTATIONS, IMAGES, LABELMAP, OUR_DATABASE, SETS
from sync.formats.voc_boxes import corners_of

#: Bytes of a file that describes one image; more is something else.
_MOST = 64 << 20
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
#: Where a box goes, the fitting control first.
_TAGS = ("RectangleLabels", "PolygonLabels")
_LOSSES = ("poses, parts, attributes, masks, and what is truncated or occluded",)


def read_voc(
    path: Path, *, task: str | None = None, config: LabelConfig | None = None, images: Path | None = None
) -> Labelled:
    """Open a folder with VOC's files below it, or one file.

    Corners are taken as VOC's: from 1, the last pixel inside. Splits are those of ImageSets/Main, or of the folders'
    names. DataError when there is no such file, or the config has no place for boxes.
    """
    roots = list(_roots(path))
    if not any(True for root in roots for _ in root.files()):
        raise DataError(f"{path} has no VOC file; expected Annotations/*.xml below it, or a folder of such files")
    survey = _survey(roots) if config is None else _Survey()
    made = config or _config(roots, survey)
    control = control_for(made, _TAGS)
    if control is None or control.object_tag != "Image":
        raise DataError(f"the label config has none of {list(_TAGS)} on an <Image>; VOC's boxes have no place in it")
    reader = _Reader(path, roots, made, images, control.data_key, control.listed)
    losses = _LOSSES if flag_choice(made, DIFFICULT) else (*_LOSSES, "which objects are difficult")
    return Labelled(made, reader.items, losses, survey.files or sum(1 for root in roots for _ in root.files()))


@dataclass(frozen=True)
class _Root:
    """One set of files: its folder, the folder of its XML files (or the one file), and the split of each name listed."""

    folder: Path
    annotations: Path
    splits: Mapping[str, str] = field(repr=False)

    def files(self) -> Iterator[Path]:
        """The XML files, sorted by name within each folder; no list of all is held."""
        if self.annotations.is_file():
            yield self.annotations
            return
        for folder, below, names in os.walk(self.annotations):
            below.sort()
            yield from (Path(folder, name) for name in sorted(names) if name.lower().endswith(".xml"))

    def stem_of(self, file: Path) -> str:
        """What the lists call a file: its path below the annotations, without its suffix."""
        if file == self.annotations:
            return file.stem
        return file.relative_to(self.annotations).with_suffix("").as_posix()


def _roots(path: Path) -> Iterator[_Root]:
    if path.is_file():
        beside = path.parent.name.lower() == ANNOTATIONS.lower()
        yield _Root(path.parent.parent if beside else path.parent, path, {})
        return
    found = [
        folder / child
        for folder in (path, *sorted(each for each in path.glob("*") if each.is_dir()))
        for child in (ANNOTATIONS, ANNOTATIONS.lower())
        if (folder / child).is_dir()
    ]
    for place in dict.fromkeys(found):
        yield _Root(place.parent, place, _listed(place.parent))
    if not found:
        yield _Root(path, path, _listed(path))


def _listed(folder: Path) -> dict[str, str]:
    """The split of each name, as lists in ImageSets/Main (or beside the annotations) tell it."""
    splits: dict[str, str] = {}
    for place in (folder / SETS, folder):
        for name, split in _SPLITS.items():
            file = place / f"{name}.txt"
            if file.is_file():
                for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines():
                    name = line.strip()
                    suffix = next((each for each in _SUFFIXES if name.lower().endswith(each)), "")
                    splits.setdefault(name.removesuffix(name[len(name) - len(suffix) :]), split)
        if splits:
            break
    return splits


# -- a config ---------------------------------------------------------------------------------------------------------


@dataclass
class _Survey:
    """What the files have: their number, the names of their objects as they come, whether some are difficult."""

    files: int = 0
    classes: dict[str, None] = field(default_factory=dict)
    difficult: bool = False


def _survey(roots: Sequence[_Root]) -> _Survey:
    survey = _Survey()
    for root in roots:
        for file in root.files():
            survey.files += 1
            try:
                document = _parsed(file)
            except DataError:
                continue  # told when it is read
            for element in document.findall("object"):
                survey.classes.setdefault(_text(element, "name"))
                survey.difficult = survey.difficult or _text(element, "difficult") == "1"
    return survey


def _config(roots: Sequence[_Root], survey: _Survey) -> LabelConfig:
    """A config with the classes of labelmap.txt in its order, and then those that the files have besides."""
    mapped = [name for root in roots for name in _mapped(root.folder / LABELMAP)]
    classes = [name for name in dict.fromkeys([*mapped, *survey.classes]) if name]
    if not classes:
        raise DataError("no file names an object, so no label config can be made of them; name one with --config")
    wanted = [WantedControl("RectangleLabels", "box", classes)]
    if survey.difficult:
        wanted.append(wanted_flags("flags", [DIFFICULT]))
    return config_for("Image", "image", wanted)


def _mapped(labelmap: Path) -> list[str]:
    """The classes of a labelmap.txt; those that VOC's own masks have besides objects are none."""
    if not labelmap.is_file():
        return []
    lines = labelmap.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    names = [line.partition(":")[0].strip() for line in lines if line.strip() and not line.startswith("#")]
    return [name for name in names if name not in ("background", "void", "ignored")]


# -- files ------------------------------------------------------------------------------------------------------------


def _parsed(file: Path) -> Element:
    """The document of a file; Unfit when it is no annotation of VOC."""
    try:
        if file.stat().st_size > _MOST:
            raise Unfit("unreadable", f"it has more than {_MOST} bytes, which describe no image")
        document: Element = fromstring(file.read_bytes())
    except (OSError, ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise Unfit("unreadable", f"no readable XML: {error}") from error
    if document.tag != "annotation":
        raise Unfit("unreadable", f"expected <annotation>, got <{document.tag}>")
    return document


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


@dataclass(frozen=True)
class _Reader:
    """Turns files into items. `asked` is the path that was to be read, `key` that of the data with the image."""

    asked: Path
    roots: Sequence[_Root]
    config: LabelConfig
    images: Path | None
    key: str
    listed: bool

    def items(self, rejected: list[Unread]) -> Iterator[LabelledItem]:
        """Every file; what cannot be read goes into `rejected`."""
        for root in self.roots:
            finder = ImageFiles([self.images, root.folder / IMAGES, root.folder / "images", root.folder])
            for file in root.files():
                source = file.relative_to(self.asked).as_posix() if file != self.asked else file.name
                try:
                    yield self._item(root, file, source, finder, rejected)
                except Unfit as error:
                    rejected.append(Unread(source, error.reason, str(error)))

    def _item(self, root: _Root, file: Path, source: str, finder: ImageFiles, rejected: list[Unread]) -> LabelledItem:
        document, stem = _parsed(file), root.stem_of(file)
        named = _image_name(document, stem)
        told = [_text(document, "filename"), _text(document, "path")]
        media = finder.find(named, *told, *(f"{stem}{suffix}" for suffix in _SUFFIXES))
        size = size_told(_text(document, "size/width"), _text(document, "size/height"))
        size = size or (image_size(media) if media is not None else None)
        objects = document.findall("object")
        if objects and size is None:
            raise Unfit("no_size", "neither the file nor an image tells the width and height")
        result: list[Region] = []
        for number, element in enumerate(objects, start=1):
            try:
                self._add(element, number, size or (0, 0), result)
            except DataError as error:
                reason = error.reason if isinstance(error, Unfit) else "bad_object"
                rejected.append(Unread(f"{source}, object {number}", reason, str(error)))
        split = root.splits.get(stem) or root.splits.get(file.stem) or split_named(Path(source).parent)
        data = {self.key: [named] if self.listed else named}
        return LabelledItem(data, result, source, media, self.key, size, split)

    def _add(self, element: Element, number: int, size: tuple[int, int], result: list[Region]) -> None:
        """Add the region of an object, and what marks it."""
        label, ours = _text(element, "name"), element.find("labelloop")
        told = ours.attrib if ours is not None else {}
        control = fitting_control(self.config, _TAGS, label, told.get("control"))
        box = element.find("bndbox")
        if box is None:
            raise Unfit("no_box", "it has no bndbox")
        corners = corners_of([_text(box, side) for side in _SIDES], told.get("bounds", ""), size)
        value: dict[str, Any] = box_value(*corners, size)
        if control.tag == "PolygonLabels":
            (x0, y0), (x1, y1) = percents([corners[:2], corners[2:]], size)
            value = {"points": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]], "closed": True}
        taken = {region["id"]: region for region in reversed(result)}.get(told.get("region", ""))
        if taken is not None and {**taken["value"], control.value_key: 0} == {**value, control.value_key: 0}:
            # Our own export writes a region with several classes once for each.
            taken["value"][control.value_key] = list(dict.fromkeys([*taken["value"][control.value_key], label]))
            return
        region = region_for(control, number, value, [label], size)
        if told.get("region") and taken is None:
            region["id"] = told["region"]
        problem = self.config.problem_with(region)
        if problem is not None:
            raise Unfit("unfit", problem)
        result.append(region)
        flag = flag_choice(self.config, DIFFICULT)
        if flag is not None and _text(element, "difficult") == "1":
            result.append(flag_region(region, flag[0], [flag[1]]))


def _image_name(document: Element, stem: str) -> str:
    """What a task's data says of an image: the path of our own export, else the file's name below the folder of its XML."""
    if _text(document, "source/database") == OUR_DATABASE:
        return _text(document, "path").removeprefix(f"{IMAGES}/")
    base = _text(document, "filename").replace("\\", "/").rpartition("/")[2] or f"{stem.rpartition('/')[2]}.jpg"
    folder, slash, _ = stem.rpartition("/")
    return f"{folder}{slash}{base}"
