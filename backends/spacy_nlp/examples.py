"""The labelled texts of a dataset version, and their spans on spaCy's tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.spacy_nlp.converters.labels import Document, Span, region_spans
from backends.spacy_nlp.documents import read_document
from labelloop.datasets import Dataset
from labelloop.label_config import Control
from labelloop.values import Outcome, Region


@dataclass(frozen=True)
class LabelledText:
    """One piece of a task's text and its true spans."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class LabelledTask:
    """A task's pieces of text with their truth; `document` is None when the task has no text.

    `unusable` counts the regions that do not lie in it.
    """

    task_id: int
    data: Mapping[str, Any]
    document: Document | None
    pieces: tuple[LabelledText, ...] = ()
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


def read_tasks(dataset: Dataset, control: Control, split: str) -> list[LabelledTask]:
    """The tasks of a split with their true spans of the control's classes, ordered by task id."""
    return [_labelled(control, task_id, data, result) for task_id, data, result in dataset.truth(split)]


def _labelled(control: Control, task_id: int, data: dict[str, Any], result: Sequence[Region]) -> LabelledTask:
    document = read_document(data, control.data_key, control.object_tag, control.object_attributes)
    if isinstance(document, Outcome):
        return LabelledTask(task_id, data, None)
    spans, unusable = region_spans(document, result, control.name, control.region_type)
    pieces = tuple(
        LabelledText(text, tuple(span for span in found if span.label in control.classes))
        for text, found in zip(document.texts, spans, strict=True)
    )
    return LabelledTask(task_id, data, document, pieces, unusable)


def aligned_spans(doc: Any, spans: Sequence[Span]) -> tuple[list[Any], int]:
    """(spaCy Spans without overlap, how many of the given spans could not be taken as they are).

    A span that cuts a token shrinks to the whole tokens inside it, or grows when there is none; of overlapping spans
    the longest stays. White space tokens at its ends, which spaCy refuses, are cut off.
    """
    from spacy.util import filter_spans

    found, moved = [], 0
    for span in spans:
        exact = doc.char_span(span.start, span.end, label=span.label)
        kept = exact
        for mode in ("contract", "expand"):
            if kept is None:
                kept = doc.char_span(span.start, span.end, label=span.label, alignment_mode=mode)
        kept = _without_blank_ends(doc, kept)
        moved += exact is None or kept is None
        if kept is not None:
            found.append(kept)
    filtered = filter_spans(found)
    return filtered, moved + len(found) - len(filtered)


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
