"""A dataset version from a stock Label Studio export and its label config, without a server."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson
import polars as pl

from labelloop.collecting import cycles_uncollected
from labelloop.datasets import SCHEMA_VERSION, Dataset, read_dataset, write_dataset
from labelloop.errors import DataError, NotReady, UsageError
from labelloop.export_files import ExportFile, read_export
from labelloop.label_config import Control, LabelConfig, parse_label_config

Policy = Literal["latest", "majority"]
POLICIES: tuple[Policy, ...] = ("latest", "majority")


@cycles_uncollected()
def dataset_from_export(export: Path, config: Path, folder: Path, policy: Policy = "latest") -> Dataset:
    """Write the dataset version of an export file into `folder` and open it.

    People's submitted labels count, the latest of each person. Truth of a task: the newest label ("latest"; of
    two at one time the higher annotation id), or the newest of those with the choices that most people made
    ("majority"; controls other than choices do not vote). NotReady when nobody labelled anything.
    """
    if policy not in POLICIES:
        raise UsageError(f"expected one of {list(POLICIES)} as the policy, got {policy!r}")
    try:
        xml = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{config} is no readable label config: {error}") from error
    parsed, read = parse_label_config(xml), read_export(export)
    labels = current_labels(read)
    if labels.is_empty():
        raise NotReady(f"{export} has no submitted label of a person; label some tasks first, or check the file")
    rows = labels.to_dicts()
    truth = truth_of(rows, parsed, policy)
    body = _body(parsed, rows, policy)
    write_dataset(
        folder,
        body,
        _task_rows(read, {row["task_id"] for row in rows}),
        [_label_row(row, row["annotation_id"] in truth) for row in rows],
        None,
        datetime.now(UTC).isoformat(),
    )
    return read_dataset(folder)


def current_labels(export: ExportFile) -> pl.DataFrame:
    """The latest submitted label of each person and task; labels without a known person all stay."""
    labels = export.people_labels().lazy().sort("at", "annotation_id")
    known = labels.filter(pl.col("annotator").is_not_null())
    latest = known.unique(["task_id", "annotator"], keep="last", maintain_order=True)
    both = pl.concat([latest, labels.filter(pl.col("annotator").is_null())])
    return both.sort("task_id", "annotation_id").collect()


def truth_of(rows: list[dict[str, Any]], config: LabelConfig, policy: Policy) -> set[int]:
    """Annotation ids of the label that counts as each task's truth."""
    by_task: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_task.setdefault(row["task_id"], []).append(row)
    voting = _voting_controls(config) if policy == "majority" else []
    return {_winner(found, voting)["annotation_id"] for found in by_task.values()}


def _winner(rows: list[dict[str, Any]], voting: list[Control]) -> dict[str, Any]:
    def newest(candidates: list[dict[str, Any]]) -> dict[str, Any]:
        return max(candidates, key=lambda row: (row["at"], row["annotation_id"]))

    if not voting:
        return newest(rows)
    votes = [_vote(row, voting) for row in rows]
    most = max(Counter(votes).values())
    ahead = {vote for vote, count in Counter(votes).items() if count == most}
    return newest([row for row, vote in zip(rows, votes, strict=True) if vote in ahead])


def _vote(row: dict[str, Any], voting: list[Control]) -> tuple[tuple[str, ...], ...]:
    result = orjson.loads(row["result"])
    return tuple(
        tuple(
            sorted(
                str(label)
                for region in result
                if region.get("from_name") == control.name
                for label in (region.get("value") or {}).get(control.value_key) or []
            )
        )
        for control in voting
    )


def _voting_controls(config: LabelConfig) -> list[Control]:
    return [c for c in config.controls if c.tag == "Choices" and c.attributes.get("perRegion", "").lower() != "true"]


def _body(config: LabelConfig, rows: list[dict[str, Any]], policy: Policy) -> dict[str, Any]:
    options = {}
    if policy == "majority":
        options = {"voting_controls": [c.name for c in _voting_controls(config)], "other_controls": "latest"}
    return {
        "schema_version": SCHEMA_VERSION,
        "project": None,
        "entries": sorted([row["task_id"], row["annotation_id"], row["rev_hash"]] for row in rows),
        "label_config": config.xml,
        "config_hash": hashlib.sha256(config.xml.encode()).hexdigest(),
        "classes": {control.name: list(control.classes) for control in config.controls},
        "filters": {"states": ["submitted"], "kinds": ["human"]},
        "policy": policy,
        "split": {"train": "all"},
        "options": options,
    }


def _task_rows(export: ExportFile, labelled: set[int]) -> list[dict[str, Any]]:
    return [
        {
            "task_id": row["task_id"],
            "data": row["data"],
            "group_key": _content_hash(row["data"]),
            "role": "pool",
            "split": "train",
        }
        for row in export.tasks.to_dicts()
        if row["task_id"] in labelled
    ]


def _content_hash(data: str) -> str:
    return hashlib.sha256(orjson.dumps(orjson.loads(data), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _label_row(row: dict[str, Any], is_truth: bool) -> dict[str, Any]:
    return {
        "task_id": row["task_id"],
        "annotation_id": row["annotation_id"],
        "annotator": row["annotator"],
        "at": row["at"],
        "rev_hash": row["rev_hash"],
        "lead_time_s": row["lead_time_s"],
        "shown_serving_id": row["shown"],
        "is_truth": is_truth,
        "result": _without_scores(row["result"]),
    }


def _without_scores(result: str) -> str:
    """The regions without their scores: an accepted suggestion carries its own over, a person's label has none."""
    if '"score"' not in result:
        return result
    regions = orjson.loads(result)
    return orjson.dumps(
        [{key: value for key, value in region.items() if key != "score"} for region in regions]
    ).decode()
