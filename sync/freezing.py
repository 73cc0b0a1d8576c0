"""Freezing a dataset version from the store, and laying one out for a training with its media."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from labelloop import folders
from labelloop.class_schema import ClassTable
from labelloop.config_editing import dataset_config
from labelloop.datasets import (
    MANIFEST,
    SCHEMA_VERSION,
    TABLES,
    Dataset,
    DatasetWriter,
    Entries,
    read_dataset,
)
from labelloop.errors import MediaError, NotReady, UsageError
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.media import keep_file
from labelloop.progress import Counting, not_counted
from labelloop.store import ProjectRow, Store
from labelloop.store.classes import assigned_hash, class_table, schema_version
from labelloop.store.decisions import decisions_end
from labelloop.store.forgotten import tombstones
from labelloop.store.types import utc_now
from labelloop.task_items import Fetch, task_item
from labelloop.values import ROLES, Outcome
from sync.formats.freezing_exports import dataset_from_export
from sync.formats.policies import LEAST_SUPPORT, Policy, checked_policy, truth_of, voting_controls
from sync.formats.supports import supports_of
from sync.frozen_rows import label_rows, note_task, task_row
from sync.stored_labels import LabelledTask, count_labelled, labelled_tasks
from sync.trigger import LabelKey
from sync.version_erasing import erase_from_version

log = logging.getLogger(__name__)

#: Gold tasks measure people, not models: they are in no dataset that trains.
FROZEN_ROLES = ("pool", "blind", "holdout")
#: What models learn from, and are judged by.
TRAINING_POLICY: Policy = "consensus"
NO_TRUTH = "the policy finds no truth among its labels"


@dataclass(frozen=True)
class Frozen:
    """A dataset version that was made, or found to be there (`known`).

    `counts` has tasks, labels, truths and regions; `left_out` tells of how many tasks nothing is the truth, by reason;
    `dropped` counts regions that are gone because their class was retired.
    """

    dataset_id: str
    uri: str
    known: bool
    counts: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)


def config_hash(xml: str) -> str:
    """SHA-256 hex of a label config's text."""
    return hashlib.sha256(xml.encode()).hexdigest()


def freeze(
    store: Store,
    project: ProjectRow,
    artifacts: str,
    *,
    parent: str | None = None,
    options: dict[str, Any] | None = None,
    policy: str = "latest",
) -> str:
    """Write the labels as they are as a dataset version below `artifacts` and return its id; NotReady without labels."""
    return freeze_version(store, project, artifacts, parent=parent, options=options, policy=policy).dataset_id


def freeze_version(
    store: Store,
    project: ProjectRow,
    artifacts: str,
    *,
    parent: str | None = None,
    options: Mapping[str, Any] | None = None,
    policy: str = "latest",
    roles: Sequence[str] = FROZEN_ROLES,
    count: Counting = not_counted,
) -> Frozen:
    """The same, with what came of it; memory is bounded by a run of 1,000 tasks.

    `roles` are those of the tasks that may be in it. The version appears whole or not at all; where it is there already,
    nothing is written. UsageError for an unknown policy or role.
    """
    begun = utc_now()
    freezing = _Freezing(store, project, checked_policy(policy), checked_roles(roles), options or {})
    with folders.in_the_making(folders.join(artifacts, "datasets")) as folder:
        dataset_id = freezing.write(folder, parent, count)
        uri = dataset_uri(artifacts, dataset_id)
        known = folders.is_published(uri)
        if not known:
            folders.publish(folder, uri)
    # A task that was forgotten while it was being written: whoever forgets it may have looked before this was there.
    late = [stone.task_id for stone in tombstones(store, project.project_id, since=begun)]
    if late:
        erase_from_version(uri, late)
    return Frozen(dataset_id, uri, known, dict(freezing.counts), dict(freezing.left_out), dict(freezing.dropped))


def freeze_file(
    export: Path,
    config: Path,
    artifacts: str,
    *,
    policy: str = "latest",
    parent: str | None = None,
    count: Counting = not_counted,
) -> Frozen:
    """The same from a JSON export of Label Studio and its label config, without a store."""
    with folders.in_the_making(folders.join(artifacts, "datasets")) as folder:
        made = dataset_from_export(export, config, folder, policy, parent=parent, count=count)
        uri = dataset_uri(artifacts, made.dataset_id)
        known = folders.is_published(uri)
        if not known:
            folders.publish(folder, uri)
    counts = made.manifest["counts"]
    without = counts["tasks"] - counts["truths"]
    left_out = {NO_TRUTH: without} if without else {}
    return Frozen(made.dataset_id, uri, known, counts, left_out)


class _Freezing:
    """One version in the making."""

    def __init__(
        self, store: Store, project: ProjectRow, policy: Policy, roles: tuple[str, ...], options: Mapping[str, Any]
    ) -> None:
        self.store, self.project, self.policy, self.roles, self.options = store, project, policy, roles, options
        self.table: ClassTable = class_table(store, project)
        self.config: LabelConfig = parse_label_config(dataset_config(project.label_config, self.table))
        self.entries = Entries()
        self.counts: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()

    def write(self, folder: Path, parent: str | None, count: Counting) -> str:
        """Write the version into a folder; its id."""
        total = count_labelled(self.store, self.project.project_id, self.roles)
        writer = DatasetWriter(folder)
        try:
            for part in labelled_tasks(self.store, self.project.project_id, self.roles):
                writer.add(*self._rows(part))
                count("tasks", writer.counts["tasks"], max(total, writer.counts["tasks"]))
            self.counts = writer.counts
            if not self.counts["labels"]:
                raise NotReady(f"project {self.project.title!r} has no labels yet; label some tasks first")
            return writer.finish(self._body(), parent, utc_now().isoformat(), self._told())
        finally:
            writer.close()

    def _rows(self, part: Sequence[LabelledTask]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        voting = voting_controls(self.config)
        tasks: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        read = [[self._read(label) for label in each.labels] for each in part]
        able = [[index for index, reason in enumerate(reasons) if reason is None] for reasons in read]
        supports = supports_of(
            self.policy,
            [
                (each.task.task_id, [each.labels[index] for index in own], each.task.data)
                for each, own in zip(part, able, strict=True)
            ],
            self.config,
        )
        for each, left_out, own in zip(part, read, able, strict=True):
            task, labels = each.task, each.labels
            truth = truth_of([labels[index] for index in own], self.policy, voting, supports.get(task.task_id))
            if truth is None:
                self.left_out[next(filter(None, left_out), None) or NO_TRUTH] += 1
            else:
                truth = truth.at(own[truth.index])
            about = (task.task_id, task.data, task.meta, task.group_key, task.role)
            note_task(self.entries, *about, labels, truth)
            tasks.append(task_row(*about))
            shown = [(label.shown_version, label.fired_rules) for label in labels]
            rows += label_rows(task.task_id, labels, truth, shown, left_out)
        return tasks, rows

    def _read(self, label: Any) -> str | None:
        """Bring a label to today's classes; why it cannot be a truth, or None."""
        read = self.table.read(label.task_id, label.annotation_id, label.result)
        label.result = read.result
        for control, name in read.dropped:
            self.dropped[f"{control}/{name}"] += 1
        return read.problem

    def _body(self) -> dict[str, Any]:
        """What the version is, and so what its id is made of."""
        body: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "project": self.project.project_id,
            "entries": self.entries.to_json(),
            "label_config": self.config.xml,
            "config_hash": config_hash(self.project.label_config),
            "classes": {control.name: list(control.classes) for control in self.config.controls},
            "class_table": self.table.to_json(),
            "filters": {"roles": list(self.roles), "states": ["submitted"], "kinds": ["human"]},
            "policy": self.policy,
            "split": {"train": "the other roles", "holdout": "role holdout"},
        }
        if self.table.assigned:
            body["assigned"] = assigned_hash(self.table)
        if self.policy == "majority":
            body["voting"] = {"controls": [c.name for c in voting_controls(self.config)], "others": "latest"}
        if self.policy == "consensus":
            body["least_support"] = LEAST_SUPPORT
        return body | ({"options": dict(self.options)} if self.options else {})

    def _told(self) -> dict[str, Any]:
        """What the manifest says besides: no part of the id."""
        schema = schema_version(self.store, self.project.project_id)
        return {
            "title": self.project.title,
            "class_schema": {"number": schema.number, "hash": schema.hash} if schema else None,
            "decisions": decisions_end(self.store, self.project.project_id).to_json(),
            "left_out": dict(sorted(self.left_out.items())),
            "dropped": dict(sorted(self.dropped.items())),
        }


def checked_roles(roles: Sequence[str]) -> tuple[str, ...]:
    """These roles in their usual order; UsageError for one that is none."""
    unknown = [role for role in roles if role not in ROLES]
    if unknown or not roles:
        raise UsageError(f"expected roles among {list(ROLES)}, got {unknown or 'none'}")
    return tuple(role for role in ROLES if role in roles)


# -- versions by their id ---------------------------------------------------------------------------------------------


def dataset_uri(artifacts: str, dataset_id: str) -> str:
    """Where a dataset version lies."""
    return folders.join(artifacts, "datasets", dataset_id)


def open_dataset(artifacts: str, dataset_id: str, cache: Path) -> Dataset:
    """A dataset version for reading; a remote one is copied into `cache` first, and again when something was forgotten."""
    uri = dataset_uri(artifacts, dataset_id)
    copy = cache / dataset_id
    if not folders.is_local(uri) and copy.is_dir():
        kept = copy / MANIFEST
        if not kept.is_file() or kept.read_bytes() != folders.read_file(uri, MANIFEST):
            folders.set_aside(copy)
    return read_dataset(folders.fetch(uri, copy))


def entries_of(dataset: Dataset) -> set[LabelKey]:
    """The labels that a dataset version holds."""
    return dataset.entries()


# -- for a training ---------------------------------------------------------------------------------------------------


def lay_out(
    dataset: Dataset, folder: Path, fetch: Fetch | None, check: Callable[[], None]
) -> tuple[Path, dict[int, str]]:
    """Copy a dataset version into `folder` with media/<task id>-<n><suffix>; the folder, and the tasks without media.

    `fetch` gives the local file of a media address, or is None where the project has no media. `check` is called per
    task and may raise LeaseLost. A task whose media cannot be used is left out of the labels and named with its reason.
    """
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    for name in (MANIFEST, *(f"{table}.parquet" for table in TABLES)):
        shutil.copyfile(dataset.path / name, folder / name)
    failed: dict[int, str] = {}
    if fetch is None:
        return folder, failed
    for task_id, data in _task_data(dataset):
        check()
        item = task_item(task_id, data, dataset.label_config, fetch)
        if isinstance(item, Outcome):
            failed[task_id] = item.status
            continue
        for number, found in enumerate(item.media.values()):
            if isinstance(found, MediaError):
                failed[task_id] = found.reason
                break
            keep_file(found, media / f"{task_id}-{number}{found.suffix}")
    if failed:
        log.warning("media left out", extra={"dataset": dataset.dataset_id, "tasks": dict(list(failed.items())[:20])})
        import polars as pl

        kept = dataset.labels.filter(~pl.col("task_id").is_in(list(failed)))
        kept.write_parquet(folder / "labels.parquet")
    return folder, failed


def _task_data(dataset: Dataset) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(task id, data) of the tasks that were not forgotten, row group by row group."""
    import pyarrow.parquet as pq

    forgotten = dataset.forgotten
    with pq.ParquetFile(dataset.path / "tasks.parquet") as file:
        for batch in file.iter_batches(batch_size=1000, columns=["task_id", "data"]):
            for row in batch.to_pylist():
                if row["task_id"] not in forgotten:
                    yield row["task_id"], orjson.loads(row["data"])
