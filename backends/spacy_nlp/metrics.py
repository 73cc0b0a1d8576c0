"""Strict entity F1 from per-text counts, and the dictionary of known names as its baseline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backends.spacy_nlp.converters.labels import Span


def match_spans(predicted: Iterable[Span], truth: Iterable[Span]) -> dict[str, Any]:
    """One text's JSON-able result, {"tp", "fp", "fn"} as {label: count}; right means same start, end and label."""
    said = {(span.start, span.end, span.label) for span in predicted}
    true = {(span.start, span.end, span.label) for span in truth}
    return {
        name: dict(sorted(Counter(label for _, _, label in which).items()))
        for name, which in (("tp", said & true), ("fp", said - true), ("fn", true - said))
    }


def entity_f1(per_item: Sequence[Mapping[str, Any]], label: str | None = None) -> float:
    """Micro F1 over all texts, 0..1, of one label or of all; 0.0 when there is no entity, neither said nor true."""
    tp, fp, fn = (
        sum(n for item in per_item for name, n in item[key].items() if label in (None, name))
        for key in ("tp", "fp", "fn")
    )
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0


def surface_forms(texts: Iterable[tuple[str, Sequence[Span]]]) -> dict[str, str]:
    """{name: its most frequent label} of the labelled names of these texts."""
    counts: dict[str, Counter[str]] = {}
    for text, spans in texts:
        for span in spans:
            counts.setdefault(text[span.start : span.end], Counter())[span.label] += 1
    return {name: min(labels, key=lambda label: (-labels[label], label)) for name, labels in counts.items()}


def dictionary_spans(text: str, forms: Mapping[str, str]) -> list[Span]:
    """Where the names of a dictionary occur in a text as whole words, longest first, without overlap."""
    if not forms:
        return []
    names = sorted(forms, key=lambda name: (-len(name), name))
    pattern = r"(?<!\w)(?:" + "|".join(re.escape(name) for name in names) + r")(?!\w)"
    return [Span(found.start(), found.end(), forms[found.group()]) for found in re.finditer(pattern, text)]
