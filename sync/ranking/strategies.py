"""Strategies: which of the tasks that want labels is worth most, and so comes first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from sync.ranking.diversity import Ints, far_out, k_center, k_means
from sync.ranking.pool import Floats, Pool
from sync.ranking.uncertainty import entropy, least_confidence, margin, rarity

#: So many batches' worth of the most uncertain tasks are what hybrid chooses a batch from.
WINDOW = 5
#: Tasks of a pool that clusters are looked for in, drawn at random where there are more.
MOST_CLUSTERED = 100_000


def _disagreement(pool: Pool) -> Floats:
    if pool.disagreement is None:
        return pool.uncertainty
    return np.where(np.isnan(pool.disagreement), pool.uncertainty, pool.disagreement)


#: Strategies that score each task for itself.
SCORES: Mapping[str, Callable[[Pool], Floats]] = {
    "uncertainty": margin,
    "least_confidence": least_confidence,
    "entropy": entropy,
    "committee": _disagreement,
    "class_balance": rarity,
}
#: Strategies that choose batch by batch.
BATCHED = ("hybrid", "diversity", "k_center")
STRATEGIES = ("hybrid", *SCORES, "diversity", "k_center", "random")


def order_pool(pool: Pool, strategy: str, *, batch: int, head: int, seed: int) -> list[int]:
    """The pool's tasks, the one worth most first; the same input and seed give the same order.

    `batch`: how many are chosen together, so that they differ from each other; `head`: how many of the first places are
    filled that way (what comes behind is asked about by another model). Without any model the first places go to
    clusters, where there are embeddings, else to chance. Near duplicates come behind the first of their group, and tasks
    far from all others get no more of the first places than their share.
    """
    source = np.random.default_rng(seed)
    shuffled = source.permutation(len(pool))
    if strategy == "random" or not len(pool):
        return [pool.tasks[at] for at in shuffled.tolist()]
    if pool.is_cold:
        places = _in_batches(pool, shuffled, "diversity", batch, head, source)
    elif strategy in BATCHED:
        places = _in_batches(pool, _by_score(pool.uncertainty, shuffled), strategy, batch, head, source)
    else:
        places = _by_score(SCORES[strategy](pool), shuffled)
    places = _spread_outliers(pool, places, seed)
    return [pool.tasks[at] for at in _behind_their_firsts(pool, places).tolist()]


def _by_score(scores: Floats, shuffled: Ints) -> Ints:
    """Places by score, highest first, ties at random; what is not known may be anything, and is as good as the highest."""
    filled = np.where(np.isnan(scores), np.inf, scores)[shuffled]
    return shuffled[np.argsort(-filled, kind="stable")]


def _in_batches(pool: Pool, ranked: Ints, strategy: str, batch: int, head: int, source: np.random.Generator) -> Ints:
    """`ranked` with its first `head` places filled by tasks that differ from each other.

    Hybrid chooses batch by batch, each from the most uncertain that are left; the others see the whole pool, and choose
    all at once.
    """
    known = pool.known
    head = min(head, len(ranked))
    if not known.any() or not head:
        return ranked
    left, taken, n = ranked, list[Ints](), 0
    while n < head:
        window = left[: batch * WINDOW] if strategy == "hybrid" else left
        chosen = _differing(
            pool, window, known, strategy, min(batch if strategy == "hybrid" else head, head - n), source
        )
        taken.append(chosen)
        n += len(chosen)
        left = left[~np.isin(left, chosen)]
    return np.concatenate([*taken, left])


def _differing(
    pool: Pool, window: Ints, known: NDArray[np.bool_], strategy: str, count: int, source: np.random.Generator
) -> Ints:
    """`count` places of the window; tasks without an embedding keep their share of them."""
    count = min(count, len(window))
    able = window[known[window]]
    share = round(count * len(able) / len(window))
    others = window[~known[window]][: count - share]
    share = count - len(others)
    if len(able) > MOST_CLUSTERED:
        able = source.permutation(able)[:MOST_CLUSTERED]
    seed = int(source.integers(2**31))
    if strategy == "k_center":
        chosen = able[k_center(pool.vectors[able], share, seed)]
    else:
        chosen = able[k_means(pool.vectors[able], share, seed)]
    places = np.concatenate([chosen, others])
    return window[np.isin(window, places)] if strategy == "hybrid" else places


def _spread_outliers(pool: Pool, places: Ints, seed: int) -> Ints:
    """Tasks far from all others spread evenly over the queue, in their order."""
    known = pool.known
    if not known.any():
        return places
    outlying = np.zeros(len(pool), dtype=np.bool_)
    outlying[np.flatnonzero(known)] = far_out(pool.vectors[known], seed)
    far, near = places[outlying[places]], places[~outlying[places]]
    if not len(far) or not len(near):
        return places
    wanted = np.concatenate([(np.arange(len(near)) + 0.5) / len(near), (np.arange(len(far)) + 0.5) / len(far)])
    return np.concatenate([near, far])[np.argsort(wanted, kind="stable")]


def _behind_their_firsts(pool: Pool, places: Ints) -> Ints:
    """Each group's first task where it is, its second behind all firsts, and so on."""
    if not pool.groups:
        return places
    seen: Counter[object] = Counter()
    turn = np.zeros(len(places), dtype=np.int64)
    for at, place in enumerate(places.tolist()):
        turn[at] = seen[pool.groups[place]]
        seen[pool.groups[place]] += 1
    return places[np.argsort(turn, kind="stable")]
