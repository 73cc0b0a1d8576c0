"""How tasks of concurrent requests reach a model: together, in turn, within their time, and each with its own outcome."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from backend_bench import Asking, Bench, HeldModel, Model, reasons, request_of, span, task, until

from backends.batching import BATCH_SIZE, FIRST_BATCH, ModelQueue
from backends.gathering import Gathering
from backends.turns import Turns
from labelloop.values import Outcome, TaskItem


def gathering(count: int, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> Gathering:
    return Gathering(count, clock() + seconds, clock)


def items(*ids: int) -> list[tuple[int, TaskItem]]:
    return [(place, TaskItem(task_id, {})) for place, task_id in enumerate(ids)]


def warmed(model: Model, **options: float) -> ModelQueue:
    """A queue that knows its model to be fast, so that a batch may be of any size."""
    queue = ModelQueue(model, clock=lambda: 0.0, **options)  # type: ignore[arg-type]
    first = gathering(1)
    queue.add(first, items(0))
    first.close()
    model.asked.clear()
    return queue


# -- together ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Bench, HeldModel]]:
    """A served model that waits in each batch; its queue has seen one batch."""
    bench = Bench(tmp_path, clock=lambda: 0.0)
    model = HeldModel()
    bench.model = model
    bench.serve(*range(1, 400))
    model.release(1)
    bench.results(request_of(task(399)))
    model.wait_inside()
    model.asked.clear()
    yield bench, model
    model.release()
    bench.close()


def waiting(bench: Bench) -> int:
    current = bench.models.current(3)
    assert current is not None
    return current[1].queue.waiting


def test_tasks_of_concurrent_requests_go_through_the_model_together(held: tuple[Bench, HeldModel]) -> None:
    bench, model = held
    first = Asking(lambda: bench.results(request_of(task(1))))
    model.wait_inside()
    others = [Asking(lambda n=n: bench.results(request_of(task(n), task(n + 1)))) for n in (10, 20, 30)]  # type: ignore[misc]
    until(lambda: waiting(bench) == 6)
    model.release()
    assert reasons(first.result()) == ["ok"]
    assert [reasons(each.result()) for each in others] == [["ok", "ok"]] * 3
    assert model.asked_ids[0] == [1]
    assert sorted(model.asked_ids[1]) == [10, 11, 20, 21, 30, 31]  # type: ignore[type-var]
    assert len(model.asked) == 2


def test_a_lone_request_waits_for_nobody(held: tuple[Bench, HeldModel]) -> None:
    bench, model = held
    asking = Asking(lambda: bench.results(request_of(task(1))))
    model.wait_inside()  # nothing else was asked, and no clock was moved
    model.release()
    assert reasons(asking.result()) == ["ok"]


def test_a_small_request_is_not_held_up_by_a_large_one() -> None:
    model = HeldModel()
    model.batch_size = 4  # type: ignore[attr-defined]
    queue = ModelQueue(model, clock=lambda: 0.0)
    large, small = gathering(40), gathering(1)
    queue.add(large, items(*range(100, 140)))
    model.wait_inside()
    queue.add(small, items(7))
    model.release(2)
    assert [outcome.status for outcome in small.close()] == ["ok"]
    assert 7 in model.asked_ids[1]
    model.release()
    assert len(large.close()) == 40


def test_one_requests_bad_task_never_harms_another(held: tuple[Bench, HeldModel]) -> None:
    bench, model = held

    def outcome(item: TaskItem) -> Outcome:
        if item.task_id == 20:
            raise ValueError("bad")
        return Outcome(regions=(span(),))

    model.outcome = outcome
    first = Asking(lambda: bench.results(request_of(task(1))))
    model.wait_inside()
    bad = Asking(lambda: bench.results(request_of(task(20), task(21))))
    good = Asking(lambda: bench.results(request_of(*[task(n) for n in range(30, 40)])))
    until(lambda: waiting(bench) == 12)
    model.release()
    assert reasons(first.result()) == ["ok"]
    assert reasons(good.result()) == ["ok"] * 10
    assert reasons(bad.result()) == ["error", "ok"]


def test_many_requests_each_get_their_own_outcomes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.model.outcome = lambda item: Outcome(regions=({**span(), "id": f"r{item.task_id}"},))
    bench.serve(*range(1, 400))
    askings = [
        Asking(lambda n=n: bench.results(request_of(*[task(n * 30 + k) for k in range(1, 26)])))  # type: ignore[misc]
        for n in range(8)
    ]
    for n, asking in enumerate(askings):
        assert [result["result"][0]["id"] for result in asking.result()] == [f"r{n * 30 + k}" for k in range(1, 26)]
    bench.close()


# -- the size of a batch ----------------------------------------------------------------------------------------------


def test_two_hundred_texts_reach_a_fast_model_in_one_batch() -> None:
    model = Model()
    queue = warmed(model)
    asked = gathering(200)
    queue.add(asked, items(*range(200)))
    assert len(asked.close()) == 200
    assert [len(batch) for batch in model.asked] == [200]


def test_a_slow_model_gets_small_batches_and_one_that_gets_faster_large_ones() -> None:
    now, each = [0.0], [0.25]

    def outcome(item: TaskItem) -> Outcome:
        now[0] += each[0]
        return Outcome()

    model = Model()
    model.outcome = outcome
    queue = ModelQueue(model, clock=lambda: now[0])
    assert queue.batch_size == FIRST_BATCH
    asked = gathering(20)
    queue.add(asked, items(*range(20)))
    asked.close()
    assert [len(batch) for batch in model.asked] == [4, 4, 4, 4, 4], "a batch takes a second at most"
    each[0] = 0.001
    again = gathering(4)
    queue.add(again, items(1, 2, 3, 4))
    again.close()
    until(lambda: queue.batch_size > 100)
    assert queue.batch_size <= BATCH_SIZE
    each[0] = 20.0
    slow = gathering(1)
    queue.add(slow, items(1))
    slow.close()
    until(lambda: queue.batch_size == 1)


# -- deadlines -----------------------------------------------------------------------------------------------------------


def test_l7_what_is_late_is_not_predicted_and_told_at_once() -> None:
    now = [0.0]
    model = HeldModel()
    queue = ModelQueue(model, clock=lambda: 0.0)
    holding, late = gathering(1), gathering(2, 5, lambda: now[0])
    queue.add(holding, items(1))
    model.wait_inside()
    queue.add(late, items(2, 3))
    now[0] = 6.0
    model.release()
    assert [outcome.status for outcome in late.close()] == ["deadline"] * 2
    assert [outcome.status for outcome in holding.close()] == ["ok"]
    assert [2] not in model.asked_ids and [2, 3] not in model.asked_ids


def test_a_request_ends_at_its_deadline_while_the_model_hangs() -> None:
    now = [0.0]
    model = HeldModel()
    queue = ModelQueue(model)
    asked = gathering(3, 5, lambda: now[0])
    asked.settle([(1, Outcome("text_missing"))])
    queue.add(asked, [(0, TaskItem(0, {})), (2, TaskItem(2, {}))])
    model.wait_inside()
    now[0] = 6.0
    assert [outcome.status for outcome in asked.close()] == ["deadline", "text_missing", "deadline"]
    assert asked.is_late
    model.release()
    after = gathering(1)
    queue.add(after, items(5))
    assert [outcome.status for outcome in after.close()] == ["ok"], "the model goes on with the next request"


def test_what_a_request_left_behind_is_dropped() -> None:
    model = HeldModel()
    queue = ModelQueue(model)
    holding, gone = gathering(1), gathering(2)
    queue.add(holding, items(1))
    model.wait_inside()
    queue.add(gone, items(2, 3))
    queue.drop(gone)
    assert queue.waiting == 0
    model.release()
    holding.close()
    assert model.asked_ids == [[1]]


# -- the thread ----------------------------------------------------------------------------------------------------------


def test_a_model_that_ends_its_thread_still_answers() -> None:
    class Exits(Model):
        def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset()) -> list[Outcome]:
            raise SystemExit(1)

    queue = ModelQueue(Exits())
    for _ in range(2):
        asked = gathering(2)
        queue.add(asked, items(1, 2))
        assert [outcome.status for outcome in asked.close()] == ["error", "error"]


def test_one_thread_at_a_time_is_in_the_model() -> None:
    class Watched(Model):
        def __init__(self) -> None:
            super().__init__()
            self.inside = threading.Lock()

        def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset()) -> list[Outcome]:
            assert self.inside.acquire(blocking=False), "two threads in one model"
            found = [Outcome() for _ in tasks]
            self.inside.release()
            return found

    queue = ModelQueue(Watched(), idle_s=0.001)

    def ask() -> set[str]:
        statuses = set()
        for _ in range(50):
            asked = gathering(3)
            queue.add(asked, items(1, 2, 3))
            statuses |= {outcome.status for outcome in asked.close()}
        return statuses

    askings = [Asking(ask) for _ in range(4)]
    assert [asking.result() for asking in askings] == [{"ok"}] * 4


def test_an_idle_queue_lets_go_of_its_model() -> None:
    def use() -> weakref.ref[Model]:
        model = Model()
        queue = warmed(model)
        queue.rest()
        until(lambda: queue.is_idle)
        return weakref.ref(model)

    gone = use()
    gc.collect()
    assert gone() is None


def test_a_queue_that_rested_starts_again() -> None:
    model = Model()
    queue = warmed(model, idle_s=0.001)
    until(lambda: queue.is_idle)
    asked = gathering(1)
    queue.add(asked, items(4))
    assert [outcome.status for outcome in asked.close()] == ["ok"]


# -- turns ---------------------------------------------------------------------------------------------------------------


def test_owners_get_their_turns_one_piece_each() -> None:
    turns: Turns[str] = Turns()
    turns.add("a", ["a1", "a2", "a3"])
    turns.add("b", ["b1"])
    turns.add("c", ["c1", "c2"])
    turns.add("d", [])
    assert turns.take(4) == ["a1", "b1", "c1", "a2"]
    assert len(turns) == 2
    turns.drop("c")
    assert turns.take(9) == ["a3"]
    assert turns.take(1, 0.0) == []
    turns.wake()
    assert turns.take(1) == []
