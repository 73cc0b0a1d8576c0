"""Learns how often each rule is right, and measures what the rules say together."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from backends.choice_regions import chosen_classes
from backends.control_metrics import Counts, counted, f1, headline, majority_class, metric_name, weighted_scores
from backends.protocols import Progress
from backends.resampling import Floats, Scores
from backends.rules.artefact import RuleSet, part_folder, read_rule_sets, write_manifest, write_model
from backends.rules.backend import predict_with
from backends.rules.converters.labels import labelled_spans
from backends.rules.gold import Labelled, read_split
from backends.rules.learning import learned_part
from backends.rules.phrases import PhraseIndex, longest_first
from backends.version_labels import write_labels
from labelloop.datasets import read_dataset
from labelloop.errors import NotReady
from labelloop.values import Artefact, Budget, Metrics, Region, TaskItem


@dataclass(frozen=True)
class _Judged:
    """What one rule set says of the holdout, and what one would say without rules: counts by task id."""

    rules: RuleSet
    said: Mapping[int, Counts]
    naive: Mapping[int, Counts]
    fired: int


class RulesTrainer:
    """Weighs the rules of an earlier version on labelled tasks; the rules themselves stay as they are."""

    metric = "f1"
    needs_start = True

    def fit(
        self, dataset_dir: Path, out_dir: Path, *, start: Path | None, budget: Budget, progress: Progress
    ) -> Artefact:
        """The rules of `start` with accuracies from the training split: counted where there are labels, else estimated.

        NotReady without `start` (rules are written, not learned), and where no rule fires on anything.
        """
        if start is None:
            raise NotReady(
                "there are no rules yet, and rules cannot be learned from labels: write a rule file (docs/rules.md) and "
                "register it"
            )
        progress(0.0, "reading the dataset")
        dataset = read_dataset(dataset_dir)
        sets = read_rule_sets(start, {control.name: control for control in dataset.label_config.controls})
        labelled = read_split(dataset, sets, "train")
        return _learn(sets, labelled, start, out_dir, budget.seed, progress)

    def evaluate(self, artefact_dir: Path, dataset_dir: Path) -> Metrics:
        """F1 on the holdout: macro over the classes of choices, micro over exact spans, the mean of several controls.

        The baseline says the most frequent class of the training split, or finds its labelled names again.
        """
        dataset = read_dataset(dataset_dir)
        sets = read_rule_sets(artefact_dir)
        held, train = read_split(dataset, sets, "holdout"), read_split(dataset, sets, "train")
        judged = [_judged(rules, held, train) for rules in sets]
        per_item, usual = _per_item(judged), _per_item([replace(each, said=each.naive) for each in judged])
        extra: dict[str, float] = {}
        for each in judged:
            control = each.rules.control
            prefix = f"{control.name}/" if len(sets) > 1 else ""
            extra |= {f"f1/{prefix}{label}": f1(list(each.said.values()), label) for label in control.classes}
            extra[f"coverage/{control.name}"] = each.fired / max(len(each.said), 1)
        return Metrics(
            metric_name(rules.file.target for rules in sets),
            headline(per_item),
            len(per_item),
            sum(sum(counts["tp"].values()) + sum(counts["fn"].values()) for j in judged for counts in j.said.values()),
            per_item,
            headline(usual),
            extra,
        )

    def headline(self, per_item: Sequence[Mapping[str, Any]]) -> float:
        """The headline F1 of these items."""
        return headline(per_item)

    def scores(self, per_item: Sequence[Mapping[str, Any]], weights: Floats) -> Scores:
        """The headline and each class's F1 for each row of weights."""
        return weighted_scores(per_item, weights)


def learn_without_gold(version_dir: Path, tasks: Sequence[TaskItem], out_dir: Path) -> Artefact:
    """The rules of a version, weighed by how they agree on tasks that nobody labelled."""
    sets = read_rule_sets(version_dir)
    unlabelled = [Labelled(task, {rules.control.name: None for rules in sets}) for task in tasks]
    return _learn(sets, unlabelled, version_dir, out_dir, 0, lambda share, message: None)


def _learn(
    sets: Sequence[RuleSet], labelled: Sequence[Labelled], start: Path, out_dir: Path, seed: int, progress: Progress
) -> Artefact:
    learned = []
    for number, rules in enumerate(sets):
        told = _told(progress, number, len(sets), f"asking the rules of {rules.control.name}")
        learned.append(learned_part(rules, labelled, seed, told))
    if not any(each.done["fired"] for each in learned):
        raise NotReady("no rule fires on any task of this dataset; look at the fields that the rules read")
    progress(0.95, "writing the model")
    for number, each in enumerate(learned):
        folder = part_folder(out_dir, number)
        shutil.copytree(part_folder(start, number), folder)
        write_model(each.rules.model, folder)
    write_manifest(out_dir, [each.rules for each in learned])
    write_labels(out_dir, [each.labels for each in learned])
    params = {
        "rules": [rule.title for each in learned for rule in each.rules.file.rules],
        "continued": True,
        "controls": {each.rules.control.name: each.done for each in learned},
    }
    (out_dir / "metrics.json").write_bytes(orjson.dumps(params, option=orjson.OPT_INDENT_2))
    progress(1.0, "learned")
    return Artefact(out_dir, params)


def _told(progress: Progress, number: int, parts: int, message: str) -> Callable[[float], None]:
    """What passes the share that is done of one part on, as a share of the whole training."""
    return lambda done: progress(0.1 + 0.8 * (number + done) / parts, message)


def _judged(rules: RuleSet, held: Sequence[Labelled], train: Sequence[Labelled]) -> _Judged:
    name = rules.control.name
    known = [each for each in held if each.truths[name] is not None]
    outcomes = predict_with(rules, [each.task for each in known])
    baseline = _baseline(rules, train)
    said, naive = {}, {}
    for each, outcome in zip(known, outcomes, strict=True):
        true, task_id = each.truths[name] or frozenset(), int(each.task.task_id or 0)
        said[task_id] = counted(_labels_of(rules, each.task, outcome.regions), true)
        naive[task_id] = counted(baseline(each.task), true)
    return _Judged(rules, said, naive, sum(bool(outcome.fired_rules) for outcome in outcomes))


def _per_item(judged: Sequence[_Judged]) -> tuple[dict[str, Any], ...]:
    """The counts of every task that was judged for any control, in the shape that `headline` takes."""
    items: dict[int, dict[str, Any]] = {}
    for each in judged:
        for task_id, counts in each.said.items():
            item = items.setdefault(task_id, {"task_id": task_id, "choices": {}, "spans": {}})
            item[each.rules.file.target][each.rules.control.name] = counts
    return tuple(items[task_id] for task_id in sorted(items))


def _labels_of(rules: RuleSet, task: TaskItem, result: Sequence[Region]) -> Iterable[Any]:
    """The labels or spans of a result for one control, as they are compared."""
    control = rules.control
    if rules.voters.spans:
        return labelled_spans(str(task.data.get(control.data_key)), result, control.classes, control.name)
    return chosen_classes(result, control.classes, control.name)


def _baseline(rules: RuleSet, train: Sequence[Labelled]) -> Callable[[TaskItem], Iterable[Any]]:
    """What says, of any task, what one would say without rules: the usual class, or the known names with their labels."""
    name, key = rules.control.name, rules.control.data_key
    known = [(each.task, truth) for each in train if (truth := each.truths[name])]
    if not rules.voters.spans:
        usual = majority_class([str(label) for _, truth in known for label in truth])
        return lambda task: [] if usual is None else [usual]
    forms: dict[str, Counter[str]] = {}
    for task, truth in known:
        for span in truth:
            if not isinstance(span, str):
                forms.setdefault(task.data[key][span[0] : span[1]], Counter())[span[2]] += 1
    index = PhraseIndex(ignore_case=False)
    for form, labels in forms.items():
        index.add(form, 0, min(labels, key=lambda label: (-labels[label], label)))
    return lambda task: [(f.start, f.end, f.label) for f in longest_first(index.find(str(task.data.get(key) or "")))]
