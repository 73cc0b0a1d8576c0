"""Learning: what the loop does with labels, good and bad. Each part has a bar of its own; `PARTS` names them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks._comparison import show
from benchmarks._poisoned_gate import poison_rows

#: Name -> rows, with sizes divided by `shrink`.
PARTS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "poison": lambda shrink: poison_rows(seeds=max(2, 20 // shrink)),
}


def measure(only: Sequence[str] = (), shrink: int = 1) -> list[dict[str, Any]]:
    """The rows of these parts, of all where none is named."""
    return [row for name, part in PARTS.items() if not only or name in only for row in part(shrink)]


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--only", nargs="*", default=(), choices=list(PARTS), help="these parts alone")
    parser.add_argument("--shrink", type=int, default=1, help="divide each size by this, to try it (default 1)")
    given = parser.parse_args()
    if given.shrink < 1:
        parser.error("--shrink: expected 1 or more")
    show("learning", measure(given.only, given.shrink), as_json=given.json)


if __name__ == "__main__":
    main()
