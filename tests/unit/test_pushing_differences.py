"""What is written to Label Studio is the difference to what it holds: nothing twice, nobody's row for another's fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from labelloop.errors import LeaseLost, ServiceDown, ServiceError
from labelloop.label_studio import HeldPrediction
from sync.pushing import differences, settle

REGION = {"id": "r", "from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["a"]}}


def row(task_id: int, key: float = 0.5, result: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"task_id": task_id, "order_key": key, "result": [REGION] if result is None else result}


class Remote:
    """Label Studio's predictions of one serving id; it may drop rows, lose them or refuse a whole request."""

    def __init__(self, tasks: Sequence[int]) -> None:
        self.held: dict[int, list[HeldPrediction]] = {task: [] for task in tasks}
        self.drops: Callable[[dict[str, Any]], bool] = lambda _row: False
        self.refuses: Callable[[dict[str, Any]], bool] = lambda _row: False
        self.loses_once: set[int] = set()
        self.requests = 0
        self._ids = 100

    def add(self, task: int, result: list[dict[str, Any]], score: float) -> int:
        self._ids += 1
        self.held[task].append(HeldPrediction(self._ids, task, score, result))
        return self._ids

    def predictions_held(self, project_id: int, serving_id: str, lo: int, hi: int) -> dict[int, Any]:
        return {task: tuple(rows) for task, rows in self.held.items() if lo <= task <= hi}

    def push_predictions(self, project_id: int, rows: Sequence[dict[str, Any]]) -> int:
        self.requests += 1
        if any(self.refuses(each) for each in rows):
            raise ServiceError("refused", 400)
        made = 0
        for each in rows:
            assert each["model_version"] == "v-r1"
            if each["task"] not in self.held:
                raise ServiceError("no such task", 400)
            if self.drops(each) or each["task"] in self.loses_once:
                self.loses_once.discard(each["task"])
                continue
            self.add(each["task"], each["result"], each["score"])
            made += 1
        if made != len(rows):
            raise ServiceError(f"sent {len(rows)}, made {made}")
        return made

    def update_prediction(self, prediction_id: int, result: list[dict[str, Any]], score: float) -> None:
        for rows in self.held.values():
            for index, held in enumerate(rows):
                if held.prediction_id == prediction_id:
                    rows[index] = HeldPrediction(prediction_id, held.task_id, score, result)
                    return
        raise ServiceError("gone", 404)

    def delete_prediction(self, prediction_id: int) -> None:
        for rows in self.held.values():
            rows[:] = [held for held in rows if held.prediction_id != prediction_id]


def settled(remote: Remote, rows: Sequence[dict[str, Any]], refused: list[int] | None = None) -> int:
    told: list[int] = [] if refused is None else refused
    return settle(remote, 1, "v-r1", rows, (1, 99), lambda: None, told.extend)  # type: ignore[arg-type]


def as_told(remote: Remote) -> dict[int, list[tuple[float | None, list[dict[str, Any]]]]]:
    return {task: [(held.score, held.result) for held in rows] for task, rows in remote.held.items()}


def test_only_the_difference_is_written_and_the_oldest_prediction_stays() -> None:
    remote = Remote([1, 2, 3, 4])
    remote.add(1, [REGION], 0.5)
    kept = remote.add(2, [], 0.5)  # an empty live answer
    remote.add(3, [REGION], 0.5)
    remote.add(3, [], 0.2)
    rows = [row(task) for task in (1, 2, 3, 4, 5)]  # 5 is gone from Label Studio
    found = differences(rows, remote.predictions_held(1, "v-r1", 1, 99))
    assert [each["task_id"] for each in found.missing] == [4]
    assert [(held.prediction_id, each["task_id"]) for held, each in found.stale] == [(kept, 2)]
    assert [(held.task_id, held.score) for held in found.doubles] == [(3, 0.2)]
    assert settled(remote, rows) == 3
    assert as_told(remote) == {task: [(0.5, [REGION])] for task in (1, 2, 3, 4)}
    assert remote.held[2][0].prediction_id == kept
    assert settled(remote, rows) == 0 and remote.requests == 1


def test_rows_that_were_lost_without_a_word_are_sent_again_alone() -> None:
    remote = Remote(range(1, 21))
    remote.loses_once = {3, 4}
    refused: list[int] = []
    assert settled(remote, [row(task) for task in range(1, 21)], refused) == 20
    assert as_told(remote) == {task: [(0.5, [REGION])] for task in range(1, 21)} and refused == []


def test_rows_that_are_dropped_every_time_keep_their_place_without_regions() -> None:
    remote = Remote(range(1, 21))
    remote.drops = lambda each: each["task"] in (3, 4) and bool(each["result"])
    refused: list[int] = []
    settled(remote, [row(task) for task in range(1, 21)], refused)
    assert refused == [3, 4]
    told = as_told(remote)
    assert told.pop(3) == told.pop(4) == [(0.5, [])]
    assert set(map(str, told.values())) == {str([(0.5, [REGION])])} and len(told) == 18


def test_a_row_that_fails_a_whole_request_costs_no_other_its_prediction() -> None:
    remote = Remote(range(1, 65))
    remote.refuses = lambda each: each["task"] == 7 and bool(each["result"])
    refused: list[int] = []
    settled(remote, [row(task) for task in range(1, 65)], refused)
    assert refused == [7]
    assert {len(rows) for rows in remote.held.values()} == {1}
    assert [task for task, rows in remote.held.items() if not rows[0].result] == [7]
    assert remote.requests < 40


def test_what_is_no_matter_of_a_row_is_raised_at_once() -> None:
    for error in (ServiceDown("away"), ServiceError("not yours", 403), ServiceError("broken", 500)):
        remote = Remote([1])

        def fails(*_: object, error: ServiceError = error) -> bool:
            raise error

        remote.refuses = fails
        with pytest.raises(ServiceError) as raised:
            settled(remote, [row(1)])
        assert raised.value is error and remote.held == {1: []}


def test_nothing_is_written_once_the_lease_is_lost() -> None:
    remote = Remote([1, 2])
    remote.add(2, [], 0.1)

    def lost() -> None:
        raise LeaseLost("another worker has it")

    with pytest.raises(LeaseLost):
        settle(remote, 1, "v-r1", [row(1), row(2)], (1, 9), lost, lambda _ids: None)  # type: ignore[arg-type]
    assert remote.requests == 0 and as_told(remote) == {1: [], 2: [(0.1, [])]}


def test_a_row_that_is_never_taken_ends_with_an_error() -> None:
    remote = Remote([1, 2])
    remote.drops = lambda each: each["task"] == 2
    with pytest.raises(ServiceError, match="did not take 1 predictions of v-r1 for tasks 1 to 99"):
        settled(remote, [row(1), row(2)])
    assert as_told(remote)[1] == [(0.5, [REGION])]
