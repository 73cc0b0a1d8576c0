"""Trains and evaluates spaCy components from a dataset folder: one for each control of spans or choices on a text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from backends.control_metrics import headline, weighted_scores
from backends.protocols import Progress
from backends.resampling import Floats, Scores
from backends.spacy_nlp.artefact import Answer, read_answers, read_model, write_model
from backends.spacy_nlp.backend import TYPES
from backends.spacy_nlp.deciding import USUAL
from backends.spacy_nlp.documents import SPAN_TAGS, TEXT_TAGS, reading_attributes
from backends.spacy_nlp.examples import LabelledTask, read_tasks, takes_several
from backends.spacy_nlp.judging import judge_version
from backends.spacy_nlp.learning import Learned, Recipe, learn, pieces
from backends.spacy_nlp.learning_ner import NerRecipe
from backends.spacy_nlp.learning_spancat import OVERLAPPING, SpancatRecipe, candidate_length, overlapping_share
from backends.spacy_nlp.learning_textcat import TextcatRecipe
from backends.thresholds import show_thresholds
from backends.version_labels import ControlLabels, read_labels, write_labels
from labelloop.datasets import Dataset, read_dataset
from labelloop.errors import DataError, NotReady
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Artefact, Budget, Metrics

SPAN_MODELS = ("auto", "ner", "spancat")


@dataclass(frozen=True)
class _Lesson:
    """What is learned for one control, and from which tasks; `notes` are figures of the data."""

    control: Control
    recipe: Recipe
    tasks: Sequence[LabelledTask]
    notes: Mapping[str, Any]


class SpacyTrainer:
    """Spans and choices of texts: micro F1 of exact spans, macro F1 of choices, and the mean of several controls."""

    metric = "entity_f1"

    def fit(
        self, dataset_dir: Path, out_dir: Path, *, start: Path | None, budget: Budget, progress: Progress
    ) -> Artefact:
        """Train on the whole training split, from scratch or from what fits of `start`; NotReady without any text.

        Each control has a pipeline of its own. One that nobody has answered yet is left out.
        """
        progress(0.0, "reading the dataset")
        lessons = _lessons(read_dataset(dataset_dir))
        earlier = _Earlier.of(start)
        learned, begun = [], time.monotonic()
        for number, lesson in enumerate(lessons):
            told = _told(progress, number, lesson.control.name if len(lessons) > 1 else "", len(lessons))
            source = earlier.pipeline(lesson.control, lesson.recipe)
            learned.append(
                learn(lesson.recipe, lesson.tasks, source, _part(budget, begun, len(lessons) - number), told)
            )
        progress(0.98, "writing the model")
        out_dir.mkdir(parents=True, exist_ok=True)
        write_model(out_dir, [each.nlp for each in learned], [_answer(*one) for one in zip(count(1), lessons, learned)])
        write_labels(out_dir, [_labels(lesson.control, each) for lesson, each in zip(lessons, learned, strict=True)])
        params = _params(lessons, learned)
        (out_dir / "metrics.json").write_bytes(orjson.dumps(params, option=orjson.OPT_INDENT_2))
        progress(1.0, "trained")
        return Artefact(out_dir, params, _curve(lessons, learned))

    def evaluate(self, artefact_dir: Path, dataset_dir: Path) -> Metrics:
        """The headline on the holdout, control by control.

        The baseline finds the names of the training split again, says its most frequent class, and none of several.
        """
        dataset = read_dataset(dataset_dir)
        known = {one.control for one in read_labels(artefact_dir, *TYPES)}
        controls = learnable_controls(dataset.label_config)
        if not any(control.name in known for control in controls):
            raise DataError(
                f"{artefact_dir} answers for {sorted(known)}, and the dataset's spans and choices on texts are "
                f"{[control.name for control in controls]}; evaluate it on a dataset of its own project"
            )
        return judge_version(artefact_dir, dataset, controls)

    def headline(self, per_item: Sequence[Mapping[str, Any]]) -> float:
        """The headline of these items."""
        return headline(per_item)

    def scores(self, per_item: Sequence[Mapping[str, Any]], weights: Floats) -> Scores:
        """The headline and each class's F1 for each row of weights."""
        return weighted_scores(per_item, weights)


def learnable_controls(config: LabelConfig) -> list[Control]:
    """The controls with classes that label spans of a text, or the text as a whole by choices."""
    return [
        control
        for control in config.controls
        if control.object_tag in TEXT_TAGS
        and (control.tag in SPAN_TAGS or (control.tag == "Choices" and not control.per_region))
        and control.classes
    ]


def _lessons(dataset: Dataset) -> list[_Lesson]:
    """What there is to learn; DataError where the label config has nothing of the kind, NotReady without any text."""
    controls = learnable_controls(dataset.label_config)
    if not controls:
        control = dataset.label_config.first(*SPAN_TAGS, "Choices")
        raise DataError(
            f"control {control.name!r} is not about a whole text or its spans, or has no classes in the label config; "
            f"spacy_nlp learns {', '.join(SPAN_TAGS)} with <Label> and Choices with <Choice> on {', '.join(TEXT_TAGS)}"
        )
    span_model = str((dataset.manifest["body"].get("options") or {}).get("span_model", SPAN_MODELS[0]))
    if span_model not in SPAN_MODELS:
        raise DataError(
            f"active_learning.model_options: span_model is {span_model!r}, expected one of {list(SPAN_MODELS)}"
        )
    lessons = [_lesson(control, read_tasks(dataset, control, "train"), span_model) for control in controls]
    lessons = [lesson for lesson in lessons if lesson.tasks]
    if not lessons:
        raise NotReady("the training split has no labelled text; label some tasks first")
    return [lesson for lesson in lessons if lesson.notes["labels"]] or lessons


def _lesson(control: Control, read: Sequence[LabelledTask], span_model: str) -> _Lesson:
    tasks = [task for task in read if task.document is not None]
    notes: dict[str, Any] = {
        "labels": sum(len(task.spans) + len(task.chosen) for task in tasks),
        "texts_missing": len(read) - len(tasks),
        "outside_text": sum(task.unusable for task in tasks),
    }
    recipe: Recipe
    if control.tag == "Choices":
        recipe = TextcatRecipe(control.classes, takes_several(control))
    else:
        share = overlapping_share(pieces(tasks))
        notes["overlapping"] = round(share, 4)
        recipe = NerRecipe(control.classes)
        if span_model == "spancat" or (span_model == "auto" and share > OVERLAPPING):
            longest, beyond = candidate_length(pieces(tasks))
            notes |= {"longest_candidate": longest, "beyond_candidates": beyond}
            recipe = SpancatRecipe(control.classes, longest)
    return _Lesson(control, recipe, tasks, notes)


@dataclass(frozen=True)
class _Earlier:
    """An earlier version to continue from, or none."""

    folder: Path | None
    answers: Sequence[Answer] = ()

    @classmethod
    def of(cls, start: Path | None) -> _Earlier:
        if start is None:
            return cls(None)
        read_labels(start, *TYPES)
        return cls(start, read_answers(start))

    def pipeline(self, control: Control, recipe: Recipe) -> Any | None:
        """The pipeline that answered for a control, where the recipe would build the same network for its classes.

        A class cannot be unlearned, only a recogniser learns new ones, and the labels of a pipeline from elsewhere are not
        those of the config: then None.
        """
        answer = next((one for one in self.answers if one.control == control.name), None)
        if self.folder is None or answer is None or answer.component != recipe.component:
            return None
        nlp = read_model(self.folder, answer.pipeline)
        if nlp.pipe_names != [recipe.component]:
            return None
        labels, network = set(nlp.get_pipe(recipe.component).labels), nlp.config["components"][recipe.component]
        same = network["model"] == recipe.blank().config["components"][recipe.component]["model"]
        fits = labels <= set(control.classes) if recipe.component == "ner" else labels == set(control.classes)
        return nlp if same and fits else None


def _told(progress: Progress, number: int, name: str, parts: int) -> Progress:
    """What passes the share that is done of one control on, as a share of the whole training."""
    before = f"{name}: " if name else ""
    return lambda share, message: progress(0.02 + 0.95 * (number + share) / parts, before + message)


def _part(budget: Budget, begun: float, parts: int) -> Budget:
    """The budget of one of the controls that are left: an equal part of the time that is."""
    if budget.seconds is None:
        return budget
    return replace(budget, seconds=max(budget.seconds - (time.monotonic() - begun), 0.0) / parts)


def _answer(number: int, lesson: _Lesson, learned: Learned) -> Answer:
    control, least = lesson.control, learned.judged.least
    same = {name: name for name in control.classes}
    several = control.tag == "Choices" and takes_several(control)
    attributes = reading_attributes(control)
    return Answer(
        control.name, lesson.recipe.component, same, number, control.object_tag, attributes, several,
        USUAL if least is None else least,
    )  # fmt: skip


def _labels(control: Control, learned: Learned) -> ControlLabels:
    judged = learned.judged
    return ControlLabels(
        control.name, control.to_name, control.data_key, control.region_type, control.classes,
        show_thresholds(judged.scored, control.classes), judged.calibrated, judged.temperature,
    )  # fmt: skip


def _params(lessons: Sequence[_Lesson], learned: Sequence[Learned]) -> dict[str, Any]:
    """How the version was made: of each control, and what is summed up over them."""
    controls = {
        lesson.control.name: {**lesson.notes, **each.params} for lesson, each in zip(lessons, learned, strict=True)
    }
    summed = ("labels", "texts_missing", "misaligned", "outside_text")
    return {
        "texts": max(of["texts"] for of in controls.values()),
        **{key: sum(of[key] for of in controls.values()) for key in summed},
        "continued": any(of["continued"] for of in controls.values()),
        "controls": controls,
    }


def _curve(lessons: Sequence[_Lesson], learned: Sequence[Learned]) -> tuple[Mapping[str, float], ...]:
    """The loss per pass; with several controls each under `loss/control`."""
    if len(learned) == 1:
        return learned[0].curve
    points: dict[float, dict[str, float]] = {}
    for lesson, each in zip(lessons, learned, strict=True):
        for point in each.curve:
            points.setdefault(point["pass"], {"pass": point["pass"]})[f"loss/{lesson.control.name}"] = point["loss"]
    return tuple(points[at] for at in sorted(points))
