"""Learning: what the loop does with labels, good and bad. Each part has a bar of its own; `PARTS` names them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks._comparison import show
from benchmarks._order_keys import key_rows
from benchmarks._poisoned_gate import poison_rows
from benchmarks._queue_orders import order_rows
from benchmarks._saved_labels import saving_rows

#: Name -> rows, with sizes divided by `shrink`.
PARTS: dict[str, Callable[[int, Sequence[Path]], list[dict[str, Any]]]] = {
    "poison": lambda shrink, _data: poison_rows(seeds=max(2, 20 // shrink)),
    "order": lambda shrink, _data: order_rows(1_000_000 // shrink, 100_000 // shrink),
    "keys": lambda shrink, _data: key_rows(10_000 // shrink),
    "strategies": lambda shrink, data: saving_rows(data, max(2, 10 // shrink), os.cpu_count() or 1),
}


def measure(only: Sequence[str] = (), shrink: int = 1, data: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """The rows of these parts, of all where none is named; `data` are tables for the part `strategies`."""
    return [row for name, part in PARTS.items() if not only or name in only for row in part(shrink, data)]


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--only", nargs="*", default=(), choices=list(PARTS), help="these parts alone")
    parser.add_argument("--shrink", type=int, default=1, help="divide each size by this, to try it (default 1)")
    parser.add_argument(
        "--data", nargs="*", default=(), type=Path, help="CSV files (text,label) for strategies; default: made texts"
    )
    given = parser.parse_args()
    if given.shrink < 1:
        parser.error("--shrink: expected 1 or more")
    show("learning", measure(given.only, given.shrink, given.data), as_json=given.json)


if __name__ == "__main__":
    main()
