"""Predicting whatever a model does: a failing batch is taken apart, and every task gets an outcome."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from backends.predicting import predict_each
from labelloop.values import Outcome, TaskItem

ITEMS = [TaskItem(number, {}) for number in range(200)]


class Model:
    """A model that cannot bear some tasks, and loses count of batches above a size."""

    classes = ("a",)

    def __init__(self, bad: set[int], most: int = 1000) -> None:
        self.bad = bad
        self.most = most
        self.calls = 0
        self.wants: set[frozenset[str]] = set()

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset({"regions"})) -> list[Outcome]:
        self.calls += 1
        self.wants.add(want)
        if any(task.task_id in self.bad for task in tasks):
            raise ValueError("cannot")
        found = [Outcome(detail=str(task.task_id)) for task in tasks]
        return found if len(tasks) <= self.most else found[1:]


@pytest.mark.parametrize("bad", [set(), {0}, {199}, {7, 8, 150}, set(range(200))])
def test_y6_bad_tasks_cost_no_other_its_outcome(bad: set[int]) -> None:
    found = predict_each(Model(bad), ITEMS)
    assert [outcome.status for outcome in found] == ["error" if n in bad else "ok" for n in range(200)]
    assert all(outcome.detail == str(n) for n, outcome in enumerate(found) if n not in bad)


def test_one_bad_task_costs_few_calls() -> None:
    model = Model({77})
    predict_each(model, ITEMS)
    assert model.calls <= 17


@pytest.mark.parametrize("most", [64, 1, 0])
def test_l8_a_model_that_loses_count_still_gives_n_outcomes(most: int) -> None:
    found = predict_each(Model(set(), most), ITEMS)
    assert [outcome.status for outcome in found] == (["error"] if most == 0 else ["ok"]) * 200


def test_what_is_wanted_is_passed_on_and_no_task_is_no_call() -> None:
    model = Model({1})
    wanted = frozenset({"regions", "probs"})
    predict_each(model, ITEMS[:4], want=wanted)
    assert model.wants == {wanted}
    assert predict_each(Model(set()), []) == []
