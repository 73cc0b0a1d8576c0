"""What a dataset version says of one labelled task, wherever its labels come from: its rows, and its part in the id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from labelloop.datasets import Entries, json_bytes
from labelloop.values import Region
from sync.formats.policies import Candidate, Truth


class Label(Candidate, Protocol):
    """A label with what is known of how it was made."""

    rev_hash: str
    lead_time_s: float | None
    shown: str | None


def note_task(
    entries: Entries,
    task_id: int,
    data: Mapping[str, Any],
    meta: Mapping[str, Any],
    group_key: str,
    role: str,
    labels: Sequence[Label],
    truth: Truth | None,
) -> None:
    """Make a task and its labels part of the version's id: other data, labels, reviews or truths are another version."""
    entries.add_task(task_id, (data, meta, group_key, role))
    for index, label in enumerate(labels):
        agreeing = truth.agreeing if truth is not None and truth.index == index else -1
        entries.add(
            task_id,
            label.annotation_id,
            label.rev_hash,
            (label.annotator, label.at, label.shown, label.reviewed, agreeing),
        )


def task_row(
    task_id: int, data: Mapping[str, Any], meta: Mapping[str, Any], group_key: str, role: str
) -> dict[str, Any]:
    """A row of the version's tasks."""
    return {
        "task_id": task_id,
        "data": json_bytes(data).decode(),
        "meta": json_bytes(meta).decode(),
        "group_key": group_key,
        "role": role,
        "split": "holdout" if role == "holdout" else "train",
    }


def label_rows(
    task_id: int,
    labels: Sequence[Label],
    truth: Truth | None,
    shown_versions: Sequence[tuple[str | None, Sequence[str]]] = (),
    left_out: Sequence[str | None] = (),
) -> list[dict[str, Any]]:
    """The rows of a task's labels.

    `shown_versions` has (model version, rules) behind what each label's person saw, `left_out` why a label could not be the
    truth; neither is needed. Scores that accepted suggestions carry over are left out: a person's region has none.
    """
    able = len(labels) - sum(reason is not None for reason in left_out)
    rows = []
    for index, label in enumerate(labels):
        is_truth = truth is not None and truth.index == index
        agreeing = truth.agreeing if truth is not None and is_truth else None
        version, rules = shown_versions[index] if shown_versions else (label.shown, ())
        rows.append(
            {
                "task_id": task_id,
                "annotation_id": label.annotation_id,
                "annotator": label.annotator,
                "at": label.at,
                "rev_hash": label.rev_hash,
                "lead_time_s": label.lead_time_s,
                "shown_serving_id": label.shown,
                "ground_truth": label.ground_truth,
                "source": "consensus" if agreeing is not None and able > 1 else "person",
                "review_status": label.reviewed,
                "n_labels": able,
                "n_agreeing": agreeing,
                "is_truth": is_truth,
                "result": json_bytes(without_scores(label.result)).decode(),
                "shown_version": version,
                "fired_rules": json_bytes(list(rules)).decode() if rules else None,
                "left_out": left_out[index] if left_out else None,
            }
        )
    return rows


def without_scores(result: list[Region]) -> list[Region]:
    """A person's regions without the scores that accepted suggestions carry over."""
    if not any("score" in region for region in result):
        return result
    return [{key: value for key, value in region.items() if key != "score"} for region in result]
