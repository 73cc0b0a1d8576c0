"""Temperature scaling: makes a model's probabilities mean what they say (Guo et al. 2017, arXiv:1706.04599)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_LABELS = 200
LEAST_PER_CLASS = 5
LEAST_ANSWERS = 30
_TEMPERATURES = np.exp(np.linspace(np.log(0.05), np.log(5.0), 200))
_ANSWER_TEMPERATURES = np.exp(np.linspace(np.log(0.25), np.log(10.0), 80))
_NEVER_SURE = 1e-4
_PRIOR = 1.0  # holds the temperature near 1 as long as the answers are few, or nearly all of them right
Floats = NDArray[np.float64]


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Rows (n, classes) that sum to 1, sharpened by a temperature below 1 and softened by one above."""
    powers = np.log(np.clip(probabilities, 1e-12, 1.0)) / temperature
    powers = np.exp(powers - powers.max(axis=1, keepdims=True))
    out: Floats = powers / powers.sum(axis=1, keepdims=True)
    return out


def tempered_each(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities that stand each for itself, brought nearer to a half by a temperature above 1; as given by 1."""
    if temperature == 1.0:
        return probabilities
    sure = np.clip(probabilities, 1e-12, 1 - 1e-12)
    out: Floats = 1.0 / (1.0 + np.exp(-(np.log(sure) - np.log1p(-sure)) / temperature))
    return out


def fit_class_temperature(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    """The temperature that makes out-of-fold rows (n, classes) likeliest given the true columns (n,)."""

    def loss(temperature: float) -> float:
        chances = tempered(probabilities, temperature)[np.arange(len(truth)), truth]
        return -float(np.log(np.clip(chances, 1e-12, None)).mean())

    return float(min(_TEMPERATURES, key=loss))


def enough_to_calibrate(labels: Sequence[str]) -> bool:
    """Whether there are LEAST_LABELS labels and LEAST_PER_CLASS of each class that occurs."""
    counts = Counter(labels)
    return len(labels) >= LEAST_LABELS and min(counts.values()) >= LEAST_PER_CLASS


def fit_temperature(confidences: Callable[[float], Floats], right: NDArray[np.bool_]) -> float:
    """The temperature whose `confidences(temperature)` (n,) make the outcomes `right` (n,) likeliest; 1.0 without any.

    The correctness of whole answers (an entity, a class among several) takes the place of classes.
    """
    if not len(right):
        return 1.0

    def loss(temperature: float) -> float:
        sure = np.clip(confidences(temperature), _NEVER_SURE, 1 - _NEVER_SURE)
        likely = np.where(right, np.log(sure), np.log(1 - sure)).sum()
        return float(_PRIOR * np.log(temperature) ** 2 - likely)

    return float(min(_ANSWER_TEMPERATURES, key=loss))
