"""Freezing a dataset version from the store, and laying one out for a training with its media."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from labelloop import folders
from labelloop.datasets import SCHEMA_VERSION, Dataset, dataset_id_of, entries_of_rows, read_dataset, write_dataset
from labelloop.errors import MediaError, NotReady
from labelloop.label_config import parse_label_config
from labelloop.media import keep_file
from labelloop.revisions import config_hash
from labelloop.store import LabelRow, ProjectRow, Store, TaskRow
from labelloop.store.types import utc_now
from labelloop.task_items import Fetch, task_item
from labelloop.values import Outcome, Region
from sync.trigger import LabelKey, label_key

log = logging.getLogger(__name__)

#: Gold tasks measure people, not models: they are in no dataset that trains.
FROZEN_ROLES = ("pool", "blind", "holdout")


def truth_of(labels: Iterable[LabelRow]) -> set[int]:
    """Annotation ids of the label that counts as each task's truth: the latest by time, then by id."""
    chosen: dict[int, LabelRow] = {}
    for label in labels:
        best = chosen.get(label.task_id)
        if best is None or (label.updated_at, label.annotation_id) > (best.updated_at, best.annotation_id):
            chosen[label.task_id] = label
    return {label.annotation_id for label in chosen.values()}


def manifest_body(project: ProjectRow, labels: list[LabelRow], options: dict[str, Any]) -> dict[str, Any]:
    """What a dataset version is, and so what its id is made of."""
    config = parse_label_config(project.label_config)
    body: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "project": project.project_id,
        "entries": entries_of_rows(label_key(label) for label in labels),
        "label_config": project.label_config,
        "config_hash": config_hash(project.label_config),
        "classes": {control.name: list(control.classes) for control in config.controls},
        "filters": {"roles": list(FROZEN_ROLES)},
        "policy": "latest",
        "split": {"train": "roles pool and blind", "holdout": "role holdout"},
    }
    return body | ({"options": options} if options else {})


def freeze(
    store: Store,
    project: ProjectRow,
    artifacts: str,
    *,
    parent: str | None = None,
    options: dict[str, Any] | None = None,
) -> str:
    """Write the current labels as a dataset version below `artifacts` and return its id; NotReady without labels."""
    labels = [label for label in store.labels(project.project_id) if label.role in FROZEN_ROLES]
    if not labels:
        raise NotReady(f"project {project.title!r} has no labels yet; label some tasks first")
    body = manifest_body(project, labels, options or {})
    dataset_id = dataset_id_of(body)
    uri = dataset_uri(artifacts, dataset_id)
    truth = truth_of(labels)
    labelled = {label.task_id for label in labels}
    tasks = [_task_row(task) for task in store.tasks(project.project_id) if task.task_id in labelled]
    rows = [_label_row(label, label.annotation_id in truth) for label in labels]
    with tempfile.TemporaryDirectory(prefix="labelloop-freeze-") as folder:
        write_dataset(Path(folder) / dataset_id, body, tasks, rows, parent, utc_now().isoformat())
        folders.publish(Path(folder) / dataset_id, uri)
    return dataset_id


def dataset_uri(artifacts: str, dataset_id: str) -> str:
    """Where a dataset version lies."""
    return folders.join(artifacts, "datasets", dataset_id)


def open_dataset(artifacts: str, dataset_id: str, cache: Path) -> Dataset:
    """A dataset version for reading; a remote one is copied into `cache` first."""
    return read_dataset(folders.fetch(dataset_uri(artifacts, dataset_id), cache / dataset_id))


def entries_of(dataset: Dataset) -> set[LabelKey]:
    """The labels that a dataset version holds."""
    return dataset.entries()


def _task_row(task: TaskRow) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "data": orjson.dumps(task.data).decode(),
        "meta": orjson.dumps(task.meta).decode(),
        "group_key": task.group_key,
        "role": task.role,
        "split": "holdout" if task.role == "holdout" else "train",
    }


def _label_row(label: LabelRow, is_truth: bool) -> dict[str, Any]:
    return {
        "task_id": label.task_id,
        "annotation_id": label.annotation_id,
        "annotator": label.person_id,
        "at": label.updated_at,
        "rev_hash": label.rev_hash,
        "lead_time_s": label.lead_time_s,
        "shown_serving_id": label.shown_serving_id,
        "is_truth": is_truth,
        "result": orjson.dumps(_plain(label.result)).decode(),
    }


def _plain(result: list[Region]) -> list[Region]:
    """A person's regions without the scores that accepted suggestions carry over."""
    return [{key: value for key, value in region.items() if key != "score"} for region in result]


def lay_out(
    dataset: Dataset, folder: Path, fetch: Fetch | None, check: Callable[[], None]
) -> tuple[Path, dict[int, str]]:
    """Copy a dataset version into `folder` with media/<task id>-<n><suffix>; the folder, and the tasks without media.

    `fetch` gives the local file of a media address, or is None where the project has no media. `check` is called per
    task and may raise LeaseLost. A task whose media cannot be used is left out of the labels and named with its reason.
    """
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    for name in ("manifest.json", "tasks.parquet", "labels.parquet", "regions.parquet"):
        shutil.copyfile(dataset.path / name, folder / name)
    failed: dict[int, str] = {}
    if fetch is None:
        return folder, failed
    for row in dataset.tasks.select("task_id", "data").to_dicts():
        check()
        item = task_item(row["task_id"], orjson.loads(row["data"]), dataset.label_config, fetch)
        if isinstance(item, Outcome):
            failed[row["task_id"]] = item.status
            continue
        for number, found in enumerate(item.media.values()):
            if isinstance(found, MediaError):
                failed[row["task_id"]] = found.reason
                break
            keep_file(found, media / f"{row['task_id']}-{number}{found.suffix}")
    if failed:
        log.warning("media left out", extra={"dataset": dataset.dataset_id, "tasks": dict(list(failed.items())[:20])})
        import polars as pl

        kept = dataset.labels.filter(~pl.col("task_id").is_in(list(failed)))
        kept.write_parquet(folder / "labels.parquet")
    return folder, failed
