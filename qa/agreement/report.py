"""Agreement of a project or an export as plain JSON values, and as a few lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from labelloop.label_config import Control, LabelConfig
from qa.agreement.counting import Said
from qa.agreement.figures import Figures
from qa.agreement.running import Running
from qa.agreement.tally import BASES
from qa.agreement.task_scores import worst_tasks
from qa.kinds.kind import Kind
from qa.kinds.registry import measurable

SCHEMA_VERSION = 3
#: Tasks that are named, those on which people agree least.
MOST_TASKS = 100
_NOTHING = "no control of this config is measured"


def measure_agreement(
    labels: pl.DataFrame, config: LabelConfig, *, gold: bool = False, intervals: bool = True
) -> dict[str, Any]:
    """The agreement of labels, one row each, as docs/schemas/agreement.schema.json describes it.

    `labels` have the columns REQUIRED_COLUMNS, and `data` (JSON) where texts matter; `shown` is null (or False) for a label made
    blind, else what the person was shown. Rows with `state` other than "submitted", `kind` other than "human", gold ones (but
    with `gold`) and those without an annotator are left out and counted, as are all but the latest label of a task and person.
    DataError names a missing column.
    """
    return agreement_report(*Running.read(labels, config, gold=gold), intervals=intervals)


def agreement_report(
    running: Running,
    said: Sequence[Said] = (),
    *,
    worst: Sequence[tuple[int, Mapping[str, float]]] = (),
    intervals: bool = True,
) -> dict[str, Any]:
    """The report of what was tallied. `intervals`: whether bounds are drawn.

    Tasks are named from what was `said`, or from `worst`: tasks and their scores by control, the least agreed ones first.
    """
    kinds = measurable(running.config)
    pairs = {name: running.labels(name)["n_pairs"] for name in BASES}
    pairs["mixed"] = pairs["all"] - pairs["blind"] - pairs["same_suggestion"]
    basis = "blind" if pairs["blind"] else "all"
    named = {each.control.name: worst_tasks(each, MOST_TASKS) for each in said}
    for task, scores in worst:
        for name, score in scores.items():
            if score < 1:
                named.setdefault(name, []).append({"task": task, "score": score})
    controls = {
        control.name: _control(
            control,
            kind,
            {name: Figures(kind, running.tallies[control.name], name, intervals=intervals) for name in BASES},
            basis,
            named.get(control.name, []),
        )
        for control, kind in kinds
    }
    first = next(iter(controls), None)
    head = controls[first]["metrics"][controls[first]["headline"]] if first else _undefined(_NOTHING)
    counts = running.labels("all")
    return {
        "schema_version": SCHEMA_VERSION,
        "basis": basis,
        "basis_reason": _basis_reason(pairs),
        "headline": {"control": first, "metric": controls[first]["headline"] if first else None, **head},
        **{name: counts[name] for name in ("n_labels", "n_tasks", "n_overlapped")},
        "n_annotators": sum(count > 0 for count in running.named("annotator").values()),
        "left_out": running.named("left_out"),
        "pairs": pairs,
        "controls": controls,
        "unmeasured": running.unmeasured,
    }


def _control(
    control: Control, kind: Kind, figures: Mapping[str, Figures], basis: str, tasks: list[dict[str, Any]]
) -> dict[str, Any]:
    head, counts = figures[basis], figures["all"].counts
    scores = {name: each.metrics["mean_score"]["value"] for name, each in figures.items()}
    blind, anchored = scores["blind"], scores["same_suggestion"]
    return {
        "type": control.tag,
        "kind": kind.name,
        "level": kind.level,
        "headline": kind.headline,
        "n_labels": counts["n_labels"],
        "n_tasks": counts["n_tasks"],
        "n_overlapped": head.counts["n_overlapped"],
        "n_annotators": len(head.people()),
        "n_empty": head.counts["n_empty"],
        "n_unsure": counts["n_unsure"],
        "metrics": head.metrics,
        "pairs": head.pairs(),
        "per_class": head.classes(),
        "per_annotator": head.people(),
        "by_week": head.weeks(),
        "by_shown": {
            name: {"n_pairs": each.counts["n_pairs"], "metrics": each.metrics} for name, each in figures.items()
        },
        "anchoring_gap": None if blind is None or anchored is None else anchored - blind,
        "tasks": tasks,
    }


def _basis_reason(pairs: Mapping[str, int]) -> str:
    if not pairs["all"]:
        return "no task has labels of two people"
    if pairs["blind"]:
        return f"{pairs['blind']} of {pairs['all']} pairs were made without a suggestion; these count"
    return (
        f"none of the {pairs['all']} pairs was made blind: {pairs['same_suggestion']} saw the same suggestion, so "
        "that this is agreement with the model as much as between people"
    )


def _undefined(reason: str) -> dict[str, Any]:
    return {"value": None, "ci": None, "n": 0, "reason": reason}


# -- for people -------------------------------------------------------------------------------------------------------


def agreement_text(report: Mapping[str, Any]) -> str:
    """The report in a few lines for each control."""
    lines = []
    if "basis" in report:
        lines.append(f"over {report['basis']} pairs: {report['basis_reason']}")
        left_out = ", ".join(f"{count} {name}" for name, count in report["left_out"].items() if count)
        lines += [f"left out: {left_out}"] if left_out else []
        accepted = report.get("accept_when_wrong") or {"value": None}
        if accepted["value"] is not None:
            lines.append(f"wrong suggestions left as they were: {accepted['value']:.3f} of {accepted['n']}")
    for name, control in report["controls"].items():
        lines.append(
            f"{name} ({control['type']}): {control['n_overlapped']} of {control['n_tasks']} tasks with several labels, "
            f"{control['n_annotators']} people" + (f", level {control['level']}" if control.get("level") else "")
        )
        lines += _metric_lines(control["metrics"].items())
        if control.get("anchoring_gap") is not None:
            lines.append(f"  people who saw one suggestion agree {control['anchoring_gap']:+.3f} against blind ones")
        if worst := control.get("tasks"):
            lines.append("  least agreed: " + ", ".join(f"{each['task']} ({each['score']:.2f})" for each in worst[:5]))
    lines += [f"not measured: {each['control']} ({each['reason']})" for each in report.get("unmeasured", ())]
    return "\n".join(lines)


def _metric_lines(metrics: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    lines = []
    for metric, each in metrics:
        bounds = f"  ({each['ci'][0]:.3f} to {each['ci'][1]:.3f})" if each["ci"] else ""
        value = f"{each['value']:.3f}{bounds}" if each["value"] is not None else f"undefined: {each['reason']}"
        lines.append(f"  {metric:28} {value}")
    return lines
