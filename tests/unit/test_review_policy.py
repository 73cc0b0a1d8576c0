"""Where tasks stand in the review workflow, case by case, and what must hold of every case."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelloop.label_config import parse_label_config
from qa.review.pair_scores import Answer, compare_answers, same_content
from qa.review.policy import REASONS, STAGES, Case, Opinion, Rules, is_low_confidence, standing

RULES = Rules()
CHOICE = parse_label_config(
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="sea"/><Choice value="land"/><Choice value="Not sure"/></Choices></View>'
)


def case(*opinions: Opinion, overlap: int = 2, scores: dict[tuple[int, int], float] | None = None, **more: Any) -> Case:
    return Case(1, overlap, opinions, scores or {}, **more)


def two(score: float | None, **more: Any) -> Case:
    return case(Opinion(1), Opinion(2), scores={} if score is None else {(1, 2): score}, **more)


def choice(label: str, **more: Any) -> list[dict[str, Any]]:
    value = {"choices": [label]}
    return [{"id": "x", "from_name": "topic", "to_name": "text", "type": "choices", "value": value, **more}]


@pytest.mark.parametrize(
    ("given_case", "stage", "reasons"),
    [
        (case(Opinion(1)), "label", ("people_missing",)),
        (two(0.75), "approved", ("agreement",)),
        (two(0.74), "label", ("third_person",)),
        (two(None), "label", ("third_person",)),
        (two(0.2, overlap=3), "label", ("people_missing",)),
        (case(Opinion(1), overlap=1), "consensus", ("one_person",)),
        (case(Opinion(1, sampled=True), overlap=1), "review", ("spot_check",)),
        (case(Opinion(1, low_confidence=True), overlap=1), "review", ("low_confidence",)),
        (case(Opinion(1, unsure=True), overlap=1), "review", ("unsure",)),
        (case(Opinion(1, verdict="approved", sampled=True), overlap=1), "approved", ("reviewed",)),
        (two(1.0, asked=("spot_check",)), "review", ("spot_check",)),
        (two(0.0, asked=("disagreement",), answered=True), "approved", ("reviewed",)),
        (case(Opinion(1, verdict="rejected"), overlap=1), "label", ("rejected",)),
        (case(Opinion(1, verdict="rejected"), Opinion(2), overlap=2), "review", ("label_rejected",)),
        (case(Opinion(1), Opinion(2, unsure=True)), "review", ("disagreement", "unsure")),
    ],
)
def test_where_a_task_stands(given_case: Case, stage: str, reasons: tuple[str, ...]) -> None:
    found = standing(given_case, RULES)
    assert (found.stage, found.reasons) == (stage, reasons)


def test_one_more_person_is_asked_once_and_then_a_reviewer() -> None:
    assert standing(two(0.0), RULES).overlap == 3
    three = case(Opinion(1), Opinion(2), Opinion(3), overlap=3, scores={(1, 2): 0.0, (1, 3): 1.0, (2, 3): 0.0})
    found = standing(three, RULES)
    assert (found.stage, found.reasons, found.overlap, found.disagree) == ("review", ("disagreement",), None, True)
    assert found.score == pytest.approx(1 / 3)


def test_the_gate_holds_back_what_nobody_looked_at() -> None:
    single = case(Opinion(1), overlap=1)
    assert standing(single, Rules(gate=True)).stage == "consensus"
    assert standing(single, Rules(gate=False)).stage == "approved"
    assert standing(two(0.1), Rules(gate=False)).stage == "label"


def test_flags_of_low_confidence_can_be_turned_off() -> None:
    flagged = case(Opinion(1, low_confidence=True), overlap=1)
    assert standing(flagged, Rules(flag_low_confidence=False)).stage == "consensus"


verdicts = st.sampled_from([None, "approved", "rejected"])
opinions = st.lists(st.tuples(verdicts, st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=5)
ASKED = st.sampled_from([(), ("spot_check",)])


@given(opinions, st.integers(1, 5), st.data(), ASKED, st.booleans(), st.booleans())
def test_nothing_passes_unreviewed_below_the_threshold(
    drawn: list[Any], overlap: int, data: st.DataObject, asked: tuple[str, ...], answered: bool, gate: bool
) -> None:
    people = tuple(Opinion(n, *each) for n, each in enumerate(drawn, start=1))
    pairs = [(a, b) for a in range(1, len(people) + 1) for b in range(a + 1, len(people) + 1)]
    scores = {pair: data.draw(st.floats(0, 1)) for pair in pairs if data.draw(st.booleans())}
    rules = Rules(gate=gate)
    found = standing(Case(1, overlap, people, scores, asked, answered), rules)
    assert found.stage in STAGES and found.reasons and set(found.reasons) <= set(REASONS)
    live = [p for p in people if p.verdict != "rejected"]
    looked_at = answered or (bool(live) and all(p.verdict == "approved" for p in live))
    if found.stage == "approved" and not looked_at:
        kept = [s for (a, b), s in scores.items() if {a, b} <= {p.annotation_id for p in live}]
        assert not asked and len(people) >= overlap
        assert (len(live) == 1 and not gate) or (len(live) > 1 and sum(kept) / len(kept) >= rules.threshold)
        assert not any(p.sampled or p.unsure or p.low_confidence for p in live if p.verdict is None)
    if found.overlap is not None:
        assert found.overlap > overlap and found.stage == "label" and found.overlap <= rules.people + 1


@pytest.mark.parametrize(
    ("score", "confidence", "accepted", "expected"),
    [
        (0.0, 0.9, False, True),
        (0.0, 0.5, False, False),
        (1.0, 0.5, True, True),
        (1.0, 0.5, False, False),
        (1.0, 0.9, True, False),
        (None, 0.9, False, False),
        (0.0, None, False, False),
    ],
)
def test_low_confidence(score: float | None, confidence: float | None, accepted: bool, expected: bool) -> None:
    assert is_low_confidence(score, confidence, accepted=accepted, threshold=0.75) is expected


def test_answers_are_compared_within_their_tasks_and_the_unsure_say_nothing() -> None:
    answers = [
        Answer(1, 11, choice("sea")), Answer(1, 12, choice("land")), Answer(1, 13, choice("sea")),
        Answer(2, 21, choice("sea")), Answer(2, 22, choice("Not sure")), Answer(3, 31, []), Answer(3, 32, []),
    ]  # fmt: skip
    found = compare_answers(answers, CHOICE)
    assert found.of(1) == {(11, 12): 0.0, (11, 13): 1.0, (12, 13): 0.0}
    assert found.of(2) == {} and found.of(3) == {}
    assert found.unsure == {(2, 22)}
    assert compare_answers([], CHOICE).scores == {}


def test_scores_are_means_over_controls() -> None:
    both = parse_label_config(
        '<View><Text name="text" value="$text"/><Choices name="a" toName="text"><Choice value="x"/><Choice value="y"/>'
        '</Choices><Choices name="b" toName="text"><Choice value="x"/><Choice value="y"/></Choices></View>'
    )

    def said(first: str, second: str) -> list[dict[str, Any]]:
        return [choice(first)[0] | {"from_name": "a"}, choice(second)[0] | {"from_name": "b"}]

    found = compare_answers([Answer(1, 1, said("x", "x")), Answer(1, 2, said("x", "y"))], both)
    assert found.of(1) == {(1, 2): 0.5}


def test_the_same_content_is_the_same_whoever_drew_it() -> None:
    box: dict[str, Any] = {
        "from_name": "b",
        "to_name": "i",
        "type": "rectanglelabels",
        "value": {"x": 1, "y": 2.5, "rectanglelabels": ["a"]},
    }
    other = {**box, "value": {"x": 1.0, "y": 2.5, "rectanglelabels": ["c"]}}
    assert same_content(
        [{**box, "id": "1", "origin": "prediction", "score": 0.4}, other],
        [{**other, "id": "9"}, {**box, "id": "2", "origin": "manual"}],
    )
    assert not same_content([box], [other]) and not same_content([box], [box, box]) and same_content([], [])
    assert not same_content([box], [{**box, "value": {**box["value"], "x": 1.01}}])
