"""Rules made ready to run: each kind's rule as a function from one task's fields to the labels and spans that it gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import regex

from backends.rules.fields import TaskFields, written
from backends.rules.phrases import Found, PhraseIndex, longest_first, substring_pattern
from backends.rules.reading import Rows
from backends.rules.rule_file import (
    Condition,
    DictionaryRule,
    KeywordRule,
    LookupRule,
    MetadataRule,
    PythonRule,
    RegexRule,
    Rule,
    ThresholdRule,
)
from labelloop.errors import DataError

#: Processor time that one pattern may take for one text. `re` has no such bound, and a pattern such as (a+)+$ needs
#: more time than there is for thirty letters.
PATTERN_SECONDS = 0.25


class Hit(NamedTuple):
    """A label that a rule gives, and where; without a place, to the task as a whole."""

    label: str
    start: int = -1
    end: int = -1


Function = Callable[..., Any]
Matcher = Callable[[TaskFields, "PhraseHits"], list[Hit]]


class PhraseHits:
    """What the phrase indexes find in one task; each text is walked once per index, for all rules together."""

    def __init__(self, indexes: Mapping[tuple[str, bool], PhraseIndex], fields: TaskFields) -> None:
        self._indexes = indexes
        self._fields = fields
        self._found: dict[tuple[str, bool], dict[int, list[Found]]] = {}

    def of(self, owner: int, field: str, ignore_case: bool) -> list[Found]:
        """Where the phrases of a rule are in a field."""
        key = (field, ignore_case)
        if key not in self._found:
            by_owner: dict[int, list[Found]] = {}
            for text in self._fields.texts(field):
                for found in self._indexes[key].find(text):
                    by_owner.setdefault(found.owner, []).append(found)
            self._found[key] = by_owner
        return self._found[key].get(owner, [])


class Matchers:
    """The rules of a file, compiled once; `matchers` are in the order of the rules."""

    def __init__(
        self,
        rules: Sequence[Rule],
        tables: Mapping[str, Rows],
        functions: Mapping[str, Function],
        data_key: str,
        spans: bool,
    ) -> None:
        self.indexes: dict[tuple[str, bool], PhraseIndex] = {}
        self.read_fields: set[str] = set()
        self._tables, self._functions = tables, functions
        self._data_key, self._spans = data_key, spans
        self.matchers: list[Matcher] = []
        for number, rule in enumerate(rules):
            try:
                self.matchers.append(self._matcher(number, rule))
            except ValueError as error:
                raise DataError(f"rule {rule.name!r}: {error}") from error

    def _matcher(self, number: int, rule: Rule) -> Matcher:
        fields = rule.fields or (self._data_key,)
        self.read_fields |= set(rule.where) if isinstance(rule, MetadataRule) else set(fields)
        match rule:
            case KeywordRule(whole_words=False):
                found = substring_pattern(rule.keywords, rule.ignore_case)
                return self._pattern_matcher(rule.label, found, 0, fields)
            case KeywordRule():
                pairs = [(keyword, rule.label) for keyword in rule.keywords]
                return self._phrase_matcher(number, pairs, fields, rule.ignore_case)
            case DictionaryRule():
                terms = [(cells[0], label) for cells, label in self._tables.get(rule.name, ())]
                terms += [(term, label) for label, listed in rule.terms.items() for term in listed]
                return self._phrase_matcher(number, terms, fields, rule.ignore_case)
            case RegexRule():
                return self._pattern_matcher(rule.label, _compiled(rule), rule.group, fields)
            case LookupRule():
                return _lookup_matcher(rule, self._tables.get(rule.name, ()), fields)
            case ThresholdRule():
                return _threshold_matcher(rule)
            case MetadataRule():
                return _metadata_matcher(rule)
            case PythonRule():
                return _function_matcher(self._functions[rule.function])
        raise ValueError(f"kind {rule.kind!r} cannot run")

    def _phrase_matcher(
        self, number: int, terms: Sequence[tuple[str, str]], fields: Sequence[str], ignore_case: bool
    ) -> Matcher:
        labels: dict[str, str] = {}
        for term, label in terms:
            other = labels.setdefault(term.casefold() if ignore_case else term, label)
            if other != label:
                raise ValueError(f"the term {term!r} has two labels, {other!r} and {label!r}")
        for field in fields:
            index = self.indexes.setdefault((field, ignore_case), PhraseIndex(ignore_case))
            for term, label in terms:
                index.add(term, number, label)

        def match(_: TaskFields, hits: PhraseHits) -> list[Hit]:
            return [
                Hit(found.label, found.start, found.end)
                for field in fields
                if (all_found := hits.of(number, field, ignore_case))
                for found in longest_first(all_found)
            ]

        return match

    def _pattern_matcher(self, label: str, pattern: Any, group: int | str, fields: Sequence[str]) -> Matcher:
        def found(text: str) -> list[Hit]:
            if not self._spans:
                return [Hit(label)] if pattern.search(text, timeout=PATTERN_SECONDS) else []
            places = [trimmed(text, *m.span(group)) for m in pattern.finditer(text, timeout=PATTERN_SECONDS)]
            return [Hit(label, start, end) for start, end in places if start < end]

        def match(facts: TaskFields, _: PhraseHits) -> list[Hit]:
            return [hit for field in fields for text in facts.texts(field) for hit in found(text)]

        return match


def one_label(hits: Sequence[Hit]) -> str | None:
    """The label that a rule gives most often; None when two are given equally often, or nothing is."""
    counts = Counter(hit.label for hit in hits).most_common(2)
    tied = len(counts) == 2 and counts[0][1] == counts[1][1]
    return counts[0][0] if counts and not tied else None


def _compiled(rule: RegexRule) -> Any:
    try:
        pattern = regex.compile(rule.pattern, regex.IGNORECASE if rule.ignore_case else 0)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{rule.pattern!r} is no pattern: {error}") from error
    known = rule.group in pattern.groupindex if isinstance(rule.group, str) else rule.group <= pattern.groups
    if not known:
        raise ValueError(
            f"the pattern has no group {rule.group!r}; it has {pattern.groups} and {list(pattern.groupindex)}"
        )
    try:
        blank = pattern.search("", timeout=PATTERN_SECONDS)
    except TimeoutError as error:
        raise ValueError(f"{rule.pattern!r} takes too long for an empty text") from error
    if blank is not None:
        raise ValueError(f"{rule.pattern!r} matches an empty text, so it would match everywhere")
    return pattern


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the white space at its ends; start == end when nothing else is in it, or it does not exist."""
    if not 0 <= start < end <= len(text):
        return 0, 0
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    return start, start + len(inner.strip())


def _lookup_matcher(rule: LookupRule, rows: Rows, fields: Sequence[str]) -> Matcher:
    def key_of(cells: Sequence[str]) -> tuple[str, ...]:
        return tuple(cell.casefold() if rule.ignore_case else cell for cell in cells)

    entries = [*rows, *(((written(value) or "",), label) for value, label in rule.table.items())]
    table: dict[tuple[str, ...], str] = {}
    for cells, label in entries:
        other = table.setdefault(key_of(cells), label)
        if other != label:
            raise ValueError(f"{' and '.join(map(repr, cells))} has two labels, {other!r} and {label!r}")

    def match(facts: TaskFields, _: PhraseHits) -> list[Hit]:
        cells = [written(facts.value(field)) for field in fields]
        label = table.get(key_of([cell for cell in cells if cell is not None]))
        return [Hit(label)] if label is not None else []

    return match


def _threshold_matcher(rule: ThresholdRule) -> Matcher:
    def match(facts: TaskFields, _: PhraseHits) -> list[Hit]:
        numbers = (facts.number(field) for field in rule.fields)
        return [Hit(rule.label)] if any(number is not None and rule.holds(number) for number in numbers) else []

    return match


def _metadata_matcher(rule: MetadataRule) -> Matcher:
    conditions: dict[str, Condition | frozenset[str | None]] = {}
    for field, wanted in rule.where.items():
        values = wanted if isinstance(wanted, tuple) else (wanted,)
        conditions[field] = wanted if isinstance(wanted, Condition) else frozenset(written(v) for v in values)

    def holds(condition: Condition | frozenset[str | None], value: Any) -> bool:
        if isinstance(condition, Condition):
            return condition.fits(value)
        values = value if isinstance(value, list) else [value]
        return any(written(each) in condition for each in values if each is not None)

    def match(facts: TaskFields, _: PhraseHits) -> list[Hit]:
        fits = all(holds(condition, facts.value(field)) for field, condition in conditions.items())
        return [Hit(rule.label)] if fits else []

    return match


def _function_matcher(function: Function) -> Matcher:
    def match(facts: TaskFields, _: PhraseHits) -> list[Hit]:
        import copy
        from dataclasses import replace

        # A copy, so that a function which changes its task changes it for itself only.
        own = replace(facts.task, data=copy.deepcopy(dict(facts.task.data)), meta=copy.deepcopy(dict(facts.task.meta)))
        return _hits_of(function(own))

    return match


def _hits_of(said: Any) -> list[Hit]:
    """What a labelling function returned, as hits; ValueError says what it may return."""
    if said is None:
        return []
    if isinstance(said, str):
        return [Hit(said)]
    if isinstance(said, list | tuple | set | frozenset):
        if all(isinstance(each, str) for each in said):
            return [Hit(each) for each in said]
        if all(isinstance(each, tuple | list) and len(each) == 3 for each in said):
            return [Hit(str(label), int(start), int(end)) for start, end, label in said]
    raise ValueError(
        f"a function returns a label, None, labels, or (start, end, label) spans; this one gave {said!r:.80}"
    )
