"""The labelled tasks of a dataset version as the rules see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

from backends.choice_regions import chosen_classes
from backends.rules.artefact import RuleSet
from backends.rules.converters.labels import labelled_spans
from backends.rules.items import Truth
from labelloop.datasets import Dataset
from labelloop.values import Region, TaskItem


@dataclass(frozen=True)
class Labelled:
    """A task, and what is true of it for each control by name; None where nobody said."""

    task: TaskItem
    truths: Mapping[str, Truth | None]


def truth_for(rules: RuleSet, data: Mapping[str, Any], result: Sequence[Region] | None) -> Truth | None:
    """What a Label Studio result says of one control: its labels or spans; None where it says nothing.

    A label without any span, or without any of several choices, says that there is none; one without the one choice
    leaves it open.
    """
    if result is None:
        return None
    control = rules.control
    if rules.voters.spans:
        text = data.get(control.data_key)
        if not isinstance(text, str):
            return None
        spans = labelled_spans(text, result, control.classes, control.name)
        return frozenset((span.start, span.end, span.label) for span in spans)
    chosen = chosen_classes(result, control.classes, control.name)
    if rules.voters.several:
        return frozenset(chosen)
    return frozenset(chosen[:1]) if chosen else None


def read_split(dataset: Dataset, sets: Sequence[RuleSet], split: str) -> list[Labelled]:
    """The tasks of a split in the order of their ids, also those without a label."""
    results = {task_id: result for task_id, _, result in dataset.truth(split)}
    found = []
    for row in dataset.tasks.filter(pl.col("split") == split).sort("task_id").to_dicts():
        task_id, data = row["task_id"], orjson.loads(row["data"])
        task = TaskItem(task_id, data, dataset.media(task_id, data), orjson.loads(row.get("meta") or "{}"))
        truths = {each.control.name: truth_for(each, data, results.get(task_id)) for each in sets}
        found.append(Labelled(task, truths))
    return found
