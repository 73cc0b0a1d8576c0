"""The demo's judge, on cases counted by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from labelloop.demo.checks import expected_trainings, kendall_tau, project_checks, wait_for

START = datetime(2026, 1, 1, tzinfo=UTC)
Training = tuple[datetime, datetime | None, int]


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def each_second(n: int) -> list[datetime]:
    return [at(i + 1) for i in range(n)]


CASES: list[tuple[str, list[datetime], list[Training], int]] = [
    ("no label", [], [], 0),
    ("one label too few", each_second(9), [], 0),
    ("just enough", each_second(10), [(at(10), at(12), 10)], 1),
    ("enough, and none came", each_second(10), [], 1),
    ("two steps, the second frozen with what came meanwhile", each_second(30), [(at(10), at(14), 12), (at(22), at(25), 24)], 2),
    ("labels of a long training's time start the next one", each_second(25), [(at(10), at(40), 10), (at(40), at(50), 25)], 2),
    ("the first one never ended", each_second(50), [(at(10), None, 10)], 1),
    ("the second one is missing", each_second(50), [(at(10), at(12), 10)], 2),
    ("one training over all labels leaves nothing for a second", each_second(29), [(at(10), at(29), 29)], 1),
]  # fmt: skip


@pytest.mark.parametrize(("times", "trainings", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_expected_trainings(times: list[datetime], trainings: list[Training], expected: int) -> None:
    assert expected_trainings(times, trainings, 10, at(1000)) == expected
    assert expected_trainings(list(reversed(times)), trainings, 10, at(1000)) == expected


def test_what_was_due_after_the_end_is_not_expected() -> None:
    times = each_second(20)
    assert expected_trainings(times, [(at(10), at(12), 10)], 10, at(19)) == 1
    assert expected_trainings(times, [(at(10), at(12), 10)], 10, at(20)) == 2
    assert expected_trainings(times, [(at(10), at(19.5), 10)], 10, at(19)) == 1


@pytest.mark.parametrize(
    ("places", "tau"),
    [
        ([], None), ([0.1], None), ([0.1, 0.2, 0.3], 1.0), ([0.3, 0.2, 0.1], -1.0),
        ([0.1, 0.3, 0.2], 1 / 3), ([0.1, 0.1, 0.2], 2 / 3), ([0.5, 0.5], 0.0),
    ],
)  # fmt: skip
def test_kendall_tau(places: list[float], tau: float | None) -> None:
    found = kendall_tau(places)
    assert found == (None if tau is None else pytest.approx(tau))


GOOD = {
    "holdout_metric": {"name": "f1", "first": 0.5, "last": 0.9, "baseline": 0.2},
    "next_order_kendall_tau": 1.0, "unlabelled": 5, "unlabelled_with_prediction": 5, "served_version": "v2",
    "store_served_version": "v2", "store_labels": 40, "label_studio_labels": 40, "differing_labels": 0, "trainings": 2,
    "trainings_expected": 2, "exported": {"items": 30}, "labelled_tasks": 30, "agreement": {"value": 0.8},
    "webhooks_received": 3, "hidden_with_suggestion": 0,
}  # fmt: skip


def failed(**changes: object) -> list[str]:
    return [c["name"] for c in project_checks(GOOD | changes, 0.8, 0.1) if not c["ok"]]


def test_a_good_run_passes_every_check() -> None:
    assert failed() == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"trainings": 3}, "trainings"),
        ({"trainings": 0, "trainings_expected": 0}, "trainings"),
        ({"store_labels": 39}, "labels in the store"),
        ({"differing_labels": 1}, "same labels"),
        ({"served_version": None, "store_served_version": None}, "served version"),
        ({"next_order_kendall_tau": None}, "served order, Kendall tau"),
        ({"unlabelled_with_prediction": 4}, "tasks with a prediction"),
        ({"agreement": {"value": None}}, "agreement"),
        ({"webhooks_received": 0}, "webhooks"),
        ({"hidden_with_suggestion": 1}, "holdout and blind tasks that show a suggestion"),
        ({"exported": {"items": 29}}, "exported items"),
    ],
)
def test_one_fault_fails_one_check(changes: dict[str, object], name: str) -> None:
    assert failed(**changes) == [name]


def test_a_model_that_learned_nothing_fails() -> None:
    lucky = {"name": "f1", "first": 0.89, "last": 0.9, "baseline": 0.85}
    assert failed(holdout_metric=lucky) == ["learning is real", "f1 above the baseline"]
    unknown = {"name": "f1", "first": None, "last": None, "baseline": None}
    assert failed(holdout_metric=unknown) == ["f1 of the last version", "learning is real", "f1 above the baseline"]


def test_waiting_ends_when_the_condition_holds_or_time_is_over() -> None:
    pauses: list[float] = []
    answers = iter([False, False, True])
    assert wait_for(lambda: next(answers), 10, pauses.append, 0.5) and pauses == [0.5, 0.5]
    assert not wait_for(lambda: False, 2, pauses.append, 1.0) and len(pauses) == 4
