"""The part of the report on one control: metrics, pairs of people, classes, people, weeks, and what suggestions did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qa.report.bars import Confused, class_bars, confused_classes
from qa.report.markup import Child, Html, element, joined, named
from qa.report.matrix import pair_matrix
from qa.report.tables import left_out_note, section, table
from qa.report.trend import week_trend
from qa.report.wording import counted, figure, interval, metric_name, number

#: People in the table, those with the lowest scores.
MOST_PEOPLE = 200
_BASES = {
    "all": "all pairs",
    "blind": "blind: neither saw a suggestion",
    "same_suggestion": "anchored: both saw the same suggestion",
}


def control_section(
    name: str,
    control: Mapping[str, Any],
    confused: Sequence[Confused],
    ident: str,
    task_link: Callable[[Any], Html],
) -> Html:
    """All that the agreement report tells of one control."""
    kind = " ".join(filter(None, (control.get("kind"), control.get("level")))) or "labels"
    said = [
        f"{control['type']}, {kind}.",
        f"{number(control['n_overlapped'])} of {counted(control['n_tasks'], 'task')} have several people's labels,",
        f"by {counted(control['n_annotators'], 'person', 'people')}.",
    ]
    if control.get("n_labels") is not None:
        said.append(f"{counted(control['n_labels'], 'label')}.")
    if control.get("n_empty"):
        said.append(f"In {counted(control['n_empty'], 'pair')} nobody gave anything: told apart, and in no metric.")
    if control.get("n_unsure"):
        said.append(f"{counted(control['n_unsure'], 'label')} said unsure, which is no class and goes to review.")
    parts: list[Child] = [
        element("p", " ".join(said)),
        _metrics(control),
        _part(ident, "pairs", "Pairs of people", pair_matrix(control["pairs"], ident)),
        _part(ident, "classes", "Classes", class_bars(control["per_class"])),
        _part(ident, "confused", "Hotspots: classes taken for each other", confused_classes(confused, task_link)),
        _part(ident, "people", "Annotators", _people(control.get("per_annotator") or {})),
        _part(ident, "weeks", "Trend", week_trend(control["by_week"], ident) if "by_week" in control else None),
        _part(ident, "shown", "Blind and anchored", _shown(control)),
    ]
    return section(ident, joined(["Control ", named(name)]), *parts)


def _part(ident: str, name: str, title: str, content: Html | None) -> Html | None:
    return None if content is None else section(f"{ident}-{name}", title, content, level=3)


def _metrics(control: Mapping[str, Any]) -> Html:
    head = control.get("headline")
    names = sorted(control["metrics"], key=lambda name: name != head)
    rows: list[Sequence[Child]] = [
        [
            joined([metric_name(name), element("span", " (headline)", class_="soft") if name == head else None]),
            figure(control["metrics"][name]),
            interval(control["metrics"][name].get("ci")),
            number(control["metrics"][name].get("n")),
        ]
        for name in names
    ]
    return table("Metrics, with the interval of 95 of 100 bootstrap samples", ["Metric", "Value", "Interval", "n"], rows,
                 class_="numbers")  # fmt: skip


def _people(people: Mapping[str, Mapping[str, Any]]) -> Html | None:
    if not people:
        return None
    ordered = sorted(people.items(), key=lambda each: (each[1].get("score") is None, each[1].get("score") or 0.0))
    shown = ordered[:MOST_PEOPLE]
    rows: list[Sequence[Child]] = [
        [f"annotator {person}", number(each.get("score")), number(each["n"]), number(each.get("n_labels"))]
        for person, each in shown
    ]
    heads = ["Annotator", "Score with others", "n pairs", "Labels"]
    return joined(
        [
            table("How far each person agrees with the others, the lowest first", heads, rows, class_="numbers"),
            left_out_note(len(shown), len(people), "annotators"),
        ]
    )


def _shown(control: Mapping[str, Any]) -> Html | None:
    bases = control.get("by_shown") or {}
    if not bases:
        return None
    gap = control.get("anchoring_gap")
    if gap is None:
        said = "The gap is not known: it takes pairs made blind and pairs that saw the same suggestion."
    else:
        more = "more" if gap > 0 else "less"
        said = f"Pairs that saw the same suggestion agree {number(float(gap))} {more} in mean score than blind pairs"
        said += ": what a suggestion adds to agreement is not what people agree on." if gap > 0 else "."
    names = list(dict.fromkeys(name for basis in bases.values() for name in basis["metrics"]))
    heads: list[Child] = ["Metric", *[_BASES.get(basis, basis) for basis in bases]]
    rows: list[Sequence[Child]] = [["n pairs", *[number(basis["n_pairs"]) for basis in bases.values()]]]
    rows += [[metric_name(name), *[_cell(basis["metrics"].get(name)) for basis in bases.values()]] for name in names]
    return joined([element("p", said), table("By what was shown", heads, rows, class_="numbers")])


def _cell(metric: Mapping[str, Any] | None) -> Child:
    if metric is None:
        return "–"
    ci = metric.get("ci")
    return joined([figure(metric), element("small", f" ({interval(ci)})", class_="soft") if ci else None])
