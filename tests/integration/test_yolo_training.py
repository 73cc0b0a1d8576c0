"""A short real training of the detector: fit, load, predict, evaluate, continue, and stop when the lease is lost."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

from backends import yolo
from labelloop.datasets import read_dataset, write_dataset
from labelloop.demo.images import LABELS, ImageTruth, generate_images
from labelloop.errors import DataError, LeaseLost, NotReady
from labelloop.label_config import parse_label_config
from labelloop.values import REASONS, Budget, TaskItem

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    + "".join(f'<Label value="{name}"/>' for name in LABELS)
    + "</RectangleLabels></View>"
)
SHORT = Budget(epochs=2, seed=1)


def quiet(share: float, message: str) -> None:
    assert 0.0 <= share <= 1.0 and message


def regions(truth: ImageTruth) -> list[dict]:
    return [
        {
            "id": f"r{i}", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
            "original_width": truth.width, "original_height": truth.height, "image_rotation": 0,
            "value": {"x": x, "y": y, "width": w, "height": h, "rotation": 0, "rectanglelabels": [label]},
        }
        for i, (label, x, y, w, h) in enumerate(truth.boxes)
    ]  # fmt: skip


def item(task_id: int, file: Path | None) -> TaskItem:
    """A task whose image is that file, or which has none."""
    return TaskItem(task_id, {"image": "/a"}, {"/a": file} if file else {})


def make_dataset(
    folder: Path, images: Path, truths: list[ImageTruth], *, labelled: bool = True, config: str = CONFIG
) -> Path:
    """A materialised dataset: the first quarter of the images is the holdout."""
    (folder / "media").mkdir(parents=True)
    tasks, labels = [], []
    for i, truth in enumerate(truths, start=1):
        shutil.copy(images / truth.file, folder / "media" / f"{i}-0.png")
        split = "holdout" if i <= len(truths) // 4 else "train"
        tasks.append(
            {"task_id": i, "data": orjson.dumps({"image": truth.file}).decode(), "group_key": f"g{i}",
             "role": "holdout" if split == "holdout" else "pool", "split": split}
        )  # fmt: skip
        labels.append(
            {"task_id": i, "annotation_id": i, "annotator": 1, "at": datetime.now(UTC), "rev_hash": f"h{i}",
             "lead_time_s": 1.0, "shown_serving_id": None, "is_truth": True,
             "result": orjson.dumps(regions(truth) if labelled else []).decode()}
        )  # fmt: skip
    body = {"label_config": config, "project": 1, "classes": list(LABELS), "options": {}, "labelled": labelled}
    write_dataset(folder, body, tasks, labels, None, "2025-01-01T00:00:00Z")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("yolo")
    truths = generate_images(root / "images", 52, 11)
    dataset = make_dataset(root / "dataset", root / "images", truths)
    artefact = yolo.trainer().fit(dataset, root / "v1", start=None, budget=SHORT, progress=quiet)
    return root, dataset, artefact


def test_a_version_holds_model_labels_and_metrics(trained):
    _, _, artefact = trained
    (labels,) = json.loads((artefact.path / "labels.json").read_text())["controls"]
    assert labels["classes"] == list(LABELS) == list(labels["show_threshold"])
    assert (labels["control"], labels["to_name"], labels["data_key"]) == ("label", "image", "image")
    assert (labels["type"], labels["calibrated"]) == ("rectanglelabels", False)
    assert all(0.0 < threshold <= 1.0 for threshold in labels["show_threshold"].values())
    assert json.loads((artefact.path / "metrics.json").read_text())["metric"] == "mAP50"
    assert sorted(p.name for p in artefact.path.iterdir()) == ["engine", "labels.json", "metrics.json", "model"]
    assert [point["epoch"] for point in artefact.training_curve] == [1.0, 2.0]
    assert artefact.params["start"] == "scratch"


def test_training_wrote_nothing_into_the_home_folder(trained):
    from ultralytics.utils import USER_CONFIG_DIR

    assert Path.home() not in USER_CONFIG_DIR.parents
    assert not USER_CONFIG_DIR.exists()


def test_every_task_gets_an_outcome_in_order(trained, tmp_path):
    root, _, artefact = trained
    good = sorted((root / "images").glob("*.png"))
    broken, text = tmp_path / "broken.png", tmp_path / "text.jpg"
    broken.write_bytes(good[0].read_bytes()[:200])
    text.write_text("no image")
    media = [good[0], broken, None, text, good[1], tmp_path / "absent.png"]
    backend = yolo.load(artefact.path)
    outcomes = backend.predict([item(i, path) for i, path in enumerate(media)])
    assert [o.status for o in outcomes] == ["ok", "unreadable", "not_found", "unreadable", "ok", "not_found"]
    assert all(o.detail and o.status in REASONS and not o.regions for o in outcomes if o.status != "ok")
    config = parse_label_config(CONFIG)
    for outcome in (outcomes[0], outcomes[4]):
        assert outcome.uncertainty is not None and 0.0 <= outcome.uncertainty <= 1.0
        assert len(outcome.regions) <= 300
        assert all(config.problem_with(region) is None for region in outcome.regions)
        assert all(0.01 <= region["score"] <= 1.0 for region in outcome.regions)
    assert backend.predict([]) == []


def test_signals_are_given_when_asked_for(trained):
    root, _, artefact = trained
    asked = item(1, next((root / "images").glob("*.png")))
    (plain,) = yolo.load(artefact.path).predict([asked])
    (full,) = yolo.load(artefact.path).predict([asked], want=frozenset({"regions", "probs", "embedding"}))
    assert plain.probs is None and plain.embedding is None
    assert set(full.probs) == set(LABELS) and len(full.embedding) >= 64
    assert full.regions == plain.regions


def test_a_failing_batch_is_taken_one_by_one(trained, monkeypatch):
    from backends.yolo import backend
    from backends.yolo.runners import open_runner

    root, _, artefact = trained

    class Failing:
        def __init__(self, runner):
            self.runner = runner

        def each(self, pixels):
            if len(pixels) > 1 or pixels.mean() == 255:
                raise RuntimeError("out of memory")
            return self.runner.each(pixels)

    monkeypatch.setattr(backend, "open_runner", lambda *folder, **options: Failing(open_runner(*folder, **options)))
    white = root / "white.png"
    Image.new("RGB", (160, 160), "white").save(white)
    good = sorted((root / "images").glob("*.png"))[0]
    outcomes = yolo.load(artefact.path).predict([item(i, p) for i, p in enumerate([good, white, good])])
    assert [o.status for o in outcomes] == ["ok", "error", "ok"]
    assert "out of memory" in outcomes[1].detail


def _same_box(one: dict, other: dict) -> bool:
    same = one["value"]["rectanglelabels"] == other["value"]["rectanglelabels"]
    near = all(abs(one["value"][side] - other["value"][side]) < 0.01 for side in ("x", "y", "width", "height"))
    return same and near and abs(one["score"] - other["score"]) < 1e-5


def test_orientation_is_applied_once(trained, tmp_path, monkeypatch):
    from backends.yolo import decoding

    # two epochs may leave every score below the floor
    monkeypatch.setitem(decoding.decode_detections.__kwdefaults__, "floor", 0.0)
    root, _, artefact = trained
    upright = Image.open(sorted((root / "images").glob("*.png"))[0]).crop((0, 0, 160, 96))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    one, other = yolo.load(artefact.path).predict([item(1, tmp_path / "upright.png"), item(2, tmp_path / "turned.png")])
    assert len(one.regions) > 10 and len(one.regions) == len(other.regions)
    for (
        ours
    ) in one.regions:  # near-equal scores may change places: two places in one batch differ in a float's last digits
        assert any(_same_box(ours, theirs) for theirs in other.regions), ours
    assert (one.regions[0]["original_width"], one.regions[0]["original_height"]) == (160, 96)


def test_evaluation_covers_the_holdout_and_can_be_recomputed(trained):
    _, dataset, artefact = trained
    trainer = yolo.trainer()
    metrics = trainer.evaluate(artefact.path, dataset)
    assert (metrics.name, metrics.n, len(metrics.per_item)) == ("mAP50", 13, 13)
    assert metrics.n_objects == sum(sum(item["kinds"]["detect"]["truths"].values()) for item in metrics.per_item) > 20
    assert trainer.headline(json.loads(json.dumps(metrics.per_item))) == pytest.approx(metrics.value)
    assert 0.0 <= metrics.baseline < 0.2


def test_every_version_is_measured_against_the_same_truth(trained, tmp_path):
    """A class that came into the config later counts against a version that does not know it; names tell the classes."""
    root, dataset, artefact = trained
    trainer = yolo.trainer()
    known = trainer.evaluate(artefact.path, dataset)
    first = LABELS[0]
    renamed = [
        replace(truth, boxes=tuple(("star" if label == first else label, *box) for label, *box in truth.boxes))
        for truth in generate_images(root / "images", 52, 11)
    ]
    config = CONFIG.replace(f'<Label value="{first}"', f'<Label value="star"/><Label value="{first}"')
    later = make_dataset(tmp_path / "later", root / "images", renamed, config=config)
    found = trainer.evaluate(artefact.path, later)
    assert found.n_objects == known.n_objects and found.unit == "objects"
    scores = [trainer.scores(each.per_item, np.ones((1, each.n))) for each in (known, found)]
    assert scores[0].items[first] == scores[1].items["star"] > 0 and first not in scores[1].items
    assert scores[1].classes["star"][0] == 0.0
    assert found.extra[f"AP50/{LABELS[1]}"] == pytest.approx(known.extra[f"AP50/{LABELS[1]}"])
    assert scores[1].headline[0] == pytest.approx(found.value)
    assert read_dataset(later).holdout_hash == read_dataset(dataset).holdout_hash  # as its rev_hashes say


def test_training_continues_from_a_version_quietly(trained, tmp_path, capfd):
    _, dataset, artefact = trained
    seen: list[float] = []
    again = yolo.trainer().fit(
        dataset, tmp_path / "v2", start=artefact.path, budget=SHORT, progress=lambda share, _: seen.append(share)
    )
    assert again.params["start"] == "v1"
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) >= 4
    first, second = artefact.training_curve[0], again.training_curve[0]
    assert second["cls_loss"] < first["cls_loss"] and second["box_loss"] < first["box_loss"]
    assert capfd.readouterr().out == ""


def test_a_lost_lease_stops_the_training(trained, tmp_path):
    _, dataset, _ = trained

    def lost(share: float, message: str) -> None:
        if share > 0.1:
            raise LeaseLost("another worker trains this project")

    with pytest.raises(LeaseLost):
        yolo.trainer().fit(dataset, tmp_path / "v", start=None, budget=Budget(epochs=50), progress=lost)
    assert list((tmp_path / "v").iterdir()) == []


def test_unusable_base_weights_are_one_warning_and_a_cold_start(trained, tmp_path, caplog):
    from backends.yolo.checkpoint import base_weights

    file = tmp_path / "base.pt"
    file.write_bytes(b"not a checkpoint")
    assert base_weights(str(file)) is None
    assert base_weights("no-such-model") is None
    assert [r.levelname for r in caplog.records if "base weights" in r.message] == ["WARNING", "WARNING"]


def test_without_a_box_there_is_nothing_to_learn(trained, tmp_path):
    root, _, _ = trained
    truths = generate_images(root / "images", 52, 11)[:8]
    dataset = make_dataset(tmp_path / "bare", root / "images", truths, labelled=False)
    with pytest.raises(NotReady, match="no rectangle"):
        yolo.trainer().fit(dataset, tmp_path / "v", start=None, budget=SHORT, progress=quiet)


def test_y9_damaged_versions_are_refused(trained, tmp_path):
    _, _, artefact = trained
    with pytest.raises(DataError, match=r"labels\.json"):
        yolo.load(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(artefact.path, copy)
    shutil.rmtree(copy / "engine")  # with one, the weights are not read
    (copy / "model" / "detect" / "weights.pt").write_bytes(b"no tensors")
    with pytest.raises(DataError, match=r"weights\.pt"):
        yolo.load(copy)
    (copy / "model" / "detect" / "model.json").unlink()
    with pytest.raises(DataError, match=r"model\.json"):
        yolo.load(copy)


def test_the_trainer_can_be_asked_for_again(trained):
    assert yolo.trainer().metric == yolo.trainer().metric == "mAP50"


def test_importing_the_package_loads_no_heavy_library():
    import subprocess

    code = "import sys, backends.yolo; print([m for m in ('torch', 'ultralytics', 'cv2') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_training_keeps_the_other_networks_of_the_version_it_starts_from(trained, tmp_path):
    from backends.version_labels import ControlLabels, read_labels, write_labels
    from backends.yolo.carrying import carry_over
    from backends.yolo.engine import build_model, save_model
    from backends.yolo.model_spec import ControlUse, ModelSpec, PointUse

    _, _, artefact = trained
    start, out = tmp_path / "v1", tmp_path / "v2"
    shutil.copytree(artefact.path, start)
    uses = (
        ControlUse("label", {"person": "circle"}),
        ControlUse("kp", {}, points={"nose": PointUse(0, ("person",))}, boxes="label"),
    )
    spec = ModelSpec("yolo11n-pose.yaml", ("person",), 96, "pose", controls=uses, point_shape=(1, 3))
    save_model(build_model(spec), spec, start / "model" / "pose")
    (own,) = read_labels(artefact.path)
    points = ControlLabels("kp", "image", "image", "keypointlabels", ("nose",), {"nose": 0.3})
    write_labels(start, [own, points])
    both = parse_label_config(
        CONFIG.replace(
            "</View>", '<KeyPointLabels name="kp" toName="image"><Label value="nose"/></KeyPointLabels></View>'
        )
    )
    shutil.copytree(start / "model" / "detect", out / "model" / "detect")
    carried = carry_over(start, out, both, ["detect"], ["label"])
    write_labels(out, [own, *carried])
    assert [labels.control for labels in carried] == ["kp"]
    (use,) = json.loads((out / "model" / "pose" / "model.json").read_text())["controls"]
    assert (use["control"], use["boxes"]) == ("kp", None)  # the boxes have a detector of their own now
    assert yolo.load(out).classes == (*LABELS, "nose")
    assert carry_over(start, tmp_path / "v3", parse_label_config(CONFIG), ["detect"], ["label"]) == []


def test_boxes_belong_to_the_image_of_a_list_that_they_were_drawn_on(tmp_path):
    from backends.yolo.dataset import labelled_images
    from backends.yolo.learning.lessons import lessons_of

    truths = generate_images(tmp_path / "images", 2, 11)
    config = CONFIG.replace('value="$image"', 'valueList="$image"')
    folder = tmp_path / "dataset"
    (folder / "media").mkdir(parents=True)
    result = []
    for item, truth in enumerate(truths):
        shutil.copy(tmp_path / "images" / truth.file, folder / "media" / f"7-{item}.png")
        result += [region | {"id": f"{item}-{region['id']}", "item_index": item} for region in regions(truth)]
    task = {"task_id": 7, "data": orjson.dumps({"image": [t.file for t in truths]}).decode(), "group_key": "g",
            "role": "pool", "split": "train"}  # fmt: skip
    label = {"task_id": 7, "annotation_id": 1, "annotator": 1, "at": datetime.now(UTC), "rev_hash": "h",
             "lead_time_s": 1.0, "shown_serving_id": None, "is_truth": True,
             "result": orjson.dumps(result).decode()}  # fmt: skip
    body = {"label_config": config, "project": 1, "classes": list(LABELS), "options": {}}
    write_dataset(folder, body, [task], [label], None, "2025-01-01T00:00:00Z")
    dataset = read_dataset(folder)
    (lesson,) = lessons_of(dataset)
    images = labelled_images(dataset, "train", lesson)
    assert [(image.name, image.file.name) for image in images] == [("7-0", "7-0.png"), ("7-1", "7-1.png")]
    assert [len(image.objects) for image in images] == [len(truth.boxes) for truth in truths]
