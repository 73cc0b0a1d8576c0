"""Agreement in a table of judgments, as plain JSON values: every coefficient of a level, each pair of people, each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from labelloop.errors import DataError
from qa.judgments import coded
from qa.measures.chance import Interval, Level, agreement_of
from qa.measures.coefficients import Coefficient
from qa.measures.rater_pairs import RaterPairs, Weights, rater_pairs
from qa.measures.ratings import Ratings

SCHEMA_VERSION = 2


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
    ratings = coded(judgments)
    metrics = {name: _told(each) for name, each in agreement_of(ratings, level).items()}
    found = {name: rater_pairs(ratings, weights) for name, weights in _cohens(level).items()}
    metrics |= {name: _told(Interval(each.mean_kappa)) for name, each in found.items()}
    report = {
        "type": "table",
        "level": level,
        "n_tasks": len(ratings.unit_names),
        "n_overlapped": int((ratings.sizes >= 2).sum()),
        "n_annotators": len(ratings.rater_names),
        "n_judgments": len(ratings),
        "metrics": metrics,
        "pairs": _pairs(found["cohens_kappa_mean"], ratings),
        "per_class": _classes(ratings),
    }
    return {"schema_version": SCHEMA_VERSION, "controls": {control: report}}


def _cohens(level: Level) -> dict[str, Weights]:
    """Cohen's kappas and their weights (Cohen 1960, 1968); those with weights where values have an order."""
    weighted: dict[str, Weights] = {"cohens_kappa_linear_mean": "linear", "cohens_kappa_quadratic_mean": "quadratic"}
    return {"cohens_kappa_mean": "none", **(weighted if level != "nominal" else {})}


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


def _told(found: Interval) -> dict[str, Any]:
    coefficient: Coefficient = found.coefficient
    ci = None if found.low is None or found.high is None else [found.low, found.high]
    return {"value": coefficient.value, "ci": ci, "n": coefficient.n_units, "reason": coefficient.reason}


def _classes(ratings: Ratings) -> dict[str, dict[str, Any]]:
    """Of each value how often it was given, and its specific agreement.

    That is the share of the other judgments of the same tasks that give it too (Cicchetti and Feinstein 1990).
    """
    patterns, k = ratings.patterns, len(ratings.value_names)
    cells = patterns.owners * k + patterns.values
    counts = np.bincount(cells, minlength=len(patterns.sizes) * k).reshape(-1, k).astype(np.float64)
    weights = patterns.counts[:, None] * counts
    given = weights.sum(axis=0)
    agreeing = (weights * (counts - 1)).sum(axis=0)
    others = (weights * (patterns.sizes - 1)[:, None]).sum(axis=0)
    return {
        str(name): {
            "n": int(given[at]),
            "specific_agreement": float(agreeing[at] / others[at]) if others[at] else None,
        }
        for at, name in enumerate(ratings.value_names.tolist())
    }


def table_agreement_text(report: Mapping[str, Any]) -> str:
    """The report for people."""
    lines = []
    for name, control in report["controls"].items():
        lines.append(
            f"{name}: {control['n_overlapped']} of {control['n_tasks']} tasks with several judgments, "
            f"{control['n_annotators']} people, level {control['level']}"
        )
        for metric, each in control["metrics"].items():
            bounds = f"  ({each['ci'][0]:.3f} to {each['ci'][1]:.3f})" if each["ci"] else ""
            value = f"{each['value']:.3f}{bounds}" if each["value"] is not None else f"undefined: {each['reason']}"
            lines.append(f"  {metric:28} {value}")
    return "\n".join(lines)
