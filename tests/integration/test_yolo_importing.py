"""Versions made of checkpoints: what is refused, what controls share, several images per task, tiles."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from backends import yolo
from backends.yolo import backend as backend_module
from backends.yolo import checkpoint as checkpoint_module
from backends.yolo import importing
from backends.yolo.model_spec import KINDS
from backends.yolo.runners import open_runner
from labelloop.errors import DataError, MediaError, ServiceDown, UsageError
from labelloop.label_config import parse_label_config
from labelloop.values import TaskItem

sys.path.insert(0, str(Path(__file__).parent))
from yolo_networks import CLASSES, SIDE, checkpoint, network, picture

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]

BOXES = '<RectangleLabels name="box" toName="im"><Label value="Cat"/><Label value="dog"/></RectangleLabels>'
EVERY_CONTROL = f"""<View><Image name="im" valueList="$images"/>{BOXES}
<RectangleLabels name="more" toName="im"><Label value="animal" predicted_values="cat,dog"/></RectangleLabels>
<RectangleLabels name="turned" toName="im" model_obb="true"><Label value="ship"/><Label value="plane"/></RectangleLabels>
<PolygonLabels name="outline" toName="im"><Label value="leaf"/></PolygonLabels>
<BrushLabels name="mask" toName="im"><Label value="leaf"/><Label value="stone"/></BrushLabels>
<KeyPointLabels name="kp" toName="im"><Label value="nose"/><Label value="left ear" model_index="3"/></KeyPointLabels>
<RectangleLabels name="kp_bbox" toName="im"><Label value="Person"/></RectangleLabels>
<Choices name="when" toName="im"><Choice value="day"/><Choice value="night"/></Choices>
<Taxonomy name="tree" toName="im"><Choice value="Time"><Choice value="day"/><Choice value="dusk"/></Choice></Taxonomy>
</View>"""
CONFIG = parse_label_config(EVERY_CONTROL)
ONE_IMAGE = parse_label_config(f'<View><Image name="im" value="$image"/>{BOXES}</View>')


@pytest.fixture(scope="module", autouse=True)
def without_engines() -> Iterator[None]:
    """What is said here is said by PyTorch; building an engine takes longer than the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importing, "build_engine", lambda *args, **more: None, raising=False)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {kind: checkpoint(kind, folder) for kind in KINDS}


@pytest.fixture(scope="module")
def version(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("version") / "v1"
    yolo.import_model([str(file) for file in files.values()], CONFIG, folder, max_det=20, point_threshold=0.1)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    found = [folder / "0.png", folder / "1.png"]
    picture(1, 200, 150).save(found[0])
    picture(2, 90, 160).save(found[1])
    return found


def task(*media: Path | MediaError) -> TaskItem:
    addresses = [f"/{number}" for number in range(len(media))]
    return TaskItem(1, {"images": addresses}, dict(zip(addresses, media, strict=True)))


def test_a_version_has_a_network_per_kind_and_every_control(version):
    assert sorted(folder.name for folder in (version / "model").iterdir()) == sorted(KINDS)
    for kind in KINDS:
        assert {"model.json", "weights.pt"} <= {each.name for each in (version / "model" / kind).iterdir()}
    spec = json.loads((version / "model" / "detect" / "model.json").read_text())
    assert spec["options"]["max_det"] == 20 and spec["image_size"] == SIDE
    assert [(use["control"], use["mapping"]) for use in spec["controls"]] == [
        ("box", {"cat": "Cat", "dog": "dog"}), ("more", {"cat": "animal", "dog": "animal"}),
    ]  # fmt: skip
    labels = json.loads((version / "labels.json").read_text())["controls"]
    assert [each["control"] for each in labels] == [control.name for control in CONFIG.controls]
    assert next(each for each in labels if each["control"] == "tree")["classes"] == [
        "Time",
        "Time / day",
        "Time / dusk",
    ]


def test_every_control_answers_for_every_image_with_regions_that_fit(version, pictures):
    (outcome,) = yolo.load(version).predict([task(*pictures)], want=frozenset({"regions", "probs", "embedding"}))
    assert outcome.status == "ok" and 0 <= outcome.uncertainty <= 1
    found = {(region["from_name"], region["item_index"]) for region in outcome.regions}
    assert found == {(control.name, item) for control in CONFIG.controls for item in (0, 1)}
    assert {
        problem for r in outcome.regions if (problem := CONFIG.problem_with(r)) and "outside 0 to 100" not in problem
    } == set()
    assert len({region["id"] for region in outcome.regions}) == len(outcome.regions)
    assert {"box/Cat", "more/animal", "kp/nose", "when/day", "tree/Time / dusk"} <= set(outcome.probs)
    sizes = {
        r["item_index"]: (r["original_width"], r["original_height"]) for r in outcome.regions if "original_width" in r
    }
    assert sizes == {0: (200, 150), 1: (90, 160)}


def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(kind, batch size) of each pass from now on."""
    passes: list[tuple[str, int]] = []

    def opened(folder: Path, **more: Any) -> Any:
        runner = open_runner(folder, **more)
        real = runner._network.forward if hasattr(runner, "_network") else None
        assert real is not None, "the passes of PyTorch are counted"

        def forward(pixels: Any) -> Any:
            passes.append((folder.name, len(pixels)))
            return real(pixels)

        runner._network.forward = forward
        return runner

    monkeypatch.setattr(backend_module, "open_runner", opened)
    return passes


def test_controls_of_one_kind_share_one_pass_and_two_images_are_one_batch(version, pictures, monkeypatch):
    passes = counted(monkeypatch)
    yolo.load(version).predict([task(*pictures)])
    assert passes == [(kind, 2) for kind in KINDS]


def test_one_unreadable_image_costs_the_others_nothing(version, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    gone = MediaError("not_found", "the address was refused")
    backend = yolo.load(version)
    some, none, whole = backend.predict([task(gone, pictures[1], broken), task(gone, broken), task(*pictures)])
    assert some.status == "ok" and {region["item_index"] for region in some.regions} == {1}
    assert "refused" in some.detail and "broken.png" in some.detail
    assert (none.status, none.regions) == ("not_found", ())
    assert whole.status == "ok" and not whole.detail


def test_prepared_tasks_give_the_same_as_others(version, pictures):
    backend = yolo.load(version)
    plain, prepared = backend.predict([task(*pictures), backend.prepare(task(*pictures))])
    assert len(plain.regions) == len(prepared.regions)
    assert backend.batch_size == 32 and backend.prepare(done := backend.prepare(task(*pictures))) is done


def test_y1_scores_far_below_025_reach_the_answer(version, pictures):
    (outcome,) = yolo.load(version).predict([task(*pictures)])
    assert min(region["score"] for region in outcome.regions if region["from_name"] == "box") < 0.25


def test_y8_nothing_is_loaded_that_the_version_does_not_have(files, tmp_path, monkeypatch):
    opened: list[str] = []
    yolo.import_model([str(files["detect"])], ONE_IMAGE, tmp_path / "v")
    real = backend_module.open_runner
    monkeypatch.setattr(backend_module, "open_runner", lambda f, **m: (opened.append(f.name), real(f, **m))[1])
    yolo.load(tmp_path / "v")
    assert opened == ["detect"]


def refused(error: type[Exception], message: str, sources: list[Path | str], folder: Path, **more: Any) -> None:
    with pytest.raises(error, match=message):
        yolo.import_model([str(source) for source in sources], more.pop("config", ONE_IMAGE), folder, **more)
    assert not folder.exists() or not any(folder.iterdir())


def test_what_cannot_be_imported_is_refused_and_nothing_is_written(files, tmp_path):
    text = tmp_path / "text.pt"
    text.write_text("no checkpoint")
    out = tmp_path / "v"
    refused(UsageError, "got none", [], out)
    refused(UsageError, "no checkpoint", ["resnet50"], out)
    refused(UsageError, "no checkpoint", [tmp_path / "absent.pt"], out)
    refused(UsageError, "cannot be used", [text], out)
    refused(UsageError, "is a segment model", [files["detect"], files["segment"]], out)
    refused(UsageError, "both detect", [files["detect"], files["detect"]], out)
    refused(UsageError, "unknown option 'size'", [files["detect"]], out, size=3)
    refused(UsageError, "tile_overlap", [files["detect"]], out, tile_overlap=2)
    refused(UsageError, "image_size", [files["detect"]], out, image_size="large")
    stranger = parse_label_config(
        '<View><Image name="im" value="$i"/><RectangleLabels name="b" toName="im"><Label value="x"/></RectangleLabels></View>'
    )
    refused(DataError, "predicted_values", [files["detect"]], out, config=stranger)
    yolo.import_model([str(files["detect"])], ONE_IMAGE, out)
    with pytest.raises(UsageError, match="holds a version"):
        yolo.import_model([str(files["detect"])], ONE_IMAGE, out)


def test_a_download_that_fails_is_a_service_error(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "_ASSETS", "http://127.0.0.1:9/")
    refused(ServiceDown, r"yolo11n\.pt could not be downloaded", ["yolo11n.pt"], tmp_path / "v")


class Payload:
    """What a pickle would run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_y7_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    import torch

    marker = tmp_path / "ran"
    pickled, described = tmp_path / "pickled.pt", tmp_path / "described.pt"
    torch.save({"model": Payload(marker), "ema": None}, pickled)
    model = network("detect", tmp_path)
    model.yaml["activation"] = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    torch.save({"model": model, "ema": None}, described)
    refused(UsageError, "cannot be used", [pickled], tmp_path / "v1")
    refused(UsageError, "cannot be built again", [described], tmp_path / "v2")
    assert not marker.exists()


def test_a_newer_architecture_with_two_heads_gives_every_candidate(tmp_path, pictures):
    file = checkpoint("detect", tmp_path, architecture="yolo26n.yaml", seed=5)
    yolo.import_model([str(file)], ONE_IMAGE, tmp_path / "v", max_det=400)
    (outcome,) = yolo.load(tmp_path / "v").predict([TaskItem(1, {"image": "/a"}, {"/a": pictures[0]})])
    assert outcome.status == "ok" and len(outcome.regions) > 5


class BrightSpots:
    """A stand-in for a network that finds bright spots from 6 pixels across on, as raw outputs of a detector."""

    kind = "torch"

    def run(self, pixels: Any) -> Any:
        outputs = np.zeros((len(pixels), 6, 500), dtype=np.float32)
        for image, out in zip(pixels, outputs, strict=True):
            spots, _ = ndimage.label(image.min(axis=2) > 180)
            for number, (down, across) in enumerate(ndimage.find_objects(spots)[:500]):
                size = across.stop - across.start, down.stop - down.start
                if min(size) >= 6:
                    middle = (across.start + across.stop) / 2, (down.start + down.stop) / 2
                    out[:, number] = [*middle, *size, 0.9, 0.0]
        return [outputs], np.zeros((len(pixels), 64), dtype=np.float32)

    def each(self, pixels: Any) -> Any:
        (outputs,), features = self.run(pixels)
        return (([out], feature) for out, feature in zip(outputs, features, strict=True))


@pytest.mark.parametrize("tile", [0, 320])
def test_tiles_find_small_objects_of_a_large_image_each_once(files, tmp_path, monkeypatch, tile):
    image = Image.new("RGB", (1600, 1100), (40, 40, 40))
    source = np.random.default_rng(7)
    small = []
    for row in range(6):
        for column in range(8):
            x, y = column * 200 + int(source.integers(10, 150)), row * 160 + int(source.integers(10, 110))
            small.append((x, y, x + 16, y + 16))
            image.paste("white", small[-1])
    image.paste("white", large := (500, 1000, 1200, 1095))  # wider than a tile
    image.save(tmp_path / "large.png")
    yolo.import_model([str(files["detect"])], ONE_IMAGE, tmp_path / "v", tile=tile)
    monkeypatch.setattr(backend_module, "open_runner", lambda folder, **more: BrightSpots())
    (outcome,) = yolo.load(tmp_path / "v").predict([TaskItem(1, {"image": "/a"}, {"/a": tmp_path / "large.png"})])
    found = [
        tuple(r["value"][key] * side for key, side in (("x", 16), ("y", 11), ("width", 16), ("height", 11)))
        for r in outcome.regions
    ]
    corners = [(x, y, x + w, y + h) for x, y, w, h in found]
    expected = [*small, large] if tile else [large]
    assert len(corners) == len(expected)
    for box in expected:
        assert min(max(abs(a - b) for a, b in zip(box, other, strict=True)) for other in corners) < 8


def test_y10_an_image_without_detections_is_not_the_most_uncertain(files, tmp_path, monkeypatch):
    yolo.import_model([str(files["detect"])], ONE_IMAGE, tmp_path / "v")
    monkeypatch.setattr(backend_module, "open_runner", lambda folder, **more: BrightSpots())
    Image.new("RGB", (100, 100)).save(tmp_path / "empty.png")
    spot = Image.new("RGB", (100, 100))
    spot.paste("white", (20, 20, 60, 60))
    spot.save(tmp_path / "spot.png")
    items = [TaskItem(n, {"image": "/a"}, {"/a": tmp_path / name}) for n, name in enumerate(["empty.png", "spot.png"])]
    empty, unsure = yolo.load(tmp_path / "v").predict(items)
    assert empty.status == "ok" and not empty.regions and empty.uncertainty < unsure.uncertainty
    assert CLASSES["detect"] == ("cat", "dog") and unsure.regions[0]["value"]["rectanglelabels"] == ["Cat"]
