"""A model from elsewhere becomes a version that everything else knows; and the two commands as a person calls them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, FakeRegistry, RecordedQueue
from prelabel_site import Site, prelabel_site, until

from labelloop.artefacts import fetch_artefact, folder_digest
from labelloop.errors import ServiceDown, UsageError
from labelloop.queueing import Queue, prelabel_request
from labelloop.store.promotions import promotions_of, unserved
from labelloop.store.trainings import last_finished, running_training, trainings_of, version_row
from sync.importing import Imported, import_version, options_of
from sync.overview import models_report, served_before
from sync.promotion import plan_promotion, plan_ranking, run_promotion
from sync.reconcile import trigger_training

pytestmark = pytest.mark.integration

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
V1, V2 = "held-p1-v1", "held-p1-v2"


@pytest.fixture
def site(tmp_path: Path, empty_redis: str) -> Iterator[Site]:
    with prelabel_site(tmp_path, empty_redis) as made:
        yield made


def bring(site: Site, words: str, *, promote: bool = True, **options: Any) -> Imported:
    (site.folder / "words.txt").write_text(words)
    return import_version(site.runtime, site.loop.project, [str(site.folder / "words.txt")], options, promote=promote)


def test_a_version_from_elsewhere_is_published_whole_and_known_everywhere(site: Site) -> None:
    made = bring(site, "two", promote=False)
    assert (made.version.name, made.known, made.promotion, made.queued) == (V2, False, None, False)
    row = version_row(site.runtime.store, PROJECT, V2)
    assert row is not None and (row.outcome, row.digest, row.path) == (
        "imported",
        made.version.digest,
        made.version.path,
    )
    copy = fetch_artefact(made.version.path, made.version.digest, site.folder / "copies")
    assert (copy / "model" / "words.txt").read_text() == "two"
    assert folder_digest(copy) == made.version.digest
    report = models_report(site.runtime, site.loop.project)
    jsonschema.validate(report, json.loads((SCHEMAS / "models.schema.json").read_text()))
    assert [(each["version"], each["outcome"], each["dataset_id"]) for each in report["trainings"]] == [
        (V1, "imported", None),
        (V2, "imported", None),
    ]
    assert report["served_version"] == V1
    registry = site.runtime.__dict__["registry"]
    assert isinstance(registry, FakeRegistry) and len(registry.registered) == 2


def test_it_is_promoted_and_the_way_back_is_open(site: Site) -> None:
    made = bring(site, "two")
    assert made.promotion == f"{V2}-r1" and made.queued
    assert site.runtime.queue.active([f"promote-{V2}-r1"])
    assert run_promotion(site.runtime, made.promotion)
    assert site.serving_id == f"{V2}-r1" == site.loop.remote.model_version
    assert site.runtime.__dict__["registry"].champions[-1] == V2
    assert served_before(site.runtime, site.loop.project)[-1] == V1
    assert run_promotion(site.runtime, plan_ranking(site.runtime, site.loop.project, V1))
    assert site.serving_id == f"{V1}-r2"
    site.assert_once(range(1, 11))


def test_the_same_artefact_is_the_same_version(site: Site) -> None:
    first = bring(site, "two")
    again = bring(site, "two")
    assert again.known and again.version == first.version and again.promotion == first.promotion
    assert len(trainings_of(site.runtime.store, PROJECT)) == 2
    assert first.promotion is not None and run_promotion(site.runtime, first.promotion)
    served = bring(site, "two")
    assert served.known and served.promotion is None  # it is served already
    back = bring(site, "one")
    assert back.known and back.version.name == V1 and back.promotion == f"{V1}-r2"


def test_it_is_no_training_to_the_trigger(site: Site) -> None:
    store = site.runtime.store
    assert last_finished(store, PROJECT) is None and running_training(store, PROJECT) is None
    with site.remote.lock:
        site.loop.label(range(1, 9))
    site.mirror()
    before, _ = trigger_training(site.runtime, site.loop.project)
    bring(site, "two")
    after, _ = trigger_training(site.runtime, site.loop.project)
    assert before == after and after.labels_since > 0


def test_a_version_and_its_promotion_come_together_or_not_at_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> str:
        raise MemoryError("the process ended here")

    monkeypatch.setattr("sync.importing.plan_promotion", dies)
    with pytest.raises(MemoryError):
        bring(site, "two")
    assert version_row(site.runtime.store, PROJECT, V2) is None
    assert list((site.runtime.services.data / "scratch" / "imports").iterdir()) == []
    monkeypatch.setattr("sync.importing.plan_promotion", plan_promotion)
    made = bring(site, "two")
    assert (made.version.name, made.known) == (V2, False)


def test_without_mlflow_and_redis_it_is_there_and_caught_up_with_later(site: Site) -> None:
    site.runtime.__dict__["registry"].down = True
    site.runtime.__dict__["queue"] = Queue("redis://127.0.0.1:1/0", site.runtime.store.instance)
    made = bring(site, "two")
    assert made.promotion == f"{V2}-r1" and not made.queued
    row = version_row(site.runtime.store, PROJECT, V2)
    assert row is not None and row.registered_at is None
    assert unserved(site.runtime.store, PROJECT) == [f"{V2}-r1"]
    with pytest.raises(ServiceDown, match="away"):
        run_promotion(site.runtime, made.promotion)
    site.runtime.__dict__["registry"].down = False
    assert run_promotion(site.runtime, made.promotion)
    assert promotions_of(site.runtime.store, PROJECT)[-1][-1].step == "served"


def test_what_cannot_be_is_told(site: Site) -> None:
    with pytest.raises(UsageError, match=r"takes no such option: .*quiet"):
        bring(site, "two", quiet=True)
    assert bring(site, "three", promote=False, loud=True).version.name == V2
    assert options_of(["loud=true", "image-size=640", "name=a b"]) == {"loud": True, "image_size": 640, "name": "a b"}
    with pytest.raises(UsageError, match="KEY=VALUE, got 'loud'"):
        options_of(["loud"])
    store, project = site.runtime.store, site.loop.project
    store.put_project(
        project_id=PROJECT, title=project.title, task_type=project.task_type, backend="sklearn_text",
        label_config=project.label_config, settings={},
    )  # fmt: skip
    with pytest.raises(UsageError, match="'sklearn_text' are trained here only; use: labelloop train 'Texts'"):
        bring(site, "two")


def test_a_project_that_gets_its_tasks_later_is_served_in_their_order(site: Site) -> None:
    """A version may be promoted while there is nothing to predict; Label Studio is switched with the first predictions."""
    from sync.topping_up import top_up

    with site.remote.lock:
        site.loop.remote.model_version = ""
        site.loop.remote.predictions.clear()
    assert top_up(site.runtime, site.loop.project, V1, 1, 10) == 10
    assert site.loop.remote.model_version == f"{V1}-r1"


# -- as a person calls them -------------------------------------------------------------------------------------------


def test_the_commands_print_what_their_schemas_say(site: Site) -> None:
    def said(*arguments: str) -> Any:
        ran = site.command(*arguments, "--json")
        out, err = ran.communicate(timeout=120)
        assert ran.returncode == 0, err
        report = json.loads(out)
        jsonschema.validate(report, json.loads((SCHEMAS / f"{arguments[0]}.schema.json").read_text()))
        return report

    site.add(range(11, 21))
    site.mirror()
    assert said("prelabel", "Texts", "--no-wait")["queued"] == 1
    site.worker()
    done = said("prelabel", "1")
    assert (done["tasks"], done["predicted"], done["pushed"], done["lacking"]) == (20, 20, 20, 0)
    (site.folder / "words.txt").write_text("two")
    made = said("register", "1", "words.txt", "--no-promote", "--option", "loud=true")  # and MLflow is away
    assert (made["version"], made["promotion"]) == (V2, None)
    told, _ = site.command("prelabel", "1").communicate(timeout=120)
    assert "20 of 20 tasks predicted by held-p1-v1 (ok 20)" in told


def test_ctrl_c_leaves_the_jobs_and_says_how_to_look_again(site: Site) -> None:
    site.add(range(11, 21))
    site.mirror()
    asking = site.command("prelabel", "Texts")
    job = prelabel_request(PROJECT, V1, 1, 2**31 - 1).job_id
    until(lambda: site.runtime.queue.active([job]), "the job is queued")
    asking.send_signal(signal.SIGINT)
    _, told = asking.communicate(timeout=60)
    assert asking.returncode == 1
    assert "the jobs go on without this; look again: labelloop prelabel 'Texts'" in told and "Traceback" not in told
    assert site.runtime.queue.active([job])


def test_a_running_job_is_reported(site: Site) -> None:
    queue = site.runtime.queue
    queue.report("prelabel-x", 0.25, "10 of 40 tasks predicted")
    assert queue.progress(["prelabel-x", "prelabel-y"]) == {"prelabel-x": (0.25, "10 of 40 tasks predicted")}
    assert not isinstance(queue, RecordedQueue) and queue.workers("predict") == 0
    assert queue.failure("prelabel-x") is None
