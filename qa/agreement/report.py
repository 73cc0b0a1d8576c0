"""Agreement of a project or an export as plain JSON values, and as a few lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from labelloop.label_config import Control, LabelConfig
from qa.agreement.counting import Labels, Said, current_labels, labels_of, said_under
from qa.agreement.figures import Figures
from qa.agreement.tally import BASES, KEYS, Tally, tally_of
from qa.agreement.task_scores import worst_tasks
from qa.kinds.kind import Kind
from qa.kinds.registry import measurable, unmeasured

SCHEMA_VERSION = 3
#: Tasks that are named, those on which people agree least.
MOST_TASKS = 100
_NOTHING = "no control of this config is measured"


@dataclass(frozen=True)
class Measured:
    """What agreement is told from: of each control its kind and its tally, and what is the same for all of them.

    `labels` is by basis (its keys): the labels, tasks, overlapped tasks and pairs of the project, whatever they say.
    """

    controls: Sequence[tuple[Control, Kind, Tally]]
    labels: Mapping[str, Mapping[str, int]]
    n_annotators: int
    left_out: Mapping[str, int]
    unmeasured: Sequence[Mapping[str, str]]


def measure_agreement(labels: pl.DataFrame, config: LabelConfig, *, gold: bool = False) -> dict[str, Any]:
    """The agreement of labels, one row each, as docs/schemas/agreement.schema.json describes it.

    `labels` have the columns REQUIRED_COLUMNS, and `data` (JSON) where texts matter; `shown` is null (or False) for a label made
    blind, else what the person was shown. Rows with `state` other than "submitted", `kind` other than "human", gold ones (but
    with `gold`) and those without an annotator are left out and counted, as are all but the latest label of a task and person.
    DataError names a missing column.
    """
    kept, left_out = current_labels(labels, gold=gold)
    found = labels_of(kept)
    said = [said_under(found, control, kind) for control, kind in measurable(config)]
    measured = Measured(
        [(each.control, each.kind, tally_of(found, each)) for each in said],
        labels_by_basis(found),
        kept["annotator"].n_unique(),
        left_out,
        [*unmeasured(config), *unknown_controls(found, config)],
    )
    return agreement_report(measured, said)


def agreement_report(measured: Measured, said: Sequence[Said] = ()) -> dict[str, Any]:
    """The report of what was tallied; tasks are named where what was `said` is at hand."""
    counts = measured.labels
    basis = "blind" if counts["blind"]["n_pairs"] else "all"
    by_name = {each.control.name: each for each in said}
    controls = {
        control.name: _control(control, kind, tally, basis, by_name.get(control.name))
        for control, kind, tally in measured.controls
    }
    first = next(iter(controls), None)
    head = controls[first]["metrics"][controls[first]["headline"]] if first else _undefined(_NOTHING)
    pairs = {name: counts[name]["n_pairs"] for name in BASES}
    pairs["mixed"] = pairs["all"] - pairs["blind"] - pairs["same_suggestion"]
    return {
        "schema_version": SCHEMA_VERSION,
        "basis": basis,
        "basis_reason": _basis_reason(pairs),
        "headline": {"control": first, "metric": controls[first]["headline"] if first else None, **head},
        "n_labels": counts["all"]["n_labels"],
        "n_tasks": counts["all"]["n_tasks"],
        "n_overlapped": counts["all"]["n_overlapped"],
        "n_annotators": measured.n_annotators,
        "left_out": dict(measured.left_out),
        "pairs": pairs,
        "controls": controls,
        "unmeasured": [dict(entry) for entry in measured.unmeasured],
    }


def labels_by_basis(labels: Labels) -> dict[str, dict[str, int]]:
    """By basis how many labels, tasks, tasks that several people labelled, and pairs of labels there are."""
    frame = pl.DataFrame({"task": labels.task, "shown": labels.shown})
    parts = {
        "all": (frame, ["task"]),
        "blind": (frame.filter(pl.col("shown") < 0), ["task"]),
        "same_suggestion": (frame.filter(pl.col("shown") >= 0), ["task", "shown"]),
    }
    found = {}
    for basis, (part, keys) in parts.items():
        groups = part.group_by(keys).agg(n=pl.len().cast(pl.Int64))
        several = groups.filter(pl.col("n") > 1)
        found[basis] = {
            "n_labels": part.height,
            "n_tasks": groups["task"].n_unique(),
            "n_overlapped": several["task"].n_unique(),
            "n_pairs": int((several["n"] * (several["n"] - 1) // 2).sum()),
        }
    return found


def unknown_controls(labels: Labels, config: LabelConfig) -> list[dict[str, str]]:
    """What labels carry that no control of the config explains: relations, and names that are not in it."""
    known = {control.name for control in (*config.controls, *config.answers)} | {
        each["control"] for each in unmeasured(config)
    }
    found: dict[str, dict[str, str]] = {}
    for region in (region for result in labels.results for region in result):
        name = str(region.get("from_name") or region.get("type"))
        if name not in known and name not in found:
            reason = "relations are not measured" if name == "relation" else "not in the label config"
            found[name] = {"control": name, "tag": str(region.get("type")), "reason": reason}
    return list(found.values())


def _control(control: Control, kind: Kind, tally: Tally, basis: str, said: Said | None) -> dict[str, Any]:
    figures = {name: Figures(kind, tally, name) for name in BASES}
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
        "n_annotators": tally.tables["people"].height,
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
        "tasks": [] if said is None else worst_tasks(said, MOST_TASKS),
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


__all__ = ["KEYS", "SCHEMA_VERSION", "Measured", "agreement_report", "agreement_text", "measure_agreement"]
