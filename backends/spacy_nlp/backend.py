"""Loaded spaCy pipelines that answer for the text controls of a label config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backends.spacy_nlp.artefact import Answer, read_answers, read_model
from backends.spacy_nlp.converters.choices import choices_region
from backends.spacy_nlp.converters.labels import Document, Span, span_regions
from backends.spacy_nlp.decoding import Said
from backends.spacy_nlp.documents import read_document
from backends.spacy_nlp.pipeline import Reading, TextPipeline
from backends.spacy_nlp.uncertainty import text_uncertainty
from backends.version_labels import ControlLabels, read_labels
from labelloop.errors import DataError
from labelloop.values import Outcome, Region, TaskItem

SCORE_FLOOR = 0.01
TYPES = ("labels", "hypertextlabels", "paragraphlabels", "choices")
_BATCH = 256
_NOTHING = Said()


@dataclass(frozen=True)
class _Part:
    """One control of one task: its document, and where its texts stand in the list that its pipeline reads."""

    document: Document
    numbers: tuple[int, ...]


@dataclass
class _Texts:
    """The texts that one pipeline reads for a batch of tasks, each once."""

    places: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        """The place of a text, -1 for a blank one, which is not read."""
        return self.places.setdefault(text, len(self.places)) if text.strip() else -1


class SpacyBackend:
    """One model version; `predict` is safe for one thread at a time."""

    batch_size = _BATCH

    def __init__(self, version_dir: Path, *, threads: int = 1) -> None:
        labels = {control.control: control for control in read_labels(version_dir, *TYPES)}
        answers = read_answers(version_dir)
        missing = {answer.control for answer in answers} ^ set(labels)
        if missing:
            raise DataError(
                f"{version_dir}: the model and labels.json do not name the same controls: {sorted(missing)}"
            )
        self._controls = [(labels[answer.control], answer) for answer in answers]
        self._pipelines = {
            number: TextPipeline(
                read_model(version_dir, number),
                {a.component: labels[a.control].temperature for a in answers if a.pipeline == number},
                threads,
            )
            for number in sorted({answer.pipeline for answer in answers})
        }

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for control, _ in self._controls for name in control.classes))

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset({"regions"})) -> list[Outcome]:
        """One outcome per task, in order; `want` may also hold "probs" and "embedding"."""
        outcomes: list[Outcome] = []
        for at in range(0, len(tasks), _BATCH):
            outcomes.extend(self._predict_batch(tasks[at : at + _BATCH], want))
        return outcomes

    def _predict_batch(self, tasks: Sequence[TaskItem], want: frozenset[str]) -> Iterator[Outcome]:
        texts = {number: _Texts() for number in self._pipelines}
        parts = [self._parts(task, texts) for task in tasks]
        readings = {
            number: pipeline.read(list(texts[number].places), want) for number, pipeline in self._pipelines.items()
        }
        for part in parts:
            yield part if isinstance(part, Outcome) else self._outcome(part, readings, want)

    def _parts(self, task: TaskItem, texts: Mapping[int, _Texts]) -> list[_Part | None] | Outcome:
        """What each control reads of a task, None where it has nothing; the outcome when that is so of all of them."""
        documents: dict[tuple[str, str], Document | Outcome] = {}
        parts: list[_Part | None] = []
        for control, answer in self._controls:
            key = (control.data_key, control.to_name)
            if key not in documents:
                documents[key] = read_document(task.data, control.data_key, answer.object_tag, answer.attributes)
            document = documents[key]
            if isinstance(document, Outcome):
                parts.append(None)
                continue
            number = texts[answer.pipeline].number
            whole = control.type == "choices" and len(document.texts) > 1
            pieces = ("\n".join(document.texts),) if whole else document.texts
            parts.append(_Part(document, tuple(number(text) for text in pieces)))
        if any(part is not None for part in parts):
            return parts
        return next(document for document in documents.values() if isinstance(document, Outcome))

    def _outcome(
        self, parts: Sequence[_Part | None], readings: Mapping[int, Sequence[Reading | Exception]], want: frozenset[str]
    ) -> Outcome:
        regions: list[Region] = []
        doubt = 0.0
        embedding: tuple[float, ...] = ()
        chances: dict[str, float] = {}
        for (control, answer), part in zip(self._controls, parts, strict=True):
            if part is None:
                continue
            said = []
            for number in part.numbers:
                reading = readings[answer.pipeline][number] if number >= 0 else {}
                if isinstance(reading, Exception):
                    return Outcome("error", detail=f"{type(reading).__name__}: {reading}")
                said.append(reading.get(answer.component, _NOTHING))
            if control.type == "choices":
                known = _in_config(said[0].chances, answer)
                region = choices_region(
                    _choosable(said[0].chances, known, answer), control.control, control.to_name,
                    several=answer.several, least=answer.chosen_from,
                )  # fmt: skip
                regions += [region] if region is not None else []
                doubt = max(doubt, *said[0].doubts, 0.0)
            else:
                regions += _spans(part.document, said, control, answer)
                doubt = max(doubt, text_uncertainty([one for piece in said for one in piece.doubts]))
                known = {}
                for piece in said if "probs" in want else ():
                    known = _highest(known, _in_config(piece.chances, answer))
            chances = _highest(chances, known)
            embedding = embedding or next((piece.embedding for piece in said if piece.embedding), ())
        scores = [region["score"] for region in regions]
        return Outcome(
            regions=tuple(regions),
            confidence=min(scores) if scores else None,
            uncertainty=doubt,
            probs={name: chances.get(name, 0.0) for name in self.classes} if "probs" in want else None,
            embedding=embedding if "embedding" in want else None,
        )


def _spans(document: Document, said: Sequence[Said], control: ControlLabels, answer: Answer) -> list[Region]:
    """The spans whose label has a class in the config, as regions; of equal ones the surest."""
    regions: list[Region] = []
    for piece, one in enumerate(said):
        best: dict[tuple[int, int, str], float] = {}
        for span in one.spans:
            label, score = answer.classes.get(span.label), span.score or 0.0
            if label is not None and score >= max(SCORE_FLOOR, best.get((span.start, span.end, label), 0.0)):
                best[(span.start, span.end, label)] = score
        if best:
            spans = [Span(*key, score) for key, score in best.items()]
            regions += span_regions(document, piece, spans, control.control, control.to_name, control.type)
    return regions


def _in_config(chances: Mapping[str, float], answer: Answer) -> dict[str, float]:
    """Probabilities by class of the config; of model classes that mean the same one, the highest."""
    known: dict[str, float] = {}
    for label, chance in chances.items():
        name = answer.classes.get(label)
        if name is not None:
            known[name] = max(known.get(name, 0.0), chance)
    return known


def _choosable(chances: Mapping[str, float], known: Mapping[str, float], answer: Answer) -> Mapping[str, float]:
    """The known classes; none where one is to be chosen and the likeliest is not in the config."""
    best = max(chances, key=lambda label: chances[label], default=None)
    return known if answer.several or best in answer.classes else {}


def _highest(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {name: max(first.get(name, 0.0), second.get(name, 0.0)) for name in {**first, **second}}
