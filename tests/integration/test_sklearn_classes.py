"""The text classifier where others go wrong: absent classes, cold starts, vocabularies without bound."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import orjson
import pytest

from backends import sklearn_text
from labelloop.datasets import write_dataset
from labelloop.demo.texts import TOPIC_LABELS, generate_classification
from labelloop.errors import DataError, NotReady
from labelloop.values import Budget, TaskItem

pytestmark = pytest.mark.integration

WORDS = {"beta": "rain wind storm cloud", "gamma": "goal match player league"}


def dataset(folder: Path, classes: tuple[str, ...], rows: list[tuple[str, str]], **options: Any) -> Path:
    """A dataset folder whose every text is in the training split, but each eighth, which is holdout."""
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    tasks, labels = [], []
    for number, (text, label) in enumerate(rows, start=1):
        split = "holdout" if number % 8 == 0 else "train"
        tasks.append(
            {"task_id": number, "data": orjson.dumps({"text": text}).decode(), "group_key": str(number),
             "role": "holdout" if split == "holdout" else "pool", "split": split}
        )  # fmt: skip
        result = [
            {"id": "c", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
        ]
        labels.append(
            {"task_id": number, "annotation_id": number, "annotator": 1, "at": at, "rev_hash": str(number),
             "lead_time_s": 1.0, "shown_serving_id": None, "is_truth": True, "result": orjson.dumps(result).decode()}
        )  # fmt: skip
    choices = "".join(f'<Choice value="{name}"/>' for name in classes)
    xml = f'<View><Text name="text" value="$text"/><Choices name="topic" toName="text">{choices}</Choices></View>'
    body = {"label_config": xml, "project": 1, "classes": list(classes), "options": options}
    write_dataset(folder, body, tasks, labels, None, at.isoformat())
    return folder


def fit(data: Path, out: Path) -> dict[str, Any]:
    sklearn_text.trainer().fit(data, out, start=None, budget=Budget(), progress=lambda share, message: None)
    found: dict[str, Any] = orjson.loads((out / "labels.json").read_bytes())["controls"][0]
    return found


def test_b5_a_class_without_examples_shifts_nothing(tmp_path: Path) -> None:
    rows = [(f"{word} {n}", name) for n in range(3) for name, words in WORDS.items() for word in words.split()]
    fit(dataset(tmp_path / "data", ("alpha", "beta", "gamma"), rows), tmp_path / "v1")
    items = [TaskItem(n, {"text": text}) for n, text in enumerate(["storm and rain", "a goal of the league"])]
    found = sklearn_text.load(tmp_path / "v1").predict(items, want=frozenset({"regions", "probs"}))
    assert [outcome.regions[0]["value"]["choices"] for outcome in found] == [["beta"], ["gamma"]]
    assert all(outcome.probs is not None and outcome.probs["alpha"] == 0.0 for outcome in found)


def test_b6_without_labels_nothing_is_learned_from_the_names_of_the_classes(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="label some tasks first"):
        fit(dataset(tmp_path / "data", ("alpha", "beta"), []), tmp_path / "v1")
    assert not (tmp_path / "v1" / "labels.json").exists()


@pytest.mark.parametrize("count", [190, 240])
def test_scores_are_called_calibrated_only_with_enough_labels(tmp_path: Path, count: int) -> None:
    rows = [(truth.text, truth.label) for truth in generate_classification(count, seed=3)]
    assert fit(dataset(tmp_path / "data", TOPIC_LABELS, rows), tmp_path / "v1")["calibrated"] is (count * 7 / 8 >= 200)


def test_hashed_features_learn_too_and_keep_no_vocabulary(tmp_path: Path) -> None:
    rows = [(truth.text, truth.label) for truth in generate_classification(400, seed=3)]
    data = dataset(tmp_path / "data", TOPIC_LABELS, rows, features="hashing")
    fit(data, tmp_path / "v1")
    metrics = sklearn_text.trainer().evaluate(tmp_path / "v1", data)
    assert metrics.baseline is not None and metrics.value > metrics.baseline + 0.4
    assert orjson.loads((tmp_path / "v1" / "metrics.json").read_bytes())["features"] == "hashing"
    pipeline = sklearn_text.load(tmp_path / "v1")._pipeline  # type: ignore[attr-defined]
    assert not any(hasattr(step, "vocabulary_") for _, step in pipeline["features"].transformer_list)


def test_unknown_features_are_refused_by_name(tmp_path: Path) -> None:
    rows = [("rain", "beta"), ("goal", "gamma")]
    with pytest.raises(
        DataError, match=r"model_options: features is 'word2vec', expected one of \['tfidf', 'hashing'\]"
    ):
        fit(dataset(tmp_path / "data", ("beta", "gamma"), rows, features="word2vec"), tmp_path / "v1")
