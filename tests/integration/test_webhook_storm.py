"""A thousand webhooks doubled, out of order and one in ten lost: trainings start as if every event had come once, in order."""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path

import pytest

from labelloop.settings import ServiceSettings

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, Loop
from training_steps import EVERY, attempts, opened, reconcile, train

import sync.training
from sync.gate import Verdict
from sync.receiver import create_receiver
from sync.trigger import TRAINING_ROLES
from sync.waiting_labels import waiting

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

EVENTS, WINDOW, TOGETHER = 1000, 25, 10
HEADERS = {"X-Labelloop-Secret": "s"}


class Hints:
    """What the receiver hands over."""

    def __init__(self) -> None:
        self.taken = threading.Semaphore(0)

    def mark_dirty(self, project_id: int) -> None:
        assert project_id == PROJECT

    def request_reconcile(self, project_id: int) -> None:
        self.taken.release()

    def request_training(self, project_id: int) -> None:
        raise AssertionError("nobody asked for a training")

    def request_predictions(self, project_id: int) -> None:
        raise AssertionError("nobody asked for predictions")


class Reference:
    """Labels as they are, and those that the last training had; it knows nothing of events."""

    def __init__(self) -> None:
        self.had: set[tuple[int, str]] = set()
        self.trainings = 0

    def due(self, current: set[tuple[int, str]]) -> bool:
        if len(current - self.had) < EVERY:
            return False
        self.had = current
        self.trainings += 1
        return True


def labels(loop: Loop) -> set[tuple[int, str]]:
    """Annotation and content of every label that counts, from Label Studio itself."""
    roles = {task.task_id: task.role for task in loop.store.tasks(PROJECT)}
    return {
        (each.annotation_id, str(each.result))
        for task in loop.remote.tasks.values()
        for each in task.annotations
        if roles.get(task.task_id) in TRAINING_ROLES
    }


def one_change(loop: Loop, source: random.Random, made: list[int]) -> str:
    """Somebody labels a task, corrects a label or deletes one; the event's name."""
    kind = source.random()
    if made and kind < 0.2:
        loop.remote.change(source.choice(made), result=[{"from_name": "topic", "to_name": "text", "type": "choices",
                                                         "value": {"choices": [source.choice(["sea", "land"])]}}])  # fmt: skip
        return "ANNOTATION_UPDATED"
    if made and kind < 0.3:
        loop.remote.unannotate(made.pop(source.randrange(len(made))))
        return "ANNOTATIONS_DELETED"
    task = source.choice([task.task_id for task in loop.remote.tasks.values() if len(task.annotations) < 2])
    # A second label of one person would replace the first: each person labels a task once.
    person = min({1, 2} - {each.person_id for each in loop.remote.tasks[task].annotations})
    made.append(loop.remote.annotate(task, source.choice(["sea", "land"]), person))
    return "ANNOTATION_CREATED"


def test_trainings_start_as_the_reference_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync.training, "judge", lambda *args, **more: Verdict("rejected", "by the test"))
    loop, source, hints, reference = opened(tmp_path), random.Random(7), Hints(), Reference()
    loop.fill(500)
    reconcile(loop)
    client = create_receiver(hints, ServiceSettings.model_validate({"webhook_secret": "s"})).test_client()
    waits: list[str] = []
    made: list[int] = []
    delivered = lost = 0
    for number in range(EVENTS):
        event = one_change(loop, source, made)
        if source.random() < 0.1:
            lost += 1
        else:
            waits += [event, event]
        # What waits comes in any order.
        while len(waits) > (WINDOW if number < EVENTS - 1 else 0):
            action = waits.pop(source.randrange(len(waits)))
            answer = client.post(f"/hooks/label-studio/{PROJECT}", json={"action": action}, headers=HEADERS)
            assert answer.status_code == 202
            delivered += 1
            if delivered % TOGETHER:
                continue
            assert hints.taken.acquire(timeout=10)
            expected = reference.due(labels(loop))
            assert (reconcile(loop) is not None) == expected, f"after {number} events"
            if expected:
                assert train(loop) is None
    assert (delivered, lost) == (2 * (EVENTS - lost), lost) and 60 < lost < 140
    assert len(attempts(loop)) == reference.trainings >= 8
    assert {row.outcome for row in attempts(loop)} == {"rejected"}

    # One label after a rejection starts nothing.
    while reconcile(loop) is not None:
        train(loop)
    before, since = len(attempts(loop)), waiting(loop.runtime, loop.project).labels
    one_change(loop, random.Random(1), [])
    assert reconcile(loop) is None and len(attempts(loop)) == before
    assert waiting(loop.runtime, loop.project).labels <= since + 1 < EVERY
    loop.store.engine.dispose()
