"""The rows of a Hugging Face dataset: what a labelled task says in its columns."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from labelloop.errors import DataError
from labelloop.values import Region
from sync.formats.coco_shapes import coco_shape
from sync.formats.examples import Example, Picture, labels_of, no_place_for
from sync.formats.format import Part, Plan
from sync.formats.huggingface_plan import OBJECT_COLUMNS, ChoiceColumn, Details
from sync.formats.shapes import KINDS, is_drawn_twice
from sync.formats.texts import Notes, Span, spans_of, texts_of
from sync.formats.tokens import given_starts, given_tokens_between, tokens_between

Row = dict[str, Any]
_FORMAT = "a Hugging Face dataset"


def rows_of(plan: Plan, example: Example, part: Part, file: str, notes: Notes) -> Iterator[Row]:
    """The rows of one task; objects are counted, and what has no column is noted."""
    details: Details = plan.details
    if details.task in ("detect", "segment"):
        yield from _shape_rows(plan, example, part, file)
    elif details.spans is not None:
        yield from _span_rows(details, example, part, file, notes)
    else:
        yield from _choice_rows(plan, example, part, file)


def _own(example: Example, shown: str) -> Row:
    """The columns that every row has; `shown` is the data's key that has a column."""
    rest = {key: value for key, value in example.data.items() if key != shown}
    return {"task_id": example.task_id, "data": orjson.dumps(rest).decode() if rest else None}


def _image(plan: Plan, picture: Picture, example: Example, part: Part) -> Any:
    if not plan.options.images:
        return picture.file_name
    content = part.image_bytes(picture, example.task_id)
    return None if content is None else {"bytes": content, "path": picture.file_name}


# -- shapes on images ---------------------------------------------------------------------------------------------------


def _shape_rows(plan: Plan, example: Example, part: Part, file: str) -> Iterator[Row]:
    details: Details = plan.details
    keys = {control.to_name: control.data_key for control in details.controls.values()}
    if not example.pictures:
        part.skip(example.task_id, "its data names no image")
    for picture in example.pictures:
        size = part.size_of(example, picture)
        if size is None:
            continue
        objects: dict[str, list[Any]] = {name: [] for name in OBJECT_COLUMNS[details.task]}
        for region in example.regions_on(picture):
            _add_shape(details, example, region, size, objects, part, file)
        image = _image(plan, picture, example, part)
        shown = {"image": image, "width": size[0], "height": size[1], "objects": objects}
        yield shown | _own(example, keys.get(picture.to_name, ""))
    for region in example.strays():
        part.skip(example.task_id, no_place_for(region, _FORMAT))


def _add_shape(
    details: Details,
    example: Example,
    region: Region,
    size: tuple[int, int],
    objects: dict[str, list[Any]],
    part: Part,
    file: str,
) -> None:
    name = region.get("from_name")
    control = details.controls.get(name) if isinstance(name, str) else None
    if control is None:
        if not is_drawn_twice(region, example.result, details.controls):
            part.skip(example.task_id, no_place_for(region, _FORMAT))
        return
    try:
        shape = coco_shape(KINDS[control.tag], region, size, boxed=details.task == "detect")
    except DataError as error:
        part.skip(example.task_id, f"region {region.get('id')}: {error}")
        return
    rings = shape.segmentation if isinstance(shape.segmentation, list) else []
    mask = None if isinstance(shape.segmentation, list) else shape.segmentation["counts"]
    rotation = region["value"].get("rotation")
    for label in _known(details.classes, example, region, labels_of(region, control), part):
        said = {
            "bbox": shape.box,
            "category": details.classes[label],
            "area": shape.area,
            "region_id": region.get("id"),
            "segmentation": rings,
            "mask": mask,
            "rotation": float(rotation) if isinstance(rotation, int | float) else 0.0,
        }
        for column, values in objects.items():
            values.append(said[column])
        part.object(example, region, label, details.classes[label], file)


def _known(
    classes: Mapping[str, int], example: Example, region: Region, labels: Sequence[str], part: Part
) -> Iterator[str]:
    """The labels that are classes, each once."""
    if not labels:
        part.skip(example.task_id, f"region {region.get('id')}: it has no class")
    for label in dict.fromkeys(labels):
        if label in classes:
            yield label
        else:
            part.skip(example.task_id, f"region {region.get('id')}: class {label!r} is not in the label config")


# -- spans of texts -----------------------------------------------------------------------------------------------------


def _span_rows(details: Details, example: Example, part: Part, file: str, notes: Notes) -> Iterator[Row]:
    assert details.spans is not None  # noqa: S101  (told to the type checker)
    for layer, text, regions in texts_of(example, details.spans.layers, part, f"{_FORMAT} has no place for"):
        found = spans_of(text, regions, layer, details.classes, example, part, notes)
        tokens, tags = tagged_tokens(text, flat(found), details.classes, given_starts(example.meta, text))
        marked: dict[str, list[Any]] = {"start": [], "end": [], "label": [], "region_id": []}
        for start, end, label, region in found:
            for column, value in zip(
                marked.values(), (start, end, details.classes[label], region.get("id")), strict=True
            ):
                column.append(value)
            part.object(example, region, label, details.classes[label], file)
        yield {"text": text, "tokens": tokens, "ner_tags": tags, "spans": marked} | _own(example, layer.data_key)


def flat(spans: Sequence[Span]) -> list[tuple[int, int, str]]:
    """(start, end, class) of spans of which none overlaps another, in order: of overlapping ones the longest, then the first."""
    kept: list[tuple[int, int, str]] = []
    for start, end, label, _ in sorted(spans, key=lambda span: (span[0] - span[1], span[0])):
        at = bisect_left(kept, (start,))
        free = (at == 0 or kept[at - 1][1] <= start) and (at == len(kept) or end <= kept[at][0])
        if free:
            kept.insert(at, (start, end, label))
    return kept


def tagged_tokens(
    text: str, spans: Sequence[tuple[int, int, str]], classes: Mapping[str, int], given: Sequence[int] | None
) -> tuple[list[str], list[int]]:
    """Tokens that cross no span's edge, and of each the place of its tag among O, B-<first>, I-<first>, B-<second>, ..."""
    between = tokens_between if given is None else partial(given_tokens_between, given)
    tokens: list[str] = []
    tags: list[int] = []
    at = 0
    for start, end, label in [*spans, (len(text), len(text), "")]:
        outside, inside = between(text, at, start), between(text, start, end)
        tokens += (*outside, *inside)
        tags += [0] * len(outside)
        tags += [1 + 2 * classes[label] + (place > 0) for place in range(len(inside))]
        at = end
    return tokens, tags


# -- choices ------------------------------------------------------------------------------------------------------------


def _choice_rows(plan: Plan, example: Example, part: Part, file: str) -> Iterator[Row]:
    details: Details = plan.details
    first = next(iter(details.controls.values()))
    if details.task == "classify":
        pictures = [picture for picture in example.pictures if picture.to_name == first.to_name]
        if not pictures:
            part.skip(example.task_id, "its data names no image")
            return
        if len(pictures) > 1:
            part.skip(example.task_id, f"it has {len(pictures)} images, and the row has the first")
        shown: Row = {"image": _image(plan, pictures[0], example, part)}
    else:
        text = example.data.get(first.data_key)
        if not isinstance(text, str):
            got = type(text).__name__
            part.skip(example.task_id, f"text_missing: expected a text under {first.data_key!r}, got {got}")
            return
        shown = {"text": text}
    yield shown | _labels(details, example, part, file) | _own(example, first.data_key)


def _labels(details: Details, example: Example, part: Part, file: str) -> Row:
    row: Row = {column.name: [] if column.several else None for column in details.columns.values()}
    for region in example.result:
        name = region.get("from_name")
        column = details.columns.get(name) if isinstance(name, str) else None
        if column is None:
            part.skip(example.task_id, no_place_for(region, _FORMAT))
            continue
        labels = labels_of(region, details.controls[str(name)])
        for label in _known(column.classes, example, region, labels, part):
            if _put(row, column, column.classes[label]):
                part.object(example, region, label, column.classes[label], file)
            else:
                why = f"{name} has it twice" if column.several else f"{name} takes one choice"
                part.skip(example.task_id, f"region {region.get('id')}: {label!r} is left out, {why}")
    return row


def _put(row: Row, column: ChoiceColumn, class_id: int) -> bool:
    """Whether the class has a place in the row, which it then takes."""
    if not column.several:
        free = row[column.name] is None
        row[column.name] = class_id if free else row[column.name]
        return free
    if class_id in row[column.name]:
        return False
    row[column.name].append(class_id)
    return True
