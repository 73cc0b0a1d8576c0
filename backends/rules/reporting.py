"""What each rule does on a set of tasks, and which rules say the same thing more often than their labels explain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from backends.rules.artefact import RuleSet, declared_model_of
from backends.rules.gold import truth_for
from backends.rules.items import Truth, items_of, truth_of
from backends.rules.label_model import Floats, estimated_truth
from backends.rules.voting import Vote, Votes
from labelloop.values import Region, TaskItem

#: How unlikely the joint firings of a pair must be under independence, over all pairs together.
_SIGNIFICANCE = 0.01
_LEAST_CORRELATION = 0.1
_LEAST_TOGETHER = 5
#: Voters whose firings correlate so strongly do not help each other to find out what is true.
_NEAR_COPY = 0.4


@dataclass(frozen=True)
class RuleStats:
    """One rule on these tasks. `coverage`, `overlap` and `conflict` are shares of all tasks.

    A rule covers a task on which it fires; there it overlaps where another fires too (for spans: on a span that touches
    one of its own), and conflicts where that other says something else. `accuracy` is right / judged on gold, with the
    95 % Wilson interval `low` to `high`, all None without a judged vote. `expected_accuracy` is what the version takes it
    for. `errors` counts the tasks on which the rule failed, `error` is the first reason.
    """

    rule: str
    kind: str
    labels: tuple[str, ...]
    fired: int
    coverage: float
    overlap: float
    conflict: float
    judged: int
    right: int
    accuracy: float | None
    low: float | None
    high: float | None
    expected_accuracy: float | None
    errors: int
    error: str | None


@dataclass(frozen=True)
class CorrelatedPair:
    """Two rules that give `label` together more often than is explained by its being true.

    `expected` is how often they would if they were independent given the class; `correlation` is what is left of the
    correlation of their firings. The label model counts their agreement twice: give one of them a lower weight.
    """

    first: str
    second: str
    label: str
    together: int
    expected: float
    correlation: float


@dataclass(frozen=True)
class ControlReport:
    """The rules of one control. `given_gold` says whether correlations were taken given true labels or estimated ones."""

    control: str
    version: str
    tasks: int
    gold: int
    covered: float
    conflict: float
    given_gold: bool
    rules: tuple[RuleStats, ...]
    correlated: tuple[CorrelatedPair, ...]


@dataclass(frozen=True)
class RuleReport:
    """The rules of a version, control by control."""

    controls: tuple[ControlReport, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-able values."""
        return asdict(self)


def report_on(
    sets: Sequence[RuleSet], tasks: Sequence[TaskItem], gold: Mapping[int, Sequence[Region]] | None
) -> RuleReport:
    """The report of these rules; `gold` holds Label Studio results by task id."""
    return RuleReport(tuple(_control_report(rules, tasks, gold or {}) for rules in sets))


def _control_report(rules: RuleSet, tasks: Sequence[TaskItem], gold: Mapping[int, Sequence[Region]]) -> ControlReport:
    votes = rules.voters.ask(tasks)
    truths = [
        truth_for(rules, task.data, gold.get(task.task_id) if task.task_id is not None else None) for task in tasks
    ]
    judged = sum(truth is not None for truth in truths)
    tallies = _tallies(rules, votes, truths)
    conflicts = 0 if rules.voters.several else sum(_disagree(cast) for cast in votes.cast)
    return ControlReport(
        control=rules.control.name,
        version=str(rules.file.version),
        tasks=len(tasks),
        gold=judged,
        covered=_share(sum(map(bool, votes.cast)), len(tasks)),
        conflict=_share(conflicts, len(tasks)),
        given_gold=judged > 0,
        rules=tuple(_stats(rules, number, tally, votes) for number, tally in enumerate(tallies)),
        correlated=tuple(_correlated(rules, votes, truths)),
    )


def _share(count: int, of: int) -> float:
    return count / of if of else 0.0


def _touch(one: Vote, other: Vote) -> bool:
    """Whether two votes of different rules are about the same task, or about spans that share a character."""
    return one.rule != other.rule and (one.start < 0 or (one.start < other.end and other.start < one.end))


def _disagree(cast: Sequence[Vote]) -> bool:
    """Whether any two votes of one task contradict each other."""
    return any(_touch(one, other) and one[1:] != other[1:] for one, other in combinations(cast, 2))


def _tallies(rules: RuleSet, votes: Votes, truths: Sequence[Truth | None]) -> list[Counter[str]]:
    """By rule, counts of what RuleStats tells: tasks it fired on, overlaps, conflicts, votes judged and right."""
    tallies: list[Counter[str]] = [Counter() for _ in rules.file.rules]
    for cast, truth in zip(votes.cast, truths, strict=True):
        met: dict[int, set[str]] = {}
        for vote in cast:
            said = met.setdefault(vote.rule, {"fired"})
            touching = [other for other in cast if _touch(vote, other)]
            if touching:
                said.add("overlap")
            if not rules.voters.several and any(vote[1:] != other[1:] for other in touching):
                said.add("conflict")
            if truth is not None:
                tallies[vote.rule]["judged"] += 1
                tallies[vote.rule]["right"] += _key(vote) in truth
        for number, said in met.items():
            tallies[number].update(said)
    return tallies


def _key(vote: Vote) -> Any:
    """A vote as truths name what is true."""
    return vote.label if vote.start < 0 else (vote.start, vote.end, vote.label)


def _stats(rules: RuleSet, number: int, tally: Counter[str], votes: Votes) -> RuleStats:
    from scipy.stats import binomtest

    rule, judged, right = rules.file.rules[number], tally["judged"], tally["right"]
    interval = binomtest(right, judged).proportion_ci(method="wilson") if judged else None
    voters = [voter for voter in rules.model.voters if voter.rule == rule.name]
    weights = [voter.votes or 1 for voter in voters]
    reasons = [failed[number] for failed in votes.failed if number in failed]
    return RuleStats(
        rule=rule.title,
        kind=rule.kind,
        labels=tuple(voter.label for voter in voters),
        fired=tally["fired"],
        coverage=_share(tally["fired"], len(votes.cast)),
        overlap=_share(tally["overlap"], len(votes.cast)),
        conflict=_share(tally["conflict"], len(votes.cast)),
        judged=judged,
        right=right,
        accuracy=right / judged if judged else None,
        low=float(interval.low) if interval else None,
        high=float(interval.high) if interval else None,
        expected_accuracy=float(np.average([v.accuracy for v in voters], weights=weights)) if voters else None,
        errors=len(reasons),
        error=reasons[0] if reasons else None,
    )


def _correlated(rules: RuleSet, votes: Votes, truths: Sequence[Truth | None]) -> list[CorrelatedPair]:
    """Pairs of one label, most correlated first; on gold tasks where there are any, else on all with estimated labels."""
    known = [at for at, truth in enumerate(truths) if truth is not None]
    cast = [votes.cast[at] for at in known] if known else votes.cast
    items = items_of(cast, rules.file, rules.model.voters, rules.voters.spans)
    if not items.fired.any():
        return []
    if known:
        truth = truth_of(items, [truths[at] or frozenset() for at in known], rules.model.classes)
    else:
        truth = _truth_without_copies(rules, items.fired)
    return _pairs(rules, items.fired, truth)


def _truth_without_copies(rules: RuleSet, fired: Floats) -> Floats:
    """The estimated classes, by one voter of each group of near copies: several would vote themselves into the truth."""
    declared = declared_model_of(rules.file, rules.tables, rules.voters)
    alike = _correlation(fired.T @ fired / len(fired), fired.mean(axis=0)) >= _NEAR_COPY
    kept: list[int] = []
    for column in np.argsort(-fired.sum(axis=0), kind="stable").tolist():
        if not any(alike[column, other] for other in kept):
            kept.append(column)
    kept.sort()
    model = replace(declared, voters=tuple(declared.voters[column] for column in kept))
    return estimated_truth(model, fired[:, kept], rules.file.priors is not None)


def _pairs(rules: RuleSet, fired: Floats, truth: Floats) -> list[CorrelatedPair]:
    """The joint firings of two voters of a label against what follows from their rates inside each class."""
    from scipy.stats import poisson

    model, columns = rules.model, rules.model.columns
    titles = {rule.name: rule.title for rule in rules.file.rules}
    together, expected = fired.T @ fired, _expected_together(rules, fired, truth)
    beyond = _correlation(together / len(fired), fired.mean(axis=0), expected / len(fired))
    pairs = [
        (one, other)
        for one, other in np.argwhere(np.triu(together >= _LEAST_TOGETHER, 1)).tolist()
        if columns[one] == columns[other]
    ]
    found = []
    for one, other in pairs:
        seen, awaited = int(together[one, other]), float(expected[one, other])
        chance = float(poisson.sf(seen - 1, awaited))
        if beyond[one, other] >= _LEAST_CORRELATION and chance * len(pairs) < _SIGNIFICANCE:
            names = [titles[model.voters[column].rule] for column in (one, other)]
            label, correlation = model.voters[one].label, round(float(beyond[one, other]), 4)
            found.append(CorrelatedPair(names[0], names[1], label, seen, round(awaited, 2), correlation))
    return sorted(found, key=lambda pair: (-pair.correlation, pair.first, pair.second))


def _correlation(joint: Floats, rates: Floats, expected: Floats | None = None) -> Floats:
    """(voters, voters) correlation of firings whose joint rates are `joint`, beyond those expected (by chance alone)."""
    spread = np.sqrt(rates * (1 - rates))
    awaited = np.outer(rates, rates) if expected is None else expected
    found: Floats = (joint - awaited) / np.maximum(np.outer(spread, spread), 1e-9)
    return found


def _expected_together(rules: RuleSet, fired: Floats, truth: Floats) -> Floats:
    """(voters, voters) joint firings if voters were independent given the class; `truth` may be probabilities."""
    sizes = np.maximum(truth.sum(axis=0), 1e-9)
    inside = fired.T @ truth / sizes
    if rules.model.exclusive:
        joint: Floats = (inside * sizes) @ inside.T
        return joint
    # Each class is there or not by itself. Only pairs of one class are compared, so the size of the first one's is both's.
    columns = rules.model.columns
    own = sizes[columns]
    yes = inside[np.arange(len(columns)), columns]
    no = (fired.sum(axis=0) - yes * own) / np.maximum(len(fired) - own, 1e-9)
    several: Floats = own[:, None] * np.outer(yes, yes) + (len(fired) - own)[:, None] * np.outer(no, no)
    return several
