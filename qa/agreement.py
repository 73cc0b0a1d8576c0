"""Agreement between people on the tasks that several of them labelled, per control, from one table of labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any
from xml.etree.ElementTree import Element

import orjson
import polars as pl
from defusedxml import ElementTree

from labelloop.errors import DataError
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region
from qa.control_measures import Group, MeasureSet, measures_for, pairs_of
from qa.measures.coefficients import Coefficient, measured, undefined
from qa.readings import MEASURED_TAGS, Reading, boxes_of, choice_of, spans_of

SCHEMA_VERSION = 1

REQUIRED_COLUMNS = ("task_id", "annotation_id", "annotator", "at", "shown", "result")

#: How the pairs of labels that a measure is over were chosen.
BASES: Mapping[str, str] = {
    "all": "every pair of people's labels of one task",
    "blind": "pairs in which neither person was shown a suggestion",
    "same_suggestion": "pairs in which both people were shown the same suggestion",
}


@dataclass(frozen=True)
class ControlAgreement:
    """Agreement under one control: per basis the measures by name, and the pairs in which nobody gave anything."""

    control: str
    tag: str
    headline: str
    percent: str
    alpha: str
    measures: Mapping[str, Mapping[str, Coefficient]]
    both_empty: Mapping[str, int]


@dataclass(frozen=True)
class PairAgreement:
    """The headline measure of one control for two people, over the basis of the report."""

    control: str
    first: int
    second: int
    name: str
    coefficient: Coefficient


@dataclass(frozen=True)
class AgreementReport:
    """Agreement of a project. `basis`: the pairs behind headline, percent and alpha ("blind" if any).

    `headline` is that of the first measured control; `percent` and `alpha` are plain means over the controls with one.
    """

    basis: str
    basis_reason: str
    headline_control: str | None
    headline_name: str | None
    headline: Coefficient
    percent: Coefficient
    alpha: Coefficient
    n_labels: int
    n_tasks: int
    n_overlapped: int
    left_out: Mapping[str, int]
    pairs: Mapping[str, int]
    controls: tuple[ControlAgreement, ...] = ()
    annotator_pairs: tuple[PairAgreement, ...] = ()
    unmeasured: tuple[Mapping[str, str], ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as docs/schemas/agreement.schema.json describes them."""
        return {
            "schema_version": SCHEMA_VERSION,
            "basis": self.basis,
            "basis_reason": self.basis_reason,
            "headline": {"control": self.headline_control, "name": self.headline_name, **self.headline.to_json()},
            "percent": self.percent.to_json(),
            "alpha": self.alpha.to_json(),
            "n_labels": self.n_labels,
            "n_tasks": self.n_tasks,
            "n_overlapped": self.n_overlapped,
            "left_out": dict(self.left_out),
            "pairs": dict(self.pairs),
            "controls": [_control_json(control) for control in self.controls],
            "annotator_pairs": [
                {"control": p.control, "first": p.first, "second": p.second, "name": p.name, **p.coefficient.to_json()}
                for p in self.annotator_pairs
            ],
            "unmeasured": [dict(entry) for entry in self.unmeasured],
        }


def measure_agreement(labels: pl.DataFrame, config: LabelConfig) -> AgreementReport:
    """Agreement over submitted labels of people, one row each: REQUIRED_COLUMNS, and `data` (JSON) where texts matter.

    `shown` is null (or False) for a label made blind, else what the person was shown. Rows with `state` other than
    "submitted", with `kind` other than "human" or without an annotator are left out and counted, as are all but the
    latest label per task and annotator. DataError names a missing column.
    """
    kept, left_out = current_labels(labels)
    rows = _by_task(kept)
    bases = {name: _split(rows, name) for name in BASES}
    counts = {name: sum(len(g) * (len(g) - 1) // 2 for g in groups) for name, groups in bases.items()}
    counts["mixed"] = counts["all"] - counts["blind"] - counts["same_suggestion"]
    basis = "blind" if counts["blind"] else "all"
    controls, pairs = [], []
    for control in config.controls:
        if _unmeasured_reason(control) is None:
            read = _Reader(control)
            measures = measures_for(MEASURED_TAGS[control.tag])
            groups = {name: [[read(row) for row in group] for group in found] for name, found in bases.items()}
            controls.append(_control_agreement(control, measures, groups))
            pairs += _annotator_pairs(control, measures, groups[basis])
    first = controls[0] if controls else None
    return AgreementReport(
        basis=basis,
        basis_reason=_basis_reason(counts),
        headline_control=first.control if first else None,
        headline_name=first.headline if first else None,
        headline=first.measures[basis][first.headline] if first else undefined("no control of this config is measured"),
        percent=_mean([c.measures[basis][c.percent] for c in controls]),
        alpha=_mean([c.measures[basis][c.alpha] for c in controls]),
        n_labels=kept.height,
        n_tasks=kept["task_id"].n_unique(),
        n_overlapped=len(bases["all"]),
        left_out=left_out,
        pairs=counts,
        controls=tuple(controls),
        annotator_pairs=tuple(pairs),
        unmeasured=tuple(_unmeasured(config, rows)),
    )


# -- which labels count -------------------------------------------------------------------------------------------


def current_labels(labels: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """(of each person and task the latest submitted label, how many others were left out by reason)"""
    missing = [name for name in REQUIRED_COLUMNS if name not in labels.columns]
    if missing:
        raise DataError(f"expected label columns {list(REQUIRED_COLUMNS)}, got {labels.columns}; add {missing}")
    left_out: dict[str, int] = {}
    for column, wanted, name in (("state", "submitted", "not_submitted"), ("kind", "human", "not_by_people")):
        before = labels.height
        if column in labels.columns:
            labels = labels.filter(pl.col(column) == wanted)
        left_out[name] = before - labels.height
    known = labels.filter(pl.col("annotator").is_not_null())
    left_out["annotator_unknown"] = labels.height - known.height
    latest = known.sort("at", "annotation_id").unique(["task_id", "annotator"], keep="last", maintain_order=True)
    left_out["superseded"] = known.height - latest.height
    return latest.sort("task_id", "annotator"), left_out


def _by_task(labels: pl.DataFrame) -> list[list[dict[str, Any]]]:
    tasks: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in labels.to_dicts():
        shown = row["shown"]
        result = row["result"]
        tasks[row["task_id"]].append(
            {
                "annotation_id": row["annotation_id"],
                "annotator": row["annotator"],
                "shown": None if shown is None or shown is False else str(shown),
                "result": result_of(result),
                "data": orjson.loads(row["data"]) if row.get("data") else None,
            }
        )
    return list(tasks.values())


def result_of(result: Any) -> list[Region]:
    """The regions of a row, which are JSON or a list already."""
    return orjson.loads(result) if isinstance(result, str | bytes) else list(result or [])


def _split(tasks: Sequence[Sequence[dict[str, Any]]], basis: str) -> list[list[dict[str, Any]]]:
    """Groups of labels of one task whose pairs all belong to the basis; only groups of two or more."""
    groups: list[list[dict[str, Any]]] = []
    for rows in tasks:
        by_shown: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            by_shown[row["shown"]].append(row)
        if basis == "all":
            groups.append(list(rows))
        elif basis == "blind":
            groups.append(by_shown.get(None, []))
        else:
            groups += [found for shown, found in by_shown.items() if shown is not None]
    return [group for group in groups if len(group) > 1]


def _basis_reason(counts: Mapping[str, int]) -> str:
    if not counts["all"]:
        return "no task has labels of two people"
    if counts["blind"]:
        return f"{counts['blind']} of {counts['all']} pairs were made without a suggestion; these count"
    return (
        f"none of the {counts['all']} pairs was made blind: {counts['same_suggestion']} saw the same suggestion, so "
        "that this is agreement with the model as much as between people"
    )


# -- one control --------------------------------------------------------------------------------------------------


class _Reader:
    """Reads each label under one control once."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.kind = MEASURED_TAGS[control.tag]
        self._known: dict[int, Reading] = {}

    def __call__(self, row: dict[str, Any]) -> Reading:
        key = id(row)
        if key not in self._known:
            self._known[key] = self._read(row)
        return self._known[key]

    def _read(self, row: dict[str, Any]) -> Reading:
        who = (row["annotation_id"], row["annotator"], row["shown"])
        result: list[Region] = row["result"]
        if self.kind == "choices":
            return Reading(*who, choice=choice_of(result, self.control))
        if self.kind == "boxes":
            corners, names = boxes_of(result, self.control)
            return Reading(*who, corners=corners, labels=names)
        text = (row["data"] or {}).get(self.control.data_key)
        return Reading(*who, spans=spans_of(result, self.control), text=text if isinstance(text, str) else None)


def _control_agreement(
    control: Control, measures: MeasureSet, groups: Mapping[str, Sequence[Group]]
) -> ControlAgreement:
    values, both_empty = {}, {}
    for basis, found in groups.items():
        both_empty[basis] = sum(a.empty and b.empty for a, b in pairs_of(found))
        spoken = [group for group in found if not all(reading.empty for reading in group)]
        values[basis] = {name: measure(spoken) for name, measure in measures.measures.items()}
    return ControlAgreement(
        control.name, control.tag, measures.headline, measures.percent, measures.alpha, values, both_empty
    )


def _annotator_pairs(control: Control, measures: MeasureSet, groups: Iterable[Group]) -> list[PairAgreement]:
    met: dict[tuple[int, int], list[Group]] = defaultdict(list)
    for group in groups:
        for a, b in combinations(group, 2):
            if not (a.empty and b.empty):
                met[(a.annotator, b.annotator)].append((a, b))
    measure = measures.measures[measures.headline]
    return [
        PairAgreement(control.name, first, second, measures.headline, measure(found))
        for (first, second), found in sorted(met.items())
    ]


def _mean(coefficients: Sequence[Coefficient]) -> Coefficient:
    defined = [(c.value, c) for c in coefficients if c.value is not None]
    if not defined:
        reasons = sorted({c.reason for c in coefficients if c.reason})
        return undefined("; ".join(reasons) or "no control of this config is measured")
    value = sum(number for number, _ in defined) / len(defined)
    return measured(value, sum(c.n_units for _, c in defined), sum(c.n_pairs for _, c in defined))


# -- what is not measured -----------------------------------------------------------------------------------------


def _unmeasured_reason(control: Control) -> str | None:
    if control.tag not in MEASURED_TAGS:
        return f"agreement on <{control.tag}> is not measured yet"
    if control.per_region:
        return "choices of single regions are not measured yet"
    if control.tag == "Labels" and control.object_tag != "Text":
        return f"labels on <{control.object_tag}> are not measured yet; spans of <Text> are"
    return None


def _unmeasured(config: LabelConfig, tasks: Iterable[Iterable[dict[str, Any]]]) -> list[dict[str, str]]:
    """Controls of the config, and names in the labels, that no measure covers."""
    root: Element = ElementTree.fromstring(config.xml)
    named = {c.name: (c.tag, _unmeasured_reason(c)) for c in config.controls}
    for element in root.iter():
        name = element.attrib.get("name", "")
        if "toName" in element.attrib and name not in named:
            named[name] = (element.tag, f"agreement on <{element.tag}> is not measured yet")
    for region in (region for task in tasks for row in task for region in row["result"]):
        name = str(region.get("from_name") or region.get("type"))
        if name not in named:
            reason = "relations are not measured yet" if name == "relation" else "not in the label config"
            named[name] = (str(region.get("type")), reason)
    return [
        {"control": name, "tag": tag, "reason": reason} for name, (tag, reason) in named.items() if reason is not None
    ]


def _control_json(control: ControlAgreement) -> dict[str, Any]:
    return {
        "control": control.control,
        "tag": control.tag,
        "headline": control.headline,
        "percent": control.percent,
        "alpha": control.alpha,
        "both_empty": dict(control.both_empty),
        "measures": {
            basis: {name: coefficient.to_json() for name, coefficient in found.items()}
            for basis, found in control.measures.items()
        },
    }
