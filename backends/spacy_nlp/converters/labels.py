"""Labels on a Text: spans in code points to Label Studio regions, and back; and what the other span tags share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from labelloop.errors import DataError
from labelloop.values import Region

REGION_TYPE = "labels"


@dataclass(frozen=True, order=True)
class Span:
    """text[start:end] has this label; offsets in code points, confidence in [0, 1] if predicted."""

    start: int
    end: int
    label: str
    score: float | None = None


class Document(Protocol):
    """A task's text as a model reads it: one or more pieces, and where a span of a piece lies for Label Studio."""

    @property
    def texts(self) -> Sequence[str]: ...

    def place(self, piece: int, start: int, end: int) -> dict[str, Any]:
        """The keys of a region's `value` that say where texts[piece][start:end] is, and its text."""

    def bounds(self, value: Mapping[str, Any]) -> list[tuple[int, int, int]]:
        """(piece, start, end) of each part of a region, in order; empty when it does not lie in the document."""


@dataclass(frozen=True)
class PlainText:
    """The value of a Text tag: one piece; regions carry its offsets in code points."""

    text: str

    @property
    def texts(self) -> tuple[str, ...]:
        return (self.text,)

    def place(self, piece: int, start: int, end: int) -> dict[str, Any]:
        return {"start": start, "end": end, "text": self.text[start:end]}

    def bounds(self, value: Mapping[str, Any]) -> list[tuple[int, int, int]]:
        start, end = whole(value.get("start")), whole(value.get("end"))
        if start is None or end is None or not 0 <= start < end <= len(self.text):
            return []
        return [(0, start, end)]


def span_regions(
    document: Document, piece: int, spans: Iterable[Span], control: str, to_name: str, kind: str = REGION_TYPE
) -> tuple[Region, ...]:
    """Regions of one piece, in the order of the spans; DataError when a span does not lie in it."""
    length = len(document.texts[piece])
    regions = []
    for span in spans:
        if not 0 <= span.start < span.end <= length:
            raise DataError(f"span {span.start}:{span.end} does not lie in a text of {length} characters")
        region: Region = {
            "id": _region_id(f"{control}:{piece}:{span.start}:{span.end}:{span.label}"),
            "from_name": control,
            "to_name": to_name,
            "type": kind,
            "value": {**document.place(piece, span.start, span.end), kind: [span.label]},
        }
        if span.score is not None:
            region["score"] = min(max(float(span.score), 0.0), 1.0)
        regions.append(region)
    return tuple(regions)


def region_spans(
    document: Document, result: Iterable[Region], control: str, kind: str = REGION_TYPE
) -> tuple[list[list[Span]], int]:
    """(spans of one control by piece, how many of its regions could not be used as they do not lie in the document).

    White space at the ends of a span is cut off; a span with several labels gives one for each; doubles are dropped; a
    region over several pieces gives one span in each.
    """
    found: list[set[Span]] = [set() for _ in document.texts]
    unusable = 0
    for region in result:
        if region.get("type") != kind or region.get("from_name") != control:
            continue
        value = region.get("value") or {}
        parts = [(piece, _trimmed(document.texts[piece], *edges)) for piece, *edges in document.bounds(value)]
        usable = [(piece, edges) for piece, edges in parts if edges is not None]
        unusable += not usable
        for piece, edges in usable:
            found[piece].update(Span(*edges, str(label)) for label in value.get(kind) or ())
    return [sorted(spans) for spans in found], unusable


def whole(number: object) -> int | None:
    """A whole number given as such or as text; None for anything else."""
    if isinstance(number, bool) or not isinstance(number, int | float | str):
        return None
    try:
        return int(number)
    except (ValueError, OverflowError):
        return None


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    end = start + len(inner.strip())
    return (start, end) if start < end else None


def _region_id(key: str) -> str:
    return "s" + hashlib.blake2s(key.encode(), digest_size=5).hexdigest()
