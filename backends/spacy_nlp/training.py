"""Trains and evaluates the spaCy entity recogniser from a dataset folder."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backends.calibration import LEAST_ANSWERS, fit_temperature
from backends.protocols import Progress
from backends.resampling import Floats, Scores, f1_scores
from backends.spacy_nlp.artefact import Answer, read_answers, read_model, write_model
from backends.spacy_nlp.backend import TYPES, SpacyBackend
from backends.spacy_nlp.calibration import Evidence, gather_evidence
from backends.spacy_nlp.converters.labels import Span, region_spans
from backends.spacy_nlp.documents import SPAN_TAGS, TEXT_TAGS, reading_attributes
from backends.spacy_nlp.examples import LabelledTask, LabelledText, aligned_spans, read_tasks
from backends.spacy_nlp.metrics import dictionary_spans, entity_f1, match_spans, surface_forms
from backends.thresholds import show_thresholds
from backends.version_labels import ControlLabels, read_labels, write_labels
from labelloop.datasets import read_dataset
from labelloop.errors import DataError, NotReady
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Artefact, Budget, Metrics, TaskItem

PASSES = 20
_WIDTH, _DEPTH, _ROWS = 64, 3, 4000
_DROPOUT = 0.35
_LEARN_RATE = 0.002
_BATCH, _LARGE_BATCH, _MANY_TEXTS = 8, 16, 1_000
_FOLD_SHARE = 0.25
_LEAST_FOR_FOLD = 12
_FEWEST, _ENOUGH = 4, 14  # passes: fewer leave confidences that tell right from wrong badly
_QUICK, _BOUND = 6_000, 48_000  # texts shown over all passes: up to which more than enough are made, and at most
_FOLD_END = 0.43  # of the progress: the share of the work that the model for the thresholds is
_CONFIG = {
    "model": {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "ner", "extra_state_tokens": False, "hidden_width": 64, "maxout_pieces": 2, "use_upper": True,
        "tok2vec": {
            "@architectures": "spacy.HashEmbedCNN.v2",
            "pretrained_vectors": None, "width": _WIDTH, "depth": _DEPTH, "embed_size": _ROWS, "window_size": 1,
            "maxout_pieces": 3, "subword_features": True,
        },
    }
}  # fmt: skip


@dataclass(frozen=True)
class _Plan:
    """What one run over the texts needs: passes, seed, the progress call and the share of it that this run is."""

    passes: int
    seed: int
    progress: Progress
    begin: float
    end: float
    what: str


class SpacyTrainer:
    """Entities in text; the metric is micro F1 of spans that agree in start, end and label."""

    metric = "entity_f1"

    def fit(
        self, dataset_dir: Path, out_dir: Path, *, start: Path | None, budget: Budget, progress: Progress
    ) -> Artefact:
        """Train on the whole training split, from scratch or from the weights of `start`; NotReady without any text.

        First a model without a quarter of the tasks, which gives temperature and show thresholds, then the one that stays.
        """
        progress(0.0, "reading the dataset")
        dataset = read_dataset(dataset_dir)
        control = _control(dataset.label_config)
        read = read_tasks(dataset, control, "train")
        tasks = [task for task in read if task.document is not None]
        if not tasks:
            raise NotReady("the training split has no labelled text; label some tasks first")
        if not control.classes:
            raise DataError(f"control {control.name!r} has no <Label>; add the classes to the label config")
        texts = _pieces(tasks)
        source = _usable_start(start, control)
        held = _out_of_fold(tasks, control.classes, budget, progress)
        calibrated = len(held.right) >= LEAST_ANSWERS
        temperature = fit_temperature(held.confidences, held.right) if calibrated else 1.0
        plan = _Plan(_passes(texts, budget), budget.seed, progress, _FOLD_END, 0.97, "training")
        nlp, curve, misaligned = _train(texts, control.classes, source, plan)
        progress(0.98, "writing the model")
        out_dir.mkdir(parents=True, exist_ok=True)
        write_model(out_dir, [nlp], [_answer(control)])
        thresholds = show_thresholds(held.scored(temperature), control.classes)
        labels = ControlLabels(
            control.name, control.to_name, control.data_key, control.region_type, control.classes,
            thresholds, calibrated, temperature,
        )  # fmt: skip
        write_labels(out_dir, [labels])
        params = {
            "passes": plan.passes, "texts": len(texts), "entities": sum(len(text.spans) for text in texts),
            "texts_missing": len(read) - len(tasks), "misaligned": misaligned,
            "outside_text": sum(task.unusable for task in tasks), "continued": source is not None,
            "seed": budget.seed, "out_of_fold_suggestions": len(held.right), "temperature": temperature,
        }  # fmt: skip
        (out_dir / "metrics.json").write_bytes(orjson.dumps(params, option=orjson.OPT_INDENT_2))
        progress(1.0, "trained")
        return Artefact(out_dir, params, tuple(curve))

    def evaluate(self, artefact_dir: Path, dataset_dir: Path) -> Metrics:
        """entity_f1 on the holdout; the baseline finds the names of the training split again."""
        dataset = read_dataset(dataset_dir)
        labels = read_labels(artefact_dir, *TYPES)
        control = next((c for c in dataset.label_config.controls if c.name in {one.control for one in labels}), None)
        if control is None or control.tag not in SPAN_TAGS:
            raise DataError(
                f"{artefact_dir} answers for {[one.control for one in labels]}, and the dataset has no such spans"
            )
        items = read_tasks(dataset, control, "holdout")
        outcomes = SpacyBackend(artefact_dir).predict([TaskItem(item.task_id, item.data) for item in items])
        said = [
            item.joined(region_spans(item.document, outcome.regions, control.name, control.region_type)[0])
            if item.document is not None
            else []
            for item, outcome in zip(items, outcomes, strict=True)
        ]
        known = surface_forms((task.text, task.spans) for task in read_tasks(dataset, control, "train"))
        return _metrics(items, said, [dictionary_spans(item.text, known) for item in items], control.classes)

    def headline(self, per_item: Sequence[Mapping[str, Any]]) -> float:
        """Micro F1 of these items."""
        return entity_f1(per_item)

    def scores(self, per_item: Sequence[Mapping[str, Any]], weights: Floats) -> Scores:
        """Micro F1 and each label's F1 for each row of weights."""
        found = f1_scores([{key: item[key] for key in ("tp", "fp", "fn")} for item in per_item], weights)
        return found.scores(found.micro)


def _control(config: LabelConfig) -> Control:
    """The first control that labels spans of a text."""
    for control in config.controls:
        if control.tag in SPAN_TAGS and control.object_tag in TEXT_TAGS:
            return control
    return config.first(*SPAN_TAGS)


def _answer(control: Control) -> Answer:
    same = {name: name for name in control.classes}
    return Answer(control.name, "ner", same, 1, control.object_tag, reading_attributes(control))


def _pieces(tasks: Sequence[LabelledTask]) -> list[LabelledText]:
    return [piece for task in tasks for piece in task.pieces if piece.text.strip()]


def _metrics(
    items: Sequence[LabelledTask],
    said: Sequence[Sequence[Span]],
    naive: Sequence[Sequence[Span]],
    classes: Sequence[str],
) -> Metrics:
    per_item = tuple(
        {"task_id": item.task_id, **match_spans(spans, item.spans)} for item, spans in zip(items, said, strict=True)
    )
    baseline = [match_spans(spans, item.spans) for item, spans in zip(items, naive, strict=True)]
    return Metrics(
        SpacyTrainer.metric,
        entity_f1(per_item),
        len(items),
        sum(len(item.spans) for item in items),
        per_item,
        entity_f1(baseline),
        {f"f1/{name}": entity_f1(per_item, name) for name in classes},
    )


def _passes(texts: Sequence[LabelledText], budget: Budget) -> int:
    """The passes over the texts: the budget's, or PASSES, less when the texts are many, so that the time is bounded."""
    if budget.epochs is not None:
        return max(budget.epochs, 1)
    quick, bounded = _QUICK // len(texts), _BOUND // len(texts)
    return max(_FEWEST, min(_ENOUGH, bounded), min(PASSES, quick))


def _usable_start(start: Path | None, control: Control) -> Path | None:
    """`start` where it is a recogniser for this control whose classes are all still there; otherwise None.

    A class cannot be unlearned, and the labels of a pipeline from elsewhere are not those of the config.
    """
    if start is None:
        return None
    labels, answers = read_labels(start, *TYPES), read_answers(start)
    if [(answer.control, answer.component) for answer in answers] != [(control.name, "ner")]:
        return None
    own = all(label == name for label, name in answers[0].classes.items())
    return start if own and set(labels[0].classes) <= set(control.classes) else None


def _out_of_fold(tasks: Sequence[LabelledTask], classes: Sequence[str], budget: Budget, progress: Progress) -> Evidence:
    """What a model suggests on tasks that it did not see; nothing when the tasks are few, or the budget has none for it.

    That model begins from scratch, as an earlier version has seen these tasks, and is trained as long as the one that
    stays: a model grows surer with every pass, so a shorter training would give a temperature that is too low.
    """
    if len(tasks) < _LEAST_FOR_FOLD or not budget.calibrate:
        return Evidence((), (), np.zeros(0, dtype=np.bool_))
    order = list(range(len(tasks)))
    random.Random(budget.seed).shuffle(order)
    cut = round(len(tasks) * _FOLD_SHARE)
    held, rest = [tasks[i] for i in order[:cut]], [tasks[i] for i in sorted(order[cut:])]
    seen = _pieces(rest)
    passes = _passes(_pieces(tasks), budget)
    nlp, _, _ = _train(seen, classes, None, _Plan(passes, budget.seed, progress, 0.02, _FOLD_END, "thresholds"))
    return gather_evidence(nlp, [(piece.text, piece.spans) for piece in _pieces(held)])


def _pipeline(classes: Sequence[str], start: Path | None) -> Any:
    import spacy

    if start is not None:
        nlp = read_model(start)
    else:
        nlp = spacy.blank("en")
        nlp.add_pipe("ner", config=_CONFIG)
    ner = nlp.get_pipe("ner")
    for name in classes:
        ner.add_label(name)
    return nlp


def _examples(nlp: Any, texts: Sequence[LabelledText]) -> tuple[list[Any], int]:
    from spacy.training import Example

    examples, misaligned = [], 0
    for text in texts:
        reference = nlp.make_doc(text.text)
        spans, moved = aligned_spans(reference, text.spans)
        reference.set_ents(spans, default="outside")
        examples.append(Example(nlp.make_doc(text.text), reference))
        misaligned += moved
    return examples, misaligned


def _train(
    texts: Sequence[LabelledText], classes: Sequence[str], start: Path | None, plan: _Plan
) -> tuple[Any, list[dict[str, float]], int]:
    """(trained pipeline, loss per pass, misaligned spans); the learning rate falls to 0, weights are averaged."""
    from spacy.util import fix_random_seed
    from thinc.api import Adam

    fix_random_seed(plan.seed)
    nlp = _pipeline(classes, start)
    examples, misaligned = _examples(nlp, texts)
    if start is None:
        nlp.initialize(lambda: examples)
    optimizer = Adam(_LEARN_RATE, L2=0.01, grad_clip=1.0, use_averages=True)
    shuffled, curve = random.Random(plan.seed), []
    batch = _BATCH if len(examples) < _MANY_TEXTS else _LARGE_BATCH
    per_pass = -(-len(examples) // batch)
    total, done = plan.passes * per_pass, 0
    for number in range(plan.passes):
        shuffled.shuffle(examples)
        losses: dict[str, float] = {}
        for at in range(0, len(examples), batch):
            plan.progress(plan.begin + (plan.end - plan.begin) * done / total, f"{plan.what}, pass {number + 1}")
            optimizer.learn_rate = _LEARN_RATE * min(1.0, (done + 1) / 20) * (1.0 - done / total)
            nlp.update(examples[at : at + batch], drop=_DROPOUT, sgd=optimizer, losses=losses)
            done += 1
        curve.append({"pass": float(number + 1), "loss": float(np.float64(losses.get("ner", 0.0)))})
    with nlp.use_params(optimizer.averages):
        copy = nlp.to_bytes()
    nlp.from_bytes(copy)
    return nlp, curve, misaligned
