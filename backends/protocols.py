"""What a backend is: something that predicts, and apart from it something that trains from a dataset folder.

A backend package (`backends/<name>/__init__.py`, light: no heavy import) has these functions:

    load(version_dir: Path, *, device: str = "cpu", threads: int = 2) -> Backend
                                        raises DataError for an artefact it cannot read
    trainer() -> Trainer

and, where it takes models that were made elsewhere (`labelloop register`), a third with options of its own:

    import_model(sources: Sequence[str], config: LabelConfig, out_dir: Path, **options) -> Artefact
                                        writes model/, labels.json, metrics.json; UsageError or DataError says why not
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from backends.resampling import Floats, Scores
from labelloop.values import Artefact, Budget, Metrics, Outcome, TaskItem

Progress = Callable[[float, str], None]
"""progress(share done in [0, 1], short message). It may raise LeaseLost or Cancelled: let them pass, so that training stops."""


class Backend(Protocol):
    """A loaded model version; the server calls its `predict` from one thread at a time.

    A backend may also have
    `batch_size: int`, how many tasks `predict` is given at most at once,
    `media_use`, "optional" for a model that can do without a task's media and "unused" for one that reads none, and
    `prepare(task: TaskItem) -> TaskItem`, which does what needs no model (decoding an image) ahead, in several other
    threads while the model computes. It returns the task, or one of a class of its own below TaskItem. `predict` takes
    prepared and unprepared tasks.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the label config that the version was trained with."""

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset({"regions"})) -> list[Outcome]:
        """One outcome per task, in order; a task that fails gets a reason and never costs another its result."""


class Trainer(Protocol):
    """Fits and evaluates; sees a dataset folder (see labelloop.datasets), never a client, a store or the network.

    One that cannot begin from nothing has an attribute `needs_start = True` and is always given the served version.
    """

    metric: str

    def fit(
        self, dataset_dir: Path, out_dir: Path, *, start: Path | None, budget: Budget, progress: Progress
    ) -> Artefact:
        """Train on the split "train" of the dataset; write model/, labels.json, metrics.json into `out_dir`.

        `start` is the folder of an earlier version to continue from, or None. labels.json is written by
        backends.version_labels.
        """

    def evaluate(self, artefact_dir: Path, dataset_dir: Path) -> Metrics:
        """Metrics on the split "holdout", over score_floor, with per-item results."""

    def headline(self, per_item: Sequence[Mapping[str, Any]]) -> float:
        """The headline metric recomputed from (a resample of) `Metrics.per_item`."""

    def scores(self, per_item: Sequence[Mapping[str, Any]], weights: Floats) -> Scores:
        """Headline and class scores of these items for each row of `weights` (rounds, items), fast for thousands of rows.

        A weight says how often the item counts: a row of ones gives `headline`, and whole numbers that of a resample.
        """
