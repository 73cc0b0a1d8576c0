"""The labelled texts of a dataset version, and their spans on spaCy's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backends.spacy_nlp.converters.labels import Span, regions_to_spans
from labelloop.datasets import Dataset
from labelloop.label_config import Control


@dataclass(frozen=True)
class LabelledText:
    """A task's text and the spans of its truth; `text` is None when the task has none."""

    task_id: int
    text: str | None
    spans: tuple[Span, ...]
    unusable: int = 0


def read_texts(dataset: Dataset, control: Control, split: str) -> list[LabelledText]:
    """The texts of a split with their true spans of the control's classes, ordered by task id."""
    texts = []
    for task_id, data, result in dataset.truth(split):
        text = data.get(control.data_key)
        if not isinstance(text, str) or not text.strip():
            texts.append(LabelledText(task_id, None, ()))
            continue
        spans, unusable = regions_to_spans(text, result, control.name)
        known = tuple(span for span in spans if span.label in control.classes)
        texts.append(LabelledText(task_id, text, known, unusable))
    return texts


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
