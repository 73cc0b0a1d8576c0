"""Where a task stands: it waits for people, passes by agreement, needs a reviewer, or is approved. Values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["label", "consensus", "review", "approved"]
STAGES: tuple[Stage, ...] = ("label", "consensus", "review", "approved")

#: Why a task needs a reviewer, or waits.
REASONS: Mapping[str, str] = {
    "disagreement": "people agree less than quality.agreement_threshold, or it can't be told how far",
    "unsure": "somebody said that he could not tell",
    "low_confidence": "a model that is sure says something else, or a suggestion that it was unsure of was accepted",
    "spot_check": "one of the labels that quality.spot_check draws of each person",
    "label_rejected": "a reviewer rejected another label of the task",
    "rejected": "a reviewer rejected every label",
    "people_missing": "fewer people than the task asks for have labelled it",
    "third_person": "people disagree, and one more is asked",
    "one_person": "one person labelled it, and nobody has looked at that",
    "agreement": "people agree",
    "no_gate": "quality.review_gate is off, and nothing speaks against it",
    "reviewed": "a reviewer approved it",
}


@dataclass(frozen=True)
class Rules:
    """What `quality.*` asks for. `people`: how many label a task that several label."""

    threshold: float = 0.75
    people: int = 2
    gate: bool = True
    flag_low_confidence: bool = True


@dataclass(frozen=True)
class Opinion:
    """One person's label as it is now. `verdict` is what a reviewer said of it: "approved", "rejected" or None."""

    annotation_id: int
    verdict: str | None = None
    unsure: bool = False
    sampled: bool = False
    low_confidence: bool = False


@dataclass(frozen=True)
class Case:
    """A task with its labels, but for reviewers' answers.

    `scores` are of every two labels, by their annotations, the smaller id first. `asked`: a reviewer was asked, and has not
    answered. `answered`: a reviewer gave an answer of his own, which holds.
    """

    task_id: int
    overlap: int
    opinions: tuple[Opinion, ...]
    scores: Mapping[tuple[int, int], float] = field(default_factory=dict)
    asked: tuple[str, ...] = ()
    answered: bool = False


@dataclass(frozen=True)
class Standing:
    """Where a task stands and why. `overlap` is the number of people to ask for, where that is more than now.

    `score`: the mean of the scores of every two labels; None where there is none. `disagree`: it is below the threshold, or
    None though several labelled.
    """

    task_id: int
    stage: Stage
    reasons: tuple[str, ...]
    score: float | None
    people: int
    disagree: bool = False
    overlap: int | None = None


def standing(case: Case, rules: Rules) -> Standing:
    """Where a task stands.

    Once a reviewer was asked, nothing but a verdict lets the task pass: people who change their labels afterwards may have
    seen the others'.
    """
    live = [opinion for opinion in case.opinions if opinion.verdict != "rejected"]
    ids = {opinion.annotation_id for opinion in live}
    scored = [score for pair, score in case.scores.items() if ids.issuperset(pair)]
    # A pair without a score says nothing, so what is left may stand for less than all.
    score = sum(scored) / len(scored) if scored else None
    disagree = len(live) > 1 and (score is None or score < rules.threshold)

    def found(stage: Stage, *reasons: str, overlap: int | None = None) -> Standing:
        return Standing(
            case.task_id, stage, reasons, score, len(case.opinions), disagree and stage != "approved", overlap
        )

    if case.answered or (live and all(opinion.verdict == "approved" for opinion in live)):
        return found("approved", "reviewed")
    if case.asked:
        return found("review", *case.asked)
    if not live and case.opinions:
        wanted = len(case.opinions) + 1
        if wanted <= rules.people + 1:
            return found("label", "rejected", overlap=wanted if wanted > case.overlap else None)
        return found("review", "rejected")
    if len(case.opinions) < case.overlap:
        return found("label", "people_missing")
    flags = _flags(live, rules)
    if len(live) < len(case.opinions):
        flags.insert(0, "label_rejected")
    if disagree and "unsure" not in flags and case.overlap <= rules.people:
        return found("label", "third_person", overlap=case.overlap + 1)
    if disagree:
        flags.insert(0, "disagreement")
    if flags:
        return found("review", *flags)
    if len(live) > 1:
        return found("approved", "agreement")
    return found("consensus", "one_person") if rules.gate else found("approved", "no_gate")


def _flags(live: list[Opinion], rules: Rules) -> list[str]:
    """What asks for a reviewer besides disagreement; a label that one has approved asks for nothing."""
    open_ones = [opinion for opinion in live if opinion.verdict is None]
    flags = {
        "unsure": any(opinion.unsure for opinion in open_ones),
        "low_confidence": rules.flag_low_confidence and any(opinion.low_confidence for opinion in open_ones),
        "spot_check": any(opinion.sampled for opinion in open_ones),
    }
    return [name for name, raised in flags.items() if raised]


def is_low_confidence(score: float | None, confidence: float | None, *, accepted: bool, threshold: float) -> bool:
    """Whether a label is of low confidence, by what a model said of its task.

    `score`: how far the label agrees with the model's answer; `accepted`: it began as that answer. A sure model that says
    something else makes it so, and an answer that was merely taken over from a model that was not sure.
    """
    if score is None or confidence is None:
        return False
    if score < threshold:
        return confidence >= threshold
    return accepted and confidence < threshold
