"""What suggestions cost, on a store that mirrors a Label Studio in memory: fates, seconds, and classes that are hidden."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from backends.version_labels import ControlLabels, write_labels
from labelloop.artefacts import write_digest
from labelloop.cli import app
from labelloop.errors import UsageError
from labelloop.store import Store
from labelloop.store.decisions import decide
from labelloop.store.promotions import add_step, predictions_of
from labelloop.store.showings import Showing, Verdict, hidden_classes, last_showings, put_showings
from labelloop.store.tables import outcomes, projects, tasks
from labelloop.store.types import utc_now

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop, choice, make_loop
from mirror_steps import read

from sync.correction_cost import cost_of
from sync.hidden_classes import hide_slow_classes, show_again
from sync.promotion import plan_promotion, plan_ranking, run_promotion
from sync.topping_up import top_up

pytestmark = pytest.mark.integration

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "cost.schema.json").read_text())
V1 = "sklearn_text-p1-v1"
BOXES = (
    '<View><Image name="image" value="$text"/><RectangleLabels name="box" toName="image"><Label value="cat"/>'
    '<Label value="dog"/></RectangleLabels></View>'
)
SPANS = (
    '<View><Text name="text" value="$text"/><Labels name="span" toName="text"><Label value="PER"/>'
    '<Label value="ORG"/></Labels></View>'
)
#: Seconds: a blind label, one from a suggestion of "sea" and one of "land".
BLIND, SEA, LAND = 10.0, 25.0, 3.0


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = make_loop(tmp_path, ACTIVE_LEARNING__BLIND_SHARE="0")
    made.remote.now = utc_now() - timedelta(hours=5)
    salted(made)
    yield made
    made.store.engine.dispose()


def salted(loop: Loop) -> None:
    """The same tasks are held out in every run."""
    with loop.store.begin() as connection:
        connection.execute(update(projects).values(salt="the same"))


def configure(loop: Loop, xml: str) -> None:
    loop.store.put_project(
        project_id=PROJECT, title="Texts", task_type="x", backend="sklearn_text", label_config=xml, settings={}
    )


def suggested(loop: Loop, task_id: int, result: list[dict[str, Any]], serving_id: str = f"{V1}-r1") -> int:
    """A prediction of ours that somebody is shown."""
    loop.remote.push_predictions(
        PROJECT, [{"task": task_id, "model_version": serving_id, "score": 0.4, "result": result}]
    )
    return int(loop.remote.predictions[-1]["id"])


def corrected(loop: Loop, task_id: int, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    loop.remote.add_task(task_id)
    loop.remote.annotate(task_id, result=after, parent_prediction=suggested(loop, task_id, before))


def told(loop: Loop) -> dict[str, Any]:
    report = cost_of(loop.store, loop.project).to_json(PROJECT)
    jsonschema.validate({**report, "shown_again": []}, SCHEMA, format_checker=jsonschema.FormatChecker())
    return report


def regions(loop: Loop) -> dict[str, dict[str, int]]:
    """What became of the regions of each class, but for zeros."""
    return {each["class"]: {fate: n for fate, n in each["regions"].items() if n} for each in told(loop)["classes"]}


def all_pool(loop: Loop) -> None:
    """No task is held out."""
    with loop.store.begin() as connection:
        connection.execute(update(tasks).values(role="pool"))


# -- what became of suggestions -------------------------------------------------------------------------------------------


def test_choices_are_accepted_or_relabelled_by_class_and_version(loop: Loop) -> None:
    with loop.store.begin() as connection:
        detail = {"model_version": V1, "serving_id": f"{V1}-r1"}
        add_step(loop.store, connection, PROJECT, f"{V1}-r1", "planned", detail)
    corrected(loop, 1, choice("sea"), choice("sea"))
    corrected(loop, 2, choice("sea"), choice("land"))
    corrected(loop, 3, choice("land"), [{**choice("land")[0], "id": "new"}])
    loop.remote.add_task(4)
    loop.remote.annotate(4, "sea", parent_prediction=suggested(loop, 4, choice("sea"), "another"))
    read(loop)
    all_pool(loop)
    assert regions(loop) == {"sea": {"accepted": 2, "relabelled": 1}, "land": {"accepted": 1}}
    versions = {each["model_version"]: each["labels"] for each in told(loop)["versions"]}
    assert versions == {V1: 3, "another": 1}


def test_boxes_are_accepted_moved_relabelled_added_and_deleted(loop: Loop) -> None:
    def box(region: str, label: str, x: float, **more: Any) -> dict[str, Any]:
        value = {"x": x, "y": 1, "width": 10, "height": 10, "rotation": 0, "rectanglelabels": [label]}
        return {"id": region, "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value, **more}

    configure(loop, BOXES)
    before = [box("a", "cat", 0), box("b", "cat", 20), box("c", "cat", 40), box("d", "cat", 60)]
    after = [box("a", "cat", 0, origin="prediction"), box("b", "cat", 22, origin="prediction-changed"),
             box("z", "dog", 41, origin="manual"), box("e", "dog", 80, origin="manual")]  # fmt: skip
    corrected(loop, 1, before, after)
    read(loop)
    all_pool(loop)
    assert regions(loop) == {"cat": {"accepted": 1, "moved": 1, "relabelled": 1, "deleted": 1}, "dog": {"added": 1}}


def test_spans_are_accepted_moved_relabelled_added_and_deleted(loop: Loop) -> None:
    def span(region: str, label: str, start: int, end: int, **more: Any) -> dict[str, Any]:
        value = {"start": start, "end": end, "labels": [label], **more}
        return {"id": region, "from_name": "span", "to_name": "text", "type": "labels", "value": value}

    configure(loop, SPANS)
    before = [span("a", "PER", 0, 3), span("b", "PER", 4, 9), span("c", "ORG", 10, 14), span("d", "ORG", 20, 24)]
    after = [
        span("a", "PER", 0, 3, text="Ada"),
        span("n", "PER", 4, 7),
        span("c", "PER", 10, 14),
        span("e", "ORG", 30, 34),
    ]
    corrected(loop, 1, before, after)
    read(loop)
    all_pool(loop)
    assert regions(loop) == {
        "PER": {"accepted": 1, "moved": 1}, "ORG": {"relabelled": 1, "added": 1, "deleted": 1},
    }  # fmt: skip


def test_only_labels_by_people_whose_suggestion_is_known_count(loop: Loop) -> None:
    for task_id in range(1, 7):
        loop.remote.add_task(task_id)
    parent = suggested(loop, 1, choice("sea"))
    loop.remote.annotate(1, parent_prediction=parent)
    loop.remote.annotate(1, person=2, parent_prediction=parent, last_action="prediction")  # copied in bulk
    loop.remote.annotate(2, parent_prediction=suggested(loop, 2, choice("sea")), last_action="imported")
    loop.remote.annotate(3, parent_prediction=999)  # gone before it could be read
    loop.remote.annotate(4, parent_prediction=suggested(loop, 4, []))
    loop.remote.annotate(5)
    loop.remote.annotate(6, parent_prediction=suggested(loop, 6, choice("sea")), lead_time_s=7200.0)
    read(loop)
    all_pool(loop)
    assert told(loop)["labels"] == {
        "blind": 0, "suggested": 2, "left_out": {"no_time": 1, "nothing_suggested": 2, "suggestion_unknown": 1},
    }  # fmt: skip


def test_reviews_and_suggestions_on_blind_tasks_are_left_out(loop: Loop) -> None:
    loop.fill(12)
    read(loop)
    held = next(task.task_id for task in loop.store.tasks(PROJECT) if task.role == "holdout")
    loop.remote.annotate(held, parent_prediction=suggested(loop, held, choice("sea")))
    loop.remote.annotate(held, person=2)
    review = loop.remote.annotate(held, person=3)
    read(loop)
    decide(loop.store, PROJECT, held, "review", "approved", "3", "", annotation_id=review)
    assert told(loop)["labels"] == {
        "blind": 1, "suggested": 0, "left_out": {"review": 1, "suggestion_on_blind_task": 1},
    }  # fmt: skip


# -- seconds, and classes that are hidden -----------------------------------------------------------------------------------


def work(loop: Loop, first: int, last: int, seed: int = 0) -> None:
    """Two people label these tasks: held out ones blind, the others from a suggestion; those of "sea" slow them down."""
    source = np.random.default_rng(seed)
    loop.fill(last - first + 1, start=first)
    read(loop)
    roles = {task.task_id: task.role for task in loop.store.tasks(PROJECT)}
    for task_id in range(first, last + 1):
        label, person = ("sea" if task_id % 2 else "land"), int(source.integers(1, 3))
        blind = roles[task_id] == "holdout"
        typical = BLIND if blind else SEA if label == "sea" else LAND
        seconds = person * typical * float(np.exp(source.normal(0, 0.3)))
        parent = None if blind else suggested(loop, task_id, choice(label))
        loop.remote.annotate(task_id, label, person, parent_prediction=parent, lead_time_s=seconds)
    read(loop)


def slowness(loop: Loop, name: str) -> float:
    """How many times as long as the faster person's the work on suggestions of a class takes, typically."""
    rows = [row for row in loop.store.labels(PROJECT) if row.shown_serving_id and row.result == choice(name)]
    return float(np.exp(np.log([row.person_id for row in rows]).mean()))


def waiting(loop: Loop, first: int, last: int) -> None:
    """Tasks that nobody has labelled, with what the model says of them."""
    loop.fill(last - first + 1, start=first)
    read(loop)
    rows = [
        {"project_id": PROJECT, "task_id": task_id, "model_version": V1, "created_at": utc_now(), "status": "ok",
         "confidence": 0.9, "uncertainty": 0.1, "fired_rules": None,
         "result": [{**choice("sea" if task_id % 2 else "land")[0], "score": 0.9}]}
        for task_id in range(first, last + 1)
    ]  # fmt: skip
    with loop.store.begin() as connection:
        loop.store.insert_missing(connection, outcomes, rows)


def served(loop: Loop) -> str:
    """A version without a model is promoted: what it says is in the store already."""
    folder = loop.runtime.services.data / "artifacts" / "v1"
    folder.mkdir(parents=True)
    classes = ("sea", "land")
    write_labels(folder, [ControlLabels("topic", "text", "text", "choices", classes, dict.fromkeys(classes, 0.5))])
    digest = write_digest(folder)
    with loop.store.begin() as connection:
        promotion = plan_promotion(loop.store, connection, loop.project, V1, str(folder), digest, None)
    assert run_promotion(loop.runtime, promotion)
    return promotion


def ranked(loop: Loop) -> str:
    """A new order of the served version."""
    promotion = plan_ranking(loop.runtime, loop.project, V1)
    assert run_promotion(loop.runtime, promotion)
    return promotion


def shows(loop: Loop, serving_id: str) -> set[str]:
    """The classes that the predictions of a serving id show in Label Studio."""
    return {
        label
        for row in loop.remote.predictions
        if row["model_version"] == serving_id
        for region in row["result"]
        for label in region["value"]["choices"]
    }


def test_a_class_that_slows_people_down_is_hidden_and_may_be_shown_again(loop: Loop) -> None:
    work(loop, 1, 300)
    report = {each["class"]: each for each in told(loop)["classes"]}
    found = {each.name[1]: each.saving for each in cost_of(loop.store, loop.project).classes}
    for name, typical in (("sea", SEA), ("land", LAND)):
        low, high = found[name].interval(0.9999) or (0.0, 0.0)
        assert low < (BLIND - typical) * slowness(loop, name) < high and high - low < 20
    assert report["sea"]["slows"] and report["sea"]["shown"] and not report["land"]["slows"]
    waiting(loop, 301, 340)
    first = served(loop)
    assert shows(loop, first) == {"land"} and hidden_classes(loop.store, PROJECT) == {"topic": {"sea"}}
    decision = last_showings(loop.store, PROJECT)["topic", "sea"]
    assert decision.by == "labelloop" and "cost" in decision.reason and decision.evidence["ci"][1] < 0
    # The next order, and tasks that come later, are hidden from without another decision.
    waiting(loop, 341, 360)
    assert top_up(loop.runtime, loop.project, V1, 341, 360) == 20
    assert shows(loop, first) == {"land"} and shows(loop, ranked(loop)) == {"land"}
    assert last_showings(loop.store, PROJECT)["topic", "sea"] == decision
    with pytest.raises(UsageError, match=r"'land' are not hidden.*hidden: 'sea'"):
        show_again(loop.store, loop.project, "land")
    assert show_again(loop.store, loop.project, "sea") == [("topic", "sea")]
    assert hidden_classes(loop.store, PROJECT) == {}
    # On the same evidence it is not hidden again.
    assert shows(loop, ranked(loop)) == {"land", "sea"}
    sea = next(each for each in told(loop)["classes"] if each["class"] == "sea")
    assert (sea["seconds_saved"]["n_suggested"], sea["shown"], sea["decision"]["verdict"]) == (0, True, "shown")
    # On what was suggested since, it is.
    loop.remote.now = utc_now() + timedelta(minutes=1)
    work(loop, 401, 700, seed=1)
    assert shows(loop, ranked(loop)) == {"land"}
    rows = predictions_of(loop.store, PROJECT, f"{V1}-r4")
    assert rows and {region["value"]["choices"][0] for row in rows for region in row["result"]} == {"land"}


def test_the_last_decision_about_a_class_holds(store: Store) -> None:
    def put(control: str, name: str, verdict: Verdict) -> None:
        made = Showing(control, name, verdict, "labelloop", "slow", utc_now(), {"value": -2.5})
        with store.begin() as connection:
            put_showings(store, connection, PROJECT, [made])

    assert hidden_classes(store, PROJECT) == {}
    for control, name in (("topic", "sea"), ("topic", "land"), ("mood", "sea"), ("topic", "air / open")):
        put(control, name, "hidden")
    put("topic", "land", "shown")
    put("mood", "sea", "shown")
    put("mood", "sea", "hidden")
    assert hidden_classes(store, PROJECT) == {"topic": {"sea", "air / open"}, "mood": {"sea"}}
    assert hidden_classes(store, PROJECT + 1) == {}
    assert last_showings(store, PROJECT)["topic", "land"].evidence == {"value": -2.5}


def test_hard_tasks_that_come_first_hide_nothing(loop: Loop) -> None:
    """Suggestions change nothing here; the tasks that the model is unsure of take longer, and were suggested alone so far."""
    source = np.random.default_rng(2)
    loop.fill(900)
    read(loop)
    unsure = {task.task_id: float(source.random()) for task in loop.store.tasks(PROJECT)}
    rows = [
        {"project_id": PROJECT, "task_id": task_id, "model_version": f"{V1}-r1", "created_at": utc_now(), "status": "ok",
         "confidence": 1 - each, "uncertainty": each, "fired_rules": None, "result": []}
        for task_id, each in unsure.items()
    ]  # fmt: skip
    with loop.store.begin() as connection:
        loop.store.insert_missing(connection, outcomes, rows)
    for task in loop.store.tasks(PROJECT):
        blind = task.role == "holdout"
        if blind or unsure[task.task_id] > 0.6:
            parent = suggested(loop, task.task_id, [] if blind else choice("sea"))
            seconds = 10 * float(np.exp(unsure[task.task_id] + source.normal(0, 0.3)))
            loop.remote.annotate(task.task_id, "sea", parent_prediction=parent, lead_time_s=seconds)
    read(loop)
    (sea,) = told(loop)["classes"]
    assert sea["seconds_saved"]["ci"][1] < -1 and sea["equally_hard"]["ci"][1] > 0 and not sea["slows"]


def test_few_tasks_hide_nothing(loop: Loop) -> None:
    work(loop, 1, 60)
    sea = next(each for each in told(loop)["classes"] if each["class"] == "sea")
    assert sea["seconds_saved"]["value"] is None and "30 are needed" in sea["seconds_saved"]["reason"]
    waiting(loop, 301, 310)
    assert shows(loop, served(loop)) == {"land", "sea"} and hidden_classes(loop.store, PROJECT) == {}


def test_a_fault_in_the_figures_costs_nobody_the_ranking(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    waiting(loop, 1, 10)
    monkeypatch.setattr("sync.hidden_classes.cost_of", fails)
    assert hide_slow_classes(loop.store, loop.project, None) == []  # type: ignore[arg-type]
    assert shows(loop, served(loop)) == {"land", "sea"}


def test_the_command_tells_and_shows_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop(tmp_path, ACTIVE_LEARNING__BLIND_SHARE="0")
    loop.remote.now = utc_now() - timedelta(hours=5)
    salted(loop)
    work(loop, 1, 300)
    waiting(loop, 301, 310)
    served(loop)
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    text = CliRunner().invoke(app, ["cost", "Texts"])
    assert text.exit_code == 0 and "topic 'sea'" in text.stdout and "hidden since 20" in text.stdout, text.output
    shown = CliRunner().invoke(app, ["cost", "Texts", "--show", "sea", "--json"])
    report = json.loads(shown.stdout)
    jsonschema.validate(report, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert report["shown_again"] == [{"control": "topic", "class": "sea"}]
    assert "shown again since 20" in CliRunner().invoke(app, ["cost", "Texts"]).stdout
    again = CliRunner().invoke(app, ["cost", "Texts", "--show", "sea"])
    assert isinstance(again.exception, UsageError)
    loop.store.engine.dispose()
