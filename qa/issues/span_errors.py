"""Spans that are likely wrong, judged by predicted spans or by what most of the other people marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labelloop.label_config import Control
from qa.issues.box_errors import SURE
from qa.issues.finding import Finding, Label, Told, by_task, findings_of
from qa.issues.placed import Spans, read_spans

#: Spans that share so much of what both cover are about the same words.
SAME_WORDS = 0.5
_LEAST_OF_CLASS = 5


def span_findings(
    labels: Sequence[Label],
    control: Control,
    predicted: Mapping[int, Spans],
    *,
    detector: str = "predicted_spans",
    evidence: Mapping[int, Mapping[str, Any]] | None = None,
) -> list[Finding]:
    """Missing and extra spans, wrong classes and boundaries by `predicted` spans, surest first.

    `predicted` are those of the task of each annotation, by its id. One without an entry is not judged; an entry without
    spans says that there is nothing. `evidence` is added to that of the findings of a task.
    """
    read = [(label, read_spans(label.result, control, label.data)) for label in labels if label.annotation in predicted]
    known = _found_shares([(spans, predicted[label.annotation]) for label, spans in read])
    told = ((label, each) for label, spans in read for each in _compared(spans, predicted[label.annotation], known))
    return findings_of(told, control.name, detector, evidence)


def spans_of_others(labels: Sequence[Label], control: Control) -> dict[int, Spans]:
    """Annotation -> the spans of at least two other people, as `_agreed` puts them together."""
    found: dict[int, Spans] = {}
    for group in by_task(labels).values():
        if len(group) < 3:
            continue
        marked = [_exact(read_spans(label.result, control, label.data)) for label in group]
        for at, label in enumerate(group):
            kept = _agreed([each for place, each in enumerate(marked) if place != at])
            found[label.annotation] = Spans(
                tuple(s[0] for s, _ in kept), tuple(s[1] for s, _ in kept), tuple(s[2] for s, _ in kept),
                ("",) * len(kept), tuple(score for _, score in kept), tuple(s[3] for s, _ in kept),
            )  # fmt: skip
    return found


def span_defects(labels: Sequence[Label], control: Control) -> list[Finding]:
    """What needs no model: spans marked twice, without a length, of one character that is no word, or with blanks at an end."""
    found = []
    for label in labels:
        spans = read_spans(label.result, control, label.data)
        for at, kind, score, why in _defects(spans):
            found.append(
                Finding(
                    label.task, label.annotation, label.annotator, control.name, spans.regions[at] or None, kind,
                    spans.labels[at], None, score, "geometry", {"span": _told(spans, at), **why}, "ui",
                )
            )  # fmt: skip
    return found


#: Start, end, class and place.
_Span = tuple[int, int, str, str]


def _exact(spans: Spans) -> set[_Span]:
    return set(zip(spans.starts, spans.ends, spans.labels, spans.places, strict=True))


def _agreed(others: Sequence[set[_Span]]) -> list[tuple[_Span, float]]:
    """Spans where at least half of these people marked any words, scored by how many marked exactly this one.

    Scores are of SURE or more for what more than half marked, and for that alone: on the rest these people differ, so that it
    neither is missing anywhere nor extra.
    """
    votes = Counter(span for each in others for span in each)
    kept = []
    for span, count in sorted(votes.items()):
        about = sum(any(s[3] == span[3] and s[0] < span[1] and span[0] < s[1] for s in each) for each in others)
        if 2 * about >= len(others):
            kept.append((span, count / (len(others) + 1)))
    return kept


def _shared(a: Spans, i: int, b: Spans, j: int) -> float:
    """What two spans both cover, over what they cover together."""
    if a.places[i] != b.places[j]:
        return 0.0
    common = min(a.ends[i], b.ends[j]) - max(a.starts[i], b.starts[j])
    every = max(a.ends[i], b.ends[j]) - min(a.starts[i], b.starts[j])
    return max(common, 0) / every if every > 0 else 0.0


def _found_shares(read: Sequence[tuple[Spans, Spans]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for spans, predicted in read:
        for i, name in enumerate(spans.labels):
            total[name] += 1
            found[name] += any(_shared(spans, i, predicted, j) > 0 for j in range(len(predicted)))
    every = sum(found.values()) / max(sum(total.values()), 1)
    return {name: found[name] / n if n >= _LEAST_OF_CLASS else every for name, n in total.items()}


def _matched(spans: Spans, predicted: Spans) -> dict[int, int]:
    """Span -> predicted one: those that share most first, of these those of one class."""
    pairs = [
        (_shared(spans, i, predicted, j), spans.labels[i] == predicted.labels[j], i, j)
        for i in range(len(spans))
        for j in range(len(predicted))
    ]
    matched: dict[int, int] = {}
    for share, _, i, j in sorted(pairs, key=lambda each: (-each[0], not each[1], each[2:])):
        if share > 0 and i not in matched and j not in matched.values():
            matched[i] = j
    return matched


def _compared(spans: Spans, predicted: Spans, known: Mapping[str, float]) -> Iterator[Told]:
    """(region, type, given, suggested, score, evidence) of one label."""
    matched = _matched(spans, predicted)
    for i, j in matched.items():
        share, sure = _shared(spans, i, predicted, j), predicted.scores[j]
        given, suggested = spans.labels[i], predicted.labels[j]
        why = {"span": _told(spans, i), "predicted": _told(predicted, j), "confidence": round(sure, 4)}
        if given != suggested and share >= SAME_WORDS and sure >= SURE:
            yield spans.regions[i] or None, "wrong_class", given, suggested, sure * share, why
        elif given == suggested and share < 1 and sure >= SURE:
            # One word too many is an error as well as half of them: how far it is off only orders such findings.
            yield spans.regions[i] or None, "boundary", given, suggested, sure * (1 - share / 2), why
    for j in range(len(predicted)):
        most = max((_shared(spans, i, predicted, j) for i in range(len(spans))), default=0.0)
        sure = predicted.scores[j]
        if j not in matched.values() and sure >= SURE and most < SAME_WORDS:
            why = {"predicted": _told(predicted, j), "confidence": round(sure, 4)}
            yield None, "missing", None, predicted.labels[j], sure * (1 - most), why
    for i, name in enumerate(spans.labels):
        if i not in matched and not any(_shared(spans, i, predicted, j) for j in range(len(predicted))):
            why = {"span": _told(spans, i), "class_found": round(known[name], 4)}
            yield spans.regions[i] or None, "extra", name, None, known[name] / 2, why


def _defects(spans: Spans) -> Iterator[tuple[int, str, float, dict[str, Any]]]:
    seen: dict[tuple[int, int, str, str], str] = {}
    for i in range(len(spans)):
        start, end = spans.starts[i], spans.ends[i]
        key = (start, end, spans.labels[i], spans.places[i])
        if key in seen:
            yield i, "duplicate", 1.0, {"other": seen[key], "problem": "the same span again"}
        seen.setdefault(key, spans.regions[i])
        words = spans.text[max(start, 0) : max(end, 0)] if spans.text is not None else None
        if end <= start or start < 0 or (spans.text is not None and start >= len(spans.text)):
            yield i, "extra", 1.0, {"problem": "no text"}
        elif words is not None and not words.strip():
            yield i, "extra", 1.0, {"problem": "blanks only"}
        elif words is not None and words != words.strip():
            yield i, "boundary", 0.7, {"problem": "blanks at an end"}
        elif end - start == 1 and words is not None and not words.isalnum():
            yield i, "extra", 0.8, {"problem": "one character"}
        elif end - start == 1 and words is not None and words.isascii() and words.isalpha() and _inside(spans, i):
            yield i, "boundary", 0.8, {"problem": "one character"}


def _inside(spans: Spans, i: int) -> bool:
    """Whether a span begins or ends within a word."""
    text = spans.text or ""
    before = text[spans.starts[i] - 1 : spans.starts[i]] if spans.starts[i] else ""
    after = text[spans.ends[i] : spans.ends[i] + 1]
    return before.isalnum() or after.isalnum()


def _told(spans: Spans, at: int) -> list[int]:
    return [spans.starts[at], spans.ends[at]]
