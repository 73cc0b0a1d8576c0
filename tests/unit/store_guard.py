"""What outcomes are written under where nothing may stop the work: no lease, just transactions."""

from __future__ import annotations

from contextlib import AbstractContextManager

from sqlalchemy import Connection

from labelloop.store import Store


class Guard:
    """Never says when to stop."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def check(self) -> None:
        pass

    def writing(self) -> AbstractContextManager[Connection]:
        return self._store.begin()
