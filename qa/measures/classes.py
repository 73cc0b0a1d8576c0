"""Agreement on single values: how often others give a value that somebody gave, and alpha of having it or not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qa.measures.chance import agreement_in
from qa.measures.ratings import Patterns


def specific_agreement(patterns: Patterns, names: NDArray[Any]) -> dict[str, dict[str, Any]]:
    """Of each value how often it was given (`n`), and its specific agreement (Cicchetti and Feinstein 1990).

    That is the share of the other judgments of the same units that give it too; None where there are no others.
    """
    k = len(names)
    if not k:
        return {}
    cells = patterns.owners * k + patterns.values
    counts = np.bincount(cells, minlength=len(patterns.sizes) * k).reshape(-1, k).astype(np.float64)
    weights = patterns.counts[:, None] * counts
    given = weights.sum(axis=0)
    agreeing = (weights * (counts - 1)).sum(axis=0)
    others = (weights * (patterns.sizes - 1)[:, None]).sum(axis=0)
    return {
        str(name): {"n": int(given[at]), "specific_agreement": float(agreeing[at] / others[at]) if others[at] else None}
        for at, name in enumerate(names.tolist())
    }


def binary_alpha(patterns: Patterns, names: NDArray[Any], between: str) -> dict[str, float | None]:
    """Of each member of sets Krippendorff's alpha of having it or not; `names` are sets, their members joined by `between`."""
    sets = [set(str(name).split(between)) if name else set() for name in names.tolist()]
    found = {}
    for member in sorted(set[str]().union(*sets)):
        has = np.array([member in one for one in sets], dtype=np.int64)
        binary = Patterns(patterns.counts, patterns.sizes, has[patterns.values])
        alpha = agreement_in(binary, np.array([0, 1]), samples=0)["krippendorff_alpha"]
        found[member] = alpha.coefficient.value
    return found
