"""The parts of the report on annotators, label errors and review, from the JSON of those commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qa.report.bars import bar, task_links
from qa.report.markup import Child, Html, element, joined, named
from qa.report.tables import left_out_note, section, table
from qa.report.wording import interval, number, plain

#: Rows of each table, and tasks that a finding names.
MOST_ROWS, MOST_TASKS = 100, 10

#: (key, name of the figure there, what the column is called) of what is told of each person.
_FIGURES = (
    ("gold", "value", "Right on gold"),
    ("agreement", "value", "Agreement with the others"),
    ("skill", "value", "Estimated skill"),
    ("speed", "median_s", "Median seconds"),
    ("accept_when_wrong", "value", "Accepts wrong suggestions"),
    ("rubber_stamping", "share", "Rubber-stamps"),
)

TaskLink = Callable[[Any], Html]


def annotators_section(report: Mapping[str, Any], task_link: TaskLink) -> Html:
    """Flags and messages for each person of `labelloop annotators --json`."""
    people = report.get("annotators") or []
    ordered = sorted(people, key=lambda each: -len(each.get("flags") or ()))
    known = [each for each in _FIGURES if any(_figure(person, *each[:2]) is not None for person in people)]
    unknown = [each for each in _FIGURES if each not in known]
    rows: list[Sequence[Child]] = [
        [
            f"annotator {each['annotator']}",
            number(each.get("n_labels")),
            *[_with_bounds(each, key, name) for key, name, _ in known],
            joined([_flag(flag, task_link) for flag in each.get("flags") or ()]) or "none",
            element("span", each.get("message"), class_="message"),
        ]
        for each in ordered[:MOST_ROWS]
    ]
    heads = ["Annotator", "Labels", *[said for _, _, said in known], "Flags", "Message"]
    of_nobody = ", ".join(said.lower() for _, _, said in unknown)
    return section(
        "annotators",
        "Annotators: figures and flags",
        table("Figures and flags of each person, most flags first", heads, rows, class_="people"),
        left_out_note(len(rows), len(people), "annotators"),
        element("p", f"Not known of anybody: {of_nobody}.", class_="note") if people and unknown else None,
    )


def _figure(person: Mapping[str, Any], key: str, name: str) -> Any:
    found = person.get(key)
    return found.get(name) if isinstance(found, Mapping) else None


def _with_bounds(person: Mapping[str, Any], key: str, name: str) -> Child:
    value = _figure(person, key, name)
    if value is None:
        return element("span", "– ", _figure(person, key, "reason"), class_="why")
    ci, n = (_figure(person, key, each) if name == "value" else None for each in ("ci", "n"))
    more = "; ".join([*([interval(ci)] if ci else []), *([f"n {number(n)}"] if n is not None else [])])
    return joined([number(value), element("small", f" ({more})", class_="soft") if more else None])


def errors_section(report: Mapping[str, Any], task_link: TaskLink) -> Html:
    """Findings and hotspots of `labelloop errors --json`."""
    findings, hotspots = report.get("findings") or [], report.get("hotspots") or []
    alike = list(_alike(findings).values())
    rows: list[Sequence[Child]] = [
        [
            task_link(each[0]["task"]),
            _person(each[0].get("annotator")),
            named(each[0].get("control") or ""),
            str(each[0].get("type") or "–").replace("_", " "),
            plain(each[0].get("given")),
            plain(each[0].get("suggested")),
            number(len(each)),
            number(each[0].get("score")),
            str(each[0].get("cause") or "–"),
        ]
        for each in alike[:MOST_ROWS]
    ]
    most = max((each["n"] for each in hotspots), default=1) or 1
    spots: list[Sequence[Child]] = [
        [
            str(each["by"]).replace("_", " "), plain(each["key"]), number(each["n"]), bar(each["n"] / most),
            number(each.get("ratio")), joined(task_links((each.get("tasks") or ())[:MOST_TASKS], task_link)),
        ]
        for each in hotspots[:MOST_ROWS]
    ]  # fmt: skip
    heads = ["Task", "Annotator", "Control", "Type", "Given", "Suggested", "n", "Score", "Cause"]
    spot_heads: list[Child] = ["By", "What", "n", element("span", "Bar", class_="unseen"), "Times the usual", "Tasks"]
    return section(
        "errors",
        "Likely label errors",
        table("Hotspots: where errors gather", spot_heads, spots, class_="numbers") if spots else None,
        left_out_note(len(spots), len(hotspots), "hotspots"),
        table(
            f"{number(len(findings))} findings, the surest first; n of one kind by one person in one task", heads, rows
        )
        if rows
        else element("p", "None found."),
        left_out_note(len(rows), len(alike), "rows"),
        _problems(report.get("data") or [], task_link),
        _skipped(report.get("skipped") or []),
    )


def _alike(findings: Sequence[Mapping[str, Any]]) -> dict[tuple[str, ...], list[Mapping[str, Any]]]:
    """Findings of one kind by one person in one task, in the order of the first of each."""
    found: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for each in findings:
        key = ("task", "annotator", "control", "type", "given", "suggested", "cause")
        found.setdefault(tuple(str(each.get(name)) for name in key), []).append(each)
    return found


def _problems(problems: Sequence[Mapping[str, Any]], task_link: TaskLink) -> Html | None:
    if not problems:
        return None
    rows: list[Sequence[Child]] = [
        [
            str(each["type"]), named(each.get("control") or ""), plain(each.get("key")), number(each.get("score")),
            joined(task_links((each.get("tasks") or ())[:MOST_TASKS], task_link)),
        ]
        for each in problems[:MOST_ROWS]
    ]  # fmt: skip
    made = table("Problems of the data", ["Type", "Control", "What", "Score", "Tasks"], rows, class_="numbers")
    return joined([made, left_out_note(len(rows), len(problems), "problems")])


def _skipped(skipped: Sequence[Mapping[str, Any]]) -> Html | None:
    if not skipped:
        return None
    rows: list[Sequence[Child]] = [[str(each["detector"]), str(each["reason"])] for each in skipped[:MOST_ROWS]]
    return table("What was not looked for", ["Detector", "Why"], rows)


def review_section(report: Mapping[str, Any]) -> Html:
    """The figures of `labelloop review --json`, by their names."""
    rows: list[Sequence[Child]] = [[name, said] for name, said in _figures(report)]
    return section("review", "Review", table("The state of review", ["What", "Figure"], rows[:MOST_ROWS]))


def _figures(report: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in report.items():
        name = f"{above}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            found += _figures(value, f"{name}: ")
        elif isinstance(value, list):
            found.append((name, number(len(value))))
        elif key != "schema_version":
            found.append(
                (name, number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value))
            )
    return found


def _flag(flag: Mapping[str, Any], task_link: TaskLink) -> Html:
    tasks = task_links((flag.get("tasks") or ())[:MOST_TASKS], task_link)
    where: list[Child] = [" (tasks ", *tasks, ")"] if tasks else []
    return element("div", element("b", str(flag["flag"]).replace("_", " ")), f": {flag.get('why') or ''}", *where)


def _person(annotator: Any) -> str:
    return "–" if annotator is None else f"annotator {annotator}"
