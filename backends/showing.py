"""Which of a model's regions people see: those over the threshold of their class, best first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from backends.thresholds import DEFAULT
from backends.version_labels import Thresholds
from labelloop.values import Outcome, Region

SHOWN_LIMIT = 50


def labels_of(region: Region) -> list[str]:
    """Class names of a region; a taxonomy path is joined by " / "."""
    value = region.get("value") or {}
    labels = value.get(str(region.get("type", ""))) or []
    return [" / ".join(map(str, label)) if isinstance(label, list) else str(label) for label in labels]


def _score(region: Region) -> float | None:
    score = region.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        return None
    return float(score)


def _is_finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(_is_finite(item) for item in value.values())
    return all(_is_finite(item) for item in value) if isinstance(value, list | tuple) else True


def shown_regions(outcome: Outcome, thresholds: Thresholds, limit: int = SHOWN_LIMIT) -> list[Region]:
    """The regions of an outcome that reach the threshold of every class they carry, by falling score, `limit` at most.

    `thresholds` are by control and class; a class that is not there has the default.

    A region without a finite score or with a number that is not finite is never shown. Equal scores keep their order.
    """
    if outcome.status != "ok":
        return []
    kept: list[tuple[float, Region]] = []
    for region in outcome.regions:
        score, labels = _score(region), labels_of(region)
        if score is None or not labels or not _is_finite(region.get("value")):
            continue
        own = thresholds.get(str(region.get("from_name")), {})
        if all(score >= own.get(label, DEFAULT) for label in labels):
            kept.append((score, region))
    kept.sort(key=lambda pair: -pair[0])
    return [region for _, region in kept[:limit]]
