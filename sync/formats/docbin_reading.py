"""Reads spaCy DocBin files: entities and span groups become spans, categories choices."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import orjson

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.formats.docbin_files import SPANS_KEY, spans_in
from sync.formats.reading import Labelled, LabelledItem, Unread, WantedControl, config_for, region_for
from sync.formats.text_reading import TextPlace, labels_of_manifest, manifest_of, split_named

_LOSSES = (
    "everything but entities, spans and categories: tags, lemmas, dependencies, knowledge base ids",
    "the names of span groups, and how sure a category is beyond yes (from 0.5) or no",
)
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, zlib.error, msgspec.MsgspecError)


@dataclass(frozen=True)
class _Mark:
    """A span as a document has it; `region_id` and `control` where our own export noted them."""

    start: int
    end: int
    label: str
    region_id: str = ""
    control: str = ""


def read_docbins(
    path: Path, *, task: str | None = None, config: LabelConfig | None = None, images: Path | None = None
) -> Labelled:
    """Open a DocBin file, or a folder of them; `task` takes entities, spans or categories alone (default: all there is).

    DataError when spaCy is not installed, or there is nothing that reads as a DocBin.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*.spacy") if file.is_file())
    survey = _Survey(task)
    rejected: list[Unread] = []
    for file in files:
        for found in _documents(file, rejected):
            survey.look_at(found)
    if not survey.documents:
        why = rejected[0].detail if rejected else "no file's name ends in .spacy"
        raise DataError(f"{path} has no document of spaCy: {why}")
    made = config or survey.config(labels_of_manifest(manifest_of(path, "spacy")))
    reader = _Reader(files, task, TextPlace(made, "Labels", "Choices"))
    return Labelled(made, reader.items, _LOSSES, survey.documents)


@dataclass(frozen=True)
class _Document:
    """A document: spaCy's, its spans as (key, start, end, label), and what our own export noted of it."""

    doc: Any
    spans: Sequence[tuple[str, int, int, str]]
    origin: Mapping[str, Any]


def _documents(file: Path, rejected: list[Unread]) -> Iterator[_Document]:
    """The documents of one file; what does not read as one is added to `rejected`."""
    try:
        from spacy.tokens import DocBin
        from spacy.vocab import Vocab
    except ImportError as error:
        raise DataError("the format spacy needs spaCy; install labelloop[spacy]") from error
    vocab = Vocab()
    try:
        docbin = DocBin().from_disk(file)
        groups, origins = docbin.span_groups, docbin.user_data
        docbin.span_groups, docbin.user_data = [b""] * len(docbin), []  # unpacked here, which is faster by far
        for number, doc in enumerate(docbin.get_docs(vocab)):
            spans = [(key, start, end, vocab.strings[label]) for key, start, end, label in spans_in(groups[number])]
            yield _Document(doc, spans, _origin_in(origins[number]))
    except _UNREADABLE as error:
        rejected.append(Unread(file.name, "unreadable", f"{file} does not read as a DocBin: {error}"))


def _origin_in(user_data: bytes | None) -> Mapping[str, Any]:
    if not user_data or b"labelloop" not in user_data:
        return {}
    origin = msgspec.msgpack.decode(user_data).get("labelloop")
    return origin if isinstance(origin, Mapping) else {}


def _marks_of(found: _Document, task: str | None) -> list[_Mark]:
    """The spans of a document: of its groups, and its entities that are in none of them."""
    marks: list[_Mark] = []
    if task in (None, "spancat"):
        noted = _noted(found)
        for key, start, end, label in found.spans:
            marks.append(_Mark(start, end, label, *(next(noted) if key == SPANS_KEY else ())))
    if task in (None, "ner"):
        there = {(mark.start, mark.end, mark.label) for mark in marks}
        entities = [(ent.start_char, ent.end_char, ent.label_) for ent in found.doc.ents]
        marks += [_Mark(*entity) for entity in entities if entity not in there]
    return marks


def _noted(found: _Document) -> Iterator[tuple[str, str]]:
    """(region id, control) of the spans under SPANS_KEY, as our own export noted them; empty ones of other files."""
    noted = found.origin.get("regions", ())
    count = sum(key == SPANS_KEY for key, *_ in found.spans)
    fits = len(noted) == count and all(isinstance(each, Sequence) and len(each) == 2 for each in noted)
    return iter([(str(each[0]), str(each[1])) for each in noted] if fits else [("", "")] * count)


def _chosen_in(found: _Document, task: str | None) -> list[str]:
    """The categories that hold, the surest first."""
    if task not in (None, "textcat"):
        return []
    held = [(-float(score), label) for label, score in found.doc.cats.items() if score >= 0.5]
    return [label for _, label in sorted(held, key=lambda each: each[0])]


class _Survey:
    """What a look through the documents finds: classes in their order, and whether a text has several categories."""

    def __init__(self, task: str | None) -> None:
        self._task = task
        self.documents = 0
        self._labels: dict[str, None] = {}
        self._categories: dict[str, None] = {}
        self._several = False

    def look_at(self, found: _Document) -> None:
        """Note one document."""
        self.documents += 1
        self._labels.update(dict.fromkeys(mark.label for mark in _marks_of(found, self._task)))
        if self._task in (None, "textcat"):
            self._categories.update(dict.fromkeys(found.doc.cats))
            self._several = self._several or len(_chosen_in(found, self._task)) > 1

    def config(self, listed: Sequence[str]) -> LabelConfig:
        """A label config for them; `listed` are the classes of spans in the order of our own manifest."""
        controls = []
        if self._labels or not self._categories:
            controls.append(WantedControl("Labels", "label", list(dict.fromkeys([*listed, *self._labels]))))
        if self._categories:
            choice = {"choice": "multiple" if self._several else "single"}
            controls.append(WantedControl("Choices", "category", list(self._categories), choice))
        return config_for("Text", "text", controls)


@dataclass(frozen=True)
class _Reader:
    files: Sequence[Path]
    task: str | None
    place: TextPlace

    def items(self, rejected: list[Unread]) -> Iterator[LabelledItem]:
        """Every document; what of it has no place in the config is added to `rejected`."""
        for file in self.files:
            for number, found in enumerate(_documents(file, rejected), start=1):
                yield self._item(found, file, f"{file.name}, document {number}", rejected)

    def _item(self, found: _Document, file: Path, source: str, rejected: list[Unread]) -> LabelledItem:
        origin = found.origin
        annotator = origin.get("annotator")
        regions = [*self._spans(found, source, rejected), *self._choices(found, source, rejected)]
        return LabelledItem(
            {**_besides(origin), self.place.data_key: found.doc.text},
            regions,
            source,
            split=split_named(file),
            group=origin.get("group"),
            annotator=str(annotator) if annotator is not None else None,
            at=origin.get("at"),
        )

    def _spans(self, found: _Document, source: str, rejected: list[Unread]) -> Iterator[Region]:
        text = found.doc.text
        regions: dict[tuple[Any, ...], Region] = {}
        for number, mark in enumerate(_marks_of(found, self.task), start=1):
            control = self.place.control_of("Labels", mark.label, mark.control)
            if control is None:
                rejected.append(_no_place(source, text[mark.start : mark.end], mark.label))
                continue
            key = (mark.start, mark.end, control.name, mark.region_id or number)
            if key in regions:  # another class of one region
                regions[key]["value"][control.value_key].append(mark.label)
                continue
            value = {"start": mark.start, "end": mark.end, "text": text[mark.start : mark.end]}
            region = region_for(control, number, value, [mark.label])
            regions[key] = {**region, "id": mark.region_id} if mark.region_id else region
        yield from regions.values()

    def _choices(self, found: _Document, source: str, rejected: list[Unread]) -> Iterator[Region]:
        by_control: dict[str, list[str]] = {}
        controls = {}
        for label in _chosen_in(found, self.task):
            control = self.place.control_of("Choices", label)
            if control is None:
                rejected.append(_no_place(source, "its category", label))
                continue
            controls[control.name] = control
            by_control.setdefault(control.name, []).append(label)
        for number, (name, labels) in enumerate(by_control.items(), start=1):
            kept = labels if controls[name].attributes.get("choice") == "multiple" else labels[:1]
            for label in labels[len(kept) :]:
                detail = f"{source}: {label!r} is a second category, and <Choices name={name!r}> takes one"
                rejected.append(Unread(source, "second_choice", detail))
            yield {**region_for(controls[name], number, {}, kept), "id": f"c{number}"}


def _no_place(source: str, what: str, label: str) -> Unread:
    return Unread(source, "class_not_in_config", f"{source}: {what!r} is {label!r}, which the label config has not")


def _besides(origin: Mapping[str, Any]) -> dict[str, Any]:
    """What the task of our own export had besides its text."""
    try:
        found = orjson.loads(origin.get("data", "{}"))
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
