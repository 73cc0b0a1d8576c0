"""Where spans really lie in their text: Label Studio counts code points; older data counts UTF-16 units or unites CRLF."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Place = tuple[int, int] | str
"""(start, end) in code points, or why there are none: "code: sentence"."""
_Reading = Callable[[int], int | None]

_CODE_POINTS = "code_points"
_PAIRED = re.compile("[\U00010000-\U0010ffff]")
_CRLF = re.compile("\r\n")


def locate_spans(text: str, values: Sequence[Mapping[str, Any]], notes: Counter[str]) -> list[Place]:
    """Where the spans of one text lie; `values` are the `value`s of their regions.

    Offsets are checked with `value.text` where it is there. When some do not fit as code points, the way of counting
    that fits most of the text's spans is taken for all of them, and each that it does not fit is read as it fits. A span
    that fits no way of counting is refused rather than guessed. `notes` counts what was not read as code points, by the way
    of counting ("utf16", "crlf", "crlf_utf16"), "unchecked" spans (the ways differ in this text, and the span does not
    say its text), and those "refused".
    """
    found: list[Place] = []
    length = len(text)
    for value in values:
        start, end, said = value.get("start"), value.get("end"), value.get("text")
        if type(start) is int and type(end) is int and 0 <= start < end <= length and text[start:end] == said:
            found.append((start, end))
        else:
            return _located(text, values, notes)
    return found


def span_offsets(text: str, value: Mapping[str, Any]) -> Place:
    """Where one span lies when nothing is known of the others of its text; see `locate_spans`."""
    return locate_spans(text, [value], Counter())[0]


def _located(text: str, values: Sequence[Mapping[str, Any]], notes: Counter[str]) -> list[Place]:
    readings = _readings(text)
    places = [{name: _read(text, value, reading) for name, reading in readings.items()} for value in values]
    told = [bool(_said(value)) for value in values]
    fitting = Counter(
        name for each, checked in zip(places, told, strict=True) if checked for name in each if _fits(each[name])
    )
    best = max(readings, key=lambda name: fitting[name])  # of equals the first: code points
    found: list[Place] = []
    for each, checked in zip(places, told, strict=True):
        name = best if _fits(each[best]) or not checked else next((name for name in each if _fits(each[name])), best)
        found.append(each[name])
        if not _fits(each[name]):
            notes["refused"] += 1
        elif name != _CODE_POINTS:
            notes[name] += 1
        elif not checked and len(readings) > 1:
            notes["unchecked"] += 1
    return found


def _readings(text: str) -> dict[str, _Reading]:
    """The ways of counting that differ in this text, each as a function from an offset to a code point."""
    readings: dict[str, _Reading] = {_CODE_POINTS: lambda offset: offset if 0 <= offset <= len(text) else None}
    if not text.isascii() and _PAIRED.search(text):
        readings["utf16"] = _utf16(text)
    if "\r\n" in text:
        united = text.replace("\r\n", "\n")
        apart = _without_cr(text)
        readings["crlf"] = lambda offset: apart(offset) if 0 <= offset <= len(united) else None
        if "utf16" in readings:
            units = _utf16(united)
            readings["crlf_utf16"] = lambda offset: None if (at := units(offset)) is None else apart(at)
    return readings


def _utf16(text: str) -> _Reading:
    """From UTF-16 units; None outside the text and inside a surrogate pair."""
    seconds = [match.start() + before + 1 for before, match in enumerate(_PAIRED.finditer(text))]
    length = len(text) + len(seconds)

    def code_point(offset: int) -> int | None:
        before = bisect_left(seconds, offset)
        inside = before < len(seconds) and seconds[before] == offset
        return None if inside or not 0 <= offset <= length else offset - before

    return code_point


def _without_cr(text: str) -> Callable[[int], int]:
    """From places in the text in which each CRLF is one character."""
    united = [match.start() - before for before, match in enumerate(_CRLF.finditer(text))]
    return lambda offset: offset + bisect_left(united, offset)


def _read(text: str, value: Mapping[str, Any], reading: _Reading) -> Place:
    start, end, said = value.get("start"), value.get("end"), _said(value)
    if type(start) is not int or type(end) is not int:
        return "offset_missing: start and end are not whole numbers"
    if start == end:
        return f"offset_empty: nothing is marked at {start}:{end}"
    first, last = reading(start), reading(end)
    if first is None or last is None or first >= last:
        return f"offset_outside: {start}:{end} is not inside the text of {len(text)} characters"
    if said and not _same(text[first:last], said):
        return f"offset_mismatch: the text at {start}:{end} is not the text that was marked"
    return first, last


def _said(value: Mapping[str, Any]) -> str:
    """The text that was marked; "" where the span does not say it."""
    said = value.get("text")
    return said if isinstance(said, str) else ""


def _fits(place: Place) -> bool:
    return not isinstance(place, str)


def _same(found: str, said: str) -> bool:
    """Equal but for white space: browsers unite it in what they say was marked, and the editor writes "\\n" as two characters."""
    return found == said or _spaced(found) == _spaced(said)


def _spaced(text: str) -> list[str]:
    return text.replace("\\n", " ").split()


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without white space at its ends; empty when there is nothing else."""
    inside = text[start:end]
    stripped = inside.strip()
    if len(stripped) == len(inside):
        return start, end
    start += len(inside) - len(inside.lstrip())
    return start, start + len(stripped)
