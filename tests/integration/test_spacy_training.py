"""Training of a recogniser on HTML and dialogues, what it does not learn from, and the confidence that it ends with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from backends import spacy_nlp
from backends.spacy_nlp.converters.hypertext_labels import HtmlText
from backends.spacy_nlp.converters.labels import Document, PlainText, Span, span_regions
from backends.spacy_nlp.converters.paragraph_labels import Dialogue
from backends.spacy_nlp.examples import read_tasks
from backends.spacy_nlp.learning import passes
from labelloop.datasets import read_dataset, write_dataset
from labelloop.errors import DataError
from labelloop.label_config import parse_label_config
from labelloop.values import Budget, TaskItem

pytestmark = pytest.mark.integration

AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PEOPLE = ["Ann Lee", "Bob", "Zoë", "Max Ruiz", "Ida", "Kim Park"]
TAGS = {"Text": "Labels", "HyperText": "HyperTextLabels", "Paragraphs": "ParagraphLabels"}
Task = tuple[Any, Sequence[dict[str, Any]], str]


def xml_of(object_tag: str) -> str:
    tag = TAGS[object_tag]
    return (
        f'<View><{tag} name="l" toName="t"><Label value="PERSON"/><Label value="GROUP"/></{tag}>'
        f'<{object_tag} name="t" value="$x"/></View>'
    )


def sentence(number: int) -> tuple[str, Span]:
    name, before = PEOPLE[number % len(PEOPLE)], ["Then", "🙂 So", "Yesterday", "I think"][number % 4]
    return f"{before} {name} came by {number}.", Span(len(before) + 1, len(before) + 1 + len(name), "PERSON")


def tasks(object_tag: str, count: int) -> list[Task]:
    """Every fourth is of the holdout."""
    made: list[Task] = []
    for number in range(count):
        (first, span), (second, other) = sentence(number), sentence(number + 7)
        value: Any = first
        document: Document = PlainText(first)
        spans = [[span]]
        if object_tag == "HyperText":
            value = f"<h1>Note {number}</h1><p>{first.replace('came', '<b>came</b>')}</p><p>{second}</p>"
            document, spans = HtmlText(value), [[], [span], [other]]
        elif object_tag == "Paragraphs":
            value = [{"author": "A", "text": first}, {"author": "B", "text": ""}, {"author": "A", "text": second}]
            document, spans = Dialogue.of(value) or document, [[span], [], [other]]
        kind = TAGS[object_tag].lower()
        result = [r for piece, found in enumerate(spans) for r in span_regions(document, piece, found, "l", "t", kind)]
        made.append((value, result, "holdout" if number % 4 == 3 else "train"))
    return made


def dataset(
    folder: Path, xml: str, given: Sequence[Task], cancelled: Sequence[tuple[int, dict[str, Any]]] = ()
) -> Path:
    """A dataset version; `cancelled` are labels that are not the truth of their task."""
    task_rows = [
        {"task_id": n, "data": orjson.dumps({"x": value}).decode(), "group_key": str(n), "role": "pool", "split": split}
        for n, (value, _, split) in enumerate(given, start=1)
    ]
    shared = {"annotator": 1, "at": AT, "rev_hash": "h", "lead_time_s": 1.0, "shown_serving_id": None}
    truths = [(n, list(result), True) for n, (_, result, _) in enumerate(given, start=1)]
    others = [(task_id, [region], False) for task_id, region in cancelled]
    label_rows = [
        {**shared, "task_id": n, "annotation_id": at, "is_truth": true, "result": orjson.dumps(result).decode()}
        for at, (n, result, true) in enumerate([*truths, *others], start=1)
    ]
    body = {"label_config": xml, "project": 1, "classes": ["PERSON", "GROUP"], "options": {}}
    write_dataset(folder, body, task_rows, label_rows, None, AT.isoformat())
    return folder


def quiet(share: float, message: str) -> None:
    assert 0.0 <= share <= 1.0 and message


@pytest.mark.parametrize("object_tag", ["HyperText", "Paragraphs"])
def test_people_in_html_and_in_dialogues_are_learned(object_tag: str, tmp_path: Path) -> None:
    xml = xml_of(object_tag)
    data = dataset(tmp_path / "data", xml, tasks(object_tag, 60))
    trainer = spacy_nlp.trainer()
    artefact = trainer.fit(data, tmp_path / "v1", start=None, budget=Budget(epochs=8), progress=quiet)
    assert artefact.params["outside_text"] == artefact.params["misaligned"] == 0
    metrics = trainer.evaluate(tmp_path / "v1", data)
    assert (metrics.n, metrics.n_objects) == (15, 30)
    assert metrics.value > 0.8
    assert trainer.headline(metrics.per_item) == metrics.value
    value = tasks(object_tag, 4)[3][0]
    (outcome,) = spacy_nlp.load(tmp_path / "v1").predict([TaskItem(1, {"x": value})])
    assert {region["type"] for region in outcome.regions} == {TAGS[object_tag].lower()}
    config = parse_label_config(xml)
    assert outcome.regions and all(config.problem_with(region) is None for region in outcome.regions)
    more = trainer.fit(data, tmp_path / "v2", start=tmp_path / "v1", budget=Budget(epochs=1), progress=quiet)
    assert more.params["continued"] is True


def test_h1_only_the_truth_of_a_task_is_learned_not_a_cancelled_label(tmp_path: Path) -> None:
    xml = xml_of("Text")
    cancelled = span_regions(PlainText(sentence(0)[0]), 0, [Span(0, 4, "GROUP")], "l", "t")[0]
    data = dataset(tmp_path / "data", xml, tasks("Text", 8), [(1, cancelled)])
    dataset_version = read_dataset(data)
    (control,) = dataset_version.label_config.controls
    read = read_tasks(dataset_version, control, "train")
    assert {span.label for task in read for span in task.spans} == {"PERSON"}
    assert [len(task.spans) for task in read] == [1] * 6


def test_confidence_is_calibrated_out_of_fold_and_the_temperature_is_kept(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", xml_of("Text"), tasks("Text", 200))
    artefact = spacy_nlp.trainer().fit(data, tmp_path / "v1", start=None, budget=Budget(epochs=4), progress=quiet)
    (labels,) = orjson.loads((tmp_path / "v1" / "labels.json").read_bytes())["controls"]
    made = artefact.params["controls"]["l"]
    assert made["out_of_fold_suggestions"] >= 30
    assert labels["calibrated"] is True
    assert labels["temperature"] == made["temperature"] > 0
    few = dataset(tmp_path / "few", xml_of("Text"), tasks("Text", 10))
    spacy_nlp.trainer().fit(few, tmp_path / "v2", start=None, budget=Budget(epochs=1), progress=quiet)
    (labels,) = orjson.loads((tmp_path / "v2" / "labels.json").read_bytes())["controls"]
    assert (labels["calibrated"], labels["temperature"]) == (False, 1.0)


def test_an_imported_version_is_no_start_and_its_choices_are_not_evaluated_as_spans(tmp_path: Path) -> None:
    import spacy

    nlp = spacy.blank("en")
    nlp.add_pipe("textcat").add_label("news")
    nlp.get_pipe("textcat").add_label("sport")
    nlp.initialize()
    nlp.to_disk(tmp_path / "pipeline")
    choices = '<View><Text name="t" value="$x"/><Choices name="c" toName="t"><Choice value="news"/></Choices></View>'
    imported = tmp_path / "imported"
    spacy_nlp.import_model([str(tmp_path / "pipeline")], parse_label_config(choices), imported)
    data = dataset(tmp_path / "data", xml_of("Text"), tasks("Text", 8))
    fresh = spacy_nlp.trainer().fit(data, tmp_path / "v1", start=imported, budget=Budget(epochs=1), progress=quiet)
    assert fresh.params["continued"] is False
    with pytest.raises(DataError, match="evaluate it on a dataset of its own project"):
        spacy_nlp.trainer().evaluate(imported, data)


def test_a_training_of_many_texts_is_bounded() -> None:
    made = [passes(range(count), Budget()) for count in (10, 300, 600, 3_400, 8_000, 100_000)]
    assert made == [20, 20, 14, 14, 6, 4]
    assert [passes(range(count), Budget(), 4.0) for count in (10, 600, 3_400)] == [20, 14, 4]
    assert passes([], Budget(epochs=0)) == 1
