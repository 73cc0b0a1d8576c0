"""Checks of agreement while work goes on: only what changed is measured again, and it comes out as if all were."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import update

from labelloop import folders
from labelloop.revisions import revision_hash
from labelloop.settings import ServiceSettings, Settings
from labelloop.store import ProjectRow
from labelloop.store import tables as t
from labelloop.store.decisions import APPROVED, REVIEW, decide
from qa.agreement import measure_agreement
from sync.agreement_checks import Check, check_agreement, labels_at_last_check, last_report
from sync.quality import labels_frame
from sync.runtime import Runtime

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="praise"/><Choice value="complaint"/></Choices></View>'
)


class Work:
    """A project whose people label, change their minds, skip and delete."""

    def __init__(self, runtime: Runtime, tasks: int) -> None:
        self.runtime, self.store = runtime, runtime.store
        self.store.put_project(
            project_id=1, title="Letters", task_type="text_classification", backend="sklearn_text", label_config=CONFIG,
            settings={}, holdout_threshold=0.1,
        )  # fmt: skip
        rows = [
            {"task_id": n, "data": {"text": f"text {n}"}, "meta": {}, "overlap": 2, "content_hash": f"c{n}",
             "group_key": f"c{n}", "role": "gold" if n % 10 == 0 else "pool"}
            for n in range(1, tasks + 1)
        ]  # fmt: skip
        self.store.put_tasks(1, rows)
        self.rev: dict[int, int] = {}

    @property
    def project(self) -> ProjectRow:
        return self.store.find_project("1")

    def say(self, task: int, person: int, value: str, state: str = "submitted") -> None:
        annotation = task * 10 + person
        rev = self.rev[annotation] = self.rev.get(annotation, 0) + 1
        result = [
            {"id": "r", "from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [value]}}
        ]
        row: dict[str, Any] = {
            "project_id": 1, "annotation_id": annotation, "task_id": task, "rev": rev, "person_id": person,
            "kind": "human", "state": state, "ground_truth": False, "created_at": AT,
            "updated_at": AT + timedelta(minutes=rev), "seen_at": AT, "lead_time_s": 2.0, "parent_prediction": None,
            "shown_serving_id": None, "config_hash": "c", "result": result,
            "rev_hash": revision_hash(result, state, False),
        }  # fmt: skip
        with self.store.begin() as connection:
            self.store.insert_missing(connection, t.revisions, [row])

    def check(self) -> Check:
        return check_agreement(self.runtime, self.project)

    def report(self, check: Check) -> dict[str, Any]:
        report: dict[str, Any] = orjson.loads(folders.read_file(check.uri, "agreement.json"))
        return report

    def assert_as_if_measured_anew(self, check: Check) -> None:
        wanted = measure_agreement(labels_frame(self.runtime, self.project), self._config())
        found = {name: each for name, each in self.report(check).items() if name in wanted}
        assert found["controls"]["label"].pop("tasks") == wanted["controls"]["label"].pop("tasks")
        assert found == orjson.loads(orjson.dumps(wanted))

    @staticmethod
    def _config() -> Any:
        from labelloop.label_config import parse_label_config

        return parse_label_config(CONFIG)


@pytest.fixture
def work(tmp_path: Path, database_url: str) -> Iterator[Work]:
    settings = Settings(services=ServiceSettings(data=tmp_path, database_url=database_url))
    runtime = Runtime(settings)
    yield Work(runtime, 80)
    runtime.store.close()


def test_a_second_check_measures_what_changed_and_comes_out_the_same(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync.agreement_checks._AGAIN", 0)
    source = random.Random(1)
    for task in range(1, 71):
        for person in (1, 2):
            work.say(task, person, source.choice(["praise", "complaint"]))
    first = work.check()
    assert first.tasks is None
    work.assert_as_if_measured_anew(first)
    for task, person, value, state in (
        (1, 1, "praise", "submitted"), (1, 2, "praise", "submitted"), (2, 1, "praise", "cancelled"),
        (3, 2, "praise", "deleted"), (75, 1, "praise", "submitted"), (75, 2, "complaint", "submitted"),
    ):  # fmt: skip
        work.say(task, person, value, state)
    second = work.check()
    assert second.tasks == (1, 2, 3, 75)
    assert len(list((folders.local_path(second.uri).parents[1] / "tallies").iterdir())) == 1
    work.assert_as_if_measured_anew(second)
    assert labels_at_last_check(work.runtime, work.project) == work.store.count_labels(1)
    assert (last_report(work.runtime, work.project) or {})["n_labels"] == counted_labels(work)


def counted_labels(work: Work) -> int:
    return sum(label.role != "gold" for label in work.store.labels(1))


def test_a_reviewers_answer_is_no_label_from_the_review_on(work: Work) -> None:
    for person, value in ((1, "praise"), (2, "complaint"), (3, "praise")):
        work.say(1, person, value)
    assert work.report(work.check())["n_labels"] == 3
    revision = next(label.rev_hash for label in work.store.labels(1) if label.person_id == 3)
    decide(work.store, 1, 1, REVIEW, APPROVED, "3", "as the first one", annotation_id=13, rev_hash=revision)
    checked = work.check()
    assert work.report(checked)["n_labels"] == 2
    work.assert_as_if_measured_anew(checked)
    # Reviews don't keep calling for the next check.
    assert labels_at_last_check(work.runtime, work.project) == work.store.count_labels(1)


def test_a_deleted_task_leaves_and_a_changed_text_measures_all_anew(work: Work) -> None:
    for task in range(1, 6):
        for person in (1, 2):
            work.say(task, person, ["praise", "complaint"][task * person % 2])
    work.check()
    with work.store.begin() as connection:
        connection.execute(update(t.tasks).where(t.tasks.c.task_id == 1).values(deleted_at=datetime.now(UTC)))
    gone = work.check()
    assert gone.tasks is not None
    work.assert_as_if_measured_anew(gone)
    with work.store.begin() as connection:
        connection.execute(update(t.tasks).where(t.tasks.c.task_id == 2).values(rev_hash="changed"))
    assert work.check().tasks is None


def test_lost_tallies_and_a_new_config_measure_all_anew(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    for person in (1, 2):
        work.say(1, person, "praise")
    first = work.check()
    (tallies,) = (folders.local_path(first.uri).parents[1] / "tallies").iterdir()
    (tallies / "counts.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert work.check().tasks is None
    assert "measured from the beginning" in caplog.text
    assert work.check().tasks is not None
    with work.store.begin() as connection:
        work.store.set_label_config(connection, 1, CONFIG.replace('"complaint"', '"blame"'))
    assert work.check().tasks is None


def test_tallies_of_a_bucket_serve_the_next_check_and_go(tmp_path: Path, bucket: Any) -> None:
    settings = Settings(services=ServiceSettings(data=tmp_path, artifacts_uri="s3://labels/deep"))
    runtime = Runtime(settings)
    work = Work(runtime, 10)
    for task in (1, 2, 3):
        for person in (1, 2):
            work.say(task, person, "praise" if task < 3 else "complaint")
    first = work.check()
    (kept,) = folders.names_below("s3://labels/deep/tallies")
    work.say(2, 1, "complaint")
    second = work.check()
    assert first.tasks is None and second.tasks is not None, "what the bucket kept was used"
    work.assert_as_if_measured_anew(second)
    (now,) = folders.names_below("s3://labels/deep/tallies")
    assert now != kept and len(folders.names_below("s3://labels/deep/reports")) == 2
    runtime.store.close()


def test_too_little_agreement_on_enough_tasks_is_an_alarm(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    for task in range(1, 60):
        work.say(task, 1, ["praise", "complaint"][task % 2])
        work.say(task, 2, ["praise", "complaint"][task % 3 == 0])
        if task == 20:
            assert work.check().alarms == ()
    with caplog.at_level(logging.WARNING):
        (alarm,) = work.check().alarms
    assert (alarm["control"], alarm["metric"], alarm["threshold"]) == ("label", "krippendorff_alpha", 0.7)
    assert alarm["value"] < 0.7 and alarm["n"] >= 50
    assert "people agree too little" in caplog.text
    assert (last_report(work.runtime, work.project) or {})["alarms"] == [alarm]


def test_a_status_tells_alarms(work: Work) -> None:
    from sync.overview import status_report, status_text

    assert status_report(work.runtime)["projects"][0]["agreement_alarms"] is None
    for task in range(1, 60):
        for person in (1, 2):
            work.say(task, person, ["praise", "complaint"][task % (person + 1) == 0])
    work.check()
    report = status_report(work.runtime)
    (alarm,) = report["projects"][0]["agreement_alarms"]
    assert f"people agree too little on label: krippendorff_alpha {alarm['value']:.2f} below 0.7" in status_text(report)
