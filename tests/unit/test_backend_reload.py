"""Versions change under way: one load per version, a swap that waits for nobody, and memory that comes back."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from backend_bench import (
    PATIENCE_S,
    PROJECT,
    SECRET,
    TEXT_CONFIG,
    Asking,
    Bench,
    HeldModel,
    Model,
    reasons,
    request_of,
    task,
    until,
)

from backends.serving import ServedModels, ServedRow
from labelloop.logs import JsonLines
from labelloop.store import Place


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


class Gate:
    """A loader that waits until the test lets it go on, and counts."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.loads = 0

    def __call__(self, folder: Path) -> Model:
        self.loads += 1
        self.inside.release()
        assert self.go_on.acquire(timeout=PATIENCE_S)
        return Model()

    def wait_inside(self) -> None:
        assert self.inside.acquire(timeout=PATIENCE_S)


def ready(bench: Bench, row: ServedRow) -> Any:
    body = {"project": PROJECT, "model_version": row.model_version, "path": row.path, "digest": row.digest}
    return bench.app.test_client().post("/ready", json=body, headers=SECRET)


def setup_of(bench: Bench) -> str:
    return str(bench.client.post("/setup", json={"project": f"{PROJECT}.17"}).get_json()["model_version"])


def test_callers_who_want_the_same_version_at_once_wait_for_one_load(bench: Bench) -> None:
    bench.serve()
    gate = bench.load = Gate()
    coming = bench.row("v2")
    askings = [Asking(lambda: ready(bench, coming).status_code) for _ in range(3)]
    gate.wait_inside()
    gate.go_on.release(3)
    assert [asking.result() for asking in askings] == [200] * 3
    bench.serve(name="v2")
    assert setup_of(bench) == "fake-p3-v2-r1"
    assert gate.loads == 1


def test_requests_are_answered_by_the_old_version_while_the_new_one_loads(bench: Bench) -> None:
    bench.serve(5)
    gate = bench.load = Gate()
    bench.store.rows = [bench.row("v2", 2)]
    polling = Asking(bench.models.poll)
    gate.wait_inside()
    assert bench.client.get("/health").status_code == 200
    assert setup_of(bench) == "fake-p3-v1-r1"
    assert bench.client.get("/readiness").status_code == 503
    bench.store.rows.insert(0, replace(bench.row(), project_id=PROJECT + 1))  # the store in memory wants its row
    bench.store.rows.append(bench.row())
    assert reasons(bench.results(request_of(task(5)))) == ["ok"]
    bench.store.rows = [bench.row("v2", 2)]
    gate.go_on.release()
    polling._thread.join(PATIENCE_S)
    until(lambda: bench.models.poll() is None and setup_of(bench) == "fake-p3-v2-r1")
    assert gate.loads == 1


def test_a_request_ends_on_the_version_that_it_began_with(bench: Bench) -> None:
    old = HeldModel()
    bench.model = old
    bench.serve(5)
    asking = Asking(lambda: bench.results(request_of(task(5))))
    old.wait_inside()
    bench.model = Model()
    bench.serve(5, name="v2", generation=2)
    assert reasons(bench.results(request_of(task(5)))) == ["ok"]
    assert not asking.is_over
    assert bench.models.loaded_count == 1
    old.release()
    [result] = asking.result()
    assert (result["model_version"], result["reason"]) == ("fake-p3-v1-r1", "ok")


def test_a_version_that_does_not_load_leaves_the_old_one_answering(bench: Bench) -> None:
    bench.serve(5)

    def explode(folder: Path) -> Model:
        raise MemoryError

    bench.load = explode
    v1 = bench.store.rows
    bench.serve(5, name="v2", generation=2)
    assert setup_of(bench) == "fake-p3-v1-r1"
    bench.store.rows = [*bench.store.rows, *v1]
    assert reasons(bench.results(request_of(task(5)))) == ["ok"]


def test_y8_an_unloaded_version_is_really_gone(bench: Bench) -> None:
    bench.model = Model()
    bench.serve(5)
    bench.results(request_of(task(5)))
    old = weakref.ref(bench.model)
    bench.model = Model()
    bench.serve(5, name="v2", generation=2)
    assert bench.models.loaded_count == 1

    def is_gone() -> bool:
        gc.collect()
        return old() is None

    until(is_gone)


def test_y8_many_promotions_keep_one_model_and_few_threads(bench: Bench) -> None:
    alive: weakref.WeakSet[Model] = weakref.WeakSet()

    def load(folder: Path) -> Model:
        model = Model()
        alive.add(model)
        return model

    bench.load = load
    before = set(threading.enumerate())
    for number in range(1, 31):
        bench.serve(5, name=f"v{number}", generation=number)
        assert reasons(bench.results(request_of(task(5)))) == ["ok"]

    def settled() -> bool:
        gc.collect()
        return len(alive) == 1

    until(settled)
    assert bench.models.loaded_count == 1
    until(lambda: sum(thread.name == "model" for thread in set(threading.enumerate()) - before) <= 1)
    folders = [each for each in (bench.folder / "data" / "backends" / "fake").iterdir() if each.is_dir()]
    assert len(folders) <= 16


def test_a_project_that_is_served_no_longer_frees_its_model(bench: Bench) -> None:
    bench.serve(5)
    bench.store.rows = []
    bench.models.poll()
    assert bench.models.loaded_count == 0
    assert setup_of(bench) == "fake-none"


def test_projects_share_a_version_and_several_have_their_own(bench: Bench) -> None:
    loads: list[str] = []
    bench.load = lambda folder: loads.append(folder.name) or Model()  # type: ignore[func-returns-value]
    bench.store.rows = [bench.row(), replace(bench.row(), project_id=4), replace(bench.row("v9"), project_id=5)]
    bench.store.known[5] = Place("pool", 0.1)
    bench.models.poll()
    assert len(loads) == 2 and bench.models.loaded_count == 2
    for project, version in ((3, "fake-p3-v1-r1"), (4, "fake-p3-v1-r1"), (5, "fake-p3-v9-r1"), (6, "fake-none")):
        body = request_of(task(5)) | {"project": f"{project}.17"}
        assert bench.results(body)[0]["model_version"] == version


def test_a_pushed_out_model_that_takes_too_long_to_come_back_costs_no_more_than_the_time(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, predict_budget_s=0.2)
    bench.serve(5)
    gate = Gate()
    bench.load = gate
    bench.models._models._loaded.clear()
    answer = bench.client.post("/predict", json=request_of(task(5))).get_json()
    assert (answer["results"], answer["reasons"]) == ([[]], ["deadline"])
    gate.go_on.release()
    until(lambda: bench.models.loaded_count == 1)
    assert gate.loads == 1
    bench.close()


def test_a_pushed_out_model_that_does_not_load_is_not_tried_at_every_request(bench: Bench) -> None:
    bench.serve(5)
    loads: list[Path] = []

    def explode(folder: Path) -> Model:
        loads.append(folder)
        raise RuntimeError("weights")

    bench.load = explode
    bench.models._models._loaded.clear()
    for _ in range(3):
        assert reasons(bench.results(request_of(task(5)))) == ["no_model"]
    assert len(loads) == 1


def test_a_standby_that_was_loaded_meanwhile_is_not_taken_for_unneeded(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.serve(5)
    coming = bench.row("v2")
    model = bench.models._models.load(coming.digest, coming.path)
    bench.models._models.trim()  # as another project's promotion does between the load and the note that it is wanted
    assert bench.models.loaded_count == 1
    bench.models._models.keep(model)
    assert bench.models.loaded_count == 1, "not wanted yet"
    bench.models.prepare(PROJECT, coming.model_version, coming.path, coming.digest)
    assert bench.models.loaded_count == 2
    bench.close()


def test_what_a_version_answers_for_is_logged_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        bench.serve(5)
        narrow = TEXT_CONFIG.replace('<Label value="ORG"/>', "")
        for _ in range(3):
            bench.results(request_of(task(5), config=narrow))
            bench.results(request_of(task(5)))
    lines = [JsonLines().format(record) for record in caplog.records]
    assert sum('"labels":{"label":["PER","ORG"]}' in line for line in lines) == 1
    [outside] = [line for line in lines if "classes not in the label config" in line]
    assert '"label":["ORG"]' in outside


def test_the_poll_of_one_project_waits_for_no_other_projects_load(bench: Bench, tmp_path: Path) -> None:
    gate = Gate()
    slow = bench.row("slow").digest
    models = ServedModels(
        "fake",
        lambda folder: gate(folder) if folder.name == slow else Model(),
        bench.store,
        tmp_path / "x",
        poll_s=0.01,
    )
    bench.store.rows = [replace(bench.row("slow"), project_id=1), replace(bench.row("quick"), project_id=2)]
    models.poll()
    gate.wait_inside()
    assert models.row(2) is None, "loads go one after another"
    gate.go_on.release()
    until(lambda: models.poll() is None and models.row(1) is not None and models.row(2) is not None)
    models.prepare(2, "v3", *(lambda row: (row.path, row.digest))(bench.row("v3")))
    slower = bench.row("slower").digest
    models._models._loader = lambda folder: gate(folder) if folder.name == slower else Model()
    bench.store.rows = [replace(bench.row("slower"), project_id=1), replace(bench.row("v3", 2), project_id=2)]
    models.poll()
    gate.wait_inside()
    assert models.row(2) is not None and models.row(2).model_version == "fake-p3-v3"  # type: ignore[union-attr]
    gate.go_on.release()
