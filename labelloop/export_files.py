"""Reading a stock Label Studio JSON export into two tables: its tasks, and one row per annotation."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from labelloop.errors import DataError
from labelloop.revisions import revision_hash

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

EXPORT_TASKS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "task_id": pl.Int64, "data": pl.String, "n_annotations": pl.Int64,
}  # fmt: skip
EXPORT_LABELS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "task_id": pl.Int64, "annotation_id": pl.Int64, "annotator": pl.Int64, "at": pl.Datetime("us", "UTC"),
    "shown": pl.String, "state": pl.String, "kind": pl.String, "ground_truth": pl.Boolean, "rev_hash": pl.String,
    "lead_time_s": pl.Float64, "result": pl.String,
}  # fmt: skip


@dataclass(frozen=True)
class ExportFile:
    """A read export. `labels` has every annotation; `state` and `kind` tell cancelled, imported and converted ones.

    `shown` names the suggestion that the person saw (its model version, else "prediction <id>"), null for none.
    """

    tasks: pl.DataFrame
    labels: pl.DataFrame

    def people_labels(self) -> pl.DataFrame:
        """Submitted annotations made by people."""
        return self.labels.filter((pl.col("state") == "submitted") & (pl.col("kind") == "human"))

    def with_data(self, labels: pl.DataFrame) -> pl.DataFrame:
        """Labels with the `data` of their task beside them."""
        return labels.join(self.tasks.select("task_id", "data"), on="task_id", how="left")


def read_export(path: Path) -> ExportFile:
    """Read an export file; DataError when it is no list of tasks, or two tasks share an id."""
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise DataError(f"{path} is no readable JSON export of Label Studio: {error}") from error
    return export_tables(content)


def export_tables(content: Any) -> ExportFile:
    """The tables of a parsed export: a list of tasks, each with "data" and "annotations" (older: "completions")."""
    listed = content if isinstance(content, list) else [content]
    tasks, labels = [], []
    for position, raw in enumerate(listed):
        if not isinstance(raw, Mapping) or not isinstance(raw.get("data"), Mapping):
            raise DataError(
                f"expected a list of tasks with 'data' and 'annotations' (Label Studio's export format JSON, "
                f"not JSON_MIN), got {str(raw)[:80]!r} at position {position}"
            )
        task_id = int(raw["id"]) if raw.get("id") is not None else position + 1
        annotations = raw.get("annotations") or raw.get("completions") or []
        tasks.append(
            {"task_id": task_id, "data": orjson.dumps(raw["data"]).decode(), "n_annotations": len(annotations)}
        )
        labels += [_label(task_id, index, annotation) for index, annotation in enumerate(annotations)]
    frame = pl.DataFrame(tasks, schema=EXPORT_TASKS_SCHEMA)
    if frame["task_id"].is_duplicated().any():
        raise DataError("the export has two tasks with one id; export one project at a time")
    return ExportFile(frame, pl.DataFrame(labels, schema=EXPORT_LABELS_SCHEMA))


def _label(task_id: int, index: int, raw: Mapping[str, Any]) -> dict[str, Any]:
    result = raw.get("result") or []
    state = "cancelled" if raw.get("was_cancelled") or raw.get("skipped") else "submitted"
    ground_truth = bool(raw.get("ground_truth"))
    lead_time = raw.get("lead_time")
    return {
        "task_id": task_id,
        "annotation_id": int(raw["id"]) if raw.get("id") is not None else task_id * 1000 + index,
        "annotator": _person(raw.get("completed_by")),
        "at": _moment(raw.get("updated_at") or raw.get("created_at")),
        "shown": _shown(raw),
        "state": state,
        "kind": _kind(raw),
        "ground_truth": ground_truth,
        "rev_hash": revision_hash(result, state, ground_truth),
        "lead_time_s": float(lead_time) if lead_time is not None else None,
        "result": orjson.dumps(result).decode(),
    }


def _moment(value: Any) -> datetime:
    """UTC time of an ISO text or of seconds since 1970; the year 1970 where an old export has none."""
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if not value:
        return _EPOCH
    at = datetime.fromisoformat(str(value))
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _person(value: Any) -> int | None:
    """An account's id; a name or address instead of one becomes a stable number of its own."""
    if isinstance(value, Mapping):
        value = value.get("id", value.get("email"))
    if value is None or isinstance(value, int):
        return value
    return int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:6], "big")


def _kind(raw: Mapping[str, Any]) -> str:
    if raw.get("last_action") == "prediction":
        return "converted"
    if raw.get("last_action") == "imported" or raw.get("import_id") is not None:
        return "import"
    return "human"


def _shown(raw: Mapping[str, Any]) -> str | None:
    prediction = raw.get("prediction")
    if isinstance(prediction, Mapping) and prediction:
        if not prediction.get("result"):
            # An empty prediction only gives a task its place in the queue: nothing was shown.
            return None
        return str(prediction.get("model_version") or f"prediction {prediction.get('id')}")
    parent = raw.get("parent_prediction")
    return f"prediction {parent}" if parent is not None else None
