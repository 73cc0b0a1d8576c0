"""The dataset versions below the artifacts: which there are, who used them, and what one holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelloop import folders
from labelloop.datasets import MANIFEST, Dataset, read_manifest
from labelloop.errors import DataError, NotReady, UsageError
from labelloop.store import Store, TrainingRow
from labelloop.store.trainings import trainings_of
from sync.freezing import dataset_uri, open_dataset

if TYPE_CHECKING:
    import polars as pl


def version_ids(artifacts: str) -> list[str]:
    """The ids of the versions there are."""
    return folders.names_below(folders.join(artifacts, "datasets"))


def manifests(artifacts: str) -> list[dict[str, Any]]:
    """The manifests of every version, oldest first; one that cannot be read has "problem" in place of a body."""
    found = []
    for name in version_ids(artifacts):
        uri = dataset_uri(artifacts, name)
        try:
            found.append(read_manifest(folders.read_file(uri, MANIFEST), uri))
        except (DataError, NotReady) as error:
            found.append({"dataset_id": name, "created_at": "", "problem": str(error)})
    return sorted(found, key=lambda each: (str(each["created_at"]), each["dataset_id"]))


def newest_version(artifacts: str, project_id: int) -> str | None:
    """The version of a project that was made last; None before the first."""
    own = [each for each in manifests(artifacts) if _project_of(each) == project_id]
    return str(own[-1]["dataset_id"]) if own else None


def known_version(artifacts: str, wanted: str) -> str:
    """The id of the one version that begins like this; UsageError when none does, or several do."""
    found = [name for name in version_ids(artifacts) if name.startswith(wanted)] if wanted else []
    if len(found) == 1 or wanted in found:
        return wanted if wanted in found else found[0]
    what = f"{len(found)} versions begin with {wanted!r}: {', '.join(found[:5])}" if found else f"no version {wanted!r}"
    raise UsageError(f"{what}; `labelloop dataset list` shows those below {artifacts}")


def list_versions(artifacts: str, store: Store | None, project_id: int | None = None) -> list[dict[str, Any]]:
    """One entry per version, oldest first, with the trainings that used it where a store tells."""
    used = _used_by(store)
    return [
        _entry(each, dataset_uri(artifacts, str(each["dataset_id"])), used.get(str(each["dataset_id"]), ()))
        for each in manifests(artifacts)
        if project_id is None or _project_of(each) == project_id
    ]


def versions_text(entries: Sequence[Mapping[str, Any]]) -> str:
    """A line per version."""
    lines = []
    for row in entries:
        if row["problem"]:
            lines.append(f"{row['dataset_id']}  {row['problem']}")
            continue
        counts = row["counts"]
        parts = [
            f"{row['dataset_id']}  {row['created_at'][:19]}",
            f"project {row['project']}" if row["project"] is not None else "from a file",
            f"{row['policy']}, {counts['tasks']} tasks, {counts['labels']} labels",
            f"parent {row['parent']}" if row["parent"] else "no parent",
            *([f"{row['forgotten']} forgotten"] if row["forgotten"] else []),
            *(f"{each['training_id']} {each['outcome'] or 'runs'}" for each in row["trainings"]),
        ]
        lines.append("; ".join(parts))
    return "\n".join(lines) or "no dataset version yet; make one: labelloop dataset create PROJECT"


def show_version(artifacts: str, dataset_id: str, cache: Path, store: Store | None) -> dict[str, Any]:
    """What one version holds: counts by class, split, annotator, source, review and what people were shown."""
    import polars as pl

    dataset = open_dataset(artifacts, dataset_id, cache)
    body = dataset.manifest["body"]
    labels, tasks, regions = (_scan(dataset, name) for name in ("labels", "tasks", "regions"))
    truths = labels.filter(pl.col("is_truth"))
    splits = tasks.join(truths.select("task_id", "is_truth"), on="task_id", how="left")
    by_split = _rows(splits.group_by("split").agg(tasks=pl.len(), truths=pl.col("is_truth").count()).sort("split"))
    return {
        **_entry(dataset.manifest, str(dataset_uri(artifacts, dataset_id)), _used_by(store).get(dataset_id, ())),
        "config_hash": body.get("config_hash"),
        "filters": body.get("filters") or {},
        "class_schema": dataset.manifest.get("class_schema"),
        "decisions": dataset.manifest.get("decisions"),
        "left_out": dataset.manifest.get("left_out") or {},
        "dropped": dataset.manifest.get("dropped") or {},
        "splits": {str(row["split"]): {"tasks": row["tasks"], "truths": row["truths"]} for row in by_split},
        "classes": _classes(body, regions, tasks),
        "annotators": _rows(
            labels.group_by("annotator")
            .agg(labels=pl.len(), truths=pl.col("is_truth").sum(), tasks=pl.col("task_id").n_unique())
            .sort("labels", "annotator", descending=[True, False], nulls_last=True)
        ),
        "sources": _counted(truths, "source", "person"),
        "review_status": _counted(labels, "review_status", "unreviewed"),
        "shown": _counted(
            labels.with_columns(shown=pl.coalesce("shown_version", "shown_serving_id")), "shown", "nothing"
        ),
    }


def version_text(report: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    counts = report["counts"]
    lines = [
        f"{report['dataset_id']}: {counts['tasks']} tasks, {counts['labels']} labels, policy {report['policy']}, "
        f"made {report['created_at'][:19]}",
        "splits: " + ", ".join(f"{name} {row['truths']} of {row['tasks']}" for name, row in report["splits"].items()),
    ]
    for row in report["classes"]:
        shares = ", ".join(f"{split} {count}" for split, count in row["splits"].items())
        lines.append(f"  {row['control']}/{row['class']}: {row['objects']}" + (f" ({shares})" if shares else ""))
    for row in report["annotators"]:
        who = f"person {row['annotator']}" if row["annotator"] is not None else "unknown"
        lines.append(f"  {who}: {row['labels']} labels, {row['truths']} of them the truth, on {row['tasks']} tasks")
    for name in ("sources", "review_status", "shown", "left_out", "dropped"):
        if report[name]:
            told = ", ".join(f"{key} {count}" for key, count in report[name].items())
            lines.append(f"{name.replace('_', ' ')}: {told}")
    if report["forgotten"]:
        lines.append(f"{report['forgotten']} tasks were forgotten after it was made")
    lines += [
        f"trained: {each['training_id']} {each['outcome'] or 'runs'} {each['version'] or ''}".rstrip()
        for each in report["trainings"]
    ]
    return "\n".join(lines)


def _entry(manifest: Mapping[str, Any], uri: str, trainings: Sequence[TrainingRow]) -> dict[str, Any]:
    body = manifest.get("body") or {}
    return {
        "dataset_id": manifest["dataset_id"],
        "uri": uri,
        "project": body.get("project"),
        "title": manifest.get("title"),
        "policy": body.get("policy"),
        "created_at": str(manifest["created_at"]),
        "parent": manifest.get("parent"),
        "schema_version": body.get("schema_version"),
        "counts": manifest.get("counts") or (_counts(uri) if body else {"tasks": None, "labels": None}),
        "forgotten": len(manifest.get("forgotten") or ()),
        "trainings": [
            {"training_id": row.training_id, "outcome": row.outcome, "version": row.candidate} for row in trainings
        ],
        "problem": manifest.get("problem"),
    }


def _counts(uri: str) -> dict[str, int]:
    """The counts of a version whose manifest has none: those of the first schema."""
    import pyarrow.parquet as pq

    counts = {}
    for name in ("tasks", "labels", "regions"):
        with folders.opened_file(uri, f"{name}.parquet") as stream, pq.ParquetFile(stream) as file:
            counts[name] = int(file.metadata.num_rows)
    return counts


def _used_by(store: Store | None) -> dict[str, list[TrainingRow]]:
    used: dict[str, list[TrainingRow]] = {}
    for project in store.projects() if store is not None else ():
        for row in trainings_of(store, project.project_id) if store is not None else ():
            used.setdefault(row.dataset_id, []).append(row)
    return used


def _project_of(manifest: Mapping[str, Any]) -> int | None:
    project = (manifest.get("body") or {}).get("project")
    return project if isinstance(project, int) else None


def _scan(dataset: Dataset, name: str) -> pl.LazyFrame:
    """A table, read column by column; columns that an older version has not got are null."""
    import polars as pl

    from labelloop.datasets import LABELS_SCHEMA

    frame = pl.scan_parquet(dataset.path / f"{name}.parquet")
    if name != "labels":
        return frame
    there = frame.collect_schema().names()
    lacking = [column for column, _ in LABELS_SCHEMA if column not in there]
    return frame.with_columns(pl.lit(None, dtype=pl.String).alias(column) for column in lacking)


def _rows(frame: pl.LazyFrame) -> list[dict[str, Any]]:
    found = frame.collect()
    return found.to_dicts()


def _counted(frame: pl.LazyFrame, column: str, absent: str) -> dict[str, int]:
    import polars as pl

    rows = _rows(frame.group_by(pl.col(column).fill_null(absent)).len().sort("len", column, descending=[True, False]))
    return {str(row[column]): int(row["len"]) for row in rows}


def _classes(body: Mapping[str, Any], regions: pl.LazyFrame, tasks: pl.LazyFrame) -> list[dict[str, Any]]:
    """Every class of the version in order of first appearance, with its objects by split; then those of no class."""
    import polars as pl

    per_split = _rows(
        regions.join(tasks.select("task_id", "split"), on="task_id", how="left")
        .group_by("control", "label", "split")
        .agg(objects=pl.len())
    )
    found: dict[tuple[str, str], dict[str, int]] = {}
    for row in per_split:
        found.setdefault((str(row["control"]), str(row["label"])), {})[str(row["split"])] = int(row["objects"])
    listed = [
        (each["control"], each["name"], each["class_id"], each["retired"]) for each in body.get("class_table") or ()
    ]
    if not listed:
        named = [(control, name) for control, names in (body.get("classes") or {}).items() for name in names]
        listed = [(control, name, None, False) for control, name in named]
    known = {(control, name) for control, name, _, _ in listed}
    listed += [(control, name, None, False) for control, name in sorted(found.keys() - known)]
    return [
        {
            "control": control, "class": name, "class_id": class_id, "retired": retired,
            "objects": sum(found.get((control, name), {}).values()),
            "splits": dict(sorted(found.get((control, name), {}).items())),
        }
        for control, name, class_id, retired in listed
        if not retired or (control, name) in found
    ]  # fmt: skip
