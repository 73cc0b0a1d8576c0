"""Agreement by week as a line, with the numbers in a table below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from qa.report.markup import Html, element, joined
from qa.report.tables import framed, table
from qa.report.wording import metric_name, number

_HEIGHT, _LEFT, _RIGHT, _BOTTOM, _TOP = 190, 40, 12, 46, 18
_STEP = 64
#: Weeks that are drawn; older ones are in the table.
MOST_WEEKS = 104


def week_trend(weeks: Sequence[Mapping[str, Any]], ident: str) -> Html:
    """The score of each week; weeks without a score leave a gap."""
    if not weeks:
        return element("p", "No week has labels of two people on one task.", class_="note")
    shown = list(weeks)[-MOST_WEEKS:]
    more = list(dict.fromkeys(name for week in weeks for name in week if name not in ("week", "n", "score")))
    caption = "Agreement by week of the later label of a pair"
    rows = [
        [str(week["week"]), number(week["n"]), number(week.get("score")), *[number(week.get(name)) for name in more]]
        for week in weeks
    ]
    numbers = table(caption, ["Week", "n pairs", "Score", *map(metric_name, more)], rows, class_="numbers")
    return joined(
        [
            framed(_chart(shown, ident), "Chart of agreement by week"),
            element("details", element("summary", "The numbers of each week"), numbers),
        ]
    )


def _chart(weeks: Sequence[Mapping[str, Any]], ident: str) -> Html:
    width = _LEFT + _STEP * len(weeks) + _RIGHT
    low = min([0.0, *[float(week["score"]) for week in weeks if week.get("score") is not None]])
    inner = _HEIGHT - _TOP - _BOTTOM

    def y(score: float) -> float:
        return _TOP + inner * (1.0 - (score - low) / (1.0 - low))

    places = [(_LEFT + _STEP * (at + 0.5), week) for at, week in enumerate(weeks)]
    marks = []
    for score in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = f"{y(score):.1f}"
        marks.append(element("line", x1=_LEFT, x2=width, y1=at, y2=at, class_="grid"))
        marks.append(element("text", f"{score:g}", x=_LEFT - 6, y=f"{y(score) + 4:.1f}", text_anchor="end"))
    lines = []
    for there, run in groupby(places, key=lambda each: each[1].get("score") is not None):
        if there:
            points = " ".join(f"{x:.1f},{y(week['score']):.1f}" for x, week in run)
            lines.append(element("polyline", points=points, class_="line"))
    dots = [_point(x, week, y) for x, week in places]
    known = [week["score"] for week in weeks if week.get("score") is not None]
    said = f"{len(weeks)} weeks from {weeks[0]['week']} to {weeks[-1]['week']}"
    said += f"; lowest {min(known):.2f}, highest {max(known):.2f}, last {known[-1]:.2f}." if known else "."
    title = element("title", "Agreement by week", id=f"{ident}-trend-title")
    description = element("desc", said, id=f"{ident}-trend-said")
    return element(
        "svg", title, description, *marks, *lines, *dots,
        viewBox=f"0 0 {width} {_HEIGHT}", width=width, height=_HEIGHT, class_="trend", role="img",
        aria_labelledby=f"{ident}-trend-title {ident}-trend-said",
    )  # fmt: skip


def _point(x: float, week: Mapping[str, Any], y: Any) -> Html:
    below = [
        element("text", str(week["week"]), x=f"{x:.1f}", y=_HEIGHT - 24, text_anchor="middle"),
        element("text", f"n {number(week['n'])}", x=f"{x:.1f}", y=_HEIGHT - 8, text_anchor="middle", class_="n"),
    ]
    score = week.get("score")
    if score is None:
        return element("g", *below)
    at = y(score)
    dot = element("circle", cx=f"{x:.1f}", cy=f"{at:.1f}", r=4, class_="dot")
    value = element("text", f"{score:.2f}", x=f"{x:.1f}", y=f"{at - 8:.1f}", text_anchor="middle", class_="value")
    return element("g", dot, value, *below)
