"""mAP50 against COCO's own tool, and show thresholds."""

from __future__ import annotations

import contextlib
import io
import random

import numpy as np
import pytest

from backends.yolo.converters.rectangle_labels import Box
from backends.yolo.learning.detect import mean_box
from backends.yolo.metrics import (
    average_precision,
    box_iou,
    class_average_precision,
    match_objects,
    mean_average_precision,
    precision_threshold,
    show_thresholds,
)
from backends.yolo.training import default_epochs

SIDE = 1000


def match_image(answers: list[Box], truths: list[Box]) -> dict:
    return match_objects(answers, truths, box_iou(answers, truths), 0.5)


def scene(seed: int, n_images: int = 25, n_classes: int = 3) -> list[tuple[list[Box], list[Box]]]:
    """(detections, truths) per image: found, moved, doubled, wrongly named and invented boxes."""
    rng = random.Random(seed)

    def box(label: int, score: float | None = None) -> Box:
        x, y, w, h = rng.uniform(0, 0.7), rng.uniform(0, 0.7), rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.3)
        return Box(label, x, y, x + w, y + h, score)

    images = []
    for _ in range(n_images):
        truths = [box(rng.randrange(n_classes)) for _ in range(rng.randrange(5))]
        found = [box(rng.randrange(n_classes), rng.random()) for _ in range(rng.randrange(3))]
        for truth in truths:
            for _ in range(rng.choice([0, 1, 1, 2])):
                dx, dy = rng.gauss(0, 0.03), rng.gauss(0, 0.03)
                label = truth.label if rng.random() < 0.85 else rng.randrange(n_classes)
                found.append(Box(label, truth.x0 + dx, truth.y0 + dy, truth.x1 + dx, truth.y1 + dy, rng.random()))
        images.append((found, truths))
    return images


def coco_map50(images: list[tuple[list[Box], list[Box]]], n_classes: int = 3) -> float:
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")

    def rows(boxes: list[Box], image: int, start: int) -> list[dict]:
        return [
            {
                "id": start + i, "image_id": image, "category_id": b.label + 1, "iscrowd": 0, "score": b.score,
                "bbox": [b.x0 * SIDE, b.y0 * SIDE, (b.x1 - b.x0) * SIDE, (b.y1 - b.y0) * SIDE],
                "area": (b.x1 - b.x0) * (b.y1 - b.y0) * SIDE**2,
            }
            for i, b in enumerate(boxes)
        ]  # fmt: skip

    truths = [row for i, (_, t) in enumerate(images) for row in rows(t, i + 1, 1000 * (i + 1))]
    found = [row for i, (d, _) in enumerate(images) for row in rows(d, i + 1, 1000 * (i + 1))]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = {
            "images": [{"id": i + 1, "width": SIDE, "height": SIDE} for i in range(len(images))],
            "annotations": truths,
            "categories": [{"id": c + 1, "name": str(c)} for c in range(n_classes)],
        }
        truth.createIndex()
        evaluation = cocoeval.COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.params.maxDets = [1, 10, 300]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]
    return float(precision[precision > -1].mean())


@pytest.mark.parametrize("seed", range(8))
def test_map50_equals_cocos(seed):
    images = scene(seed)
    ours = mean_average_precision([match_image(found, truths) for found, truths in images])
    assert 0.05 < ours < 0.95
    assert ours == pytest.approx(coco_map50(images), abs=1e-6)


def test_iou_of_known_boxes():
    unit = Box(0, 0, 0, 1, 1)
    assert box_iou([unit], [unit, Box(0, 0.5, 0, 1.5, 1), Box(0, 2, 2, 3, 3)])[0] == pytest.approx([1, 1 / 3, 0])
    assert box_iou([], [unit]).shape == (0, 1)


def test_perfect_and_useless_detectors():
    truths = [Box(0, 0.1, 0.1, 0.3, 0.3), Box(1, 0.5, 0.5, 0.7, 0.9)]
    perfect = [Box(b.label, b.x0, b.y0, b.x1, b.y1, 0.9) for b in truths]
    swapped = [Box(1 - b.label, b.x0, b.y0, b.x1, b.y1, 0.9) for b in truths]
    assert mean_average_precision([match_image(perfect, truths)]) == pytest.approx(1.0)
    assert mean_average_precision([match_image(swapped, truths)]) == 0.0
    assert mean_average_precision([match_image([], truths)]) == 0.0
    assert mean_average_precision([]) == 0.0


def test_a_second_detection_of_one_object_is_wrong():
    truth = Box(0, 0.1, 0.1, 0.3, 0.3)
    first, second = Box(0, 0.1, 0.1, 0.3, 0.3, 0.9), Box(0, 0.1, 0.1, 0.3, 0.31, 0.8)
    assert match_image([second, first], [truth])["hit"] == [1, 0]


def test_false_alarms_on_empty_images_lower_the_metric():
    truth = Box(0, 0.1, 0.1, 0.3, 0.3)
    good = match_image([Box(0, 0.1, 0.1, 0.3, 0.3, 0.5)], [truth])
    alarm = match_image([Box(0, 0.1, 0.1, 0.3, 0.3, 0.9)], [])
    assert mean_average_precision([good, alarm]) == pytest.approx(0.5)


def test_a_resample_with_repeats_is_the_metric_of_that_sample():
    images = scene(3)
    per_item = [match_image(found, truths) for found, truths in images]
    chosen = [random.Random(5).randrange(len(images)) for _ in images]
    assert mean_average_precision([per_item[i] for i in chosen]) == pytest.approx(
        coco_map50([images[i] for i in chosen]), abs=1e-6
    )


def test_only_classes_with_truths_count():
    found = match_image([Box(0, 0, 0, 1, 1, 0.9), Box(2, 0, 0, 1, 1, 0.9)], [Box(0, 0, 0, 1, 1)])
    assert class_average_precision([found]) == {"0": pytest.approx(1.0)}


def test_average_precision_by_hand():
    # recall 1/2 at precision 1, recall 1 at precision 2/3: 51 points at 1 and 50 at 2/3.
    value = average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1]), 2)
    assert value == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_threshold_is_the_lowest_that_keeps_the_precision():
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    hits = np.array([1, 1, 1, 0, 1, 1, 0, 0])
    assert precision_threshold(scores, hits, 0.7, least=2, lowest=0.1) == pytest.approx(0.3)
    assert precision_threshold(scores, hits, 0.7, least=2, lowest=0.45) == pytest.approx(0.5)
    assert precision_threshold(scores, hits, 0.99, least=4, lowest=0.1) is None
    assert precision_threshold(np.zeros(0), np.zeros(0, dtype=int), 0.7, least=1, lowest=0.1) is None


def test_tied_scores_are_taken_together():
    assert precision_threshold(np.full(4, 0.5), np.array([1, 1, 0, 0]), 0.7, least=1, lowest=0.1) is None


def item(label: int, n: int, hits: list[int], scores: list[float]) -> dict:
    return {"label": [str(label)] * len(hits), "score": scores, "hit": hits, "truths": {str(label): n}}


def test_few_validation_objects_give_the_default():
    assert show_thresholds([item(0, 19, [1] * 19, [0.9] * 19)], "01") == {"0": 0.3, "1": 0.3}


def test_rich_classes_have_their_own_threshold_and_poor_ones_the_common():
    rich = item(0, 25, [1] * 20, [0.5 + 0.01 * i for i in range(20)])
    poor = item(1, 3, [0] * 12, [0.9] * 12)
    own, common = show_thresholds([rich, poor], "01").values()
    assert own == pytest.approx(0.5)
    assert common == 1.0


def test_a_model_that_never_reaches_the_precision_shows_nothing():
    assert show_thresholds([item(0, 30, [0, 1] * 15, [0.9 - 0.01 * i for i in range(30)])], "0") == {"0": 1.0}


def test_epochs_fall_with_the_size_of_the_dataset():
    sizes = [1, 60, 180, 2000, 6000, 100_000]
    epochs = [default_epochs(size) for size in sizes]
    assert epochs == sorted(epochs, reverse=True) and epochs[1] == epochs[2] > epochs[3]
    assert all(size * n <= 20_000 or n == 3 for size, n in zip(sizes, epochs, strict=True))


def test_the_naive_detector_answers_the_mean_box_of_the_commonest_class():
    boxes = (Box(1, 0.0, 0.0, 0.2, 0.2), Box(0, 0.5, 0.5, 0.6, 0.6), Box(1, 0.2, 0.4, 0.6, 0.8))
    (answer,) = mean_box(boxes)
    assert (answer.label, answer.score) == (1, 1.0)
    assert [answer.x0, answer.y0, answer.x1, answer.y1] == pytest.approx([0.1, 0.2, 0.4, 0.5])
    assert mean_box([]) == []
