"""Learning curves as a picture (SVG): the mean of each strategy's seeds, and a band from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qa.report.inks import COLOURS, dash
from qa.report.markup import Html, element, joined

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 480, 64, 190, 40, 56
_TICKS = 5
Place = Callable[[float], float]


def learning_curves(report: Mapping[str, Mapping[str, Any]], title: str) -> str:
    """An SVG document of a simulation's report; the dashed line is 95 % of the score that all labels give."""
    points = [point for each in report.values() for point in each["curve"]]
    x0, x1 = (float(bound(p["labels"] for p in points)) for bound in (min, max))
    full = float(next(iter(report.values()))["full_score"])
    y0 = float(min(p["low"] for p in points))
    y1 = max(full, *(float(p["high"]) for p in points))

    def x(labels: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (labels - x0) / max(x1 - x0, 1e-9)

    def y(score: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (score - y0) / max(y1 - y0, 1e-9)

    drawn = [
        element("rect", x=0, y=0, width=_WIDTH, height=_HEIGHT, fill="#ffffff"),
        _text(_LEFT, 22, title, size=15, weight="bold"),
        *_axes((x0, x1), (y0, y1), x, y),
        *_line_of_target(0.95 * full, x, y, x1, inside=y0 <= 0.95 * full <= y1),
    ]
    for place, (name, each) in enumerate(report.items()):
        drawn += _strategy(place, name, each["curve"], x, y)
    body = element(
        "svg", joined(drawn), xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", width=_WIDTH,
        height=_HEIGHT, font_family="sans-serif", role="img", aria_label=title,
    )  # fmt: skip
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _strategy(place: int, name: str, curve: Sequence[Mapping[str, float]], x: Place, y: Place) -> list[Html]:
    colour = COLOURS[place % len(COLOURS)]
    there = [f"{x(p['labels']):.1f},{y(p['high']):.1f}" for p in curve]
    back = [f"{x(p['labels']):.1f},{y(p['low']):.1f}" for p in reversed(curve)]
    mean = " ".join(f"{x(p['labels']):.1f},{y(p['mean']):.1f}" for p in curve)
    at = _TOP + 14 + 22 * place
    dashes = dash(place)
    return [
        element("polygon", points=" ".join([*there, *back]), fill=colour, fill_opacity="0.15"),
        element("polyline", points=mean, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dashes),
        element(
            "line",
            x1=_WIDTH - _RIGHT + 16,
            x2=_WIDTH - _RIGHT + 52,
            y1=at,
            y2=at,
            stroke=colour,
            stroke_width=2,
            stroke_dasharray=dashes,
        ),
        _text(_WIDTH - _RIGHT + 60, at + 4, name),
    ]


def _axes(xs: tuple[float, float], ys: tuple[float, float], x: Place, y: Place) -> list[Html]:
    found = []
    for step in range(_TICKS + 1):
        labels, score = (low + (high - low) * step / _TICKS for low, high in (xs, ys))
        found += [
            element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=f"{y(score):.1f}", y2=f"{y(score):.1f}", stroke="#e3e6ea"),
            _text(_LEFT - 8, y(score) + 4, f"{score:.2f}", anchor="end"),
            _text(x(labels), _HEIGHT - _BOTTOM + 20, f"{labels:.0f}", anchor="middle"),
        ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return [*found, _text(middle, _HEIGHT - 12, "labels", anchor="middle")]


def _line_of_target(score: float, x: Place, y: Place, last: float, *, inside: bool) -> list[Html]:
    if not inside:
        return []
    at = f"{y(score):.1f}"
    return [
        element("line", x1=_LEFT, x2=f"{x(last):.1f}", y1=at, y2=at, stroke="#6b7785", stroke_dasharray="6 4"),
        _text(_LEFT + 8, y(score) - 6, "95% of what all labels give"),
    ]


def _text(
    at_x: float, at_y: float, said: str, *, anchor: str = "start", size: int = 13, weight: str | None = None
) -> Html:
    return element(
        "text", said, x=f"{at_x:.1f}", y=f"{at_y:.1f}", text_anchor=anchor, font_size=size, font_weight=weight,
        fill="#22272e",
    )  # fmt: skip
