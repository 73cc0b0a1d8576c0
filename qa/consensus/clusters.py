"""Which regions of several people are the same thing: clusters that hold one region of each person at most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qa.measures.ratings import Floats


def clusters_of(likeness: Floats, people: Sequence[int], threshold: float = 0.5) -> list[list[int]]:
    """Places of regions, in clusters; those that are alike come together first.

    `likeness` is (n, n), symmetric, of all regions of a task; two clusters become one while the mean likeness of their
    regions is `threshold` or more and no person is in both.
    """
    clusters: dict[int, list[int]] = {place: [place] for place in range(len(people))}
    of = list(range(len(people)))
    near = np.argwhere(np.triu(likeness, 1) >= threshold).tolist()
    near.sort(key=lambda pair: (-likeness[pair[0], pair[1]], pair))
    for i, j in near:
        a, b = of[i], of[j]
        if a == b or {people[place] for place in clusters[a]} & {people[place] for place in clusters[b]}:
            continue
        if likeness[np.ix_(clusters[a], clusters[b])].mean() < threshold:
            continue
        for place in clusters[b]:
            of[place] = a
        clusters[a] = sorted(clusters[a] + clusters.pop(b))
    return sorted(clusters.values())


def voted(labels: Sequence[str], weights: Sequence[float]) -> tuple[str, float]:
    """(the label with the most weight, the first by name of equal ones; its share)"""
    sums: dict[str, float] = {}
    for label, weight in zip(labels, weights, strict=True):
        sums[label] = sums.get(label, 0.0) + weight
    best = min(sums, key=lambda label: (-sums[label], label))
    whole = sum(sums.values())
    return best, sums[best] / whole if whole else 1 / len(sums)
