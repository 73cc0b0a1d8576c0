"""Agreement on text spans: strict F1 (same start, end and label), and values per token or character for alpha."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from qa.measures.coefficients import Coefficient, measured, undefined

Span = tuple[int, int, str]
"""(start, end, label); offsets in characters, the end outside the span."""

OUTSIDE = ""
_TOKEN = re.compile(r"\w+|[^\w\s]")


def span_counts(first: Iterable[Span], second: Iterable[Span]) -> tuple[int, int, int]:
    """(spans that both have, spans of the first, spans of the second); a span given twice counts twice."""
    a, b = Counter(first), Counter(second)
    return (a & b).total(), a.total(), b.total()


def span_f1(first: Iterable[Span], second: Iterable[Span]) -> Coefficient:
    """Strict F1 of two people's spans on one text; undefined when neither has any."""
    both, n_first, n_second = span_counts(first, second)
    if n_first + n_second == 0:
        return undefined("neither has a span", 1, 1)
    return measured(2 * both / (n_first + n_second), 1, 1)


def token_places(text: str) -> tuple[list[int], list[int]]:
    """(where each token of a text starts, where it ends): words and single signs."""
    found = [token.span() for token in _TOKEN.finditer(text)]
    return [start for start, _ in found], [end for _, end in found]


def token_values(text: str, spans: Sequence[Span]) -> list[str]:
    """The labels over each token of a text (words, single signs); several labels are sorted and joined, none is ""."""
    return [
        _joined(label for start, end, label in spans if start < token.end() and end > token.start())
        for token in _TOKEN.finditer(text)
    ]


def character_values(length: int, spans: Sequence[Span]) -> list[str]:
    """The labels over each character of a text of that length; several labels are sorted and joined, none is ""."""
    over: list[set[str]] = [set() for _ in range(length)]
    for start, end, label in spans:
        for position in range(max(start, 0), min(end, length)):
            over[position].add(label)
    return [_joined(labels) for labels in over]


def _joined(labels: Iterable[str]) -> str:
    return "\x1f".join(sorted(set(labels))) or OUTSIDE
