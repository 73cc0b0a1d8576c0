"""One pass of the review workflow: reviewers' answers are noted, tasks pass or are asked about, and tabs follow."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from labelloop.errors import DataError, NotReady, UsageError
from labelloop.label_config import parse_label_config
from labelloop.store import LabelRow, ProjectRow
from labelloop.store.decisions import (
    APPROVED,
    CONSENSUS,
    REFUSED,
    REJECTED,
    REQUESTED,
    REVIEW,
    WITHDRAWN,
    New,
    decide_all,
    passed,
)
from labelloop.store.leases import HeldLease, holding
from qa.review.pair_scores import Compared, same_content
from qa.review.policy import STAGES, Standing, standing
from sync.review_cases import Judge, TaskLabels, authors, read_tasks, rules_of
from sync.review_tabs import Marked, Reviewer, bring_tabs, reviewers_of
from sync.runtime import Runtime

log = logging.getLogger(__name__)

LEASE_TTL_S = 60.0
#: Tasks that are read and judged at once, and decisions that are written at once: a transaction for each takes 1 ms and more.
PART, WRITTEN = 1000, 200
BY_LABELLOOP = "labelloop"
#: The stage of comparisons with known answers, which decide nothing about a label.
HONEYPOT, RIGHT, WRONG = "honeypot", "right", "wrong"


@dataclass
class ReviewSummary:
    """What stands where after a pass, and what the pass did."""

    project: int
    stages: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)
    asked_for_one_more: list[int] = field(default_factory=list)
    tabs: dict[str, int] = field(default_factory=dict)
    gold: dict[int, list[float]] = field(default_factory=dict)
    standings: list[Standing] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As `labelloop review --json` prints it."""
        waiting = [
            {**asdict(each), "reasons": list(each.reasons)}
            for each in sorted(self.standings, key=lambda each: (STAGES.index(each.stage), each.task_id))
            if each.stage == "review" or each.disagree
        ]
        return {
            "schema_version": 1,
            "project": self.project,
            "stages": {stage: self.stages[stage] for stage in STAGES},
            "reasons": dict(sorted(self.reasons.items())),
            "decided": dict(sorted(self.decided.items())),
            "asked_for_one_more": sorted(self.asked_for_one_more),
            "tabs": dict(sorted(self.tabs.items())),
            "honeypots": {
                str(person): {"n": len(scores), "right": _mean([float(score) for score in scores])}
                for person, scores in sorted(self.gold.items())
            },
            "tasks": waiting,
        }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def review_pass(
    runtime: Runtime, project: ProjectRow, task_ids: Sequence[int] | None = None, *, tabs: bool = True
) -> ReviewSummary:
    """Judge the tasks that have labels (of these only, where given) and act on it; repeating it changes nothing.

    What people said is in the store before anything is written to Label Studio, so a pass that was stopped is made good
    by the next. NotReady while another worker does the same. ServiceDown without Label Studio, after the decisions.
    """
    with holding(runtime.store, project.project_id, "review", LEASE_TTL_S) as lease:
        if lease is None:
            raise NotReady(f"another worker reviews project {project.title!r} at this moment; run this again")
        return _Pass(runtime, project, lease).run(task_ids, tabs)


def review_report(runtime: Runtime, project: ProjectRow) -> ReviewSummary:
    """Where every task with labels stands now; nothing is written, and Label Studio is not asked."""
    return _Pass(runtime, project, None).run(None, tabs=False)


class _Pass:
    """One pass; without a lease it only looks."""

    def __init__(self, runtime: Runtime, project: ProjectRow, lease: HeldLease | None) -> None:
        self.runtime, self.project, self.lease = runtime, project, lease
        self.store, self.project_id = runtime.store, project.project_id
        self.quality = runtime.project_settings(project).quality
        self.rules = rules_of(self.quality)
        self.judge = Judge(runtime, project, parse_label_config(project.label_config))
        self.summary = ReviewSummary(project.project_id)
        self.marked = Marked()
        #: What is decided of the tasks at hand, and not written yet.
        self._due: list[tuple[TaskLabels, New]] = []

    def run(self, task_ids: Sequence[int] | None, tabs: bool) -> ReviewSummary:
        reviewers = reviewers_of(self.runtime, self.quality.reviewers) if self.lease is not None else []
        wanted = sorted(self.store.task_ids(self.project_id) if task_ids is None else set(task_ids))
        for start in range(0, len(wanted), PART):
            self._part(wanted[start : start + PART], reviewers)
        if self.lease is not None:
            self._ask_people()
            if tabs:
                scope = None if task_ids is None else set(wanted)
                self.summary.tabs = bring_tabs(
                    self.runtime, self.project_id, self.marked, reviewers, scope, self.lease.check
                )
        return self.summary

    def _part(self, task_ids: Sequence[int], reviewers: Sequence[Reviewer]) -> None:
        tasks = read_tasks(self.store, self.project_id, task_ids)
        if self.lease is not None and reviewers:
            self._hear(tasks, {reviewer.person_id for reviewer in reviewers})
        compared = self.judge.compared(tasks)
        doubtful = self.judge.doubtful(tasks)
        found = []
        for task in tasks:
            if task.is_gold:
                self._honeypot(task, compared)
                continue
            now = standing(self.judge.case(task, compared, doubtful), self.rules)
            found.append(now)
            self._act(task, now)
        self._write_due()
        self._note(found)

    def _note(self, found: Sequence[Standing]) -> None:
        """Count where the tasks stand, and put them under their tabs."""
        own = authors(self.store, self.project_id, [each.task_id for each in found if each.stage == "review"])
        for each in found:
            self.summary.stages[each.stage] += 1
            self.summary.reasons.update(each.reasons)
            if each.stage == "review" or each.disagree:
                self.summary.standings.append(each)
            if each.stage == "review":
                self.marked.review[each.task_id] = frozenset(own.get(each.task_id, {}))
            elif each.stage == "approved":
                self.marked.approved.add(each.task_id)
            if each.disagree:
                self.marked.disagreement.add(each.task_id)
            if each.overlap is not None:
                self.marked.overlap[each.task_id] = each.overlap

    # -- what reviewers said --------------------------------------------------------------------------------------

    def _hear(self, tasks: Sequence[TaskLabels], reviewers: set[int]) -> None:
        """Note the labels that reviewers made of tasks after they were asked to look."""
        new = [
            (task, label)
            for task in tasks
            for label in task.labels
            if label.person_id in reviewers and task.request(label) is not None and not _is_noted(task, label)
        ]
        own = authors(self.store, self.project_id, {task.task_id for task, _ in new})
        for task, label in sorted(new, key=lambda each: each[1].updated_at):
            theirs = own.get(task.task_id, {}).get(label.person_id, set())
            earlier = {each for each in theirs if each < label.annotation_id} - _approved_by(task, label.person_id)
            if earlier and not task.is_review(label):
                told = "own work: the task has a label of theirs"
                self._write([(task, _new(task, label, REVIEW, REFUSED, told, str(label.person_id)))])
            else:
                self._verdicts(task, label)

    def _verdicts(self, task: TaskLabels, answer: LabelRow) -> None:
        """A reviewer's answer approves the labels that say the same, rejects the others, and is the answer."""
        by = str(answer.person_id)
        told = []
        for label in task.labels:
            if label.annotation_id == answer.annotation_id:
                continue
            same = same_content(label.result, answer.result)
            reason = f"{'as' if same else 'corrected by'} annotation {answer.annotation_id}"
            told.append(_new(task, label, REVIEW, APPROVED if same else REJECTED, reason, by))
        told.append(_new(task, answer, REVIEW, APPROVED, "a reviewer's answer", by))
        self._write([(task, new) for new in told])

    # -- what follows ---------------------------------------------------------------------------------------------

    def _act(self, task: TaskLabels, now: Standing) -> None:
        """Write down what a standing means: a label passes or passes no longer, or a reviewer is asked."""
        if self.lease is None:
            return
        if now.stage == "review" and task.open_request() is None:
            self._due.append((task, _new(task, None, REVIEW, REQUESTED, f"{', '.join(now.reasons)}: {_told(now)}")))
        agreed = now.stage == "approved" and now.reasons in (("agreement",), ("no_gate",))
        for label in task.labels:
            has = passed(task.decisions, label.annotation_id, label.rev_hash, label.updated_at)
            open_one = task.verdict(label) is None and not task.is_review(label)
            if agreed and open_one and not has:
                self._due.append((task, _new(task, label, CONSENSUS, APPROVED, f"{now.reasons[0]}: {_told(now)}")))
            elif has and open_one and now.stage != "approved":
                self._due.append(
                    (task, _new(task, label, CONSENSUS, WITHDRAWN, f"{', '.join(now.reasons)}: {_told(now)}"))
                )

    def _honeypot(self, task: TaskLabels, compared: Compared) -> None:
        """Compare each person's answer with the known one, and write that down once for each content."""
        for label in task.labels:
            score = self.judge.gold_score(task, label, compared)
            if score is None:
                continue
            verdict = RIGHT if score >= self.rules.threshold else WRONG
            self.summary.gold.setdefault(label.person_id, []).append(float(verdict == RIGHT))
            known = any(
                d.stage == HONEYPOT and d.verdict == verdict
                and d.is_about(label.annotation_id, label.rev_hash, label.updated_at)
                for d in task.decisions
            )  # fmt: skip
            if self.lease is not None and not known:
                self._due.append(
                    (task, _new(task, label, HONEYPOT, verdict, f"score {score:.3f} against the known answer"))
                )

    def _ask_people(self) -> None:
        """Ask for one more person where that is due. The numbers are Label Studio's own: ours may be old."""
        client = self.runtime.client
        rows = client.tasks_by_id(self.project_id, sorted(self.marked.overlap)) if self.marked.overlap else []
        for row in rows:
            wanted = self.marked.overlap[row.task_id]
            if row.overlap < wanted:
                self._held.check()
                client.set_task_overlap(row.task_id, wanted, reopen=True)
                self.summary.asked_for_one_more.append(row.task_id)

    # -- writing --------------------------------------------------------------------------------------------------

    @property
    def _held(self) -> HeldLease:
        if self.lease is None:
            raise RuntimeError("a report writes nothing")
        return self.lease

    def _write_due(self) -> None:
        for start in range(0, len(self._due), WRITTEN):
            self._write(self._due[start : start + WRITTEN])
        self._due.clear()

    def _write(self, due: Sequence[tuple[TaskLabels, New]]) -> None:
        """Write decisions down, all or none."""
        with self._held.writing() as connection:
            made = decide_all(self.store, self.project_id, [new for _, new in due], connection=connection)
        for (task, _), decision in zip(due, made, strict=True):
            task.decisions.append(decision)
            self.summary.decided[f"{decision.stage} {decision.verdict}"] += 1


def _new(
    task: TaskLabels, label: LabelRow | None, stage: str, verdict: str, reason: str, by: str = BY_LABELLOOP
) -> New:
    """A decision about a label with its content, or about all that a task has."""
    if label is None:
        return New(task.task_id, stage, verdict, by, reason)
    return New(task.task_id, stage, verdict, by, reason, label.annotation_id, label.rev_hash)


def _is_noted(task: TaskLabels, label: LabelRow) -> bool:
    """Whether it is written down what a reviewer's label with this content said, or that it was refused."""
    return any(
        d.stage == REVIEW and d.by == str(label.person_id) and d.verdict in (APPROVED, REFUSED)
        and d.annotation_id == label.annotation_id and d.rev_hash == label.rev_hash
        for d in task.decisions
    )  # fmt: skip


def _approved_by(task: TaskLabels, person: int) -> set[int]:
    """What somebody approved; of their own annotations, these were reviews."""
    return {
        d.annotation_id
        for d in task.decisions
        if d.annotation_id is not None and (d.stage, d.verdict, d.by) == (REVIEW, APPROVED, str(person))
    }


def _told(now: Standing) -> str:
    return (
        f"score {now.score:.3f} of {now.people} people" if now.score is not None else f"{now.people} people, no score"
    )


# -- a verdict by the command line ----------------------------------------------------------------------------------------


def give_verdict(
    runtime: Runtime, project: ProjectRow, task_id: int, verdict: str, by: str, reason: str
) -> list[dict[str, Any]]:
    """Approve or reject the labels of a task; what was decided of each.

    UsageError for an unknown task or person, or labels that differ (a reviewer's answer in Label Studio tells which is right).
    DataError when it is their own work: that is written down as refused, and counts for nothing.
    """
    quality = runtime.project_settings(project).quality
    person = _person(runtime, quality.reviewers, by)
    with holding(runtime.store, project.project_id, "review", LEASE_TTL_S) as lease:
        if lease is None:
            raise NotReady(f"another worker reviews project {project.title!r} at this moment; run this again")
        found = read_tasks(runtime.store, project.project_id, [task_id])
        if not found:
            raise UsageError(
                f"task {task_id} of project {project.title!r} has no labels; labelloop sync reads new ones"
            )
        (task,) = found
        labels = [label for label in task.labels if task.verdict(label) != REJECTED]
        if not labels:
            raise UsageError(f"every label of task {task_id} is rejected already; it needs a new one")
        own = person.person_id in authors(runtime.store, project.project_id, [task_id]).get(task_id, {})
        if not own and verdict == APPROVED and not all(same_content(x.result, labels[0].result) for x in labels):
            raise UsageError(
                f"the labels of task {task_id} differ, so not all of them are right: submit the right answer in Label Studio "
                "from the tab of the reviewer, and it decides about each"
            )
        told = REFUSED if own else verdict
        new = [_new(task, label, REVIEW, told, reason, str(person.person_id)) for label in labels]
        with lease.writing() as connection:
            made = decide_all(runtime.store, project.project_id, new, connection=connection)
    if own:
        raise DataError(
            f"{by} has labelled task {task_id}: nobody reviews own work; the attempt is written down as refused, and another "
            "reviewer must look at it"
        )
    return [{"task": d.task_id, "annotation": d.annotation_id, "verdict": d.verdict, "by": d.by} for d in made]


def _person(runtime: Runtime, allowed: Sequence[str], by: str) -> Reviewer:
    (person,) = reviewers_of(runtime, [by])
    if allowed and person.person_id not in {each.person_id for each in reviewers_of(runtime, allowed)}:
        raise UsageError(f"{by} is none of the reviewers (quality.reviewers: {', '.join(allowed)})")
    return person
