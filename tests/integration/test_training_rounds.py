"""From labels to a judged model with the sklearn backend and a real MLflow: outcomes, failures, and workers that die."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from sqlalchemy import update

from backends.sklearn_text.training import SklearnTrainer
from labelloop.errors import LeaseLost, NotReady, ServiceDown
from labelloop.store.leases import acquire, release
from labelloop.store.tables import leases, trainings
from labelloop.store.types import utc_now

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop
from training_steps import (
    EVERY,
    attempts,
    first_round,
    grow_older,
    held_out,
    opened,
    planned,
    pooled,
    reconcile,
    traces,
    train,
)

from sync.freezing import entries_of, freeze, open_dataset
from sync.overview import models_report, models_text
from sync.promotion import run_promotion
from sync.reconcile import LOST_AFTER, reconcile_project, trigger_training
from sync.registration import register_training

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = opened(tmp_path)
    yield made
    made.store.engine.dispose()


# -- when -------------------------------------------------------------------------------------------------------------


def test_a_training_is_asked_for_once_and_waits_for_the_labels(loop: Loop) -> None:
    loop.fill(120)
    reconcile(loop)
    loop.label([*held_out(loop), *pooled(loop)[: EVERY - 1]])
    assert reconcile(loop) is None and attempts(loop) == []
    loop.label([pooled(loop)[EVERY - 1]])
    training_id = reconcile(loop)
    assert training_id is not None and loop.queue.names("train") == [training_id]
    assert reconcile(loop) is None and len(attempts(loop)) == 1  # it is not over: no second one
    assert attempts(loop)[0].label_count == EVERY


def test_of_two_reconciles_at_once_one_asks_for_a_training(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    import sync.reconcile

    loop.fill(120)
    reconcile(loop)
    loop.label([*held_out(loop), *pooled(loop)[:EVERY]])
    real = sync.reconcile.freeze
    inside: list[object] = []

    def freeze_slowly(*args: Any, **options: Any) -> str:
        if not inside:
            inside.append(None)
            inside.append(reconcile_project(loop.runtime, PROJECT))
        return real(*args, **options)

    monkeypatch.setattr(sync.reconcile, "freeze", freeze_slowly)
    reconcile(loop)
    assert len(inside) == 2 and len(attempts(loop)) == 1
    assert len(set(loop.queue.names("train"))) == 1


def test_a_training_that_ends_while_the_next_is_decided_on_has_its_labels_counted(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sync.waiting_labels

    loop.fill(260)
    reconcile(loop)
    loop.label([*held_out(loop), *pooled(loop)[:EVERY]])
    assert reconcile(loop) is not None
    real = sync.waiting_labels.last_finished

    def ends_right_after(*args: Any) -> Any:
        found = real(*args)
        if attempts(loop)[-1].outcome is None:
            train(loop)
        return found

    monkeypatch.setattr(sync.waiting_labels, "last_finished", ends_right_after)
    assert trigger_training(loop.runtime, loop.project)[1] is None
    assert [row.outcome is None for row in attempts(loop)] == [False]  # over, and its own labels started no second one
    assert trigger_training(loop.runtime, loop.project)[0].labels_since == 0


def test_a_paused_project_trains_only_when_asked(loop: Loop) -> None:
    loop.store.pause_training(PROJECT, True)
    loop.fill(120)
    loop.label(range(1, 121))
    assert reconcile(loop) is None
    decision, training_id = trigger_training(loop.runtime, loop.project, now=True)
    assert decision.train and training_id is not None


def test_without_labels_there_is_nothing_to_freeze(loop: Loop) -> None:
    with pytest.raises(NotReady, match="no labels yet"):
        freeze(loop.store, loop.project, loop.runtime.services.artifacts)


def test_the_same_labels_freeze_to_the_same_version(loop: Loop, tmp_path: Path) -> None:
    loop.fill(40)
    loop.label(range(1, 31))
    reconcile(loop)
    artifacts = loop.runtime.services.artifacts
    dataset_id = freeze(loop.store, loop.project, artifacts)
    assert freeze(loop.store, loop.project, artifacts) == dataset_id
    assert freeze(loop.store, loop.project, str(tmp_path / "elsewhere")) == dataset_id
    dataset = open_dataset(artifacts, dataset_id, tmp_path)
    assert len(entries_of(dataset)) == 30
    splits = {row["task_id"]: row["split"] for row in dataset.tasks.to_dicts()}
    assert {task for task, split in splits.items() if split == "holdout"} == set(held_out(loop)) & set(range(1, 31))
    loop.label([31])
    reconcile(loop)
    assert freeze(loop.store, loop.project, artifacts) != dataset_id


# -- outcomes ---------------------------------------------------------------------------------------------------------


def test_the_first_model_is_promoted_and_registered(tmp_path: Path, mlflow_uri: str) -> None:
    loop = opened(tmp_path, mlflow_uri=mlflow_uri)
    promotion = first_round(loop)
    (row,) = attempts(loop)
    assert (row.outcome, row.candidate, promotion) == ("promoted", "sklearn_text-p1-v1", "sklearn_text-p1-v1-r1")
    assert row.metrics["candidate"]["value"] > 0.9 > row.metrics["candidate"]["baseline"]
    assert row.registered_at is not None
    assert train(loop) is None and planned(loop) == [promotion]  # the job again does nothing
    assert promotion is not None and run_promotion(loop.runtime, promotion)
    from labelloop.registry import model_name

    model = model_name(loop.store.instance, PROJECT, "sklearn_text")
    assert loop.runtime.registry.aliases(model)["champion"] == "sklearn_text-p1-v1"
    served = loop.store.served(PROJECT)
    assert served is not None and served.model_version == row.candidate
    assert traces(loop)[1] == []
    loop.store.engine.dispose()


def test_b4_a_worse_model_is_not_promoted_and_its_labels_are_not_trained_again(loop: Loop) -> None:
    promotion = first_round(loop)
    assert promotion is not None and run_promotion(loop.runtime, promotion)
    # Everybody now says the opposite on the pool: a model of these labels is worse on the holdout.
    for label in loop.store.labels(PROJECT, ["pool", "blind"]):
        loop.remote.change(label.annotation_id, result=_opposite(label.result))
    loop.label(pooled(loop)[EVERY : 2 * EVERY], wrong=1.0)
    assert reconcile(loop) is not None
    assert train(loop) is None
    first, second = attempts(loop)
    assert (first.outcome, second.outcome) == ("promoted", "rejected")
    assert second.metrics["candidate"]["value"] < second.metrics["champion"]["value"]
    gate = second.metrics["gate"]
    assert gate["difference"] <= gate["interval"][1] < 0 and gate["classes"]["sea"]["items"] >= 20
    assert gate["holdout_hash"] == first.metrics["gate"]["holdout_hash"]
    assert [row.metrics["gate"]["gates_served"] for row in attempts(loop)] == [1, 2]
    assert second.reason.startswith("fell beyond doubt: ") and second.reason.endswith("gate 2 of this holdout")
    report = models_report(loop.runtime, loop.project)
    jsonschema.validate(report, json.loads((SCHEMAS / "models.schema.json").read_text()))
    assert [row["gate"]["gates_served"] for row in report["trainings"]] == [1, 2]
    assert any(line.endswith("gate 2 of this holdout") for line in models_text(report).splitlines())
    assert second.base_version == first.candidate and second.candidate == "sklearn_text-p1-v2"
    assert reconcile(loop) is None and len(attempts(loop)) == 2
    served = loop.store.served(PROJECT)
    assert served is not None and served.model_version == first.candidate


def _opposite(result: list[dict[str, Any]]) -> list[dict[str, Any]]:
    label = "land" if result[0]["value"]["choices"] == ["sea"] else "sea"
    return [{**result[0], "value": {"choices": [label]}}]


def test_too_small_a_holdout_decides_nothing(loop: Loop) -> None:
    loop.fill(260)
    reconcile(loop)
    loop.label([*held_out(loop)[:5], *pooled(loop)[:EVERY]])
    reconcile(loop)
    assert train(loop) is None
    assert attempts(loop)[0].outcome == "undecided" and "only 5" in attempts(loop)[0].reason
    assert planned(loop) == []


def test_fewer_than_a_hundred_items_let_a_first_model_in_and_no_second(tmp_path: Path) -> None:
    strict, mild = opened(tmp_path / "strict"), opened(tmp_path / "mild", ACTIVE_LEARNING__GATE_MIN_ITEMS="40")
    for loop in (strict, mild):
        loop.fill(260)
        reconcile(loop)
        for start in (0, EVERY):
            loop.label([*held_out(loop)[:40], *pooled(loop)[:EVERY]] if not start else pooled(loop)[start : 2 * EVERY])
            assert reconcile(loop) is not None
            train(loop)
    assert [row.outcome for row in attempts(strict)] == ["promoted", "undecided"]
    assert "40 labelled holdout tasks, and 100 are needed" in attempts(strict)[1].reason
    assert attempts(strict)[1].metrics["gate"]["difference"] is not None
    assert [row.outcome for row in attempts(mild)] == ["promoted", "promoted"]
    for loop in (strict, mild):
        loop.store.engine.dispose()


def test_a_label_that_joins_the_holdout_makes_it_another_one(loop: Loop) -> None:
    loop.fill(260)
    reconcile(loop)
    loop.label([*held_out(loop)[:40], *pooled(loop)[:EVERY]])
    reconcile(loop)
    train(loop)
    loop.label([*held_out(loop)[40:41], *pooled(loop)[EVERY : 2 * EVERY]])
    reconcile(loop)
    train(loop)
    first, second = (row.metrics["gate"] for row in attempts(loop))
    assert first["holdout_hash"] != second["holdout_hash"]
    assert (first["gates_served"], second["gates_served"]) == (1, 1)


# -- failures ---------------------------------------------------------------------------------------------------------


def test_a_failure_of_the_training_is_its_outcome_and_is_not_repeated_for_ever(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explodes(*args: object, **options: object) -> None:
        raise ZeroDivisionError("a loss of nothing")

    monkeypatch.setattr(SklearnTrainer, "fit", explodes)
    assert first_round(loop) is None
    (row,) = attempts(loop)
    assert row.outcome == "failed" and "ZeroDivisionError: a loss of nothing" in row.reason
    assert row.candidate is None and traces(loop) == ([], [])
    for _ in range(3):
        grow_older(loop)
        assert reconcile(loop) is None
    assert len(attempts(loop)) == 1
    monkeypatch.undo()
    loop.label(pooled(loop)[EVERY : 2 * EVERY])
    assert reconcile(loop) is not None
    assert train(loop) is not None and attempts(loop)[1].outcome == "promoted"


def test_a_lost_lease_leaves_no_trace(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    real = SklearnTrainer.fit

    def fit_while_another_takes_over(self: SklearnTrainer, *args: Any, **options: Any) -> Any:
        found = real(self, *args, **options)
        with loop.store.begin() as connection:
            connection.execute(update(leases).values(owner="another", fence=leases.c.fence + 1))
        return found

    monkeypatch.setattr(SklearnTrainer, "fit", fit_while_another_takes_over)
    with pytest.raises(LeaseLost):
        first_round(loop)
    (row,) = attempts(loop)
    assert (row.outcome, row.candidate, row.path) == (None, None, None)
    assert planned(loop) == [] and traces(loop)[1] == []


def test_a_service_that_is_away_leaves_the_attempt_open(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object, **options: object) -> None:
        raise ServiceDown("the media are away")

    with monkeypatch.context() as patched:
        patched.setattr(SklearnTrainer, "fit", away)
        with pytest.raises(ServiceDown):
            first_round(loop)
    assert attempts(loop)[0].outcome is None
    assert train(loop) is not None and attempts(loop)[0].outcome == "promoted"


def test_only_one_worker_trains_a_project(loop: Loop) -> None:
    loop.fill(120)
    reconcile(loop)
    loop.label([*held_out(loop), *pooled(loop)[:EVERY]])
    reconcile(loop)
    other = acquire(loop.store, PROJECT, "train", 60)
    assert other is not None
    assert train(loop) is None and attempts(loop)[0].started_at is None
    release(loop.store, other)
    train(loop)
    assert attempts(loop)[0].outcome == "promoted"


def test_a_run_in_the_registry_has_the_learning_curve_as_it_was_then(loop: Loop) -> None:
    first_round(loop)
    loop.label(pooled(loop)[EVERY : 2 * EVERY])
    assert reconcile(loop) is not None
    train(loop)
    first, second = loop.registry.registrations
    rows = attempts(loop)
    curve = [(row.metrics["labels"], row.metrics["candidate"]["value"]) for row in rows]
    assert first.by_labels["learning_curve"] == curve[:1] and second.by_labels["learning_curve"] == curve
    lows = [(row.metrics["labels"], row.metrics["interval"][0]) for row in rows]
    assert second.by_labels["learning_curve_low"] == lows
    assert "forecast_gain" not in second.metrics, "from four trainings on"


def test_an_mlflow_that_is_away_is_told_later(loop: Loop) -> None:
    loop.registry.down = True
    promotion = first_round(loop)
    (row,) = attempts(loop)
    assert row.outcome == "promoted" and row.registered_at is None
    assert promotion is not None
    with pytest.raises(ServiceDown):
        run_promotion(loop.runtime, promotion)  # it stops before the alias and goes on later
    with loop.store.begin() as connection:
        connection.execute(update(trainings).values(finished_at=utc_now() - 2 * LOST_AFTER))
    loop.queue.requests.clear()
    reconcile(loop)
    assert loop.queue.names("register") == [f"register-{row.training_id}"]
    assert f"promote-{promotion}" in loop.queue.names("promote")
    loop.registry.down = False
    for _ in range(2):
        register_training(loop.runtime, loop.project, row.training_id)
    assert run_promotion(loop.runtime, promotion)
    assert loop.registry.registered == [row.training_id] and loop.registry.champions == [row.candidate]


def test_while_another_process_registers_a_promotion_waits(loop: Loop) -> None:
    other = acquire(loop.store, PROJECT, "register", 60)
    assert other is not None
    promotion = first_round(loop)
    (row,) = attempts(loop)
    assert row.outcome == "promoted" and row.registered_at is None and loop.registry.registered == []
    assert promotion is not None
    with pytest.raises(NotReady, match="another process registers"):
        run_promotion(loop.runtime, promotion)  # it goes on later, as when MLflow is away
    release(loop.store, other)
    assert run_promotion(loop.runtime, promotion)
    assert loop.registry.registered == [row.training_id] and loop.registry.champions == [row.candidate]


def test_what_a_killed_process_published_under_the_next_name_is_gone_with_the_next_version(loop: Loop) -> None:
    models = loop.runtime.services.data / "artifacts" / "models"
    for name in ("sklearn_text-p1-v1-0123456789ab", "sklearn_text-p1-v10-0123456789ab"):
        (models / name).mkdir(parents=True)
    scratch = loop.runtime.scratch("train-p1-0123456789ab-1")
    of_others = loop.runtime.scratch("train-p12-0123456789ab-1")
    first_round(loop)
    (row,) = attempts(loop)
    assert row.path is not None
    assert {each.name for each in models.iterdir()} == {Path(row.path).name, "sklearn_text-p1-v10-0123456789ab"}
    assert not scratch.exists() and of_others.exists()
