"""Rules written by people: keywords, patterns, tables, limits and Python functions vote; a label model weighs the votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backends.protocols import Backend, Trainer
from labelloop.label_config import LabelConfig
from labelloop.values import Artefact, Region, TaskItem

if TYPE_CHECKING:
    from backends.rules.artefact import RuleSet
    from backends.rules.reporting import RuleReport


def load(version_dir: Path, *, device: str = "cpu", threads: int = 2) -> Backend:
    """The rules of a version, ready to predict on the CPU; DataError when it is no such artefact."""
    from backends.rules.backend import RulesBackend

    return RulesBackend(version_dir)


def trainer() -> Trainer:
    """The trainer of this backend: it learns how often each rule is right."""
    from backends.rules.training import RulesTrainer

    return RulesTrainer()


def import_model(sources: Sequence[str], config: LabelConfig, out_dir: Path, *, allow_python: bool = False) -> Artefact:
    """A version folder from rule files (docs/rules.md), one per control, after their own test cases have passed.

    `allow_python` lets the version carry and run labelling functions: code with all rights of the process that serves it.
    UsageError for a source that is no rule file or has functions that were not allowed, DataError for what is wrong
    inside one.
    """
    from backends.rules.importing import import_rules

    return import_rules([Path(source) for source in sources], config, out_dir, allow_python=allow_python)


def learn_from_tasks(version_dir: Path, tasks: Sequence[TaskItem], out_dir: Path) -> Artefact:
    """A new version of the same rules, weighed by how they agree on tasks without labels.

    NotReady when no rule fires on any of them.
    """
    from backends.rules.training import learn_without_gold

    return learn_without_gold(version_dir, tasks, out_dir)


def rule_report(
    version: Path | Sequence[RuleSet],
    tasks: Sequence[TaskItem],
    gold: Mapping[int, Sequence[Region]] | None = None,
) -> RuleReport:
    """What each rule of a version (its folder, or its rules once read) does on these tasks.

    `gold` maps task ids to Label Studio results that are true.
    """
    from backends.rules.artefact import read_rule_sets
    from backends.rules.reporting import report_on

    return report_on(read_rule_sets(version) if isinstance(version, Path) else version, tasks, gold)
