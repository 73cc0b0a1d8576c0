"""Whether a stock Label Studio serves our order: what keeps it from that is named, set right, and tried on the server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from labelloop.label_studio import LabelStudio
from labelloop.store.promotions import predictions_of

sys.path.insert(0, str(Path(__file__).parent))
from review_site import RULES, Site, review_site

from sync.order_probe import fix_order, order_problems, order_report, order_text, probe_server
from sync.promotion import plan_ranking, run_promotion

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),  # MLflow's, which runs in this process
]
SCHEMA = orjson.loads((Path(__file__).parents[2] / "docs" / "schemas" / "prioritize.schema.json").read_bytes())


@pytest.fixture
def site(label_studio: Any, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "rules.yaml").write_text(RULES)
    texts = ["harbour one", "harbour two", "water one", "water two", "harbour three"]
    with review_site(
        label_studio, tmp_path, texts, people=1, backend="rules", ACTIVE_LEARNING__EXPLORE_SHARE="0"
    ) as made:
        made.serve(tmp_path / "rules.yaml")
        yield made


def test_what_keeps_the_order_from_being_served_is_named_and_set_right(site: Site) -> None:
    client, store = site.client, site.runtime.store
    assert order_problems(client, store, site.project) == []
    client.update_project(site.project_id, sampling="Sequential sampling", model_version="")
    client.request("PATCH", f"/api/predictions/{site.predictions(site.tasks[0])[0]['id']}/", json={"score": None})
    report = order_report(client, store, site.project, probe=True)
    jsonschema.validate(report, SCHEMA)
    assert [(each["what"].split(" ")[0:2], each["fixable"]) for each in report["problems"]] == [
        (["the", "project's"], True), (["the", "project's"], True), (["1", "predictions"], False),
    ]  # fmt: skip
    assert not report["served"] and report["server"] == {"tau": 1.0, "tasks": 8, "follows": True}
    assert "serves the order that it is given" in order_text(report)
    assert fix_order(client, store, site.project) == ["sampling", "model_version"]
    assert len(order_problems(client, store, site.project)) == 1
    titles = [row["title"] for row in client.list_projects()]
    assert not [title for title in titles if "order probe" in title]


def test_a_new_order_by_another_strategy_mends_the_scores(site: Site) -> None:
    served = site.runtime.store.served(site.project_id)
    assert served is not None
    promotion = plan_ranking(site.runtime, site.project, served.model_version, strategy="uncertainty")
    assert run_promotion(site.runtime, promotion)
    rows = sorted(predictions_of(site.runtime.store, site.project_id, promotion), key=lambda row: row["order_key"])
    assert {row["task_id"] for row in rows[:2]} == set(site.tasks[2:4])  # what the rules are less sure of
    assert order_problems(site.client, site.runtime.store, site.project) == []
    task = site.client.next_task(site.project_id)
    assert task is not None and task["id"] == rows[0]["task_id"]


def test_an_order_is_sent_for_the_tasks_that_are_left(site: Site) -> None:
    site.client.delete_task(site.tasks[1])
    served = site.runtime.store.served(site.project_id)
    assert served is not None
    promotion = plan_ranking(site.runtime, site.project, served.model_version)
    assert run_promotion(site.runtime, promotion)
    assert len(predictions_of(site.runtime.store, site.project_id, promotion)) == 5  # nobody has told the store yet
    assert site.client.count_predictions(site.project_id, promotion) == 4
    assert site.client.get_project(site.project_id)["model_version"] == promotion


def test_a_server_that_does_not_follow_is_told(label_studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = LabelStudio.create_project

    def in_sequence(self: LabelStudio, *args: Any, **more: Any) -> Any:
        return real(self, *args, **{**more, "sampling": "Sequential sampling"})

    monkeypatch.setattr(LabelStudio, "create_project", in_sequence)
    monkeypatch.setattr("sync.order_probe.random.sample", lambda tasks, _count: list(reversed(tasks)))
    with LabelStudio(label_studio.url, label_studio.token) as client:
        found = probe_server(client)
    assert not found.follows and found.tau == -1.0
