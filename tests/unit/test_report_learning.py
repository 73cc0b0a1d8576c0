"""What the report tells of models and labels: the curve with its band, the forecast, and each training with its reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from labelloop.store import TrainingRow
from qa.report.learning import learning_section
from qa.report.markup import escaped
from sync.learning_curve import curve_report
from sync.overview import training_report

AT = datetime(2026, 1, 1, tzinfo=UTC)


def training(number: int, value: float | None, **changes: Any) -> TrainingRow:
    measured = {"candidate": {"name": "macro_f1", "value": value, "baseline": 0.1, "n": 120}, "labels": 100 * number,
                "interval": None if value is None else [value - 0.03, value + 0.02]}  # fmt: skip
    row: dict[str, Any] = {
        "project_id": 1, "training_id": f"train-p1-{number}", "dataset_id": "d", "attempt": 1, "number": number,
        "label_count": 100 * number, "base_version": None, "candidate": f"v{number}", "path": None, "digest": None,
        "outcome": "promoted", "reason": "better <b>", "queued_at": AT, "started_at": AT, "finished_at": AT,
        "registered_at": None, "metrics": measured if value is not None else {},
    }  # fmt: skip
    return TrainingRow(**row | changes)


def section_of(*rows: TrainingRow) -> LexborHTMLParser:
    told = {"learning": curve_report(rows, 100, None), "trainings": [training_report(row) for row in rows]}
    return LexborHTMLParser(str(learning_section(told)))


def test_a_curve_has_a_dot_for_each_training_and_the_band_of_its_intervals() -> None:
    tree = section_of(*[training(n, value) for n, value in enumerate((0.5, 0.7, 0.78, 0.81), start=1)])
    assert len(tree.css("svg circle")) == 4 and len(tree.css("svg polygon")) == 1
    heights = [float(dot.attributes["cy"] or "") for dot in tree.css("svg circle")]
    assert heights == sorted(heights, reverse=True), "a better score is higher up"
    band = [float(point.split(",")[1]) for point in (tree.css("svg polygon")[0].attributes["points"] or "").split()]
    assert all(band[at] < heights[at] < band[-1 - at] for at in range(4))
    said = str(tree.css_first("section").text())  # type: ignore[union-attr]
    assert "The next 100 labels are expected to add" in said and "The 90 % interval of that gain is +" in said
    first = [cell.text() for cell in tree.css("tbody tr")[0].css("th, td")]
    assert first == ["v4", "400", "0.810", "promoted", "better <b>"], "the last training comes first, as text"


def test_a_training_that_failed_is_a_row_and_no_point() -> None:
    tree = section_of(training(1, 0.5), training(2, None, outcome="failed", candidate=None, reason="no memory"))
    assert len(tree.css("svg circle")) == 1 and len(tree.css("tbody tr")) == 2
    assert "train-p1-2" in str(tree.text()) and "no memory" in str(tree.text())
    assert "a forecast needs 3 more" in str(tree.text())


def test_without_a_measured_model_there_is_no_picture() -> None:
    tree = section_of()
    assert tree.css("svg") == [] and "No model was measured yet." in str(tree.text())
    assert str(escaped("<")) == "&lt;"
