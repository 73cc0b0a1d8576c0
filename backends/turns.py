"""Work of several owners that waits for a few threads: one piece of each in turn, so a large request holds up no small one."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """A queue with a lane per owner; `take` goes round the lanes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lanes: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._count = 0
        self._woken = False

    def add(self, owner: Hashable, pieces: Iterable[T]) -> None:
        """Append pieces to an owner's lane."""
        new = list(pieces)
        if not new:
            return
        with self._changed:
            self._lanes.setdefault(owner, deque()).extend(new)
            self._count += len(new)
            self._changed.notify(len(new))

    def take(self, most: int, timeout_s: float | None = None) -> list[T]:
        """Up to `most` pieces as soon as there is one; none after the timeout or a `wake`."""
        with self._changed:
            self._changed.wait_for(lambda: self._lanes or self._woken, timeout_s)
            taken: list[T] = []
            while self._lanes and len(taken) < most:
                owner, lane = self._lanes.popitem(last=False)
                taken.append(lane.popleft())
                if lane:
                    self._lanes[owner] = lane
            self._count -= len(taken)
            if not taken:
                self._woken = False
            return taken

    def drop(self, owner: Hashable) -> None:
        """Forget what an owner still has waiting."""
        with self._changed:
            self._count -= len(self._lanes.pop(owner, ()))

    def wake(self) -> None:
        """Let one `take` that finds nothing return at once."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def __len__(self) -> int:
        return self._count
