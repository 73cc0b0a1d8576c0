"""A whole project predicted by jobs: workers killed at every point, shared, joined, and everything exactly once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT
from label_studio_http import Gate
from prelabel_site import Site, prelabel_site, until

import sync.lacking
from labelloop.errors import NotReady, ServiceDown, ServiceError
from labelloop.queueing import Queue, prelabel_request
from labelloop.store.promotions import predictions_of
from sync.prelabelling import PrelabelReport, prelabel
from sync.reconcile import reconcile_project
from sync.topping_up import top_up

pytestmark = pytest.mark.integration

V1 = "held-p1-v1"
ALL = range(1, 131)


@pytest.fixture
def site(tmp_path: Path, empty_redis: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """130 tasks, ten of them with a prediction; in blocks of 50."""
    monkeypatch.setattr(sync.lacking, "BLOCK", 50)
    with prelabel_site(tmp_path, empty_redis) as made:
        made.add(range(11, 131))
        made.mirror()
        yield made


def run(site: Site, *, wait: bool = True, retry: bool = False, workerless_s: float = 60.0) -> PrelabelReport:
    def ignore(share: float, message: str) -> None:
        assert 0.0 <= share <= 1.0
        assert message

    return prelabel(
        site.runtime, site.loop.project, wait=wait, retry=retry, progress=ignore, poll_s=0.05, workerless_s=workerless_s
    )


def finish(site: Site) -> PrelabelReport:
    """Another worker takes over after a kill, and somebody asks again."""
    site.minutes_pass()
    site.worker()
    report = run(site)
    assert report.lacking == 0
    assert (report.tasks, report.predicted, report.pushed) == (130, 130, 130)
    site.assert_once(ALL)
    assert site.stored() == {"outcomes": 130, "predictions": 130}
    return report


def test_a_project_is_predicted_in_blocks_and_asking_again_does_nothing(site: Site) -> None:
    asked = run(site, wait=False)
    assert (asked.queued, asked.lacking, asked.pushed) == (3, 120, 10)
    assert run(site, wait=False).queued == 0  # joined
    site.worker()
    done = run(site)
    assert done.lacking == 0 and done.queued == 0 and done.by_reason == {"ok": 130}
    site.assert_once(ALL)
    assert set(site.predicted().values()) == {1} and len(site.predicted()) == 120
    pushes = list(site.remote.pushes)
    again = run(site)
    assert (again.queued, again.lacking) == (0, 0) and site.remote.pushes == pushes
    rules = predictions_of(site.runtime.store, PROJECT, site.serving_id)
    assert len(rules) == 130


def test_a_worker_killed_while_the_model_predicts_loses_no_finished_batch(site: Site) -> None:
    site.redis.set("hold", 45)  # block 1 has 40 tasks that lack one, and a batch is 32 tasks
    run(site, wait=False)
    worker = site.worker()
    until(lambda: site.redis.get("held"), "the model is at work on the second batch")
    assert site.stored()["outcomes"] == 10 + 32
    site.kill(worker)
    site.redis.delete("hold")
    finish(site)
    asked = site.predicted()
    assert {asked[task] for task in range(11, 43)} == {1}, "a stored outcome was predicted again"
    assert max(asked.values()) == 2


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["before", "while", "after"])
def test_a_worker_killed_at_the_push_leaves_each_task_one_prediction(site: Site, share: float) -> None:
    """Its rows never arrive, arrive in half, or arrive all; nobody hears the answer."""
    gate = site.remote.gate = Gate(share)
    run(site, wait=False)
    worker = site.worker()
    assert gate.reached.wait(120)
    assert site.stored() == {"outcomes": 50, "predictions": 50}
    site.kill(worker)
    gate.open.set()
    until(lambda: len([task for task, rows in site.remote.held().items() if rows]) >= 10 + 40 * share, "what arrived")
    finish(site)
    assert set(site.predicted().values()) == {1}


def test_several_workers_share_a_project(site: Site) -> None:
    site.redis.set("workers", 2)  # the model answers only once two processes have asked it
    site.worker()
    site.worker()
    report = run(site)
    # A block that ends between the look at what is lacking and the question for it is asked for once more, for nothing.
    assert report.lacking == 0 and 3 <= report.queued <= 6
    site.assert_once(ALL)
    assert set(site.predicted().values()) == {1}


def test_one_bad_task_never_fails_its_batch(site: Site) -> None:
    site.add(range(131, 132), "poison")
    site.worker()
    report = run(site)
    assert report.by_reason == {"error": 1, "ok": 130} and report.lacking == 0 and report.pushed == 131
    site.assert_once(range(1, 132))
    assert site.remote.held()[131][0]["result"] == []


def test_what_failed_for_a_passing_reason_is_predicted_again_when_asked(site: Site) -> None:
    site.add(range(131, 141), "later")
    site.worker()
    assert run(site).by_reason == {"not_found": 10, "ok": 130}
    site.redis.set("there", 1)
    asked = site.predicted()
    assert run(site).by_reason == {"not_found": 10, "ok": 130} and site.predicted() == asked
    report = run(site, retry=True)
    assert report.by_reason == {"ok": 140} and report.pushed == 140
    site.assert_once(range(1, 141))
    roles = {task.task_id: task.role for task in site.runtime.store.tasks(PROJECT)}
    held = site.remote.held()
    assert all(bool(held[task][0]["result"]) == (roles[task] == "pool") for task in range(131, 141))


def test_l7_a_live_answer_that_was_stored_meanwhile_ends_as_one_full_prediction(site: Site) -> None:
    """Label Studio stores what /predict said under the served id: an empty answer for want of time is filled in place."""
    live = {"task": 20, "result": [], "score": 0.5, "model_version": site.serving_id}
    site.loop.remote.push_predictions(1, [live, {**live, "task": 21}])
    kept = {task: rows[0]["id"] for task, rows in site.remote.held().items() if task in (20, 21)}
    site.worker()
    assert run(site).lacking == 0
    site.assert_once(ALL)
    assert {task: site.remote.held()[task][0]["id"] for task in (20, 21)} == kept
    # and one that is stored after the push, as a slow request does, is found by the next sweep
    site.loop.remote.push_predictions(1, [{**live, "task": 30}])
    assert len(site.remote.held()[30]) == 2
    assert reconcile_project(site.runtime, PROJECT, sweep=True) is not None
    until(lambda: len(site.remote.held()[30]) == 1, "the second one is gone")
    site.assert_once(ALL)


def test_a_predict_hint_tops_up_open_tasks_once_however_often_it_comes(site: Site) -> None:
    from labelloop.hints import HintSender

    queue = site.runtime.queue
    hints = HintSender(queue, retry_s=0.05)
    for _ in range(20):
        hints.give("predict", PROJECT)
    until(lambda: not hints.waiting and hints.delivered, "the hints are delivered")
    hints.close()
    assert queue.is_dirty(PROJECT)
    assert reconcile_project(site.runtime, PROJECT) is not None
    site.worker()
    until(lambda: all(len(rows) == 1 for rows in site.remote.held().values()), "each task has its prediction")
    site.assert_once(ALL)
    assert set(site.predicted().values()) == {1}


def test_finished_tasks_are_predicted_too_and_by_this_command_only(site: Site) -> None:
    with site.remote.lock:
        site.loop.label(range(11, 61))
    site.mirror()
    store = site.runtime.store
    for lo, hi in sync.lacking.blocks_of(store, PROJECT):
        top_up(site.runtime, site.loop.project, V1, lo, hi)
    finished = {task.task_id for task in store.tasks(PROJECT) if task.task_id in range(11, 61) and task.overlap == 1}
    assert finished and {task for task, rows in site.remote.held().items() if not rows} == finished
    site.worker()
    assert run(site).lacking == 0
    site.assert_once(ALL)


def test_regions_that_label_studio_refuses_leave_an_empty_prediction(site: Site) -> None:
    site.remote.drop = lambda row: row["task"] in (33, 34) and bool(row["result"])
    site.worker()
    assert run(site).lacking == 0
    site.assert_once(ALL)
    roles = {task.task_id: task.role for task in site.runtime.store.tasks(PROJECT)}
    status = {row["task_id"]: row["status"] for row in predictions_of(site.runtime.store, PROJECT, site.serving_id)}
    for task in (33, 34):
        assert site.remote.held()[task][0]["result"] == []
        assert status[task] == ("class_not_in_config" if roles[task] == "pool" else "blind")


def test_without_redis_worker_or_model_the_message_says_what_to_do(site: Site) -> None:
    with pytest.raises(NotReady, match="no worker takes jobs of the queue 'predict'; start one"):
        run(site, workerless_s=0.2)
    assert site.runtime.queue.active([prelabel_request(PROJECT, V1, 1, 50).job_id])
    queue = site.runtime.queue
    site.runtime.__dict__["queue"] = Queue("redis://:secret@127.0.0.1:1/0", site.runtime.store.instance)
    with pytest.raises(ServiceDown, match=r"Redis at redis://127\.0\.0\.1:1/0 does not answer; start it"):
        run(site)
    site.runtime.__dict__["queue"] = queue
    site.runtime.store.put_project(
        project_id=2, title="New", task_type="t", backend="held", label_config=site.loop.project.label_config,
        settings={},
    )  # fmt: skip
    new = site.runtime.store.project(2)
    assert new is not None
    with pytest.raises(NotReady, match=r"serves no model yet; train one \(labelloop train 'New'\) or bring one in"):
        prelabel(site.runtime, new, wait=True, retry=False, progress=lambda _s, _m: None)


def test_a_job_that_keeps_failing_ends_the_waiting_with_its_reason(site: Site) -> None:
    served = site.runtime.store.served(PROJECT)
    assert served is not None
    (Path(served.path) / "model" / "words.txt").write_text("changed behind our back")
    copy = site.runtime.services.data / "versions" / served.digest
    (copy / "model" / "words.txt").write_text("here too")
    site.worker()
    with pytest.raises(ServiceError, match=r"120 tasks .* no prediction after 3 tries: .*digest"):
        run(site)


def test_a_version_that_is_promoted_meanwhile_is_followed(site: Site) -> None:
    from sync.importing import import_version
    from sync.promotion import run_promotion

    (site.folder / "words.txt").write_text("two")
    site.redis.set("hold", 45)
    worker = site.worker()
    found: list[PrelabelReport] = []
    watching = threading.Thread(target=lambda: found.append(run(site)))
    watching.start()
    until(lambda: site.redis.get("held"), "a job is at work")
    made = import_version(site.runtime, site.loop.project, [str(site.folder / "words.txt")], {}, promote=True)
    site.redis.delete("hold")
    assert made.promotion == "held-p1-v2-r1"
    assert run_promotion(site.runtime, made.promotion) or site.runtime.store.served(PROJECT)
    watching.join(300)
    assert found and found[0].model_version == "held-p1-v2" and found[0].lacking == 0
    assert worker.poll() is None
    site.assert_once(ALL)
