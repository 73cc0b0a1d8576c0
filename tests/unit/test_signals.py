"""Rows of signals: whose probabilities they are, how small, and that odd numbers of a model cost nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from labelloop.label_config import parse_label_config
from labelloop.settings import ServiceSettings
from labelloop.store import open_store
from labelloop.store.signals import MOST_NUMBERS, pack, signal_rows, unpack
from labelloop.store.tables import outcomes, signals
from labelloop.values import Outcome
from sync.prediction import Judged, by_control, judged_controls, predict_tasks

sys.path.insert(0, str(Path(__file__).parent))
from store_guard import Guard

KEY = {"project_id": 1, "task_id": 2, "model_version": "v1"}
NUMBERS = st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=40)


@given(NUMBERS)
def test_a_packed_vector_points_where_it_pointed(numbers: list[float]) -> None:
    vector = np.array(numbers)
    packed = pack(numbers)
    with np.errstate(over="ignore"):
        length = np.linalg.norm(vector)
    if length == 0 or not np.isfinite(length):
        assert packed is None
    else:
        assert np.array(unpack(packed)) @ (vector / length) == pytest.approx(1, abs=2e-3)


def test_what_is_no_vector_is_not_kept_and_plain_lists_are_read() -> None:
    assert [pack(each) for each in ([], [0.0], [float("nan"), 1.0], [float("inf")], [1.0] * (MOST_NUMBERS + 1))] == [
        None
    ] * 5
    assert len(pack([0.1] * 576) or "") == 1536
    assert unpack([1, 2.5]) == [1.0, 2.5]
    assert [unpack(each) for each in (None, "é", "AAA", "AAAA", {})] == [[]] * 5


def judged(**controls: str) -> list[Judged]:
    """Those of a config with these controls, each with its classes as one text."""
    tags = "".join(
        f'<Choices name="{name}" toName="t">{"".join(f"<Choice value={each!r}/>" for each in classes.split())}</Choices>'
        for name, classes in controls.items()
    )
    return judged_controls(parse_label_config(f'<View><Text name="t" value="$t"/>{tags}</View>'))


def test_units_are_split_by_control_and_ambiguous_ones_are_left_out() -> None:
    two = judged(mood="good bad", topic="a b/c")
    assert by_control({"mood/good": 0.75, "topic/b/c": 0.5, "box/good": 1.0}, two) == {
        "mood": {"good": 0.75}, "topic": {"b/c": 0.5},
    }  # fmt: skip
    assert by_control({"good": 0.75, "a": 0.5}, two) == {"mood": {"good": 0.75}, "topic": {"a": 0.5}}
    assert by_control({"good": 0.75, "a": 0.5}, judged(one="good", two="good a")) == {}
    assert by_control({}, two) == {}


def test_rows_hold_the_likely_classes_with_five_digits() -> None:
    many = {f"c{n}": 1 / 300 for n in range(300)}
    rows = signal_rows(
        KEY, {"few": {"a": 1 / 3, "b": 0.00001, "c": float("nan")}, "many": many, "none": {"a": 0.0}}, None
    )
    assert [(row["control"], len(row["probs"]), row["embedding"]) for row in rows] == [
        ("few", 1, None),
        ("many", 50, None),
    ]
    assert rows[0]["probs"] == {"a": 0.33333}
    (row,) = signal_rows(KEY, {}, (1.0, 0.0))
    assert (row["control"], row["probs"], unpack(row["embedding"])) == ("", None, [1.0, 0.0])


class _Says:
    """A backend that says one thing of each task, and remembers what it was asked for."""

    classes = ("a", "b")

    def __init__(self, *said: Outcome) -> None:
        self._said, self.asked = said, frozenset[str]()

    def predict(self, tasks: Any, *, want: frozenset[str] = frozenset()) -> list[Outcome]:
        self.asked = want
        return list(self._said)


CHOICES = '<View><{0} name="o" value="$o"/><Choices name="c" toName="o"><Choice value="a"/><Choice value="b"/></Choices></View>'
BOXES = (
    '<View><Image name="o" value="$o"/><RectangleLabels name="c" toName="o"><Label value="a"/></RectangleLabels></View>'
)


def predicted(folder: Path, config: str, backend: _Says, count: int) -> tuple[list[str], list[Any]]:
    """(status of each outcome, rows of signals) of tasks in a store of their own."""
    parse_label_config(config)
    store = open_store(ServiceSettings(data=folder).database)
    store.put_project(project_id=1, title="P", task_type="t", backend="b", label_config=config, settings={})
    store.put_tasks(1, [
        {"task_id": n, "data": {"o": "x"}, "overlap": 1, "content_hash": f"c{n}", "group_key": f"c{n}", "meta": {},
         "role": "pool"} for n in range(1, count + 1)
    ])  # fmt: skip
    predict_tasks(store, store.find_project("P"), "v1", backend, store.tasks(1), lambda address: folder, Guard(store),
                  lambda share, message: None)  # fmt: skip
    with store.read() as connection:
        states = list(connection.execute(select(outcomes.c.status).order_by(outcomes.c.task_id)).scalars())
        rows = list(connection.execute(select(signals).order_by(signals.c.task_id)))
    store.engine.dispose()
    return states, rows


def test_a_task_without_chances_or_with_odd_ones_keeps_its_outcome(tmp_path: Path) -> None:
    odd: Any = {"a": "much"}
    backend = _Says(Outcome(probs={"a": 0.75}), Outcome(), Outcome(probs=odd), Outcome("error", probs={"a": 0.5}))
    states, rows = predicted(tmp_path, CHOICES.format("Text"), backend, 4)
    assert states == ["ok", "ok", "ok", "error"]
    assert [(row.task_id, row.control, row.probs) for row in rows] == [(1, "c", {"a": 0.75})]


@pytest.mark.parametrize(
    ("config", "wanted"),
    [(CHOICES.format("Text"), {"probs", "embedding"}), (BOXES, {"embedding"})],
)
def test_only_what_is_used_is_asked_for(tmp_path: Path, config: str, wanted: set[str]) -> None:
    backend = _Says(Outcome())
    predicted(tmp_path, config, backend, 1)
    assert backend.asked == wanted | {"regions"}
