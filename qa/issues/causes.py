"""Why a label is likely wrong, and where findings gather."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qa.issues.finding import Finding, Label

#: A pair of classes that so many findings of so many people confuse is not well told apart by the guideline.
_PAIR_FINDINGS, _PAIR_PEOPLE = 3, 2
#: A hotspot has at least so many findings, and as many would be chance in one case of a hundred at most.
_LEAST, _BY_CHANCE = 3, 0.01


def with_causes(findings: Sequence[Finding], disputed: Mapping[str, frozenset[int]]) -> list[Finding]:
    """The findings with the likeliest cause of each; those that have one keep it.

    `disputed` are, by control, the tasks on which people disagree beyond one person against all others.
    """
    people: dict[tuple[str, frozenset[str]], set[int | None]] = defaultdict(set)
    counts: Counter[tuple[str, frozenset[str]]] = Counter()
    for each in findings:
        pair = _pair(each)
        if pair is not None:
            people[pair].add(each.annotator)
            counts[pair] += 1
    unclear = {pair for pair, n in counts.items() if n >= _PAIR_FINDINGS and len(people[pair]) >= _PAIR_PEOPLE}
    told = []
    for each in findings:
        if each.cause is not None:
            told.append(each)
        elif _pair(each) in unclear:
            told.append(replace(each, cause="guideline"))
        elif each.task in disputed.get(each.control, frozenset()):
            told.append(replace(each, cause="ambiguous"))
        else:
            told.append(replace(each, cause="slip"))
    return told


def disputed_tasks(values: Mapping[int, Sequence[Hashable]]) -> frozenset[int]:
    """Tasks on which several people differ, and not just one of three or more from all others.

    `values` are what people said of a task, one entry each.
    """
    found = set()
    for task, said in values.items():
        counts = Counter(said)
        alone = len(said) >= 3 and len(counts) == 2 and min(counts.values()) == 1
        if len(counts) > 1 and not alone:
            found.add(task)
    return frozenset(found)


@dataclass(frozen=True)
class Hotspot:
    """A pair of classes, person, week or source with more findings than chance gives it."""

    by: str
    key: str
    n: int
    expected: float
    tasks: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "by": self.by, "key": self.key, "n": self.n, "expected": round(self.expected, 3),
            "ratio": round(self.n / self.expected, 3), "tasks": list(self.tasks),
        }  # fmt: skip


def hotspots(
    findings: Sequence[Finding], labels: Sequence[Label], shares: Mapping[str, Mapping[str, float]]
) -> list[Hotspot]:
    """Where findings gather, those furthest beyond chance first, each with the tasks behind it.

    Expected are as many as there would be if each label was as likely to be wrong as any other; of a pair of classes, if
    each class was taken for any other as often as that one is given. `shares` are the shares of the classes by control.
    """
    of = {label.annotation: label for label in labels}
    about = [each for each in findings if each.annotation in of]
    found: list[tuple[float, Hotspot]] = []
    for by, key in (
        ("annotator", lambda label: str(label.annotator)), ("week", lambda label: label.week),
        ("source", lambda label: label.source),
    ):  # fmt: skip
        totals = Counter(key(label) for label in labels if key(label) is not None)
        rows: dict[str, list[Finding]] = defaultdict(list)
        for each in about:
            place = key(of[each.annotation])  # type: ignore[index]
            if place is not None:
                rows[place].append(each)
        every = sum(len(part) for part in rows.values())
        for place, part in rows.items():
            found += _beyond_chance(by, place, part, every * totals[place] / sum(totals.values()))
    pairs: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    wrong: Counter[str] = Counter()
    for each in findings:
        if each.given is not None and each.suggested is not None and each.given != each.suggested:
            pairs[(each.control, each.given, each.suggested)].append(each)
            wrong[each.control] += 1
    for (control, given, suggested), part in pairs.items():
        known = shares.get(control, {})
        chance = 1.0 - sum(share**2 for share in known.values())
        expected = wrong[control] * known.get(given, 0.0) * known.get(suggested, 0.0) / chance if chance > 0 else 0.0
        found += _beyond_chance("class_pair", f"{given} -> {suggested}", part, expected)
    found.sort(key=lambda each: (each[0], -each[1].n, each[1].by, each[1].key))
    return [each for _, each in found]


def _beyond_chance(by: str, key: str, findings: Sequence[Finding], expected: float) -> list[tuple[float, Hotspot]]:
    """The hotspot with how likely chance alone would give as many (Poisson); none where that is not rare."""
    from scipy.stats import poisson

    n = len(findings)
    if n < _LEAST or expected <= 0:
        return []
    chance = float(poisson.sf(n - 1, expected))
    if chance > _BY_CHANCE:
        return []
    return [(chance, Hotspot(by, key, n, expected, tuple(sorted({each.task for each in findings}))))]


def _pair(finding: Finding) -> tuple[str, frozenset[str]] | None:
    given, suggested = finding.given, finding.suggested
    if given is None or suggested is None or given == suggested:
        return None
    return finding.control, frozenset((given, suggested))
