"""Projects in a stock Label Studio with a store beside them, people who label, and passes of the review workflow."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelloop.label_studio import LabelStudio
from labelloop.settings import Settings, load_settings
from labelloop.store import ProjectRow
from labelloop.store.decisions import decisions_of
from labelloop.store.leases import holding
from sync.importing import import_version
from sync.mirror import Mirror
from sync.promotion import run_promotion
from sync.reconcile import role_policy
from sync.reviewing import ReviewSummary, review_pass
from sync.runtime import Runtime

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="sea"/><Choice value="land"/><Choice value="unsure"/></Choices></View>'
)
#: A model that is sure of one word and unsure of another.
RULES = """
version: 1
control: topic
target: choices
rules:
  - {name: ports, version: 1, kind: keyword, label: sea, keywords: [harbour], accuracy: 0.97}
  - {name: water, version: 1, kind: keyword, label: sea, keywords: [water], accuracy: 0.65}
"""


def choice(label: str) -> list[dict[str, Any]]:
    """One choice, as Label Studio writes it."""
    return [{"id": "r", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]


@dataclass
class Site:
    """A project with its store, and people who label: three annotators, and a reviewer."""

    runtime: Runtime
    project_id: int
    tasks: list[int]
    people: list[int]

    @property
    def client(self) -> LabelStudio:
        return self.runtime.client

    @property
    def project(self) -> ProjectRow:
        found = self.runtime.store.project(self.project_id)
        assert found is not None
        return found

    def label(self, task: int, person: int, label: str, **more: Any) -> int:
        body = {"result": choice(label), "completed_by": person, "lead_time": 2.0, **more}
        made = self.client.request(
            "POST", f"/api/tasks/{task}/annotations/", params={"project": self.project_id}, json=body
        )
        return int(made["id"])

    def accept(self, task: int, person: int) -> int:
        """Submit what the task shows as it is; the new annotation's id."""
        (shown,) = [row for row in self.predictions(task) if row["result"]]
        result = [{**region, "origin": "prediction"} for region in shown["result"]]
        return self.label(task, person, "", result=result, parent_prediction=shown["id"])

    def predictions(self, task: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.request("GET", f"/api/tasks/{task}/")["predictions"]
        return found

    def serve(self, rules: Path) -> None:
        """Rules become a model version that predicts every task."""
        self.mirror()
        made = import_version(self.runtime, self.project, [str(rules)], {}, promote=True)
        assert made.promotion is not None and run_promotion(self.runtime, made.promotion)

    def mirror(self) -> None:
        with holding(self.runtime.store, self.project_id, "sync", 60) as lease:
            assert lease is not None
            project = self.project
            Mirror(self.runtime.store, self.client, project, role_policy(self.runtime, project), lease).read()

    def go(self) -> ReviewSummary:
        self.mirror()
        return review_pass(self.runtime, self.project)

    def marked(self, marker: str) -> set[int]:
        return self.client.marked_tasks(self.project_id, marker)

    def tab(self, title: str) -> int:
        (found,) = [int(v["id"]) for v in self.client.views(self.project_id) if v["data"]["title"] == title]
        return found

    def decided(self, stage: str) -> list[tuple[int, int | None, str, str]]:
        """(task, annotation, verdict, by) of all decisions of a stage, in order."""
        found = decisions_of(self.runtime.store, self.project_id, 0, 2**31, stage)
        return [(d.task_id, d.annotation_id, d.verdict, d.by) for d in found]


def invited(client: LabelStudio, number: int) -> int:
    email = f"r{number}-{secrets.token_hex(4)}@people.example"
    made = client.request(
        "POST", "/api/users/", json={"email": email, "username": email[:30], "first_name": f"P{number}"}
    )
    return int(made["id"])


@contextmanager
def review_site(
    label_studio: Any, folder: Path, texts: list[str], *, people: int, backend: str = "sklearn_text", **settings: str
) -> Iterator[Site]:
    """A project of these texts, each for so many `people`; the administrator is the reviewer."""
    with LabelStudio(label_studio.url, label_studio.token) as client:
        annotators = [invited(client, number) for number in range(3)]
        reviewer = int(client.whoami()["id"])
        title = f"Review {secrets.token_hex(4)}"
        project_id = int(client.create_project(title, CONFIG, maximum_annotations=people)["id"])
        tasks = client.import_tasks(project_id, [{"data": {"text": text}} for text in texts])
        environ = {"LABELLOOP_QUALITY__REVIEWERS": str(reviewer), "LABELLOOP_ACTIVE_LEARNING__BLIND_SHARE": "0"}
        loaded = load_settings(None, environ | {f"LABELLOOP_{name}": value for name, value in settings.items()})
        services = loaded.services.model_copy(update={"data": folder, "mlflow_uri": f"sqlite:///{folder}/mlflow.db"})
        runtime = Runtime(Settings(services=services, defaults=loaded.defaults))
        runtime.__dict__["client"] = client
        runtime.store.put_project(
            project_id=project_id, title=title, task_type="text_classification", backend=backend,
            label_config=CONFIG, settings={}, holdout_threshold=0.0,
        )  # fmt: skip
        with chdir(folder):  # where MLflow keeps the artefacts of a database without a server
            yield Site(runtime, project_id, tasks, [*annotators, reviewer])
        client.delete_project(project_id)
        runtime.store.close()
