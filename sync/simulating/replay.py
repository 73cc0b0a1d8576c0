"""Labelling replayed: a strategy chooses from tasks whose labels are known, a model learns from them, and so on."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np

from backends import backend_module
from backends.predicting import predict_each
from labelloop.values import Budget, Outcome, TaskItem
from sync.folds import items_of, lay_out_split
from sync.prediction import Judged, by_control, judged_controls
from sync.ranking.gathering import cold_vectors, counted_classes
from sync.ranking.order import Candidate, rank_tasks
from sync.ranking.pool import Pool
from sync.ranking.said import MEMBERS, NEEDS, Said, pool_of
from sync.ranking.strategies import order_pool
from sync.simulating.sources import Prepared

#: Tasks given to a model at once.
_BATCH = 256


@dataclass(frozen=True)
class Plan:
    """How labelling is replayed: `first` labels, then `batch` more with each round, until `target` is reached or `most`.

    `explore` is the share of tasks that are drawn at random, as a project's `explore_share`. `epochs`: at most, None is the
    trainer's default.
    """

    backend: str
    first: int
    batch: int
    most: int
    explore: float = 0.2
    epochs: int | None = None
    device: str = "cpu"
    threads: int = 1
    target: float | None = None


@dataclass(frozen=True)
class Run:
    """One strategy with one seed: (labels, score) after each round."""

    strategy: str
    seed: int
    points: tuple[tuple[int, float], ...]


class Replay:
    """Replays of one dataset; what all of them share is read once."""

    def __init__(self, prepared: Prepared, plan: Plan, scratch: Path) -> None:
        self.prepared, self.plan, self.scratch = prepared, plan, scratch
        self.dataset = prepared.dataset
        self.module: ModuleType = backend_module(plan.backend)
        self.trainer = self.module.trainer()

    @cached_property
    def items(self) -> dict[int, TaskItem]:
        """The tasks that may be labelled, as a model sees them."""
        return items_of(self.dataset, self.prepared.pool)

    @cached_property
    def judged(self) -> list[Judged]:
        """The controls whose probabilities are told."""
        return judged_controls(self.dataset.label_config)

    @cached_property
    def truths(self) -> Mapping[int, Sequence[Mapping[str, object]]]:
        """The regions of the labels that may be learned from."""
        own = set(self.prepared.pool)
        return {task: result for task, _, result in self.dataset.truth("train") if task in own}

    def full_score(self, seed: int = 0) -> float:
        """The test score of a model that learned from every label."""
        folder = self.scratch / f"full-{seed}"
        try:
            return self._learn(self.prepared.pool, folder, seed)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, strategy: str, seed: int) -> Run:
        """One strategy from nothing to the end of the plan; the same seed gives the same run."""
        labelled: list[int] = []
        members: list[dict[int, Said]] = []
        points: list[tuple[int, float]] = []
        most = min(self.plan.most, len(self.prepared.pool))
        while True:
            want = (self.plan.batch if labelled else self.plan.first) if len(labelled) < most else 0
            if not want:
                break
            labelled += self._choose(strategy, seed, labelled, members, min(want, most - len(labelled)))
            folder = self.scratch / f"{strategy}-{seed}-{len(labelled)}"
            try:
                points.append((len(labelled), self._learn(labelled, folder, seed)))
                if self.plan.target is not None and points[-1][1] >= self.plan.target:
                    break
                if len(labelled) < most:
                    said = self._ask(folder, strategy, set(labelled))
                    members = [said, *members[: MEMBERS - 1]]
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        return Run(strategy, seed, tuple(points))

    def _choose(
        self, strategy: str, seed: int, labelled: Sequence[int], members: Sequence[Mapping[int, Said]], count: int
    ) -> list[int]:
        """The next tasks, as a project's queue would serve them."""
        taken = set(labelled)
        waiting = [task for task in self.prepared.pool if task not in taken]
        groups = [self.prepared.groups[task] for task in waiting]
        if members:
            pool = pool_of(
                waiting, members[0], self.dataset.label_config, strategy,
                earlier=members[1:], groups=groups, counts=self._counts(labelled),
            )  # fmt: skip
        else:
            nothing = np.full(len(waiting), np.nan)
            shown = [self.items[task] for task in waiting]
            pool = Pool(
                waiting, nothing, nothing, vectors=cold_vectors(shown, self.dataset.label_config), groups=groups
            )
        drawn = seed * 1_000_003 + len(labelled)
        ordered = order_pool(pool, strategy, batch=count, head=count, seed=drawn)
        explore = 0.0 if pool.is_cold or strategy == "random" else self.plan.explore
        candidates = [Candidate(task, "pool") for task in waiting]
        ranked = rank_tasks(candidates, ordered, explore_share=explore, head=count, seed=drawn)
        return [place.task_id for place in ranked[:count]]

    def _counts(self, labelled: Sequence[int]) -> dict[str, Counter[str]]:
        return counted_classes([self.truths[task] for task in labelled], self.dataset.label_config)

    def _learn(self, labelled: Sequence[int], folder: Path, seed: int) -> float:
        """Train on these labels and nothing else; the score on the test part."""
        data, out = folder / "dataset", folder / "artefact"
        test = set(self.prepared.test)
        own = {*labelled, *test}
        lay_out_split(self.dataset, data, tasks=own, held=test, labelled=own)
        out.mkdir()
        budget = Budget(
            self.plan.epochs, seed=seed, device=self.plan.device, threads=self.plan.threads, calibrate=False
        )
        made = self.trainer.fit(data, out, start=None, budget=budget, progress=lambda _share, _message: None)
        return float(self.trainer.evaluate(made.path, data).value)

    def _ask(self, folder: Path, strategy: str, labelled: set[int]) -> dict[int, Said]:
        """What the model that was just trained says of the tasks that want labels."""
        needs = NEEDS[strategy]
        want = {"regions"} | ({"embedding"} if "vectors" in needs else set())
        want |= {"probs"} if "probs" in needs and self.judged else set()
        if not needs:
            return {}
        model = self.module.load(folder / "artefact", device=self.plan.device, threads=self.plan.threads)
        waiting = [item for task, item in self.items.items() if task not in labelled]
        found: dict[int, Said] = {}
        for start in range(0, len(waiting), _BATCH):
            part = waiting[start : start + _BATCH]
            for item, outcome in zip(part, predict_each(model, part, want=frozenset(want)), strict=True):
                if item.task_id is not None and outcome.status == "ok":
                    found[item.task_id] = self._said(outcome)
        return found

    def _said(self, outcome: Outcome) -> Said:
        return Said(
            outcome.uncertainty, outcome.confidence, outcome.regions,
            by_control(outcome.probs or {}, self.judged), outcome.embedding or (),
        )  # fmt: skip
