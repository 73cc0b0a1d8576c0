"""JSONL: tasks.jsonl with one task per line, its data and the regions of its label with class, geometry and provenance; whole.

    {"task_id", "annotation_id", "split", "group", "data": {...}, "meta": {...} or null, "images": [{"address", "file", "width",
     "height"}], "regions": [{"region_id", "control", "kind", "labels", "class_ids", "x", ..., "rest", "confidence", "source",
     "origin"}], "version", "annotator", "at", "source", "review_status", "n_labels", "n_agreeing", "ground_truth", "rev_hash"}

Every key is in every line, and every key of a region in every region; `rest` is JSON as text: so readers that make a schema
of some lines find the same in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.formats.examples import Example
from sync.formats.fitting import CONFIG, config_beside
from sync.formats.format import Format, Joined, Part, PartDone, Plan, join_fragments
from sync.formats.format_options import chosen_options
from sync.formats.label_table import OF_TASK, copied_images, offset_notes, told_of
from sync.formats.provenance import standing_of
from sync.formats.reading import Labelled, Unread
from sync.formats.row_reading import SPLIT_NAMES, RowItem, labelled_rows, one_file
from sync.formats.rows import BESIDE, GEOMETRY, Cells, ControlFacts, control_facts, region_of, regions_in_cells
from sync.formats.simple_records import BadRecord, simple_item

FILE = "tasks.jsonl"
_SHAPE = tuple(name for name, _ in GEOMETRY)
_BESIDE = tuple(name for name, _ in BESIDE)
_OF_TASK = tuple(name for name, _ in OF_TASK)


def plan_jsonl(plan: Plan) -> Mapping[str, ControlFacts]:
    """The controls; every label config fits."""
    chosen_options(plan, {})
    return control_facts(plan)


def write_jsonl(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """The part's lines."""
    file = part.fragment(FILE)
    for example in examples:
        part.item(example.split)
        regions = [
            _region(example, region, facts, cells, part)
            for region, facts, cells in regions_in_cells(example, plan.details, part)
        ]
        told = dict(zip(_OF_TASK, told_of(example), strict=True))
        line = {
            "task_id": told.pop("task_id"),
            "annotation_id": told.pop("annotation_id"),
            "split": told.pop("split"),
            "group": example.group_key,
            "data": example.data,
            "meta": example.meta or None,
            "images": _images(example, copied_images(plan, example, part)),
            "regions": regions,
            "source": example.source,
            **told,
        }
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z))


def _images(example: Example, files: Sequence[str | None]) -> list[dict[str, Any]]:
    return [
        {
            "address": picture.address,
            "file": files[place] if files else None,
            "width": picture.size[0] if picture.size else None,
            "height": picture.size[1] if picture.size else None,
        }
        for place, picture in enumerate(example.pictures)
    ]


def _region(example: Example, region: Region, facts: ControlFacts | None, cells: Cells, part: Part) -> dict[str, Any]:
    region_id, control, kind, labels, shape, beside, origin = cells
    ids = facts.class_ids if facts is not None else {}
    for label in labels or ("",):
        part.object(example, region, label, ids.get(label), FILE)
    source, confidence = standing_of(example, region)
    rest = beside[-1]
    return {
        "region_id": region_id,
        "control": control,
        "kind": kind,
        "labels": labels,
        "class_ids": [ids.get(label) for label in labels],
        **dict(zip(_SHAPE, shape, strict=True)),
        **dict(zip(_BESIDE, beside, strict=True)),
        "rest": None if rest is None else orjson.dumps(rest).decode(),
        "confidence": confidence,
        "source": source,
        "origin": origin,
    }


def join_jsonl(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """The parts in their order, and the label config beside them."""
    hashes = {FILE: join_fragments(folder, scratch, FILE, parts)}
    (folder / CONFIG).write_text(plan.config.xml, encoding="utf-8")
    return Joined((FILE, CONFIG), offset_notes(parts), hashes)


class _CountedRegion(msgspec.Struct):
    labels: list[str]


class _CountedTask(msgspec.Struct):
    regions: list[_CountedRegion]


def count_jsonl(plan: Plan, folder: Path) -> tuple[int, int]:
    """(tasks, labels) as they lie on the disk."""
    decoder = msgspec.json.Decoder(_CountedTask)
    tasks = labels = 0
    with (folder / FILE).open("rb") as file:
        for line in file:
            tasks += 1
            labels += sum(len(region.labels) or 1 for region in decoder.decode(line).regions)
    return tasks, labels


def losses_of_jsonl(plan: Plan) -> tuple[str, ...]:
    """What the lines cannot say."""
    return (
        "annotations of other people than the one that counts as truth",
        "the score of a suggestion that a person changed",
        "offsets that count UTF-16 units, as older data has them, are code points here",
    )


# -- and back -----------------------------------------------------------------------------------------------------------


def read_jsonl(path: Path, *, task: str | None, config: LabelConfig | None, images: Path | None) -> Labelled:
    """Open tasks.jsonl, or lines of other tools (see simple_records); a line that is neither is rejected."""
    file = one_file(path, FILE, ".jsonl", "jsonl")
    chosen = config or config_beside(file.parent)

    def read(rejected: list[Unread]) -> Iterator[RowItem]:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                place = f"{file.name}, line {number}"
                try:
                    yield item_of(orjson.loads(line.removeprefix(_BOM) if number == 1 else line), place, chosen)
                except orjson.JSONDecodeError as error:
                    rejected.append(Unread(place, "bad_json", f"the line is no JSON: {error}"))
                except BadRecord as bad:
                    rejected.append(Unread(place, "bad_record", str(bad)))

    return labelled_rows(read, file.parent, config=chosen, images=images, losses=())


_BOM = b"\xef\xbb\xbf"


def item_of(record: Any, source: str, config: LabelConfig | None) -> RowItem:
    """A line as an item; BadRecord says why it is none."""
    if not isinstance(record, dict):
        raise BadRecord(f"expected a JSON object, got {str(record)[:40]!r}")
    data, regions = record.get("data"), record.get("regions")
    if not isinstance(data, dict) or not isinstance(regions, list):
        return simple_item(record, source, config)
    pictures = [each for each in record.get("images") or () if isinstance(each, dict)]
    item = RowItem(
        data,
        source,
        meta=record["meta"] if isinstance(record.get("meta"), dict) else {},
        split=SPLIT_NAMES.get(str(record.get("split"))),
        group=_text_or_none(record.get("group")),
        annotator=_text_or_none(record.get("annotator")),
        at=_text_or_none(record.get("at")),
        files=[str(each["file"]) for each in pictures if each.get("file")],
        size=_size(pictures[0]) if len(pictures) == 1 else None,
    )
    for region in regions:
        if not isinstance(region, dict) or not isinstance(region.get("kind"), str):
            raise BadRecord(f"expected a region with its kind, got {str(region)[:60]!r}")
        labels = region.get("labels") or []
        item.regions.append(region_of({**region, "rest": _rest(region.get("rest"))}, labels, None))
        for label, number in zip(labels, region.get("class_ids") or (), strict=False):
            if isinstance(number, int):
                item.ids[str(region.get("control")), str(label)] = number
    return item


def _rest(said: Any) -> dict[str, Any] | None:
    try:
        found = orjson.loads(said) if isinstance(said, str) else said
    except orjson.JSONDecodeError as error:
        raise BadRecord(f"rest is {said[:40]!r}, expected JSON") from error
    if found is not None and not isinstance(found, dict):
        raise BadRecord(f"rest is {str(said)[:40]!r}, expected a JSON object")
    return found


def _text_or_none(said: Any) -> str | None:
    return None if said is None else str(said)


def _size(picture: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = picture.get("width"), picture.get("height")
    return (width, height) if type(width) is int and type(height) is int else None


FORMAT = Format("jsonl", (), plan_jsonl, write_jsonl, join_jsonl, count_jsonl, losses_of_jsonl)
