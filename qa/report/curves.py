"""Curves of a score against labels as a picture (SVG), each with a band of how unsure it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qa.report.inks import COLOURS, dash
from qa.report.markup import Html, element, joined

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 480, 64, 190, 40, 56
_TICKS = 5
Place = Callable[[float], float]


@dataclass(frozen=True)
class Curve:
    """A line through `points` of (labels, score, lower end, upper end), in order of the labels."""

    name: str
    points: Sequence[tuple[float, float, float, float]]


def curves_picture(
    curves: Sequence[Curve], title: str, target: tuple[float, str] | None = None, *, dots: bool = False
) -> Html:
    """An SVG element of curves that have a point at least; `target` is a score with a dashed line and what it means."""
    points = [point for each in curves for point in each.points]
    x0, x1 = min(point[0] for point in points), max(point[0] for point in points)
    y0 = min(point[2] for point in points)
    y1 = max([point[3] for point in points] + ([target[0]] if target is not None else []))

    def x(labels: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (labels - x0) / max(x1 - x0, 1e-9)

    def y(score: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (score - y0) / max(y1 - y0, 1e-9)

    drawn = [
        element("rect", x=0, y=0, width=_WIDTH, height=_HEIGHT, fill="#ffffff"),
        _text(_LEFT, 22, title, size=15, weight="bold"),
        *_axes((x0, x1), (y0, y1), x, y),
    ]
    if target is not None and y0 <= target[0]:
        drawn += _line_of_target(*target, x, y, x1)
    for place, each in enumerate(curves):
        drawn += _curve(place, each, x, y, dots=dots)
    return element(
        "svg", joined(drawn), xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {_WIDTH} {_HEIGHT}", width=_WIDTH,
        height=_HEIGHT, font_family="sans-serif", role="img", aria_label=title,
    )  # fmt: skip


def _curve(place: int, curve: Curve, x: Place, y: Place, *, dots: bool) -> list[Html]:
    colour = COLOURS[place % len(COLOURS)]
    there = [f"{x(labels):.1f},{y(high):.1f}" for labels, _, _, high in curve.points]
    back = [f"{x(labels):.1f},{y(low):.1f}" for labels, _, low, _ in reversed(curve.points)]
    line = " ".join(f"{x(labels):.1f},{y(score):.1f}" for labels, score, _, _ in curve.points)
    at = _TOP + 14 + 22 * place
    left, dashes = _WIDTH - _RIGHT + 16, dash(place)
    found = [
        element("polygon", points=" ".join([*there, *back]), fill=colour, fill_opacity="0.15"),
        element("polyline", points=line, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dashes),
        element(
            "line", x1=left, x2=left + 36, y1=at, y2=at, stroke=colour, stroke_width=2, stroke_dasharray=dashes
        ),
        _text(left + 44, at + 4, curve.name),
    ]  # fmt: skip
    if dots:
        found += [
            element("circle", cx=f"{x(labels):.1f}", cy=f"{y(score):.1f}", r=4, fill=colour)
            for labels, score, _, _ in curve.points
        ]
    return found


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


def _line_of_target(score: float, meaning: str, x: Place, y: Place, last: float) -> list[Html]:
    at = f"{y(score):.1f}"
    return [
        element("line", x1=_LEFT, x2=f"{x(last):.1f}", y1=at, y2=at, stroke="#6b7785", stroke_dasharray="6 4"),
        _text(_LEFT + 8, y(score) - 6, meaning),
    ]


def _text(
    at_x: float, at_y: float, said: str, *, anchor: str = "start", size: int = 13, weight: str | None = None
) -> Html:
    return element(
        "text", said, x=f"{at_x:.1f}", y=f"{at_y:.1f}", text_anchor=anchor, font_size=size, font_weight=weight,
        fill="#22272e",
    )  # fmt: skip
