"""One thread per loaded model, which takes the tasks of concurrent requests through it together, in batches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from backends.gathering import Gathering
from backends.predicting import predict_each
from backends.protocols import Backend
from backends.turns import Turns
from labelloop.logs import error_fields
from labelloop.values import Outcome, TaskItem

log = logging.getLogger(__name__)

#: Tasks of one batch at most, where a backend does not say it by an attribute `batch_size`.
BATCH_SIZE = 256
#: The first batch of a model, whose speed is not known yet.
FIRST_BATCH = 4
#: Seconds that one batch should take at most: so long does a lone task wait behind a large request.
BATCH_S = 1.0
#: The thread ends when there was nothing to do for so long: an unloaded model is then free.
IDLE_S = 10.0


class ModelQueue:
    """The tasks that wait for one model.

    A batch is whatever waits when the model gets free, so a lone task goes at once, and tasks that come while the model
    computes go together. Its size follows the model's measured speed. `on_batch` is told the tasks and the seconds.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        self._backend = backend
        self._largest = max(1, int(getattr(backend, "batch_size", BATCH_SIZE)))
        self._idle_s = idle_s
        self._clock = clock
        self._on_batch = on_batch
        self._turns: Turns[tuple[Gathering, int, TaskItem]] = Turns()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._task_s: float | None = None

    @property
    def batch_size(self) -> int:
        """How many tasks the next batch may have."""
        if self._task_s is None:
            return min(FIRST_BATCH, self._largest)
        return max(1, min(self._largest, int(BATCH_S / max(self._task_s, 1e-6))))

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return len(self._turns)

    @property
    def is_idle(self) -> bool:
        """Whether no thread holds the model."""
        return self._thread is None

    def add(self, gathering: Gathering, items: Iterable[tuple[int, TaskItem]]) -> None:
        """Queue a request's tasks, each with its place; their outcomes go to the gathering."""
        with self._starting:
            self._turns.add(gathering, [(gathering, index, item) for index, item in items])
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="model", daemon=True)
                self._thread.start()

    def drop(self, gathering: Gathering) -> None:
        """Forget a request's tasks that still wait."""
        self._turns.drop(gathering)

    def rest(self) -> None:
        """Let the thread end as soon as nothing waits; the next task starts another."""
        self._turns.wake()

    def _run(self) -> None:
        while True:
            batch = self._turns.take(self.batch_size, self._idle_s)
            if batch:
                self._compute(batch)
                del batch  # or the last tasks stay in memory while the thread waits
                continue
            with self._starting:
                if not len(self._turns):
                    self._thread = None
                    return

    def _compute(self, batch: list[tuple[Gathering, int, TaskItem]]) -> None:
        outcomes: dict[Gathering, list[tuple[int, Outcome]]] = {gathering: [] for gathering, _, _ in batch}
        late = {gathering for gathering in outcomes if gathering.is_late}
        due = [piece for piece in batch if piece[0] not in late]
        started = self._clock()
        try:
            found = predict_each(self._backend, [item for _, _, item in due])
        except BaseException as error:  # a library that calls sys.exit must not leave a model without its thread
            log.error("model ended abnormally", extra=error_fields(error))
            found = [Outcome("error")] * len(due)
        if due:
            self._note(len(due), self._clock() - started)
        for (gathering, index, _), outcome in zip(due, found, strict=True):
            outcomes[gathering].append((index, outcome))
        for gathering, index, _ in batch:
            if gathering in late:
                outcomes[gathering].append((index, Outcome("deadline")))
        for gathering, own in outcomes.items():
            gathering.settle(own)

    def _note(self, tasks: int, seconds: float) -> None:
        """Take the measured speed over when it is better than thought, and half of the way when it is worse."""
        each = seconds / tasks
        self._task_s = each if self._task_s is None or each < self._task_s else (self._task_s + each) / 2
        if self._on_batch is not None:
            self._on_batch(tasks, seconds)
