"""Reads YOLO datasets as labelled images: data.yaml, or plain folders, of any of the five tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.formats.flags import HIDDEN, flag_choice, wanted_flags
from sync.formats.image_reading import ImageFiles
from sync.formats.reading import Labelled, LabelledItem, Unread, WantedControl, config_for
from sync.formats.yolo_classes import is_of_classes, read_classes
from sync.formats.yolo_layout import IMAGE_SUFFIXES, Layout, Place, find_layout, pairs_of
from sync.formats.yolo_parsing import Misread, RowShape, Survey, parsed_row
from sync.formats.yolo_regions import RegionMaker, SizedImage

_BOX, _CORNERS = (5, 6), (9, 10)
_LOSSES = (
    "images without a label file: they are told as not read, for nobody says whether anything is on them",
    "what lies outside the image is cut off",
)


def read_yolo(
    path: Path, *, task: str | None = None, config: LabelConfig | None = None, images: Path | None = None
) -> Labelled:
    """Open a YOLO dataset: a data.yaml, a folder with one, or a folder with images and labels in it.

    Without a task, data.yaml or our own manifest says it, else each row its own: 5 numbers are a box, more are the
    corners of a polygon, turned boxes too. DataError when there are no labels, or the config has no image.
    """
    if task == "classify" or (task is None and is_of_classes(path)):
        return read_classes(path, config)
    layout = find_layout(path)
    shape = _shape(layout, task)
    survey = _surveyed(layout, shape) if _is_survey_needed(layout, shape, config) else Survey()
    shape = _with_points(layout, shape, survey)
    classes = layout.classes or tuple(f"class_{number}" for number in range(survey.highest + 1))
    if not classes:
        raise DataError(
            f"{path} has no label and no names of classes; expected a data.yaml with names, or classes.txt and labels/"
        )
    points = layout.point_names or _names_of_points(config, shape.points)
    made = config or _config(shape, survey, classes, points)
    controls = [control for control in made.controls if control.object_tag == "Image"]
    if not controls:
        raise DataError("the label config has no control on an <Image>; YOLO's labels have no place in it")
    maker = RegionMaker(made, classes, points, bounded=task == "detect")
    key, listed = controls[0].data_key, controls[0].listed
    reader = _Reader(layout, shape, maker, images, key, listed)
    return Labelled(made, reader.items, _losses(shape, survey, made, asked=task is not None))


def _shape(layout: Layout, task: str | None) -> RowShape:
    """What the rows are by what was asked for, data.yaml, and its key points."""
    told = task or (layout.task if layout.task in ("segment", "obb", "pose") else None)
    if told is None and layout.points:
        told = "pose"
    return RowShape(told, layout.points, layout.dims)


def _is_survey_needed(layout: Layout, shape: RowShape, config: LabelConfig | None) -> bool:
    return layout.classes is None or (shape.task == "pose" and not shape.points) or config is None


def _surveyed(layout: Layout, shape: RowShape) -> Survey:
    """A look at every row, for what must be known before the first is read."""
    survey = Survey()
    for place in layout.places:
        for pair in pairs_of(layout, place) if _is_there(place) else ():
            if pair.label is not None:
                try:
                    survey.look(pair.label.read_bytes(), shape)
                except OSError:
                    continue  # told when it is read for good
    return survey


def _with_points(layout: Layout, shape: RowShape, survey: Survey) -> RowShape:
    """How many key points rows have where data.yaml does not say it; DataError where their lengths do not either."""
    if shape.task != "pose" or shape.points:
        return shape
    lengths = {length for length in survey.lengths if length > _BOX[0]}
    if len(lengths) == 1 and (min(lengths) - _BOX[0]) % 3 == 0:
        return replace(shape, points=(min(lengths) - _BOX[0]) // 3)
    raise DataError(
        f"{layout.root}: expected kpt_shape: [number of key points, 2 or 3] in data.yaml, and rows of "
        f"{sorted(survey.lengths)} numbers do not tell it"
    )


def _names_of_points(config: LabelConfig | None, count: int) -> Sequence[str]:
    """What a config calls the key points, in its order; else numbers."""
    known = [c.classes for c in config.controls if c.tag == "KeyPointLabels"] if config is not None else []
    return known[0] if known and len(known[0]) >= count else [f"point_{number}" for number in range(count)]


def _config(shape: RowShape, survey: Survey, classes: Sequence[str], points: Sequence[str]) -> LabelConfig:
    """A config for what was found."""
    polygons = any(length not in _BOX for length in survey.lengths)
    boxes = shape.task != "segment" and (not polygons or not survey.lengths.isdisjoint(_BOX))
    names = list(dict.fromkeys(classes))
    wanted = []
    if boxes or shape.task in ("detect", "obb", "pose"):
        wanted.append(WantedControl("RectangleLabels", "box", names))
    if shape.task == "segment" or (shape.task is None and polygons):
        wanted.append(WantedControl("PolygonLabels", "polygon", names))
    if shape.task == "pose":
        wanted.append(WantedControl("KeyPointLabels", "keypoint", list(points)))
    if survey.has_hidden:
        wanted.append(wanted_flags("flags", [HIDDEN]))
    return config_for("Image", "image", wanted)


def _losses(shape: RowShape, survey: Survey, config: LabelConfig, *, asked: bool) -> tuple[str, ...]:
    losses = list(_LOSSES)
    if shape.task is None and not survey.lengths.isdisjoint(_CORNERS):
        losses.append("turned boxes are polygons of four corners; only the task obb reads rows of 9 numbers as boxes")
    if shape.task == "detect" and asked:
        losses.append("outlines are the boxes around them; the task segment keeps them")
    if shape.task == "pose" and flag_choice(config, HIDDEN) is None:
        losses.append("which key points are hidden: the label config has no choice 'hidden' about a region")
    return tuple(losses)


def _is_there(place: Place) -> bool:
    if place.listed is not None:
        return place.listed.is_file()
    return place.images.is_dir() or place.labels.is_dir()


@dataclass(frozen=True)
class _Reader:
    """Turns images with label files into items."""

    layout: Layout
    shape: RowShape
    maker: RegionMaker
    images: Path | None
    data_key: str
    listed: bool

    def items(self, rejected: list[Unread]) -> Iterator[LabelledItem]:
        """Every image with a label file; what cannot be read goes into `rejected`."""
        names: set[int] = set()
        for place in self.layout.places:
            if not _is_there(place):
                rejected.append(
                    Unread(self._shown(place.images), "not_found", "data.yaml names it, and it is not there")
                )
                continue
            yield from self._items_at(place, names, rejected)

    def _items_at(self, place: Place, names: set[int], rejected: list[Unread]) -> Iterator[LabelledItem]:
        given = (self.images / (place.split or ""), self.images) if self.images is not None else ()
        finder = _ImageFinder(ImageFiles(given))
        for pair in pairs_of(self.layout, place):
            image = pair.image or finder.find(pair.name)
            shown = self._shown(pair.label or image or Path(pair.name))
            if pair.label is None:
                detail = "it has no label file; an empty one says that nothing is on it"
                rejected.append(Unread(shown, "no_label_file", detail))
                continue
            if image is None and Path(pair.name).suffix.lower() not in IMAGE_SUFFIXES:
                detail = "its image is not there, and its name has no suffix; name the folder of the images"
                rejected.append(Unread(shown, "no_image", detail))
                continue
            sized = SizedImage(image)
            result = self._result(pair.label, shown, sized, rejected)
            if result is None:
                continue
            name = pair.name if image is None or Path(pair.name).suffix else pair.name + image.suffix
            if hash(name) in names:  # another split has an image of that name
                name = f"{place.split or 'other'}/{name}"
            names.add(hash(name))
            data = {self.data_key: [name] if self.listed else name}
            yield LabelledItem(data, result, shown, image, self.data_key, sized.known, place.split)

    def _result(self, label: Path, shown: str, image: SizedImage, rejected: list[Unread]) -> list[Region] | None:
        """The regions of a label file; None where it has rows and none can be read: it is no image without objects."""
        try:
            lines = label.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            rejected.append(Unread(shown, "unreadable", f"it is no readable text: {error}"))
            return None
        made: list[Region] = []
        rows = refused = 0
        for number, line in enumerate(lines, start=1):
            cells = line.split()
            if not cells:
                continue
            rows += 1

            def refuse(reason: str, detail: str, number: int = number) -> None:
                rejected.append(Unread(f"{shown}, line {number}", reason, detail))

            try:
                self.maker.add(parsed_row(cells, self.shape), image, made, refuse)
            except Misread as error:
                refused += 1
                refuse(error.reason, str(error))
        return None if rows and refused == rows else made

    def _shown(self, path: Path) -> str:
        """A path as reports name it: below the dataset's folder where it is there."""
        return path.relative_to(self.layout.root).as_posix() if path.is_relative_to(self.layout.root) else str(path)


class _ImageFinder:
    """Finds the image of a label elsewhere: by its name, with any suffix where the name has none."""

    def __init__(self, files: ImageFiles) -> None:
        self._files = files
        self._suffixes = sorted(IMAGE_SUFFIXES)

    def find(self, name: str) -> Path | None:
        """The image's file."""
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            return self._files.find(name)
        for place, suffix in enumerate(self._suffixes):
            found = self._files.find(name + suffix)
            if found is not None:
                self._suffixes.insert(0, self._suffixes.pop(place))  # the others will have it too
                return found
        return None
