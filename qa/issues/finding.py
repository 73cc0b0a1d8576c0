"""One suspicious label, and the labels as the detectors take them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import polars as pl

from labelloop.values import Region
from qa.agreement import result_of

#: What is wrong with a label; the last four are of data rather than of one label.
TYPES = (
    "missing", "extra", "wrong_class", "low_overlap", "boundary", "duplicate", "conflict", "outlier", "drift", "leakage",
)  # fmt: skip
#: Why, as far as labels tell: many people confuse the two classes; people disagree on this task; a slip of the hand that the
#: interface let pass; one person against the others and the model.
CAUSES = ("guideline", "ambiguous", "ui", "slip")


@dataclass(frozen=True, eq=False)
class Label:
    """What one person said of one task; `source` is where the task came from, None where that is not told."""

    task: int
    annotation: int
    annotator: int
    at: datetime
    result: Sequence[Region]
    data: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None

    @property
    def week(self) -> str:
        year, week, _ = self.at.isocalendar()
        return f"{year}-W{week:02d}"


@dataclass(frozen=True)
class Finding:
    """A label, or something that a label lacks, that is likely wrong.

    `region` is the id of the region that it is about; None for a whole task and for what is missing. `given` and `suggested`
    are classes (for places: with where they lie, in `evidence`). `score` in [0, 1], higher is surer; it orders findings and is
    no probability.
    """

    task: int
    annotation: int | None
    annotator: int | None
    control: str
    region: str | None
    type: str
    given: str | None
    suggested: str | None
    score: float
    detector: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    cause: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as docs/schemas/errors.schema.json describes them."""
        return {
            "task": self.task, "annotation": self.annotation, "annotator": self.annotator, "control": self.control,
            "region": self.region, "type": self.type, "given": self.given, "suggested": self.suggested,
            "score": round(min(max(self.score, 0.0), 1.0), 6), "cause": self.cause, "detector": self.detector,
            "evidence": dict(self.evidence),
        }  # fmt: skip


#: What a detector tells of one thing: (region, type, given, suggested, score, evidence).
Told = tuple[str | None, str, str | None, str | None, float, dict[str, Any]]


def findings_of(
    told: Iterable[tuple[Label, Told]],
    control: str,
    detector: str,
    evidence: Mapping[int, Mapping[str, Any]] | None = None,
) -> list[Finding]:
    """What was told of labels as findings, surest first; `evidence` is added to that of the findings of a task."""
    known = evidence or {}
    found = [
        Finding(
            label.task, label.annotation, label.annotator, control, region, kind, given, suggested, score, detector,
            {**why, **known.get(label.task, {})},
        )
        for label, (region, kind, given, suggested, score, why) in told
    ]  # fmt: skip
    return sorted(found, key=lambda each: (-each.score, each.task, each.annotation or 0))


def labels_in_table(table: pl.DataFrame) -> list[Label]:
    """The rows of a label table (as `qa.agreement.current_labels` leaves it), in order of task and person.

    The source of a task is the column `source` where there is one, else the text under "source" in its data.
    """
    found = []
    for row in table.sort("task_id", "annotator").iter_rows(named=True):
        raw = row.get("data")
        data: Mapping[str, Any] = orjson.loads(raw) if raw else {}
        told = row["source"] if "source" in row else data.get("source")
        found.append(
            Label(
                row["task_id"], row["annotation_id"], row["annotator"], row["at"], result_of(row["result"]), data,
                told if isinstance(told, str) and told else None,
            )
        )  # fmt: skip
    return found


def by_task(labels: Iterable[Label]) -> dict[int, list[Label]]:
    """The labels of each task."""
    found: dict[int, list[Label]] = defaultdict(list)
    for label in labels:
        found[label.task].append(label)
    return dict(found)
