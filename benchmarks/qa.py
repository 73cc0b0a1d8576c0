"""Quality at size: alpha, ten million labels on disk, consensus by models of errors; beside libraries that do the same."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks._alpha import alpha_rows
from benchmarks._box_agreement import box_rows
from benchmarks._changed_agreement import change_rows
from benchmarks._comparison import at_least, show
from benchmarks._dawid_skene import consensus_rows, dawid_skene_rows
from benchmarks._labels_on_disk import disk_rows
from benchmarks._review_passes import review_rows

#: Least precision of what ranks first as an error, where the wrong labels are of any class, and of easily confused ones.
UNIFORM, CONFUSABLE = 0.8, 0.5


def error_rows(shrink: int = 1) -> list[dict[str, Any]]:
    """Share of real errors among as many suspects as labels were made wrong."""
    from benchmarks._injected_errors import generated_pairs, measure_boxes, measure_spans, measure_texts

    found = measure_texts(generated_pairs(max(200, 800 // shrink)))
    found += measure_boxes(max(50, 200 // shrink)) + measure_spans(max(100, 400 // shrink))
    rows = []
    for each in found:
        bar = CONFUSABLE if "confusable" in each["what"] else UNIFORM
        more = {name: value for name, value in each.items() if name not in ("what", "precision")}
        what = f"precision of errors, {each['what']} (ratio: ours / peer)"
        rows.append(at_least(what, each["precision"], bar, f"at least {bar}", **more))
    return rows


#: Name -> (repeats, shrink) -> rows. Each size is divided by `shrink`.
PARTS: dict[str, Callable[[int, int], list[dict[str, Any]]]] = {
    "alpha": lambda repeats, shrink: alpha_rows(repeats, 1_000_000 // shrink),
    "disk": lambda repeats, shrink: disk_rows(repeats, 2_500_000 // shrink),
    "boxes": lambda repeats, shrink: box_rows(repeats, 200_000 // shrink),
    "dawid_skene": lambda repeats, shrink: dawid_skene_rows(repeats, 200_000 // shrink),
    "changes": lambda repeats, shrink: change_rows(1_000_000 // shrink),
    "review": lambda repeats, shrink: review_rows(100_000 // shrink),
    "consensus": lambda repeats, shrink: consensus_rows(max(2_000, 20_000 // shrink)),
    "errors": lambda repeats, shrink: error_rows(shrink),
}


def measure(repeats: int, only: Sequence[str] = (), shrink: int = 1) -> list[dict[str, Any]]:
    """The rows of these parts, of all where none is named."""
    return [row for name, part in PARTS.items() if not only or name in only for row in part(repeats, shrink)]


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=3, help="how often each side runs (default 3)")
    parser.add_argument("--only", nargs="*", default=(), choices=list(PARTS), help="these parts alone")
    parser.add_argument("--shrink", type=int, default=1, help="divide each size by this, to try it (default 1)")
    given = parser.parse_args()
    if min(given.repeats, given.shrink) < 1:
        parser.error("--repeats and --shrink: expected 1 or more")
    show("qa", measure(given.repeats, given.only, given.shrink), as_json=given.json)


if __name__ == "__main__":
    main()
