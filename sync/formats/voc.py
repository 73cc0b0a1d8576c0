"""Pascal VOC: Annotations/<image>.xml, ImageSets/Main/<split>.txt, labelmap.txt and, where images are copied, JPEGImages/.

Corners are whole pixels that count from 1, the last one inside, as VOC's development kit has them: a box from x0 to x1
is xmin = floor(x0) + 1, xmax = ceil(x1). The numbers before they were rounded stand beside them, for our own reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from labelloop.errors import DataError, UsageError
from labelloop.geometry import upright_box
from labelloop.label_config import Control
from labelloop.values import Region
from sync.formats.examples import SPLITS, Example, Picture, labels_of, no_place_for
from sync.formats.flags import DIFFICULT, Marks, flag_controls, marks_of
from sync.formats.format import Format, Joined, Part, PartDone, Plan, fragments, join_fragments, small_file
from sync.formats.shapes import KINDS, is_drawn_twice
from sync.formats.voc_boxes import bounds_of, whole_pixels
from sync.formats.xml_text import repeated_attribute, xml_attribute, xml_text

ANNOTATIONS, IMAGES, SETS, LABELMAP = "Annotations", "JPEGImages", "ImageSets/Main", "labelmap.txt"
#: What the files name as the database that an image is from.
OUR_DATABASE = "Label Studio"
_TRAINVAL = "trainval"
_BOXES = "RectangleLabels"


@dataclass(frozen=True)
class Details:
    """What is written: the controls by name, the place of each class in labelmap.txt, controls that mark difficult ones."""

    shapes: Mapping[str, Control]
    classes: Mapping[str, int]
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Image:
    """What an image's objects need: its task, (width, height), marks of regions, names of classes as XML, its file."""

    example: Example
    size: tuple[int, int]
    marks: Marks
    names: Mapping[str, str]
    file: str


def plan_voc(plan: Plan) -> Details:
    """The controls with shapes; DataError when there are none."""
    if plan.options.values:
        raise UsageError(f"the format voc has no options, got {sorted(plan.options.values)[0]!r}")
    shapes = [control for control in plan.config.controls if control.tag in KINDS and control.object_tag == "Image"]
    if not shapes:
        raise DataError(f"VOC needs one of {[f'<{tag}>' for tag in KINDS]} in the label config; choose another format")
    classes = {name: number for number, name in enumerate(plan.class_names(*shapes))}
    return Details({control.name: control for control in shapes}, classes, flag_controls(plan.config, (DIFFICULT,)))


def write_voc(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """A file per image, and its name in the list of its split."""
    details: Details = plan.details
    names = {name: xml_text(name) for name in details.classes}
    lists: dict[str, list[str]] = {}
    for example in examples:
        marks = marks_of(example.result, details.flags)
        split, task_id = example.split, example.task_id
        if not example.pictures:
            part.skip(task_id, "its data names no image")
            continue
        for picture in example.pictures:
            if len(picture.name.splitlines()) != 1:
                part.skip(task_id, f"{picture.name!r}: a list of images has no place for a name with line breaks")
                continue
            size = part.size_of(example, picture)
            if size is None and example.regions_on(picture):
                # Without its objects it would pass for an image of which people said that it has none.
                continue
            if plan.options.images:
                part.copy_image(picture, FORMAT.place(split, picture.name), task_id)
            stem = stem_of(picture.name)
            file = f"{ANNOTATIONS}/{stem}.xml"
            objects = _objects(details, picture, _Image(example, size, marks, names, file), part) if size else ""
            part.write(file, _document(plan, example, picture, size, objects))
            for name in (split,) if split == "test" else (split, _TRAINVAL):
                lists.setdefault(name, []).append(stem)
            part.item(split)
        for region in _lost(example):
            part.skip(task_id, no_place_for(region, "VOC"))
    for name, stems in lists.items():
        part.fragment(f"{SETS}/{name}.txt").write("".join([f"{stem}\n" for stem in stems]).encode())


def stem_of(name: str) -> str:
    """A path without its suffix: what VOC calls an image. It is unique, as names are whatever their suffix."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.rpartition('.')[0] or base}"


def _lost(example: Example) -> Iterator[Region]:
    """Relations, and regions on no image of the task."""
    yield from (region for region in example.strays() if region.get("type") != "relation")
    yield from (region for region in example.result if region.get("type") == "relation")


def _document(plan: Plan, example: Example, picture: Picture, size: tuple[int, int] | None, objects: str) -> bytes:
    """The file of an image. `folder` and `filename` together are its path, where the image is known to lie."""
    folder, shown, path = "", picture.name, picture.file_name
    if plan.options.images:
        folder, path = IMAGES, f"{IMAGES}/{picture.name}"
    elif path != shown:
        folder, _, shown = path.rpartition("/")
    return (
        f"<annotation>\n\t<folder>{xml_text(folder)}</folder>\n\t<filename>{xml_text(shown)}</filename>\n"
        f"\t<path>{xml_text(path)}</path>\n\t<source>\n\t\t<database>{OUR_DATABASE}</database>\n"
        f"\t\t<annotation>task {example.task_id}, annotation {example.annotation_id}</annotation>\n"
        f"\t\t<image>{xml_text(picture.address)}</image>\n\t</source>\n"
        f"{_size(picture, size) if size is not None else ''}\t<segmented>0</segmented>\n{objects}</annotation>\n"
    ).encode("utf-8", "replace")


def _size(picture: Picture, size: tuple[int, int]) -> str:
    """The size of an image; a file without one is of an image without objects, whose size nobody knows."""
    return (
        f"\t<size>\n\t\t<width>{size[0]}</width>\n\t\t<height>{size[1]}</height>\n"
        f"\t\t<depth>{_depth(picture)}</depth>\n\t</size>\n"
    )


def _depth(picture: Picture) -> int:
    """Channels of the image; 3 where it is not at hand, as of nearly all."""
    if picture.file is None:
        return 3
    from PIL import Image

    with Image.open(picture.file) as image:
        return len(image.getbands())


def _objects(details: Details, picture: Picture, image: _Image, part: Part) -> str:
    """The objects of an image as text; what has no place is told to the part."""
    drawn = list(_drawn(details, picture, image, part))
    if not drawn:
        return ""
    exact = orjson.dumps([box for _, box, _, _ in drawn])[2:-2].decode().split("],[")
    marks, size, classes, names = image.marks, image.size, details.classes, image.names
    found: list[str] = []
    noted: list[tuple[Region, str, int]] = []
    for (region, box, cut, labels), numbers in zip(drawn, exact, strict=True):
        xmin, ymin, xmax, ymax = whole_pixels(*box, size)
        region_id, origin = region.get("id"), region.get("origin")
        difficult = "1" if marks and DIFFICULT in marks.get(str(region_id), ()) else "0"
        told = (
            f"\t\t<pose>Unspecified</pose>\n\t\t<truncated>{'1' if cut else '0'}</truncated>\n"
            f"\t\t<difficult>{difficult}</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{xmin}</xmin>\n\t\t\t<ymin>{ymin}</ymin>\n"
            f"\t\t\t<xmax>{xmax}</xmax>\n\t\t\t<ymax>{ymax}</ymax>\n\t\t</bndbox>\n\t\t<labelloop "
            f"region={xml_attribute(region_id)} control={repeated_attribute(region['from_name'])} "
            f"origin={repeated_attribute(origin) if type(origin) is str else xml_attribute(origin)} "
            f'bounds="{numbers}"/>\n\t</object>\n'
        )
        for label in labels:
            found.append(f"\t<object>\n\t\t<name>{names[label]}</name>\n{told}")
            noted.append((region, label, classes[label]))
    part.several(image.example, noted, image.file, 1)
    return "".join(found)


#: A region, its box in pixels, whether some of it lies outside the image, and its classes.
_Drawn = tuple[Region, tuple[float, float, float, float], bool, Sequence[str]]


def _drawn(details: Details, picture: Picture, image: _Image, part: Part) -> Iterator[_Drawn]:
    """The regions on an image that VOC can hold; why it cannot hold the others is told to the part."""
    shapes, classes, example = details.shapes, details.classes, image.example
    width, height = image.size
    for region in example.regions_on(picture):
        name, value = region.get("from_name"), region.get("value")
        control = shapes.get(name) if type(name) is str else None
        if control is None:
            kept = str(name) in details.flags or region.get("type") == "relation"
            if not kept and not is_drawn_twice(region, example.result, shapes):
                part.skip(example.task_id, no_place_for(region, "VOC"))
            continue
        cut = False
        box = upright_box(value, width, height) if control.tag == _BOXES and type(value) is dict else None
        if box is None or not (0.0 < box[0] < box[2] < width and 0.0 < box[1] < box[3] < height):
            try:
                box, cut = bounds_of(KINDS[control.tag], region, image.size)
            except DataError as error:
                part.skip(example.task_id, f"region {region.get('id')}: {error}")
                continue
        labels = labels_of(region, control)
        if len(labels) != 1 or labels[0] not in classes:
            if not labels:
                part.skip(example.task_id, f"region {region.get('id')}: it has no class")
            for label in dict.fromkeys(labels):
                if label not in classes:
                    part.skip(example.task_id, f"region {region.get('id')}: class {label!r} is not in the label config")
            labels = [label for label in dict.fromkeys(labels) if label in classes]
        if labels:
            yield region, box, cut, labels


def join_voc(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """The lists of the splits that have images, and labelmap.txt."""
    (folder / LABELMAP).write_bytes(_labelmap(plan.details.classes))
    hashes = {}
    for split in (*SPLITS, _TRAINVAL):
        name = f"{SETS}/{split}.txt"
        if any(fragments(scratch, name, parts)):
            hashes[name] = join_fragments(folder, scratch, name, parts)
    return Joined((LABELMAP, *hashes), {"classes": dict(plan.details.classes)}, hashes)


def _labelmap(classes: Iterable[str]) -> bytes:
    """Lines `name:red,green,blue:parts:actions` in VOC's colours; a name with a colon has no place in it."""
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    for number, name in enumerate(classes, start=1):
        if ":" not in name and name != "background":
            lines.append(f"{name}:{','.join(map(str, _colour(number)))}::")
    return "\n".join([*lines, ""]).encode()


def _colour(number: int) -> tuple[int, ...]:
    """The colour of a class in VOC's own palette: its bits, spread from the highest one down."""
    return tuple(
        sum((number >> (3 * place + channel) & 1) << (7 - place) for place in range(8)) for channel in range(3)
    )


def count_voc(plan: Plan, folder: Path) -> tuple[int, int]:
    """(images, objects) as they lie on the disk: each name in a list of a split, and what is in its file."""
    items = objects = 0
    there = folder / ANNOTATIONS
    for split in SPLITS:
        path = folder / SETS / f"{split}.txt"
        if not path.exists():
            continue
        with path.open(encoding="utf-8", newline="\n") as names:
            for name in names:
                objects += small_file(f"{there}/{name[:-1]}.xml").count(b"<object>")
                items += 1
    return items, objects


def losses_of_voc(plan: Plan) -> tuple[str, ...]:
    """What VOC cannot say."""
    details: Details = plan.details
    losses = [
        "annotations of other people than the one that counts as truth",
        "relations, texts, ratings and choices, but for a choice 'difficult' about one region",
        "fractions of a pixel: a box is the whole pixels that it touches",
        "turned boxes are the upright boxes around them",
        "a region with several classes is an object for each of them",
        "what lies outside the image is cut off",
        "the number of channels of an image that is not at hand: it is 3",
    ]
    if {control.tag for control in details.shapes.values()} - {"RectangleLabels"}:
        losses.append("polygons, ellipses and brushes are the upright boxes around them")
    if any(":" in name for name in details.classes):
        losses.append("classes with a colon in their name are not in labelmap.txt")
    if any(control.tag == "KeyPointLabels" for control in plan.config.controls):
        losses.append("key points")
    return tuple(losses)


def _place(split: str, name: str) -> str:
    return f"{IMAGES}/{name}"


FORMAT = Format("voc", (), plan_voc, write_voc, join_voc, count_voc, losses_of_voc, _place)
