"""How far single answers to a task agree with one another, over all controls that can be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labelloop.label_config import LabelConfig
from labelloop.values import Region
from qa.agreement.counting import Labels, said_under
from qa.kinds.registry import measurable


@dataclass(frozen=True)
class Answer:
    """What somebody said of a task. `key` tells the answers to one task apart; `data` is the task's."""

    task_id: int
    key: int
    result: Sequence[Region]
    data: Mapping[str, Any] = field(default_factory=dict)


#: (smaller key, larger key) -> score in [0, 1]
Scores = Mapping[tuple[int, int], float]


@dataclass(frozen=True)
class Compared:
    """The scores of every two answers by task, and of whom an answer says that he could not tell: (task, key).

    Two answers of which nothing can be compared have no score.
    """

    scores: Mapping[int, Scores]
    unsure: frozenset[tuple[int, int]]

    def of(self, task_id: int) -> Scores:
        """The scores within a task."""
        return self.scores.get(task_id, {})


def compare_answers(answers: Sequence[Answer], config: LabelConfig) -> Compared:
    """Compare every two answers to a task: the mean of the scores under each control that either said something about."""
    ordered = sorted(answers, key=lambda answer: (answer.task_id, answer.key))
    task = np.array([answer.task_id for answer in ordered], dtype=np.int64)
    key = np.array([answer.key for answer in ordered], dtype=np.int64)
    nothing = np.zeros(len(ordered), dtype=np.int64)
    data = {answer.task_id: answer.data for answer in ordered}
    labels = Labels(task, key, key, nothing - 1, nothing, (), [list(answer.result) for answer in ordered], data)
    sums: dict[tuple[int, int, int], tuple[float, int]] = {}
    unsure: set[tuple[int, int]] = set()
    for control, kind in measurable(config) if ordered else []:
        said = said_under(labels, control, kind)
        unsure |= {(int(task[place]), int(key[place])) for place in said.unsure}
        pairs = kind.compare(said.readings).pairs.select("left", "right", "score").drop_nulls()
        for left, right, score in pairs.iter_rows():
            first, second = sorted((int(key[said.place[left]]), int(key[said.place[right]])))
            pair = (int(task[said.place[left]]), first, second)
            total, n = sums.get(pair, (0.0, 0))
            sums[pair] = (total + score, n + 1)
    scores: dict[int, dict[tuple[int, int], float]] = {}
    for (task_id, first, second), (total, n) in sums.items():
        scores.setdefault(task_id, {})[first, second] = total / n
    return Compared(scores, frozenset(unsure))


def same_content(first: Sequence[Region], second: Sequence[Region]) -> bool:
    """Whether two answers say exactly the same, in whatever order, whoever drew it and however sure a model was."""
    return sorted(map(_content, first)) == sorted(map(_content, second))


def _content(region: Region) -> str:
    import orjson

    kept = {name: region.get(name) for name in ("from_name", "to_name", "type", "value")}
    if region.get("type") == "relation":
        kept |= {name: region.get(name) for name in ("from_id", "to_id", "direction", "labels")}
    if isinstance(kept["value"], Mapping):
        # Orders of clicking, and whole numbers that a browser writes back without their point.
        kept["value"] = {name: _plain(name, value) for name, value in kept["value"].items()}
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS).decode()


def _plain(name: str, value: Any) -> Any:
    if name in ("choices", "taxonomy") and isinstance(value, list):
        return sorted(map(str, value))
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
