"""Pipelines from elsewhere: found, refused when they would run foreign code, mapped to controls, and asked."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from spacy_pipelines import ALL, SENTENCES, learned

from backends import spacy_nlp
from backends.spacy_nlp import decoding
from backends.spacy_nlp.artefact import read_model, read_pipeline
from backends.spacy_nlp.decoding import parses
from backends.spacy_nlp.pipeline import TextPipeline
from labelloop.errors import DataError, UsageError
from labelloop.label_config import parse_label_config
from labelloop.values import Outcome, TaskItem

pytestmark = pytest.mark.integration

EVERYTHING = frozenset({"regions", "probs", "embedding"})
FIRST, SECOND = SENTENCES[0][0], SENTENCES[1][0]


def config_of(labels: str, choices: str = "", object_tag: str = '<Text name="t" value="$x"/>') -> str:
    return f"<View>{object_tag}{labels}{choices}</View>"


LABELS = (
    '<Labels name="l" toName="t"><Label value="Person"/><Label value="Place" predicted_values="GPE, LOC"/></Labels>'
)
CHOICES = '<Choices name="c" toName="t"><Choice value="news"/><Choice value="sport"/></Choices>'


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned(tmp_path_factory.mktemp("learned") / "pipeline", *ALL)


def ask(folder: Path, xml: str, *values: Any) -> list[Outcome]:
    config = parse_label_config(xml)
    tasks = [TaskItem(number, {"x": value}) for number, value in enumerate(values)]
    outcomes = spacy_nlp.load(folder).predict(tasks, want=EVERYTHING)
    assert len(outcomes) == len(values)
    for outcome in outcomes:
        for region in outcome.regions:
            assert config.problem_with(region) is None
            assert 0.0 < region["score"] <= 1.0
    return outcomes


def said(outcome: Outcome, control: str = "l") -> list[tuple[str, str]]:
    regions = [region for region in outcome.regions if region["from_name"] == control]
    return [(region["value"]["text"], region["value"][region["type"]][0]) for region in regions]


def test_s1_classes_are_found_whatever_their_case_scores_are_there_and_unread_components_are_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = learned(tmp_path / "source", "tok2vec", "tagger", "ner", "attribute_ruler")
    xml = config_of('<Labels name="l" toName="t"><Label value="Person"/><Label value="Gpes"/></Labels>')
    with caplog.at_level(logging.WARNING):
        artefact = spacy_nlp.import_model([str(source)], parse_label_config(xml), tmp_path / "v1")
    assert [record.message for record in caplog.records if "did you mean 'Gpes'" in record.message] == [
        record.message for record in caplog.records
    ]
    assert len(caplog.records) == 1 and artefact.params["unmapped"] == {"l": {"GPE": "Gpes"}}
    assert read_model(tmp_path / "v1").pipe_names == ["ner"]
    (first,) = ask(tmp_path / "v1", xml, FIRST)
    assert said(first) == [("Ann Lee", "Person"), ("Bob", "Person")]
    assert first.confidence == min(region["score"] for region in first.regions)
    assert first.uncertainty is not None and 0.0 <= first.uncertainty <= 1.0
    labels = orjson.loads((tmp_path / "v1" / "labels.json").read_bytes())["controls"]
    assert [(c["control"], c["calibrated"], c["temperature"]) for c in labels] == [("l", False, 1.0)]


def test_h1_adjacent_entities_stay_apart(pipeline: Path, tmp_path: Path) -> None:
    xml = config_of(LABELS)
    spacy_nlp.import_model([str(pipeline)], parse_label_config(xml), tmp_path / "v1")
    (outcome,) = ask(tmp_path / "v1", xml, SECOND)
    assert said(outcome) == [("Ann", "Person"), ("Bob", "Person")]


def test_s1_many_texts_go_through_a_component_together(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spacy_nlp.import_model([str(pipeline)], parse_label_config(config_of(LABELS)), tmp_path / "v1")
    backend, batches = spacy_nlp.load(tmp_path / "v1"), []

    def counted(ner: Any, docs: Any, threads: int) -> Any:
        batches.append(len(docs))
        return parses(ner, docs, threads)

    monkeypatch.setattr(decoding, "parses", counted)
    outcomes = backend.predict([TaskItem(number, {"x": f"{FIRST} {number}"}) for number in range(200)])
    assert len(outcomes) == 200 and all(outcome.regions for outcome in outcomes)
    assert batches == [200]


def test_each_control_is_answered_by_what_knows_its_classes(pipeline: Path, tmp_path: Path) -> None:
    xml = config_of(LABELS, CHOICES)
    artefact = spacy_nlp.import_model([str(pipeline)], parse_label_config(xml), tmp_path / "v1")
    assert artefact.params["components"] == {"l": "ner", "c": "textcat"}
    assert read_model(tmp_path / "v1").pipe_names == ["ner", "textcat"]
    first, second = ask(tmp_path / "v1", xml, FIRST, SECOND)
    assert said(first) == [("Ann Lee", "Person"), ("Bob", "Person"), ("Paris", "Place")]
    assert [o.regions[-1]["value"] for o in (first, second)] == [{"choices": ["news"]}, {"choices": ["sport"]}]
    assert first.probs is not None and set(first.probs) == {"Person", "Place", "news", "sport"}
    assert first.probs["news"] > 0.5 > first.probs["sport"]
    assert first.embedding


def test_overlapping_spans_and_several_choices(pipeline: Path, tmp_path: Path) -> None:
    names = ("PERSON", "SURNAME", "GPE")
    labels = "".join(f'<Label value="{name}"/>' for name in names)
    several = CHOICES.replace("<Choices", '<Choices choice="multiple"')
    xml = config_of(f'<Labels name="l" toName="t">{labels}</Labels>', several)
    artefact = spacy_nlp.import_model([str(pipeline)], parse_label_config(xml), tmp_path / "v1")
    assert artefact.params["components"] == {"l": "spancat", "c": "textcat_multilabel"}
    first, empty = ask(tmp_path / "v1", xml, FIRST, "")
    assert sorted(said(first)) == [("Ann Lee", "PERSON"), ("Lee", "SURNAME"), ("Paris", "GPE")]
    assert first.uncertainty is not None and first.uncertainty > 0.0
    assert first.regions[-1]["value"] == {"choices": ["news"]}
    assert empty.status == "text_missing"


def test_html_and_dialogues(pipeline: Path, tmp_path: Path) -> None:
    tag = '<HyperText name="t" value="$x"/>'
    xml = config_of(LABELS.replace("Labels", "HyperTextLabels"), CHOICES, tag)
    spacy_nlp.import_model([str(pipeline)], parse_label_config(xml), tmp_path / "v1")
    html = "<p>Ann <b>Lee</b> met Bob in Paris.</p><p>The match was lost by Ann Bob here.</p><p>🙂</p>"
    outcome, blank = ask(tmp_path / "v1", xml, html, "<p> </p>")
    assert blank.status == "text_missing"
    assert [text for text, _ in said(outcome)] == ["Ann Lee", "Bob", "Paris", "Ann", "Bob"]
    assert outcome.regions[0]["value"]["end"] == "/p[1]/b[1]/text()[1]"
    tag = '<Paragraphs name="t" value="$x" nameKey="who" textKey="said"/>'
    xml = config_of(LABELS.replace("Labels", "ParagraphLabels"), CHOICES, tag)
    spacy_nlp.import_model([str(pipeline)], parse_label_config(xml), tmp_path / "v2")
    turns = [{"who": "A", "said": FIRST}, {"who": "B", "said": ""}, {"who": "A", "said": SECOND}, {"who": "B"}]
    outcome, wrong = ask(tmp_path / "v2", xml, turns, FIRST)
    assert wrong.status == "text_missing"
    spans = [region for region in outcome.regions if region["from_name"] == "l"]
    assert [region["value"]["start"] for region in spans] == ["0", "0", "0", "2", "2"]


def test_two_pipelines_and_a_class_that_is_in_no_config(pipeline: Path, tmp_path: Path) -> None:
    recogniser = learned(tmp_path / "ner", "ner")
    classifier = learned(tmp_path / "textcat", "textcat")
    xml = config_of(LABELS, '<Choices name="c" toName="t"><Choice value="news"/><Choice value="other"/></Choices>')
    sources = [str(recogniser), str(classifier)]
    artefact = spacy_nlp.import_model(sources, parse_label_config(xml), tmp_path / "v1")
    assert artefact.params["components"] == {"l": "ner", "c": "textcat"}
    first, second = ask(tmp_path / "v1", xml, FIRST, SECOND)
    assert first.regions[-1]["value"] == {"choices": ["news"]}
    assert said(second, "c") == [] and said(second) == [("Ann", "Person"), ("Bob", "Person")]


def test_one_bad_text_costs_no_other_its_result(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = read_pipeline(pipeline)
    make_doc = nlp.make_doc

    def careful(text: str) -> Any:
        if "boom" in text:
            raise RuntimeError("a tokenizer's bug")
        return make_doc(text)

    monkeypatch.setattr(nlp, "make_doc", careful)
    readings = TextPipeline(nlp, {"ner": 1.0}).read([FIRST, "boom", SECOND, "", "boom 2"])
    assert [isinstance(reading, RuntimeError) for reading in readings] == [False, True, False, False, True]


def test_rules_after_a_recogniser_are_certain_and_keep_its_scores(tmp_path: Path) -> None:
    import spacy

    nlp = spacy.load(learned(tmp_path / "p", "ner"))
    nlp.add_pipe("entity_ruler", config={"overwrite_ents": True}).add_patterns([{"label": "LOC", "pattern": "lost"}])
    nlp.to_disk(tmp_path / "ruled")
    xml = config_of(LABELS)
    spacy_nlp.import_model([str(tmp_path / "ruled")], parse_label_config(xml), tmp_path / "v1")
    (outcome,) = ask(tmp_path / "v1", xml, SECOND)
    assert said(outcome) == [("lost", "Place"), ("Ann", "Person"), ("Bob", "Person")]
    assert outcome.regions[0]["score"] == 1.0 > outcome.regions[1]["score"]


def test_an_installed_package_is_read_without_running_it(
    pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    package = tmp_path / "site" / "en_told"
    shutil.copytree(pipeline, package / "en_told-1.2.3")
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    record = tmp_path / "site" / "en_told-1.2.3.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: en_told\nVersion: 1.2.3\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    artefact = spacy_nlp.import_model(["en_told"], parse_label_config(config_of(LABELS)), tmp_path / "v1")
    assert artefact.params["components"] == {"l": "ner"}
    assert "en_told" not in sys.modules


def test_what_cannot_be_imported_says_what_to_do(pipeline: Path, tmp_path: Path) -> None:
    config = parse_label_config(config_of(LABELS))
    with pytest.raises(UsageError, match="python -m spacy download en_core_web_nope"):
        spacy_nlp.import_model(["en_core_web_nope"], config, tmp_path / "v1")
    with pytest.raises(UsageError, match="holds no spaCy pipeline"):
        spacy_nlp.import_model([str(tmp_path)], config, tmp_path / "v1")
    with pytest.raises(UsageError, match="no spaCy pipeline was named"):
        spacy_nlp.import_model([], config, tmp_path / "v1")
    other = parse_label_config(config_of('<Labels name="l" toName="t"><Label value="Dog"/></Labels>'))
    with pytest.raises(DataError, match=r"ner \(ner\): .*PERSON.*Labels 'l': Dog.*predicted_values"):
        spacy_nlp.import_model([str(pipeline)], other, tmp_path / "v1")
    image = parse_label_config(config_of(LABELS, object_tag='<Image name="t" value="$x"/>'))
    with pytest.raises(DataError, match="text controls have: none"):
        spacy_nlp.import_model([str(pipeline)], image, tmp_path / "v1")
    assert not (tmp_path / "v1").exists()


def rewritten(pipeline: Path, folder: Path, old: str, new: str) -> Path:
    import shutil

    shutil.copytree(pipeline, folder)
    text = (folder / "config.cfg").read_text()
    assert old in text
    (folder / "config.cfg").write_text(text.replace(old, new, 1))
    return folder


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('factory = "ner"', 'factory = "labelloop_test_foreign"', "belongs to .*only functions of spaCy itself"),
        ('factory = "ner"', 'factory = "never_heard_of"', "nobody has registered"),
        ('factory = "ner"', 'source = "en_core_web_sm"', "taken from another pipeline"),
        ("before_creation = null", 'before_creation = {"@callbacks": "x.v1"}', r"runs the function 'x.v1'"),
        ('"spacy.TransitionBasedParser.v2"', '"foreign.Parser.v1"', "names 'foreign.Parser.v1'"),
        ('lang = "en"', 'lang = "os.path"', "has no language"),
    ],
)
def test_a_config_that_names_foreign_code_is_refused_before_anything_runs(
    pipeline: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    from spacy.language import Language

    if not Language.has_factory("labelloop_test_foreign"):
        Language.component("labelloop_test_foreign", func=lambda doc: pytest.fail("foreign code ran"))
    source = rewritten(pipeline, tmp_path / "source", old, new)
    with pytest.raises(DataError, match=message):
        spacy_nlp.import_model([str(source)], parse_label_config(config_of(LABELS)), tmp_path / "v1")


def test_initialize_is_not_run(pipeline: Path, tmp_path: Path) -> None:
    source = rewritten(pipeline, tmp_path / "s", "before_init = null", 'before_init = {"@callbacks": "nowhere.v1"}')
    spacy_nlp.import_model([str(source)], parse_label_config(config_of(LABELS)), tmp_path / "v1")
    assert spacy_nlp.load(tmp_path / "v1").predict([TaskItem(1, {"x": FIRST})])[0].regions
