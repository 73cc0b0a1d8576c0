"""Trains and evaluates the spaCy entity recogniser from a dataset folder."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backends.protocols import Progress
from backends.spacy_nlp.artefact import read_model
from backends.spacy_nlp.backend import SpacyBackend
from backends.spacy_nlp.converters.labels import Span, regions_to_spans
from backends.spacy_nlp.decoding import decode
from backends.spacy_nlp.examples import LabelledText, aligned_spans, read_texts
from backends.spacy_nlp.metrics import dictionary_spans, entity_f1, match_spans, surface_forms
from backends.thresholds import show_thresholds
from backends.version_labels import ControlLabels, read_labels, write_labels
from labelloop.datasets import read_dataset
from labelloop.errors import DataError, NotReady
from labelloop.values import Artefact, Budget, Metrics, TaskItem

PASSES = 20
_WIDTH, _DEPTH, _ROWS = 64, 3, 1500
_DROPOUT = 0.25
_LEARN_RATE = 0.002
_BATCH = 8
_FOLD_SHARE = 0.25
_LEAST_FOR_FOLD = 12
_TEXTS_SHOWN = 6_000  # over all passes, so that the time of a training is bounded
_FOLD_PASSES = 0.5  # of the passes, for the model that gives the thresholds
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

        First a model without a quarter of the texts, which gives the show thresholds, then the model that stays.
        """
        progress(0.0, "reading the dataset")
        dataset = read_dataset(dataset_dir)
        control = dataset.label_config.first("Labels")
        read = read_texts(dataset, control, "train")
        texts = [text for text in read if text.text is not None]
        if not texts:
            raise NotReady("the training split has no labelled text; label some tasks first")
        if not control.classes:
            raise DataError(f"control {control.name!r} has no <Label>; add the classes to the label config")
        source = _usable_start(start, control.classes)
        held = _out_of_fold(texts, control.classes, budget, progress)
        plan = _Plan(_passes(texts, budget), budget.seed, progress, 0.32, 0.97, "training")
        nlp, curve, misaligned = _train(texts, control.classes, source, plan)
        progress(0.98, "writing the model")
        out_dir.mkdir(parents=True, exist_ok=True)
        nlp.to_disk(out_dir / "model")
        pairs = {name: [pair for pair in held if pair[0] == name] for name in control.classes}
        thresholds = show_thresholds({k: [(s, ok) for _, s, ok in v] for k, v in pairs.items()}, control.classes)
        write_labels(
            out_dir,
            [ControlLabels(control.name, control.to_name, control.data_key, "labels", control.classes, thresholds)],
        )
        params = {
            "passes": plan.passes, "texts": len(texts), "entities": sum(len(text.spans) for text in texts),
            "texts_missing": len(read) - len(texts), "misaligned": misaligned,
            "outside_text": sum(text.unusable for text in texts), "continued": source is not None,
            "seed": budget.seed, "out_of_fold_suggestions": len(held),
        }  # fmt: skip
        (out_dir / "metrics.json").write_bytes(orjson.dumps(params, option=orjson.OPT_INDENT_2))
        progress(1.0, "trained")
        return Artefact(out_dir, params, tuple(curve))

    def evaluate(self, artefact_dir: Path, dataset_dir: Path) -> Metrics:
        """entity_f1 on the holdout; the baseline finds the names of the training split again."""
        dataset = read_dataset(dataset_dir)
        (labels,) = read_labels(artefact_dir, "labels")
        control = dataset.label_config.control(labels.control)
        items = read_texts(dataset, control, "holdout")
        backend = SpacyBackend(artefact_dir)
        tasks = [TaskItem(item.task_id, {labels.data_key: item.text}) for item in items]
        said = [
            regions_to_spans(item.text or "", outcome.regions, labels.control)[0]
            for item, outcome in zip(items, backend.predict(tasks), strict=True)
        ]
        known = surface_forms((t.text, t.spans) for t in read_texts(dataset, control, "train") if t.text is not None)
        return _metrics(items, said, [dictionary_spans(item.text or "", known) for item in items], control.classes)

    def headline(self, per_item: Sequence[Mapping[str, Any]]) -> float:
        """Micro F1 of these items."""
        return entity_f1(per_item)


def _metrics(
    items: Sequence[LabelledText],
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
    """The passes over the texts: the budget's, or the default, fewer when the texts are many."""
    if budget.epochs is not None:
        return max(budget.epochs, 1)
    return max(4, min(PASSES, _TEXTS_SHOWN // len(texts)))


def _usable_start(start: Path | None, classes: Sequence[str]) -> Path | None:
    """`start` where its classes are all still in the config; otherwise None, as a class cannot be unlearned."""
    if start is None:
        return None
    (labels,) = read_labels(start, "labels")
    return start if set(labels.classes) <= set(classes) else None


def _out_of_fold(
    texts: Sequence[LabelledText], classes: Sequence[str], budget: Budget, progress: Progress
) -> list[tuple[str, float, bool]]:
    """(label, score, right) of each suggestion on texts that the suggesting model did not see.

    Empty when the texts are few. That model begins from scratch: an earlier version has seen these texts.
    """
    if len(texts) < _LEAST_FOR_FOLD:
        return []
    order = list(range(len(texts)))
    random.Random(budget.seed).shuffle(order)
    cut = round(len(texts) * _FOLD_SHARE)
    held, rest = [texts[i] for i in order[:cut]], [texts[i] for i in sorted(order[cut:])]
    passes = max(1, round(_passes(texts, budget) * _FOLD_PASSES))
    nlp, _, _ = _train(rest, classes, None, _Plan(passes, budget.seed, progress, 0.02, 0.3, "thresholds"))
    results = decode(nlp.get_pipe("ner"), [nlp.make_doc(item.text or "") for item in held])
    return [
        (
            span.label,
            span.score or 0.0,
            any((t.start, t.end, t.label) == (span.start, span.end, span.label) for t in item.spans),
        )
        for item, result in zip(held, results, strict=True)
        for span in result.spans
    ]


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
    per_pass = -(-len(examples) // _BATCH)
    total, done = plan.passes * per_pass, 0
    for number in range(plan.passes):
        shuffled.shuffle(examples)
        losses: dict[str, float] = {}
        for at in range(0, len(examples), _BATCH):
            plan.progress(plan.begin + (plan.end - plan.begin) * done / total, f"{plan.what}, pass {number + 1}")
            optimizer.learn_rate = _LEARN_RATE * min(1.0, (done + 1) / 20) * (1.0 - done / total)
            nlp.update(examples[at : at + _BATCH], drop=_DROPOUT, sgd=optimizer, losses=losses)
            done += 1
        curve.append({"pass": float(number + 1), "loss": float(np.float64(losses.get("ner", 0.0)))})
    with nlp.use_params(optimizer.averages):
        copy = nlp.to_bytes()
    nlp.from_bytes(copy)
    return nlp, curve, misaligned
