"""How far people agree on each class, as bars beside the numbers, and which classes they take for each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qa.report.markup import Child, Html, element, joined, named
from qa.report.tables import left_out_note, table
from qa.report.wording import metric_name, number

#: Rows at most.
MOST_CLASSES, MOST_CONFUSED = 100, 30
#: Metrics by which classes are put in order, the first that is there.
_FIRST = ("agreement", "specific_agreement", "f1_50", "f1", "krippendorff_alpha")


@dataclass(frozen=True)
class Confused:
    """Two classes that people gave to the same thing, how often, and tasks where they did."""

    first: str
    second: str
    n: int
    tasks: tuple[int, ...] = ()


def class_bars(per_class: Mapping[str, Mapping[str, Any]]) -> Html | None:
    """Classes by how far people agree on them, the worst first; None without any."""
    if not per_class:
        return None
    metrics = list(dict.fromkeys(name for each in per_class.values() for name in each if _is_metric(name)))
    first = next((name for name in (*_FIRST, *metrics) if name in metrics), None)
    others = [name for name in metrics if name != first]
    counts = list(dict.fromkeys(name for each in per_class.values() for name in each if not _is_metric(name)))
    ordered = sorted(per_class.items(), key=lambda each: _order(each[1].get(first) if first else None))[:MOST_CLASSES]
    heads: list[Child] = ["Class", *[_count_name(name) for name in counts]]
    heads += [] if first is None else [metric_name(first), element("span", "Bar", class_="unseen")]
    heads += [metric_name(name) for name in others]
    rows = []
    for name, each in ordered:
        row: list[Child] = [named(name) if name else "(none)", *[number(each.get(count)) for count in counts]]
        row += [] if first is None else [number(_value(each.get(first))), bar(_value(each.get(first)))]
        rows.append([*row, *[number(_value(each.get(other))) for other in others]])
    return joined(
        [
            table("Agreement on each class, the lowest first", heads, rows, class_="numbers"),
            left_out_note(len(ordered), len(per_class), "classes"),
        ]
    )


def bar(value: float | None) -> Html | None:
    """A bar from 0 to 1; nothing for no value. What is below 0 has no length."""
    if value is None:
        return None
    width = 100 * min(max(value, 0.0), 1.0)
    drawn = element("rect", x=0, y=0, width=100, height=10, class_="track")
    filled = element("rect", x=0, y=0, width=f"{width:.1f}", height=10, class_="filled")
    return element(
        "svg", drawn, filled, viewBox="0 0 100 10", preserveAspectRatio="none", class_="bar", aria_hidden="true"
    )


def confused_classes(found: Sequence[Confused], task_link: Callable[[Any], Html]) -> Html | None:
    """Pairs of classes that people take for each other, the most frequent first; None without any."""
    if not found:
        return None
    ordered = sorted(found, key=lambda each: -each.n)[:MOST_CONFUSED]
    most = ordered[0].n
    rows: list[list[Child]] = [
        [named(each.first), named(each.second), number(each.n), bar(each.n / most),
         joined(task_links(each.tasks, task_link))]
        for each in ordered
    ]  # fmt: skip
    bar_head = element("span", "Bar", class_="unseen")
    caption = "Classes that people took for each other, by pairs of judgments"
    return joined(
        [
            table(caption, ["One says", "another", "n", bar_head, "For example in"], rows, class_="numbers"),
            left_out_note(len(ordered), len(found), "pairs of classes"),
        ]
    )


def task_links(tasks: Sequence[Any], task_link: Callable[[Any], Html]) -> list[Child]:
    """Links to tasks with commas between."""
    parts: list[Child] = [part for task in tasks for part in (", ", task_link(task))]
    return parts[1:]


def _is_metric(name: str) -> bool:
    return name != "n" and not name.startswith("n_")


def _count_name(name: str) -> str:
    return "n" if name == "n" else name.removeprefix("n_").replace("_", " ").capitalize()


def _value(found: Any) -> float | None:
    value = found.get("value") if isinstance(found, Mapping) else found
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def _order(found: Any) -> tuple[bool, float]:
    value = _value(found)
    return value is None, value or 0.0
