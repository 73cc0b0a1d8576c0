"""Python's search for reference cycles, put off while a tree of plain values is built."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cycles_uncollected() -> Iterator[None]:
    """No search for cycles within the block; for code that makes hundreds of thousands of dicts and lists and no cycle.

    Reference counts still free everything else. Without this the search goes over all of them again and again, and
    takes longer than the work. It holds for the whole process, so the block should last seconds at most.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
