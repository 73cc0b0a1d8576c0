"""Many rows in few requests of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Row = TypeVar("Row")


def bounded(rows: Iterable[Row], size_of: Callable[[Row], int], most_rows: int, most_bytes: int) -> Iterator[list[Row]]:
    """Runs of rows, each of at most so many, and of so many bytes by `size_of` unless one row alone has more."""
    run: list[Row] = []
    held = 0
    for row in rows:
        own = size_of(row)
        if run and (len(run) >= most_rows or held + own > most_bytes):
            yield run
            run, held = [], 0
        run.append(row)
        held += own
    if run:
        yield run
