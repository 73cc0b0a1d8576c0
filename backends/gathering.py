"""The outcomes of one request as they come in from other threads, until its deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from labelloop.values import Outcome


class Gathering:
    """A place for each of `count` tasks; `deadline` is a reading of `clock` in seconds."""

    def __init__(self, count: int, deadline: float, clock: Callable[[], float]) -> None:
        self._outcomes: list[Outcome | None] = [None] * count
        self._deadline = deadline
        self._clock = clock
        self._changed = threading.Condition()
        self._begun = 0
        self._settled = 0
        self._closed = False

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, 0 when it is over."""
        return max(0.0, self._deadline - self._clock())

    @property
    def is_late(self) -> bool:
        """Whether nobody waits for an outcome any more."""
        return self._closed or self._clock() >= self._deadline

    def settle(self, outcomes: Iterable[tuple[int, Outcome]]) -> None:
        """Put outcomes in their places; the first one of a place counts, and what comes after `close` is dropped."""
        with self._changed:
            if self._closed:
                return
            for index, outcome in outcomes:
                if self._outcomes[index] is None:
                    self._outcomes[index] = outcome
                    self._settled += 1
            self._changed.notify_all()

    def begin(self, most: int) -> bool:
        """Wait until fewer than `most` of the begun tasks are open, and begin another; False when it is too late for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._begun - self._settled < most, self.left_s)
            if self._begun - self._settled >= most or self.is_late:
                return False
            self._begun += 1
            return True

    def close(self) -> list[Outcome]:
        """Every task's outcome, once all are there or the deadline is over; the status "deadline" where there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._settled == len(self._outcomes), self.left_s)
            self._closed = True
            return [outcome or Outcome("deadline") for outcome in self._outcomes]
