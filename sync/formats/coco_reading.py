"""Reads COCO files (instances or key points; folders as COCO, Roboflow or our own export lay them out) as labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig
from sync.formats.coco_index import CocoFile, CocoImageRow, CocoRow
from sync.formats.coco_regions import RegionMaker, Survey, point_names
from sync.formats.examples import image_size
from sync.formats.flags import CROWD, HIDDEN, flag_choice, wanted_flags
from sync.formats.image_reading import ImageFiles, size_told
from sync.formats.reading import Labelled, LabelledItem, Unread, WantedControl, config_for
from sync.formats.text_reading import split_named

#: Annotations that are no objects lie beside the objects' in COCO's own folders.
_OTHERS = ("captions", "image_info", "panoptic", "stuff")
_LOSSES = ("info and licences", "supercategories and skeletons", "attributes of annotations")


def read_coco(
    path: Path, *, task: str | None = None, config: LabelConfig | None = None, images: Path | None = None
) -> Labelled:
    """Open a COCO file, or a folder with annotations/*.json or <split>/_annotations.coco.json.

    Each annotation is one region: a box, a polygon (one ring), or a brush (a mask, or several rings). DataError when no
    file is COCO's, or the config has no image.
    """
    survey = Survey()
    files = [_Opened(CocoFile(file, survey.look), split_named(file), path) for file in files_at(path, task)]
    found = task or _task_of(survey)
    classes, points = _names(files)
    made = config or _config(found, survey, classes, points)
    keys = [(control.data_key, control.listed) for control in made.controls if control.object_tag == "Image"]
    if not keys:
        raise DataError("the label config has no control on an <Image>; COCO's annotations have no place in it")
    reader = _Reader(files, made, found, images, *keys[0])
    return Labelled(made, reader.items, _losses(found, survey, made), sum(each.file.count for each in files))


def files_at(path: Path, task: str | None) -> list[Path]:
    """The annotation files at a path; DataError when there are none.

    Of files for several purposes about the same images only one kind is taken: instances, for pose key points.
    """
    if path.is_file():
        return [path]
    found = sorted(path.glob("annotations/*.json")) or sorted(
        [*path.glob("_annotations.coco.json"), *path.glob("*/_annotations.coco.json")]
    )
    found = found or sorted(file for file in path.glob("*.json") if file.name != "manifest.json")
    preferred = ("keypoints", "instances") if task == "pose" else ("instances", "keypoints")
    for word in preferred:
        of_kind = [file for file in found if word in file.stem]
        if of_kind:
            return of_kind
    found = [file for file in found if not file.stem.startswith(_OTHERS)]
    if not found:
        raise DataError(f"{path} has no COCO file; expected annotations/*.json or <split>/_annotations.coco.json")
    return found


@dataclass(frozen=True)
class _Opened:
    """An indexed file, its split, and the path that was asked for."""

    file: CocoFile
    split: str | None
    root: Path

    @property
    def name(self) -> str:
        """Its path below the folder that was asked for."""
        path = self.file.path
        return path.relative_to(self.root).as_posix() if path != self.root else path.name

    def folders(self) -> Iterator[Path]:
        """Where its images may lie, the likeliest first."""
        beside, above = self.file.path.parent, self.file.path.parent.parent
        split = self.split or ""
        year = self.file.path.stem.rpartition("_")[2]  # instances_train2017 belongs to the folder train2017
        if beside.name == "annotations":
            yield from (
                above / "images" / year,
                above / "images" / split,
                above / year,
                above / split,
                above / "images",
            )
        yield from (beside, beside / "images")
        if beside.name != "annotations":
            yield from (beside / year, above / "images" / split)


def _task_of(survey: Survey) -> str:
    """The task that keeps all that the annotations have."""
    if survey.has_points:
        return "pose"
    return "segment" if survey.kinds - {"box"} else "detect"


def _names(files: list[_Opened]) -> tuple[list[str], list[str]]:
    """(classes, key points) of all files, in their order."""
    categories = [category for each in files for category in each.file.categories.values()]
    points = (name for category in categories for name in point_names(category))
    return list(dict.fromkeys(str(category.get("name")) for category in categories)), list(dict.fromkeys(points))


def _config(task: str, survey: Survey, classes: list[str], points: list[str]) -> LabelConfig:
    """A config for what was found; DataError where the files name no category."""
    if not classes:
        raise DataError("the file names no category, so no label config can be made of it; name one with --config")
    kinds = survey.kinds if task != "detect" else {"box"}
    tags = {"box": "RectangleLabels", "polygon": "PolygonLabels", "mask": "BrushLabels"}
    wanted = [WantedControl(tag, kind, classes) for kind, tag in tags.items() if kind in (kinds or ("box",))]
    if task == "pose":
        wanted.append(WantedControl("KeyPointLabels", "keypoint", points))
    marks = [CROWD] * survey.has_crowds + [HIDDEN] * (survey.has_hidden and task == "pose")
    if marks:
        wanted.append(wanted_flags("flags", marks))
    return config_for("Image", "image", wanted)


def _losses(task: str, survey: Survey, config: LabelConfig) -> tuple[str, ...]:
    losses = [*_LOSSES]
    if task == "detect" and survey.kinds - {"box"}:
        losses.append("outlines and masks; --task segment keeps them")
    if task != "pose" and survey.has_points:
        losses.append("key points; --task pose keeps them")
    if survey.has_crowds and flag_choice(config, CROWD) is None:
        losses.append("which annotations are crowds: the label config has no choice 'crowd' about a region")
    if task == "pose" and survey.has_hidden and flag_choice(config, HIDDEN) is None:
        losses.append("which key points are hidden: the label config has no choice 'hidden' about a region")
    return tuple(losses)


@dataclass(frozen=True)
class _Reader:
    """Turns the images of the files into items."""

    files: list[_Opened]
    config: LabelConfig
    task: str
    images: Path | None
    data_key: str
    listed: bool

    def items(self, rejected: list[Unread]) -> Iterator[LabelledItem]:
        """Every image of every file; what cannot be read goes into `rejected`."""
        for opened in self.files:
            for place in opened.file.broken:
                rejected.append(Unread(f"{opened.name}, {place}", "no_object", "expected an object"))
            yield from self._items_of(opened, rejected)
            for image_id, times in opened.file.orphans():
                rejected.append(
                    Unread(
                        f"{opened.name}, image {image_id}",
                        "no_image",
                        f"{times} annotations name an image that the file does not list",
                    )
                )

    def _items_of(self, opened: _Opened, rejected: list[Unread]) -> Iterator[LabelledItem]:
        maker = RegionMaker(self.config, self.task, opened.file.categories)
        given = (self.images / (opened.split or ""), self.images) if self.images is not None else ()
        finder = ImageFiles([*given, *opened.folders()])
        for image, new in opened.file.images():
            source = f"{opened.name}, image {image.id}"
            address = _address(image)
            if not new or address is None:
                reason = "no_file_name" if new else "same_id"
                rejected.append(Unread(source, reason, "it has no file name" if new else "another image has its id"))
                continue
            media = finder.find(image.file_name)
            size = size_told(image.width, image.height) or (image_size(media) if media is not None else None)
            rows = opened.file.annotations_of(image.id)
            if rows and size is None:
                rejected.append(Unread(source, "no_size", "neither the file nor an image tells its width and height"))
                continue

            def refused(row: CocoRow, reason: str, detail: str, source: str = source) -> None:
                rejected.append(Unread(f"{source}, annotation {row.id}", reason, detail))

            result = maker.regions(rows, size, refused) if size is not None else []
            data = {self.data_key: [address] if self.listed else address}
            who, at = _label_of(image)
            yield LabelledItem(data, result, source, media, self.data_key, size, opened.split, annotator=who, at=at)


def _address(image: CocoImageRow) -> str | None:
    """What a task's data says of an image: its file name, else an address of the web."""
    told = (image.file_name, image.coco_url, image.flickr_url)
    return next((name for name in told if isinstance(name, str) and name.strip()), None)


def _label_of(image: CocoImageRow) -> tuple[str | None, str | None]:
    """(annotator, time) of the label as our own export tells them."""
    ours = image.labelloop if isinstance(image.labelloop, Mapping) else {}
    who, at = ours.get("annotator"), ours.get("at")
    return str(who) if who is not None else None, at if isinstance(at, str) else None
