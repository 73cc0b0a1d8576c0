"""Runs the test cases that a rule file carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from backends.rules.artefact import RuleSet
from backends.rules.backend import predict_with
from backends.rules.rule_file import Case, ExpectedSpan
from labelloop.values import TaskItem


class _Said(NamedTuple):
    """One label, and the text that it was given to where it is a span's."""

    start: int
    end: int
    label: str
    text: str | None


def failing_cases(rules: RuleSet) -> list[str]:
    """One line for each test case of the rule file that does not come out as it expects."""
    lines = []
    for number, case in enumerate(rules.file.tests, start=1):
        task = TaskItem(None, case.data, {}, case.meta)
        said, why = _rule_said(rules, case.rule, task) if case.rule is not None else _all_said(rules, task)
        if _differ(case, said):
            who = "the rules" if case.rule is None else f"rule {case.rule!r}"
            told = ", ".join(one.label if one.text is None else f"{one.label} {one.text!r}" for one in said)
            lines.append(f"  test {number}: expected {_expectation(case)}, {who} said {told or 'nothing'}{why}")
    return lines


def _rule_said(rules: RuleSet, name: str, task: TaskItem) -> tuple[list[_Said], str]:
    """What one rule says, and how it failed where it did."""
    number = next(at for at, rule in enumerate(rules.file.rules) if rule.name == name)
    votes = rules.voters.ask([task])
    text = task.data.get(rules.control.data_key)
    said = [
        _Said(vote.start, vote.end, vote.label, str(text)[vote.start : vote.end] if rules.voters.spans else None)
        for vote in votes.cast[0]
        if vote.rule == number
    ]
    failed = votes.failed[0].get(number)
    return sorted(said), f" ({failed})" if failed else ""


def _all_said(rules: RuleSet, task: TaskItem) -> tuple[list[_Said], str]:
    """What the rules together predict, and which of them fired."""
    (outcome,) = predict_with(rules, [task])
    said = []
    for region in outcome.regions:
        value = region["value"]
        said += [
            _Said(value.get("start", -1), value.get("end", -1), label, value.get("text"))
            for label in value[region["type"]]
        ]
    fired = f"fired: {', '.join(outcome.fired_rules)}" if outcome.fired_rules else ""
    why = "; ".join(part for part in (outcome.detail, fired) if part)
    return sorted(said), f" ({why})" if why else ""


def _differ(case: Case, said: Sequence[_Said]) -> bool:
    wanted = (case.expect,) if isinstance(case.expect, str) else case.expect or ()
    spans = [each for each in wanted if isinstance(each, ExpectedSpan)]
    if not spans:
        return {one.label for one in said} != set(wanted)
    return len(spans) != len(said) or any(
        given is not None and given != found
        for span, one in zip(spans, said, strict=True)
        for given, found in (
            (span.label, one.label),
            (span.text, one.text),
            (span.start, one.start),
            (span.end, one.end),
        )
    )


def _expectation(case: Case) -> str:
    if not case.expect:
        return "nothing"
    if isinstance(case.expect, str):
        return case.expect
    return ", ".join(
        each if isinstance(each, str) else f"{each.label} {each.text!r}" if each.text else f"{each.label} {each.start}"
        for each in case.expect
    )
