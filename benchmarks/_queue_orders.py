"""How long a strategy takes to order a large pool: by margin, and by the default one with embeddings."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks._comparison import at_most
from sync.ranking.order import Candidate, rank_tasks
from sync.ranking.pool import Pool
from sync.ranking.strategies import order_pool

#: Seconds for a million tasks by margin, and for a hundred thousand with embeddings by hybrid.
BY_MARGIN_S, BY_HYBRID_S = 2.0, 60.0
_WIDTH, _BATCH, _HEAD = 64, 100, 500


def order_rows(by_margin: int, by_hybrid: int) -> list[dict[str, Any]]:
    """Orders of generated pools, their interleaving with explored tasks told beside them."""
    rows = []
    for strategy, n, width, bar in (
        ("uncertainty", by_margin, 0, BY_MARGIN_S),
        ("hybrid", by_hybrid, _WIDTH, BY_HYBRID_S),
    ):
        source = np.random.default_rng(0)
        values = source.random(n)
        # Near each other in groups, as texts and images are.
        centres = source.normal(size=(200, width))
        vectors = centres[source.integers(0, 200, n)] + source.normal(0, 0.3, (n, width))
        pool = Pool(list(range(n)), values, 1 - values, vectors=vectors)
        began = time.perf_counter()
        ordered = order_pool(pool, strategy, batch=_BATCH, head=_HEAD, seed=1)
        took = time.perf_counter() - began
        began = time.perf_counter()
        ranked = rank_tasks(
            [Candidate(task, "pool") for task in ordered], ordered, explore_share=0.2, head=_HEAD, seed=1
        )
        placed = time.perf_counter() - began
        whole = len(ordered) == len(set(ordered)) == len(ranked) == n
        first = float(values[ordered[:_HEAD]].mean())
        what, equal = f"order of {n} tasks by {strategy}", whole and first > 0.9
        rows.append(at_most(what, took, bar, equal=equal, interleaved_s=placed, first_uncertainty=first))
    return rows
