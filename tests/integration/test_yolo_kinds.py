"""Networks of every kind learn from small drawn images: better than their baseline, and the same when loaded again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends import yolo
from backends.version_labels import read_labels
from backends.yolo.learning.lessons import lessons_of
from labelloop.datasets import read_dataset
from labelloop.errors import NotReady
from labelloop.label_config import parse_label_config
from labelloop.values import Artefact, Budget, Metrics, TaskItem

sys.path.insert(0, str(Path(__file__).parent))
import yolo_scenes as scenes

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]


def quiet(share: float, message: str) -> None:
    assert 0.0 <= share <= 1.0 and message


@dataclass(frozen=True)
class Case:
    """A config with its labels, the metric to reach, and how much learning that takes."""

    kind: str
    controls: tuple[str, ...]
    label: Callable[[Sequence[scenes.Thing]], list[dict[str, Any]]]
    reaches: float
    images: int = 64
    epochs: int = 10


CASES = {
    "choices": Case("classify", ('Choices name="class"',), scenes.choice, 0.7, epochs=6),
    "polygons": Case("segment", ('PolygonLabels name="outline"',), scenes.polygons, 0.3),
    "turned boxes": Case("obb", ('RectangleLabels name="box" model_obb="true"',), scenes.turned, 0.2, epochs=12),
    "poses": Case(
        "pose", ('RectangleLabels name="box"', 'KeyPointLabels name="point"'), scenes.poses, 0.12, images=80, epochs=14
    ),
}


@dataclass(frozen=True)
class Learned:
    case: Case
    dataset: Path
    artefact: Artefact
    metrics: Metrics


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(" ", "_"))
def learned(request, tmp_path_factory) -> Learned:
    case = CASES[request.param]
    root = tmp_path_factory.mktemp(case.kind)
    folder = scenes.dataset(root / "dataset", scenes.config(*case.controls), case.label, case.images)
    trainer = yolo.trainer()
    budget = Budget(epochs=case.epochs, seed=1)
    artefact = trainer.fit(folder, root / "v1", start=None, budget=budget, progress=quiet)
    return Learned(case, folder, artefact, trainer.evaluate(artefact.path, folder))


def test_a_network_learns_more_than_its_baseline(learned):
    found, trainer = learned.metrics, yolo.trainer()
    assert found.value >= learned.case.reaches and found.value > found.baseline + 0.1, (found.value, found.baseline)
    assert (found.name, found.n) == (
        "macro_f1" if learned.case.kind == "classify" else "mAP50",
        learned.case.images // 4,
    )
    assert found.unit == ("tasks" if learned.case.kind == "classify" else "objects")
    assert trainer.headline(json.loads(json.dumps(found.per_item))) == pytest.approx(found.value)
    weights = np.ones((1, found.n))
    assert trainer.scores(found.per_item, weights).headline[0] == pytest.approx(found.value)


def test_details_say_what_is_confused_with_what(learned):
    details = json.loads(json.dumps(learned.metrics.details))["kinds"][learned.case.kind]
    table = np.array(details["confusion"]["truth_by_answer"])
    assert details["confusion"]["classes"] == [*scenes.LABELS, "background"] and table.shape == (3, 3)
    assert table[:2].sum() == learned.metrics.n_objects
    assert set(details["curves"]["precision"]) == set(details["by_class"]) == set(scenes.LABELS)
    assert details["value"] == learned.metrics.value and details["baseline"] == learned.metrics.baseline


def test_a_version_loaded_again_says_the_same_and_what_label_studio_takes(learned):
    dataset = read_dataset(learned.dataset)
    tasks = [
        TaskItem(task_id, data, dict(dataset.media(task_id, data))) for task_id, data, _ in dataset.truth("holdout")
    ]
    first, second = (yolo.load(learned.artefact.path).predict(tasks) for _ in range(2))
    assert [outcome.regions for outcome in first] == [outcome.regions for outcome in second]
    said = [region for outcome in first for region in outcome.regions]
    assert said and all(dataset.label_config.problem_with(region) is None for region in said)
    (lesson,) = lessons_of(dataset)
    assert {labels.control for labels in read_labels(learned.artefact.path)} == {c.name for c in lesson.controls}
    assert {region["from_name"] for region in said} == {control.name for control in lesson.controls}


def test_a_metric_is_that_of_the_answers_that_people_see(learned):
    """The evaluation reads regions as Label Studio would get them: a truth given as an answer is a hit."""
    dataset = read_dataset(learned.dataset)
    (lesson,) = lessons_of(dataset)
    for _, _, result in dataset.truth("holdout")[:3]:
        truths = lesson.objects(result, (scenes.SIDE, scenes.SIDE), None)
        overlap = lesson.overlap(truths, truths, (scenes.SIDE, scenes.SIDE))
        assert np.diag(overlap) == pytest.approx(1.0, abs=1e-6)


# -- epochs, time, several kinds ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_kinds(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("two")
    xml = scenes.config('PolygonLabels name="outline"', 'Choices name="class"')
    return scenes.dataset(root / "dataset", xml, lambda things: scenes.polygons(things) + scenes.choice(things), 24)


def test_two_kinds_are_trained_side_by_side_and_time_is_bounded(two_kinds, tmp_path):
    """No more than one batch begins after the time is over; each kind still gives a network."""
    trainer = yolo.trainer()
    seen: list[float] = []
    made = trainer.fit(
        two_kinds, tmp_path / "v1", start=None, budget=Budget(epochs=500, seconds=0.2),
        progress=lambda share, _: seen.append(share),
    )  # fmt: skip
    assert seen == sorted(seen) and seen[-1] == 1.0
    assert made.params["segment_ended_by"] == made.params["classify_ended_by"] == "time"
    assert made.params["segment_epochs_done"] == made.params["classify_epochs_done"] == 1
    assert sorted(folder.name for folder in (made.path / "model").iterdir()) == ["classify", "segment"]
    found = trainer.evaluate(made.path, two_kinds)
    assert (found.name, found.unit, found.n, found.n_objects) == ("mean_score", "objects", 6, 12)
    each = found.details["kinds"]
    assert found.value == pytest.approx((each["segment"]["value"] + each["classify"]["value"]) / 2)
    assert found.baseline == pytest.approx((each["segment"]["baseline"] + each["classify"]["baseline"]) / 2)
    assert {"segment/AP50/bar", "classify/F1/wedge"} <= set(found.extra)
    scores = trainer.scores(found.per_item, np.ones((1, 6)))
    assert set(scores.items) == {f"{kind}/{name}" for kind in each for name in scenes.LABELS}
    # The next training has no polygon: the outlines' network is kept as it is.
    only = scenes.dataset(tmp_path / "only", read_dataset(two_kinds).label_config.xml, scenes.choice, 24)
    again = trainer.fit(only, tmp_path / "v2", start=made.path, budget=Budget(epochs=1), progress=quiet)
    weights = [path / "model" / "segment" / "weights.pt" for path in (made.path, again.path)]
    assert weights[0].read_bytes() == weights[1].read_bytes() and again.params["start"] == "v1"
    assert yolo.load(again.path).classes == scenes.LABELS
    assert {labels.control for labels in read_labels(again.path)} == {"outline", "class"}


def test_the_best_epoch_is_kept_and_patience_ends_a_training(two_kinds, tmp_path, monkeypatch):
    from backends.yolo import training
    from backends.yolo.engine import read_weights

    scores, seen = [0.2, 0.9, 0.9, 0.4, 0.3, 0.2, 0.1], []

    def judge(network: Any) -> float:
        seen.append({name: value.detach().clone() for name, value in network.state_dict().items()})
        return scores[len(seen) - 1]

    monkeypatch.setattr(training, "_judge", lambda *_: judge)
    xml = scenes.config('Choices name="class"')
    folder = scenes.dataset(tmp_path / "data", xml, scenes.choice, 12, options={"patience": 3})
    made = yolo.trainer().fit(folder, tmp_path / "v1", start=None, budget=Budget(epochs=50), progress=quiet)
    assert (made.params["best_epoch"], made.params["epochs_done"], made.params["ended_by"]) == (3, 5, "patience")
    assert [point["validation_macro_f1"] for point in made.training_curve] == scores[:5]
    kept = read_weights(made.path / "model" / "classify")
    name = "model.10.linear.weight"
    assert (kept[name] == seen[2][name]).all() and not (kept[name] == seen[4][name]).all()


def test_epochs_are_judged_on_the_training_split_alone(tmp_path):
    xml = scenes.config('Choices name="class"')
    folder = scenes.dataset(tmp_path / "data", xml, scenes.choice, 120)
    dataset = read_dataset(folder)
    (lesson,) = lessons_of(dataset)
    from backends.yolo.dataset import labelled_images, split_training

    learn, held = split_training(dataset, labelled_images(dataset, "train", lesson))
    parts = [{image.task_id for image in part} for part in (learn, held)]
    holdout = {task for task, _, _ in dataset.truth("holdout")}
    assert not parts[0] & parts[1] and not (parts[0] | parts[1]) & holdout and len(held) >= 10


def test_an_unlabelled_config_of_choices_says_what_is_missing(tmp_path):
    bare = scenes.dataset(tmp_path / "bare", scenes.config('Choices name="class"'), lambda _: [], 8)
    with pytest.raises(NotReady, match="no choice is labelled"):
        yolo.trainer().fit(bare, tmp_path / "v1", start=None, budget=Budget(epochs=1), progress=quiet)


def test_brushes_and_loose_points_are_read_back_from_a_dataset(tmp_path):
    from backends.yolo.dataset import labelled_images

    painted = read_dataset(
        scenes.dataset(tmp_path / "painted", scenes.config('BrushLabels name="outline"'), scenes.brushes, 4, most=2)
    )
    (lesson,) = lessons_of(painted)
    images = labelled_images(painted, "train", lesson)
    assert [len(image.objects) for image in images] == [len(scenes.scene(n, most=2)[1]) for n in (1, 2, 3)]
    loose = read_dataset(
        scenes.dataset(
            tmp_path / "loose", scenes.config('KeyPointLabels name="point"'),
            lambda things: scenes.points(things, parents=False), 4,
        )
    )  # fmt: skip
    (lesson,) = lessons_of(loose)
    assert [len(image.objects) for image in labelled_images(loose, "train", lesson)] == [1, 1, 1]
    assert parse_label_config(loose.label_config.xml).controls[0].name == "point"
