"""The registry on a real MLflow server: one run and one version per attempt, aliases, and a server that is away."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labelloop.errors import ServiceDown, ServiceError
from labelloop.registry import Registration, Registry, model_name

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

#: Nothing that a job does may wait longer than this for a server that is not there.
QUICK_S = 20.0


@pytest.fixture
def registry(mlflow_uri: str) -> Registry:
    return Registry(mlflow_uri)


@pytest.fixture
def client(mlflow_uri: str) -> Iterator[Any]:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)


@pytest.fixture
def registration(tmp_path: Path) -> Registration:
    folder = tmp_path / "artefact"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights.bin").write_bytes(b"\x00weights")
    (folder / "labels.json").write_text("{}")
    return Registration(
        model=model_name(uuid.uuid4().hex, 3, "yolo"),
        training_id=f"train-p3-{uuid.uuid4().hex[:12]}-1",
        version="yolo-p3-v1",
        artefact=folder,
        params={"epochs": 3, "long": "x" * 900},
        metrics={"holdout_map50": 0.5, "holdout_tasks": 20},
        curve=({"loss": 2.0, "map": 0.1}, {"loss": 1.0, "map": 0.3}),
        by_labels={"learning_curve": [(50, 0.2), (100, 0.5)], "learning_curve_low": []},
        tags={"outcome": "promoted", "dataset_id": "d1"},
        details={"kinds": {"detect": {"confusion": [[3, 1], [0, 0]]}}},
    )


def runs_of(client: Any, registration: Registration) -> list[Any]:
    experiment = client.get_experiment_by_name(registration.model)
    return list(client.search_runs([experiment.experiment_id]))


def test_registering_twice_makes_one_run_and_one_version(
    registry: Registry, client: Any, registration: Registration
) -> None:
    assert registry.register(registration) == registry.register(registration) == "1"
    (run,) = runs_of(client, registration)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["holdout_map50"] == 0.5 and run.data.params["epochs"] == "3"
    assert run.data.tags["dataset_id"] == "d1" and run.data.tags["training_id"] == registration.training_id
    assert [m.value for m in client.get_metric_history(run.info.run_id, "loss")] == [2.0, 1.0]
    history = client.get_metric_history(run.info.run_id, "learning_curve")
    assert sorted((m.step, m.value) for m in history) == [(50, 0.2), (100, 0.5)], "against labels"
    (version,) = client.search_model_versions(f"name = '{registration.model}'")
    assert version.tags["version"] == "yolo-p3-v1" and version.run_id == run.info.run_id
    assert "details.json" in {file.path for file in client.list_artifacts(run.info.run_id)}
    files = {file.path for file in client.list_artifacts(run.info.run_id, "artefact")}
    assert files == {"artefact/model", "artefact/labels.json"}
    assert registry.aliases(registration.model) == {"candidate": "yolo-p3-v1"}


def test_an_attempt_without_artefact_is_a_run_without_version(
    registry: Registry, client: Any, registration: Registration
) -> None:
    failed = replace(registration, version=None, artefact=None, curve=(), tags={"outcome": "failed"})
    assert registry.register(failed) is None and registry.register(failed) is None
    assert len(runs_of(client, failed)) == 1
    assert registry.aliases(failed.model) == {}


def test_a_registration_that_stopped_half_way_is_made_whole(
    registry: Registry, client: Any, registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    def breaks(*args: object, **options: object) -> None:
        raise RuntimeError("the process ended here")

    with monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, "log_artifacts", breaks)
        with pytest.raises(RuntimeError):
            registry.register(registration)
    with monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, "create_model_version", breaks)
        with pytest.raises(RuntimeError):
            registry.register(registration)
    assert registry.register(registration) == "1"
    complete = [run for run in runs_of(client, registration) if run.data.tags.get("complete") == "true"]
    assert len(complete) == 1
    (version,) = client.search_model_versions(f"name = '{registration.model}'")
    assert version.run_id == complete[0].info.run_id


def test_champion_and_previous_follow_the_promotions(registry: Registry, registration: Registration) -> None:
    versions = [f"yolo-p3-v{n}" for n in (1, 2, 3)]
    for n, version in enumerate(versions):
        registry.register(replace(registration, version=version, training_id=f"{registration.training_id}{n}"))
    assert registry.aliases(registration.model) == {"candidate": "yolo-p3-v3"}
    for version in versions[:2]:
        registry.set_champion(registration.model, version)
        registry.set_champion(registration.model, version)  # a repeated step moves nothing
    assert registry.aliases(registration.model) == {
        "candidate": "yolo-p3-v3",
        "champion": "yolo-p3-v2",
        "previous": "yolo-p3-v1",
    }
    registry.set_champion(registration.model, "yolo-p3-v1")  # the way back
    assert registry.aliases(registration.model)["champion"] == "yolo-p3-v1"
    assert registry.aliases(registration.model)["previous"] == "yolo-p3-v2"
    with pytest.raises(ServiceError, match="no version 'yolo-p3-v9'"):
        registry.set_champion(registration.model, "yolo-p3-v9")


def test_a_server_that_is_away_is_said_quickly(registration: Registration) -> None:
    away = Registry("http://127.0.0.1:1")
    started = time.monotonic()
    for call in (
        lambda: away.register(registration),
        lambda: away.set_champion(registration.model, "yolo-p3-v1"),
        lambda: away.aliases(registration.model),
    ):
        with pytest.raises(ServiceDown, match=r"127\.0\.0\.1:1"):
            call()
    assert time.monotonic() - started < 3 * QUICK_S
