"""Every template in a stock Label Studio: its config is taken, its samples are imported, served and answered."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from template_labels import answer_to

from labelloop.label_studio import LabelStudio
from labelloop.settings import ProjectSettings
from labelloop.store.leases import holding
from sync.mirror import Mirror
from sync.projects import create_project
from sync.promotion import plan_cold_start, run_promotion
from sync.reconcile import role_policy, trigger_training
from sync.runtime import Runtime
from templates.catalogue import Template, list_templates, load_template

pytestmark = pytest.mark.e2e

NAMES = list_templates()


def created(runtime: Runtime, template: Template, **more: Any) -> int:
    settings = ProjectSettings.model_validate(template.defaults)
    title = f"{template.name} {secrets.token_hex(4)}"
    return create_project(runtime.client, runtime.store, template, title, template.example_classes, settings, **more)


def served(client: LabelStudio, project_id: int) -> dict[str, Any]:
    task: dict[str, Any] = client.request("GET", f"/api/projects/{project_id}/next/")
    return task


def answered(client: LabelStudio, template: Template, project_id: int, task: dict[str, Any]) -> None:
    body = {"result": answer_to(template, task["data"]), "lead_time": 2.0}
    client.request("POST", f"/api/tasks/{task['id']}/annotations/", params={"project": project_id}, json=body)


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_taken_as_it_is_and_its_samples_are_served(name: str, runtime: Runtime) -> None:
    template, client = load_template(name), runtime.client
    # What a person does who pastes it: the settings page asks first whether the config is valid.
    client.request("POST", "/api/projects/validate/", json={"label_config": template.config})
    project_id = created(runtime, template)
    assert client.label_config(project_id) == template.config.strip()
    ids = client.import_tasks(project_id, [dict(sample) for sample in template.samples])
    assert len(set(ids)) == len(template.samples) == client.counts(project_id).tasks
    task = served(client, project_id)
    assert task["id"] in ids and task["data"] in [sample["data"] for sample in template.samples]
    answered(client, template, project_id, task)
    (row,) = client.tasks_by_id(project_id, [task["id"]])
    assert row.is_labeled and row.annotations[0].result == answer_to(template, task["data"])
    assert served(client, project_id)["id"] != task["id"]
    client.delete_project(project_id)


@pytest.mark.parametrize("name", NAMES)
def test_label_studio_takes_what_could_be_suggested(name: str, runtime: Runtime) -> None:
    template, client = load_template(name), runtime.client
    project_id = created(runtime, template)
    (task,) = client.import_tasks(project_id, [dict(template.samples[0])])
    # The bulk import leaves out, without a word, whatever does not fit the config.
    result = answer_to(template, template.samples[0]["data"])
    client.push_predictions(project_id, [{"task": task, "result": result, "score": 0.5, "model_version": "v1"}])
    assert client.count_predictions(project_id, "v1") == 1
    client.delete_project(project_id)


@pytest.mark.parametrize("name", [name for name in NAMES if not load_template(name).backend])
def test_a_project_without_a_backend_is_followed_and_ordered_all_the_same(name: str, runtime: Runtime) -> None:
    template, client = load_template(name), runtime.client
    project_id = created(runtime, template, backend_url="http://127.0.0.1:1")
    assert client.request("GET", "/api/ml/", params={"project": project_id}) == []
    ids = client.import_tasks(project_id, [dict(sample) for sample in template.samples])
    answered(client, template, project_id, served(client, project_id))
    project = runtime.store.project(project_id)
    assert project is not None and project.backend == "none"
    with holding(runtime.store, project_id, "sync", 60) as lease:
        assert lease is not None
        Mirror(runtime.store, client, project, role_policy(runtime, project), lease).read()
    assert runtime.store.count_labels(project_id) == 1
    promotion = plan_cold_start(runtime, project)
    assert promotion is not None and run_promotion(runtime, promotion)
    assert client.get_project(project_id)["model_version"] == promotion
    assert client.count_predictions(project_id, promotion) >= len(ids) - 1
    assert served(client, project_id)["id"] in ids
    for now in (False, True):
        decision, training = trigger_training(runtime, project, now=now)
        assert training is None and decision.reason == "no backend learns this project's labels"
    client.delete_project(project_id)
