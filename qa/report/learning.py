"""The part of the report on what the models reached with more and more labels, from the JSON of `labelloop models`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qa.report.curves import Curve, curves_picture
from qa.report.markup import Child, Html, element, named
from qa.report.tables import framed, left_out_note, section, table
from qa.report.wording import number

_MOST_ROWS = 100


def learning_section(report: Mapping[str, Any]) -> Html:
    """The curve with its intervals, what the next labels are expected to add, and every training with the gate's reason."""
    learning, trainings = report["learning"], report["trainings"]
    points = learning["points"]
    metric = next((str(each["metric"]) for each in reversed(trainings) if each["metric"]), "score")
    rows: list[Sequence[Child]] = [
        [
            named(each["version"] or each["training_id"]),
            number(each["labels"]),
            number(each["value"]),
            str(each["outcome"] or "not over"),
            each["reason"],
        ]
        for each in reversed(trainings[-_MOST_ROWS:])
    ]
    forecast = learning["forecast"]
    return section(
        "learning",
        "What the models learned",
        element("p", element("strong", _sentence(learning["advice"]))),
        element(
            "p", f"The 90 % interval of that gain is {_points(forecast['low'])} to {_points(forecast['high'])}; ",
            "two versions in turn say the same of "
            + ("an unknown share" if (stable := learning["stability"]) is None else f"{stable:.1%}")
            + " of the open tasks.",
            class_="note",
        )
        if forecast
        else None,
        framed(_chart(points, metric), "Chart of the score against labels")
        if points
        else element("p", "No model was measured yet."),
        table("Trainings, the last one first", ["Version", "Labels", metric, "Outcome", "Why"], rows)
        if rows
        else None,
        left_out_note(len(rows), len(trainings), "trainings"),
    )  # fmt: skip


def _chart(points: Sequence[Mapping[str, Any]], metric: str) -> Html:
    drawn = [
        (
            float(point["labels"]),
            float(point["value"]),
            float(point["value"] if point["low"] is None else point["low"]),
            float(point["value"] if point["high"] is None else point["high"]),
        )
        for point in points
    ]
    return curves_picture([Curve(metric, drawn)], f"{metric} on the holdout, with 90 % intervals", dots=True)


def _points(share: float) -> str:
    """A share as points of a metric with its sign."""
    return f"{100 * share:+.1f} points".replace("-", "−")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
