"""Makes the demo's texts and their truth: short business news with names in them, and messages to a help desk."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labelloop.demo import text_grammars as grammars

NER_LABELS: tuple[str, ...] = ("PERSON", "ORG", "PRODUCT")
TOPIC_LABELS: tuple[str, ...] = ("billing", "delivery", "technical", "account")
EMPTY_SHARE = 0.12
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class NerTruth:
    """One text and its entities, (start, end, label) in code points, so that text[start:end] is the name."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True)
class ClassTruth:
    """One text and its one label."""

    text: str
    label: str


def generate_ner(count: int = 800, seed: int = 11) -> list[NerTruth]:
    """`count` different texts; no name occurs twice in all of them, about one text in eight has none."""
    rng = np.random.default_rng([seed, count])
    names = _Names(rng)
    empty = set(rng.permutation(count)[: round(count * EMPTY_SHARE)].tolist())
    truths: list[NerTruth] = []
    seen: set[str] = set()
    while len(truths) < count:
        truth = _news(rng, names, empty=len(truths) in empty)
        if truth.text not in seen:
            seen.add(truth.text)
            truths.append(truth)
    return truths


def generate_classification(count: int = 800, seed: int = 13) -> list[ClassTruth]:
    """`count` different texts, as many of each of the four labels as can be, in random order."""
    rng = np.random.default_rng([seed, count])
    labels = [TOPIC_LABELS[i % len(TOPIC_LABELS)] for i in rng.permutation(count)]
    truths: list[ClassTruth] = []
    seen: set[str] = set()
    while len(truths) < count:
        label = labels[len(truths)]
        text = _message(rng, label)
        if text not in seen:
            seen.add(text)
            truths.append(ClassTruth(text, label))
    return truths


class _Names:
    """Invented names, each word of them given out once only."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._given: set[str] = set()

    def word(self) -> str:
        """A capitalised word of two or three syllables that was not given out before."""
        while True:
            syllables = [_pick(self._rng, grammars.SYLLABLES) for _ in range(2 + int(self._rng.random() < 0.45))]
            word = ("".join(syllables) + _pick(self._rng, grammars.WORD_ENDS)).capitalize()
            if word not in self._given:
                self._given.add(word)
                return word

    def name(self, kind: str) -> str:
        """A name of that kind (a key of grammars.NAME_SHAPES) that was not given out before."""
        while True:
            shape = _pick(self._rng, grammars.NAME_SHAPES[kind])
            name = _SLOT.sub(lambda slot: self._part(slot.group(1)), shape)
            if name not in self._given or shape == "{word}":
                self._given.add(name)
                return name

    def _part(self, part: str) -> str:
        if part == "word":
            return self.word()
        if part == "caps":
            return self.word()[:5].upper() + "AEIOU"[self._rng.integers(5)]
        if part == "number":
            return str(self._rng.integers(2, 990))
        if part == "initial":
            return "ABCDEFGHJKLMNPRSTVW"[self._rng.integers(19)]
        return _pick(self._rng, grammars.NAME_WORDS[part])


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _news(rng: np.random.Generator, names: _Names, *, empty: bool) -> NerTruth:
    """One to three sentences, joined by a blank or now and then by line ends."""
    pieces: list[tuple[str, str | None]] = []
    wanted = 1 + int(rng.random() < 0.55)
    patterns = [_pick(rng, grammars.PLAIN_NEWS if empty else grammars.NEWS) for _ in range(wanted)]
    if not empty and rng.random() < 0.5:
        patterns.insert(int(rng.integers(len(patterns) + 1)), _pick(rng, grammars.PLAIN_NEWS))
    joint = _pick(rng, grammars.JOINTS)
    if rng.random() < 0.06:
        pieces.append((_pick(rng, grammars.OPENERS), None))
    for index, pattern in enumerate(patterns):
        if index:
            pieces.append((joint, None))
        sentence = _expand(rng, pattern, names)
        if sentence[0][1] is None:
            sentence[0] = (sentence[0][0][:1].upper() + sentence[0][0][1:], None)
        pieces.extend(sentence)
    return _joined(pieces)


def _expand(rng: np.random.Generator, pattern: str, names: _Names) -> list[tuple[str, str | None]]:
    """The pattern as (text, label or None) pieces, its slots filled from the grammar."""
    pieces: list[tuple[str, str | None]] = []
    at = 0
    for slot in _SLOT.finditer(pattern):
        pieces.append((pattern[at : slot.start()], None))
        at, key = slot.end(), slot.group(1)
        if key in grammars.NAME_SHAPES:
            pieces.append((names.name(key), key if key in NER_LABELS else None))
        else:
            pieces.extend(_expand(rng, _pick(rng, grammars.NEWS_WORDS[key]), names))
    pieces.append((pattern[at:], None))
    return [piece for piece in pieces if piece[0]] or [("", None)]


def _joined(pieces: Sequence[tuple[str, str | None]]) -> NerTruth:
    text, spans = "", []
    for part, label in pieces:
        if label is not None:
            spans.append((len(text), len(text) + len(part), label))
        text += part
    return NerTruth(text, tuple(spans))


def _message(rng: np.random.Generator, label: str) -> str:
    """A message about `label`, often with a misleading word of another topic in a sentence that rules it out."""
    other = _pick(rng, [topic for topic in TOPIC_LABELS if topic != label])
    parts = [_filled(rng, _pick(rng, grammars.STATEMENTS), grammars.TOPICS[label])]
    if rng.random() < 0.8:
        parts.append(_filled(rng, _pick(rng, grammars.STATEMENTS), grammars.TOPICS[label]))
    if rng.random() < 0.12:
        parts.append(_filled(rng, _pick(rng, grammars.DENIALS), grammars.TOPICS[other]))
    if rng.random() < 0.6:
        parts.append(_filled(rng, _pick(rng, grammars.SMALL_TALK), {}))
    order = rng.permutation(len(parts))
    text = _pick(rng, grammars.MESSAGE_JOINTS).join(parts[i][:1].upper() + parts[i][1:] for i in order)
    return _pick(rng, grammars.GREETINGS) + text + _pick(rng, grammars.FAREWELLS)


def _filled(rng: np.random.Generator, pattern: str, words: Mapping[str, Sequence[str]]) -> str:
    def fill(slot: re.Match[str]) -> str:
        key = slot.group(1)
        return _filled(rng, _pick(rng, words[key] if key in words else grammars.MESSAGE_WORDS[key]), words)

    return _SLOT.sub(fill, pattern)
