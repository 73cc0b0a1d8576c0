"""What an ingest did, or would do: counts, and where the lists lie."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sync.ingesting.grouping import NearCounts


@dataclass(frozen=True)
class LabelReport:
    """What became of pre-annotations; `kind` is "predictions" or "annotations", `version` the name that they carry."""

    kind: str
    version: str
    items: int
    regions: int
    refused_regions: int
    sent: int
    present: int
    withheld: int
    resent: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"as": self.kind, **{key: value for key, value in vars(self).items() if key != "kind"}}


@dataclass
class IngestReport:
    """What an ingest did; with `dry_run`, what it would have done.

    `present` items the project had already, `duplicates` the source has more than once; `near` are those like another.
    `rejected` counts by reason what did not come in, listed in `rejects`. `roles` and `overlapped` are of the tasks that
    were recorded. `changed_texts` counts what was done to texts, `images` kinds and peculiarities, `other_files` by suffix
    what was of no kind that the project shows.
    """

    project: int
    source: str
    dry_run: bool = False
    added: int = 0
    present: int = 0
    finished: int = 0
    duplicates: int = 0
    near: NearCounts = field(default_factory=NearCounts)
    roles: Counter[str] = field(default_factory=Counter)
    overlapped: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    changed_texts: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    other_files: Counter[str] = field(default_factory=Counter)
    ignored_labels: int = 0
    metadata: dict[str, int] | None = None
    labels: LabelReport | None = None
    rejects: Path | None = None
    duplicates_file: Path | None = None
    unmatched_file: Path | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "project": self.project,
            "source": self.source,
            "dry_run": self.dry_run,
            "added": self.added,
            "present": self.present,
            "finished": self.finished,
            "duplicates": self.duplicates,
            "near": asdict(self.near),
            "roles": dict(self.roles),
            "overlapped": self.overlapped,
            "rejected": {
                "count": self.rejected.total(),
                "by_reason": dict(self.rejected),
                "file": _text(self.rejects),
            },
            "duplicates_file": _text(self.duplicates_file),
            "changed_texts": dict(self.changed_texts),
            "images": dict(self.images),
            "other_files": dict(self.other_files),
            "ignored_labels": self.ignored_labels,
            "metadata": dict(self.metadata) if self.metadata is not None else None,
            "unmatched_file": _text(self.unmatched_file),
            "labels": self.labels.to_json() if self.labels is not None else None,
            "seconds": round(self.seconds, 3),
        }

    def text(self) -> str:
        """What a person reads: a first line of counts, then a line for whatever else there is to tell."""
        did = "would be added" if self.dry_run else "added"
        first = f"{self.added:,} tasks {did}, {self.present:,} were there, {self.rejected.total():,} rejected"
        return "\n".join([first, *self._lines()])

    def _lines(self) -> list[str]:
        lines = []
        if self.rejected:
            lines.append(f"rejected: {_counts(self.rejected)}; each with its reason in {self.rejects}")
        if self.duplicates or self.near.found:
            kept = "left out" if self.near.dropped else "each in one group with what it is like"
            told = f", {self.near.found:,} near duplicates ({kept})" if self.near.found else ""
            lines.append(f"duplicates: {self.duplicates:,} in the source{told}; pairs in {self.duplicates_file}")
        if self._is_one_heap():
            lines.append(
                f"one group of near duplicates has {self.near.largest:,} items, which all get one role: if that is not "
                "meant, look for less (--near-distance, --near-similarity) or not at all (--no-near)"
            )
        if self.changed_texts:
            lines.append(f"texts changed: {_counts(self.changed_texts)}")
        if self.other_files:
            lines.append(f"files of another kind, left alone: {_counts(self.other_files)}")
        if self.ignored_labels:
            lines.append(
                f"{self.ignored_labels:,} tasks have annotations or predictions of their own, which stayed behind; they "
                "come with --format label_studio"
            )
        return [*lines, *self._joined_lines()]

    def _is_one_heap(self) -> bool:
        return self.near.largest > max(20, 0.05 * self.added)

    def _joined_lines(self) -> list[str]:
        lines = []
        if self.metadata is not None:
            m = self.metadata
            lines.append(
                f"metadata: {m['joined']:,} items joined, {m['items_without_row']:,} without a row, "
                f"{m['rows_without_item']:,} of {m['rows']:,} rows without an item"
                + (f"; {m['rows_for_several_items']:,} rows for several items" if m["rows_for_several_items"] else "")
                + (f"; listed in {self.unmatched_file}" if self.unmatched_file is not None else "")
            )
        if self.labels is not None:
            found = self.labels
            parts = [f"{found.sent:,} sent as {found.kind} of {found.version}", f"{found.present:,} were there"]
            parts += [f"{found.withheld:,} kept from holdout and blind tasks"] if found.withheld else []
            parts += [f"{found.refused_regions:,} regions do not fit"] if found.refused_regions else []
            parts += [f"{found.resent:,} sent again"] if found.resent else []
            lines.append(f"labels: {', '.join(parts)}")
        return lines


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counter.most_common())


def _text(path: Path | None) -> str | None:
    return str(path) if path is not None else None
