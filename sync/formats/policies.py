"""Whose label is the truth of a task. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from labelloop.errors import UsageError
from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region

Policy = Literal["latest", "majority", "consensus", "reviewed", "ground_truth"]
POLICIES: tuple[Policy, ...] = ("latest", "majority", "consensus", "reviewed", "ground_truth")
#: Under "consensus" a label that others support less is no truth.
LEAST_SUPPORT = 0.5

POLICY_MEANINGS = {
    "latest": "the newest label (of two at one time the higher annotation id)",
    "majority": "the newest of those with the choices that most people made; other controls do not vote",
    "consensus": "the label that the others agree with most, an approved one before it; tasks without one at half are left out",
    "reviewed": "the newest label that a reviewer approved; tasks without one are left out",
    "ground_truth": "the newest label marked as ground truth; tasks without one are left out",
}


class Candidate(Protocol):
    """What a policy looks at in a label."""

    annotation_id: int
    annotator: int | None
    at: datetime
    ground_truth: bool
    reviewed: str
    result: list[Region]


@dataclass(frozen=True)
class Truth:
    """The label that counts; `agreeing` of the labels said the same, None where that was not counted."""

    index: int
    agreeing: int | None

    def at(self, index: int) -> Truth:
        """The same label at another place."""
        return Truth(index, self.agreeing)


@dataclass(frozen=True)
class Support:
    """How far a task's labels agree with one of them, 0..1, and how many agree at least half."""

    mean: float
    agreeing: int


def checked_policy(policy: str) -> Policy:
    """The policy of that name; UsageError lists those there are."""
    for known in POLICIES:
        if policy == known:
            return known
    raise UsageError(f"expected one of {list(POLICIES)} as the policy, got {policy!r}")


def latest_of_each(labels: Sequence[Any]) -> list[Any]:
    """The latest label of each person, in order of annotation id; labels without a known person all stay."""
    if len(labels) < 2:
        return list(labels)
    kept: dict[int, Any] = {}
    unknown = [label for label in labels if label.annotator is None]
    for label in labels:
        if label.annotator is not None:
            best = kept.get(label.annotator)
            if best is None or (label.at, label.annotation_id) > (best.at, best.annotation_id):
                kept[label.annotator] = label
    return sorted([*kept.values(), *unknown], key=lambda label: label.annotation_id)


def truth_of(
    labels: Sequence[Candidate], policy: Policy, voting: Sequence[Control], support: Sequence[Support] | None = None
) -> Truth | None:
    """The label that counts as the truth among a task's current labels; None where the policy finds none.

    `voting` are the controls that vote under "majority" (`voting_controls`), `support` how far each of several labels
    agrees with the others, under "consensus" (`sync.formats.supports`).
    """
    if not labels:
        return None
    if policy == "consensus":
        return _consensus(labels, support)
    if policy == "majority" and voting:
        return _majority(labels, voting)
    wanted = list(range(len(labels)))
    if policy == "reviewed":
        wanted = [index for index in wanted if labels[index].reviewed == "approved"]
    elif policy == "ground_truth":
        wanted = [index for index in wanted if labels[index].ground_truth]
    return Truth(_newest(labels, wanted), None) if wanted else None


def voting_controls(config: LabelConfig) -> tuple[Control, ...]:
    """The controls whose choices vote: those about the task as a whole."""
    return tuple(c for c in config.controls if c.tag == "Choices" and not c.per_region)


def _newest(labels: Sequence[Candidate], wanted: Sequence[int]) -> int:
    if len(wanted) == 1:
        return wanted[0]
    return max(wanted, key=lambda index: (labels[index].at, labels[index].annotation_id))


def _majority(labels: Sequence[Candidate], voting: Sequence[Control]) -> Truth:
    votes = [_vote(label.result, voting) for label in labels]
    counted = Counter(votes)
    most = max(counted.values())
    ahead = [index for index, vote in enumerate(votes) if counted[vote] == most]
    return Truth(_newest(labels, ahead), most)


def _consensus(labels: Sequence[Candidate], support: Sequence[Support] | None) -> Truth | None:
    """An approved label before all others, the newest of several; else the best supported one that nobody rejected."""
    approved = [index for index, label in enumerate(labels) if label.reviewed == "approved"]
    open_ones = approved or [index for index, label in enumerate(labels) if label.reviewed != "rejected"]
    if not open_ones:
        return None
    if support is None or approved:
        chosen = _newest(labels, open_ones)
        return Truth(chosen, support[chosen].agreeing if support is not None else None)
    best = max(support[index].mean for index in open_ones)
    if best < LEAST_SUPPORT:
        return None
    chosen = _newest(labels, [index for index in open_ones if support[index].mean == best])
    return Truth(chosen, support[chosen].agreeing)


def _vote(result: list[Region], voting: Sequence[Control]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(
            sorted(
                str(label)
                for region in result
                if region.get("from_name") == control.name
                for label in (region.get("value") or {}).get(control.value_key) or []
            )
        )
        for control in voting
    )
