"""A dataset version from a stock Label Studio export and its label config, without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labelloop.collecting import cycles_uncollected
from labelloop.datasets import Dataset, DatasetWriter, Entries, read_dataset
from labelloop.errors import DataError
from labelloop.export_files import ExportReader, ExportTask
from labelloop.progress import Counting, not_counted
from sync.formats.policies import checked_policy, truth_of, voting_controls
from sync.formats.sources import ExportSource, Kinds, body_of, current_labels, group_of, open_export
from sync.formats.supports import supports_of
from sync.frozen_rows import label_rows, note_task, task_row


def dataset_from_export(
    export: Path,
    config: Path,
    folder: Path,
    policy: str = "latest",
    *,
    parent: str | None = None,
    kinds: tuple[Kinds, ...] = ("human",),
    count: Counting = not_counted,
) -> Dataset:
    """Write the dataset version of an export file into `folder` and open it.

    Submitted labels of these `kinds` count, the latest of each person; `policy` finds the truth among them. NotReady when
    nobody labelled anything; UsageError for an unknown policy; DataError when two tasks share an id.
    """
    source = open_export(export, config, checked_policy(policy), kinds)
    reader = ExportReader(source.path)
    entries, seen = Entries(), set[int]()
    writer = DatasetWriter(folder)
    try:
        for done, span in enumerate(source.spans, start=1):
            with cycles_uncollected():
                writer.add(*_rows(reader.tasks(span), source, entries, seen))
            count("labels", writer.counts["labels"], writer.counts["labels"] if done == len(source.spans) else None)
        writer.finish(body_of(source, entries), parent, datetime.now(UTC).isoformat())
    finally:
        writer.close()
    return read_dataset(folder)


def _rows(
    found: list[ExportTask], source: ExportSource, entries: Entries, seen: set[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    voting = voting_controls(source.config)
    current = {task.task_id: current_labels(task, source.kinds) for task in found}
    supports = supports_of(source.policy, [(t.task_id, current[t.task_id], t.data) for t in found], source.config)
    tasks, rows = [], []
    for task in sorted(found, key=lambda each: each.task_id):
        if task.task_id in seen:
            raise DataError(f"two tasks have the id {task.task_id}; export one project at a time")
        seen.add(task.task_id)
        labels = current[task.task_id]
        if not labels:
            continue
        truth = truth_of(labels, source.policy, voting, supports.get(task.task_id))
        group = group_of(task.data, task.meta)
        note_task(entries, task.task_id, task.data, task.meta, group, "pool", labels, truth)
        tasks.append(task_row(task.task_id, task.data, task.meta, group, "pool"))
        rows += label_rows(task.task_id, labels, truth)
    return tasks, rows
