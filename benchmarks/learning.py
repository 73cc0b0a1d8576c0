"""Learning: what the loop does with labels, good and bad. Each part has a bar of its own; `PARTS` names them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._comparison import show
from benchmarks._detection_loop import loop_rows
from benchmarks._first_servings import serving_rows
from benchmarks._killed_trainings import kill_rows
from benchmarks._latency_in_training import latency_rows
from benchmarks._order_keys import key_rows
from benchmarks._poisoned_gate import poison_rows
from benchmarks._queue_orders import order_rows
from benchmarks._saved_labels import saving_rows


@dataclass(frozen=True)
class Given:
    """What sizes are divided by, tables (part `strategies`) and folders (`loop`), and how often the part `kills` kills each."""

    shrink: int = 1
    data: Sequence[Path] = ()
    kills: int = 10


#: Name -> rows.
PARTS: dict[str, Callable[[Given], list[dict[str, Any]]]] = {
    "poison": lambda given: poison_rows(seeds=max(2, 20 // given.shrink)),
    "order": lambda given: order_rows(1_000_000 // given.shrink, 100_000 // given.shrink),
    "keys": lambda given: key_rows(10_000 // given.shrink),
    "servings": lambda given: serving_rows(1000 // given.shrink),
    "loop": lambda given: loop_rows(
        [each for each in given.data if each.is_dir()], max(1, 3 // given.shrink), max(1, 30 // given.shrink), 320
    ),
    "strategies": lambda given: saving_rows(
        [each for each in given.data if each.is_file()], max(2, 10 // given.shrink), os.cpu_count() or 1
    ),
    "kills": lambda given: kill_rows(given.kills),
    "latency": lambda given: latency_rows(1000 // given.shrink),
}


def measure(
    only: Sequence[str] = (), shrink: int = 1, data: Sequence[Path] = (), kills: int = 10
) -> list[dict[str, Any]]:
    """The rows of these parts, of all where none is named; see `Given`."""
    given = Given(shrink, data, kills)
    return [row for name, part in PARTS.items() if not only or name in only for row in part(given)]


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--only", nargs="*", default=(), choices=list(PARTS), help="these parts alone")
    parser.add_argument("--shrink", type=int, default=1, help="divide each size by this, to try it (default 1)")
    parser.add_argument(
        "--data",
        nargs="*",
        default=(),
        type=Path,
        help="CSV files (text,label) for strategies (default: made texts), folders of images with boxes for loop",
    )
    parser.add_argument("--kills", type=int, default=10, help="for kills: how often each of three (default 10)")
    given = parser.parse_args()
    if given.shrink < 1:
        parser.error("--shrink: expected 1 or more")
    show("learning", measure(given.only, given.shrink, given.data, given.kills), as_json=given.json)


if __name__ == "__main__":
    main()
