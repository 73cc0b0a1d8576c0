"""Spans of a text, a dialogue, a hypertext, a sound or a series, with their classes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.kind import Compared, Level, Ratio, Readings, labels_in, nothing_judged, under
from qa.kinds.shapes import Spans
from qa.measures.span_matching import relaxed_matches
from qa.measures.spans import token_places

_NOTHING, _NO_MATCH = "no span in any pair", "no spans match"
_SUMS = ("n_both", "strict", "relaxed", "overlap")
#: Between the classes over one token.
_AND = " | "
#: (place, start, end, class)
_Span = tuple[str, float, float, str]


class _Spans:
    name = "spans"
    headline = "f1_strict"
    class_ratios: Mapping[str, Ratio] = {
        "f1_strict": Ratio("strict", "n_both", _NOTHING, 2.0),
        "f1_relaxed": Ratio("relaxed", "n_both", _NOTHING, 2.0),
        "mean_iou": Ratio("overlap", "relaxed", _NO_MATCH),
    }
    ratios: Mapping[str, Ratio] = {**class_ratios, "f1_strict_any_class": Ratio("any_class", "n_both", _NOTHING, 2.0)}
    level: Level | None = "nominal"
    judged_prefix = "token_"

    def read(self, result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> Spans | None:
        """The spans in order of place, start, end and class; those without readable ends are left out."""
        found: list[tuple[str, float, float, str, str]] = []
        paragraphs = _paragraphs(control, data)
        for region in under(result, control):
            value = region.get("value")
            ends = _ends(value, control, paragraphs) if isinstance(value, Mapping) else None
            if ends is not None:
                labels = labels_in(region, control) or [""]
                found += [(*ends, str(label), str(region.get("id") or "")) for label in labels]
        if not found:
            return None
        found.sort()
        places, starts, lasts, classes, regions = zip(*found, strict=True)
        return Spans(starts, lasts, classes, regions, places, _text(control, data, paragraphs))

    def compare(self, readings: Readings) -> Compared:
        spans: list[list[_Span]] = [
            [] if each is None else list(zip(each.places, each.starts, each.ends, each.labels, strict=True))
            for each in readings.values
        ]
        left, right = readings.meetings()
        pairs: list[tuple[Any, ...]] = []
        classes: list[tuple[Any, ...]] = []
        for i, j in zip(left.tolist(), right.tolist(), strict=True):
            sums, of_class = _agreed(spans[i], spans[j])
            n_both = sums["n_both"]
            pairs.append(
                (i, j, 2 * sums["strict"] / n_both, *(sums[name] for name in _SUMS), _any_class(spans[i], spans[j]))
            )
            classes += [(i, j, label, *(each[name] for name in _SUMS)) for label, each in of_class.items()]
        places = {"left": pl.Int64, "right": pl.Int64}
        numbers = dict.fromkeys(_SUMS, pl.Float64)
        return Compared(
            pl.DataFrame(
                pairs, schema={**places, "score": pl.Float64, **numbers, "any_class": pl.Float64}, orient="row"
            ),
            pl.DataFrame(classes, schema={**places, "class": pl.String, **numbers}, orient="row"),
            _tokens(readings),
        )


def _agreed(first: list[_Span], second: list[_Span]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """What two people's spans have in common, over all and by class."""
    by_class: dict[str, tuple[list[_Span], list[_Span]]] = {}
    for side, spans in enumerate((first, second)):
        for span in spans:
            by_class.setdefault(span[3], ([], []))[side].append(span)
    found: dict[str, dict[str, float]] = {}
    for label, (a, b) in sorted(by_class.items()):
        both = (Counter(a) & Counter(b)).total()
        matched = relaxed_matches([span[:3] for span in a], [span[:3] for span in b])
        found[label] = {
            "n_both": float(len(a) + len(b)),
            "strict": float(both),
            "relaxed": float(len(matched)),
            "overlap": sum(iou for _, _, iou in matched),
        }
    return {name: sum(each[name] for each in found.values()) for name in _SUMS}, found


def _any_class(first: list[_Span], second: list[_Span]) -> float:
    return float((Counter(span[:3] for span in first) & Counter(span[:3] for span in second)).total())


# -- reading ----------------------------------------------------------------------------------------------------------


def _ends(value: Mapping[str, Any], control: Control, paragraphs: list[str] | None) -> tuple[str, float, float] | None:
    """(place, start, end) of a span."""
    start, end = value.get("start"), value.get("end")
    if control.tag == "HyperTextLabels":
        spots = value.get("globalOffsets")
        if isinstance(spots, Mapping):
            return _numbers("", spots.get("start"), spots.get("end"))
        place = str(start) if start == end else f"{start} to {end}"
        return _numbers(place, value.get("startOffset"), value.get("endOffset"))
    if control.tag == "ParagraphLabels":
        return _in_dialogue(start, end, value.get("startOffset"), value.get("endOffset"), paragraphs)
    channel = value.get("channel")
    return _numbers("" if channel is None else f"channel {channel}", start, end)


def _numbers(place: str, start: Any, end: Any) -> tuple[str, float, float] | None:
    for each in (start, end):
        if isinstance(each, bool) or not isinstance(each, int | float) or each != each:
            return None
    # Of two nodes the end may count from a later one, and be the smaller number.
    return (place, start, end) if end >= start or place else None


def _in_dialogue(
    start: Any, end: Any, start_offset: Any, end_offset: Any, paragraphs: list[str] | None
) -> tuple[str, float, float] | None:
    try:
        first, last = int(start), int(end)
    except (TypeError, ValueError):
        return None
    if paragraphs is None or not 0 <= first <= last < len(paragraphs):
        return _numbers(str(first) if first == last else f"{first} to {last}", start_offset, end_offset)
    begins = [0]
    for text in paragraphs:
        begins.append(begins[-1] + len(text) + 1)
    whole = _numbers("dialogue", start_offset, end_offset)
    return None if whole is None else ("", begins[first] + whole[1], begins[last] + whole[2])


def _paragraphs(control: Control, data: Mapping[str, Any]) -> list[str] | None:
    if control.tag != "ParagraphLabels":
        return None
    found, key = data.get(control.data_key), control.object_attributes.get("textKey", "text")
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        return None
    return [str(each.get(key) or "") for each in found]


def _text(control: Control, data: Mapping[str, Any], paragraphs: list[str] | None) -> str | None:
    if paragraphs is not None:
        return "\n".join(paragraphs)
    found = data.get(control.data_key) if control.object_tag == "Text" else None
    return found if isinstance(found, str) else None


# -- tokens -----------------------------------------------------------------------------------------------------------


def _tokens(readings: Readings) -> pl.DataFrame:
    """Of each task whose text is known, its tokens as units: the classes that each person's spans put over them."""
    unit = 0
    rows_unit: list[int] = []
    rows_place: list[int] = []
    values: list[str] = []
    for first, after in readings.tasks():
        told = [readings.values[place] for place in range(first, after)]
        text = next((each.text for each in told if each is not None and each.text is not None), None)
        if text is None or any(each is not None and any(each.places) for each in told):
            continue
        starts, ends = token_places(text)
        for place, each in enumerate(told, start=first):
            rows_unit += range(unit, unit + len(starts))
            rows_place += [place] * len(starts)
            values += list(_over(each, starts, ends))
        unit += len(starts)
    if not values:
        return nothing_judged()
    columns = [
        pl.Series("unit", rows_unit, dtype=pl.Int64),
        pl.Series("place", rows_place, dtype=pl.Int64),
        pl.Series("value", values, dtype=pl.String),
    ]
    return pl.DataFrame(columns)


def _over(spans: Spans | None, starts: list[int], ends: list[int]) -> Iterator[str]:
    over: list[set[str] | None] = [None] * len(starts)
    for start, end, label in () if spans is None else zip(spans.starts, spans.ends, spans.labels, strict=True):
        for token in range(bisect_right(ends, start), bisect_left(starts, end)):
            known = over[token]
            if known is None:
                over[token] = {label}
            else:
                known.add(label)
    return ("" if labels is None else _AND.join(sorted(labels)) for labels in over)


SPANS = _Spans()
