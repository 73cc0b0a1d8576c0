"""Spans that nest, single and several choices, and both at once are learned, judged, reloaded and continued."""

from __future__ import annotations

import datetime as dt
import logging
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from backends import spacy_nlp
from backends.choice_regions import choice_region, chosen_classes
from backends.spacy_nlp.artefact import read_answers, read_model
from backends.spacy_nlp.converters.labels import PlainText, Span, region_spans, span_regions
from backends.spacy_nlp.devices import computing_on
from labelloop.datasets import write_dataset
from labelloop.errors import LeaseLost
from labelloop.label_config import parse_label_config
from labelloop.values import Budget, Metrics, Outcome, TaskItem

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT
from training_steps import attempts, first_round, opened

pytestmark = pytest.mark.integration

AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TOWNS = ("Leeds", "Oslo", "Bern", "Lima", "Cairo", "Quito")
KINDS = ("University", "Bank", "Museum", "Council")
SAID = {
    "praise": ("is wonderful", "did great work"),
    "blame": ("is terrible", "failed us again"),
    "ask": ("opens when ?", "can help whom ?"),
}
SPANS = '<Labels name="l" toName="t"><Label value="PLACE"/><Label value="ORG"/></Labels>'
ONE, SEVERAL = (
    f'<Choices name="c" toName="t" choice="{choice}">' + "".join(f'<Choice value="{n}"/>' for n in SAID) + "</Choices>"
    for choice in ("single", "multiple")
)
EVERYTHING = frozenset({"regions", "probs", "embedding"})


def xml(*controls: str) -> str:
    return '<View><Text name="t" value="$x"/>' + "".join(controls) + "</View>"


def made(count: int, *, several: bool = False, seed: int = 0) -> list[tuple[str, list[dict[str, Any]], str]]:
    """(text, regions, split): towns, most of them inside the name of an organisation, and what is said of them."""
    source, rows = random.Random(seed), []
    for number in range(count):
        town = source.choice(TOWNS)
        name = f"{source.choice(KINDS)} of {town}" if source.random() < 0.7 else None
        topics = source.sample(list(SAID), source.choice([0, 1, 2]) if several else 1)
        said = " and ".join(source.choice(SAID[topic]) for topic in topics) or "is there"
        text = f"The {name or town} {said} ."
        spans = [Span(text.index(town), text.index(town) + len(town), "PLACE")]
        spans += [Span(4, 4 + len(name), "ORG")] if name else []
        regions = list(span_regions(PlainText(text), 0, spans, "l", "t"))
        regions += [choice_region(sorted(topics), None, "c", "t")] if topics else []
        rows.append((text, regions, "holdout" if number % 3 == 2 else "train"))
    return rows


def dataset(folder: Path, config: str, rows: Sequence[tuple[str, list[dict[str, Any]], str]], **options: Any) -> Path:
    names = {control.name for control in parse_label_config(config).controls}
    tasks = [
        {"task_id": n, "data": orjson.dumps({"x": text}).decode(), "group_key": str(n), "role": "pool", "split": split}
        for n, (text, _, split) in enumerate(rows, start=1)
    ]
    shared = {"annotator": 1, "at": AT, "rev_hash": "h", "lead_time_s": 1.0, "shown_serving_id": None, "is_truth": True}
    labels = [
        {**shared, "task_id": n, "annotation_id": n,
         "result": orjson.dumps([r for r in regions if r["from_name"] in names]).decode()}
        for n, (_, regions, _) in enumerate(rows, start=1)
    ]  # fmt: skip
    body = {"label_config": config, "project": 1, "classes": [], "options": options}
    write_dataset(folder, body, tasks, labels, None, AT.isoformat())
    return folder


def quiet(share: float, message: str) -> None:
    assert 0.0 <= share <= 1.0 and message


def learned(data: Path, version: Path, **budget: Any) -> tuple[dict[str, Any], Metrics]:
    trainer = spacy_nlp.trainer()
    artefact = trainer.fit(data, version, start=None, budget=Budget(**{"epochs": 6, **budget}), progress=quiet)
    metrics = trainer.evaluate(version, data)
    assert trainer.headline(orjson.loads(orjson.dumps(metrics.per_item))) == metrics.value
    return dict(artefact.params["controls"]), metrics


def answers(version: Path, rows: Sequence[tuple[str, list[dict[str, Any]], str]]) -> list[Outcome]:
    tasks = [TaskItem(n, {"x": text}) for n, (text, _, _) in enumerate(rows, start=1)]
    return spacy_nlp.load(version).predict(tasks, want=EVERYTHING)


def test_spans_that_nest_are_learned_by_spancat_and_a_recogniser_cannot(tmp_path: Path) -> None:
    rows = made(120)
    by_ner, told = (
        learned(dataset(tmp_path / f"d-{model}", xml(SPANS), rows, span_model=model), tmp_path / model)
        for model in ("ner", "auto")
    )
    nested, metrics = told
    assert nested["l"]["component"] == "spancat" and nested["l"]["overlapping"] > 0.5
    assert (nested["l"]["longest_candidate"], nested["l"]["beyond_candidates"]) == (3, 0)
    assert by_ner[0]["l"]["component"] == "ner" and by_ner[0]["l"]["misaligned"] > 30
    assert metrics.name == by_ner[1].name == "entity_f1"
    assert metrics.value > max(by_ner[1].value, metrics.baseline or 0.0) + 0.1
    (labels,) = orjson.loads((tmp_path / "auto" / "labels.json").read_bytes())["controls"]
    assert labels["calibrated"] is True and labels["temperature"] == nested["l"]["temperature"]

    nlp, config = read_model(tmp_path / "auto"), parse_label_config(xml(SPANS))
    fresh = made(20, seed=9)
    for (text, _, _), outcome in zip(fresh, answers(tmp_path / "auto", fresh), strict=True):
        doc = nlp(text)
        (found,), _ = region_spans(PlainText(text), outcome.regions, "l")
        assert {(s.start, s.end, s.label) for s in found} == {
            (s.start_char, s.end_char, s.label_) for s in doc.spans["spans"]
        }
        assert all(config.problem_with(region) is None for region in outcome.regions)
        assert outcome.probs is not None and set(outcome.probs) == {"PLACE", "ORG"}
        assert outcome.embedding is not None and sum(v * v for v in outcome.embedding) == pytest.approx(1.0)

    longer = [("The Old Grand National Museum of Oslo is wonderful .", 4, 37)] * 12
    more = [(t, list(span_regions(PlainText(t), 0, [Span(a, b, "ORG")], "l", "t")), "train") for t, a, b in longer]
    data = dataset(tmp_path / "more", xml(SPANS), [*rows, *more])
    budget = Budget(epochs=1, calibrate=False)
    again = spacy_nlp.trainer().fit(data, tmp_path / "v2", start=tmp_path / "auto", budget=budget, progress=quiet)
    assert again.params["continued"] is True and again.params["controls"]["l"]["longest_candidate"] == 6
    assert spacy_nlp.trainer().evaluate(tmp_path / "v2", data).value > metrics.value - 0.15


def test_spans_and_a_choice_are_learned_side_by_side_and_a_class_that_is_new_begins_afresh(tmp_path: Path) -> None:
    config, rows = xml(SPANS, ONE), made(105)
    data = dataset(tmp_path / "data", config, rows)
    messages: list[str] = []
    trainer = spacy_nlp.trainer()
    trained = trainer.fit(
        data, tmp_path / "v1", start=None, budget=Budget(epochs=5), progress=lambda _, said: messages.append(said)
    )
    assert any(said.startswith("l: ") for said in messages) and any(said.startswith("c: ") for said in messages)
    assert [(a.control, a.component, a.pipeline) for a in read_answers(tmp_path / "v1")] == [
        ("l", "spancat", 1), ("c", "textcat", 2),
    ]  # fmt: skip
    assert trained.training_curve[-1].keys() == {"pass", "loss/l", "loss/c"}
    metrics = trainer.evaluate(tmp_path / "v1", data)
    assert (metrics.name, metrics.n) == ("mean_f1", 35)
    assert metrics.baseline is not None and metrics.value > metrics.baseline + 0.3
    assert metrics.extra["f1/c/praise"] > 0.8 and metrics.extra["f1/l/ORG"] > 0.8
    first = answers(tmp_path / "v1", rows)[0]
    assert {region["from_name"] for region in first.regions} == {"l", "c"}
    assert first.probs is not None and sum(first.probs[name] for name in SAID) == pytest.approx(1.0)

    wider = config.replace('<Choice value="ask"/>', '<Choice value="ask"/><Choice value="other"/>')
    again = trainer.fit(
        dataset(tmp_path / "wider", wider, rows),
        tmp_path / "v2", start=tmp_path / "v1", budget=Budget(epochs=1, calibrate=False), progress=quiet,
    )  # fmt: skip
    assert {name: of["continued"] for name, of in again.params["controls"].items()} == {"l": True, "c": False}


def test_several_choices_are_learned_where_a_text_may_have_none(tmp_path: Path) -> None:
    rows = made(150, several=True, seed=3)
    data = dataset(tmp_path / "data", xml(SEVERAL), rows)
    params, metrics = learned(data, tmp_path / "v1", epochs=10)
    assert params["c"]["component"] == "textcat_multilabel" and params["c"]["texts"] == 100
    assert (metrics.name, metrics.n, metrics.baseline) == ("macro_f1", 50, 0.0)
    assert metrics.value > 0.8
    found = [chosen_classes(outcome.regions, list(SAID), "c") for outcome in answers(tmp_path / "v1", rows[:60])]
    assert {len(each) for each in found} == {0, 1, 2}
    continued = spacy_nlp.trainer().fit(
        data, tmp_path / "v2", start=tmp_path / "v1", budget=Budget(epochs=1, calibrate=False), progress=quiet
    )
    assert continued.params["continued"] is True and continued.training_curve[0]["loss"] < 1.0


def test_a_choice_that_nobody_made_yet_is_left_out_and_time_and_cancelling_end_a_training(tmp_path: Path) -> None:
    rows = [(text, [r for r in regions if r["from_name"] == "l"], split) for text, regions, split in made(45)]
    data = dataset(tmp_path / "data", xml(SPANS, SEVERAL), rows)
    params, metrics = learned(data, tmp_path / "v1", epochs=400, seconds=1.0)
    assert set(params) == {"l"} and params["l"]["passes"] < 400
    assert metrics.name == "entity_f1"

    def lost(share: float, message: str) -> None:
        if share > 0.3:
            raise LeaseLost("taken over")

    with pytest.raises(LeaseLost):
        spacy_nlp.trainer().fit(data, tmp_path / "v2", start=None, budget=Budget(epochs=3), progress=lost)
    assert not (tmp_path / "v2" / "labels.json").exists()


def test_without_cupy_a_gpu_that_is_asked_for_is_warned_of_and_the_cpu_takes_its_place(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import thinc.compat

    monkeypatch.setattr(thinc.compat, "has_cupy_gpu", False)
    monkeypatch.setattr(thinc.compat, "has_cupy", False)
    with caplog.at_level(logging.WARNING), computing_on("cpu") as used:
        assert used == "cpu" and caplog.messages == []
    with caplog.at_level(logging.WARNING), computing_on("cuda:0") as used:
        assert used == "cpu"
    assert caplog.messages[0].startswith(
        "spaCy trains on the CPU instead of cuda:0: CuPy is not installed (pip install"
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_project_of_choices_that_says_spacy_is_trained_from_its_frozen_dataset_by_spacy(tmp_path: Path) -> None:
    loop = opened(tmp_path, ACTIVE_LEARNING__EPOCHS="3")
    loop.store.put_project(
        project_id=PROJECT, title="Texts", task_type="text-classification", backend="spacy_nlp",
        label_config=loop.remote.config, settings={}, holdout_threshold=0.3,
    )  # fmt: skip
    assert first_round(loop) is not None
    (row,) = attempts(loop)
    assert row.outcome == "promoted", row.reason
    assert row.reason.startswith("macro_f1 1.000")
    loop.store.engine.dispose()
