"""Webhook events as hints: which project changed, who wants a training; handed to Redis by a thread of their own.

A hint may be lost without harm (reconcile sweeps). So it never makes a caller wait, and never fails a request.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Literal, Protocol

from labelloop.logs import error_fields

log = logging.getLogger(__name__)

START_TRAINING = "START_TRAINING"
#: Every event that stock Label Studio names, in the singular and the plural that different versions send.
KNOWN_EVENTS: frozenset[str] = frozenset(
    {START_TRAINING, "PROJECT_CREATED", "PROJECT_UPDATED", "PROJECT_DELETED"}
    | {f"{noun}{plural}_{verb}" for noun in ("ANNOTATION", "TASK") for plural in ("", "S")
       for verb in ("CREATED", "UPDATED", "DELETED")}
    | {f"LABEL_LINK_{verb}" for verb in ("CREATED", "UPDATED", "DELETED")}
)  # fmt: skip

Kind = Literal["reconcile", "train", "predict"]
"""Look at what changed; train now; predict what a request had no time for."""
#: Hints that wait at most; more come from nobody who has so many projects.
MAX_WAITING = 10_000


class HintQueue(Protocol):
    """The part of `labelloop.queueing.Queue` that takes hints; each call may raise when Redis is down."""

    def mark_dirty(self, project_id: int) -> object: ...

    def request_reconcile(self, project_id: int) -> object: ...

    def request_training(self, project_id: int) -> object: ...

    def request_predictions(self, project_id: int) -> object: ...


def event_name(body: Any) -> str | None:
    """The action of a webhook body, or None when the body is no event."""
    action = body.get("action") if isinstance(body, dict) else None
    return action if isinstance(action, str) and action else None


def project_of(value: Any) -> int | None:
    """A project id out of what Label Studio sends: 3, "3", "3.1795233319" or {"id": 3}; None when it is none."""
    if isinstance(value, dict):
        value = value.get("id")
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    head = str(value).partition(".")[0]
    return int(head) if head.isascii() and head.isdigit() and len(head) < 19 else None


class HintSender:
    """Keeps at most one hint of each kind per project, and hands them over in the background until each is taken."""

    def __init__(
        self, queue: HintQueue, *, on_failure: Callable[[str], None] | None = None, retry_s: float = 2.0
    ) -> None:
        self._queue = queue
        self._on_failure = on_failure
        self._retry_s = retry_s
        self._changed = threading.Condition()
        self._waiting: dict[tuple[Kind, int], None] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.failed = 0
        self.delivered = 0

    def give(self, kind: Kind, project_id: int) -> None:
        """Take a hint and return at once; a thread starts with the first one (so after a server has forked)."""
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                self.failed += 1
                return
            self._waiting[(kind, project_id)] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """How many hints have not been taken yet."""
        with self._changed:
            return len(self._waiting)

    def close(self, timeout_s: float = 1.0) -> None:
        """Stop the thread; what still waits is dropped."""
        self._stopped.set()
        with self._changed:
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped.is_set())
                batch = list(self._waiting)
                self._waiting.clear()
            failures = [hint for hint in batch if not self._hand_over(*hint)]
            if failures:
                with self._changed:
                    # Others may have come meanwhile: the bound holds for both together.
                    new = [hint for hint in failures if hint not in self._waiting]
                    self._waiting.update(dict.fromkeys(new[: max(0, MAX_WAITING - len(self._waiting))]))
                self._stopped.wait(self._retry_s)

    def _hand_over(self, kind: Kind, project_id: int) -> bool:
        try:
            if kind == "train":
                self._queue.request_training(project_id)
            elif kind == "predict":
                self._queue.request_predictions(project_id)
            else:
                self._queue.mark_dirty(project_id)
                self._queue.request_reconcile(project_id)
        except Exception as error:  # Redis down, or anything else: the hint waits, the request is long answered
            self.failed += 1
            log.warning("hint not taken", extra={"kind": kind, "project": project_id, **error_fields(error)})
            if self._on_failure is not None:
                self._on_failure(kind)
            return False
        self.delivered += 1
        return True


class QueueOpenedLater:
    """A hint queue that is opened at the first hint, and again at the next one when that failed."""

    def __init__(self, open_queue: Callable[[], HintQueue]) -> None:
        self._open = open_queue
        self._queue: HintQueue | None = None

    def _opened(self) -> HintQueue:
        if self._queue is None:
            self._queue = self._open()
        return self._queue

    def mark_dirty(self, project_id: int) -> object:
        """As the queue's own."""
        return self._opened().mark_dirty(project_id)

    def request_reconcile(self, project_id: int) -> object:
        """As the queue's own."""
        return self._opened().request_reconcile(project_id)

    def request_training(self, project_id: int) -> object:
        """As the queue's own."""
        return self._opened().request_training(project_id)

    def request_predictions(self, project_id: int) -> object:
        """As the queue's own."""
        return self._opened().request_predictions(project_id)
