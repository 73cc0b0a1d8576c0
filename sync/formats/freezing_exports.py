"""A dataset version from a stock Label Studio export and its label config, without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from labelloop.collecting import cycles_uncollected
from labelloop.datasets import Dataset, DatasetWriter, Entries, read_dataset
from labelloop.export_files import ExportLabel, ExportReader, ExportTask
from labelloop.values import Region
from sync.formats.policies import checked_policy, truth_of, voting_controls
from sync.formats.sources import ExportSource, body_of, current_labels, group_of, open_export


def dataset_from_export(export: Path, config: Path, folder: Path, policy: str = "latest") -> Dataset:
    """Write the dataset version of an export file into `folder` and open it.

    People's submitted labels count, the latest of each person; `policy` finds the truth among them. NotReady when nobody
    labelled anything; UsageError for an unknown policy.
    """
    source = open_export(export, config, checked_policy(policy))
    reader = ExportReader(source.path)
    entries = Entries()
    writer = DatasetWriter(folder)
    try:
        for span in source.spans:
            with cycles_uncollected():
                writer.add(*_rows(reader.tasks(span), source, entries))
        writer.finish(body_of(source, entries), None, datetime.now(UTC).isoformat())
    finally:
        writer.close()
    return read_dataset(folder)


def _rows(
    found: list[ExportTask], source: ExportSource, entries: Entries
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    voting = voting_controls(source.config)
    tasks, rows = [], []
    for task in sorted(found, key=lambda each: each.task_id):
        labels = current_labels(task, source.kinds)
        if not labels:
            continue
        truth = truth_of(labels, source.policy, voting)
        tasks.append(_task_row(task))
        for index, label in enumerate(labels):
            entries.add(task.task_id, label.annotation_id, label.rev_hash)
            is_truth = truth is not None and truth.index == index
            agreeing = truth.agreeing if truth is not None and is_truth else None
            rows.append(_label_row(task, label, len(labels), agreeing, is_truth))
    return tasks, rows


def _task_row(task: ExportTask) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "data": orjson.dumps(task.data).decode(),
        "meta": orjson.dumps(task.meta).decode(),
        "group_key": group_of(task.data, task.meta),
        "role": "pool",
        "split": "train",
    }


def _label_row(
    task: ExportTask, label: ExportLabel, n_labels: int, agreeing: int | None, is_truth: bool
) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "annotation_id": label.annotation_id,
        "annotator": label.annotator,
        "at": label.at,
        "rev_hash": label.rev_hash,
        "lead_time_s": label.lead_time_s,
        "shown_serving_id": label.shown,
        "ground_truth": label.ground_truth,
        "source": "consensus" if agreeing is not None and n_labels > 1 else "person",
        "review_status": label.reviewed,
        "n_labels": n_labels,
        "n_agreeing": agreeing,
        "is_truth": is_truth,
        "result": orjson.dumps(without_scores(label.result)).decode(),
    }


def without_scores(result: list[Region]) -> list[Region]:
    """A person's regions without the scores that accepted suggestions carry over."""
    if not any("score" in region for region in result):
        return result
    return [{key: value for key, value in region.items() if key != "score"} for region in result]
