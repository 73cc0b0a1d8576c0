"""Slips of the hand, which need no model: regions made twice, without extent, tiny, or outside of what they are on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from labelloop.label_config import Control
from qa.issues.finding import Finding, Label
from qa.issues.placed import Placed, alike, bounds, placed_in
from qa.kinds.kind import Kind

#: Two regions of one person that are alike so far are one thing; from SAME_PLACE on, a click too many. Points are one thing only
#: where they are within a thousandth of the image.
TWICE, SAME_PLACE, SAME_POINT = 0.8, 0.99, 0.9998
#: In percent of the image's side: smaller ones are a slip.
TINY = 0.3

#: (place, type, score, evidence)
_Slip = tuple[int, str, float, dict[str, Any]]


def slips(labels: Sequence[Label], control: Control, kind: Kind) -> list[Finding]:
    """What is wrong with the regions of each label by themselves."""
    found = []
    for label in labels:
        placed = placed_in(label.result, control, kind, label.data)
        for at, type_, score, why in _in_text(placed) if kind.name == "spans" else _on_image(placed):
            found.append(
                Finding(
                    label.task, label.annotation, label.annotator, control.name, placed.regions[at] or None, type_,
                    placed.labels[at], None, score, "geometry", {**placed.where(at), **why},
                    "ui" if "problem" in why else None,
                )
            )  # fmt: skip
    return found


def _on_image(placed: Placed) -> Iterator[_Slip]:
    like = alike(placed, placed)
    for i, shape in enumerate(placed.shapes):
        if placed.kind == "points":
            if not (0 <= shape[0] <= 100 and 0 <= shape[1] <= 100):
                yield i, "extra", 1.0, {"problem": "outside of the image"}
        else:
            yield from _extent(i, shape)
        twins = [
            (float(like[i, j]), placed.regions[j])
            for j in range(i)
            if placed.labels[i] == placed.labels[j] and like[i, j] >= (SAME_POINT if placed.kind == "points" else TWICE)
        ]
        if twins:
            most, other = max(twins, key=lambda each: each[0])
            problem = {"problem": "the same again"} if most >= SAME_PLACE else {}
            yield i, "duplicate", most, {"other": other, "likeness": round(most, 4), **problem}


def _extent(i: int, shape: Any) -> Iterator[_Slip]:
    (left, top), (right, bottom) = (edge.tolist() for edge in bounds(shape))
    side, outside = min(right - left, bottom - top), max(-left, -top, right - 100, bottom - 100)
    if side <= 0:
        yield i, "extra", 1.0, {"problem": "no area"}
    elif side < TINY:
        yield i, "extra", 0.8, {"problem": "tiny"}
    elif left >= 100 or top >= 100 or right <= 0 or bottom <= 0:
        yield i, "extra", 1.0, {"problem": "outside of the image"}
    elif outside > 1.0:
        yield i, "low_overlap", min(0.5 + outside / 100, 1.0), {"problem": "reaches out of the image"}


def _in_text(spans: Placed) -> Iterator[_Slip]:
    seen: dict[tuple[Any, str], str] = {}
    for i, shape in enumerate(spans.shapes):
        key = (shape, spans.labels[i])
        if key in seen:
            yield i, "duplicate", 1.0, {"other": seen[key], "problem": "the same span again"}
        seen.setdefault(key, spans.regions[i])
        place, start, end = shape
        if end <= start and not place:
            yield i, "extra", 1.0, {"problem": "no length"}
        elif spans.text is not None:
            yield from _words(i, spans.text, int(start), int(end))


def _words(i: int, text: str, start: int, end: int) -> Iterator[_Slip]:
    words = text[max(start, 0) : max(end, 0)]
    if start < 0 or start >= len(text):
        yield i, "extra", 1.0, {"problem": "no text"}
    elif not words.strip():
        yield i, "extra", 1.0, {"problem": "blanks only"}
    elif words != words.strip():
        yield i, "boundary", 0.7, {"problem": "blanks at an end"}
    elif end - start == 1 and not words.isalnum():
        yield i, "extra", 0.8, {"problem": "one character"}
    elif end - start == 1 and words.isascii() and words.isalpha() and _inside(text, start, end):
        yield i, "boundary", 0.8, {"problem": "one character"}


def _inside(text: str, start: int, end: int) -> bool:
    """Whether a span begins or ends within a word."""
    return text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()
