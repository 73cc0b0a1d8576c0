"""Free texts about the task as a whole, as transcripts and translations are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rapidfuzz.distance import Levenshtein

from labelloop.label_config import Control
from labelloop.values import Region
from qa.kinds.kind import Compared, Level, Ratio, Readings, no_classes, nothing_judged, under

_NO_PAIR = "no two people gave a text to one task"


class _Texts:
    """Two texts agree but for their edit distance in characters (and in words), as a share of the longer one."""

    name = "texts"
    headline = "mean_similarity"
    ratios: Mapping[str, Ratio] = {
        "mean_similarity": Ratio("similarity", "n", _NO_PAIR),
        "mean_word_similarity": Ratio("words", "n", _NO_PAIR),
        "exact_match": Ratio("exact", "n", _NO_PAIR),
    }
    class_ratios: Mapping[str, Ratio] = {}
    level: Level | None = None
    judged_prefix = ""

    def read(self, result: Sequence[Region], control: Control, data: Mapping[str, Any]) -> str | None:
        """The text, its parts in lines, with single spaces between words; None for none."""
        lines: list[str] = []
        for region in under(result, control):
            value = region.get("value")
            found = value.get("text") if isinstance(value, Mapping) else None
            lines += [
                str(each) for each in (found if isinstance(found, list) else [found] if found is not None else [])
            ]
        return "\n".join(filter(None, (" ".join(line.split()) for line in lines))) or None

    def compare(self, readings: Readings) -> Compared:
        rows = []
        left, right = readings.meetings()
        for i, j in zip(left.tolist(), right.tolist(), strict=True):
            a, b = readings.values[i] or "", readings.values[j] or ""
            similarity = Levenshtein.normalized_similarity(a, b)
            words = Levenshtein.normalized_similarity(a.split(), b.split())
            rows.append((i, j, similarity, similarity, words, float(a == b), 1.0))
        numbers = ("score", "similarity", "words", "exact", "n")
        schema = {"left": pl.Int64, "right": pl.Int64, **dict.fromkeys(numbers, pl.Float64)}
        return Compared(pl.DataFrame(rows, schema=schema, orient="row"), no_classes(*numbers[1:]), nothing_judged())


TEXTS = _Texts()
