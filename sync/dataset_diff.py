"""What is different between two dataset versions: tasks, labels by whom and of which class, truths, config and classes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from labelloop.datasets import Dataset, json_bytes
from labelloop.values import Region
from sync.region_changes import RegionChange, in_words, region_changes

if TYPE_CHECKING:
    import polars as pl

#: (task id, annotation id)
LabelId = tuple[int, int]
_CHANGES = ("added", "changed", "removed")


def diff_versions(old: Dataset, new: Dataset, limit: int = 100) -> dict[str, Any]:
    """The differences as plain JSON values; the first `limit` labels and tasks are named, all are counted.

    A label is known by its annotation, and changed when its content is. Versions of different schemas may be compared.
    """
    joined = _joined(old, new)
    differing = joined.filter(joined["change"].is_not_null() | joined["truth_moved"])
    named = {(row["task_id"], row["annotation_id"]): row for row in differing.iter_rows(named=True)}
    changes, classes, reclassified = _looked_into(old, new, named, limit)
    by_annotator: dict[int | None, Counter[str]] = defaultdict(Counter)
    labels: Counter[str] = Counter()
    for row in named.values():
        if row["change"]:
            labels[row["change"]] += 1
            by_annotator[row["annotator"]][row["change"]] += 1
    return {
        "old": _version(old),
        "new": _version(new),
        "tasks": _tasks(old, new, limit),
        "labels": {
            **{kind: labels[kind] for kind in _CHANGES},
            "same": len(joined) - labels.total(),
            "truth_moved": sum(1 for row in named.values() if row["truth_moved"]),
        },
        "by_annotator": [
            {"annotator": who, **{kind: found[kind] for kind in _CHANGES}}
            for who, found in sorted(by_annotator.items(), key=lambda each: (each[0] is None, each[0] or 0))
        ],
        "by_class": [
            {"control": control, "class": name, "added": found["added"], "removed": found["removed"]}
            for (control, name), found in sorted(classes.items())
        ],
        "reclassified": [
            {"control": control, "from": before, "to": after, "objects": count}
            for (control, before, after), count in sorted(reclassified.items())
        ],
        "config": _config(old, new),
        "classes": _classes(old, new),
        "changes": changes,
    }


def diff_text(report: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    tasks, labels = report["tasks"], report["labels"]
    lines = [
        f"{report['old']['dataset_id']} ({report['old']['created_at'][:19]}) -> "
        f"{report['new']['dataset_id']} ({report['new']['created_at'][:19]})",
        f"tasks: {tasks['added']} added, {tasks['removed']} removed, {tasks['changed']} with other data, "
        f"{tasks['moved']} in another split",
        f"labels: {labels['added']} added, {labels['changed']} changed, {labels['removed']} removed, "
        f"{labels['same']} the same; {labels['truth_moved']} of these became or ceased to be the truth",
    ]
    for row in report["by_annotator"]:
        who = f"person {row['annotator']}" if row["annotator"] is not None else "unknown"
        lines.append(f"  {who}: {row['added']} added, {row['changed']} changed, {row['removed']} removed")
    for row in report["by_class"]:
        lines.append(f"  {row['control']}/{row['class']}: {row['added']} objects added, {row['removed']} removed")
    for row in report["reclassified"]:
        lines.append(f"  {row['control']}: {row['from']} became {row['to']} on {row['objects']} objects")
    config, classes = report["config"], report["classes"]
    if config["changed"]:
        parts = [f"controls {key} {', '.join(config[key])}" for key in ("added", "removed") if config[key]]
        lines.append("label config: changed" + (f"; {'; '.join(parts)}" if parts else ""))
    for key in ("added", "retired", "returned"):
        lines += [f"class {key}: {each['control']}/{each['class']}" for each in classes[key]]
    lines += [f"class renamed: {each['control']}/{each['from']} is {each['to']} now" for each in classes["renamed"]]
    lines += [
        f"class {'merged' if len(each['into']) == 1 else 'split'}: {each['control']}/{each['class']} into "
        + ", ".join(each["into"])
        for each in classes["went"]
    ]
    for each in report["changes"]:
        by = f"person {each['annotator']}" if each["annotator"] is not None else "unknown"
        lines.append(f"  task {each['task_id']}, annotation {each['annotation_id']} by {by}: {each['words']}")
    told = len(report["changes"])
    wanted = labels["added"] + labels["changed"] + labels["removed"] + labels["truth_moved"]
    if wanted > told:
        lines.append(f"  and more: {told} of {wanted} are named; --limit names others, --json all that are named")
    return "\n".join(lines)


def _version(dataset: Dataset) -> dict[str, Any]:
    body = dataset.manifest["body"]
    return {
        "dataset_id": dataset.dataset_id,
        "created_at": str(dataset.manifest["created_at"]),
        "project": body.get("project"),
        "policy": body.get("policy"),
        "filters": body.get("filters") or {},
        "schema_version": body.get("schema_version"),
    }


# -- labels -----------------------------------------------------------------------------------------------------------


def _joined(old: Dataset, new: Dataset) -> pl.DataFrame:
    """Every label of both by its id, with `change` (null for none) and whether it alone became or ceased to be the truth."""
    import polars as pl

    keys = ["task_id", "annotation_id"]
    columns = [*keys, "rev_hash", "annotator", "is_truth"]
    one, other = (pl.scan_parquet(each.path / "labels.parquet").select(columns).collect() for each in (old, new))
    both = one.join(other, on=keys, how="full", coalesce=True, suffix="_new").sort(keys)
    change = (
        pl.when(pl.col("rev_hash").is_null())
        .then(pl.lit("added"))
        .when(pl.col("rev_hash_new").is_null())
        .then(pl.lit("removed"))
        .when(pl.col("rev_hash") != pl.col("rev_hash_new"))
        .then(pl.lit("changed"))
    )
    whose = pl.coalesce("annotator_new", "annotator").alias("annotator")
    moved = (pl.col("is_truth") != pl.col("is_truth_new")).fill_null(False)
    return both.select(*keys, whose, change.alias("change"), pl.col("is_truth_new"), moved.alias("moved")).with_columns(
        (pl.col("moved") & pl.col("change").is_null()).alias("truth_moved")
    )


def _looked_into(
    old: Dataset, new: Dataset, named: Mapping[LabelId, Mapping[str, Any]], limit: int
) -> tuple[list[dict[str, Any]], dict[tuple[str, str], Counter[str]], Counter[tuple[str, str, str]]]:
    """The first changes in words; objects added and removed by (control, class); and those that changed their class."""
    of_kind = {kind: {key for key, row in named.items() if row["change"] == kind} for kind in _CHANGES}
    first = list(named)[:limit]
    told: dict[LabelId, list[RegionChange]] = {key: [] for key in first}
    classes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    reclassified: Counter[tuple[str, str, str]] = Counter()

    def note(key: LabelId, changes: list[RegionChange]) -> None:
        for change in changes:
            for name in set(change.after) - set(change.before):
                classes[change.control, name]["added"] += 1
            for name in set(change.before) - set(change.after):
                classes[change.control, name]["removed"] += 1
            if change.kind == "reclassified":
                pair = (" and ".join(change.before) or "no class", " and ".join(change.after) or "no class")
                reclassified[change.control, *pair] += 1
        if key in told:
            told[key] = changes

    before = dict(_results(old, of_kind["changed"]))
    for key, result in _results(new, of_kind["added"] | of_kind["changed"]):
        note(key, region_changes(before.get(key, []), result))
    for key, result in _results(old, of_kind["removed"]):
        note(key, region_changes(result, []))
    return [_told(named[key], told[key]) for key in first], classes, reclassified


def _told(row: Mapping[str, Any], changes: list[RegionChange]) -> dict[str, Any]:
    kind = row["change"] or "truth"
    truth = "is the truth now" if row["is_truth_new"] else "is the truth no longer"
    words = {"added": "added", "removed": "removed", "changed": in_words(changes), "truth": truth}[kind]
    carried = Counter(name for change in changes for name in (change.after or change.before))
    if kind in ("added", "removed") and carried:
        words += ": " + ", ".join(f"{count} x {name}" for name, count in carried.items())
    return {
        "task_id": row["task_id"],
        "annotation_id": row["annotation_id"],
        "annotator": row["annotator"],
        "change": kind,
        "words": words,
        "regions": [change.to_json() for change in changes],
    }


def _results(dataset: Dataset, wanted: set[LabelId]) -> Iterator[tuple[LabelId, list[Region]]]:
    """The results of some labels, row group by row group."""
    import pyarrow.parquet as pq

    if not wanted:
        return
    with pq.ParquetFile(dataset.path / "labels.parquet") as file:
        for batch in file.iter_batches(batch_size=1000, columns=["task_id", "annotation_id", "result"]):
            for row in batch.to_pylist():
                key = (row["task_id"], row["annotation_id"])
                if key in wanted:
                    yield key, orjson.loads(row["result"])


# -- tasks ------------------------------------------------------------------------------------------------------------


def _tasks(old: Dataset, new: Dataset, limit: int) -> dict[str, Any]:
    import polars as pl

    gone = old.forgotten | new.forgotten
    both = _task_facts(old).join(_task_facts(new), on="task_id", how="full", coalesce=True, suffix="_new")
    added, removed = pl.col("split").is_null(), pl.col("split_new").is_null()
    there = ~added & ~removed
    where = {
        "added": added, "removed": removed, "changed": there & (pl.col("data") != pl.col("data_new")),
        "moved": there & (pl.col("split") != pl.col("split_new")),
    }  # fmt: skip
    ids = {name: both.filter(meant)["task_id"].sort().to_list() for name, meant in where.items()}
    ids["changed"] = [task_id for task_id in ids["changed"] if task_id not in gone]
    return {
        **{name: len(found) for name, found in ids.items()},
        "forgotten": len(gone),
        "ids": {name: found[:limit] for name, found in ids.items()},
    }


def _task_facts(dataset: Dataset) -> pl.DataFrame:
    """task_id, split, and a number that two tasks with the same data share."""
    import hashlib

    import polars as pl
    import pyarrow.parquet as pq

    ids: list[int] = []
    splits: list[str] = []
    data: list[int] = []
    with pq.ParquetFile(dataset.path / "tasks.parquet") as file:
        for batch in file.iter_batches(batch_size=1000, columns=["task_id", "split", "data"]):
            ids += batch.column(0).to_pylist()
            splits += batch.column(1).to_pylist()
            for text in batch.column(2).to_pylist():
                content = json_bytes(orjson.loads(text))
                data.append(int.from_bytes(hashlib.sha256(content).digest()[:8], "big", signed=True))
    return pl.DataFrame(
        {"task_id": ids, "split": splits, "data": data},
        schema={"task_id": pl.Int64, "split": pl.String, "data": pl.Int64},
    )


# -- config and classes -----------------------------------------------------------------------------------------------


def _config(old: Dataset, new: Dataset) -> dict[str, Any]:
    before, after = ([c.name for c in each.label_config.controls] for each in (old, new))
    return {
        "changed": old.manifest["body"]["label_config"] != new.manifest["body"]["label_config"],
        "added": [name for name in after if name not in before],
        "removed": [name for name in before if name not in after],
    }


def _classes(old: Dataset, new: Dataset) -> dict[str, Any]:
    """By id where both versions have a class table, else by name."""
    before, after = _table(old), _table(new)
    told: dict[str, list[dict[str, Any]]] = {"added": [], "retired": [], "returned": [], "renamed": [], "went": []}
    for key, entry in after.items():
        was = before.get(key)
        about = {"control": entry["control"], "class": entry["name"]}
        if was is None:
            told["added"].append(about)
            continue
        if was["name"] != entry["name"]:
            told["renamed"].append({"control": entry["control"], "from": was["name"], "to": entry["name"]})
        if entry["became"] and not was["became"]:
            into = [after[entry["control"], class_id]["name"] for class_id in entry["became"]]
            told["went"].append({**about, "into": into})
        elif entry["retired"] != was["retired"]:
            told["retired" if entry["retired"] else "returned"].append(about)
    told["retired"] += [
        {"control": entry["control"], "class": entry["name"]}
        for key, entry in before.items()
        if key not in after and not entry["retired"]
    ]
    return told


def _table(dataset: Dataset) -> dict[tuple[str, Any], Mapping[str, Any]]:
    body = dataset.manifest["body"]
    table = body.get("class_table")
    if table is not None:
        return {(each["control"], each["class_id"]): each for each in table}
    return {
        (control, class_id): {"control": control, "name": name, "retired": False, "became": None}
        for control, names in (body.get("classes") or {}).items()
        for class_id, name in enumerate(names)
    }
