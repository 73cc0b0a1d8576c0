"""What an export says of itself: the report that a command prints, and the manifest beside the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

SCHEMA_VERSION = 2
#: Reasons that the report and the manifest spell out; all of them are in skipped.jsonl.
TOLD = 100
SKIPPED = "skipped.jsonl"


@dataclass(frozen=True)
class ExportReport:
    """A finished export.

    `items` are tasks (or images) with `objects` boxes, spans or choices; `splits` counts the items of each split;
    `left_out` tells how many tasks have no truth, by reason; `skipped` are the first (task id, reason) of what a written
    task has and the files have not.
    """

    format: str
    task: str | None
    path: str
    items: int
    objects: int
    splits: Mapping[str, int]
    skipped: tuple[tuple[int, str], ...]
    n_skipped: int
    left_out: Mapping[str, int]
    declared_losses: tuple[str, ...]
    manifest: str
    dataset_id: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as docs/schemas/export.schema.json describes them."""
        return {
            "schema_version": SCHEMA_VERSION,
            "format": self.format,
            "task": self.task,
            "path": self.path,
            "items": self.items,
            "objects": self.objects,
            "splits": dict(self.splits),
            "skipped": told(self.skipped),
            "n_skipped": self.n_skipped,
            "left_out": dict(self.left_out),
            "declared_losses": list(self.declared_losses),
            "manifest": self.manifest,
            "dataset_id": self.dataset_id,
        }


def report_text(report: ExportReport) -> str:
    """The report for a terminal."""
    parts = ", ".join(f"{split} {count}" for split, count in report.splits.items())
    lines = [f"{report.items} items ({parts}), {report.objects} objects -> {report.path}"]
    if report.n_skipped:
        kinds = Counter(kind_of(reason) for _, reason in report.skipped)
        most = "; ".join(f"{count} x {kind}" for kind, count in kinds.most_common(3))
        lines.append(f"{report.n_skipped} things have no place in the files ({most}): {SKIPPED}")
    lines += [f"{count} tasks left out: {reason}" for reason, count in report.left_out.items()]
    return "\n".join(lines)


def kind_of(reason: str) -> str:
    """A reason without what is particular to one region, so that equal ones are counted together."""
    head, _, tail = reason.partition(": ")
    return tail if head.startswith("region ") and tail else reason


def told(skipped: Iterable[tuple[int, str]]) -> list[dict[str, Any]]:
    """Skipped things as JSON values."""
    return [{"task_id": task_id, "reason": reason} for task_id, reason in skipped]


def write_json(path: Path, content: Any) -> None:
    """Indented JSON with sorted keys."""
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
