"""YOLO exports are what ultralytics trains on: its loaders keep every image, and find the classes and rows that were labelled."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

from labelloop.masks import brush_of_pixels
from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.media import folder_fetch
from sync.formats.report import ExportReport
from sync.formats.sources import open_export

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]

WIDTH, HEIGHT = 200, 100
CLASSES = ("zebra", "ant", "yak")
POINTS = ("nose", "left eye", "right eye")


def config(*controls: str) -> str:
    return f'<View><Image name="image" value="$image"/>{"".join(controls)}</View>'


def labels(tag: str, name: str, classes: tuple[str, ...] = CLASSES) -> str:
    values = "".join(f'<Label value="{each}"/>' for each in classes)
    return f'<{tag} name="{name}" toName="image">{values}</{tag}>'


SHAPES = config(labels("RectangleLabels", "box"), labels("PolygonLabels", "polygon"), labels("BrushLabels", "brush"))
POSE = config(labels("RectangleLabels", "box"), labels("KeyPointLabels", "point", POINTS))


def region(control: str, kind: str, value: dict[str, Any], label: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"r{number}", "from_name": control, "to_name": "image", "type": kind, "value": value | {kind: [label]},
        "original_width": WIDTH, "original_height": HEIGHT,
    } | more  # fmt: skip


def box(number: int, x: float, y: float, label: str, rotation: float = 0) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 20, "height": 30, "rotation": rotation}
    return region("box", "rectanglelabels", value, label, number)


def polygon(number: int, x: float, y: float, label: str) -> dict[str, Any]:
    points = [[x, y], [x + 15, y + 3], [x + 18, y + 20], [x + 4, y + 25]]
    return region("polygon", "polygonlabels", {"points": points}, label, number)


def brush(number: int, label: str) -> dict[str, Any]:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[20:70, 30:110] = True
    mask[35:50, 50:80] = False
    mask[5:15, 150:180] = True
    return region("brush", "brushlabels", {"format": "rle", "rle": brush_of_pixels(mask)}, label, number)


def shapes(number: int) -> list[dict[str, Any]]:
    """Up to four shapes of an image, one of them partly outside, every fifth image without any."""
    kinds = [
        box(1, 90, 80, CLASSES[number % 3]),
        box(2, 50, 40, "ant", rotation=30 + number),
        polygon(3, 5, 5, "yak"),
        brush(4, CLASSES[(number + 1) % 3]),
    ]
    return kinds[: number % 5]


def people(number: int) -> list[dict[str, Any]]:
    """Two objects with some of their key points, which name their boxes."""
    found = [box(1, 5, 10, "zebra"), box(2, 55, 40, "yak")]
    for place, (x, y) in enumerate([(10, 20), (15, 30), (20, 35)][: number % 4]):
        value = {"x": x, "y": y, "width": 1}
        found.append(region("point", "keypointlabels", value, POINTS[place], 10 + place, parentID="r1"))
    return found if number % 5 else []


def exported(folder: Path, xml: str, results: list[list[dict[str, Any]]], **options: Any) -> ExportReport:
    """Images of noise in folders that trip trainers up, exported with copies."""
    tasks = []
    rng = np.random.default_rng(1)
    for number, result in enumerate(results, start=1):
        name = f"images/.set {number % 2}/i{number}.jpg"
        file = folder / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(file)
        data = {"image": f"/data/local-files/?d={name}"}
        tasks.append({"id": number, "data": data, "annotations": [{"id": number, "completed_by": 1, "result": result}]})
    (folder / "export.json").write_bytes(orjson.dumps(tasks))
    (folder / "config.xml").write_text(xml)
    source = open_export(folder / "export.json", folder / "config.xml", "latest")
    given = ExportOptions(**{"images": True, "train_share": 0.7} | options)
    return export_dataset(source, "yolo", folder / "out", options=given, fetch=folder_fetch(folder / "pictures"))


def loaded(data_yaml: Path, task: str) -> list[dict[str, Any]]:
    """What ultralytics loads of all splits."""
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(data_yaml), autodownload=False)
    assert list(data["names"].values()) == list(CLASSES)
    found: list[dict[str, Any]] = []
    for split in ("train", "val"):
        dataset = YOLODataset(img_path=data[split], data=data, task=task, augment=False, imgsz=64)
        found += dataset.get_labels()
        assert dataset[0]["img"].shape[0] == 3
    return found


@pytest.mark.parametrize("task", ["detect", "segment", "obb"])
def test_every_image_and_row_is_kept(task: str, tmp_path: Path) -> None:
    results = [shapes(number) for number in range(20)]
    report = exported(tmp_path, SHAPES, results, task=task)
    assert (report.items, report.objects, report.n_skipped) == (20, 40, 0)
    assert set(report.splits) == {"train", "val"}
    found = loaded(tmp_path / "out" / "data.yaml", task)
    assert len(found) == 20
    wanted = Counter(each["value"][each["type"]][0] for result in results for each in result)
    got: Counter[str] = Counter(CLASSES[int(number)] for image in found for number in image["cls"][:, 0])
    assert got == wanted
    by_name = {Path(image["im_file"]).stem: image for image in found}
    assert [len(by_name[f"i{number + 1}"]["cls"]) for number in range(20)] == [number % 5 for number in range(20)]
    if task != "detect":
        assert sum(len(image["segments"]) for image in found) == 40


def test_masks_keep_their_holes_and_parts(tmp_path: Path) -> None:
    from ultralytics.data.utils import polygon2mask

    exported(tmp_path, SHAPES, [[brush(1, "ant")]] * 8, task="segment")
    (image, *_) = loaded(tmp_path / "out" / "data.yaml", "segment")
    (outline,) = image["segments"]
    drawn = polygon2mask((HEIGHT * 10, WIDTH * 10), [(outline * [WIDTH * 10, HEIGHT * 10]).reshape(-1)])
    area = 80 * 50 - 30 * 15 + 30 * 10
    assert drawn.sum() / 100 == pytest.approx(area, rel=0.02)
    assert drawn[425, 650] == 0 and drawn[100, 1650] == 1


def test_turned_boxes_are_what_was_drawn(tmp_path: Path) -> None:
    from ultralytics.utils.ops import xyxyxyxy2xywhr

    exported(tmp_path, SHAPES, [[box(1, 50, 40, "ant", rotation=30)]] * 8, task="obb")
    (image, *_) = loaded(tmp_path / "out" / "data.yaml", "obb")
    corners = np.array(image["segments"]).reshape(1, 4, 2) * [WIDTH, HEIGHT]
    (x, y, width, height, turn) = xyxyxyxy2xywhr(corners)[0]
    assert (width, height) == pytest.approx((40, 30), abs=1e-3)
    assert np.degrees(turn) == pytest.approx(30, abs=1e-3)
    middle = np.array([100, 40]) + np.array([[0.75**0.5, -0.5], [0.5, 0.75**0.5]]) @ np.array([20, 15])
    assert (x, y) == pytest.approx(tuple(middle), abs=1e-3)


def test_key_points_belong_to_their_boxes(tmp_path: Path) -> None:
    report = exported(tmp_path, POSE, [people(number) for number in range(20)])
    assert (report.task, report.items, report.objects, report.n_skipped) == ("pose", 20, 32, 0)
    found = loaded(tmp_path / "out" / "data.yaml", "pose")
    assert len(found) == 20 and sum(len(image["cls"]) for image in found) == 32
    image = next(each for each in found if Path(each["im_file"]).stem == "i8")
    first = image["keypoints"][image["cls"][:, 0] == 0][0]
    assert first == pytest.approx(np.array([[0.1, 0.2, 2], [0.15, 0.3, 2], [0.2, 0.35, 2]]), abs=1e-6)
    assert (image["keypoints"][image["cls"][:, 0] == 2] == 0).all()


@pytest.mark.parametrize("linked", [False, True], ids=["copied", "linked"])
def test_classes_of_images_are_folders(linked: bool, tmp_path: Path) -> None:
    from ultralytics.data.dataset import ClassificationDataset
    from ultralytics.data.utils import check_cls_dataset
    from ultralytics.utils import DEFAULT_CFG

    choices = "".join(f'<Choice value="{name}"/>' for name in (*CLASSES, "a/b"))
    xml = config(f'<Choices name="kind" toName="image">{choices}</Choices>')
    kinds = ["zebra", "ant", "a/b"]
    results = [[region("kind", "choices", {}, kinds[number % 3], 1)] for number in range(20)]
    more = {"images": False, "rebase": ("/data/local-files/?d=", f"{tmp_path}/pictures/")} if linked else {}
    report = exported(tmp_path, xml, results, **more)
    assert (report.task, report.items, report.objects) == ("classify", 20, 20)
    data = check_cls_dataset(tmp_path / "out")
    assert data["nc"] == 4 and set(data["names"].values()) == {*CLASSES, "a%2Fb"}
    got: Counter[str] = Counter()
    for split in ("train", "val"):
        dataset = ClassificationDataset(str(data[split]), DEFAULT_CFG, names=data["names"])
        got.update(data["names"][sample[1]] for sample in dataset.samples)
    assert got == {"zebra": 7, "ant": 7, "a%2Fb": 6}


def test_links_and_lists_lead_to_the_images(tmp_path: Path) -> None:
    results = [shapes(number) for number in range(12)]
    rebase = ("/data/local-files/?d=", f"{tmp_path}/pictures/")
    exported(tmp_path, SHAPES, results, task="detect", images=False, rebase=rebase)
    assert len(loaded(tmp_path / "out" / "data.yaml", "detect")) == 12
    exported(tmp_path, SHAPES, results, task="detect", images=False)
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(tmp_path / "out" / "data.yaml"), autodownload=False)
    for split in ("train", "val"):
        for line in Path(data[split]).read_text().splitlines():
            place = tmp_path / "out" / line
            name = place.relative_to(tmp_path / "out" / "images" / split).as_posix()
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((tmp_path / "pictures" / name.replace("images_/_.", "images/.")).read_bytes())
    assert len(loaded(tmp_path / "out" / "data.yaml", "detect")) == 12


def test_one_epoch_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics import YOLO

    monkeypatch.chdir(tmp_path)
    exported(tmp_path, SHAPES, [shapes(number) for number in range(12)], task="obb")
    network = YOLO("yolo11n-obb.yaml")
    network.train(
        data=str(tmp_path / "out" / "data.yaml"), epochs=1, imgsz=64, batch=4, device="cpu", workers=0, plots=False,
        project=str(tmp_path / "runs"), verbose=False, amp=False,
    )  # fmt: skip
    assert list((tmp_path / "runs").rglob("last.pt"))
