"""Which component learns a control, what it is shown, and from which score up it says something."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.choice_regions import choice_region
from backends.spacy_nlp.converters.labels import PlainText, Span, span_regions
from backends.spacy_nlp.deciding import USUAL, deciding_score
from backends.spacy_nlp.examples import LabelledText, read_tasks
from backends.spacy_nlp.learning_spancat import overlapping_share
from backends.spacy_nlp.training import SpacyTrainer, learnable_controls
from labelloop.datasets import read_dataset, write_dataset
from labelloop.errors import DataError
from labelloop.label_config import parse_label_config
from labelloop.values import Budget

AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
XML = (
    '<View><Text name="t" value="$x"/><Image name="i" value="$i"/>'
    '<Labels name="l" toName="t"><Label value="A"/></Labels>'
    '<Choices name="one" toName="t"><Choice value="a"/><Choice value="b"/></Choices>'
    '<Choices name="some" toName="t" choice="multiple"><Choice value="a"/><Choice value="b"/></Choices>'
    '<Choices name="yes" toName="t"><Choice value="yes"/></Choices>'
    '<Choices name="each" toName="t" perRegion="true"><Choice value="a"/></Choices>'
    '<Choices name="seen" toName="i"><Choice value="a"/></Choices>'
    '<Choices name="told" toName="t" value="$o"/></View>'
)
SPANS = st.builds(lambda start, length: Span(start, start + length, "A"), st.integers(0, 12), st.integers(1, 6))


def dataset(folder: Path, results: list[list[dict[str, Any]]], **options: Any) -> Path:
    tasks = [
        {
            "task_id": n,
            "data": orjson.dumps({"x": "Ann met Bob"}).decode(),
            "group_key": str(n),
            "role": "pool",
            "split": "train",
        }
        for n in range(1, len(results) + 1)
    ]
    shared = {"annotator": 1, "at": AT, "rev_hash": "h", "lead_time_s": 1.0, "shown_serving_id": None, "is_truth": True}
    labels = [
        {**shared, "task_id": n, "annotation_id": n, "result": orjson.dumps(result).decode()}
        for n, result in enumerate(results, start=1)
    ]
    body = {"label_config": XML, "project": 1, "classes": [], "options": options}
    write_dataset(folder, body, tasks, labels, None, AT.isoformat())
    return folder


def test_controls_of_whole_texts_and_their_spans_are_learned() -> None:
    assert [control.name for control in learnable_controls(parse_label_config(XML))] == ["l", "one", "some", "yes"]


def test_one_choice_that_was_not_made_is_open_and_of_several_it_is_none(tmp_path: Path) -> None:
    results = [[choice_region(["b", "a"], None, name, "t") for name in ("one", "some")], []]
    read = read_dataset(dataset(tmp_path / "data", results))
    chosen = {
        name: [sorted(task.chosen) for task in read_tasks(read, read.label_config.control(name), "train")]
        for name in ("one", "some", "yes")
    }
    assert chosen == {"one": [["b"]], "some": [["a", "b"], []], "yes": [[], []]}


def test_an_unknown_span_model_is_refused(tmp_path: Path) -> None:
    spans = list(span_regions(PlainText("Ann met Bob"), 0, [Span(0, 3, "A")], "l", "t"))
    data = dataset(tmp_path / "data", [spans], span_model="crf")
    with pytest.raises(DataError, match=r"span_model is 'crf', expected one of \['auto', 'ner', 'spancat'\]"):
        SpacyTrainer().fit(data, tmp_path / "v", start=None, budget=Budget(), progress=lambda share, said: None)


@given(st.lists(SPANS, max_size=8, unique=True))
def test_the_share_of_overlapping_spans_is_that_of_all_pairs(spans: list[Span]) -> None:
    hit = [any(a is not b and a.start < b.end and b.start < a.end for b in spans) for a in spans]
    expected = sum(hit) / len(spans) if spans else 0.0
    assert overlapping_share([LabelledText("x" * 20, tuple(spans))]) == pytest.approx(expected)


def test_the_deciding_score_is_where_f1_is_best_and_the_usual_one_without_evidence() -> None:
    scores = np.array([0.9] * 8 + [0.22] * 8 + [0.1] * 40)
    right = np.array([True] * 14 + [False] * 42)
    assert deciding_score(scores, right, 16) == 0.15
    assert deciding_score(scores, right, 9) == USUAL
    assert deciding_score(scores, np.zeros(56, dtype=np.bool_), 16) == USUAL
    assert deciding_score(np.zeros(0), np.zeros(0, dtype=np.bool_), 16) == USUAL
