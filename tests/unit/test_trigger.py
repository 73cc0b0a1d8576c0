"""When a training starts, against a model of it that knows nothing of datasets: labels settled in steps of N."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from labelloop.store import LabelRow
from sync.trigger import LabelKey, decide, label_key, labels_since

AT = datetime(2026, 1, 2, tzinfo=UTC)
EVERY = 3
ROLES = ("pool", "blind", "holdout", "gold")


def label(task: int, content: int, role: str = "pool", annotation: int | None = None) -> LabelRow:
    return LabelRow(task, annotation or task, 1, f"h{content}", AT, AT, None, None, None, False, [], role)


@dataclass
class Reference:
    """What should happen, told by labels that wait: each add or correction waits, a finished training settles it."""

    waiting: dict[int, int] = field(default_factory=dict)
    settled: dict[int, set[int]] = field(default_factory=dict)
    taken: dict[int, int] | None = None
    trainings: int = 0

    def put(self, task: int, content: int) -> None:
        self.waiting.pop(task, None)
        if content not in self.settled.get(task, set()):
            self.waiting[task] = content

    def delete(self, task: int) -> None:
        self.waiting.pop(task, None)

    def settle(self, current: dict[int, int]) -> None:
        self.settled = {task: {content} for task, content in (self.taken or {}).items()}
        self.waiting = {task: c for task, c in current.items() if c not in self.settled.get(task, set())}
        self.taken = None

    def may_start(self, current: dict[int, int]) -> bool:
        if self.taken is None and len(self.waiting) >= EVERY:
            self.taken, self.trainings = dict(current), self.trainings + 1
            return True
        return False


Step = tuple[str, int, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 12), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.integers(1, 12), st.just(0)),
        st.tuples(st.sampled_from(["promoted", "rejected", "undecided", "failed"]), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_b3_trainings_follow_the_labels_in_steps_of_n(steps: list[Step]) -> None:
    labels: dict[int, LabelRow] = {}
    finished: set[LabelKey] = set()
    running: set[LabelKey] | None = None
    started = 0
    reference = Reference()
    for action, task, content in steps:
        # Tasks 10 to 12 are evaluation tasks: whatever happens to their labels starts nothing.
        role = {10: "holdout", 11: "gold"}.get(task, "blind" if task == 9 else "pool")
        counted = task not in (10, 11)
        if action == "put":
            labels[task] = label(task, content, role)
            if counted:
                reference.put(task, content)
        elif action == "delete":
            labels.pop(task, None)
            if counted:
                reference.delete(task)
        elif running is not None:
            finished, running = running, None
            reference.settle({t: int(row.rev_hash[1:]) for t, row in labels.items() if t not in (10, 11)})
        since = labels_since(labels.values(), finished)
        decision = decide(since, EVERY, running=running is not None, paused=False)
        current = {t: int(row.rev_hash[1:]) for t, row in labels.items() if t not in (10, 11)}
        assert decision.train == reference.may_start(current)
        assert decision.labels_since == len({t for t in current if (t, t, f"h{current[t]}") not in finished})
        if decision.train:
            running, started = {label_key(row) for row in labels.values()}, started + 1
    assert started == reference.trainings


def test_labels_of_holdout_and_gold_start_no_training() -> None:
    rows = [label(number, 0, role) for number, role in enumerate(ROLES * 5, start=1)]
    assert labels_since(rows, set()) == 10


def test_a_corrected_label_counts_again_and_a_deleted_one_does_not() -> None:
    before = [label(1, 0), label(2, 0), label(3, 0)]
    seen = {label_key(row) for row in before}
    assert labels_since(before, seen) == 0
    assert labels_since([label(1, 1), label(2, 0)], seen) == 1
    assert labels_since([], seen) == 0


def test_two_people_on_one_task_are_two_labels() -> None:
    assert labels_since([label(1, 0, annotation=1), label(1, 0, annotation=2)], set()) == 2


def test_what_forbids_a_training_is_said() -> None:
    assert not decide(99, EVERY, running=True, paused=False).train
    assert not decide(99, EVERY, running=False, paused=True).train
    assert "enabled is false" in decide(99, EVERY, running=False, paused=False, enabled=False).reason
    assert decide(2, EVERY, running=False, paused=False).reason == "2 of 3 new labels"
    assert decide(3, EVERY, running=False, paused=False).train


def test_an_overdue_training_needs_one_label_and_nothing_else_changes() -> None:
    assert decide(1, EVERY, running=False, paused=False, overdue=True).train
    assert not decide(0, EVERY, running=False, paused=False, overdue=True).train
    assert not decide(1, EVERY, running=True, paused=False, overdue=True).train
    assert not decide(1, EVERY, running=False, paused=True, overdue=True).train
    assert not decide(1, EVERY, running=False, paused=False, enabled=False, overdue=True).train
