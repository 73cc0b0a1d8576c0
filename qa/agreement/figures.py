"""The metrics of one control from its tally: by basis, pair, class, week and person, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from qa.agreement.tally import AND, Tally
from qa.kinds.kind import BETWEEN, Kind, Ratio
from qa.measures.chance import MOST_VALUES, NO_UNITS, Groups, Interval, agreement_in
from qa.measures.classes import binary_alpha, specific_agreement
from qa.measures.coefficients import undefined
from qa.measures.rater_pairs import RaterPairs, Weights, pairs_met
from qa.measures.ratings import Floats, Ints, Patterns

Metric = dict[str, Any]
#: Bootstrap samples of ratios, and of units that depend on each other.
_SAMPLES, _GROUPED_SAMPLES = 1000, 200


def told(found: Interval) -> Metric:
    """A coefficient as plain JSON values."""
    each = found.coefficient
    ci = None if found.low is None or found.high is None else [found.low, found.high]
    return {"value": each.value, "ci": ci, "n": each.n_units, "reason": each.reason}


def cohens(level: str | None) -> dict[str, Weights]:
    """Cohen's kappas and their weights (Cohen 1960, 1968); those with weights where values have an order."""
    weighted: dict[str, Weights] = {"cohens_kappa_linear_mean": "linear", "cohens_kappa_quadratic_mean": "quadratic"}
    return {"cohens_kappa_mean": "none", **(weighted if level not in (None, "nominal", "sets") else {})}


class Figures:
    """The figures of one control over one basis. `intervals`: whether bounds are drawn."""

    def __init__(self, kind: Kind, tally: Tally, basis: str, *, intervals: bool = True) -> None:
        self.kind, self.basis, self.intervals = kind, basis, intervals
        self._tables = {
            name: table.filter(pl.col("basis") == basis) if "basis" in table.columns else table
            for name, table in tally.tables.items()
        }

    @cached_property
    def counts(self) -> dict[str, int]:
        """Labels, tasks, overlapped tasks, pairs of labels and pairs in which nobody gave anything."""
        rows = self._tables["counts"].drop("basis", "rows").to_dicts()
        return (
            rows[0]
            if rows
            else dict.fromkeys(("n_labels", "n_unsure", "n_tasks", "n_overlapped", "n_pairs", "n_empty"), 0)
        )

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """Every metric by name."""
        found = self._ratios()
        if self.kind.level is not None:
            found |= {f"{self.kind.judged_prefix}{name}": each for name, each in self._judged().items()}
        return found

    # -- sums over sums ---------------------------------------------------------------------------------------------------

    def _ratios(self) -> dict[str, Metric]:
        groups = self._tables["groups"]
        tasks = int(groups["n_tasks"].sum())
        draws: Floats | None = None
        if self.intervals and tasks >= 2:
            draws = np.random.default_rng(0).poisson(1.0, (_SAMPLES, len(groups))).astype(np.float64)
        metrics = {**self.kind.ratios, "mean_score": Ratio("score", "rows", NO_UNITS)}
        return {name: _ratio(groups, ratio, tasks, draws) for name, ratio in metrics.items()}

    # -- coefficients of what is judged by value ----------------------------------------------------------------------------

    @cached_property
    def _decoded(self) -> _Decoded:
        return _Decoded.of(self._tables["patterns"], self.kind.level in ("ordinal", "interval", "ratio"))

    def _judged(self) -> dict[str, Metric]:
        decoded, level = self._decoded, self.kind.level
        assert level is not None  # noqa: S101  (told to the type checker)
        dependent = bool(self.kind.judged_prefix)
        samples = 0 if not self.intervals else _GROUPED_SAMPLES if dependent else _SAMPLES
        found = agreement_in(
            decoded.patterns, decoded.names, level, groups=decoded.groups if dependent else None, samples=samples
        )
        metrics = {name: told(each) for name, each in found.items()}
        for name, weights in cohens(level).items():
            pairs = self._pairs(weights)
            if pairs is None:
                metrics[name] = told(
                    Interval(undefined(f"more than {MOST_VALUES} different values: no table of weights"))
                )
            else:
                metrics[name] = told(Interval(pairs.mean_kappa))
        return metrics

    def _pairs(self, weights: Weights) -> RaterPairs | None:
        if len(self._decoded.names) > MOST_VALUES:
            return None
        people, codes, left, right, often = self._meetings
        return pairs_met(codes, left, right, len(self._decoded.names), len(people), weights, often=often)

    @cached_property
    def _meetings(self) -> tuple[list[int], Ints, Ints, Ints, Floats]:
        table = self._tables["meetings"]
        people = sorted({*table["first"].to_list(), *table["second"].to_list()})
        place = {person: at for at, person in enumerate(people)}
        first = np.array([place[person] for person in table["first"].to_list()], dtype=np.int64)
        second = np.array([place[person] for person in table["second"].to_list()], dtype=np.int64)
        value = self._decoded.code_of
        left = np.array([value[said] for said in table["left"].to_list()], dtype=np.int64)
        right = np.array([value[said] for said in table["right"].to_list()], dtype=np.int64)
        often = table["rows"].to_numpy().astype(np.float64)
        return people, first * len(people) + second, left, right, often

    # -- by pair, person, class, week -----------------------------------------------------------------------------------------

    def pairs(self) -> list[dict[str, Any]]:
        """Each pair of people: tasks that both answered, how far they agree, and the metrics that single pairs have."""
        kappas: dict[tuple[int, int], dict[str, Any]] = {}
        found = self._pairs("none") if self.kind.level is not None else None
        if found is not None:
            people = self._meetings[0]
            for a, b, shared, agreeing, kappa in zip(
                *(column.tolist() for column in (found.first, found.second, found.shared, found.agreeing, found.kappa)),
                strict=True,
            ):
                kappas[(people[a], people[b])] = {
                    f"{self.kind.judged_prefix}percent_agreement": agreeing / shared,
                    f"{self.kind.judged_prefix}cohens_kappa": None if np.isnan(kappa) else kappa,
                }
        rows = []
        for row in self._tables["pairs"].iter_rows(named=True):
            ratios = {name: _share(row, ratio) for name, ratio in self.kind.ratios.items()}
            pair = (row["first"], row["second"])
            rows.append(
                {"first": pair[0], "second": pair[1], "n": row["rows"], "score": row["score"] / row["rows"], **ratios}
                | kappas.get(pair, {})
            )
        return rows

    def people(self) -> dict[str, dict[str, Any]]:
        """Of each person how many labels there are, how many pairs with others, and how far they agree with those."""
        found: dict[str, dict[str, Any]] = {
            str(person): {"n_labels": count, "n": 0, "score": None}
            for person, count in self._tables["people"].iter_rows()
        }
        sums: dict[int, list[float]] = {}
        for row in self._tables["pairs"].iter_rows(named=True):
            for person in (row["first"], row["second"]):
                total = sums.setdefault(person, [0, 0.0])
                total[0] += row["rows"]
                total[1] += row["score"]
        for person, (count, score) in sums.items():
            found[str(person)] |= {"n": int(count), "score": score / count}
        return found

    def classes(self) -> dict[str, dict[str, Any]]:
        """Of each class how often it was given, and the metrics that single classes have."""
        if self.kind.level == "sets":
            alphas = binary_alpha(self._decoded.patterns, self._decoded.names, BETWEEN)
            return {
                name: {"n": int(row["n_both"]), **ratios, "krippendorff_alpha": alphas.get(name)}
                for name, row, ratios in self._class_rows()
            }
        if self.kind.class_ratios:
            return {name: {"n": int(row["n_both"]), **ratios} for name, row, ratios in self._class_rows()}
        if self.kind.level != "nominal":
            return {}
        return specific_agreement(self._decoded.patterns, self._decoded.names)

    def _class_rows(self) -> list[tuple[str, Mapping[str, Any], dict[str, Any]]]:
        return [
            (row["class"], row, {name: _share(row, ratio) for name, ratio in self.kind.class_ratios.items()})
            for row in self._tables["classes"].iter_rows(named=True)
        ]

    def weeks(self) -> list[dict[str, Any]]:
        """Of each ISO week, that of the later label of a pair: pairs, how far they agree, and the metrics without bounds."""
        whole_tasks = self.kind.level is not None and not self.kind.judged_prefix
        found = []
        for row in self._tables["weeks"].iter_rows(named=True):
            told_of = {name: _share(row, ratio) for name, ratio in self.kind.ratios.items()}
            if whole_tasks:
                part = self._tables["patterns"].filter(pl.col("week") == row["week"])
                decoded = _Decoded.of(part, self.kind.level != "nominal" and self.kind.level != "sets")
                assert self.kind.level is not None  # noqa: S101
                coefficients = agreement_in(decoded.patterns, decoded.names, self.kind.level, samples=0)
                told_of |= {name: each.coefficient.value for name, each in coefficients.items()}
            found.append({"week": row["week"], "n": row["rows"], "score": row["score"] / row["rows"], **told_of})
        return found


def _share(row: Mapping[str, Any], ratio: Ratio) -> float | None:
    return ratio.factor * row[ratio.over] / row[ratio.under] if row[ratio.under] else None


def _ratio(groups: pl.DataFrame, ratio: Ratio, tasks: int, draws: Floats | None) -> Metric:
    """A sum over a sum, with the bounds of bootstrap samples of groups of tasks."""
    over, under = groups[ratio.over].to_numpy(), groups[ratio.under].to_numpy()
    if not tasks:
        return {"value": None, "ci": None, "n": 0, "reason": NO_UNITS}
    if not under.sum():
        return {"value": None, "ci": None, "n": tasks, "reason": ratio.reason}
    ci = None
    if draws is not None:
        tops, bottoms = draws @ over.astype(np.float64), draws @ under.astype(np.float64)
        values = ratio.factor * tops[bottoms > 0] / bottoms[bottoms > 0]
        if len(values) >= 0.9 * len(draws):
            ci = np.percentile(values, (2.5, 97.5)).tolist()
    return {"value": float(ratio.factor * over.sum() / under.sum()), "ci": ci, "n": tasks, "reason": None}


@dataclass(frozen=True)
class _Decoded:
    """Patterns of units with codes for values, the values in order, and which groups of tasks the units are of."""

    patterns: Patterns
    names: NDArray[Any]
    code_of: Mapping[str, int]
    groups: Groups

    @classmethod
    def of(cls, table: pl.DataFrame, numbers: bool) -> _Decoded:
        total = table.group_by("pattern").agg(pl.col("rows").sum()).sort("pattern")
        texts = [str(pattern).split(AND) for pattern in total["pattern"].to_list()]
        said = sorted({text for one in texts for text in one}, key=float if numbers else None)
        code_of = {text: code for code, text in enumerate(said)}
        values = [sorted(code_of[text] for text in one) for one in texts]
        names = np.array([float(text) for text in said]) if numbers else np.array(said, dtype=object)
        patterns = Patterns(
            total["rows"].to_numpy().astype(np.int64),
            np.array([len(one) for one in values], dtype=np.int64),
            np.array([code for one in values for code in one], dtype=np.int64),
        )
        place = {pattern: at for at, pattern in enumerate(total["pattern"].to_list())}
        groups = Groups(
            table["group"].to_numpy().astype(np.int64),
            np.array([place[pattern] for pattern in table["pattern"].to_list()], dtype=np.int64),
            table["rows"].to_numpy().astype(np.int64),
        )
        return cls(patterns, names, code_of, groups)
