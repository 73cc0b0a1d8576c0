"""Labels on a Text: spans in code points to Label Studio regions, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

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


def spans_to_regions(text: str, spans: Iterable[Span], control: str, to_name: str) -> tuple[Region, ...]:
    """Regions of `text`, in the order of the spans; DataError when a span does not lie in it."""
    regions = []
    for span in spans:
        if not 0 <= span.start < span.end <= len(text):
            raise DataError(f"span {span.start}:{span.end} does not lie in a text of {len(text)} characters")
        region: Region = {
            "id": _region_id(span),
            "from_name": control,
            "to_name": to_name,
            "type": REGION_TYPE,
            "value": {
                "start": span.start,
                "end": span.end,
                "text": text[span.start : span.end],
                REGION_TYPE: [span.label],
            },
        }
        if span.score is not None:
            region["score"] = min(max(float(span.score), 0.0), 1.0)
        regions.append(region)
    return tuple(regions)


def regions_to_spans(text: str, result: Iterable[Region], control: str) -> tuple[list[Span], int]:
    """(spans of one control, how many regions could not be used because they do not lie in the text).

    White space at the ends of a span is cut off; a span with several labels gives one for each; doubles are dropped.
    """
    spans: set[Span] = set()
    unusable = 0
    for region in result:
        if region.get("type") != REGION_TYPE or region.get("from_name") != control:
            continue
        bounds = _bounds(text, region)
        if bounds is None:
            unusable += 1
            continue
        spans.update(Span(*bounds, str(label)) for label in region["value"].get(REGION_TYPE) or ())
    return sorted(spans), unusable


def _bounds(text: str, region: Region) -> tuple[int, int] | None:
    value = region.get("value") or {}
    try:
        start, end = int(value["start"]), int(value["end"])
    except (KeyError, TypeError, ValueError):
        return None
    if not 0 <= start < end <= len(text):
        return None
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    end = start + len(inner.strip())
    return (start, end) if start < end else None


def _region_id(span: Span) -> str:
    key = f"{span.start}:{span.end}:{span.label}"
    return "s" + hashlib.blake2s(key.encode(), digest_size=5).hexdigest()
