"""What the learning of every component has in common: a part held out, shuffled batches, a falling rate, mean weights.

How one kind of component is learned is a recipe: learning_ner.py, learning_spancat.py and learning_textcat.py.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from backends.protocols import Progress
from backends.spacy_nlp.devices import computing_on
from backends.spacy_nlp.examples import LabelledTask, LabelledText
from labelloop.values import Budget

#: Of a small set of texts; less where they are many.
PASSES = 20
_LEARN_RATE = 0.002
_WARM_UP = 20  # batches
_BATCH, _LARGE_BATCH, _MANY_TEXTS = 8, 16, 1_000
_FOLD_SHARE = 0.25
_LEAST_FOR_FOLD = 12
_FEWEST, _ENOUGH = 4, 14  # passes: fewer leave confidences that tell right from wrong badly
_QUICK, _BOUND = 6_000, 48_000  # texts shown over all passes: up to which more than enough are made, and at most
_FOLD_END = 0.43  # of the progress: the share of the work that the model for the thresholds is


@dataclass(frozen=True)
class Judged:
    """What a model said of texts that it had not seen: (confidence, right) pairs by label, and how they were scaled.

    `least` is the score from which up a component that scores everything says something at all, where one was chosen.
    """

    scored: Mapping[str, Sequence[tuple[float, bool]]] = field(default_factory=dict)
    temperature: float = 1.0
    calibrated: bool = False
    least: float | None = None

    @property
    def count(self) -> int:
        """How many answers were judged."""
        return sum(map(len, self.scored.values()))


class Recipe(Protocol):
    """How one component is learned: its network, what it is shown, and how what it says is judged."""

    @property
    def component(self) -> str:
        """Name and spaCy factory of the component."""

    @property
    def dropout(self) -> float:
        """The share of values that are dropped while learning."""

    @property
    def effort(self) -> float:
        """How many texts of a recogniser one text costs: many texts are shown fewer times."""

    def blank(self) -> Any:
        """A pipeline with the untrained component and its labels."""

    def continued(self, earlier: Any) -> Any:
        """A pipeline with the weights of an earlier one of the same recipe, its labels added."""

    def mark(self, doc: Any, text: LabelledText) -> int:
        """Write what is true of a text into its Doc; how many of its labels could not be taken as they are."""

    def judge(self, nlp: Any, texts: Sequence[LabelledText]) -> Judged:
        """What the pipeline says of texts that it has not seen."""

    def settle(self, nlp: Any, judged: Judged) -> None:
        """Set what a trained component says by what was judged."""


@dataclass(frozen=True)
class Learned:
    """A trained pipeline, what was judged without it, and how it was made."""

    nlp: Any
    judged: Judged
    params: Mapping[str, Any]
    curve: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class _Run:
    """One run over the texts: passes, seed, device, the progress call, and the share of it that this run is.

    From `until` (seconds of the monotonic clock) no further batch begins; one is always made.
    """

    passes: int
    seed: int
    device: str
    progress: Progress
    begin: float
    end: float
    what: str
    until: float = math.inf


def learn(
    recipe: Recipe, tasks: Sequence[LabelledTask], earlier: Any | None, budget: Budget, progress: Progress
) -> Learned:
    """Train on all of the tasks, from scratch or from the weights of an `earlier` pipeline.

    First a model without a quarter of the tasks, which gives temperature and show thresholds, then the one that stays.
    There is no early stopping: the rate falls to 0 and the weights are averaged, and more passes cost no more than .004 of
    macro F1 on held-out texts (docs/spacy.md has the figures).
    """
    texts, begun = pieces(tasks), time.monotonic()
    seconds = math.inf if budget.seconds is None else budget.seconds
    number = passes(texts, budget, recipe.effort)
    run = _Run(number, budget.seed, budget.device, progress, 0.0, _FOLD_END, "thresholds", begun + _FOLD_END * seconds)
    judged = _out_of_fold(recipe, tasks, run, budget.calibrate)
    run = replace(run, begin=_FOLD_END, end=1.0, what="training", until=begun + seconds)
    nlp, curve, misaligned = _train(recipe, texts, earlier, run)
    recipe.settle(nlp, judged)
    params = {
        "component": recipe.component, "passes": len(curve), "texts": len(texts), "misaligned": misaligned,
        "continued": earlier is not None, "seed": budget.seed, "out_of_fold_suggestions": judged.count,
        "temperature": judged.temperature,
    }  # fmt: skip
    return Learned(nlp, judged, params, tuple(curve))


def pieces(tasks: Sequence[LabelledTask]) -> list[LabelledText]:
    """The pieces of the tasks that have characters."""
    return [piece for task in tasks for piece in task.pieces if piece.text.strip()]


def passes(texts: Sequence[object], budget: Budget, effort: float = 1.0) -> int:
    """The passes over the texts: the budget's, or PASSES, less when the texts are many, so that the time is bounded."""
    if budget.epochs is not None:
        return max(budget.epochs, 1)
    quick, bounded = int(_QUICK / effort / len(texts)), int(_BOUND / effort / len(texts))
    return max(_FEWEST, min(_ENOUGH, bounded), min(PASSES, quick))


def hash_embed_cnn(depth: int) -> dict[str, Any]:
    """The config of the token vectors that each component has for itself."""
    return {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "pretrained_vectors": None, "width": 64, "depth": depth, "embed_size": 4000, "window_size": 1,
        "maxout_pieces": 3, "subword_features": True,
    }  # fmt: skip


def _out_of_fold(recipe: Recipe, tasks: Sequence[LabelledTask], run: _Run, wanted: bool) -> Judged:
    """What a model says of tasks that it did not see; nothing when the tasks are few, or where none is wanted.

    That model begins from scratch, as an earlier version has seen these tasks, and is trained as long as the one that
    stays: a model grows surer with every pass, so a shorter training would give a temperature that is too low.
    """
    if len(tasks) < _LEAST_FOR_FOLD or not wanted:
        return Judged()
    order = list(range(len(tasks)))
    random.Random(run.seed).shuffle(order)
    cut = round(len(tasks) * _FOLD_SHARE)
    held, rest = [tasks[i] for i in order[:cut]], [tasks[i] for i in sorted(order[cut:])]
    nlp, _, _ = _train(recipe, pieces(rest), None, run)
    return recipe.judge(nlp, pieces(held))


def _train(
    recipe: Recipe, texts: Sequence[LabelledText], earlier: Any | None, run: _Run
) -> tuple[Any, list[dict[str, float]], int]:
    """(trained pipeline on the CPU, loss per pass, misaligned labels)."""
    given = None if earlier is None else _packed(earlier)
    with computing_on(run.device):
        trained, curve, misaligned = _updated(recipe, texts, given, run)
    return _unpacked(trained), curve, misaligned


_Packed = tuple[Any, bytes]
"""The config and the content of a pipeline, with which it moves from one device to another."""


def _packed(nlp: Any) -> _Packed:
    return nlp.config.copy(), nlp.to_bytes()


def _unpacked(packed: _Packed) -> Any:
    from spacy.util import load_model_from_config

    config, content = packed
    return load_model_from_config(config).from_bytes(content)


def _updated(
    recipe: Recipe, texts: Sequence[LabelledText], earlier: _Packed | None, run: _Run
) -> tuple[_Packed, list[dict[str, float]], int]:
    """The same with the pipeline as it leaves the device; the learning rate falls to 0, weights are averaged."""
    from spacy.util import fix_random_seed
    from thinc.api import Adam

    fix_random_seed(run.seed)
    nlp = recipe.blank() if earlier is None else recipe.continued(_unpacked(earlier))
    examples, misaligned = _examples(recipe, nlp, texts)
    if earlier is None:
        nlp.initialize(lambda: examples)
    optimizer = Adam(_LEARN_RATE, L2=0.01, grad_clip=1.0, use_averages=True)
    shuffled, curve = random.Random(run.seed), []
    batch = _BATCH if len(examples) < _MANY_TEXTS else _LARGE_BATCH
    total, done = run.passes * -(-len(examples) // batch), 0
    for number in range(run.passes):
        shuffled.shuffle(examples)
        losses: dict[str, float] = {}
        for at in range(0, len(examples), batch):
            if done and time.monotonic() > run.until:
                break
            run.progress(run.begin + (run.end - run.begin) * done / total, f"{run.what}, pass {number + 1}")
            optimizer.learn_rate = _LEARN_RATE * min(1.0, (done + 1) / _WARM_UP) * (1.0 - done / total)
            nlp.update(examples[at : at + batch], drop=recipe.dropout, sgd=optimizer, losses=losses)
            done += 1
        if losses:
            curve.append({"pass": float(number + 1), "loss": float(np.float64(losses.get(recipe.component, 0.0)))})
    with nlp.use_params(optimizer.averages):
        return _packed(nlp), curve, misaligned


def _examples(recipe: Recipe, nlp: Any, texts: Sequence[LabelledText]) -> tuple[list[Any], int]:
    from spacy.training import Example

    examples, misaligned = [], 0
    for text in texts:
        reference = nlp.make_doc(text.text)
        misaligned += recipe.mark(reference, text)
        examples.append(Example(nlp.make_doc(text.text), reference))
    return examples, misaligned
