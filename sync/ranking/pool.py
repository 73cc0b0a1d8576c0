"""The tasks that a strategy orders, with what model versions say of each, as arrays."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """Tasks that want labels. Row i of every array is about `tasks[i]`; what nothing is known of is nan.

    `uncertainty` (n,) in [0, 1] is the model's own, for boxes and spans the one that also asks about missed objects.
    `confidence` (n,) is that of its answer. `probs` has by control (n, classes) what it thinks of each class.
    `disagreement` (n,) in [0, 1] is how far several versions differ. `vectors` (n, width) are one version's embeddings, (n, 0)
    where there are none. Tasks of one `group` show nearly the same. `counts` has by control how often each class of the
    columns of `probs` is labelled already.
    """

    tasks: Sequence[int]
    uncertainty: Floats
    confidence: Floats
    probs: Mapping[str, Floats] = field(default_factory=dict)
    disagreement: Floats | None = None
    vectors: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    groups: Sequence[Hashable] = ()
    counts: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def is_cold(self) -> bool:
        """Whether no model says anything of any of them."""
        return bool(np.isnan(self.uncertainty).all())

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n,) which tasks have an embedding."""
        if self.vectors.shape[1] == 0:
            return np.zeros(len(self), dtype=np.bool_)
        found: NDArray[np.bool_] = np.isfinite(self.vectors).all(axis=1) & (self.vectors != 0).any(axis=1)
        return found


def unknown_pool(tasks: Sequence[int]) -> Pool:
    """Tasks of which nothing is known."""
    nothing = np.full(len(tasks), np.nan)
    return Pool(tasks, nothing, nothing, vectors=np.zeros((len(tasks), 0)))
