"""Reading a stock Label Studio JSON export: part by part in bounded memory, or whole as two tables."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from labelloop.errors import DataError
from labelloop.revisions import revision_hash
from labelloop.values import Region

if TYPE_CHECKING:
    import polars as pl

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXPECTED = "expected a list of tasks with 'data' and 'annotations' (Label Studio's export format JSON, not JSON_MIN)"


@dataclass(slots=True)
class ExportLabel:
    """One annotation of an export.

    `state` is "submitted" or "cancelled", `kind` "human", "import" or "converted"; `shown` names the suggestion that the
    person saw (its model version, else "prediction <id>"), None for none; `reviewed` is what Label Studio's own
    reviewers said ("approved", "rejected", "unreviewed").
    """

    task_id: int
    annotation_id: int
    annotator: int | None
    at: datetime
    shown: str | None
    state: str
    kind: str
    ground_truth: bool
    rev_hash: str
    lead_time_s: float | None
    reviewed: str
    result: list[Region]


@dataclass(slots=True)
class ExportTask:
    """One task of an export with its annotations."""

    task_id: int
    data: dict[str, Any]
    meta: dict[str, Any]
    labels: list[ExportLabel]


class _Annotation(msgspec.Struct):
    """The fields of an annotation that are read; their types are as loose as exports of ten years are.

    The result, most of a file, is left to orjson, which makes dicts faster.
    """

    id: Any = None
    completed_by: Any = None
    result: msgspec.Raw = msgspec.Raw(b"[]")
    was_cancelled: Any = False
    skipped: Any = False
    ground_truth: Any = False
    created_at: Any = None
    updated_at: Any = None
    lead_time: Any = None
    last_action: Any = None
    import_id: Any = None
    prediction: Any = None
    parent_prediction: Any = None
    reviews: Any = None


class _Task(msgspec.Struct):
    id: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    meta: msgspec.Raw = msgspec.Raw(b"null")
    annotations: list[_Annotation] | None = None
    completions: list[_Annotation] | None = None


class _Head(msgspec.Struct):
    id: Any = None
    data: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True)
class Span:
    """A run of tasks in an export file: its bytes, and the place of its first task in the file."""

    first: int
    after: int
    number: int


class ExportReader:
    """An export file, mapped into memory; any process may read any run of its tasks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._content = _mapped(file.fileno())
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise DataError(f"{path} is no readable JSON export of Label Studio: {error}") from error

    def spans(self, tasks: int) -> list[Span]:
        """The file in runs of `tasks` tasks; one task alone counts as a list of it."""
        start = 3 if self._content[:3] == b"\xef\xbb\xbf" else 0
        try:
            raws = msgspec.json.decode(memoryview(self._content)[start:], type=list[msgspec.Raw])
            at = self._content.find(b"[", start) + 1
        except msgspec.ValidationError:
            return [Span(start, len(self._content), 0)]
        except msgspec.DecodeError as error:
            raise DataError(f"{self.path} is no readable JSON export of Label Studio: {error}") from error
        spans: list[Span] = []
        first = at
        for number, raw in enumerate(raws):
            while self._content[at] in b", \n\r\t":
                at += 1
            if number % tasks == 0:
                first = at
            at += len(memoryview(raw))
            if number % tasks == tasks - 1 or number == len(raws) - 1:
                spans.append(Span(first, at, number - number % tasks))
        return spans

    def heads(self, span: Span) -> list[tuple[int, dict[str, Any]]]:
        """(task id, data) of the tasks of a run, without looking at their annotations."""
        heads = enumerate(self._decoded(span, _HEADS), span.number)
        return [(_task_id(head.id, number), _data(head.data, number)) for number, head in heads]

    def tasks(self, span: Span) -> list[ExportTask]:
        """The tasks of a run; DataError names the first that is none."""
        return [_task(task, number) for number, task in enumerate(self._decoded(span, _TASKS), span.number)]

    def values(self, span: Span) -> list[Any]:
        """The tasks of a run just as they are in the file."""
        found: list[Any] = orjson.loads(self._listed(span))
        return found

    def _listed(self, span: Span) -> bytes:
        """A run as a JSON list of its own, copied once."""
        return b"".join((b"[", memoryview(self._content)[span.first : span.after], b"]"))

    def _decoded(self, span: Span, decoder: msgspec.json.Decoder[list[Any]]) -> list[Any]:
        content = self._listed(span)
        try:
            return decoder.decode(content)
        except msgspec.MsgspecError as error:
            for number, raw in enumerate(msgspec.json.decode(content, type=list[msgspec.Raw]), span.number):
                try:
                    decoder.decode(b"[%b]" % bytes(memoryview(raw)))
                except msgspec.MsgspecError as reason:
                    said = bytes(memoryview(raw)[:80]).decode("utf-8", "replace")
                    raise DataError(f"{_EXPECTED}, got {said!r} at position {number}: {reason}") from reason
            raise DataError(f"{self.path}: {_EXPECTED}: {error}") from error


def _mapped(file: int) -> mmap.mmap:
    """A file mapped into memory, where the system can with its pages at hand: one page after the other takes twice as long."""
    if not hasattr(mmap, "MAP_POPULATE"):
        return mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    return mmap.mmap(file, 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)


_TASKS = msgspec.json.Decoder(list[_Task])
_HEADS = msgspec.json.Decoder(list[_Head])


def _data(raw: msgspec.Raw, number: int) -> dict[str, Any]:
    data = _plain(raw)
    if not isinstance(data, dict):
        raise DataError(f"{_EXPECTED}, got the data {str(data)[:80]!r} at position {number}")
    return data


def _task_id(said: Any, number: int) -> int:
    try:
        task_id = int(said) if said is not None else number + 1
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{_EXPECTED}, got the task id {said!r} at position {number}") from error
    if abs(task_id) >= 1 << 63:
        raise DataError(f"{_EXPECTED}, got the task id {task_id} at position {number}, of more than 64 bits")
    return task_id


def _task(raw: _Task, number: int) -> ExportTask:
    task_id, data, meta = _task_id(raw.id, number), _data(raw.data, number), _plain(raw.meta)
    annotations = raw.annotations or raw.completions or []
    known = meta if isinstance(meta, dict) else {}
    return ExportTask(task_id, data, known, [_label(task_id, index, each) for index, each in enumerate(annotations)])


def _label(task_id: int, index: int, raw: _Annotation) -> ExportLabel:
    found = _plain(raw.result)
    result = [region for region in found if isinstance(region, dict)] if isinstance(found, list) else []
    state = "cancelled" if raw.was_cancelled or raw.skipped else "submitted"
    ground_truth = bool(raw.ground_truth)
    return ExportLabel(
        task_id,
        _number(raw.id, task_id * 1000 + index),
        _person(raw.completed_by),
        _moment(raw.updated_at or raw.created_at),
        _shown(raw),
        state,
        _kind(raw),
        ground_truth,
        revision_hash(result, state, ground_truth),
        float(raw.lead_time) if isinstance(raw.lead_time, int | float) else None,
        _reviewed(raw.reviews),
        result,
    )


def _plain(raw: msgspec.Raw) -> Any:
    """Its content as dicts and lists; a whole number of more than 64 bits becomes a float."""
    try:
        return orjson.loads(memoryview(raw))
    except orjson.JSONDecodeError:
        # A number too large for a float, which the standard library reads as infinite; formats leave such regions out.
        return json.loads(bytes(memoryview(raw)))


def _moment(value: Any) -> datetime:
    """UTC time of an ISO text or of seconds since 1970; the year 1970 where an old export has none that can be read."""
    if isinstance(value, int | float):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, ValueError, OSError):
            return _EPOCH
    if not value:
        return _EPOCH
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return _EPOCH
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _number(value: Any, otherwise: int) -> int:
    """An annotation's id; one that is no number becomes a stable number of its own, none at all the given one."""
    if value is None:
        return otherwise
    try:
        return int(value)
    except (TypeError, ValueError):
        return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:6], "big")


def _person(value: Any) -> int | None:
    """An account's id; a name or address instead of one becomes a stable number of its own."""
    if isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        value = value.get("id", value.get("email"))
    if value is None or isinstance(value, int):
        return value
    return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:6], "big")


def _kind(raw: _Annotation) -> str:
    if raw.last_action == "prediction":
        return "converted"
    if raw.last_action == "imported" or raw.import_id is not None:
        return "import"
    return "human"


def _shown(raw: _Annotation) -> str | None:
    if raw.prediction and isinstance(raw.prediction, Mapping):
        if not raw.prediction.get("result"):
            # An empty prediction only gives a task its place in the queue: nothing was shown.
            return None
        return str(raw.prediction.get("model_version") or f"prediction {raw.prediction.get('id')}")
    return f"prediction {raw.parent_prediction}" if raw.parent_prediction is not None else None


def _reviewed(reviews: Any) -> str:
    """The last word of a reviewer, as exports of Label Studio's paid edition carry it."""
    if not isinstance(reviews, Sequence) or not reviews or not isinstance(reviews[-1], Mapping):
        return "unreviewed"
    return "approved" if reviews[-1].get("accepted") else "rejected"


# -- whole, as tables -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExportFile:
    """A read export: `tasks` (task_id, data, n_annotations) and `labels`, one row per annotation (see ExportLabel)."""

    tasks: pl.DataFrame
    labels: pl.DataFrame

    def people_labels(self) -> pl.DataFrame:
        """Submitted annotations made by people."""
        import polars as pl

        return self.labels.filter((pl.col("state") == "submitted") & (pl.col("kind") == "human"))

    def with_data(self, labels: pl.DataFrame) -> pl.DataFrame:
        """Labels with the `data` of their task beside them."""
        return labels.join(self.tasks.select("task_id", "data"), on="task_id", how="left")


def read_export(path: Path) -> ExportFile:
    """Read an export file whole; DataError when it is no list of tasks, or two tasks share an id."""
    reader = ExportReader(path)
    return export_tables([task for span in reader.spans(1000) for task in reader.tasks(span)])


def export_tables(found: Sequence[ExportTask]) -> ExportFile:
    """The tables of read tasks; DataError when two share an id."""
    import polars as pl

    if len({task.task_id for task in found}) < len(found):
        raise DataError("the export has two tasks with one id; export one project at a time")
    tasks = {
        "task_id": [task.task_id for task in found],
        "data": [orjson.dumps(task.data).decode() for task in found],
        "n_annotations": [len(task.labels) for task in found],
    }
    names = [name for name in ExportLabel.__slots__ if name not in ("result", "reviewed")]
    rows = [label for task in found for label in task.labels]
    labels = {name: [getattr(row, name) for row in rows] for name in names}
    labels["result"] = [orjson.dumps(row.result).decode() for row in rows]
    number, text, flag, real = pl.Int64, pl.String, pl.Boolean, pl.Float64
    types: dict[str, Any] = {
        "task_id": number, "annotation_id": number, "annotator": number, "at": pl.Datetime("us", "UTC"),
        "shown": text, "state": text, "kind": text, "ground_truth": flag, "rev_hash": text, "lead_time_s": real,
        "result": text,
    }  # fmt: skip
    return ExportFile(
        pl.DataFrame(tasks, schema={"task_id": number, "data": text, "n_annotations": number}),
        pl.DataFrame(labels, schema=types),
    )
