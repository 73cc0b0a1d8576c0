"""spaCy DocBin files: spaCy reads them, every span is where it was, and what cannot be said is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
import spacy
from spacy.tokens import Doc, DocBin
from spacy.training import Corpus, Example

from labelloop.errors import DataError, UsageError
from sync.formats import spacy_docbin
from sync.formats.format import ClassName
from sync.formats.parts import PartRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from text_exports import ENTITIES, choice, exported, marked_at, reasons, span, task

pytestmark = pytest.mark.integration

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/export.schema.json").read_text())
TOPICS = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text" {choice}>'
    '<Choice value="sport"/><Choice value="money"/></Choices>'
    '<Choices name="tone" toName="text"><Choice value="glad"/><Choice value="sad"/></Choices></View>'
)
ONE_TOPIC, MANY_TOPICS = TOPICS.format(choice=""), TOPICS.format(choice='choice="multiple"')


def docs_of(folder: Path, *names: str) -> dict[int, Doc]:
    """The documents of an export by their task."""
    vocab = spacy.blank("en").vocab
    files = [folder / f"{name}.spacy" for name in names] or sorted(p for p in folder.rglob("*.spacy") if p.is_file())
    docs = [doc for file in files for doc in DocBin().from_disk(file).get_docs(vocab)]
    return {doc.user_data["labelloop"]["task"]: doc for doc in docs}


def written(folder: Path, tasks: list[dict[str, Any]], config: str = ENTITIES, **more: Any) -> tuple[Path, Any, Any]:
    """(folder, report, manifest) of an export."""
    out, report = exported(folder, "spacy", tasks, config, **more)
    jsonschema.validate(report.to_json(), SCHEMA)
    return out, report, json.loads((out / "manifest.json").read_text())


def test_entities_negatives_and_provenance(tmp_path: Path) -> None:
    text = "\U0001f600 Ada Lovelace went to Paris."
    tasks = [
        task(1, text, span(text, "Ada Lovelace"), span(text, "Paris", "LOC"), lang="en"),
        task(2, "None."),
        task(3, ""),
    ]
    out, report, manifest = written(tmp_path, tasks)
    docs = docs_of(out)
    assert [(ent.text, ent.label_) for ent in docs[1].ents] == [("Ada Lovelace", "PER"), ("Paris", "LOC")]
    assert [token.ent_iob_ for token in docs[2]] == ["O", "O"]
    assert [len(docs[n].ents) for n in (2, 3)] == [0, 0]
    assert (report.task, report.items, report.objects, reasons(report)) == ("ner", 3, 2, [])
    said = docs[1].user_data["labelloop"]
    assert (said["annotation"], said["annotator"], said["source"], said["split"]) == (10, 1, "person", "train")
    assert json.loads(said["data"]) == {"lang": "en"}
    assert [tuple(each) for each in said["regions"]] == [("s2-14", "label"), ("s23-28", "label")]
    rows = pl.read_parquet(out / "provenance.parquet")
    assert said["rev_hash"] in rows["rev_hash"].to_list()
    assert rows.select("file", "object", "region_id").rows() == [
        ("train.spacy", 1, "s2-14"),
        ("train.spacy", 2, "s23-28"),
    ]
    assert (manifest["component"], manifest["labels"], manifest["language"], manifest["spans_key"]) == (
        "ner", ["PER", "LOC", "First Name", "ORG"], "en", "sc",
    )  # fmt: skip


def test_overlapping_spans_stay_in_the_span_group(tmp_path: Path) -> None:
    text = "University of Oxford wins."
    nested = [
        span(text, "Oxford", "LOC"),
        span(text, "University of Oxford", "ORG"),
        span(text, "of Oxford", ["PER", "LOC"]),
    ]
    out, report, manifest = written(tmp_path, [task(1, text, *nested)])
    doc = docs_of(out)[1]
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("University of Oxford", "ORG")]
    assert [(found.text, found.label_) for found in doc.spans["sc"]] == [
        ("Oxford", "LOC"), ("University of Oxford", "ORG"), ("of Oxford", "PER"), ("of Oxford", "LOC"),
    ]  # fmt: skip
    assert report.objects == 4
    assert manifest["span_notes"] == {"not_among_entities": 3}
    alone, report, manifest = written(tmp_path, [task(1, text, *nested)], out="spans", variant="spancat")
    doc = docs_of(alone)[1]
    assert len(doc.spans["sc"]) == report.objects == 4
    assert doc.ents == ()
    assert not doc.has_annotation("ENT_IOB")
    assert manifest["component"] == "spancat"


def test_spans_that_cut_a_token_or_do_not_fit_are_named(tmp_path: Path) -> None:
    text = "Parisian life in Rome "
    wrong = span(text, "Rome", "LOC", id="w")
    wrong["value"] |= {"start": 0, "end": 4}
    tasks = [task(1, text, span(text, "Paris", "LOC"), span(text, "Rome ", "LOC"), wrong, choice("sport"))]
    out, report, manifest = written(tmp_path, tasks)
    assert [ent.text for ent in docs_of(out)[1].ents] == ["Rome"]
    assert reasons(report) == [
        "region c-topic: spaCy's ner has no place for choices of 'topic'",
        "region w: offset_mismatch: the text at 0:4 is not the text that was marked",
        "region s0-5: misaligned: 0:5 cuts a token",
    ]
    assert (manifest["offset_notes"], manifest["span_notes"]) == (
        {"refused": 1},
        {"not_among_entities": 0, "trimmed": 1},
    )
    wide, report, manifest = written(tmp_path, tasks, out="wide", alignment="expand")
    assert [ent.text for ent in docs_of(wide)[1].ents] == ["Parisian", "Rome"]
    assert manifest["span_notes"]["widened"] == 1
    assert any("widened to whole tokens" in loss for loss in report.declared_losses)


def test_the_tokenizer_of_a_language_decides_what_a_token_is(tmp_path: Path) -> None:
    text = "l'homme d'Albi"
    tasks = [task(1, text, span(text, "homme"), span(text, "Albi", "LOC"))]
    english, _, _ = written(tmp_path, tasks)
    french, _, manifest = written(tmp_path, tasks, out="fr", language="fr")
    assert [ent.text for ent in docs_of(english)[1].ents] == []
    assert [ent.text for ent in docs_of(french)[1].ents] == ["homme", "Albi"]
    assert manifest["language"] == "fr"
    with pytest.raises(UsageError, match="option language"):
        written(tmp_path, tasks, language="klingon")
    with pytest.raises(UsageError, match="option alignment"):
        written(tmp_path, tasks, alignment="wild")


def test_splits_are_files_and_duplicates_stay_together(tmp_path: Path) -> None:
    tasks = [task(n, f"Text number {n // 2}.", span(f"Text number {n // 2}.", "number")) for n in range(1, 161)]
    out, report, _ = written(tmp_path, tasks, share=0.6, test_share=0.3)
    found = {name: docs_of(out, name) for name in ("train", "dev", "test")}
    assert {name: len(docs) for name, docs in found.items()} == {
        "train": report.splits["train"], "dev": report.splits["val"], "test": report.splits["test"],
    }  # fmt: skip
    assert sum(map(len, found.values())) == report.items == report.objects == 160
    texts = [{doc.text for doc in docs.values()} for docs in found.values()]
    assert not any(a & b for i, a in enumerate(texts) for b in texts[i + 1 :])
    assert all(doc.user_data["labelloop"]["split"] == "test" for doc in found["test"].values())


def test_a_large_split_is_a_folder_that_the_corpus_reader_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [task(n, f"Ada {n} met Bo.", span(f"Ada {n} met Bo.", "Bo")) for n in range(1, 3301)]
    whole, report, _ = written(tmp_path, tasks, share=0.9)
    assert sorted(path.name for path in whole.glob("*.spacy")) == ["dev.spacy", "train.spacy"]
    monkeypatch.setattr(spacy_docbin, "_MOST_TOKENS", 10_000)
    parted, again, manifest = written(tmp_path, tasks, out="parted", share=0.9)
    assert [path.name for path in sorted((parted / "train.spacy").iterdir())] == ["00000.spacy", "00001.spacy"]
    assert "train.spacy/00001.spacy" in manifest["files"]
    assert (parted / "dev.spacy").is_file()
    assert (again.items, again.objects) == (report.items, report.objects) == (3300, 3300)
    nlp = spacy.blank("en")
    for name in ("train", "dev"):
        examples = [list(Corpus(folder / f"{name}.spacy")(nlp)) for folder in (whole, parted)]
        assert [each.reference.text for each in examples[0]] == [each.reference.text for each in examples[1]]
        assert all(each.reference.ents[0].text == "Bo" for each in examples[1])
    files = [pl.read_parquet(folder / "provenance.parquet").drop("dataset_id") for folder in (whole, parted)]
    assert files[0].equals(files[1])


def test_the_number_of_processes_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PartRunner, "SMALL", 0)
    tasks = [task(n, f"Ada {n} met Bo.", span(f"Ada {n} met Bo.", "Bo")) for n in range(1, 1301)]
    one, _, _ = written(tmp_path, tasks, out="one", share=0.7)
    two, _, _ = written(tmp_path, tasks, out="two", share=0.7, workers=2)
    for name in sorted(path.name for path in one.iterdir()):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


@pytest.mark.parametrize(("config", "component"), [(ONE_TOPIC, "textcat"), (MANY_TOPICS, "textcat_multilabel")])
def test_choices_become_categories(config: str, component: str, tmp_path: Path) -> None:
    tasks = [
        task(1, "Banks.", choice("money")), task(2, "Nothing."), task(3, "Both.", choice("money", "sport")),
        task(4, "Odd.", choice("ghost"), choice("glad", control="tone")),
    ]  # fmt: skip
    out, report, manifest = written(tmp_path, tasks, config)
    cats = {number: doc.cats for number, doc in docs_of(out).items()}
    several = component == "textcat_multilabel"
    assert cats == {
        1: {"sport": 0.0, "money": 1.0}, 2: {"sport": 0.0, "money": 0.0}, 3: {"sport": float(several), "money": 1.0},
        4: {"sport": 0.0, "money": 0.0},
    }  # fmt: skip
    assert (report.task, report.items, report.objects) == ("textcat", 4, 3 if several else 2)
    assert (manifest["component"], manifest["labels"], manifest["spans_key"]) == (component, ["sport", "money"], None)
    left_out = [] if several else ["region c-topic: 'sport' was chosen besides 'money', and one may be"]
    assert reasons(report) == [
        *left_out,
        "region c-tone: spaCy's textcat has no place for choices of 'tone'",
        "region c-topic: class 'ghost' is not in the label config",
    ]


def test_another_choices_tag_can_be_named(tmp_path: Path) -> None:
    tasks = [task(1, "Banks.", choice("money"), choice("sad", control="tone"))]
    out, _, manifest = written(tmp_path, tasks, ONE_TOPIC, control="tone")
    assert docs_of(out)[1].cats == {"glad": 0.0, "sad": 1.0}
    assert manifest["controls"] == ["tone"]
    with pytest.raises(UsageError, match="option control"):
        written(tmp_path, tasks, ONE_TOPIC, control="mood")


def test_retired_classes_are_no_categories_and_ids_stay(tmp_path: Path) -> None:
    classes = [
        ClassName("topic", 0, "old", retired=True),
        ClassName("topic", 1, "sport"),
        ClassName("topic", 2, "money"),
    ]
    out, _, _ = written(tmp_path, [task(1, "Banks.", choice("money"))], ONE_TOPIC, classes=classes)
    assert docs_of(out)[1].cats == {"sport": 0.0, "money": 1.0}
    assert pl.read_parquet(out / "provenance.parquet")["class_id"].to_list() == [2]


def test_a_text_that_spacy_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spacy_docbin, "_MOST_CHARACTERS", 20)
    out, report, _ = written(tmp_path, [task(1, "Ada met Bo in Rome again."), task(2, "Ada met Bo."), task(3, None)])
    assert list(docs_of(out)) == [2]
    assert reasons(report) == [
        "too_large: 25 characters; spaCy reads 20",
        "text_missing: expected a text under 'text', got NoneType",
    ]


def test_configs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs <Choices> on a <Text>"):
        written(tmp_path, [task(1, "Ada")], ENTITIES.replace("Choice", "Pick"), variant="textcat")
    with pytest.raises(DataError, match="needs <Labels> on a <Text>"):
        written(tmp_path, [task(1, "Ada")], ONE_TOPIC, variant="ner")
    with pytest.raises(UsageError, match="has the tasks"):
        written(tmp_path, [task(1, "Ada")], variant="tagger")


def test_a_pipeline_learns_from_the_files(tmp_path: Path) -> None:
    texts = [f"{name} lives in {place}." for name in ("Ada", "Bo", "Cy") for place in ("Rome", "Oslo", "Lima")]
    tasks = [
        task(n, t, marked_at(t, 0, len(t.split()[0])), span(t, t.split()[-1][:-1], "LOC"))
        for n, t in enumerate(texts, start=1)
    ]
    out, _, _ = written(tmp_path, tasks)
    nlp = spacy.blank("en")
    nlp.add_pipe("ner")
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in docs_of(out, "train").values()]
    nlp.initialize(lambda: examples)
    for _ in range(40):
        nlp.update(examples)
    assert nlp.evaluate(examples)["ents_f"] == 1.0
