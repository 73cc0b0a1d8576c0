"""COCO files: ids, categories, boxes, names, pages, negatives; what has no place is named, never dropped in silence."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from labelloop.errors import DataError, UsageError
from sync.formats.media import folder_fetch
from sync.formats.report import ExportReport

sys.path.insert(0, str(Path(__file__).parent))
from image_exports import BOXES, POSES, SHAPES, box, config_of, exported, point, polygon, reasons, region, task_of


def coco_of(folder: Path, tasks: list[Any], config: str = BOXES, **more: Any) -> tuple[dict[str, Any], ExportReport]:
    out, report = exported(folder, "coco", tasks, config, **more)
    return json.loads((out / "annotations" / "instances_train.json").read_text()), report


def test_ids_start_at_one_and_categories_follow_the_config(tmp_path: Path) -> None:
    found, report = coco_of(tmp_path, [[box(0, 0, 10, 10), box(50, 0, 10, 10, "zebra")], [box(3, 3, 3, 3)]])
    assert [(c["id"], c["name"]) for c in found["categories"]] == [(1, "zebra"), (2, "ant")]
    assert [(a["id"], a["image_id"], a["category_id"]) for a in found["annotations"]] == [
        (1, 1, 2),
        (2, 1, 1),
        (3, 2, 2),
    ]
    assert (report.task, report.items, report.objects) == ("detect", 2, 3)


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_the_truth_scores_exactly_one_against_itself(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [[box(x, x / 2, 12.5, 30, ["ant", "zebra"][i % 2]) for x in (1, 33.3, 70)] for i in range(5)]
    out, _ = exported(tmp_path, "coco", results, task=task)
    truth = COCO(str(out / "annotations" / "instances_train.json"))
    assert (len(truth.getImgIds()), len(truth.getAnnIds())) == (5, 15)
    found = [{**row, "score": 0.9} for row in truth.dataset["annotations"]]
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(truth, truth.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == 1.0
    assert "Average Precision" in capsys.readouterr().out


def test_boxes_are_turned_in_pixels_and_keep_their_outline(tmp_path: Path) -> None:
    found, _ = coco_of(tmp_path, [[box(50, 50, 20, 20, rotation=90)]])
    (only,) = found["annotations"]
    assert only["bbox"] == pytest.approx([80, 50, 20, 40])
    assert only["segmentation"][0] == pytest.approx([100, 50, 100, 90, 80, 90, 80, 50])
    assert (only["area"], only["labelloop"]["rotation"]) == (pytest.approx(800), 90)


def test_boxes_are_cut_at_the_edge_and_keep_their_fractions(tmp_path: Path) -> None:
    found, report = coco_of(
        tmp_path,
        [[box(-10, 95, 30, 10), box(0.123, 0, 10.01, 10), box(120, 0, 10, 10), box(95, 50, 10, 10, rotation=45)]],
    )
    assert found["annotations"][0]["bbox"] == pytest.approx([0, 95, 40, 5])
    assert found["annotations"][1]["bbox"] == [0.123 * 200 / 100, 0, 10.01 * 200 / 100, 10]
    assert found["annotations"][2]["bbox"][0] + found["annotations"][2]["bbox"][2] == 200
    assert reasons(report) == ["region r120: nothing of it is on the image"]


def test_negatives_are_kept_and_what_nobody_labelled_is_not(tmp_path: Path) -> None:
    found, report = coco_of(tmp_path, [[box(0, 0, 10, 10)], [], None])
    assert [(i["id"], i["width"], i["height"]) for i in found["images"]] == [(1, 200, 100), (2, 200, 100)]
    assert (report.items, report.objects, report.left_out) == (2, 1, {"nobody labelled it": 1})


def test_the_size_of_a_negative_is_read_from_its_file_as_a_browser_shows_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "i1.png", format="JPEG", exif=exif)
    found, _ = coco_of(tmp_path, [task_of(1, [], meta={})], fetch=folder_fetch(tmp_path))
    assert (found["images"][0]["width"], found["images"][0]["height"]) == (30, 40)


def test_copied_images_stand_upright_where_their_names_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "pictures" / "i1.jpg", exif=exif)
    task = task_of(1, [box(0, 0, 50, 50)], {"image": "/data/local-files/?d=deep/i1.jpg"})
    found, _ = coco_of(tmp_path, [task], images=True, fetch=folder_fetch(tmp_path / "pictures"))
    (image,) = found["images"]
    copy = tmp_path / "out-coco" / "images" / "train" / image["file_name"]
    with Image.open(copy) as opened:
        assert opened.size == (image["width"], image["height"]) == (30, 40)
    assert found["annotations"][0]["bbox"] == pytest.approx([0, 0, 15, 20])


def test_file_names_are_unique_across_folders(tmp_path: Path) -> None:
    places = ["one/a.png", "two/a.png", "b.png", "c.png", "c.png", "C.jpg"]
    tasks = [
        task_of(n, [box(0, 0, 9, 9)], {"image": f"/data/local-files/?d={place}"}) for n, place in enumerate(places, 1)
    ]
    names = [image["file_name"] for image in coco_of(tmp_path, tasks)[0]["images"]]
    assert names[:3] == ["one/a.png", "two/a.png", "b.png"]
    assert len({Path(name).with_suffix("").as_posix().casefold() for name in names}) == 6


def test_addresses_can_be_given_another_beginning(tmp_path: Path) -> None:
    found, _ = coco_of(tmp_path, [[box(0, 0, 9, 9)]], rebase=("/data/upload/1", "/mnt/pictures"))
    assert found["images"][0]["file_name"] == "/mnt/pictures/i1.png"


def test_each_page_of_a_task_is_an_image(tmp_path: Path) -> None:
    config = config_of("RectangleLabels", image='valueList="$pages"')
    regions = [
        box(1, 0, 9, 9, item_index=1),
        box(2, 0, 9, 9, item_index=0),
        box(3, 0, 9, 9, item_index=7),
        {"type": "relation", "from_id": "r1", "to_id": "r2"},
    ]
    task = task_of(5, regions, {"pages": ["/d/p1.png", "/d/p2.png"]}, meta={})
    found, report = coco_of(tmp_path, [task], config)
    assert [i["file_name"] for i in found["images"]] == ["d/p1.png", "d/p2.png"]
    first, second = (i["id"] for i in found["images"])
    assert [(a["image_id"], a["bbox"][0]) for a in found["annotations"]] == [(first, 4), (second, 2)]
    assert reasons(report) == [
        "region r3: COCO has no place for rectanglelabels", "region r1 -> r2: COCO has no place for relations",
    ]  # fmt: skip
    assert report.items == 2


def test_two_images_side_by_side_have_ids_of_their_own(tmp_path: Path) -> None:
    config = (
        '<View><Image name="image" value="$image"/><Image name="other" value="$other"/>'
        '<RectangleLabels name="rectanglelabels" toName="image"><Label value="ant"/></RectangleLabels>'
        '<RectangleLabels name="second" toName="other"><Label value="ant"/></RectangleLabels></View>'
    )
    regions = [box(1, 0, 9, 9), box(2, 0, 9, 9, from_name="second", to_name="other")]
    found, _ = coco_of(tmp_path, [task_of(1, regions, {"image": "/a.png", "other": "/b.png"}, meta={})], config)
    assert len({i["id"] for i in found["images"]}) == 2
    assert [a["image_id"] for a in found["annotations"]] == [i["id"] for i in found["images"]]


def test_a_region_with_several_classes_is_an_annotation_for_each(tmp_path: Path) -> None:
    found, report = coco_of(tmp_path, [[box(0, 0, 9, 9, ["ant", "zebra", "ant"])]])
    assert [a["category_id"] for a in found["annotations"]] == [2, 1]
    assert any("several classes" in loss for loss in report.declared_losses)


HOSTILE = [
    {"id": "list", "value": []},
    {"id": "none", "value": {"x": None, "y": 1, "width": 2, "height": 3, "rectanglelabels": ["ant"]}},
    {"id": "text", "value": {"x": "1", "y": "a", "width": 2, "height": 3, "rectanglelabels": ["ant"]}},
    {"id": "huge", "value": {"x": 1e308, "y": 1, "width": 1e308, "height": 3, "rectanglelabels": ["ant"]}},
    {"id": "whole", "value": {"x": 10**400, "y": 1, "width": 2, "height": 3, "rectanglelabels": ["ant"]}},
    {
        "id": "turned",
        "value": {"x": 1, "y": 1, "width": 2, "height": 3, "rotation": "much", "rectanglelabels": ["ant"]},
    },
    {"id": "empty", "value": {"x": 1, "y": 1, "width": 0, "height": 3, "rectanglelabels": ["ant"]}},
    {"id": "classless", "value": {"x": 1, "y": 1, "width": 2, "height": 3, "rectanglelabels": []}},
    {"id": "ghost", "value": {"x": 1, "y": 1, "width": 2, "height": 3, "rectanglelabels": ["ghost"]}},
    {"id": "name", "from_name": ["rectanglelabels"]},
    {"id": "video", "from_name": "v", "type": "videorectangle"},
]


@pytest.mark.parametrize("task", ["detect", "segment", "pose"])
def test_what_cannot_be_written_is_named_and_the_rest_is_kept(task: str, tmp_path: Path) -> None:
    broken = [box(1, 1, 1, 1) | over for over in HOSTILE]
    plain = orjson_safe(broken)
    config = BOXES if task != "pose" else POSES.replace("person", "ant")
    found, report = coco_of(tmp_path, [[box(50, 50, 10, 10), *plain]], config, task=task)
    assert len(found["annotations"]) == 1
    assert [reason.split(":")[0] for reason in reasons(report)] == [f"region {each['id']}" for each in plain]


def orjson_safe(regions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the number that JSON's usual writers refuse."""
    return [each for each in regions if each["id"] != "whole"]


def test_a_number_that_no_float_holds_is_no_crash(tmp_path: Path) -> None:
    (whole,) = [box(1, 1, 1, 1) | over for over in HOSTILE if over["id"] == "whole"]
    text = json.dumps([task_of(1, [box(50, 50, 10, 10), whole])])
    from sync.formats.coco_shapes import coco_shape

    with pytest.raises(DataError):
        coco_shape("rectangle", json.loads(text)[0]["annotations"][0]["result"][1], (200, 100))


def test_a_task_without_an_image_is_named(tmp_path: Path) -> None:
    found, report = coco_of(tmp_path, [[box(0, 0, 9, 9)], task_of(2, [box(1, 1, 1, 1)], {"picture": "x"})])
    assert len(found["images"]) == 1
    assert reasons(report) == ["its data names no image"]


def test_shapes_whose_class_is_told_apart_are_written_once(tmp_path: Path) -> None:
    config = (
        '<View><Image name="image" value="$image"/><Rectangle name="shape" toName="image"/><Polygon name="poly" '
        'toName="image"/><Labels name="labels" toName="image"><Label value="ant"/></Labels></View>'
    )
    value = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}
    bare = region("RectangleLabels", "r", value) | {"from_name": "shape", "type": "rectangle", "value": value}
    triangle = {"points": [[50, 10], [60, 10], [60, 30]]}
    regions = [bare, region("Labels", "r", value), region("Labels", "t", triangle), {**bare, "id": "nameless"}]
    found, report = coco_of(tmp_path, [regions], config)
    assert [a["bbox"] for a in found["annotations"]] == [[20, 10, 40, 20], [100, 10, 20, 20]]
    assert reasons(report) == ["region nameless: COCO has no place for rectangle"]


def test_each_annotation_is_known_by_its_id_in_the_provenance(tmp_path: Path) -> None:
    regions = [[box(n, n, 5, 5, ["ant", "zebra"][n % 2])] for n in range(6)]
    out, report = exported(tmp_path, "coco", regions, train_share=0.5)
    rows = pl.read_parquet(out / "provenance.parquet")
    known = {}
    for split in report.splits:
        file = f"annotations/instances_{split}.json"
        for row in json.loads((out / file).read_text())["annotations"]:
            known[file, row["id"]] = (row["labelloop"]["region"], row["category_id"])
    assert len(report.splits) == 2
    assert {(r["file"], r["object"]): (r["region_id"], r["class_id"]) for r in rows.to_dicts()} == known


def test_the_result_is_the_same_with_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.formats.parts.PartRunner.SMALL", 0)
    tasks = [[box(n % 90, n % 80, 5, 5), polygon([[1, 1], [9, 1], [5, 7 + n % 9]])] for n in range(2300)]
    files = ("annotations/instances_train.json", "annotations/instances_val.json", "manifest.json")
    found = []
    for workers in (1, 3):
        (tmp_path / str(workers)).mkdir()
        out, _ = exported(tmp_path / str(workers), "coco", tasks, SHAPES, workers=workers, train_share=0.7)
        found.append([(out / name).read_bytes() for name in files])
    assert found[0] == found[1]
    ids = [row["id"] for row in json.loads(found[0][0])["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) > 2300


def test_options_and_configs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="knows the options"):
        coco_of(tmp_path, [[]], values={"colour": "red"})
    with pytest.raises(UsageError, match="key points without boxes"):
        coco_of(tmp_path, [[]], values={"category": "person"})
    with pytest.raises(UsageError, match="has the tasks"):
        coco_of(tmp_path, [[]], task="ner")
    with pytest.raises(DataError, match="needs <KeyPointLabels>"):
        coco_of(tmp_path, [[]], task="pose")
    with pytest.raises(DataError, match="RectangleLabels"):
        coco_of(
            tmp_path,
            [[]],
            '<View><Text name="t" value="$t"/><Labels name="l" toName="t"><Label value="a"/></Labels></View>',
        )
    with pytest.raises(UsageError, match="expected pairs like"):
        coco_of(tmp_path, [[point(1, 1, "nose", "n")]], POSES, values={"skeleton": "nose:knee"})
