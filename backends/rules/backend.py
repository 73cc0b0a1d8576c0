"""Loaded rules that predict choices and spans, each with the rules that fired."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backends.rules.artefact import RuleSet, read_rule_sets
from backends.rules.converters.choices import choices_to_region
from backends.rules.converters.labels import Span, span_to_region
from backends.rules.items import NO_ENTITY, Items, items_of
from backends.rules.label_model import Floats
from backends.rules.voting import Vote, Votes
from labelloop.values import Outcome, Region, TaskItem

log = logging.getLogger(__name__)

SCORE_FLOOR = 0.01
#: From this probability on, a label that does not exclude others is among the chosen.
_CHOSEN = 0.5
_MAX_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class _Said:
    """What one rule set says of one task."""

    regions: tuple[Region, ...]
    uncertainty: float
    probs: dict[str, float]


class RulesBackend:
    """One version; `predict` is safe for one thread at a time, as labelling functions may not be for more."""

    batch_size = 64

    def __init__(self, version_dir: Path) -> None:
        self._sets = read_rule_sets(version_dir)
        self.media_use = "optional" if any(each.voters.reads_files for each in self._sets) else "unused"

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for each in self._sets for name in each.control.classes))

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset({"regions"})) -> list[Outcome]:
        """One outcome per task, in order; `want` may also hold "probs".

        `probs` are by class, or by "control/class" where a version answers for several controls. A task on which no
        rule fires has no region and the uncertainty 1: the rules know nothing of it.
        """
        each = [predict_with(rules, tasks, want) for rules in self._sets]
        return [_joined([outcomes[at] for outcomes in each], self._sets) for at in range(len(tasks))]


def predict_with(rules: RuleSet, tasks: Sequence[TaskItem], want: frozenset[str] = frozenset()) -> list[Outcome]:
    """One rule set's outcome for each task, in order."""
    problems = [_problem(rules, task) for task in tasks]
    good = [task for task, bad in zip(tasks, problems, strict=True) if bad is None]
    votes = rules.voters.ask(good)
    _log_failures(rules, votes)
    items = items_of(votes.cast, rules.file, rules.model.voters, rules.voters.spans)
    outcomes = iter(_outcomes(rules, good, votes, items, want))
    return [bad if bad is not None else next(outcomes) for bad in problems]


def _problem(rules: RuleSet, task: TaskItem) -> Outcome | None:
    text = task.data.get(rules.control.data_key)
    if rules.voters.spans and (not isinstance(text, str) or not text.strip()):
        found = "an empty text" if isinstance(text, str) else type(text).__name__
        return Outcome("text_missing", detail=f"expected a text under {rules.control.data_key!r}, got {found}")
    if isinstance(text, str) and len(text) > _MAX_CHARACTERS:
        return Outcome("too_large", detail=f"{len(text)} characters; at most {_MAX_CHARACTERS} are read")
    return None


def _outcomes(
    rules: RuleSet, tasks: Sequence[TaskItem], votes: Votes, items: Items, want: frozenset[str]
) -> list[Outcome]:
    chances = rules.model.probabilities(items.fired) if len(items.tasks) else np.zeros((0, len(rules.model.classes)))
    rows: list[list[int]] = [[] for _ in tasks]
    for row, owner in enumerate(items.tasks):
        rows[owner].append(row)
    found = []
    for at, task in enumerate(tasks):
        cast, failed = votes.cast[at], votes.failed[at]
        if not cast and not failed and not rules.voters.has_something_to_read(task):
            found.append(Outcome("text_missing", detail="the task has none of the fields that the rules read"))
            continue
        own = chances[rows[at]]
        if rules.voters.spans:
            said = _spans_said(
                rules, str(task.data[rules.control.data_key]), [items.places[r] or (0, 0) for r in rows[at]], own
            )
        else:
            said = _choices_said(rules, cast, own[0])
        scores = [float(region["score"]) for region in said.regions]
        found.append(
            Outcome(
                regions=said.regions,
                confidence=min(scores) if scores else None,
                uncertainty=said.uncertainty if cast else 1.0,
                probs=said.probs if "probs" in want else None,
                detail=_failures_told(rules, failed),
                fired_rules=tuple(rules.file.rules[n].title for n in sorted({vote.rule for vote in cast})),
            )
        )
    return found


def _choices_said(rules: RuleSet, cast: Sequence[Vote], row: Floats) -> _Said:
    """The likeliest class, or all that are likely; a class that no rule named is never predicted."""
    classes, control = rules.model.classes, rules.control
    named = {vote.label for vote in cast}
    probs = {name: float(chance) for name, chance in zip(classes, row, strict=True)}
    if rules.voters.several:
        chosen = [name for name in classes if name in named and probs[name] >= _CHOSEN]
        margin = min((abs(2 * probs[name] - 1) for name in named), default=0.0)
    else:
        ordered = sorted(probs.values(), reverse=True)
        chosen = [name for name in classes if name in named and probs[name] == ordered[0] >= SCORE_FLOOR][:1]
        margin = ordered[0] - (ordered[1] if len(ordered) > 1 else 0.0)
    regions = (choices_to_region(chosen, min(probs[name] for name in chosen), control),) if chosen else ()
    return _Said(regions, min(max(1.0 - margin, 0.0), 1.0), probs)


def _spans_said(rules: RuleSet, text: str, places: Sequence[tuple[int, int]], rows: Floats) -> _Said:
    """Spans without overlap that are likelier than no entity, the likeliest first; of equally likely ones the longer.

    `probs` are, by class, the largest probability that any span has for it. A text is as uncertain as its least sure
    span.
    """
    classes = rules.control.classes
    none = rules.model.classes.index(NO_ENTITY)
    named = np.delete(rows, none, axis=1)
    ranked = sorted(
        (
            (float(row.max()), places[at], classes[int(row.argmax())])
            for at, row in enumerate(named)
            if row.max() >= max(rows[at, none], SCORE_FLOOR)
        ),
        key=lambda one: (-one[0], one[1][0] - one[1][1], one[1]),
    )
    kept: list[tuple[Span, float]] = []
    for score, (start, end), label in ranked:
        if all(end <= other.start or start >= other.end for other, _ in kept):
            kept.append((Span(start, end, label), score))
    kept.sort()
    ordered = np.sort(rows, axis=1)
    margin = float((ordered[:, -1] - ordered[:, -2]).min()) if len(rows) else 0.0
    probs = {name: float(named[:, at].max(initial=0.0)) for at, name in enumerate(classes)}
    regions = tuple(span_to_region(text, span, score, rules.control) for span, score in kept)
    return _Said(regions, min(max(1.0 - margin, 0.0), 1.0), probs)


def _failures_told(rules: RuleSet, failed: dict[int, str]) -> str:
    told = [f"{rules.file.rules[number].title} failed: {reason}" for number, reason in sorted(failed.items())]
    return "; ".join(told)[:1000]


def _log_failures(rules: RuleSet, votes: Votes) -> None:
    for number, count in sorted(votes.errors.items()):
        reason = next(failed[number] for failed in votes.failed if number in failed)
        rule = rules.file.rules[number].title
        log.warning("a rule failed, it abstained", extra={"rule": rule, "tasks": count, "reason": reason})


def _joined(outcomes: Sequence[Outcome], sets: Sequence[RuleSet]) -> Outcome:
    """One task's outcomes for several controls as one: what can be said is said."""
    if len(outcomes) == 1:
        return outcomes[0]
    good = [(rules.control.name, each) for rules, each in zip(sets, outcomes, strict=True) if each.status == "ok"]
    if not good:
        return outcomes[0]
    confident = [each.confidence for _, each in good if each.confidence is not None]
    probs = {f"{name}/{label}": p for name, each in good for label, p in (each.probs or {}).items()}
    return replace(
        good[0][1],
        regions=tuple(region for _, each in good for region in each.regions),
        confidence=min(confident, default=None),
        uncertainty=max(each.uncertainty or 0.0 for _, each in good),
        probs=probs or None,
        detail="; ".join(each.detail for each in outcomes if each.detail),
        fired_rules=tuple(title for _, each in good for title in each.fired_rules),
    )
