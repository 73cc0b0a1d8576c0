"""Temperature scaling: makes a classifier's probabilities mean what they say (Guo et al. 2017, arXiv:1706.04599)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_LABELS = 200
LEAST_PER_CLASS = 5
_TEMPERATURES = np.exp(np.linspace(np.log(0.05), np.log(5.0), 200))
Floats = NDArray[np.float64]


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Rows (n, classes) that sum to 1, sharpened by a temperature below 1 and softened by one above."""
    powers = np.log(np.clip(probabilities, 1e-12, 1.0)) / temperature
    powers = np.exp(powers - powers.max(axis=1, keepdims=True))
    out: Floats = powers / powers.sum(axis=1, keepdims=True)
    return out


def fit_temperature(probabilities: Floats, truth: NDArray[np.int64]) -> float:
    """The temperature that makes out-of-fold rows (n, classes) likeliest given the true columns (n,)."""

    def loss(temperature: float) -> float:
        chances = tempered(probabilities, temperature)[np.arange(len(truth)), truth]
        return -float(np.log(np.clip(chances, 1e-12, None)).mean())

    return float(min(_TEMPERATURES, key=loss))


def enough_to_calibrate(labels: Sequence[str]) -> bool:
    """Whether there are LEAST_LABELS labels and LEAST_PER_CLASS of each class that occurs."""
    counts = Counter(labels)
    return len(labels) >= LEAST_LABELS and min(counts.values()) >= LEAST_PER_CLASS
