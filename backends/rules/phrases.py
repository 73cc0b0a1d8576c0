"""Many phrases looked for at once: one walk over a text's words, however many phrases there are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import regex

_WORDS = regex.compile(r"\w+|[^\w\s]")
_END = ""  # a key that no word can be


class Found(NamedTuple):
    """text[start:end] is a phrase of this owner; offsets in code points."""

    owner: int
    label: str
    start: int
    end: int


class PhraseIndex:
    """Phrases of several owners by their words.

    Words are compared in Unicode's composed form (NFC), without case where `ignore_case`; the white space between them
    does not count. A phrase never begins or ends inside a word.
    """

    def __init__(self, ignore_case: bool) -> None:
        self._ignore_case = ignore_case
        self._root: dict[str, Any] = {}

    def add(self, phrase: str, owner: int, label: str) -> None:
        """Look for `phrase`; ValueError when it has no word and no sign."""
        words = [self._form(word) for word in _WORDS.findall(phrase)]
        if not words:
            raise ValueError(f"{phrase!r} has no word to look for")
        node = self._root
        for word in words:
            node = node.setdefault(word, {})
        node.setdefault(_END, {})[owner] = label

    def find(self, text: str) -> list[Found]:
        """Every occurrence of every phrase, by its start; they may overlap."""
        words = [(self._form(match.group()), match.start(), match.end()) for match in _WORDS.finditer(text)]
        found: list[Found] = []
        root = self._root
        for first, (word, start, _) in enumerate(words):
            node, at = root.get(word), first
            while node is not None:
                ends = node.get(_END)
                if ends:
                    found.extend(Found(owner, label, start, words[at][2]) for owner, label in ends.items())
                at += 1
                node = node.get(words[at][0]) if at < len(words) else None
        return found

    def _form(self, word: str) -> str:
        composed = word if word.isascii() else unicodedata.normalize("NFC", word)
        return composed.casefold() if self._ignore_case else composed


def longest_first(found: Iterable[Found]) -> list[Found]:
    """One owner's occurrences without overlap, from left to right: of those that begin together the longest."""
    kept: list[Found] = []
    for each in sorted(found, key=lambda one: (one.start, -one.end)):
        if not kept or each.start >= kept[-1].end:
            kept.append(each)
    return kept


def substring_pattern(phrases: Sequence[str], ignore_case: bool) -> Any:
    """A pattern of these phrases anywhere, also inside words; the longest goes first."""
    ordered = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    flags = regex.IGNORECASE if ignore_case else 0
    return regex.compile("|".join(regex.escape(phrase) for phrase in ordered), flags)
