"""What replays say: labels that each strategy needed, the area under its curve, and what it saves against random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sync.simulating.replay import Run

#: Shares of the full-data score, in percent.
TARGETS = (90, 95, 99)
BASELINE = "random"
#: Points of a curve that is told.
_POINTS = 41


def report_of(runs: Sequence[Run], full: float) -> dict[str, Any]:
    """By strategy its seeds, area under the learning curve, labels to shares of the full score, and savings.

    `aulc` is the mean score over the labels from where all runs have begun to where the first one ends. `labels_to` is the
    mean over seeds, with straight lines between rounds; null where a seed did not get there. `saving_vs_random` compares
    runs of the same seed, over those seeds in which both got there; `ci` holds 95 % by Student's t, null with fewer than two.
    """
    by_strategy: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda each: each.seed):
        by_strategy.setdefault(run.strategy, []).append(run)
    low = max(run.points[0][0] for run in runs)
    high = min(run.points[-1][0] for run in runs)
    base = {run.seed: run for run in by_strategy.get(BASELINE, ())}
    return {
        name: {
            "seeds": len(own),
            "aulc": mean_of([area(run, low, high) for run in own]),
            "aulc_range": [low, high],
            "full_score": full,
            "labels_to": {str(share): whole_mean([labels_to(run, full * share / 100) for run in own]) for share in TARGETS},
            "each_labels_to": {
                str(share): [labels_to(run, full * share / 100) for run in own] for share in TARGETS
            },
            "saving_vs_random": {
                str(share): _saving(own, base, full * share / 100) for share in TARGETS if name != BASELINE
            },
            "curve": _curve(own),
        }
        for name, own in by_strategy.items()
    }  # fmt: skip


def labels_to(run: Run, score: float) -> float | None:
    """How many labels a run needed to reach a score, on a straight line between rounds; None where it never did."""
    before: tuple[int, float] | None = None
    for labels, value in run.points:
        if value >= score:
            if before is None or value == before[1]:
                return float(labels)
            return before[0] + (labels - before[0]) * (score - before[1]) / (value - before[1])
        before = (labels, value)
    return None


def area(run: Run, low: int, high: int) -> float:
    """The mean score from `low` to `high` labels, on straight lines between rounds."""
    labels, scores = (np.array(column, dtype=np.float64) for column in zip(*run.points, strict=True))
    if high <= low:
        return float(np.interp(low, labels, scores))
    at = np.unique(np.concatenate([labels[(labels > low) & (labels < high)], [low, high]]))
    return float(np.trapezoid(np.interp(at, labels, scores), at) / (high - low))


def mean_of(values: Sequence[float]) -> float:
    """The mean."""
    return float(np.mean(values))


def whole_mean(values: Sequence[float | None]) -> float | None:
    """The mean of values that are all there."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there and len(there) == len(values) else None


def _saving(own: Sequence[Run], base: Mapping[int, Run], score: float) -> dict[str, Any]:
    pairs = []
    for run in own:
        other = labels_to(base[run.seed], score) if run.seed in base else None
        mine = labels_to(run, score)
        if mine is not None and other:
            pairs.append(1 - mine / other)
    if not pairs:
        return {"mean": None, "ci": None, "n": 0, "reason": "not_reached"}
    return {"mean": float(np.mean(pairs)), "ci": _interval(pairs), "n": len(pairs), "reason": None}


def _interval(values: Sequence[float]) -> list[float] | None:
    """95 % of the mean, by Student's t."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    middle = float(np.mean(values))
    return [middle - half, middle + half]


def _curve(own: Sequence[Run]) -> list[dict[str, float]]:
    """Mean, lowest and highest score of the seeds at labels where all of them were."""
    low, high = max(run.points[0][0] for run in own), min(run.points[-1][0] for run in own)
    at = np.unique(np.linspace(low, high, _POINTS).round())
    rows = np.stack([np.interp(at, *np.array(run.points, dtype=np.float64).T) for run in own])
    return [
        {"labels": float(labels), "mean": float(column.mean()), "low": float(column.min()), "high": float(column.max())}
        for labels, column in zip(at, rows.T, strict=True)
    ]


def told(report: Mapping[str, Any]) -> str:
    """The report as a table."""
    lines = [
        f"{'strategy':18}{'seeds':>6}{'area':>8}{'to 90%':>9}{'to 95%':>9}{'to 99%':>9}  fewer labels than random to 95%"
    ]
    for name, each in report.items():
        labels = "".join(f"{_number(each['labels_to'][str(share)]):>9}" for share in TARGETS)
        saving = each["saving_vs_random"].get("95")
        lines.append(f"{name:18}{each['seeds']:>6}{each['aulc']:>8.3f}{labels}  {_saving_told(saving)}")
    if report:
        lines.append(f"score with all labels: {next(iter(report.values()))['full_score']:.4f}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _saving_told(saving: Mapping[str, Any] | None) -> str:
    if saving is None:
        return ""
    if saving["mean"] is None:
        return "not reached"
    ci = saving["ci"]
    return f"{saving['mean']:.0%}" + (f" ({ci[0]:.0%} to {ci[1]:.0%})" if ci else "")
