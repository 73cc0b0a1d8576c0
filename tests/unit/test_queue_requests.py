"""The wire format of the queues: names and arguments that jobs of an older release may still carry."""

from __future__ import annotations

import inspect
import json
import re

import pytest

import sync.jobs
from labelloop.queueing import (
    JOB_TIMEOUT_S,
    JobRequest,
    manual_training_request,
    prelabel_request,
    promote_request,
    quality_request,
    reconcile_request,
    register_request,
    retire_request,
    top_up_request,
    train_request,
)
from labelloop.store.trainings import training_id_of

DATASET = "d0123456789abcdef"
PINNED = [
    (reconcile_request(7), "sync", "sync.jobs.reconcile", [7], "reconcile-p7"),
    (train_request(7, DATASET, 2), "train", "sync.jobs.train", [7, DATASET, 2], "train-p7-0123456789ab-2"),
    (promote_request("yolo-p7-v3-r1"), "predict", "sync.jobs.promote", ["yolo-p7-v3-r1"], "promote-yolo-p7-v3-r1"),
    (top_up_request(7, "yolo-p7-v3", 1, 99), "predict", "sync.jobs.predict", [7, "yolo-p7-v3", 1, 99],
     "predict-yolo-p7-v3-1-99"),
    (prelabel_request(7, "yolo-p7-v3", 1, 99), "predict", "sync.jobs.predict", [7, "yolo-p7-v3", 1, 99, True],
     "prelabel-yolo-p7-v3-1-99"),
    (register_request(7, "train-p7-x-1"), "train", "sync.jobs.register", [7, "train-p7-x-1"], "register-train-p7-x-1"),
    (quality_request(7), "sync", "sync.jobs.check_quality", [7], "quality-p7"),
    (retire_request(7), "predict", "sync.jobs.retire", [7], "retire-p7"),
    (manual_training_request(7), "sync", "sync.jobs.train_now", [7], "trainnow-p7"),
]  # fmt: skip
IDS = [row[4].partition("-")[0] for row in PINNED]


@pytest.mark.parametrize(("request_", "queue", "function", "args", "job_id"), PINNED, ids=IDS)
def test_a_request_is_what_it_was_in_earlier_releases(
    request_: JobRequest, queue: str, function: str, args: list[object], job_id: str
) -> None:
    assert (request_.queue, request_.function, request_.job_id) == (queue, function, job_id)
    assert json.loads(json.dumps(request_.args)) == args


@pytest.mark.parametrize("request_", [row[0] for row in PINNED], ids=IDS)
def test_a_job_of_that_name_takes_these_arguments(request_: JobRequest) -> None:
    module, _, name = request_.function.rpartition(".")
    assert module == "sync.jobs"
    inspect.signature(getattr(sync.jobs, name)).bind(*request_.args)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", request_.job_id)
    assert request_.queue in JOB_TIMEOUT_S


def test_every_job_can_be_asked_for() -> None:
    public = {
        name
        for name, value in vars(sync.jobs).items()
        if inspect.isfunction(value) and value.__module__ == "sync.jobs" and not name.startswith("_")
    }
    # `rank` is for people at the command line of a later release; its name is pinned all the same.
    assert public == {row[2].rpartition(".")[2] for row in PINNED} | {"rank"}


def test_a_training_and_its_job_have_one_id() -> None:
    assert train_request(7, DATASET, 2).job_id == training_id_of(7, DATASET, 2)
