"""The order of the queue: what a strategy puts first, with explored and evaluation tasks interleaved at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from labelloop.values import OrderReason


@dataclass(frozen=True)
class Candidate:
    """A task that still wants labels, with its role."""

    task_id: int
    role: str


@dataclass(frozen=True)
class Ranked:
    """A task's place in the queue: `order_key` in (0, 1), distinct within one ranking, and why it is there."""

    task_id: int
    order_key: float
    reason: OrderReason


def rank_tasks(
    candidates: Sequence[Candidate],
    ordered: Sequence[int],
    *,
    explore_share: float,
    head: int,
    seed: int,
    cold: bool = False,
) -> list[Ranked]:
    """Every candidate's place, first to be served first; the same input and seed give the same order.

    Pool tasks go as `ordered` has them, which must hold each of them once; a random `explore_share` of them is spread
    evenly over the queue instead. Blind tasks are spread over the whole queue, holdout and gold tasks over its first
    `head` pool places, so that a model can be judged by the time that it is trained. Nobody can tell them by their place.
    `cold`: no model has said anything, and the reason of all pool tasks is that.
    """
    pool = {c.task_id for c in candidates if c.role == "pool"}
    if len(ordered) != len(pool) or set(ordered) != pool:
        raise ValueError(f"expected each of {len(pool)} pool tasks once, got {len(ordered)} tasks")
    source = random.Random(seed)
    explored = set(source.sample(sorted(pool), k=round(explore_share * len(pool))))
    chosen = [task for task in ordered if task not in explored]
    placed: list[tuple[float, int, OrderReason]] = [
        ((i + 0.5) / len(chosen), task, "cold" if cold else "strategy") for i, task in enumerate(chosen)
    ]
    placed += [(source.random(), task, "cold" if cold else "explore") for task in sorted(explored)]
    head_share = min(1.0, head / len(pool)) if pool else 1.0
    for c in candidates:
        if c.role == "blind":
            placed.append((source.random(), c.task_id, "blind"))
        elif c.role in ("holdout", "gold"):
            reason: OrderReason = "holdout" if c.role == "holdout" else "gold"
            placed.append((source.random() * head_share, c.task_id, reason))
    placed.sort()
    return [Ranked(task_id, (i + 0.5) / len(placed), reason) for i, (_, task_id, reason) in enumerate(placed)]
