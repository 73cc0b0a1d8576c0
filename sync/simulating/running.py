"""All replays of a simulation, side by side in several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from labelloop.errors import UsageError
from labelloop.lifeline import die_with_parent
from labelloop.progress import Counting, not_counted
from sync.folds import checked_backend
from sync.ranking.strategies import STRATEGIES
from sync.simulating.figures import BASELINE, TARGETS, report_of
from sync.simulating.replay import Plan, Replay, Run
from sync.simulating.sources import Prepared

#: Labels of a round, as a share of all there are, where nothing is said; and the fewest.
_ROUND, _LEAST = 1 / 40, 10


def planned(
    prepared: Prepared,
    backend: str,
    *,
    first: int | None = None,
    batch: int | None = None,
    most: int | None = None,
    **more: Any,
) -> Plan:
    """A plan for this dataset: rounds of a fortieth of it, at least ten labels, unless told otherwise.

    UsageError for a backend that can't learn from nothing.
    """
    checked_backend(backend)
    n = len(prepared.pool)
    usual = max(_LEAST, round(n * _ROUND))
    batch = batch or usual
    return Plan(backend, min(first or batch, n), batch, min(most or n, n), **more)


def checked_strategies(names: Sequence[str]) -> list[str]:
    """These strategies, each once, and random to compare with; UsageError for one that is none."""
    unknown = [name for name in names if name not in STRATEGIES]
    if unknown or not names:
        raise UsageError(f"--strategies: expected some of {', '.join(STRATEGIES)}; got {', '.join(unknown) or 'none'}")
    return list(dict.fromkeys([*names, BASELINE]))


def simulate(
    prepared: Prepared,
    plan: Plan,
    strategies: Sequence[str],
    seeds: int,
    scratch: Path,
    *,
    until: int = max(TARGETS),
    workers: int = 1,
    count: Counting = not_counted,
) -> dict[str, Any]:
    """The report of `report_of`, with runs of seeds 0 to `seeds` - 1 of each strategy.

    A run ends when it has `until` percent of the score that all labels give, or all labels.
    """
    count("model of all labels", 0, 1)
    full = Replay(prepared, plan, scratch).full_score()
    count("model of all labels", 1, 1)
    plan = replace(plan, target=full * until / 100)
    jobs = [(name, seed) for seed in range(seeds) for name in checked_strategies(strategies)]
    runs: list[Run] = []
    count("runs", 0, len(jobs))
    # A fork would take locks along that threads of numerical libraries hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=context, initializer=_open, initargs=(os.getpid(), prepared, plan, scratch)
    ) as executor:
        waiting = [executor.submit(_run, name, seed) for name, seed in jobs]
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                runs.append(future.result())
                count("runs", done, len(jobs))
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    order = {name: place for place, name in enumerate(checked_strategies(strategies))}
    return report_of(sorted(runs, key=lambda run: order[run.strategy]), full)


#: In a process of its own: the dataset that its runs share.
_opened: Replay | None = None


def _open(parent: int, prepared: Prepared, plan: Plan, scratch: Path) -> None:
    global _opened
    # Otherwise a command that was killed would leave trainings behind that nobody waits for.
    die_with_parent(parent)
    _opened = Replay(prepared, plan, scratch)


def _run(strategy: str, seed: int) -> Run:
    if _opened is None:
        raise RuntimeError("the process was not made ready")
    return _opened.run(strategy, seed)
