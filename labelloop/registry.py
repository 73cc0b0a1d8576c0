"""The model registry: an MLflow model per project and backend, a version per candidate, aliases for what is served.

Only training jobs, promotions' alias step and the command line come here: importing MLflow takes seconds and 200 MB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelloop.errors import ServiceDown, ServiceError
from labelloop.settings import set_library_environment

ALIASES = ("champion", "previous", "candidate")


def model_name(instance: str, project_id: int, backend: str) -> str:
    """The registered model's name, `labelloop-<instance8>-p<project>-<backend>`."""
    return f"labelloop-{instance[:8]}-p{project_id}-{backend}"


@dataclass(frozen=True)
class Registration:
    """What one training attempt leaves in the registry; `version` is None when it made no artefact.

    `curve` has the values of each step of the training, `by_labels` those of metrics against a number of labels.
    """

    model: str
    training_id: str
    version: str | None
    artefact: Path | None
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Mapping[str, float], ...] = ()
    by_labels: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


class Registry:
    """MLflow at one tracking address. Every call is idempotent and raises ServiceDown when the server cannot be reached."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @contextmanager
    def _client(self) -> Iterator[Any]:
        # MLflow's own seven retries would hold a job for four minutes; the reconcile repeats what was missed.
        set_library_environment({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"})
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            yield MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        except MlflowException as error:
            if "Max retries" in str(error) or "Connection" in str(error):
                raise ServiceDown(f"MLflow at {self.uri} cannot be reached; the step is repeated later") from error
            raise ServiceError(f"MLflow at {self.uri} refused: {error}") from error

    def register(self, registration: Registration) -> str | None:
        """Log the attempt as a run and its artefact as a model version; the MLflow version number, or None without artefact.

        A repeat finds the run by its training id and the version by its name, and adds only what is missing.
        """
        with self._client() as client:
            experiment = client.get_experiment_by_name(registration.model)
            experiment_id = experiment.experiment_id if experiment else client.create_experiment(registration.model)
            run = self._run(client, experiment_id, registration)
            if registration.version is None or registration.artefact is None:
                return None
            return self._version(client, run, registration)

    def _run(self, client: Any, experiment_id: str, registration: Registration) -> Any:
        found = client.search_runs(
            [experiment_id],
            f"tags.training_id = '{registration.training_id}' and tags.complete = 'true'",
            max_results=1,
        )
        if found:
            return found[0]
        # What a crash cut short; only one process at a time registers for a project.
        for left in client.search_runs([experiment_id], f"tags.training_id = '{registration.training_id}'"):
            client.delete_run(left.info.run_id)
        from mlflow.entities import Metric, Param, RunTag

        tags = {**registration.tags, "training_id": registration.training_id}
        run = client.create_run(experiment_id, run_name=registration.version or registration.training_id, tags=tags)
        step_metrics = [
            Metric(name, float(value), 0, step)
            for step, point in enumerate(registration.curve)
            for name, value in point.items()
        ]
        step_metrics += [
            Metric(name, float(value), 0, labels)
            for name, points in registration.by_labels.items()
            for labels, value in points
        ]
        final = [Metric(name, float(value), 0, 0) for name, value in registration.metrics.items()]
        params = [Param(name, str(value)[:500]) for name, value in registration.params.items()]
        client.log_batch(run.info.run_id, metrics=step_metrics + final, params=params)
        if registration.artefact is not None:
            client.log_artifacts(run.info.run_id, str(registration.artefact), "artefact")
        if registration.details:
            client.log_dict(run.info.run_id, dict(registration.details), "details.json")
        # Set last: a run that a crash cut short is not found by the first search above and is logged afresh.
        client.log_batch(run.info.run_id, tags=[RunTag("complete", "true")])
        client.set_terminated(run.info.run_id)
        return run

    def _version(self, client: Any, run: Any, registration: Registration) -> str:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(registration.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        for version in client.search_model_versions(f"name = '{registration.model}'"):
            if version.tags.get("version") == registration.version:
                return str(version.version)
        tags = {**registration.tags, "version": str(registration.version), "training_id": registration.training_id}
        made = client.create_model_version(
            registration.model, source=f"{run.info.artifact_uri}/artefact", run_id=run.info.run_id, tags=tags
        )
        client.set_registered_model_alias(registration.model, "candidate", made.version)
        return str(made.version)

    def set_champion(self, model: str, version: str) -> None:
        """Point the alias `champion` at the version of that name, and `previous` at the one before."""
        with self._client() as client:
            versions = {
                v.tags.get("version"): str(v.version) for v in client.search_model_versions(f"name = '{model}'")
            }
            if version not in versions:
                raise ServiceError(f"MLflow has no version {version!r} of {model}; register it first")
            current = dict(client.get_registered_model(model).aliases).get("champion")
            if str(current) == versions[version]:
                return
            if current is not None:
                client.set_registered_model_alias(model, "previous", str(current))
            client.set_registered_model_alias(model, "champion", versions[version])

    def aliases(self, model: str) -> dict[str, str]:
        """Alias -> name of the version that it points at; empty when the model is not registered."""
        with self._client() as client:
            names = {
                str(v.version): v.tags.get("version", "") for v in client.search_model_versions(f"name = '{model}'")
            }
            if not names:
                return {}
            return {alias: names[str(v)] for alias, v in client.get_registered_model(model).aliases.items()}
