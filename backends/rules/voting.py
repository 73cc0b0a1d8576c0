"""Asks every rule about every task: who votes for what, and which rules failed on which task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from backends.rules.fields import FILE, TaskFields
from backends.rules.matchers import Function, Hit, Matchers, PhraseHits, one_label, trimmed
from backends.rules.reading import Rows
from backends.rules.rule_file import PythonRule, RuleFile
from labelloop.errors import MediaError
from labelloop.label_config import Control
from labelloop.values import TaskItem

#: How many texts a pattern may give up on before it is no longer asked in this run.
PATIENCE = 20
_TOLD_EVERY = 200


class Vote(NamedTuple):
    """A rule, by its number in the file, gives a label to a task, or to text[start:end] of it."""

    rule: int
    label: str
    start: int = -1
    end: int = -1


@dataclass
class Votes:
    """The votes on each task in order, how often each rule failed, and how (by its number in the file)."""

    cast: list[list[Vote]] = field(default_factory=list)
    failed: list[dict[int, str]] = field(default_factory=list)

    @property
    def errors(self) -> Counter[int]:
        """How many tasks each rule failed on."""
        return Counter(rule for failed in self.failed for rule in failed)


class Voters:
    """The rules of one control, ready to vote."""

    def __init__(
        self, file: RuleFile, tables: dict[str, Rows], functions: dict[str, Function], control: Control
    ) -> None:
        self.file, self.control = file, control
        self.spans = file.target == "spans"
        self.several = control.attributes.get("choice", "single").startswith("multiple")
        self._compiled = Matchers(file.rules, tables, functions, control.data_key, self.spans)

    def ask(self, tasks: Sequence[TaskItem], told: Callable[[float], None] | None = None) -> Votes:
        """Every rule's votes on every task. A rule that fails on a task abstains there, and it is told how it failed.

        A pattern that runs out of time on PATIENCE tasks abstains on the rest: it would hold up all the others. `told`
        is called now and then with the share of the tasks that is done; what it raises ends the asking.
        """
        votes, late = Votes(), Counter[int]()
        for done, task in enumerate(tasks):
            if told is not None and done % _TOLD_EVERY == 0:
                told(done / len(tasks))
            cast: list[Vote] = []
            failed: dict[int, str] = {}
            facts = TaskFields(task, self.control.data_key)
            phrases = PhraseHits(self._compiled.indexes, facts)
            for number, matcher in enumerate(self._compiled.matchers):
                if late[number] >= PATIENCE:
                    failed[number] = f"not asked: it ran out of time on {PATIENCE} tasks"
                    continue
                try:
                    hits = matcher(facts, phrases)
                    if hits:
                        cast.extend(self._votes(number, hits, task))
                except TimeoutError:
                    late[number] += 1
                    failed[number] = "the pattern ran out of time"
                # A labelling function may raise anything, and even call sys.exit.
                except (Exception, SystemExit) as error:
                    failed[number] = f"{type(error).__name__}: {error}"
            votes.cast.append(cast)
            votes.failed.append(failed)
        return votes

    @property
    def reads_files(self) -> bool:
        """Whether a rule looks at a task's image file; functions may."""
        fields = any(field.startswith(FILE) for field in self._compiled.read_fields)
        return fields or any(isinstance(rule, PythonRule) for rule in self.file.rules)

    def has_something_to_read(self, task: TaskItem) -> bool:
        """Whether a task has a value in any field that a rule reads; functions may read everything."""
        facts = TaskFields(task, self.control.data_key)
        try:
            return any(facts.value(field) not in (None, "") for field in sorted(self._compiled.read_fields))
        except MediaError:
            return False

    def _votes(self, number: int, hits: Sequence[Hit], task: TaskItem) -> list[Vote]:
        """A rule's hits as votes. ValueError when they are none of the control's classes, or lie outside the text."""
        unknown = next((hit.label for hit in hits if hit.label not in self.control.classes), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} is no class of control {self.control.name!r}")
        if self.spans:
            return [self._span_vote(number, hit, task) for hit in dict.fromkeys(hits)]
        if self.several:
            return [Vote(number, label) for label in dict.fromkeys(hit.label for hit in hits)]
        label = one_label(hits)
        return [] if label is None else [Vote(number, label)]

    def _span_vote(self, number: int, hit: Hit, task: TaskItem) -> Vote:
        text = task.data.get(self.control.data_key)
        start, end = trimmed(text, hit.start, hit.end) if isinstance(text, str) else (0, 0)
        if start >= end:
            raise ValueError(f"the span {hit.start}:{hit.end} does not lie in the text, or is blank")
        return Vote(number, hit.label, start, end)
