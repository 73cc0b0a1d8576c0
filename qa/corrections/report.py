"""The cost of corrections: seconds saved in all and by class, what became of suggestions, and which classes slow people down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qa.corrections.labels import FATES, ClassOf, CostLabel, Fate, Standing
from qa.corrections.savings import Saving, Times, seconds_saved

SCHEMA_VERSION = 1
#: How sure it must be that a class slows people down, over all classes together: they are looked at again and again.
BEYOND_DOUBT = 0.99
#: Tasks are equally hard that lie in the same one of so many bands: five take out nine tenths of what such a figure confounds
#: (Cochran 1968, "The Effectiveness of Adjustment by Subclassification in Removing Bias in Observational Studies").
_BANDS = 5

Fates = Mapping[tuple[ClassOf, Fate], int]


@dataclass(frozen=True)
class ClassCost:
    """What suggestions of one class cost or save. After it was shown again, only later suggestions count.

    `slows`: the interval of seconds saved lies below 0, beyond doubt, and so does that of `like`, which takes out how
    hard tasks are: the queue brings hard tasks first, and they take longer without suggestions as well.
    """

    name: ClassOf
    saving: Saving
    like: Saving
    slows: bool
    standing: Standing | None

    @property
    def is_hidden(self) -> bool:
        """Whether its suggestions are shown to nobody."""
        return self.standing is not None and self.standing.hidden


@dataclass(frozen=True)
class Cost:
    """The figures of one project."""

    saving: Saving
    n_blind: int
    n_suggested: int
    fates: Fates
    classes: tuple[ClassCost, ...]
    versions: Mapping[str, tuple[int, Fates]]
    left_out: Mapping[str, int]

    def to_json(self, project_id: int) -> dict[str, Any]:
        """As `labelloop cost --json` prints it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "project": project_id,
            "seconds_saved": self.saving.to_json(),
            "labels": {
                "blind": self.n_blind,
                "suggested": self.n_suggested,
                "left_out": dict(sorted(self.left_out.items())),
            },
            "regions": _told(self.fates),
            "classes": [
                {
                    **_of_class(each.name, self.fates),
                    "seconds_saved": each.saving.to_json(),
                    "equally_hard": each.like.to_json(),
                    "slows": each.slows,
                    "shown": not each.is_hidden,
                    "decision": _decision(each.standing),
                }
                for each in self.classes
            ],
            "versions": [
                {
                    "model_version": version,
                    "labels": labels,
                    "regions": _told(fates),
                    "classes": [_of_class(name, fates) for name in sorted({name for name, _ in fates})],
                }
                for version, (labels, fates) in self.versions.items()
            ],
        }


def correction_cost(
    labels: Sequence[CostLabel], standings: Mapping[ClassOf, Standing], left_out: Mapping[str, int] | None = None
) -> Cost:
    """The figures of these labels; `standings` are of the classes about which something was decided.

    Of a class, tasks whose suggestion has it are compared with blind tasks whose label has it. One that was shown again is judged
    by what was suggested since.
    """
    blind = [label for label in labels if label.model_version is None]
    suggested = [label for label in labels if label.model_version is not None]
    names = sorted({name for label in suggested for name in (*label.classes, *(each for each, _ in label.fates))})
    compared = {
        name: (
            [label for label in blind if name in label.classes],
            [label for label in suggested if name in label.classes and _counts(label, standings.get(name))],
        )
        for name in sorted({*names, *standings})
    }
    savings = {
        name: (seconds_saved(times(one), times(other)), seconds_saved(times(one, _BANDS), times(other, _BANDS)))
        for name, (one, other) in compared.items()
    }
    known = sum(saving.value is not None for saving, _ in savings.values())
    sure = 1 - (1 - BEYOND_DOUBT) / max(known, 1)
    by_version: dict[str, tuple[int, Fates]] = {}
    for version in dict.fromkeys(label.model_version for label in sorted(suggested, key=lambda label: label.at)):
        own = [label for label in suggested if label.model_version == version]
        by_version[str(version)] = (len(own), _sum(own))
    return Cost(
        seconds_saved(times(blind), times(suggested)),
        len(blind),
        len(suggested),
        _sum(suggested),
        tuple(
            ClassCost(name, saving, like, saving.slows(sure) and like.slows(sure), standings.get(name))
            for name, (saving, like) in savings.items()
        ),
        by_version,
        left_out or {},
    )


def times(labels: Iterable[CostLabel], bands: int = 0) -> Times:
    """The columns of labels whose person and time are known; a `band` of hardness is a kind, if so many are asked for."""
    rows = [
        (label.task_id, label.person_id, label.seconds, label.at.timestamp(), _band(label.hardness, bands))
        for label in labels
        if label.seconds is not None and label.person_id is not None
    ]
    task, person, seconds, at, kind = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    whole, real = np.int64, np.float64
    return Times(
        np.array(task, whole), np.array(person, whole), np.array(seconds, real), np.array(at, real),
        np.array(kind, whole),
    )  # fmt: skip


def _band(hardness: float | None, bands: int) -> int:
    """The number of a band; what is not known is a band of its own."""
    return 0 if not bands else -1 if hardness is None else min(int(hardness * bands), bands - 1)


def _counts(label: CostLabel, standing: Standing | None) -> bool:
    """Whether a suggested label is evidence about a class: not on what led to a decision that was taken back."""
    return standing is None or standing.hidden or label.at > standing.at


def _sum(labels: Iterable[CostLabel]) -> Counter[tuple[ClassOf, Fate]]:
    found: Counter[tuple[ClassOf, Fate]] = Counter()
    for label in labels:
        found.update(label.fates)
    return found


def _told(fates: Fates, name: ClassOf | None = None) -> dict[str, int]:
    return {fate: sum(n for (each, met), n in fates.items() if met == fate and name in (None, each)) for fate in FATES}


def _of_class(name: ClassOf, fates: Fates) -> dict[str, Any]:
    return {"control": name[0], "class": name[1], "regions": _told(fates, name)}


def _decision(standing: Standing | None) -> dict[str, Any] | None:
    if standing is None:
        return None
    verdict = "hidden" if standing.hidden else "shown"
    return {"verdict": verdict, "at": standing.at.isoformat(), "by": standing.by, "reason": standing.reason}


# -- in words -------------------------------------------------------------------------------------------------------------


def cost_text(report: Mapping[str, Any]) -> str:
    """The report for people: what is saved per task, then each class, then each model version."""
    labels = report["labels"]
    lines = [f"per task suggestions {saving_words(report['seconds_saved'])}"]
    lines.append(f"labels: {labels['blind']} blind, {labels['suggested']} with a suggestion{_left_out(labels)}")
    for each in report["classes"]:
        name = f"{each['control']} {each['class']!r}"
        lines.append(f"  {name}: {fate_words(each['regions'])}; {saving_words(each['seconds_saved'])}{_state(each)}")
    for each in report["versions"]:
        lines.append(f"  {each['model_version']}: {each['labels']} labels; {fate_words(each['regions'])}")
    return "\n".join(lines)


def saving_words(saving: Mapping[str, Any]) -> str:
    """A figure of seconds in words: "save 3.1 s (2.0 to 4.2)"."""
    if saving["value"] is None:
        return f"save or cost an unknown time ({saving['reason']})"
    low, high = saving["ci"]
    verb = "save" if saving["value"] >= 0 else "cost"
    return (
        f"{verb} {abs(saving['value']):.1f} s (saved: {low:.1f} to {high:.1f}; {saving['suggested_s']:.1f} s instead of "
        f"{saving['blind_s']:.1f} s; {saving['n_suggested']} suggested and {saving['n_blind']} blind tasks)"
    )


def fate_words(regions: Mapping[str, int]) -> str:
    """What became of regions: "accepted 8, moved 1"."""
    return ", ".join(f"{fate} {regions[fate]}" for fate in FATES if regions[fate]) or "nothing was suggested"


def _state(told: Mapping[str, Any]) -> str:
    decision = told["decision"]
    if not told["shown"]:
        return f"; hidden since {decision['at'][:10]}"
    if told["slows"]:
        return "; hidden from the next ranking on"
    return f"; shown again since {decision['at'][:10]}" if decision is not None else ""


def _left_out(labels: Mapping[str, Any]) -> str:
    found = ", ".join(f"{reason.replace('_', ' ')} {n}" for reason, n in labels["left_out"].items())
    return f"; not counted: {found}" if found else ""
