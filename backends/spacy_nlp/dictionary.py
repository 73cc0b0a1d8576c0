"""The dictionary of known names: what a span model is compared with that has learned nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from backends.spacy_nlp.converters.labels import Span


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
