"""What was decided about labels (a review, an arbitration), one hash chain per project; rows are only added."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from labelloop.store.chains import (
    ChainEnd,
    Link,
    chain_end,
    chain_problems,
    link_hash,
    lock_project,
    move_end,
)
from labelloop.store.store import Store
from labelloop.store.tables import decisions, forgotten
from labelloop.store.types import utc_now

#: The stages whose verdicts make a label's review status: what a person said, and what agreement let pass.
REVIEW, CONSENSUS = "review", "consensus"
APPROVED, REJECTED, UNREVIEWED = "approved", "rejected", "unreviewed"
#: In the stage review also: that a person is to look, and a verdict on own work, which counts for nothing. In the stage
#: consensus: that a label which had passed passes no longer.
REQUESTED, REFUSED, WITHDRAWN = "requested", "refused", "withdrawn"


@dataclass(frozen=True)
class Decision:
    """One decision. Without `annotation_id` it is about every label that its task had; `rev_hash` is what was looked at."""

    decision_id: int
    task_id: int
    annotation_id: int | None
    rev_hash: str | None
    stage: str
    verdict: str
    by: str
    reason: str
    reason_hash: str
    at: datetime
    previous_hash: str
    hash: str

    def content(self) -> dict[str, Any]:
        """What the hash is made of; the reason by its own hash, so that it can be forgotten."""
        return {
            "task_id": self.task_id,
            "annotation_id": self.annotation_id,
            "rev_hash": self.rev_hash,
            "stage": self.stage,
            "verdict": self.verdict,
            "by": self.by,
            "reason_hash": self.reason_hash,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
        }

    def is_about(self, annotation_id: int, rev_hash: str, at: datetime) -> bool:
        """Whether it is about a label as it is now: a label that was changed afterwards is another one."""
        if self.annotation_id not in (None, annotation_id):
            return False
        return self.rev_hash == rev_hash if self.rev_hash is not None else at <= self.at


_COLUMNS = [getattr(decisions.c, name) for name in Decision.__dataclass_fields__]


def decide(
    store: Store,
    project_id: int,
    task_id: int,
    stage: str,
    verdict: str,
    by: str,
    reason: str,
    *,
    annotation_id: int | None = None,
    rev_hash: str | None = None,
    connection: Connection | None = None,
) -> Decision:
    """Add a decision at the end of the project's chain; within the caller's transaction where one is given.

    In the stages "review" and "consensus" the verdicts make a label's review status (`review_status`). UsageError for an unknown
    project. Writers at one time, also on other machines, come one after the other.
    """
    asked = New(task_id, stage, verdict, by, reason, annotation_id, rev_hash)
    return decide_all(store, project_id, [asked], connection=connection)[0]


@dataclass(frozen=True)
class New:
    """A decision to add, as `decide` takes it."""

    task_id: int
    stage: str
    verdict: str
    by: str
    reason: str
    annotation_id: int | None = None
    rev_hash: str | None = None


def decide_all(
    store: Store, project_id: int, found: Sequence[New], *, connection: Connection | None = None
) -> list[Decision]:
    """Add decisions in this order, all or none; four statements however many they are."""
    made: list[Decision] = []
    if not found:
        return made
    with nullcontext(connection) if connection is not None else store.begin() as transaction:
        lock_project(store, transaction, project_id)
        end = chain_end(store, transaction, project_id, "decisions")
        last = end.hash
        for each in found:
            new = Decision(
                0, each.task_id, each.annotation_id, each.rev_hash, each.stage, each.verdict, each.by, each.reason,
                _hash(each.reason), utc_now(), last, "",
            )  # fmt: skip
            last = link_hash(last, new.content())
            made.append(replace(new, hash=last))
        rows = [{"instance": store.instance, "project_id": project_id, **asdict(each)} for each in made]
        for row in rows:
            del row["decision_id"]
        # Numbers in the order of the chain, which is read by them.
        numbers = transaction.scalars(
            insert(decisions).returning(decisions.c.decision_id, sort_by_parameter_order=True), rows
        ).all()
        move_end(store, transaction, project_id, "decisions", ChainEnd(end.length + len(made), last))
    return [replace(each, decision_id=int(number)) for each, number in zip(made, numbers, strict=True)]


def decisions_of(store: Store, project_id: int, lo: int, hi: int, stage: str | None = None) -> list[Decision]:
    """The decisions about tasks with ids from lo to hi, oldest first."""
    c = decisions.c
    query = select(*_COLUMNS).where(store.scope(decisions, project_id), c.task_id.between(lo, hi))
    if stage is not None:
        query = query.where(c.stage == stage)
    with store.read() as connection:
        return [Decision(**row) for row in connection.execute(query.order_by(c.decision_id)).mappings()]


def review_status(found: Sequence[Decision], annotation_id: int, rev_hash: str, at: datetime) -> str:
    """ "approved", "rejected" or "unreviewed": the last verdict on the label with this content, written at `at`.

    A person's review goes before what agreement let pass. `found` are the decisions about its task, oldest first.
    """
    return (
        reviewed(found, annotation_id, rev_hash, at)
        or (APPROVED if passed(found, annotation_id, rev_hash, at) else None)
        or UNREVIEWED
    )


def reviewed(found: Sequence[Decision], annotation_id: int, rev_hash: str, at: datetime) -> str | None:
    """ "approved" or "rejected": the last review of the label with this content by a person; None without one."""
    for decision in reversed(found):
        counts = decision.stage == REVIEW and decision.verdict in (APPROVED, REJECTED)
        if counts and decision.is_about(annotation_id, rev_hash, at):
            return decision.verdict
    return None


def passed(found: Sequence[Decision], annotation_id: int, rev_hash: str, at: datetime) -> bool:
    """Whether agreement let the label with this content pass, and nothing took that back."""
    for decision in reversed(found):
        if decision.stage == CONSENSUS and decision.is_about(annotation_id, rev_hash, at):
            return decision.verdict == APPROVED
    return False


def verify_chain(store: Store, project_id: int) -> list[str]:
    """What is wrong with the project's decisions (changed, removed or inserted rows); empty when all is as written."""
    problems: list[str] = []
    gone = select(forgotten.c.task_id).where(store.scope(forgotten, project_id))

    def links(connection: Connection, erased: set[int]) -> Iterator[Link]:
        query = select(*_COLUMNS).where(store.scope(decisions, project_id)).order_by(decisions.c.decision_id)
        for row in connection.execute(query, execution_options={"yield_per": 1000}).mappings():
            decision = Decision(**row)
            may_be_empty = decision.task_id in erased and not decision.reason
            if _hash(decision.reason) != decision.reason_hash and not may_be_empty:
                problems.append(f"decision {decision.decision_id}: its reason was changed after it was written")
            yield Link(decision.decision_id, decision.content(), decision.previous_hash, decision.hash)

    with store.read() as connection:
        erased = set(connection.execute(gone).scalars())
        end = chain_end(store, connection, project_id, "decisions")
        found = chain_problems("decision", links(connection, erased), end)
    return problems + found


def _hash(reason: str) -> str:
    return hashlib.sha256(reason.encode("utf-8", "surrogatepass")).hexdigest()


def decisions_end(store: Store, project_id: int) -> ChainEnd:
    """Where the project's chain of decisions ends: kept outside the database, it shows rows that were cut off later."""
    with store.read() as connection:
        return chain_end(store, connection, project_id, "decisions")


def forget_reasons(store: Store, connection: Connection, project_id: int, task_ids: Sequence[int]) -> None:
    """Empty what was said about these tasks; the chain stays whole, as it holds the reasons' hashes."""
    where = store.scope(decisions, project_id) & decisions.c.task_id.in_(list(task_ids))
    connection.execute(update(decisions).where(where).values(reason=""))
