"""Simulated people at a real Label Studio: they submit what the browser would, and log what happened."""

from __future__ import annotations

import io
import json
import random
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from labelloop.demo import people

pytestmark = pytest.mark.e2e

BOXES = """<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">
<Label value="circle"/><Label value="square"/></RectangleLabels></View>"""
CHOICE = """<View><Text name="text" value="$text"/><Choices name="label" toName="text">
<Choice value="good"/><Choice value="bad"/></Choices></View>"""
TRUE_BOX = {"label": "circle", "x": 20.0, "y": 20.0, "width": 40.0, "height": 40.0}
TEXTS = {f"text {number}": ("good", "bad")[number % 2] for number in range(12)}


class Site:
    """The administrator's side: projects, tasks and predictions."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Token {token}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False)
        self.made: list[int] = []

    def call(self, method: str, path: str, **more: Any) -> Any:
        answer = self.http.request(method, path, **more)
        assert answer.status_code < 300, answer.text[:500]
        return answer.json() if answer.content else None

    def project(self, title: str, config: str) -> int:
        body = {"title": title, "label_config": config, "sampling": "Uncertainty sampling"}
        self.made.append(int(self.call("POST", "/api/projects/", json=body)["id"]))
        return self.made[-1]

    def tasks(self, project: int) -> list[dict[str, Any]]:
        found = self.call("GET", "/api/tasks", params={"project": project, "fields": "all", "page_size": 1000})
        return list(found["tasks"])

    def predict(self, project: int, results: dict[int, list[Any]], version: str) -> None:
        rows = [{"task": t, "result": r, "score": 0.5, "model_version": version} for t, r in results.items()]
        assert self.call("POST", f"/api/projects/{project}/import/predictions", json=rows)["created"] == len(rows)
        self.call("PATCH", f"/api/projects/{project}", json={"model_version": version})


@pytest.fixture
def site(label_studio: Any) -> Iterator[Site]:
    opened = Site(label_studio.url, label_studio.token)
    yield opened
    for project in opened.made:
        opened.call("DELETE", f"/api/projects/{project}/")
    opened.http.close()


def command(site: Site, folder: Path, truth: dict[str, Any], *more: str, name: str = "p") -> list[str]:
    (folder / "truth.json").write_text(json.dumps({"projects": truth}))
    who = ["--email", f"{name}-{secrets.token_hex(4)}@people.example", "--password", "a-Long-passw0rd"]
    where = [
        "--url",
        str(site.http.base_url),
        "--truth",
        str(folder / "truth.json"),
        "--log",
        str(folder / f"{name}.log"),
    ]
    return [sys.executable, people.__file__, *who, *where, "--pace", "0", *more]


def work(command_line: list[str]) -> None:
    # From elsewhere and isolated: the script finds nothing of ours to import.
    ran = subprocess.run([command_line[0], "-I", *command_line[1:]], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")


def served(folder: Path, name: str = "p") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.log").read_text().splitlines()]


def choice(label: str) -> list[dict[str, Any]]:
    value = {"choices": [label]}
    return [{"id": "c", "from_name": "label", "to_name": "text", "type": "choices", "value": value, "score": 0.9}]


def texts(site: Site) -> tuple[int, dict[str, Any], dict[int, str]]:
    """A text project with its tasks: its id, its truth, and the true class by task id."""
    title = f"people {secrets.token_hex(4)}"
    project = site.project(title, CHOICE)
    site.call("POST", f"/api/projects/{project}/import", json=[{"data": {"text": text}} for text in TEXTS])
    truth = {title: {"kind": "choice", "control": "label", "to_name": "text", "key": "text", "tasks": TEXTS}}
    return project, truth, {task["id"]: TEXTS[task["data"]["text"]] for task in site.tasks(project)}


def test_three_people_share_the_queue_and_say_what_they_were_shown(site: Site, tmp_path: Path) -> None:
    project, truth, true = texts(site)
    wrong = {"good": "bad", "bad": "good"}
    kinds = {task: ("right", "wrong", "empty")[n % 3] for n, task in enumerate(true)}

    def suggested(task: int) -> list[dict[str, Any]]:
        label = true[task] if kinds[task] == "right" else wrong[true[task]]
        return [] if kinds[task] == "empty" else choice(label)

    site.predict(project, {task: suggested(task) for task in true}, "m1")
    exact = ["--leave", "--error-rate", "0", "--accept-wrong", "0"]
    crowd = [command(site, tmp_path, truth, *exact, "--seed", name, name=name) for name in "123"]
    for process in [subprocess.Popen(line) for line in crowd]:
        assert process.wait(timeout=120) == 0
    log = [row for name in "123" for row in served(tmp_path, name)]
    # Stock Label Studio gives two people who ask in the same instant the same task, now and then; else each task once.
    assert {row["task_id"] for row in log} == set(true)
    assert len(log) <= len(true) + 2
    expected = {
        "right": ("accepted", "prediction"),
        "wrong": ("corrected", "prediction-changed"),
        "empty": ("drawn", "manual"),
    }
    annotations = {task["id"]: task["annotations"] for task in site.tasks(project)}
    predictions = {task["id"]: task["predictions"][0]["id"] for task in site.tasks(project)}
    for row in log:
        (made_here,) = [each for each in annotations[row["task_id"]] if each["id"] == row["annotation_id"]]
        (region,) = made_here["result"]
        assert (row["kind"], region["origin"]) == expected[kinds[row["task_id"]]]
        assert region["value"]["choices"] == [true[row["task_id"]]]
        assert made_here["parent_prediction"] == row["prediction_id"] == predictions[row["task_id"]]
        assert made_here["lead_time"] > 0
        assert row["model_version"] == "m1" and row["first_serving"]
    assert len({site_row[0]["completed_by"] for site_row in annotations.values()}) > 1


def test_wrong_suggestions_are_taken_at_the_given_rate(site: Site, tmp_path: Path) -> None:
    project, truth, true = texts(site)
    site.predict(project, {task: choice("good") for task in true}, "m1")
    work(command(site, tmp_path, truth, "--leave", "--accept-wrong", "1", "--error-rate", "0"))
    kinds = {row["task_id"]: row["kind"] for row in served(tmp_path)}
    assert kinds == {task: "accepted" if label == "good" else "wrong_accepted" for task, label in true.items()}
    results = [task["annotations"][0]["result"][0] for task in site.tasks(project)]
    assert {(r["value"]["choices"][0], r["origin"]) for r in results} == {("good", "prediction")}


def test_boxes_are_drawn_where_they_belong_on_an_uploaded_image(site: Site, tmp_path: Path) -> None:
    title = f"people {secrets.token_hex(4)}"
    project = site.project(title, BOXES)
    shades = random.Random(3)
    names = [f"shape {number}.png" for number in range(3)]
    for name in names:
        picture = io.BytesIO()
        Image.new("RGB", (160, 120), (shades.randrange(256), 0, 0)).save(picture, "PNG")
        site.call("POST", f"/api/projects/{project}/import", files={name: (name, picture.getvalue(), "image/png")})
    tasks = {name.replace(" ", "_"): [TRUE_BOX] for name in names}
    truth = {title: {"kind": "boxes", "control": "label", "to_name": "image", "key": "image", "tasks": tasks}}
    work(command(site, tmp_path, truth, "--leave", "--error-rate", "0"))
    for task in site.tasks(project):
        (region,) = task["annotations"][0]["result"]
        assert (region["original_width"], region["original_height"], region["origin"]) == (160, 120, "manual")
        assert people.overlap(region["value"], TRUE_BOX) > 0.9
        assert task["annotations"][0]["parent_prediction"] is None


def test_a_person_obeys_quotas_comes_back_to_the_same_account_and_counts_on(site: Site, tmp_path: Path) -> None:
    project, truth, _true = texts(site)
    (title,) = truth
    control = tmp_path / "control.json"
    line = command(site, tmp_path, truth, "--control", str(control), "--error-rate", "0")
    for quota in (2, 5):
        control.write_text(json.dumps({"quota": {title: quota}}))
        work(line)
        assert len(served(tmp_path)) == quota
    people_ids = {a["completed_by"] for task in site.tasks(project) for a in task["annotations"]}
    assert len(people_ids) == 1
    control.write_text(json.dumps({"stop": True}))
    work(line)
    assert len(served(tmp_path)) == 5
