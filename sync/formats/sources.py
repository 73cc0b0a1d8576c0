"""What an export is made of: a Label Studio export file or a dataset version, as parts of about 1,000 tasks each."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson

from labelloop.class_schema import table_of
from labelloop.datasets import PART_TASKS, SCHEMA_VERSION, Dataset, Entries, dataset_id_of, part_count, read_part
from labelloop.errors import DataError, NotReady
from labelloop.export_files import ExportLabel, ExportReader, ExportTask, Span
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.values import Region
from sync.formats.examples import Example, ExportOptions, split_of
from sync.formats.format import ClassName
from sync.formats.image_names import Claims
from sync.formats.policies import LEAST_SUPPORT, Policy, latest_of_each, truth_of, voting_controls
from sync.formats.supports import supports_of
from sync.frozen_rows import note_task

Kinds = Literal["human", "import"]
_SOURCES = {"human": "person", "import": "import"}
#: Why a task is in no export.
LEFT_OUT = {
    "never_labelled": "nobody labelled it",
    "only_skipped": "everybody skipped it",
    "not_by_people": "its labels are imported, or copied from predictions",
    "no_truth": "the policy finds no truth among its labels",
}


@dataclass
class Found:
    """What reading a part found besides its examples."""

    claims: Claims = field(default_factory=Claims)
    entries: Entries = field(default_factory=Entries)
    left_out: Counter[str] = field(default_factory=Counter)


class Source(Protocol):
    """Labelled tasks in parts; a source travels to other processes, its parts are read there."""

    @property
    def config(self) -> LabelConfig:
        """The label config."""

    @property
    def classes(self) -> tuple[ClassName, ...]:
        """Every class that there has been, in order of first appearance."""

    def parts(self) -> int:
        """How many parts there are."""

    def size_bytes(self) -> int:
        """How much there is to read, about."""

    def heads(self, number: int) -> list[tuple[int, dict[str, Any]]]:
        """(task id, data) of every task of a part."""

    def examples(self, number: int, options: ExportOptions, found: Found) -> Iterator[Example]:
        """The tasks of a part that have a truth; what was left out, and what labels there were, goes into `found`."""

    def identity(self, entries: Entries) -> tuple[str, Mapping[str, Any]]:
        """(dataset id, manifest body), once every part was read."""


@dataclass(frozen=True)
class ExportSource:
    """A stock Label Studio JSON export and its label config, without a server.

    Submitted labels of these `kinds` count, the latest of each person; the policy finds the truth among them.
    """

    path: Path
    config: LabelConfig
    policy: Policy
    kinds: tuple[Kinds, ...] = ("human",)

    @cached_property
    def spans(self) -> tuple[Span, ...]:
        """Where each part lies in the file; DataError when it is no JSON. The whole file is looked at."""
        return tuple(_reader(self.path).spans(PART_TASKS))

    @property
    def classes(self) -> tuple[ClassName, ...]:
        """The classes of the config in its order."""
        return named_classes(table_of(self.config).to_json())

    def parts(self) -> int:
        """How many parts there are."""
        return len(self.spans)

    def size_bytes(self) -> int:
        """The size of the file."""
        return self.path.stat().st_size

    def heads(self, number: int) -> list[tuple[int, dict[str, Any]]]:
        """(task id, data) of every task of a part."""
        return _reader(self.path).heads(self.spans[number])

    def examples(self, number: int, options: ExportOptions, found: Found) -> Iterator[Example]:
        """The tasks of a part that have a truth."""
        voting = voting_controls(self.config) if self.policy == "majority" else ()
        tasks = list(_reader(self.path).tasks(self.spans[number]))
        current = [current_labels(task, self.kinds) for task in tasks]
        heads = [(task.task_id, labels, task.data) for task, labels in zip(tasks, current, strict=True)]
        supports = supports_of(self.policy, heads, self.config)
        for task, labels in zip(tasks, current, strict=True):
            found.claims.add(task.task_id, task.data)
            if not labels:
                found.left_out[_why_none(task)] += 1
                continue
            truth = truth_of(labels, self.policy, voting, supports.get(task.task_id))
            group = group_of(task.data, task.meta)
            note_task(found.entries, task.task_id, task.data, task.meta, group, "pool", labels, truth)
            if truth is None:
                found.left_out["no_truth"] += 1
            else:
                yield _example(task, group, labels[truth.index], truth.agreeing, len(labels), options)

    def identity(self, entries: Entries) -> tuple[str, Mapping[str, Any]]:
        """The same id as the dataset version that `dataset_from_export` writes."""
        body = body_of(self, entries)
        return dataset_id_of(body), body


def open_export(export: Path, config: Path, policy: Policy, kinds: tuple[Kinds, ...] = ("human",)) -> ExportSource:
    """An export file and its label config, opened; DataError when one of them cannot be read."""
    try:
        xml = config.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{config} is no readable label config: {error}") from error
    path = export.absolute()
    _reader(path)
    return ExportSource(path, parse_label_config(xml), policy, kinds)


def current_labels(task: ExportTask, kinds: tuple[Kinds, ...]) -> list[ExportLabel]:
    """The latest submitted label of each person, of the kinds that count."""
    return latest_of_each([each for each in task.labels if each.state == "submitted" and each.kind in kinds])


def _why_none(task: ExportTask) -> str:
    """Why a task has no label that counts: a key of LEFT_OUT."""
    if any(label.state == "cancelled" for label in task.labels):
        return "only_skipped"
    return "not_by_people" if task.labels else "never_labelled"


def _example(
    task: ExportTask, group: str, label: ExportLabel, agreeing: int | None, n_labels: int, options: ExportOptions
) -> Example:
    consensus = agreeing is not None and n_labels > 1
    return Example(
        task.task_id, task.data, task.meta, group, split_of(group, None, task.meta, options), label.annotation_id,
        label.annotator, label.at, label.rev_hash, label.shown, label.ground_truth,
        "consensus" if consensus else _SOURCES[label.kind], label.reviewed, n_labels, agreeing, label.result,
    )  # fmt: skip


def group_of(data: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """The duplicate group that ingest noted, else the hash of the task's data."""
    ours = meta.get("labelloop")
    noted = ours.get("group") if isinstance(ours, Mapping) else None
    return str(noted) if noted else hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()


def body_of(source: ExportSource, entries: Entries) -> dict[str, Any]:
    """The manifest body of an export file's dataset version; NotReady when nobody labelled anything."""
    told = entries.to_json()
    if not told["count"]:
        raise NotReady(f"{source.path} has no submitted label of a person; label some tasks first, or check the file")
    config = source.config
    options: dict[str, Any] = {}
    if source.policy == "majority":
        options = {"voting_controls": [c.name for c in voting_controls(config)], "other_controls": "latest"}
    if source.policy == "consensus":
        options = {"least_support": LEAST_SUPPORT}
    return {
        "schema_version": SCHEMA_VERSION,
        "project": None,
        "entries": told,
        "label_config": config.xml,
        "config_hash": hashlib.sha256(config.xml.encode()).hexdigest(),
        "classes": {control.name: list(control.classes) for control in config.controls},
        "class_table": table_of(config).to_json(),
        "filters": {"states": ["submitted"], "kinds": list(source.kinds)},
        "policy": source.policy,
        "split": {"train": "all"},
        "options": options,
    }


@dataclass(frozen=True)
class DatasetSource:
    """A dataset version in a folder; its truth was decided when it was made."""

    folder: Path
    manifest: Mapping[str, Any]
    config: LabelConfig

    @property
    def policy(self) -> str:
        """How its truth was decided."""
        return str(self.manifest["body"].get("policy") or "latest")

    @property
    def classes(self) -> tuple[ClassName, ...]:
        """The classes that the project had when the version was made; those of its config in an older version."""
        return named_classes(self.manifest["body"].get("class_table") or table_of(self.config).to_json())

    def parts(self) -> int:
        """How many parts there are."""
        return part_count(self.folder)

    def size_bytes(self) -> int:
        """About the size of its labels as text; Parquet packs them to a tenth."""
        return (self.folder / "labels.parquet").stat().st_size * 10

    def heads(self, number: int) -> list[tuple[int, dict[str, Any]]]:
        """(task id, data) of every task of a part."""
        return [(row["task_id"], _json(row["data"])) for row in read_part(self.folder, number)[0]]

    def examples(self, number: int, options: ExportOptions, found: Found) -> Iterator[Example]:
        """The tasks of a part that have a truth."""
        tasks, labels = read_part(self.folder, number)
        truths = {row["task_id"]: row for row in labels if row["is_truth"]}
        for task in sorted(tasks, key=lambda row: int(row["task_id"])):
            data = _json(task["data"])
            found.claims.add(task["task_id"], data)
            label = truths.get(task["task_id"])
            if label is None:
                found.left_out["no_truth"] += 1
            else:
                yield _frozen_example(task, data, label, options)

    def identity(self, entries: Entries) -> tuple[str, Mapping[str, Any]]:
        """What its manifest says."""
        return str(self.manifest["dataset_id"]), self.manifest["body"]


def named_classes(table: Iterable[Mapping[str, Any]]) -> tuple[ClassName, ...]:
    """A manifest's class table as the formats want it."""
    return tuple(ClassName(each["control"], each["class_id"], each["name"], each["retired"]) for each in table)


def open_version(dataset: Dataset) -> DatasetSource:
    """A dataset version as a source."""
    return DatasetSource(dataset.path, dataset.manifest, dataset.label_config)


def _frozen_example(
    task: Mapping[str, Any], data: dict[str, Any], label: Mapping[str, Any], options: ExportOptions
) -> Example:
    meta = _json(task["meta"])
    result: list[Region] = orjson.loads(label["result"])
    return Example(
        task["task_id"], data, meta, task["group_key"],
        split_of(task["group_key"], task["split"], meta, options), label["annotation_id"], label["annotator"],
        label["at"], label["rev_hash"], label["shown_serving_id"], bool(label.get("ground_truth")),
        label.get("source") or "person", label.get("review_status") or "unreviewed", label.get("n_labels"),
        label.get("n_agreeing"), result,
    )  # fmt: skip


def _json(text: str | None) -> dict[str, Any]:
    found = orjson.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def _reader(path: Path) -> ExportReader:
    try:
        there = path.stat()
    except OSError as error:
        raise DataError(f"{path} is no readable JSON export of Label Studio: {error}") from error
    return _opened(path, there.st_ino, there.st_mtime_ns, there.st_size)


@lru_cache(maxsize=2)
def _opened(path: Path, *_state: int) -> ExportReader:
    return ExportReader(path)
