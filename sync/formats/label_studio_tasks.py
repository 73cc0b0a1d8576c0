"""Label Studio's own tasks: tasks.json, which stock Label Studio imports, with the label config beside it.

Each task has the label that counts as its annotation, or with the option as=predictions as a prediction; where the label
came from is in the task's `meta`. Read back is any JSON export of Label Studio.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import DataError
from labelloop.export_files import ExportReader, ExportTask, Span
from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.formats.examples import Example
from sync.formats.fitting import CONFIG, config_beside
from sync.formats.format import Format, Joined, Part, PartDone, Plan, fragments
from sync.formats.format_options import chosen_options
from sync.formats.label_table import copied_images, offset_notes
from sync.formats.policies import latest_of_each
from sync.formats.reading import Labelled, Unread
from sync.formats.row_reading import SPLIT_NAMES, RowItem, labelled_rows, one_file
from sync.formats.rows import Cells, ControlFacts, control_facts, offsets_of, regions_in_cells

FILE = "tasks.json"
OPTIONS = {"as": ("annotations", "predictions")}
#: The model version of labels that are written as predictions.
VERSION = "labelloop-labels"
_TASKS = 1000


@dataclass(frozen=True)
class Details:
    """The controls, and whether labels become annotations or predictions."""

    controls: Mapping[str, ControlFacts]
    kind: str


def plan_label_studio(plan: Plan) -> Details:
    """Every label config fits."""
    return Details(control_facts(plan), chosen_options(plan, OPTIONS)["as"])


def write_label_studio(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """The part's tasks, one to a line."""
    details: Details = plan.details
    file = part.fragment(FILE)
    for example in examples:
        part.item(example.split)
        files = copied_images(plan, example, part)
        result = []
        for region, facts, cells in regions_in_cells(example, details.controls, part):
            result.append(_region(region, facts, cells))
            ids = facts.class_ids if facts is not None else {}
            for label in cells[3] or ("",):
                part.object(example, region, label, ids.get(label), FILE)
        more = {"ground_truth": example.ground_truth}
        as_prediction = details.kind == "predictions"
        written = {"result": result, **({"model_version": VERSION} if as_prediction else more)}
        task = {
            "id": example.task_id,
            "data": example.data,
            "meta": {**example.meta, "labelloop": _told(example, files)},
            details.kind: [written],
        }
        file.write(orjson.dumps(task, option=orjson.OPT_UTC_Z) + b",\n")


def _region(region: Region, facts: ControlFacts | None, cells: Cells) -> Region:
    """The region as it is, without a suggestion's score, and its offsets in code points."""
    found = {key: said for key, said in region.items() if key != "score"} if "score" in region else region
    start, end = offsets_of(cells)
    value = region.get("value")
    moved = facts is not None and facts.text_key is not None and start is not None and isinstance(value, dict)
    if moved and isinstance(value, dict) and (value.get("start"), value.get("end")) != (start, end):
        return {**found, "value": {**value, "start": start, "end": end}}
    return found


def _told(example: Example, files: Sequence[str | None]) -> dict[str, Any]:
    """What the task's meta says of its label, beside what ingest noted there."""
    noted = example.meta.get("labelloop")
    told = {
        "split": example.split,
        "group": example.group_key,
        "task": example.task_id,
        "annotation": example.annotation_id,
        "annotator": example.annotator,
        "at": example.at,
        "source": example.source,
        "version": example.shown_serving_id,
        "review_status": example.review_status,
        "files": files or None,
    }
    own = noted if isinstance(noted, dict) else {}
    return {**own, **{key: said for key, said in told.items() if said is not None}}


def join_label_studio(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """One JSON list, and the label config beside it."""
    pieces = list(fragments(scratch, FILE, parts))
    written = [piece for piece in pieces if piece.stat().st_size]
    with (folder / FILE).open("wb", buffering=1 << 20) as file:
        file.write(b"[\n")
        for piece in written:
            content = piece.read_bytes()
            file.write(content.removesuffix(b",\n") + b"\n" if piece is written[-1] else content)
        file.write(b"]\n")
    (folder / CONFIG).write_text(plan.config.xml, encoding="utf-8")
    return Joined((FILE, CONFIG), offset_notes(parts))


def count_label_studio(plan: Plan, folder: Path) -> tuple[int, int]:
    """(tasks, labels) as they lie on the disk."""
    tasks = labels = 0
    with (folder / FILE).open("rb") as file:
        for line in file:
            if not line.startswith(b"{"):
                continue
            tasks += 1
            task = orjson.loads(line.rstrip(b",\n"))
            labels += sum(_labels_in(region) for each in task[plan.details.kind] for region in each["result"])
    return tasks, labels


def _labels_in(region: Mapping[str, Any]) -> int:
    value = region.get("value")
    said = value.get(region["type"]) if isinstance(value, dict) else None
    return len(said) or 1 if isinstance(said, list) else 1


def losses_of_label_studio(plan: Plan) -> tuple[str, ...]:
    """What the tasks do not say."""
    return (
        "annotations of other people than the one that counts as truth",
        "who made the annotation: Label Studio takes whoever imports it; meta.labelloop.annotator says it",
        "the score of a suggestion",
    )


# -- and back -----------------------------------------------------------------------------------------------------------


def read_label_studio(path: Path, *, task: str | None, config: LabelConfig | None, images: Path | None) -> Labelled:
    """Open a JSON export (or tasks to import): of each task the newest submitted annotation, else the newest prediction."""
    file = one_file(path, FILE, ".json", "label_studio")
    folder = file.parent
    chosen = config or config_beside(folder)
    reader = ExportReader(file)
    _check_kind(reader, file)

    def read(rejected: list[Unread]) -> Iterator[RowItem]:
        for span in reader.spans(_TASKS):
            for number, (found, raw) in enumerate(_tasks(reader, span, file, rejected), span.number + 1):
                if found is not None:
                    yield from _item(found, raw, f"{file.name}, task {found.task_id} (number {number})", rejected)

    return labelled_rows(read, folder, config=chosen, images=images)


def _check_kind(reader: ExportReader, file: Path) -> None:
    """DataError for what Label Studio calls JSON_MIN, which lacks the half of each region."""
    first = next((value for span in reader.spans(1)[:1] for value in reader.values(span)), None)
    if isinstance(first, dict) and "data" not in first and {"annotation_id", "annotator"} & set(first):
        raise DataError(
            f"{file} is an export of the kind JSON_MIN, which keeps too little of the labels; export the project as JSON"
        )


def _tasks(
    reader: ExportReader, span: Span, file: Path, rejected: list[Unread]
) -> Iterator[tuple[ExportTask | None, Any]]:
    """The tasks of a run, each as it was read and as it is in the file; None for one that is no task."""
    try:
        yield from zip(reader.tasks(span), reader.values(span), strict=True)
        return
    except _BROKEN:
        alone = [each for each in reader.spans(1) if span.first <= each.first < span.after]
    for each in alone:
        try:
            found, raw = reader.tasks(each)[0], reader.values(each)[0]
        except _BROKEN as error:
            rejected.append(Unread(f"{file.name}, number {each.number + 1}", "bad_task", str(error)))
            found, raw = None, None
        yield found, raw


_BROKEN = (DataError, ValueError, TypeError, OverflowError)


def _item(task: ExportTask, raw: Mapping[str, Any], source: str, rejected: list[Unread]) -> Iterator[RowItem]:
    """The task with its newest submitted annotation, else its newest prediction; a task without either is rejected."""
    noted = task.meta.get("labelloop")
    told = noted if isinstance(noted, dict) else {}
    labels = latest_of_each([label for label in task.labels if label.state == "submitted"])
    annotator: int | str | None
    if labels:
        newest = max(labels, key=lambda label: (label.at, label.annotation_id))
        result, annotator, at = newest.result, newest.annotator, newest.at.isoformat()
        if not newest.at.timestamp():  # tasks that were written here
            annotator, at = told.get("annotator"), told.get("at")
    elif predictions := [each for each in raw.get("predictions") or () if isinstance(each, dict)]:
        last = max(predictions, key=lambda each: (str(each.get("created_at") or ""), _number(each.get("id"))))
        result = [region for region in last.get("result") or () if isinstance(region, dict)]
        annotator = at = None
    else:
        why = "everybody skipped it" if task.labels else _NOTHING
        if raw.get("predictions"):
            why = (
                "it has no annotation, and its predictions are told by number alone; export a snapshot with predictions"
            )
        rejected.append(Unread(source, "unlabelled", why))
        return
    yield RowItem(
        task.data,
        source,
        result,
        meta=task.meta,
        split=SPLIT_NAMES.get(str(told.get("split"))),
        group=None if told.get("group") is None else str(told["group"]),
        annotator=None if annotator is None else str(annotator),
        at=None if at is None else str(at),
        files=[str(each) for each in told.get("files") or () if each],
    )


_NOTHING = "it has no annotation and no prediction"


def _number(said: Any) -> int:
    return said if isinstance(said, int) else 0


FORMAT = Format(
    "label_studio",
    (),
    plan_label_studio,
    write_label_studio,
    join_label_studio,
    count_label_studio,
    losses_of_label_studio,
)
