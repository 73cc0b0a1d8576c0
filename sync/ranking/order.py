"""Margin order with a random share: the most uncertain first, explored and evaluation tasks interleaved at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from labelloop.values import OrderReason


@dataclass(frozen=True)
class Candidate:
    """A task that still wants labels; `uncertainty` in [0, 1], None where no model has an opinion."""

    task_id: int
    role: str
    uncertainty: float | None


@dataclass(frozen=True)
class Ranked:
    """A task's place in the queue: `order_key` in (0, 1), distinct within one ranking, and why it is there."""

    task_id: int
    order_key: float
    reason: OrderReason


def rank_tasks(candidates: Sequence[Candidate], *, explore_share: float, head: int, seed: int) -> list[Ranked]:
    """Every candidate's place, first to be served first; the same input and seed give the same order.

    Pool tasks go by uncertainty, highest first, ties at random; a random `explore_share` of them is spread evenly over
    the queue instead. Blind tasks are spread over the whole queue, holdout and gold tasks over its first `head` pool
    places, so that a model can be judged by the time that it is trained. Nobody can tell them by their place.
    """
    random_source = random.Random(seed)
    pool = [c for c in candidates if c.role == "pool"]
    random_source.shuffle(pool)
    explored = set(random_source.sample(range(len(pool)), k=round(explore_share * len(pool))))
    unknown = all(c.uncertainty is None for c in pool)
    chosen = sorted(
        (c for i, c in enumerate(pool) if i not in explored),
        key=lambda c: 1.0 if c.uncertainty is None else c.uncertainty,
        reverse=True,
    )
    placed: list[tuple[float, int, OrderReason]] = [
        ((i + 0.5) / len(chosen), c.task_id, "cold" if unknown else "strategy") for i, c in enumerate(chosen)
    ]
    placed += [
        (random_source.random(), c.task_id, "cold" if unknown else "explore")
        for i, c in enumerate(pool)
        if i in explored
    ]
    head_share = min(1.0, head / len(pool)) if pool else 1.0
    for c in candidates:
        if c.role == "blind":
            placed.append((random_source.random(), c.task_id, "blind"))
        elif c.role in ("holdout", "gold"):
            reason: OrderReason = "holdout" if c.role == "holdout" else "gold"
            placed.append((random_source.random() * head_share, c.task_id, reason))
    placed.sort()
    return [Ranked(task_id, (i + 0.5) / len(placed), reason) for i, (_, task_id, reason) in enumerate(placed)]
