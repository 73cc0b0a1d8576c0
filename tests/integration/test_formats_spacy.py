"""spaCy DocBin files: spaCy reads them, every span is where it was, and what cannot be said is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
import spacy
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from labelloop.datasets import Dataset
from sync.formats import export_dataset
from sync.formats.truth import dataset_from_export

pytestmark = pytest.mark.integration

NER = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
TOPICS = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="sport"/><Choice value="money"/></Choices></View>'
)


def span(text: str, marked: str, label: str = "PER", shift: int = 0) -> dict[str, Any]:
    start = text.index(marked) + shift
    value = {"start": start, "end": start + len(marked), "text": marked, "labels": [label]}
    return {"id": f"s{start}{label}", "from_name": "label", "to_name": "text", "type": "labels", "value": value}


def dataset_of(folder: Path, config: str, *found: tuple[str, list[dict[str, Any]]]) -> Dataset:
    tasks = [
        {
            "id": number,
            "data": {"text": text},
            "annotations": [
                {"id": number * 10, "completed_by": 1, "result": result, "updated_at": "2026-01-01T00:00:00Z"}
            ],
        }
        for number, (text, result) in enumerate(found, start=1)
    ]
    (folder / "export.json").write_bytes(orjson.dumps(tasks))
    (folder / "config.xml").write_text(config)
    return dataset_from_export(folder / "export.json", folder / "config.xml", folder / "dataset")


def docs_of(folder: Path, *parts: str) -> dict[int, Doc]:
    vocab = spacy.blank("en").vocab
    docs = [
        doc
        for part in parts or ("train", "dev")
        for doc in DocBin().from_disk(folder / f"{part}.spacy").get_docs(vocab)
    ]
    return {doc.user_data["labelloop"]["task"]: doc for doc in docs}


def test_entities_negatives_and_provenance(tmp_path: Path) -> None:
    text = "\U0001f600 Ada Lovelace went to Paris."
    dataset = dataset_of(tmp_path, NER, (text, [span(text, "Ada Lovelace"), span(text, "Paris", "LOC")]), ("None.", []))
    report = export_dataset(dataset, "spacy", tmp_path / "out")
    docs = docs_of(tmp_path / "out")
    assert [(ent.text, ent.label_) for ent in docs[1].ents] == [("Ada Lovelace", "PER"), ("Paris", "LOC")]
    assert len(docs[2].ents) == 0
    assert (report.items, report.objects, report.skipped) == (2, 2, ())
    assert docs[1].user_data["labelloop"]["rev_hash"] == dataset.labels["rev_hash"][0]


def test_overlapping_spans_stay_in_the_span_group(tmp_path: Path) -> None:
    text = "University of Oxford wins."
    dataset = dataset_of(tmp_path, NER, (text, [span(text, "University of Oxford"), span(text, "Oxford", "LOC")]))
    report = export_dataset(dataset, "spacy", tmp_path / "out")
    doc = docs_of(tmp_path / "out")[1]
    assert [ent.text for ent in doc.ents] == ["University of Oxford"]
    assert [found.text for found in doc.spans["sc"]] == ["University of Oxford", "Oxford"]
    assert report.objects == 2


def test_spans_that_cut_a_token_or_do_not_fit_are_named(tmp_path: Path) -> None:
    text = "Parisian life in Rome "
    wrong = span(text, "Rome", "LOC") | {"id": "w"}
    wrong["value"] = wrong["value"] | {"start": 0, "end": 4}
    dataset = dataset_of(tmp_path, NER, (text, [span(text, "Paris", "LOC"), span(text, "Rome ", "LOC"), wrong]))
    report = export_dataset(dataset, "spacy", tmp_path / "out")
    assert [ent.text for ent in docs_of(tmp_path / "out")[1].ents] == ["Rome"]
    assert report.skipped == (
        (1, "region s0LOC: misaligned: 0:5 cuts a token"),
        (1, "region w: offset_mismatch: the text at 0:4 is not the text that was marked"),
    )


def test_parts_are_stable_and_duplicates_stay_together(tmp_path: Path) -> None:
    found = [(f"Text number {i // 2}.", []) for i in range(80)]
    dataset = dataset_of(tmp_path, NER, *found)
    report = export_dataset(dataset, "spacy", tmp_path / "out", train_val_split=0.5)
    train, dev = docs_of(tmp_path / "out", "train"), docs_of(tmp_path / "out", "dev")
    assert len(train) + len(dev) == 80
    assert train
    assert dev
    assert not {doc.text for doc in train.values()} & {doc.text for doc in dev.values()}
    parts = json.loads(report.manifest.read_text())["parts"]
    assert parts == {"train": len(train), "dev": len(dev)}


def test_choices_become_categories(tmp_path: Path) -> None:
    chosen = {"id": "c", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": ["money"]}}
    dataset = dataset_of(tmp_path, TOPICS, ("Banks.", [chosen]), ("Nothing.", []))
    report = export_dataset(dataset, "spacy", tmp_path / "out")
    docs = docs_of(tmp_path / "out")
    assert docs[1].cats == {"sport": 0.0, "money": 1.0}
    assert docs[2].cats == {"sport": 0.0, "money": 0.0}
    assert (report.items, report.objects) == (2, 1)


def test_a_pipeline_learns_from_the_files(tmp_path: Path) -> None:
    texts = [f"{name} lives in {place}." for name in ("Ada", "Bo", "Cy") for place in ("Rome", "Oslo", "Lima")]
    found = [(t, [span(t, t.split()[0]), span(t, t.split()[-1].rstrip("."), "LOC")]) for t in texts]
    export_dataset(dataset_of(tmp_path, NER, *found), "spacy", tmp_path / "out", train_val_split=1.0)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    docs = list(docs_of(tmp_path / "out", "train").values())
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs]
    nlp.initialize(lambda: examples)
    for _ in range(40):
        nlp.update(examples)
    assert nlp.evaluate(examples)["ents_f"] == 1.0
