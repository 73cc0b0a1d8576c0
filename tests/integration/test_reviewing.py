"""The review workflow on a store and a Label Studio in memory: who is asked, what reviewers' answers do, which tabs there are."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from labelloop.errors import DataError, ServiceDown, UsageError
from labelloop.label_studio import Person
from labelloop.store.decisions import decisions_of, verify_chain
from labelloop.store.types import utc_now

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, FakeLabelStudio, Loop, choice, make_loop
from mirror_steps import read

from sync.review_cases import review_answers
from sync.review_tabs import DISAGREEMENT, NEEDS_REVIEW, Reviewer, is_marker
from sync.reviewing import ReviewSummary, give_verdict, review_pass, review_report
from sync.stored_labels import labelled_tasks

pytestmark = pytest.mark.integration

ANN, BOB, EVE = 7, 8, 9
ALL = ("pool", "holdout", "blind", "gold")


class ReviewedLabelStudio(FakeLabelStudio):
    """With tabs, accounts and numbers of people."""

    def __init__(self) -> None:
        super().__init__()
        self.tabs: dict[str, str] = {}
        self.now = utc_now() - timedelta(hours=5)

    def people(self) -> list[Person]:
        return [Person(number, f"{name}@x.org", name) for number, name in ((ANN, "ann"), (BOB, "bob"), (EVE, "eve"))]

    def model_versions(self, project_id: int) -> dict[str, int]:
        return self.by_version()

    def marked_tasks(self, project_id: int, marker: str) -> set[int]:
        return self.tasks_holding(project_id, marker)

    def ensure_marked_view(self, project_id: int, title: str, marker: str) -> int:
        self._called("ensure_marked_view")
        self.tabs[title] = marker
        return 1

    def views(self, project_id: int) -> list[dict[str, Any]]:
        return [
            {"id": title, "data": {"title": title, "filters": {"items": [
                {"filter": "filter:tasks:predictions_model_versions", "value": [marker]}]}}}
            for title, marker in self.tabs.items()
        ]  # fmt: skip

    def delete_view(self, view_id: Any) -> None:
        raise AssertionError("no number")

    def set_task_overlap(self, task_id: int, overlap: int, *, reopen: bool = False) -> None:
        self._called("set_task_overlap")
        assert reopen
        self.tasks[task_id] = replace(self.tasks[task_id], overlap=overlap, updated_at=self.tick())

    def marked(self, marker: str) -> set[int]:
        rows = [row["task"] for row in self.predictions if row["model_version"] == marker]
        assert len(rows) == len(set(rows))
        return set(rows)


@dataclass
class ReviewLoop(Loop):
    remote: ReviewedLabelStudio


def reviewed_loop(path: Path, **more: str) -> ReviewLoop:
    settings = {"QUALITY__SPOT_CHECK": "0", "QUALITY__REVIEWERS": "ann@x.org", **more}
    made = make_loop(path, **settings)
    loop = ReviewLoop(made.runtime, ReviewedLabelStudio(), made.registry, made.queue)
    loop.runtime.__dict__["client"] = loop.remote
    return loop


@pytest.fixture
def loop(tmp_path: Path) -> ReviewLoop:
    return reviewed_loop(tmp_path)


def later(loop: ReviewLoop) -> None:
    """What people do next comes after what was decided."""
    loop.remote.now = max(loop.remote.now, utc_now()) + timedelta(minutes=1)


def go(loop: ReviewLoop) -> ReviewSummary:
    read(loop)
    summary = review_pass(loop.runtime, loop.project)
    read(loop)
    assert verify_chain(loop.store, PROJECT) == []
    return summary


def decided(loop: ReviewLoop, stage: str) -> list[tuple[int, int | None, str, str]]:
    return [(d.task_id, d.annotation_id, d.verdict, d.by) for d in decisions_of(loop.store, PROJECT, 0, 10**6, stage)]


def statuses(loop: ReviewLoop) -> dict[int, str]:
    return {
        label.annotation_id: label.reviewed
        for part in labelled_tasks(loop.store, PROJECT, ALL)
        for task in part
        for label in task.labels
    }


def overlapped(loop: ReviewLoop, task_id: int, *labels: str, first: int = 1) -> list[int]:
    loop.remote.add_task(task_id, overlap=2)
    return [loop.remote.annotate(task_id, label, person) for person, label in enumerate(labels, start=first)]


def to_review(loop: ReviewLoop, task_id: int = 1) -> list[int]:
    """A task on which three people do not agree, and a reviewer was asked."""
    made = overlapped(loop, task_id, "sea", "land")
    go(loop)
    made.append(loop.remote.annotate(task_id, "land", 3))
    go(loop)
    assert loop.remote.marked(NEEDS_REVIEW) == {task_id}
    later(loop)
    return made


def test_who_agrees_passes_and_who_does_not_gets_a_third_person_and_then_a_reviewer(loop: ReviewLoop) -> None:
    agreeing = overlapped(loop, 1, "sea", "sea")
    overlapped(loop, 2, "sea", "land")
    loop.remote.add_task(3)
    loop.remote.annotate(3, "sea", 1)
    loop.remote.add_task(4)
    summary = go(loop)
    assert dict(summary.stages) == {"approved": 1, "label": 1, "consensus": 1}
    assert summary.asked_for_one_more == [2] and loop.remote.tasks[2].overlap == 3
    assert loop.remote.marked("approved") == {1} and loop.remote.marked(DISAGREEMENT) == {2}
    assert {a for a, status in statuses(loop).items() if status == "approved"} == set(agreeing)
    again = go(loop)
    assert again.asked_for_one_more == [] and not again.decided and loop.remote.tasks[2].overlap == 3
    loop.remote.annotate(2, "land", 3)
    summary = go(loop)
    assert summary.reasons["disagreement"] == 1 and loop.remote.tasks[2].overlap == 3
    assert decided(loop, "review") == [(2, None, "requested", "labelloop")]
    assert loop.remote.marked(NEEDS_REVIEW) == {2} == loop.remote.marked(Reviewer(ANN, "ann").marker)
    assert set(loop.remote.tabs) == {"Needs review", "Needs review (ann)", "Disagreement", "Approved"}


def test_a_pass_that_is_repeated_writes_nothing(loop: ReviewLoop) -> None:
    overlapped(loop, 2, "sea", "sea")
    to_review(loop)
    before, calls = decided(loop, "review") + decided(loop, "consensus"), len(loop.remote.calls)
    ids = [row["id"] for row in loop.remote.predictions]
    assert not go(loop).decided
    assert decided(loop, "review") + decided(loop, "consensus") == before
    assert [row["id"] for row in loop.remote.predictions] == ids
    assert not {"push_predictions", "delete_prediction", "set_task_overlap"} & set(loop.remote.calls[calls:])


def test_a_reviewers_answer_approves_the_same_and_rejects_the_others(loop: ReviewLoop) -> None:
    sea, land, third = to_review(loop)
    answer = loop.remote.annotate(1, "land", ANN)
    summary = go(loop)
    assert summary.stages["approved"] == 1 and summary.reasons["reviewed"] == 1
    assert statuses(loop) == {sea: "rejected", land: "approved", third: "approved", answer: "approved"}
    assert loop.remote.marked(NEEDS_REVIEW) == set() and loop.remote.marked("approved") == {1}
    assert review_answers(loop.store, PROJECT) == {answer}
    assert {by for *_, by in decided(loop, "review")[1:]} == {str(ANN)}
    assert not go(loop).decided


def test_a_corrected_answer_is_the_answer_and_a_changed_one_is_heard_again(loop: ReviewLoop) -> None:
    made = to_review(loop)
    answer = loop.remote.annotate(1, "sea", ANN)
    go(loop)
    assert statuses(loop)[answer] == "approved" and statuses(loop)[made[1]] == "rejected"
    later(loop)
    loop.remote.change(answer, result=choice("land"))
    go(loop)
    assert statuses(loop) == {made[0]: "rejected", made[1]: "approved", made[2]: "approved", answer: "approved"}
    assert not go(loop).decided


def test_own_work_is_absent_from_the_tab_and_a_self_review_is_refused(tmp_path: Path) -> None:
    loop = reviewed_loop(tmp_path, QUALITY__REVIEWERS="ann@x.org,bob@x.org")
    overlapped(loop, 1, "sea", "land", first=ANN)
    go(loop)
    third = loop.remote.annotate(1, "sea", EVE)
    go(loop)
    assert loop.remote.marked(NEEDS_REVIEW) == {1}
    assert loop.remote.marked(Reviewer(ANN, "").marker) == loop.remote.marked(Reviewer(BOB, "").marker) == set()
    later(loop)
    # Both give in: nothing but agreement, made of self-reviews.
    own = loop.remote.annotate(1, "sea", BOB)
    summary = go(loop)
    assert (1, own, "refused", str(BOB)) in decided(loop, "review")
    assert summary.stages["review"] == 1 and set(statuses(loop).values()) == {"unreviewed"}
    assert not go(loop).decided
    with pytest.raises(DataError, match="nobody reviews own work"):
        give_verdict(loop.runtime, loop.project, 1, "approved", "ann@x.org", "mine is right")
    assert decided(loop, "review")[-1][2:] == ("refused", str(ANN)) and statuses(loop)[third] == "unreviewed"
    assert go(loop).stages["review"] == 1


def test_somebody_who_reviews_labels_like_others_before_a_review_is_asked_for(loop: ReviewLoop) -> None:
    loop.remote.add_task(1, overlap=2)
    loop.remote.annotate(1, "sea", ANN)
    loop.remote.annotate(1, "sea", 2)
    go(loop)
    assert decided(loop, "review") == [] and set(statuses(loop).values()) == {"approved"}


def test_a_changed_label_passes_no_longer(loop: ReviewLoop) -> None:
    first, second = overlapped(loop, 1, "sea", "sea")
    go(loop)
    later(loop)
    loop.remote.change(second, result=choice("land"))
    go(loop)
    assert set(statuses(loop).values()) == {"unreviewed"}
    assert (1, first, "withdrawn", "labelloop") in decided(loop, "consensus")
    later(loop)
    loop.remote.change(second, result=choice("sea"))
    loop.remote.annotate(1, "sea", 3)
    go(loop)
    assert set(statuses(loop).values()) == {"approved"} and not go(loop).decided


def test_spot_checks_stay_chosen_and_unsure_answers_are_looked_at(tmp_path: Path) -> None:
    loop = reviewed_loop(tmp_path, QUALITY__SPOT_CHECK="0.3")
    for task_id in range(1, 41):
        loop.remote.add_task(task_id)
        loop.remote.annotate(task_id, "sea", task_id % 3 + 1)
    go(loop)
    drawn = loop.remote.marked(NEEDS_REVIEW)
    assert 3 <= len(drawn) <= 22
    for task_id in range(41, 61):
        loop.remote.add_task(task_id)
        loop.remote.annotate(task_id, "Unsure", 1)
    go(loop)
    assert {t for t in loop.remote.marked(NEEDS_REVIEW) if t <= 40} == drawn
    assert {t for t in loop.remote.marked(NEEDS_REVIEW) if t > 40} == set(range(41, 61))


def test_a_verdict_by_the_command_line(loop: ReviewLoop) -> None:
    made = to_review(loop)
    with pytest.raises(UsageError, match="differ"):
        give_verdict(loop.runtime, loop.project, 1, "approved", "ann@x.org", "")
    with pytest.raises(UsageError, match="none of the reviewers"):
        give_verdict(loop.runtime, loop.project, 1, "approved", "bob@x.org", "")
    with pytest.raises(UsageError, match="no account"):
        give_verdict(loop.runtime, loop.project, 1, "approved", "nobody@x.org", "")
    with pytest.raises(UsageError, match="no labels"):
        give_verdict(loop.runtime, loop.project, 99, "approved", "ann@x.org", "")
    told = give_verdict(loop.runtime, loop.project, 1, "rejected", str(ANN), "none is right")
    assert {(each["annotation"], each["verdict"]) for each in told} == {(each, "rejected") for each in made}
    assert set(statuses(loop).values()) == {"rejected"}
    overlapped(loop, 2, "sea", "sea")
    read(loop)
    give_verdict(loop.runtime, loop.project, 2, "approved", "ann@x.org", "fine")
    assert review_report(loop.runtime, loop.project).stages["approved"] == 1


def test_known_answers_are_compared_and_not_reviewed(loop: ReviewLoop) -> None:
    loop.remote.add_task(1, overlap=2)
    loop.remote.annotate(1, "sea", 5, ground_truth=True)
    right, wrong = loop.remote.annotate(1, "sea", 1), loop.remote.annotate(1, "land", 2)
    summary = go(loop)
    assert summary.to_json()["honeypots"] == {"1": {"n": 1, "right": 1.0}, "2": {"n": 1, "right": 0.0}}
    assert decided(loop, "honeypot") == [(1, right, "right", "labelloop"), (1, wrong, "wrong", "labelloop")]
    assert summary.stages.total() == 0 and loop.remote.predictions == [] and not go(loop).decided


def test_a_label_that_is_made_beside_markers_is_blind(loop: ReviewLoop) -> None:
    to_review(loop)
    markers = [row for row in loop.remote.predictions if row["task"] == 1]
    assert markers and all(is_marker(row["model_version"]) and row["result"] == [] for row in markers)
    answer = loop.remote.annotate(1, "land", ANN, parent_prediction=markers[0]["id"])
    read(loop)
    found = {row.annotation_id: row for row in loop.store.labels(PROJECT)}
    assert found[answer].shown_serving_id is None


def test_other_predictions_stay_and_lost_markers_come_back(loop: ReviewLoop) -> None:
    to_review(loop)
    loop.remote.push_predictions(PROJECT, [{"task": 1, "result": choice("sea"), "score": 0.4, "model_version": "m-r1"}])
    loop.remote.predictions = [row for row in loop.remote.predictions if row["model_version"] != NEEDS_REVIEW]
    go(loop)
    assert loop.remote.marked(NEEDS_REVIEW) == {1} == loop.remote.marked("m-r1")
    loop.remote.annotate(1, "sea", ANN)
    go(loop)
    assert loop.remote.marked(NEEDS_REVIEW) == set() and loop.remote.marked("m-r1") == {1}


@pytest.mark.parametrize("call", ["push_predictions", "set_task_overlap", "ensure_marked_view"])
def test_a_pass_that_stops_is_made_good_by_the_next(loop: ReviewLoop, call: str) -> None:
    overlapped(loop, 1, "sea", "sea")
    overlapped(loop, 2, "sea", "land")
    loop.remote.fail[call] = ServiceDown("away")
    with pytest.raises(ServiceDown):
        go(loop)
    go(loop)
    assert loop.remote.marked("approved") == {1} and loop.remote.tasks[2].overlap == 3
    assert [verdict for *_, verdict, _ in decided(loop, "consensus")] == ["approved", "approved"]


def test_a_pass_over_some_tasks_leaves_the_markers_of_others(loop: ReviewLoop) -> None:
    overlapped(loop, 1, "sea", "sea")
    overlapped(loop, 2, "sea", "sea")
    go(loop)
    overlapped(loop, 3, "land", "land")
    read(loop)
    review_pass(loop.runtime, loop.project, [3])
    assert loop.remote.marked("approved") == {1, 2, 3}


def test_a_report_writes_nothing(loop: ReviewLoop) -> None:
    overlapped(loop, 1, "sea", "sea")
    read(loop)
    calls = len(loop.remote.calls)
    assert review_report(loop.runtime, loop.project).stages["approved"] == 1
    assert len(loop.remote.calls) == calls and decided(loop, "consensus") == []
