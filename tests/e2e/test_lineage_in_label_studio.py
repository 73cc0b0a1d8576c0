"""Against a stock Label Studio: renamed classes in its config, a forgotten task that stays gone, whatever is read again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from labelloop.errors import ServiceError
from labelloop.label_config import parse_label_config
from labelloop.label_studio import LabelStudio
from labelloop.store import ProjectRow
from labelloop.store.leases import holding
from sync.forgetting import forget
from sync.freezing import freeze, open_dataset
from sync.mirror import Mirror
from sync.mirroring.configs import follow_config
from sync.reconcile import role_policy
from sync.runtime import Runtime
from sync.schemas import project_classes

pytestmark = pytest.mark.e2e

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="sea"/><Choice value="land"/></Choices></View>'
)


def choice(label: str) -> list[dict[str, Any]]:
    return [{"id": "r", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]


@pytest.fixture
def client(runtime: Runtime) -> LabelStudio:
    return runtime.client


@pytest.fixture
def project(runtime: Runtime, client: LabelStudio) -> ProjectRow:
    made = client.create_project("Lineage", CONFIG)
    return runtime.store.put_project(
        project_id=int(made["id"]), title="Lineage", task_type="text_classification", backend="sklearn_text",
        label_config=made["label_config"], settings={}, holdout_threshold=0.0,
    )  # fmt: skip


def read(runtime: Runtime, project: ProjectRow, *, sweep: bool = False) -> ProjectRow:
    """Mirror the project as a reconcile does."""
    with holding(runtime.store, project.project_id, "sync", 60) as lease:
        assert lease is not None
        project = follow_config(runtime.store, runtime.client, project, lease)
        mirror = Mirror(runtime.store, runtime.client, project, role_policy(runtime, project), lease)
        mirror.read()
        if sweep:
            mirror.sweep()
    return project


def annotate(client: LabelStudio, project: ProjectRow, task: int, label: str) -> int:
    body = {"result": choice(label), "lead_time": 1.0}
    made = client.request("POST", f"/api/tasks/{task}/annotations/", params={"project": project.project_id}, json=body)
    return int(made["id"])


def test_a_renamed_class_is_shown_by_its_new_name_and_stored_by_the_old_one(
    runtime: Runtime, client: LabelStudio, project: ProjectRow, label_studio: Any, tmp_path: Path
) -> None:
    ids = client.import_tasks(project.project_id, [{"data": {"text": f"t {n}"}} for n in range(3)])
    annotate(client, project, ids[0], "sea")
    project = read(runtime, project)
    named = {"DATA": str(tmp_path), "LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_TOKEN": label_studio.token}
    ran = subprocess.run(
        [sys.executable, "-m", "labelloop.cli", "classes", "Lineage", "rename", "sea", "open water", "--json"],
        env={**os.environ, **{f"LABELLOOP_{name}": value for name, value in named.items()}}, cwd=tmp_path,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    jsonschema.validate(report, json.loads((SCHEMAS / "classes.schema.json").read_text()))
    assert report["label_studio_changed"] and report["to_do"] == []
    xml = client.label_config(project.project_id)
    assert parse_label_config(xml).controls[0].classes == ("sea", "land") and 'value="open water"' in xml
    # The settings page asks this before it saves: what labels carry is still in the config.
    path = f"/api/projects/{project.project_id}/validate/"
    assert client.request("POST", path, json={"label_config": xml}) is not None
    annotate(client, project, ids[1], "sea")
    project = read(runtime, project)
    assert [(c.class_id, c.name) for c in project_classes(runtime.store, project)] == [(0, "open water"), (1, "land")]
    made = freeze(runtime.store, project, runtime.services.artifacts)
    dataset = open_dataset(runtime.services.artifacts, made, tmp_path)
    assert [found[0]["value"]["choices"] for _, _, found in dataset.truth("train")] == [["open water"]] * 2
    assert dataset.manifest["body"]["classes"] == {"topic": ["open water", "land"]}
    # A suggestion of a model that was trained on it is sent as it is stored, and Label Studio takes it.
    stored = parse_label_config(xml).as_stored(choice("open water")[0])
    rows = [{"task": ids[2], "result": [stored], "score": 0.5, "model_version": "m-v1-r1"}]
    assert client.push_predictions(project.project_id, rows) == 1


def test_merged_classes_are_added_to_the_config_and_the_old_ones_stay(
    runtime: Runtime, client: LabelStudio, project: ProjectRow
) -> None:
    from sync.schemas import change_schema, read_change

    (task,) = client.import_tasks(project.project_id, [{"data": {"text": "t"}}])
    annotate(client, project, task, "sea")
    project = read(runtime, project)
    change = read_change(["merge", "sea", "land", "into", "earth"])
    report = change_schema(runtime.store, project, change, client=client)
    assert parse_label_config(client.label_config(project.project_id)).controls[0].classes == ("sea", "land", "earth")
    assert "can stay in the label config" in report["to_do"][0]
    project = read(runtime, project)
    annotate(client, project, task, "earth")
    project = read(runtime, project)
    made = freeze(runtime.store, project, runtime.services.artifacts)
    dataset = open_dataset(runtime.services.artifacts, made, runtime.services.data)
    assert [row["label"] for row in dataset.regions.to_dicts()] == ["earth"]
    assert dataset.label_config.controls[0].classes == ("earth",)


def test_a_forgotten_task_is_gone_and_stays_gone(runtime: Runtime, client: LabelStudio, project: ProjectRow) -> None:
    ids = client.import_tasks(project.project_id, [{"data": {"text": f"text of {n}"}} for n in range(3)])
    for task in ids:
        annotate(client, project, task, "land")
    project = read(runtime, project)
    made = freeze(runtime.store, project, runtime.services.artifacts)
    report = forget(runtime, project, [ids[1]])
    assert report.in_label_studio == {"deleted": 1, "absent": 0, "another_task": 0} and report.datasets == [made]
    with pytest.raises(ServiceError) as caught:
        client.request("GET", f"/api/tasks/{ids[1]}/")
    assert caught.value.status == 404
    for sweep in (False, True):
        read(runtime, project, sweep=sweep)
        assert [task.task_id for task in runtime.store.tasks(project.project_id)] == [ids[0], ids[2]]
    dataset = open_dataset(runtime.services.artifacts, made, runtime.services.data)
    assert [task for task, _, _ in dataset.truth("train")] == [ids[0], ids[2]]


def test_the_last_tasks_id_that_label_studio_gives_again_is_a_new_task(
    runtime: Runtime, client: LabelStudio, project: ProjectRow
) -> None:
    (first,) = client.import_tasks(project.project_id, [{"data": {"text": "to be forgotten"}}])
    annotate(client, project, first, "sea")
    project = read(runtime, project)
    forget(runtime, project, [first])
    (second,) = client.import_tasks(project.project_id, [{"data": {"text": "to stay"}}])
    annotate(client, project, second, "land")
    read(runtime, project, sweep=True)
    (task,) = runtime.store.tasks(project.project_id)
    assert (task.task_id, task.data) == (second, {"text": "to stay"})
    made = freeze(runtime.store, project, runtime.services.artifacts)
    dataset = open_dataset(runtime.services.artifacts, made, runtime.services.data)
    assert [(number, data) for number, data, _ in dataset.truth("train")] == [(second, {"text": "to stay"})]
