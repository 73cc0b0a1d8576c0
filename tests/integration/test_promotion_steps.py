"""Promotions against a Label Studio in memory: a stop after any step, repeated pushes, replacement, and retirement."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from labelloop.errors import LeaseLost, NotReady, ServiceDown, ServiceError, UsageError
from labelloop.store.leases import acquire
from labelloop.store.promotions import predictions_of, steps_of, unserved
from labelloop.store.tables import leases, outcomes, predictions, promotions
from labelloop.store.trainings import trainings_of

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop, make_loop

from sync.promotion import _Promotion, plan_cold_start, plan_ranking, retire_due, run_promotion
from sync.reconcile import reconcile_project
from sync.topping_up import top_up
from sync.training import run_training

pytestmark = pytest.mark.integration

WORK = ("predicted", "ranked", "pushed", "ready", "switched", "aliased")
ACTIONS = ("predict", "rank", "push", "make_ready", "switch", "alias", "serve")
V1, V2 = "sklearn_text-p1-v1", "sklearn_text-p1-v2"


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """A project that serves its cold start and has a model that waits for its promotion."""
    made = make_loop(
        tmp_path, ACTIVE_LEARNING__RETRAIN_EVERY_N_LABELS="40", ACTIVE_LEARNING__BLIND_SHARE="0.1", TASK_LOCK_TTL_S="60"
    )
    made.fill(200)
    reconcile_project(made.runtime, PROJECT)
    plan_cold_start(made.runtime, made.project)
    (cold,) = unserved(made.store, PROJECT)
    assert run_promotion(made.runtime, cold)
    tasks = made.store.tasks(PROJECT)
    made.label([t.task_id for t in tasks if t.role == "holdout"])
    made.label([t.task_id for t in tasks if t.role == "pool"][:40])
    new_model(made)
    yield made
    made.store.engine.dispose()


def new_model(loop: Loop) -> str:
    """Train on what is labelled; the promotion that waits."""
    reconcile_project(loop.runtime, PROJECT)
    row = trainings_of(loop.store, PROJECT)[-1]
    promotion = run_training(loop.runtime, PROJECT, row.dataset_id, row.attempt)
    assert promotion is not None, row
    return promotion


def picture(loop: Loop) -> dict[str, Any]:
    """Everything that a promotion leaves behind, without times."""
    store = loop.store
    served = store.served(PROJECT)
    with store.read() as connection:
        numbers = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (outcomes, predictions)
        }
    ranked = predictions_of(store, PROJECT, f"{V1}-r1")
    return {
        "served": served and (served.model_version, served.serving_id, served.generation),
        "steps": [step.step for step in steps_of(store, f"{V1}-r1")],
        "rows": numbers,
        "remote": loop.remote.by_version(),
        "order": [row["task"] for row in sorted(loop.remote.predictions, key=lambda r: r["score"])
                  if row["model_version"] == f"{V1}-r1"] == [row["task_id"] for row in ranked],
        "switched": loop.remote.model_version,
        "champion": loop.registry.champions[-1:],
    }  # fmt: skip


def expected(loop: Loop) -> dict[str, Any]:
    still_open = 200 - len({row.task_id for row in loop.store.labels(PROJECT)})
    return {
        "served": (V1, f"{V1}-r1", 2),
        "steps": ["planned", *WORK, "served"],
        "rows": {"outcomes": still_open, "predictions": 200 + still_open},
        "remote": {"sklearn_text-p1-v0-r1": 200, f"{V1}-r1": still_open},
        "order": True,
        "switched": f"{V1}-r1",
        "champion": [V1],
    }


def test_a_promotion_leaves_every_system_in_step(loop: Loop) -> None:
    assert run_promotion(loop.runtime, f"{V1}-r1")
    assert picture(loop) == expected(loop)
    assert not run_promotion(loop.runtime, f"{V1}-r1")  # over
    assert picture(loop) == expected(loop)


class Crash(Exception):
    """The process ended here."""


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_promotion_that_stopped_goes_on_to_the_same_end(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, action: str, moment: str
) -> None:
    real = getattr(_Promotion, action)

    def crashes(self: _Promotion) -> Any:
        if moment == "after":
            real(self)  # it had its effect, and nobody noted it
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(_Promotion, action, crashes)
        for _ in range(2):
            with pytest.raises(Crash):
                run_promotion(loop.runtime, f"{V1}-r1")
            if action == "serve" and moment == "after":
                break
    run_promotion(loop.runtime, f"{V1}-r1")
    assert picture(loop) == expected(loop)


def test_a_push_whose_answer_was_lost_leaves_no_doubles(loop: Loop) -> None:
    for _ in range(2):
        loop.remote.after["push_predictions"] = ServiceDown("no answer came")
        with pytest.raises(ServiceDown):
            run_promotion(loop.runtime, f"{V1}-r1")
    assert run_promotion(loop.runtime, f"{V1}-r1")
    assert picture(loop) == expected(loop)


def test_until_the_switch_people_are_served_the_old_order(loop: Loop) -> None:
    loop.remote.fail["set_model_version"] = ServiceDown("Label Studio is away")
    with pytest.raises(ServiceDown):
        run_promotion(loop.runtime, f"{V1}-r1")
    assert loop.remote.model_version == "sklearn_text-p1-v0-r1"
    assert loop.remote.by_version()["sklearn_text-p1-v0-r1"] == 200
    served = loop.store.served(PROJECT)
    assert served is not None and served.model_version == "sklearn_text-p1-v0"


def test_labels_and_deletes_during_a_promotion_do_no_harm(loop: Loop) -> None:
    waiting = [t.task_id for t in loop.store.tasks(PROJECT) if t.role == "pool"][-2:]

    def somebody_works(name: str) -> None:
        if name == "delete_model_version" and waiting:
            loop.remote.annotate(waiting.pop(), "sea")
            del loop.remote.tasks[waiting.pop()]

    loop.remote.before_call = somebody_works
    assert run_promotion(loop.runtime, f"{V1}-r1")
    pushed = {row["task"] for row in loop.remote.predictions if row["model_version"] == f"{V1}-r1"}
    assert pushed <= set(loop.remote.tasks)


def test_a_backend_that_is_not_ready_holds_the_switch(loop: Loop) -> None:
    urls = loop.runtime.services.model_copy(update={"backend_urls": {"sklearn_text": "http://127.0.0.1:1"}})
    loop.runtime.services = urls
    with pytest.raises((NotReady, ServiceDown), match="sklearn_text"):
        run_promotion(loop.runtime, f"{V1}-r1")
    assert loop.remote.model_version == "sklearn_text-p1-v0-r1"


def test_a_newer_promotion_takes_the_place_of_one_that_waits(loop: Loop) -> None:
    loop.remote.fail["push_predictions"] = ServiceError("refused")
    with pytest.raises(ServiceError):
        run_promotion(loop.runtime, f"{V1}-r1")
    newer = plan_ranking(loop.runtime, loop.project, V1)
    assert newer == f"{V1}-r2"
    assert not run_promotion(loop.runtime, f"{V1}-r1")
    assert [s.step for s in steps_of(loop.store, f"{V1}-r1")][-1] == "superseded"
    assert run_promotion(loop.runtime, newer)
    served = loop.store.served(PROJECT)
    assert served is not None and served.serving_id == newer and loop.remote.model_version == newer
    assert unserved(loop.store, PROJECT) == []
    assert f"{V1}-r1" not in loop.remote.by_version()


def test_an_older_promotion_does_not_come_after_a_newer_one_that_serves(loop: Loop) -> None:
    newer = plan_ranking(loop.runtime, loop.project, V1)
    assert run_promotion(loop.runtime, newer)
    assert not run_promotion(loop.runtime, f"{V1}-r1")  # its job was late
    served = loop.store.served(PROJECT)
    assert served is not None and served.serving_id == newer == loop.remote.model_version
    assert unserved(loop.store, PROJECT) == []


def test_a_lost_lease_stops_a_promotion_before_its_next_step(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = _Promotion.push

    def push_while_another_takes_over(self: _Promotion) -> dict[str, Any]:
        found = real(self)
        with loop.store.begin() as connection:
            connection.execute(update(leases).values(owner="another", fence=leases.c.fence + 1))
        return found

    monkeypatch.setattr(_Promotion, "push", push_while_another_takes_over)
    with pytest.raises(LeaseLost):
        run_promotion(loop.runtime, f"{V1}-r1")
    assert [s.step for s in steps_of(loop.store, f"{V1}-r1")] == ["planned", "predicted", "ranked"]
    assert loop.remote.model_version == "sklearn_text-p1-v0-r1"


def test_while_another_worker_promotes_nothing_is_done(loop: Loop) -> None:
    assert acquire(loop.store, PROJECT, "promote", 60) is not None
    calls = list(loop.remote.calls)
    assert not run_promotion(loop.runtime, f"{V1}-r1")
    assert loop.remote.calls == calls and retire_due(loop.runtime, loop.project) == []


def test_what_was_never_planned_or_served_is_refused(loop: Loop) -> None:
    with pytest.raises(UsageError, match="no promotion 'x'"):
        run_promotion(loop.runtime, "x")
    with pytest.raises(UsageError, match="never served 'v9'"):
        plan_ranking(loop.runtime, loop.project, "v9")


def switched_ago(loop: Loop, seconds: float) -> None:
    with loop.store.begin() as connection:
        for step in steps_of(loop.store, f"{V1}-r1"):
            if step.step == "switched":
                connection.execute(
                    update(promotions)
                    .where(promotions.c.promotion_id == f"{V1}-r1", promotions.c.step == "switched")
                    .values(at=step.at - timedelta(seconds=seconds))
                )


def test_replaced_predictions_go_when_no_lock_can_be_older(loop: Loop) -> None:
    cold = "sklearn_text-p1-v0-r1"
    run_promotion(loop.runtime, f"{V1}-r1")
    assert retire_due(loop.runtime, loop.project) == [] and cold in loop.remote.by_version()
    switched_ago(loop, 61)
    loop.remote.fail["delete_model_version"] = ServiceDown("away")
    with pytest.raises(ServiceDown):
        retire_due(loop.runtime, loop.project)
    assert retire_due(loop.runtime, loop.project) == [cold]
    assert set(loop.remote.by_version()) == {f"{V1}-r1"} and loop.remote.model_version == f"{V1}-r1"
    calls = len(loop.remote.calls)
    assert retire_due(loop.runtime, loop.project) == [] and len(loop.remote.calls) == calls
    assert [s.step for s in steps_of(loop.store, f"{V1}-r1")][-1] == "retired"


def test_the_way_back_to_an_earlier_version_predicts_nothing_anew(loop: Loop) -> None:
    run_promotion(loop.runtime, f"{V1}-r1")
    back = plan_ranking(loop.runtime, loop.project, "sklearn_text-p1-v0")
    assert run_promotion(loop.runtime, back)
    served = loop.store.served(PROJECT)
    assert served is not None and (served.model_version, served.generation) == ("sklearn_text-p1-v0", 3)
    with loop.store.read() as connection:
        assert set(connection.execute(select(outcomes.c.model_version)).scalars()) == {V1}


def test_tasks_that_come_later_are_placed_and_pushed_once(loop: Loop) -> None:
    run_promotion(loop.runtime, f"{V1}-r1")
    loop.fill(10, start=301)
    before = loop.remote.by_version()[f"{V1}-r1"]
    loop.queue.requests.clear()
    reconcile_project(loop.runtime, PROJECT)
    (request,) = [r for r in loop.queue.requests if r.function == "sync.jobs.predict"]
    assert top_up(loop.runtime, loop.project, *request.args[1:]) == 10
    assert top_up(loop.runtime, loop.project, *request.args[1:]) == 0
    assert loop.remote.by_version()[f"{V1}-r1"] == before + 10
    for row in loop.remote.predictions:
        role = loop.store.tasks(PROJECT, row["task"], row["task"])[0].role
        assert role == "pool" or row["result"] == [], "an evaluation task shows a suggestion"


@pytest.mark.parametrize("moment", ["fail", "after"])
def test_a_top_up_whose_push_failed_is_healed_without_doubles(loop: Loop, moment: str) -> None:
    run_promotion(loop.runtime, f"{V1}-r1")
    loop.fill(10, start=301)
    reconcile_project(loop.runtime, PROJECT)
    getattr(loop.remote, moment)["push_predictions"] = ServiceDown("it is not known what arrived")
    with pytest.raises(ServiceDown):
        top_up(loop.runtime, loop.project, V1, 301, 310)
    arrived = moment == "after"
    assert top_up(loop.runtime, loop.project, V1, 301, 310) == (0 if arrived else 10)
    pushed = [row["task"] for row in loop.remote.predictions if row["model_version"] == loop.remote.model_version]
    assert len(pushed) == len(set(pushed)) and set(range(301, 311)) <= set(pushed)


def test_a_version_that_is_served_no_longer_is_not_topped_up(loop: Loop) -> None:
    run_promotion(loop.runtime, f"{V1}-r1")
    loop.fill(3, start=301)
    reconcile_project(loop.runtime, PROJECT)
    assert top_up(loop.runtime, loop.project, V2, 301, 303) == 0


def test_predictions_that_label_studio_lost_are_pushed_anew(loop: Loop) -> None:
    """A worker killed between noting a top-up and pushing it, or a person who deletes predictions, leaves such a gap."""
    assert run_promotion(loop.runtime, f"{V1}-r1")
    reconcile_project(loop.runtime, PROJECT, sweep=True)
    assert not loop.queue.names("predict")
    lost = next(row for row in loop.remote.predictions if row["model_version"] == f"{V1}-r1")
    before = sorted(loop.remote.predictions, key=lambda row: row["task"])
    loop.remote.predictions.remove(lost)
    reconcile_project(loop.runtime, PROJECT, sweep=True)
    (request,) = [r for r in loop.queue.requests if r.function == "sync.jobs.predict"]
    assert top_up(loop.runtime, loop.project, *request.args[1:]) == 1
    after = sorted(loop.remote.predictions, key=lambda row: row["task"])
    assert [{**row, "id": 0} for row in after] == [{**row, "id": 0} for row in before]
    loop.queue.requests.clear()
    reconcile_project(loop.runtime, PROJECT, sweep=True)
    assert not loop.queue.names("predict") and not unserved(loop.store, PROJECT)
