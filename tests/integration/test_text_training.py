"""Short real trainings of the two text backends: fit, load, predict, evaluate, continue, and stop when the lease is lost."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from backends import sklearn_text, spacy_nlp
from backends.spacy_nlp.artefact import read_model
from backends.spacy_nlp.decoding import decode
from labelloop.datasets import write_dataset
from labelloop.demo.texts import (
    NER_LABELS,
    TOPIC_LABELS,
    ClassTruth,
    NerTruth,
    generate_classification,
    generate_ner,
)
from labelloop.errors import DataError, LeaseLost, NotReady
from labelloop.label_config import parse_label_config
from labelloop.values import Budget, TaskItem

pytestmark = pytest.mark.integration

NER_XML = (
    '<View><Labels name="label" toName="text">'
    + "".join(f'<Label value="{name}"/>' for name in NER_LABELS)
    + '</Labels><Text name="text" value="$text"/></View>'
)
IMAGE_XML = (
    '<View><Image name="i" value="$image"/><RectangleLabels name="b" toName="i"><Label value="cat"/>'
    "</RectangleLabels></View>"
)
CLASS_XML = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    + "".join(f'<Choice value="{name}"/>' for name in TOPIC_LABELS)
    + "</Choices></View>"
)
Row = tuple[dict[str, Any], list[dict[str, Any]], str]


def quiet(share: float, message: str) -> None:
    assert 0.0 <= share <= 1.0
    assert message


def ner_row(truth: NerTruth, split: str) -> Row:
    return ({"text": truth.text}, [entity(*span) for span in truth.spans], split)


def entity(start: int, end: int, label: str) -> dict[str, Any]:
    return {
        "id": f"{start}",
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
        "value": {"start": start, "end": end, "labels": [label]},
    }


def class_row(truth: ClassTruth, split: str) -> Row:
    value = {"choices": [truth.label]}
    return (
        {"text": truth.text},
        [{"id": "c", "from_name": "topic", "to_name": "text", "type": "choices", "value": value}],
        split,
    )


def dataset(folder: Path, xml: str, rows: Sequence[Row]) -> Path:
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    tasks = [
        {
            "task_id": number,
            "data": orjson.dumps(data).decode(),
            "group_key": str(number),
            "role": "holdout" if split == "holdout" else "pool",
            "split": split,
        }
        for number, (data, _, split) in enumerate(rows, start=1)
    ]
    labels = [
        {
            "task_id": number,
            "annotation_id": number,
            "annotator": 1,
            "at": at,
            "rev_hash": str(number),
            "lead_time_s": 1.0,
            "shown_serving_id": None,
            "is_truth": True,
            "result": orjson.dumps(result).decode(),
        }
        for number, (_, result, _) in enumerate(rows, start=1)
    ]
    classes = list(parse_label_config(xml).controls[0].classes)
    body = {"label_config": xml, "project": 1, "classes": classes, "options": {}}
    write_dataset(folder, body, tasks, labels, None, at.isoformat())
    return folder


def check_labels_file(version: Path, classes: tuple[str, ...], kind: str) -> dict[str, Any]:
    (labels,) = orjson.loads((version / "labels.json").read_bytes())["controls"]
    assert tuple(labels["classes"]) == classes
    assert labels["type"] == kind
    assert labels["data_key"] == labels["to_name"] == "text"
    assert set(labels["show_threshold"]) == set(classes)
    assert all(0.0 < threshold <= 1.0 for threshold in labels["show_threshold"].values())
    assert isinstance(labels["calibrated"], bool)
    assert orjson.loads((version / "metrics.json").read_bytes())["texts"] > 0
    return labels


@pytest.fixture(scope="module")
def ner_case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(dataset, version): 150 texts, among them spans that cut a token, overlap, or lie outside; 60 of holdout."""
    folder = tmp_path_factory.mktemp("ner")
    truths = generate_ner(210, seed=5)
    rows = [ner_row(truth, "train" if at < 150 else "holdout") for at, truth in enumerate(truths)]
    rows.append(
        (
            {"text": "Bobby met Ann"},
            [entity(0, 3, "PERSON"), entity(0, 9, "ORG"), entity(0, 90, "ORG")],
            "train",
        )
    )
    rows.append(({"other": "no text here"}, [], "train"))
    data = dataset(folder / "data", NER_XML, rows)
    spacy_nlp.trainer().fit(data, folder / "v1", start=None, budget=Budget(epochs=12), progress=quiet)
    return data, folder / "v1"


def test_entities_are_learned_and_headline_is_recomputed_from_the_items(ner_case: tuple[Path, Path]) -> None:
    data, version = ner_case
    check_labels_file(version, NER_LABELS, "labels")
    trained = orjson.loads((version / "metrics.json").read_bytes())
    assert (trained["texts"], trained["texts_missing"], trained["outside_text"]) == (151, 1, 1)
    assert trained["misaligned"] >= 1
    trainer = spacy_nlp.trainer()
    metrics = trainer.evaluate(version, data)
    assert (metrics.name, metrics.n, len(metrics.per_item)) == ("entity_f1", 60, 60)
    assert metrics.n_objects > 60
    assert metrics.baseline == 0.0
    assert metrics.value > 0.35
    assert trainer.headline(metrics.per_item) == metrics.value
    assert trainer.headline(random.Random(0).choices(metrics.per_item, k=60)) != metrics.value


def test_entities_have_one_outcome_per_task_and_offsets_in_code_points(ner_case: tuple[Path, Path]) -> None:
    _, version = ner_case
    backend = spacy_nlp.load(version)
    texts = [truth.text + "\r\n🙂 é" for truth in generate_ner(80, seed=6)]
    tasks = [TaskItem(at, {"text": text}) for at, text in enumerate(texts)]
    tasks[3:3] = [TaskItem(900, {}), TaskItem(901, {"text": " \n"}), TaskItem(902, {"text": 7})]
    outcomes = backend.predict(tasks, want=frozenset({"regions", "probs", "embedding"}))
    assert len(outcomes) == len(tasks)
    assert [outcome.status for outcome in outcomes[3:6]] == ["text_missing"] * 3
    config, found = parse_label_config(NER_XML), 0
    for task, outcome in zip(tasks, outcomes, strict=True):
        if outcome.status != "ok":
            assert outcome.regions == ()
            continue
        assert outcome.uncertainty is not None and 0.0 <= outcome.uncertainty <= 1.0
        assert outcome.probs is not None and set(outcome.probs) == set(NER_LABELS)
        assert outcome.embedding is not None and len(outcome.embedding) > 8
        for region in outcome.regions:
            value, found = region["value"], found + 1
            assert config.problem_with(region) is None
            assert task.data["text"][value["start"] : value["end"]] == value["text"]
            assert 0.0 < region["score"] <= 1.0
    assert found > 40
    assert backend.predict([]) == []


def test_stepwise_decoding_finds_the_entities_that_spacy_finds(ner_case: tuple[Path, Path]) -> None:
    nlp = read_model(ner_case[1])
    texts = [truth.text for truth in generate_ner(60, seed=8)] + ["", "x", "\n"]
    ours = decode(nlp.get_pipe("ner"), [nlp.make_doc(text) for text in texts])
    theirs = [[(e.start_char, e.end_char, e.label_) for e in doc.ents] for doc in nlp.pipe(texts)]
    assert [[(s.start, s.end, s.label) for s in result.spans] for result in ours] == theirs
    assert all(0.0 < (span.score or 0.0) <= 1.0 for result in ours for span in result.spans)


def test_entities_continue_from_an_earlier_version_and_a_lost_lease_stops(
    ner_case: tuple[Path, Path], tmp_path: Path
) -> None:
    data, version = ner_case
    trainer = spacy_nlp.trainer()
    before = trainer.evaluate(version, data).value
    more = trainer.fit(data, tmp_path / "v2", start=version, budget=Budget(epochs=2), progress=quiet)
    assert more.params["continued"] is True
    scratch = trainer.fit(data, tmp_path / "v3", start=None, budget=Budget(epochs=2), progress=quiet)
    assert more.training_curve[0]["loss"] < 0.5 * scratch.training_curve[0]["loss"]
    assert trainer.evaluate(tmp_path / "v2", data).value > before - 0.15
    calls = []

    def lost(share: float, message: str) -> None:
        calls.append(share)
        if len(calls) == 4:
            raise LeaseLost("taken over")

    with pytest.raises(LeaseLost):
        trainer.fit(data, tmp_path / "v4", start=None, budget=Budget(epochs=2), progress=lost)
    assert len(calls) == 4
    assert not (tmp_path / "v4" / "labels.json").exists()


def test_entities_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    rows = [ner_row(truth, "train") for truth in generate_ner(30, seed=5)]
    data = dataset(tmp_path / "data", NER_XML, rows)
    losses = [
        spacy_nlp.trainer().fit(data, tmp_path / name, start=None, budget=Budget(epochs=2, seed=seed), progress=quiet)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert losses[0].training_curve == losses[1].training_curve != losses[2].training_curve


@pytest.fixture(scope="module")
def class_case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(dataset, version): 250 texts and 80 of holdout."""
    folder = tmp_path_factory.mktemp("classes")
    truths = generate_classification(330, seed=5)
    rows = [class_row(truth, "train" if at < 250 else "holdout") for at, truth in enumerate(truths)]
    data = dataset(folder / "data", CLASS_XML, [*rows, ({"text": None}, rows[0][1], "train")])
    sklearn_text.trainer().fit(data, folder / "v1", start=None, budget=Budget(), progress=quiet)
    return data, folder / "v1"


def test_classes_are_learned_calibrated_and_headline_is_recomputed(class_case: tuple[Path, Path]) -> None:
    data, version = class_case
    labels = check_labels_file(version, TOPIC_LABELS, "choices")
    assert labels["calibrated"] is True
    trainer = sklearn_text.trainer()
    metrics = trainer.evaluate(version, data)
    assert (metrics.name, metrics.n, metrics.n_objects) == ("macro_f1", 80, 80)
    assert metrics.baseline is not None and metrics.value >= metrics.baseline + 0.4
    assert trainer.headline(metrics.per_item) == metrics.value
    assert trainer.headline(random.Random(0).choices(metrics.per_item, k=80)) != metrics.value


def test_classes_have_one_outcome_per_task_with_probabilities(class_case: tuple[Path, Path]) -> None:
    _, version = class_case
    backend = sklearn_text.load(version)
    assert backend.classes == TOPIC_LABELS
    tasks = [
        TaskItem(1, {"text": "my parcel never arrived 🙂"}),
        TaskItem(2, {}),
        TaskItem(3, {"text": "???"}),
    ]
    first, missing, unknown = backend.predict(tasks, want=frozenset({"regions", "probs", "embedding"}))
    assert missing.status == "text_missing"
    assert first.regions[0]["value"] == {"choices": ["delivery"]}
    assert parse_label_config(CLASS_XML).problem_with(first.regions[0]) is None
    assert first.probs is not None and sum(first.probs.values()) == pytest.approx(1.0)
    ordered = sorted(first.probs.values())
    assert first.uncertainty == pytest.approx(1.0 - (ordered[-1] - ordered[-2]))
    assert first.confidence == first.regions[0]["score"] == ordered[-1]
    assert first.embedding is not None and unknown.embedding is not None
    assert unknown.uncertainty is not None and first.uncertainty is not None
    assert unknown.uncertainty > first.uncertainty


def test_one_class_only_is_a_valid_model(tmp_path: Path) -> None:
    truths = [truth for truth in generate_classification(60, seed=5) if truth.label == "billing"]
    rows = [class_row(truth, "train" if at < 10 else "holdout") for at, truth in enumerate(truths)]
    data = dataset(tmp_path / "data", CLASS_XML, rows)
    trainer = sklearn_text.trainer()
    trainer.fit(data, tmp_path / "v1", start=None, budget=Budget(), progress=quiet)
    assert check_labels_file(tmp_path / "v1", TOPIC_LABELS, "choices")["calibrated"] is False
    (outcome,) = sklearn_text.load(tmp_path / "v1").predict([TaskItem(1, {"text": "anything"})])
    assert outcome.regions[0]["value"] == {"choices": ["billing"]}
    assert trainer.evaluate(tmp_path / "v1", data).value == 1.0


def test_classes_continue_and_a_lost_lease_stops(class_case: tuple[Path, Path], tmp_path: Path) -> None:
    data, version = class_case
    trainer = sklearn_text.trainer()
    again = trainer.fit(data, tmp_path / "v2", start=version, budget=Budget(), progress=quiet)
    assert again.params["continued"] is True
    assert trainer.evaluate(tmp_path / "v2", data).per_item == trainer.evaluate(version, data).per_item

    def lost(share: float, message: str) -> None:
        if share > 0.3:
            raise LeaseLost("taken over")

    with pytest.raises(LeaseLost):
        trainer.fit(data, tmp_path / "v3", start=None, budget=Budget(), progress=lost)
    assert not (tmp_path / "v3" / "labels.json").exists()


@pytest.mark.parametrize(("backend", "xml"), [(spacy_nlp, NER_XML), (sklearn_text, CLASS_XML)])
def test_what_cannot_be_used_is_said(backend: Any, xml: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.json"):
        backend.load(tmp_path)
    empty = dataset(tmp_path / "data", xml, [({"other": 1}, [], "train")])
    with pytest.raises(NotReady, match="no labelled text"):
        backend.trainer().fit(empty, tmp_path / "v1", start=None, budget=Budget(), progress=quiet)
    wrong = dataset(tmp_path / "wrong", IMAGE_XML, [({"text": "a"}, [], "train")])
    with pytest.raises(DataError, match="the label config has none of"):
        backend.trainer().fit(wrong, tmp_path / "v2", start=None, budget=Budget(), progress=quiet)
