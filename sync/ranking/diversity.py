"""Tasks that differ from each other, by their embeddings; and those so unusual that they would crowd out all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sync.ranking.pool import Floats

Ints = NDArray[np.int64]
#: Far out is what lies so many times the range of the quartiles above the third one (Tukey's outer fence).
FENCE = 3.0
#: Vectors that all others are compared with, and how many of the nearest count: four alike are a rare class, and none is odd.
_COMPARED, _NEIGHBOURS = 4000, 3
_LEAST = 50


def k_means(vectors: Floats, count: int, seed: int, weights: Floats | None = None) -> Ints:
    """Places of `count` vectors (n, width): of each cluster the member nearest to its centre, the largest cluster first.

    Arthur and Vassilvitskii, k-means++ (2007), for the beginning; `weights` (n,) draw centres towards what weighs more.
    """
    n = len(vectors)
    if n <= count or count < 1:
        return np.arange(min(n, count))
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    unit = unit_rows(vectors)
    with threadpool_limits(limits=1):
        found = MiniBatchKMeans(count, n_init=1, random_state=seed % 2**32, batch_size=1024).fit(unit, None, weights)
    distance = ((unit - found.cluster_centers_[found.labels_]) ** 2).sum(axis=1)
    order = np.lexsort((distance, found.labels_))
    _, first, sizes = np.unique(found.labels_[order], return_index=True, return_counts=True)
    nearest = order[first][np.argsort(-sizes, kind="stable")]
    # Clusters may be empty where many vectors are equal; the rest fills up, far from any centre first.
    rest = np.setdiff1d(np.arange(n), nearest)
    places: Ints = np.concatenate([nearest, rest[np.argsort(-distance[rest], kind="stable")]])[:count]
    return places


def k_center(vectors: Floats, count: int, seed: int) -> Ints:
    """Places of `count` vectors (n, width), each the farthest from all that were taken before it.

    Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach (2018), the greedy form.
    """
    n = len(vectors)
    if n <= count:
        return np.arange(n)
    unit = unit_rows(vectors).astype(np.float32)
    taken = np.zeros(count, dtype=np.int64)
    closest = np.full(n, np.inf, dtype=np.float32)
    at = int(np.random.default_rng(seed).integers(n))
    for place in range(count):
        taken[place] = at
        closest = np.minimum(closest, 1 - unit @ unit[at])
        closest[at] = -np.inf
        at = int(closest.argmax())
    return taken


def far_out(vectors: Floats, seed: int) -> NDArray[np.bool_]:
    """(n,) which vectors lie far from the three nearest of a sample by cosine distance; none of fewer than 50."""
    n = len(vectors)
    if n < _LEAST:
        return np.zeros(n, dtype=np.bool_)
    unit = unit_rows(vectors).astype(np.float32)
    sample = np.sort(np.random.default_rng(seed).permutation(n)[:_COMPARED])
    nearest = min(_NEIGHBOURS, len(sample) - 1)
    distance = np.empty(n)
    for start in range(0, n, 1024):
        away = 1 - unit[start : start + 1024] @ unit[sample].T
        rows = np.arange(start, min(start + 1024, n))
        at = np.searchsorted(sample, rows).clip(max=len(sample) - 1)
        own = sample[at] == rows
        away[np.flatnonzero(own), at[own]] = np.inf
        distance[rows] = np.partition(away, nearest - 1, axis=1)[:, :nearest].mean(axis=1)
    low, high = np.percentile(distance, (25, 75)).tolist()
    found: NDArray[np.bool_] = distance > max(high + FENCE * (high - low), 1e-6)
    return found


def unit_rows(vectors: Floats) -> Floats:
    """Rows of length 1; those of length 0 stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors, dtype=np.float64), where=lengths > 0)
    return unit
