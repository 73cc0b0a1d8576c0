"""The labelled texts of a dataset version as each control sees them, and their spans on spaCy's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.choice_regions import chosen_classes
from backends.spacy_nlp.converters.labels import Document, Span, region_spans
from backends.spacy_nlp.documents import read_document
from labelloop.datasets import Dataset
from labelloop.label_config import Control
from labelloop.values import Outcome, Region


@dataclass(frozen=True)
class LabelledText:
    """One piece of a task's text, and what is true of it: its spans, or the classes that were chosen for it."""

    text: str
    spans: tuple[Span, ...] = ()
    chosen: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LabelledTask:
    """A task's pieces of text with their truth; `document` is None when the task has no text.

    Choices are of the whole text: one piece. `unusable` counts the regions that do not lie in the document.
    """

    task_id: int
    data: Mapping[str, Any]
    document: Document | None
    pieces: tuple[LabelledText, ...] = ()
    chosen: frozenset[str] = frozenset()
    unusable: int = 0

    @property
    def text(self) -> str:
        """All pieces, one to a line."""
        return "\n".join(piece.text for piece in self.pieces)

    def joined(self, spans: Sequence[Sequence[Span]]) -> list[Span]:
        """Spans by piece, moved to where they lie in `text`."""
        moved: list[Span] = []
        begin = 0
        for piece, found in zip(self.pieces, spans, strict=True):
            moved += [Span(span.start + begin, span.end + begin, span.label, span.score) for span in found]
            begin += len(piece.text) + 1
        return moved

    @property
    def spans(self) -> list[Span]:
        """The true spans in `text`."""
        return self.joined([piece.spans for piece in self.pieces])


def takes_several(control: Control) -> bool:
    """Whether a Choices control takes any number of its classes; one class alone is there or not."""
    return control.attributes.get("choice", "single").startswith("multiple") or len(control.classes) == 1


def read_tasks(dataset: Dataset, control: Control, split: str) -> list[LabelledTask]:
    """The tasks of a split with what is true for a control, by task id; without those for which a choice is left open."""
    read = (_labelled(control, task_id, data, result) for task_id, data, result in dataset.truth(split))
    return [task for task in read if task is not None]


def _labelled(control: Control, task_id: int, data: dict[str, Any], result: Sequence[Region]) -> LabelledTask | None:
    document = read_document(data, control.data_key, control.object_tag, control.object_attributes)
    if control.tag == "Choices":
        given = chosen_classes(result, control.classes, control.name)
        several = takes_several(control)
        if not given and not several:
            return None
        chosen = frozenset(given if several else given[:1])
        if isinstance(document, Outcome):
            return LabelledTask(task_id, data, None, chosen=chosen)
        return LabelledTask(task_id, data, document, (LabelledText("\n".join(document.texts), (), chosen),), chosen)
    if isinstance(document, Outcome):
        return LabelledTask(task_id, data, None)
    spans, unusable = region_spans(document, result, control.name, control.region_type)
    pieces = tuple(
        LabelledText(text, tuple(span for span in found if span.label in control.classes))
        for text, found in zip(document.texts, spans, strict=True)
    )
    return LabelledTask(task_id, data, document, pieces, unusable=unusable)


def aligned_spans(doc: Any, spans: Sequence[Span]) -> tuple[list[Any], int]:
    """(spaCy Spans, each once, how many of the given spans could not be taken as they are).

    A span that cuts a token shrinks to the whole tokens inside it, or grows when there is none. White space tokens at its
    ends, which spaCy refuses, are cut off.
    """
    found: dict[tuple[int, int, str], Any] = {}
    moved = 0
    for span in spans:
        exact = doc.char_span(span.start, span.end, label=span.label)
        kept = exact
        for mode in ("contract", "expand"):
            if kept is None:
                kept = doc.char_span(span.start, span.end, label=span.label, alignment_mode=mode)
        kept = _without_blank_ends(doc, kept)
        moved += exact is None or kept is None
        if kept is not None:
            found[kept.start, kept.end, kept.label_] = kept
    return list(found.values()), moved


def _without_blank_ends(doc: Any, span: Any) -> Any:
    if span is None:
        return None
    start, end = span.start, span.end
    while start < end and doc[start].is_space:
        start += 1
    while end > start and doc[end - 1].is_space:
        end -= 1
    if start == end:
        return None
    from spacy.tokens import Span as SpacySpan

    return SpacySpan(doc, start, end, label=span.label)
