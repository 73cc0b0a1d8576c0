"""COCO from a Label Studio export of 5,000 images x 4 boxes, beside the converter of `label_studio_sdk`."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import orjson

from benchmarks._comparison import arguments, in_turn, released, show
from labelloop.collecting import cycles_uncollected
from sync.formats import export_dataset
from sync.formats.truth import dataset_from_export

TASKS, BOXES = 5_000, 4
WIDTH, HEIGHT = 1280, 720
CLASSES = ("car", "bus", "bicycle")
#: Corners in pixels may differ by rounding.
TOLERANCE = 1e-6

Counted = dict[str, Any]


def label_config() -> str:
    """A label config for boxes of CLASSES."""
    labels = "".join(f'<Label value="{name}"/>' for name in CLASSES)
    boxes = f'<RectangleLabels name="label" toName="image">{labels}</RectangleLabels>'
    return f'<View><Image name="image" value="$image"/>{boxes}</View>'


def exported(tasks: int = TASKS, seed: int = 1) -> list[dict[str, Any]]:
    """An export as Label Studio writes it: one person's annotation per task, boxes in percent of the image."""
    source = random.Random(seed)
    return [
        {
            "id": task,
            "data": {"image": f"/data/local-files/?d=images/{task:06d}.jpg"},
            "annotations": [
                {
                    "id": task,
                    "completed_by": 1 + task % 3,
                    "result": [_box(source, f"r{task}-{index}") for index in range(BOXES)],
                    "was_cancelled": False,
                    "ground_truth": False,
                    "created_at": "2026-01-01T12:00:00.000000Z",
                    "updated_at": "2026-01-01T12:00:00.000000Z",
                    "lead_time": 8.5,
                }
            ],
            "predictions": [],
        }
        for task in range(1, tasks + 1)
    ]


def _box(source: random.Random, region_id: str) -> dict[str, Any]:
    width, height = source.uniform(2, 30), source.uniform(2, 30)
    place = {"x": source.uniform(0, 100 - width), "y": source.uniform(0, 100 - height)}
    return {
        "id": region_id,
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {
            **place,
            "width": width,
            "height": height,
            "rotation": 0,
            "rectanglelabels": [source.choice(CLASSES)],
        },
    }


def ours(file: Path, config: Path, scratch: Path) -> Counted:
    """From the file to annotations.json: the same as `labelloop export --file ... --config ... --format coco`."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        dataset = dataset_from_export(file, config, Path(folder) / "dataset")
        report = export_dataset(dataset, "coco", Path(folder) / "coco")
        return _counted(report.path / "annotations.json")


def theirs(file: Path, config: Path, scratch: Path) -> Counted:
    """From the file to result.json; nothing is downloaded, sizes come from the labels as they do for ours."""
    from label_studio_sdk.converter import Converter

    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        converter = Converter(config.read_text(encoding="utf-8"), folder, download_resources=False)
        converter.convert_to_coco(str(file), folder, is_dir=False)
        return _counted(Path(folder) / "result.json")


@cycles_uncollected()
def _counted(path: Path) -> Counted:
    """Counts, and every box as (class, corners) in the order of its image; reading back is timed on both sides."""
    content = orjson.loads(path.read_bytes())
    names = {category["id"]: category["name"] for category in content["categories"]}
    boxes = [(names[row["category_id"]], row["bbox"]) for row in content["annotations"]]
    return {"images": len(content["images"]), "boxes": len(boxes), "content": sorted(boxes)}


def same(one: Counted, other: Counted) -> bool:
    """Whether both wrote the same boxes with the same classes."""
    if (one["images"], one["boxes"]) != (other["images"], other["boxes"]):
        return False
    pairs = zip(one["content"], other["content"], strict=True)
    return all(
        a == b and all(abs(p - q) <= TOLERANCE for p, q in zip(ours, theirs, strict=True))
        for (a, ours), (b, theirs) in pairs
    )


def measure(repeats: int, tasks: int = TASKS) -> list[dict[str, Any]]:
    """The comparison, on one generated export."""
    with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as folder:
        scratch = Path(folder)
        file, config = scratch / "export.json", scratch / "config.xml"
        file.write_bytes(orjson.dumps(exported(tasks)))
        config.write_text(label_config(), encoding="utf-8")
        timings = in_turn(lambda: ours(file, config, scratch), lambda: theirs(file, config, scratch), repeats)
    counts = {
        f"{side}_{name}": found[name]
        for side, found in (("ours", timings.ours), ("peer", timings.peer))
        for name in ("images", "boxes")
    }
    return [
        {
            "what": f"COCO export, {tasks} tasks x {BOXES} boxes",
            "peer": f"{released('label-studio-sdk')} converter",
            **timings.to_json(),
            **counts,
            "equal": same(timings.ours, timings.peer),
        }
    ]


def main() -> None:
    """Print the comparison."""
    given = arguments(__doc__ or "", repeats=5)
    show("coco_export", measure(given.repeats), as_json=given.json)


if __name__ == "__main__":
    main()
