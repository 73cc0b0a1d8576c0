"""Records as other tools write them: a text or an image with its label or labels, or a text with its spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.formats.row_reading import SPLIT_NAMES, RowItem

EXPECTED = (
    'a task as labelloop writes it ("data" and "regions"); or "text" or "image" with "label" (a class, or a list of '
    'them); or "text" with "spans", "entities" or "label" as [{"start", "end", "label"}] or [[start, end, label]]'
)
_SPANS, _LABELS = ("spans", "entities"), ("label", "labels")


class BadRecord(Exception):
    """A record that says no label in a way that is known."""


def simple_item(record: Mapping[str, Any], source: str, config: LabelConfig | None) -> RowItem:
    """The record as an item; what is no label is its data. BadRecord says what was expected."""
    keys = [c.data_key for c in config.controls] if config is not None else []
    shown = next((key for key in (*keys, "text", "image") if isinstance(record.get(key), str)), None)
    told = [key for key in (*_SPANS, *_LABELS) if key in record]
    if shown is None or not told:
        raise BadRecord(f"expected {EXPECTED}; got the keys {', '.join(map(str, record))}"[:400])
    split = SPLIT_NAMES.get(str(record.get("split")).lower())
    data = {key: value for key, value in record.items() if key not in told and not (key == "split" and split)}
    item = RowItem(data, source, split=split)
    for key in told:
        for kind, value in _values(key, record[key], record[shown]):
            item.regions.append(_region(len(item.regions) + 1, key, kind, value))
    return item


def _values(key: str, said: Any, text: str) -> list[tuple[str, dict[str, Any]]]:
    """(region type, value) of each thing that a key says."""
    if said is None or said == []:
        return []
    if key in _LABELS and isinstance(said, str):
        return [("choices", {"choices": [said]})]
    if not isinstance(said, list):
        raise BadRecord(f"{key} is {str(said)[:40]!r}; expected {EXPECTED}")
    if key in _LABELS and all(isinstance(each, str) for each in said):
        return [("choices", {"choices": said})]
    return [("labels", _span(key, each, text)) for each in said]


def _span(key: str, said: Any, text: str) -> dict[str, Any]:
    if isinstance(said, Mapping):
        parts = [
            said.get("start", said.get("start_offset")),
            said.get("end", said.get("end_offset")),
            said.get("label"),
        ]
    else:
        parts = list(said) if isinstance(said, Sequence) and not isinstance(said, str) else []
    fits = len(parts) == 3 and type(parts[0]) is int and type(parts[1]) is int and isinstance(parts[2], str)
    if not fits or not 0 <= parts[0] < parts[1] <= len(text):
        raise BadRecord(f"{key} has {str(said)[:60]!r}, expected a start, an end within the text and a label")
    start, end, label = parts
    return {"start": start, "end": end, "text": text[start:end], "labels": [label]}


def _region(number: int, name: str, kind: str, value: Mapping[str, Any]) -> Region:
    return {"id": f"r{number}", "from_name": name, "type": kind, "value": dict(value), "origin": "manual"}
