"""Signals: what a model version says of a task beside its regions, in rows that are small enough to be kept of every task."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: Of a control's classes, the most probable ones that are kept, and the probability below which none is.
MOST_CLASSES, LEAST_PROBABILITY = 50, 1e-4
#: Numbers of an embedding; of a longer one nothing is kept.
MOST_NUMBERS = 4096
#: The control of the row that has a task's embedding.
WHOLE_TASK = ""


def signal_rows(
    key: Mapping[str, Any], probs: Mapping[str, Mapping[str, float]], embedding: Sequence[float] | None
) -> list[dict[str, Any]]:
    """Rows of the table `signals`: one of each control that has probabilities, one of the embedding.

    `key` has project_id, task_id and model_version. What is no number is left out.
    """
    rows = [(control, kept, None) for control, each in probs.items() if (kept := _kept(each))]
    told = [(WHOLE_TASK, None, packed)] if embedding and (packed := pack(embedding)) else []
    return [
        {**key, "control": control, "item": "", "probs": chances, "embedding": vector}
        for control, chances, vector in (*rows, *told)
    ]


def _kept(probs: Mapping[str, float]) -> dict[str, float]:
    """The most probable classes with five digits, which is what a float32 tells."""
    known = [(float(chance), name) for name, chance in probs.items() if LEAST_PROBABILITY <= chance <= 1.0001]
    known.sort(reverse=True)
    return {name: float(f"{chance:.5g}") for chance, name in known[:MOST_CLASSES]}


def pack(vector: Sequence[float]) -> str | None:
    """The direction of a vector as base64 of little-endian float16; None for one that has none, is endless or too long.

    Vectors are compared by their angle, so that the length is of no use; a length of 1 fits float16 whatever it was. 576
    numbers take 1,536 characters, where a list of decimals takes 12,000.
    """
    numbers = np.asarray(vector, dtype=np.float64)
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(numbers))
    if not 0 < len(numbers) <= MOST_NUMBERS or not np.isfinite(length) or length == 0:
        return None
    return base64.b64encode((numbers / length).astype("<f2").tobytes()).decode()


def unpack(stored: Any) -> list[float]:
    """The numbers that `pack` wrote, or a plain list of them; empty for anything else."""
    if isinstance(stored, list):
        return [float(each) for each in stored]
    try:
        found: list[float] = np.frombuffer(base64.b64decode(stored, validate=True), "<f2").astype(np.float64).tolist()
    except (TypeError, ValueError, binascii.Error):
        return []
    return found
