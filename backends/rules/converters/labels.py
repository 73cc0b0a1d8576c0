"""Labels on a Text: spans in code points to Label Studio regions, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from typing import NamedTuple

from backends.rules.matchers import trimmed
from labelloop.label_config import Control
from labelloop.values import Region

REGION_TYPE = "labels"


class Span(NamedTuple):
    """text[start:end] has this label; offsets in code points."""

    start: int
    end: int
    label: str


def span_to_region(text: str, span: Span, score: float, control: Control) -> Region:
    """The region of a span that lies in `text`."""
    key = f"{span.start}:{span.end}:{span.label}"
    return {
        "id": "s" + hashlib.blake2s(key.encode(), digest_size=5).hexdigest(),
        "from_name": control.name,
        "to_name": control.to_name,
        "type": REGION_TYPE,
        "value": {
            "start": span.start,
            "end": span.end,
            "text": text[span.start : span.end],
            REGION_TYPE: [span.label],
        },
        "score": min(max(float(score), 0.0), 1.0),
    }


def labelled_spans(text: str, result: Iterable[Region], classes: Collection[str], control: str) -> set[Span]:
    """The spans of one control that lie in the text, without white space at their ends; one per label of a span."""
    spans = set()
    for region in result:
        if region.get("type") != REGION_TYPE or region.get("from_name") != control:
            continue
        value = region.get("value") or {}
        try:
            start, end = trimmed(text, int(value["start"]), int(value["end"]))
        except (KeyError, TypeError, ValueError):
            continue
        if start < end:
            spans |= {Span(start, end, str(label)) for label in value.get(REGION_TYPE) or () if label in classes}
    return spans
