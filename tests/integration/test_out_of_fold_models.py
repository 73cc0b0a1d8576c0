"""Label errors by models of the project's kind that did not see the labels: real short trainings on generated data."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.datasets import Dataset, read_dataset
from labelloop.demo.images import LABELS, generate_images
from labelloop.demo.texts import NER_LABELS, generate_ner
from labelloop.errors import NotReady, UsageError
from labelloop.settings import ServiceSettings
from labelloop.store import open_store
from labelloop.store.tables import revisions
from labelloop.values import Artefact, Outcome
from sync import folds as folds_module
from sync.fold_scores import fit_sigmoid
from sync.fold_sources import write_predictions
from sync.folds import FoldPlan, folds_of, lay_out_fold, predict_out_of_fold
from sync.formats.freezing_exports import dataset_from_export
from sync.predictions_reading import Predictions, read_predictions

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]

SPANS = (
    '<View><Labels name="l" toName="t">'
    + "".join(f'<Label value="{name}"/>' for name in NER_LABELS)
    + '</Labels><Text name="t" value="$text"/></View>'
)
BOXES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    + "".join(f'<Label value="{name}"/>' for name in LABELS)
    + "</RectangleLabels></View>"
)


def export(folder: Path, config: str, tasks: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> list[object]:
    made = [
        {
            "id": at,
            "data": data,
            "annotations": [
                {"id": at, "completed_by": 1, "updated_at": "2026-11-03T10:00:00Z", "result": result},
            ],
        }
        for at, (data, result) in enumerate(tasks, start=1)
    ]
    (folder / "export.json").write_text(json.dumps(made), encoding="utf-8")
    (folder / "config.xml").write_text(config, encoding="utf-8")
    return ["--file", folder / "export.json", "--config", folder / "config.xml"]


def spans(folder: Path, count: int = 80, twins: int = 0) -> list[object]:
    """Generated texts without the spans of task 1; the last `twins` show the text of task 2 with a blank more."""
    tasks = []
    for at, truth in enumerate(generate_ner(count, 3)):
        result = [
            {"id": f"r{n}", "from_name": "l", "to_name": "t", "type": "labels",
             "value": {"start": start, "end": end, "text": truth.text[start:end], "labels": [name]}}
            for n, (start, end, name) in enumerate(truth.spans)
        ]  # fmt: skip
        tasks.append(({"text": truth.text}, result if at else []))
    tasks += [({"text": tasks[1][0]["text"] + " " * n}, tasks[1][1]) for n in range(1, twins + 1)]
    return export(folder, SPANS, tasks)


def dataset_of(folder: Path, **given: int) -> Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    spans(folder, **given)
    return dataset_from_export(folder / "export.json", folder / "config.xml", folder / "version")


def run(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["errors", *map(str, arguments), "--json"])
    if result.exception is not None:
        raise result.exception
    report: dict[str, Any] = json.loads(result.stdout)
    return report


class Recorder:
    """A backend that notes what each fold trains on and what it is asked for; it fails in fold `fails`."""

    def __init__(self, fails: int | None = None) -> None:
        self.seen: list[set[int]] = []
        self.asked: list[set[int]] = []
        self._fails = fails

    def trainer(self) -> Any:
        def fit(dataset_dir: Path, out_dir: Path, **_: Any) -> Artefact:
            if self._fails == len(self.seen):
                raise NotReady("this fold can't be learned")
            dataset = read_dataset(dataset_dir)
            # Whatever a trainer reads of the folder: its split, or every label there is.
            self.seen.append({task for task, _, _ in dataset.truth("train")} | set(dataset.labels["task_id"]))
            self.asked.append(set())
            return Artefact(out_dir)

        return SimpleNamespace(fit=fit)

    def load(self, _: Path, **__: Any) -> Any:
        def predict(tasks: Any, **_: Any) -> list[Outcome]:
            self.asked[-1] |= {task.task_id for task in tasks}
            return [Outcome("text_missing") if task.task_id == 3 else Outcome() for task in tasks]

        return SimpleNamespace(predict=predict)


def test_no_model_saw_the_task_that_it_speaks_of_nor_a_near_duplicate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(folds_module, "backend_module", lambda name: recorder)
    dataset = dataset_of(tmp_path, count=40, twins=6)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = predict_out_of_fold(dataset.path, "any", scratch, FoldPlan(4))
    twins = {2, *range(41, 47)}
    assert len(recorder.seen) == 4
    for seen, asked in zip(recorder.seen, recorder.asked, strict=True):
        assert seen | asked == set(range(1, 47)) and not seen & asked
        assert twins <= seen or twins <= asked
    assert sorted(task for asked in recorder.asked for task in asked) == list(range(1, 47))
    assert set(found.predictions.regions) == set(range(1, 47)) - {3} and found.failed == {3: "text_missing"}
    assert list(scratch.iterdir()) == []


def test_nothing_is_left_when_a_fold_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folds_module, "backend_module", lambda name: Recorder(fails=1))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(NotReady, match="this fold"):
        predict_out_of_fold(dataset_of(tmp_path, count=20).path, "any", scratch, FoldPlan(3))
    assert list(scratch.iterdir()) == []


def test_a_fold_links_media_and_does_not_hold_the_labels_of_what_it_holds_out(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, count=20)
    media = dataset.path / "media"
    media.mkdir()
    (media / "1-0.png").write_bytes(b"x")
    made = read_dataset(lay_out_fold(dataset, {1, 5}, tmp_path / "fold"))
    assert (tmp_path / "fold/media/1-0.png").samefile(media / "1-0.png") and (tmp_path / "fold/media").is_symlink()
    assert set(made.tasks.filter(pl.col("split") == "holdout")["task_id"]) == {1, 5}
    assert set(made.labels["task_id"]) == set(range(1, 21)) - {1, 5} and not {1, 5} & set(made.regions["task_id"])


def test_folds_are_the_same_for_a_seed_and_need_two_groups(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path / "many", count=30)
    assert folds_of(dataset, 3, 0) == folds_of(dataset, 3, 0) != folds_of(dataset, 3, 1)
    with pytest.raises(NotReady, match="2 in 1 groups"):
        folds_of(_pair(tmp_path / "pair"), 3, 0)


def _pair(folder: Path) -> Dataset:
    folder.mkdir(parents=True)
    text = {"text": "The very same words are said here twice, and by nobody in particular."}
    export(folder, SPANS, [(text, []), ({"text": text["text"] + " "}, [])])
    return dataset_from_export(folder / "export.json", folder / "config.xml", folder / "version")


def test_a_span_that_nobody_marked_is_found_by_a_recogniser_that_did_not_see_the_text(tmp_path: Path) -> None:
    """Each text is signed by one of six people; of task 1 nobody marked the signature."""
    people, tasks, signed = ["Ann Lee", "Bob Orr", "Zoe Fay", "Max Ruiz", "Ida Noor", "Kim Park"], [], (0, 0)
    for at, truth in enumerate(generate_ner(60, 3)):
        text = f"{truth.text} Signed by {people[at % 6]}."
        start, end = len(text) - 1 - len(people[at % 6]), len(text) - 1
        signed = signed if at else (start, end)
        value = {"start": start, "end": end, "text": people[at % 6], "labels": ["PERSON"]}
        region = {"id": "r", "from_name": "l", "to_name": "t", "type": "labels", "value": value}
        tasks.append(({"text": text}, [region] if at else []))
    saved = tmp_path / "said.jsonl"
    given = export(tmp_path, SPANS, tasks)
    report = run(*given, "--out-of-fold", "--backend", "spacy_nlp", "--folds", 2, "--epochs", 50, "--save", saved)
    missing = [each for each in report["findings"] if each["type"] == "missing"]
    assert [(each["task"], each["evidence"]["predicted"]) for each in missing] == [(1, list(signed))]
    assert len(read_predictions(saved).regions) == 60
    assert run(*given, "--predictions", saved)["findings"] == report["findings"]


def test_boxes_are_judged_by_a_detector_that_did_not_see_the_image(tmp_path: Path, monkeypatch: Any) -> None:
    truths = generate_images(tmp_path / "images", 24, 5)
    tasks = [
        (
            {"image": f"/data/local-files/?d=images/{truth.file}"},
            [
                {"id": f"r{n}", "from_name": "box", "to_name": "image", "type": "rectanglelabels",
                 "original_width": truth.width, "original_height": truth.height,
                 "value": {"x": x, "y": y, "width": w, "height": h, "rotation": 0, "rectanglelabels": [name]}}
                for n, (name, x, y, w, h) in enumerate(truth.boxes)
            ],
        )
        for truth in truths
    ]  # fmt: skip
    # The image of task 1 once more, a little reduced: never held out apart from it.
    with Image.open(tmp_path / "images" / truths[0].file) as image:
        image.resize((image.width - 8, image.height - 8)).save(tmp_path / "images" / "again.png")
    tasks.append(({"image": "/data/local-files/?d=images/again.png"}, tasks[0][1]))
    tasks.append(({"image": "/data/local-files/?d=images/absent.png"}, []))
    given = export(tmp_path, BOXES, tasks)
    monkeypatch.setenv("LABELLOOP_MEDIA_FOLDER", str(tmp_path))
    held: list[set[int]] = []

    def noted(dataset: Dataset, tasks: set[int], folder: Path) -> Path:
        held.append(tasks)
        return lay_out_fold(dataset, tasks, folder)

    monkeypatch.setattr(folds_module, "lay_out_fold", noted)
    saved = tmp_path / "said.jsonl"
    report = run(*given, "--out-of-fold", "--backend", "yolo", "--folds", 2, "--epochs", 1, "--save", saved)
    said = read_predictions(saved)
    assert set(said.regions) == set(range(1, 26)) == set(said.vectors)
    assert [{1, 25} & tasks for tasks in held if {1, 25} & tasks] == [{1, 25}]
    assert {"detector": "out of fold", "reason": "1 tasks have no prediction: not_found"} in report["skipped"]


def test_a_projects_labels_are_judged_by_its_own_backend_and_only_scratch_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, named, at = Recorder(), list[str](), datetime(2026, 11, 21, 12, tzinfo=UTC)

    def module(name: str) -> Recorder:
        named.append(name)
        return recorder

    monkeypatch.setattr(folds_module, "backend_module", module)
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    store = open_store(ServiceSettings(data=tmp_path).database)
    store.put_project(project_id=1, title="Names", task_type="ner", backend="mine", label_config=SPANS, settings={})
    texts = [each.text for each in generate_ner(20, 3)]
    store.put_tasks(
        1,
        [
            {"task_id": n, "data": {"text": text}, "overlap": 1, "content_hash": f"c{n}", "group_key": f"g{n // 2}",
             "meta": {}, "role": ("pool", "holdout", "gold")[n % 3]}
            for n, text in enumerate(texts, start=1)
        ],
    )  # fmt: skip
    with store.begin() as connection:
        store.insert_missing(
            connection,
            revisions,
            [
                {"project_id": 1, "annotation_id": n, "task_id": n, "rev": 1, "rev_hash": f"h{n}", "person_id": 7,
                 "kind": "human", "state": "submitted", "ground_truth": False, "created_at": at, "updated_at": at,
                 "seen_at": at, "lead_time_s": 2.0, "parent_prediction": None, "shown_serving_id": None,
                 "config_hash": "c", "result": []}
                for n in range(1, 21)
            ],
        )  # fmt: skip
    judged = {n for n in range(1, 21) if n % 3 != 2}  # gold tasks measure people: they are neither judged nor learned
    report = run("Names", "--out-of-fold", "--folds", 4)
    assert report["n_labels"] == len(judged) == 13 and set(named) == {"mine"} and len(recorder.seen) == 4
    for seen, asked in zip(recorder.seen, recorder.asked, strict=True):
        assert seen | asked == judged and not seen & asked
        assert all((n in seen) == (n + 1 in seen) for n in range(2, 20, 2) if {n, n + 1} <= judged)
    assert list((tmp_path / "scratch/folds").iterdir()) == [] and not (tmp_path / "datasets").exists()
    assert {"detector": "out of fold", "reason": "1 tasks have no prediction: text_missing"} in report["skipped"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--out-of-fold", "--predictions", "p.jsonl", "--backend", "spacy_nlp"], "leave one of the two out"),
        (["--folds", "3", "--save", "x.jsonl"], "--folds, --save: only with --out-of-fold"),
        (["--out-of-fold"], "--backend spacy_nlp"),
        (["--out-of-fold", "--backend", "rules"], "can't be trained from nothing.*--backend spacy_nlp"),
        (["--out-of-fold", "--backend", "spacy"], "no backend 'spacy'"),
    ],
)
def test_what_cannot_be_names_the_fix(options: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        run(*spans(tmp_path, count=5), *options)


def test_scores_become_chances_in_their_order() -> None:
    scores = [at / 200 for at in range(100)]
    right = [at >= 50 for at in range(100)]
    right[10], right[90] = True, False
    slope, shift = fit_sigmoid(scores, right) or (0.0, 0.0)
    assert slope > 0 and slope * -1.0986 + shift == pytest.approx(0, abs=0.5)  # the log odds of .25, where it turns
    assert fit_sigmoid(scores[:5], right[:5]) is None
    assert fit_sigmoid(scores, [not each for each in right]) is None


def test_what_was_said_is_read_again_as_it_was(tmp_path: Path) -> None:
    said = Predictions({1: [], 2: [{"score": 0.5}]}, {"topic": {3: {"a": 0.25}}}, {2: [0.5, 1.0]})
    write_predictions(said, tmp_path / "said.jsonl")
    assert read_predictions(tmp_path / "said.jsonl") == said
