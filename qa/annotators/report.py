"""What is told of each annotator, for a dashboard and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from labelloop.label_config import LabelConfig
from qa.annotators.figures import (
    Bias,
    confusion,
    drift,
    relative_times,
    skills,
    speed,
    spread_of,
    stamping,
    tasks_of,
    usual_agreement,
)
from qa.annotators.flags import flags_of
from qa.annotators.messages import message_of
from qa.annotators.scores import RIGHT_FROM, Scored, scored
from qa.annotators.significance import nothing, rounded, share_of
from qa.annotators.work import Work, was_shown, work_of
from qa.measures.ratings import Floats, Ints

SCHEMA_VERSION = 1
#: What the control of a CSV is called.
TABLE = "label"
_NO_GOLD = "no label of a task whose true answer is known"
_NO_OTHERS = "nobody else labelled these tasks, or the others are undecided"
_NO_WRONG = "no wrong suggestion is known: needs what was shown, and a true answer or two blind others who agree"
#: Figures that have a reason of their own.
_FIGURES = ("gold", "agreement", "skill", "speed", "drift", "accept_when_wrong", "rubber_stamping")


def annotator_report(labels: pl.DataFrame, config: LabelConfig, since: datetime | None = None) -> dict[str, Any]:
    """The report of a table of labels, as docs/schemas/annotators.schema.json describes it; see `work_of` for the columns.

    With `since` only labels from then on count for a person; what they are compared with stays.
    """
    return report_of(work_of(labels, config), since)


def report_of(work: Work, since: datetime | None = None) -> dict[str, Any]:
    """The same of work that is read already."""
    found = [scored(work, answers) for answers in work.answers]
    counted = np.ones(len(work), np.bool_) if since is None else work.at >= since.timestamp()
    people = _People(work, found, counted)
    annotators = [people.figures(person) for person in range(len(work.people)) if len(people.mine[person])]
    usual = {name: _median([each[name]["value"] for each in annotators]) for name in ("gold", "agreement")}
    for each in annotators:
        each["flags"] = flags_of(each, usual)
        each["message"] = message_of(each, usual)
        del each["tasks"]
        for control in each["controls"].values():
            del control["tasks"]
    reasons = {
        name: annotators[0][name]["reason"]
        for name in _FIGURES
        if annotators and all(each[name]["reason"] is not None for each in annotators)
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "since": None if since is None else since.isoformat(),
        "n_labels": int(counted.sum()),
        "n_tasks": len(np.unique(work.task[counted])),
        "n_annotators": len(annotators),
        "left_out": dict(work.left_out),
        "usual": {name: rounded(value) for name, value in usual.items()},
        "annotators": annotators,
        "reasons": reasons,
        "unmeasured": [dict(each) for each in work.unmeasured],
    }


def accepted_when_wrong(labels: pl.DataFrame, config: LabelConfig) -> dict[str, Any]:
    """Of suggestions that are known to be wrong, the share that people left as they were: `value`, `ci`, `n`, `reason`.

    Over all people and controls; see `work_of` for the columns of `labels`.
    """
    if not was_shown(labels).any():
        # Nothing of it needs to be read.
        return nothing(_NO_WRONG).to_json()
    work = work_of(labels, config)
    misled = _mean_over([scored(work, each).misled for each in work.answers], len(work))
    return share_of(_known(misled), _NO_WRONG).to_json()


class _People:
    """What the figures of every person are made of."""

    def __init__(self, work: Work, found: Sequence[Scored], counted: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        self.work, self.found = work, found
        order = np.lexsort((work.order, work.annotator))
        order = order[counted[order]]
        ends = np.searchsorted(work.annotator[order], np.arange(len(work.people) + 1))
        self.mine = [order[ends[i] : ends[i + 1]] for i in range(len(work.people))]
        self.gold = _mean_over([each.gold for each in found], len(work))
        self.others = _mean_over([each.others for each in found], len(work))
        self.misled = _mean_over([each.misled for each in found], len(work))
        self.support = np.max([each.support for each in found], axis=0) if found else np.zeros(len(work), np.int64)
        self.relative, self.met = relative_times(work)
        self.spread = spread_of(self.relative)
        self.usual = usual_agreement(work, self.others)
        self.skills = [skills(work, each) for each in found]
        self.bias = [Bias(work, each) for each in found]
        known = np.isfinite(work.at)
        times = pl.Series(np.where(known, work.at, 0) * 1e6).cast(pl.Int64).cast(pl.Datetime("us"))
        weeks = times.dt.truncate("1w")
        self.week = np.where(known, weeks.rank("dense").to_numpy().astype(np.int64) - 1, -1)
        self.weeks = weeks.unique().sort().dt.strftime("%G-W%V").to_list()
        self.given = [
            np.fromiter((value is not None for value in each.answers.values), np.bool_, len(work)) for each in found
        ]

    def figures(self, person: int) -> dict[str, Any]:
        """Everything of one person but flags and message."""
        work, mine = self.work, self.mine[person]
        shown = int(work.shown[mine].sum())
        controls = {
            each.answers.name or TABLE: self._control(person, place, each) for place, each in enumerate(self.found)
        }
        skilled = [each["skill"] for each in controls.values() if each["skill"]["value"] is not None]
        n = sum(each["n"] for each in skilled)
        skill = {
            "value": rounded(sum(each["value"] * each["n"] for each in skilled) / n) if n else None, "n": n,
            "reason": None if n else "no single choice on tasks that several people labelled",
        }  # fmt: skip
        name = work.people[person]
        return {
            "annotator": name, "n_labels": len(mine), "n_blind": len(mine) - shown, "n_shown": shown,
            "n_skipped": None if work.skipped is None else work.skipped.get(name, 0),
            "gold": share_of(_known(self.gold[mine]), _NO_GOLD).to_json(),
            "agreement": share_of(_known(self.others[mine]), _NO_OTHERS).to_json(),
            "skill": skill,
            "speed": speed(work, mine, self.relative, self.met, self.spread),
            "drift": drift(work, mine, person, self.others, self.usual),
            "accept_when_wrong": self._misled(mine, self.misled),
            "rubber_stamping": stamping(work, mine),
            "by_week": self._weeks(mine),
            "controls": controls,
            "tasks": self._tasks(mine),
        }  # fmt: skip

    def _control(self, person: int, place: int, scores: Scored) -> dict[str, Any]:
        mine, answers = self.mine[person], scores.answers
        table, kappa = confusion(scores, mine)
        skill = self.skills[place].get(person)
        nothing = {"value": None, "n": 0, "method": None, "by_class": None}
        why = "not a single choice" if scores.ratings is None else "no task that several people labelled"
        given = int(self.given[place][mine].sum())
        return {
            "type": answers.tag, "kind": answers.kind.name, "n": given,
            "gold": share_of(_known(scores.gold[mine]), _NO_GOLD).to_json(),
            "agreement": share_of(_known(scores.others[mine]), _NO_OTHERS).to_json(),
            "kappa": kappa.to_json(), "confusion": table, "bias": self.bias[place].of(person),
            "skill": skill or nothing | {"reason": why},
            "accept_when_wrong": self._misled(mine, scores.misled),
            "tasks": self._differing(mine, scores.others),
        }  # fmt: skip

    def _misled(self, mine: Ints, misled: Floats) -> dict[str, Any]:
        fell = mine[misled[mine] > 0]
        return share_of(_known(misled[mine]), _NO_WRONG).to_json() | {"tasks": tasks_of(self.work, fell)}

    def _differing(self, mine: Ints, others: Floats) -> list[Any]:
        """Tasks where most others say otherwise, those first where most people do."""
        apart = mine[others[mine] < RIGHT_FROM]
        return tasks_of(self.work, apart[np.lexsort((-self.support[apart], others[apart]))])

    def _tasks(self, mine: Ints) -> dict[str, list[Any]]:
        missed = mine[self.gold[mine] < RIGHT_FROM]
        late = mine[self.others[mine] < RIGHT_FROM][::-1]
        return {
            "gold": tasks_of(self.work, missed[np.argsort(self.gold[missed], kind="stable")]),
            "agreement": self._differing(mine, self.others),
            "late": tasks_of(self.work, late),
        }

    def _weeks(self, mine: Ints) -> list[dict[str, Any]]:
        found = []
        for week in np.unique(self.week[mine]).tolist():
            if week >= 0:
                there = mine[self.week[mine] == week]
                scores = _known(self.others[there])
                mean = rounded(float(scores.mean())) if len(scores) else None
                found.append({"week": self.weeks[week], "n_labels": len(there), "n": len(scores), "agreement": mean})
        return found


def _known(scores: Floats) -> Floats:
    known: Floats = scores[~np.isnan(scores)]
    return known


def _mean_over(controls: Sequence[Floats], n: int) -> Floats:
    """Of each label the mean of its scores over the controls that have one."""
    total, count = np.zeros(n), np.zeros(n)
    for scores in controls:
        there = ~np.isnan(scores)
        total[there] += scores[there]
        count += there
    found: Floats = np.full(n, np.nan)
    np.divide(total, count, out=found, where=count > 0)
    return found


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def moment(text: str) -> datetime:
    """The moment of an ISO date or time, UTC where it has no zone; ValueError otherwise."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def annotators_text(report: Mapping[str, Any], messages: bool = False) -> str:
    """The report for people: one line each, with flags; or the message to each."""
    lines = [f"{report['n_annotators']} people, {report['n_labels']} labels of {report['n_tasks']} tasks"]
    lines += [f"no {name.replace('_', ' ')}: {reason}" for name, reason in report["reasons"].items()]
    for each in report["annotators"]:
        if messages:
            lines += ["", f"To {each['annotator']}:", each["message"]]
            continue
        names = [name for name in ("gold", "agreement", "skill") if each[name]["value"] is not None]
        told = [f"{name} {each[name]['value']:.2f} (n {each[name]['n']})" for name in names]
        seconds = each["speed"]["median_s"]
        told += [f"median {seconds:.1f} s"] if seconds is not None else []
        lines.append(f"  {each['annotator']}: {each['n_labels']} labels; {', '.join(told) or 'nothing to compare'}")
        lines += [f"    {flag['flag']}: {flag['why']}" for flag in each["flags"]]
    return "\n".join(lines)
