"""Single coefficients of lists of judgments, one entry per (unit, value) judgment; `qa.measures.chance` has all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from qa.measures.chance import NO_UNITS, ONE_VALUE, Level, agreement_of
from qa.measures.coefficients import Coefficient
from qa.measures.ratings import ratings_of

__all__ = ["NO_UNITS", "ONE_VALUE", "Level", "krippendorff_alpha", "percent_agreement"]


def percent_agreement(units: Sequence[Any], values: Sequence[Any]) -> Coefficient:
    """Share of pairs of people within a unit that gave the same value, over all pairs."""
    return _one("percent_agreement", units, values, "nominal")


def krippendorff_alpha(units: Sequence[Any], values: Sequence[Any], level: Level = "nominal") -> Coefficient:
    """Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    One entry per judgment. `values` are numbers for the levels interval and ratio, and in rank order for ordinal.
    """
    return _one("krippendorff_alpha", units, values, level)


def _one(name: str, units: Sequence[Any], values: Sequence[Any], level: Level) -> Coefficient:
    # Who said it matters to neither.
    return agreement_of(ratings_of(units, np.zeros(len(units), np.int64), values), level, samples=0)[name].coefficient
