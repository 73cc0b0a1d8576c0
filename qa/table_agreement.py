"""Agreement in a table of judgments, as plain JSON values: every coefficient of a level, each pair of people, each class."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from labelloop.errors import DataError
from qa.agreement.figures import cohens, told
from qa.agreement.report import SCHEMA_VERSION
from qa.measures.chance import Interval, Level, agreement_of
from qa.measures.classes import specific_agreement
from qa.measures.rater_pairs import RaterPairs, rater_pairs
from qa.measures.ratings import Ratings, ratings_of


def table_agreement(judgments: pl.DataFrame, level: Level, control: str = "label") -> dict[str, Any]:
    """The report of one control, as docs/schemas/agreement.schema.json describes it.

    DataError when labels are no numbers and the level needs them, or without any judgment.
    """
    if not len(judgments):
        raise DataError("there is no judgment to measure; expected rows with a task, an annotator and a label")
    if level != "nominal":
        numbers = judgments["label"].cast(pl.Float64, strict=False)
        wrong = judgments.filter(numbers.is_null() | ~numbers.is_finite())["label"]
        if len(wrong):
            raise DataError(f"the level {level} needs numbers as labels, got {wrong[0]!r}; take --level nominal")
        least = min(numbers.to_list())
        if level == "ratio" and least < 0:
            raise DataError(f"the level ratio needs labels of zero or more, got {least}")
        judgments = judgments.with_columns(numbers.alias("label"))
    ratings = ratings_of(judgments["task"], judgments["annotator"], judgments["label"])
    metrics = {name: told(each) for name, each in agreement_of(ratings, level).items()}
    found = {name: rater_pairs(ratings, weights) for name, weights in cohens(level).items()}
    metrics |= {name: told(Interval(each.mean_kappa)) for name, each in found.items()}
    report = {
        "type": "table",
        "level": level,
        "n_tasks": len(ratings.unit_names),
        "n_overlapped": int((ratings.sizes >= 2).sum()),
        "n_annotators": len(ratings.rater_names),
        "n_judgments": len(ratings),
        "metrics": metrics,
        "pairs": _pairs(found["cohens_kappa_mean"], ratings),
        "per_class": specific_agreement(ratings.patterns, ratings.value_names),
    }
    return {"schema_version": SCHEMA_VERSION, "controls": {control: report}}


def _pairs(found: RaterPairs, ratings: Ratings) -> list[dict[str, Any]]:
    """Each pair of people; none where somebody judged a task twice."""
    if found.repeated:
        return []
    people = [str(name) for name in ratings.rater_names.tolist()]
    columns = (found.first, found.second, found.shared, found.agreeing, found.kappa)
    return [
        {
            "first": people[a],
            "second": people[b],
            "n": shared,
            "percent_agreement": agreeing / shared,
            "cohens_kappa": None if np.isnan(kappa) else kappa,
        }
        for a, b, shared, agreeing, kappa in zip(*(column.tolist() for column in columns), strict=True)
    ]
