"""Scores of out-of-fold regions as chances to be right: a short training leaves them on any scale.

Detectors of label errors take a prediction of .5 or more for sure. What a score of .5 says depends on the model and on
how long it was trained, so each score is replaced by the chance that people drew or marked the same class there: Platt's sigmoid
(1999) of its log odds, by class, fitted to the given labels. Wrong labels among them are few and shift it a little, towards
less sure; the order within a class stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from labelloop.datasets import Dataset
from qa.issues.placed import alike, placed_in, same
from qa.kinds.likeness import LIKENESS
from qa.kinds.registry import measurable
from qa.measures.boxes import match_boxes

#: A class with fewer right or fewer wrong predictions is read by those of all classes together.
LEAST = 10
_SAME_THING = 0.5
Regions = Mapping[int, Sequence[dict[str, Any]]]
_Seen = tuple[str, str, float, bool]


def calibrated(regions: Regions, dataset: Dataset) -> dict[int, list[dict[str, Any]]]:
    """The same regions with calibrated scores; those of a control with too few to tell from are as they were."""
    seen = list(_compared(regions, dataset))
    fitted: dict[tuple[str, str], tuple[float, float]] = {}
    for control in {each[0] for each in seen}:
        own = [each for each in seen if each[0] == control]
        every = fit_sigmoid([score for _, _, score, _ in own], [right for *_, right in own])
        for name in {each[1] for each in own}:
            told = [each for each in own if each[1] == name]
            line = fit_sigmoid([score for _, _, score, _ in told], [right for *_, right in told]) or every
            if line is not None:
                fitted[control, name] = line
    return {task: [_rescored(region, fitted) for region in found] for task, found in regions.items()}


def fit_sigmoid(scores: Sequence[float], right: Sequence[bool]) -> tuple[float, float] | None:
    """(slope, shift) of the log odds with which scores best tell what is right; None where they do not tell, or are few."""
    hit = np.array(right, dtype=np.bool_)
    n, wrong = int(hit.sum()), int((~hit).sum())
    if n < LEAST or wrong < LEAST:
        return None
    x = _odds(np.array(scores, dtype=np.float64))
    target = np.where(hit, (n + 1) / (n + 2), 1 / (wrong + 2))
    rows = np.stack([x, np.ones_like(x)], axis=1)
    line = np.array([1.0, 0.0])
    for _ in range(50):
        chance = _sigmoid(rows @ line)
        # A faint pull towards scores as they are keeps a class that is told without error finite.
        slope = rows.T @ (chance - target) + 0.01 * (line - (1.0, 0.0))
        bend = (rows * (chance * (1 - chance))[:, None]).T @ rows + 0.01 * np.eye(2)
        step = np.linalg.solve(bend, slope)
        line = line - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-9))
        if np.abs(step).max() < 1e-6:
            break
    return (float(line[0]), float(line[1])) if line[0] > 0 else None


def _compared(regions: Regions, dataset: Dataset) -> list[_Seen]:
    """(control, class, score, whether people have the same) of every predicted region."""
    found: list[_Seen] = []
    for _, data, truth in _truths(dataset, regions):
        for control, kind in measurable(dataset.label_config):
            if kind.name not in LIKENESS:
                continue
            predicted = placed_in(truth[1], control, kind, data)
            given = placed_in(truth[0], control, kind, data)
            like = alike(given, predicted)
            ok = same(given.labels, predicted.labels) & (like >= _SAME_THING)
            # Among equally like ones the surer is the one that counts.
            worth = like + 1e-3 * np.array(predicted.scores, dtype=np.float64)
            right = {j for _, j, _ in match_boxes(worth, _SAME_THING, ok)}
            for j, (name, score) in enumerate(zip(predicted.labels, predicted.scores, strict=True)):
                found.append((control.name, name, score, j in right))
    return found


def _truths(
    dataset: Dataset, regions: Regions
) -> list[tuple[int, dict[str, Any], tuple[list[dict[str, Any]], list[dict[str, Any]]]]]:
    """(task, data, (regions of the truth, predicted regions)) of the tasks that have both."""
    import polars as pl

    rows = dataset.labels.filter(pl.col("is_truth")).join(dataset.tasks.select("task_id", "data"), on="task_id")
    return [
        (task, orjson.loads(data), (orjson.loads(result), list(regions[task])))
        for task, data, result in rows.select("task_id", "data", "result").iter_rows()
        if task in regions
    ]


def _rescored(region: dict[str, Any], fitted: Mapping[tuple[str, str], tuple[float, float]]) -> dict[str, Any]:
    score = region.get("score")
    names = (region.get("value") or {}).get(region.get("type"))
    name = names[0] if isinstance(names, list) and names else names
    line = fitted.get((str(region.get("from_name")), str(name)))
    if line is None or not isinstance(score, int | float):
        return region
    chance = _sigmoid(line[0] * _odds(np.array([float(score)])) + line[1])
    return {**region, "score": round(float(chance[0]), 6)}


def _odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(scores, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(kept / (1 - kept)), dtype=np.float64)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))), dtype=np.float64)
