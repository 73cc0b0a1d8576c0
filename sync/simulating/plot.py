"""Learning curves as a picture (SVG): the mean of each strategy's seeds, and a band from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qa.report.curves import Curve, curves_picture


def learning_curves(report: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """An SVG document of a simulation's report; the dashed line is 95 % of the score that all labels give."""
    curves = [
        Curve(name, [(float(p["labels"]), float(p["mean"]), float(p["low"]), float(p["high"])) for p in each["curve"]])
        for name, each in report.items()
    ]
    full = float(next(iter(report.values()))["full_score"])
    picture = curves_picture(curves, title, (0.95 * full, "95% of what all labels give"))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{picture}\n'
