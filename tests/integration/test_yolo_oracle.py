"""What the backend says of an image is what ultralytics' own post-processing says, for every kind of network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backends import yolo
from backends.yolo import importing, preparing
from backends.yolo.images import FittedImage
from backends.yolo.masks import InstanceMask
from backends.yolo.views import views_of
from labelloop.geometry import rectangle_corners
from labelloop.label_config import parse_label_config
from labelloop.masks import pixels_of_brush
from labelloop.values import Outcome, TaskItem

sys.path.insert(0, str(Path(__file__).parent))
from yolo_networks import CLASSES, SIDE, checkpoint, picture

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]

CONTROLS = {
    "detect": '<RectangleLabels name="c" toName="im">{}</RectangleLabels>',
    "obb": '<RectangleLabels name="c" toName="im" model_obb="true">{}</RectangleLabels>',
    "segment": '<BrushLabels name="c" toName="im">{}</BrushLabels>',
    "pose": '<KeyPointLabels name="c" toName="im"><Label value="nose"/><Label value="left eye"/></KeyPointLabels>'
    '<RectangleLabels name="c_bbox" toName="im">{}</RectangleLabels>',
    "classify": '<Choices name="c" toName="im">{}</Choices>',
}
#: As the network takes them; lying, standing, and with sides that do not divide.
SIZES = [(SIDE, 120), (90, SIDE), (320, 200), (333, 517), (75, 50)]


def config(kind: str) -> str:
    tag = "Choice" if kind == "classify" else "Label"
    values = "".join(f'<{tag} value="{name}"/>' for name in CLASSES[kind])
    return f'<View><Image name="im" value="$image"/>{CONTROLS[kind].format(values)}</View>'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oracle")


@pytest.fixture(scope="module", params=list(CONTROLS))
def both(request: pytest.FixtureRequest, folder: Path) -> tuple[str, Any, Any]:
    """(kind, our backend, ultralytics' model) of one network."""
    from ultralytics import YOLO

    kind = request.param
    file = checkpoint(kind, folder / "checkpoints", seed=3)
    version = folder / kind
    # What is compared is what is made of a network's outputs, not how an engine rounds them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "build_engine", lambda *args, **more: None, raising=False)
        yolo.import_model([str(file)], parse_label_config(config(kind)), version, iou=0.7, point_threshold=0.25)
    return kind, yolo.load(version), YOLO(str(file))


def results_and_outcome(both: Any, image: Image.Image, tmp_path: Path, monkeypatch: Any) -> tuple[Any, Outcome]:
    """Ultralytics' results and our outcome for an image; both networks see the same pixels, resized by ultralytics."""
    from ultralytics.data.augment import LetterBox

    _, backend, model = both
    pixels = np.asarray(image)

    def fitted(path: Path, side: int) -> FittedImage:
        return FittedImage(LetterBox((side, side), auto=False)(image=pixels), image.width, image.height)

    monkeypatch.setattr(preparing, "read_fitted", fitted)
    file = tmp_path / "image.png"
    image.save(file)
    (outcome,) = backend.predict(
        [TaskItem(1, {"image": "/a"}, {"/a": file})], want=frozenset({"regions", "probs", "embedding"})
    )
    (results,) = model.predict(
        pixels[..., ::-1].copy(),
        imgsz=SIDE,
        conf=0.01,
        iou=0.7,
        max_det=300,
        rect=False,
        retina_masks=True,
        verbose=False,
    )
    assert outcome.status == "ok" and len(outcome.embedding or ()) >= 64
    return results, outcome


def box_of(region: dict[str, Any]) -> np.ndarray:
    value, width, height = region["value"], region["original_width"], region["original_height"]
    corners = rectangle_corners(value, width, height)
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def counterpart(regions: list[dict[str, Any]], key: str, name: str, score: float, gap: Any) -> dict[str, Any]:
    """Our region of that class and score that is nearest by `gap`; it is taken out of `regions`."""
    alike = [r for r in regions if r["value"][key] == [name] and abs(r["score"] - score) < 2e-4]
    assert alike, f"no region of {name} with score {score:.4f}"
    nearest = min(alike, key=gap)
    regions.remove(nearest)
    return nearest


def same_boxes(regions: list[dict[str, Any]], results: Any, kind: str) -> None:
    """Every box of ultralytics with an area is one of ours, with its class and score, and there are no others."""
    ours = list(regions)
    boxes = results.boxes.xyxy.numpy()
    for box, score, label in zip(boxes, results.boxes.conf, results.boxes.cls, strict=True):
        if (box[2:] > box[:2]).all():

            def gap(region: dict[str, Any], box: Any = box) -> float:
                return float(np.abs(box_of(region) - box).max())

            region = counterpart(ours, "rectanglelabels", CLASSES[kind][int(label)], float(score), gap)
            assert gap(region) < 0.02
    # An edge cut at the image's border may end a rounding step wide on one side and not at all on the other.
    thin = [box for box in boxes if not (box[2:] > box[:2]).all()]
    left = [region for region in ours if not any(np.abs(box_of(region) - box).max() < 0.02 for box in thin)]
    # Of hundreds of boxes of a network that knows nothing, an overlap may lie on the suppression's threshold to the last
    # bit, and which side it falls on is the processor's.
    assert len(left) <= len(boxes) // 100 and len(boxes) > 5


@pytest.mark.parametrize("size", SIZES)
def test_results_are_those_of_ultralytics(both, size, tmp_path, monkeypatch):
    kind = both[0]
    results, outcome = results_and_outcome(both, picture(sum(size), *size), tmp_path, monkeypatch)
    {
        "detect": check_detect,
        "obb": check_obb,
        "segment": check_segment,
        "pose": check_pose,
        "classify": check_classify,
    }[kind](results, outcome, size)


def check_detect(results: Any, outcome: Outcome, size: tuple[int, int]) -> None:
    same_boxes(list(outcome.regions), results, "detect")
    assert min(region["score"] for region in outcome.regions) < 0.2  # below ultralytics' own threshold of 0.25


def check_obb(results: Any, outcome: Outcome, size: tuple[int, int]) -> None:
    """Boxes inside the image are equal; others were trimmed to it."""
    ours, compared = list(outcome.regions), 0
    corners = results.obb.xyxyxyxy.numpy()
    for points, score, label in zip(corners, results.obb.conf, results.obb.cls, strict=True):
        if not ((points >= 0).all() and (points <= size).all()):
            continue

        def gap(region: dict[str, Any], points: Any = points) -> float:
            own = rectangle_corners(region["value"], *size)
            return float(np.linalg.norm(own[:, None] - points[None], axis=2).min(axis=1).max())

        assert gap(counterpart(ours, "rectanglelabels", CLASSES["obb"][int(label)], float(score), gap)) < 0.05
        compared += 1
    assert len(outcome.regions) <= len(corners)
    assert compared > 2 or size == SIZES[-1]


def check_segment(results: Any, outcome: Outcome, size: tuple[int, int]) -> None:
    masks = results.masks.data.numpy().astype(bool)
    ours, alike = list(outcome.regions), []
    for mask, score, label in zip(masks, results.boxes.conf, results.boxes.cls, strict=True):
        if mask.sum() < 100:
            continue

        def overlap(region: dict[str, Any], mask: Any = mask) -> float:
            own = pixels_of_brush(region["value"]["rle"], *size)
            return float((own & mask).sum() / (own | mask).sum())

        name = CLASSES["segment"][int(label)]
        region = counterpart(ours, "brushlabels", name, float(score), lambda r, overlap=overlap: -overlap(r))
        alike.append(overlap(region))
    # Drawn weights give ragged masks of few pixels; smooth ones are compared below.
    assert len(alike) > 3 and np.median(alike) > 0.85


def check_pose(results: Any, outcome: Outcome, size: tuple[int, int]) -> None:
    boxes = [r for r in outcome.regions if r["type"] == "rectanglelabels"]
    same_boxes(boxes, results, "pose")
    scores = {r["id"]: r["score"] for r in boxes}
    points = [r for r in outcome.regions if r["type"] == "keypointlabels"]
    expected = set()
    for score, found in zip(results.boxes.conf, results.keypoints.data.numpy(), strict=True):
        for name, (x, y, seen) in zip(("nose", "left eye"), found[:2], strict=True):
            if seen >= 0.25 and 0 < x < size[0] and 0 < y < size[1]:
                expected.add((name, round(float(x), 1), round(float(y), 1), round(float(score * seen), 2)))
    ours = {
        (
            r["value"]["keypointlabels"][0], round(r["value"]["x"] * size[0] / 100, 1),
            round(r["value"]["y"] * size[1] / 100, 1), round(r["score"], 2),
        )
        for r in points
    }  # fmt: skip
    assert len(points) > 3 and len(ours ^ expected) <= 0.1 * len(expected)  # a digit may round the other way
    assert all(r["score"] <= scores[r["parentID"]] for r in points)


def check_classify(results: Any, outcome: Outcome, size: tuple[int, int]) -> None:
    assert list(outcome.probs) == list(CLASSES["classify"])
    assert list(outcome.probs.values()) == pytest.approx(results.probs.data.tolist(), abs=0.02)
    (region,) = outcome.regions
    assert region["value"]["choices"] == [results.names[results.probs.top1]]
    assert region["score"] == pytest.approx(float(results.probs.top1conf), abs=0.02)


@pytest.mark.parametrize("size", SIZES)
def test_masks_are_those_of_ultralytics_at_the_images_own_resolution(size):
    import torch
    from ultralytics.utils import ops

    source = np.random.default_rng(sum(size))
    view = views_of(*size, SIDE)[0]
    down, across = np.mgrid[0 : SIDE // 4, 0 : SIDE // 4]
    compared = 0
    for _ in range(15):
        x, y, radius = source.uniform(8, 32), source.uniform(8, 32), source.uniform(5, 9)
        prototypes = (radius**2 - (across - x) ** 2 - 1.5 * (down - y) ** 2)[None].astype(np.float32)
        box, weights = np.array([0.0, 0.0, *size]), np.ones(1, dtype=np.float32)
        ours = InstanceMask(view, prototypes, weights, box, size).full()
        theirs = ops.process_mask_native(
            torch.from_numpy(prototypes), torch.ones(1, 1), torch.from_numpy(box)[None].float(), size[::-1]
        )[0].numpy() > 0  # fmt: skip
        if theirs.sum() > 100:
            assert (ours & theirs).sum() / (ours | theirs).sum() > 0.96
            compared += 1
    assert compared > 5
