"""The part of the report on consensus: of each control how sure its answers are, and the tasks with the least behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qa.report.markup import Child, Html, element, joined, named
from qa.report.tables import left_out_note, section, table
from qa.report.wording import counted, number, plain

#: Rows of each control's table.
MOST_ROWS = 100

TaskLink = Callable[[Any], Html]
_Told = Mapping[str, Any]


def consensus_section(reports: Sequence[_Told], task_link: TaskLink) -> Html:
    """What `labelloop consensus --json` tells of each control; {"control", "reason"} of one that has no consensus."""
    parts = [_control(told, f"consensus-{at}", task_link) for at, told in enumerate(reports)]
    return section("consensus", "Consensus", *parts)


def _control(told: _Told, ident: str, task_link: TaskLink) -> Html:
    name = told.get("control")
    title = joined(["Control ", named(name)]) if name else "All judgments"
    if "tasks" not in told:
        return section(ident, title, not_made(told.get("reason")), level=3)
    tasks: Sequence[_Told] = told["tasks"]
    method = f" by {str(told['method']).replace('_', ' ')}" if "method" in told else ""
    said = element("p", f"{counted(len(tasks), 'task has', 'tasks have')} a consensus{method}.")
    found = _regions(tasks, task_link) if any("regions" in each for each in tasks) else _answers(tasks, task_link)
    return section(ident, title, said, *found, level=3)


def not_made(reason: Any) -> Html:
    """Why a part of the report is not there."""
    return element("p", "Not made: ", str(reason or "nobody said why"), class_="why")


def _answers(tasks: Sequence[_Told], task_link: TaskLink) -> list[Html | None]:
    """Tasks with one answer, the least probable first; of equal ones those that more people merely accepted."""
    known = [each for each in tasks if each.get("probability") is not None]
    ordered = sorted(known, key=lambda each: (each["probability"], -(each.get("anchored") or 0)))[:MOST_ROWS]
    rows: list[Sequence[Child]] = [
        [task_link(each["task"]), plain(each.get("label")), number(float(each["probability"])),
         number(each.get("support")), number(each.get("anchored")), number(each.get("judgments"))]
        for each in ordered
    ]  # fmt: skip
    anchored = [each for each in known if each.get("anchored") and each["anchored"] == each.get("support")]
    said = f"In {counted(len(anchored), 'task')} all who gave the answer merely accepted a suggestion."
    heads = ["Task", "Label", "Probability", "Support", "Of it merely accepted", "Judgments"]
    return [
        element("p", said) if anchored else None,
        table("The least certain tasks", heads, rows, class_="numbers") if rows else None,
        left_out_note(len(rows), len(known), "tasks"),
    ]


def _regions(tasks: Sequence[_Told], task_link: TaskLink) -> list[Html | None]:
    """Tasks with regions: those first in which the smallest share of what was drawn has a quorum, then the least probable."""
    ordered = sorted(tasks, key=lambda each: (_kept_share(each), _lowest(each), -_sum(each, "anchored")))
    unsure = [each for each in ordered if _kept_share(each) < 1.0 or _lowest(each) < 1.0]
    rows: list[Sequence[Child]] = [
        [task_link(each["task"]), number(len(each["regions"])), number(len(each["rejected"])),
         number(float(_lowest(each))) if each["regions"] else "–", number(_sum(each, "support")),
         number(_sum(each, "anchored")), number(each.get("n_people"))]
        for each in unsure[:MOST_ROWS]
    ]  # fmt: skip
    kept = sum(len(each["regions"]) for each in tasks)
    few = sum(len(each["rejected"]) for each in tasks)
    said = f"{counted(kept, 'region has', 'regions have')} a quorum, {number(few)} {'has' if few == 1 else 'have'} not."
    heads = ["Task", "Regions", "Without a quorum", "Lowest probability", "Support", "Of it merely accepted", "People"]
    return [
        element("p", said),
        table("The least certain tasks", heads, rows, class_="numbers") if rows else None,
        left_out_note(len(rows), len(unsure), "tasks"),
    ]


def _kept_share(task: _Told) -> float:
    drawn = len(task["regions"]) + len(task["rejected"])
    return len(task["regions"]) / drawn if drawn else 1.0


def _lowest(task: _Told) -> float:
    return min((float(each["probability"]) for each in task["regions"]), default=1.0)


def _sum(task: _Told, name: str) -> int:
    return sum(each.get(name) or 0 for each in task["regions"])
