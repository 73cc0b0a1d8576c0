"""Label Studio exports of labelled images for the tests of image formats, written in a format by the real pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from labelloop.masks import Pixels, brush_of_pixels
from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.report import ExportReport
from sync.formats.sources import open_export

WIDTH, HEIGHT = 200, 100
_LABELS = '<Label value="zebra"/><Label value="ant"/>'


def config_of(*tags: str, more: str = "", image: str = 'value="$image"') -> str:
    """A config with these control tags, each named like its tag in small letters; classes zebra and ant."""
    controls = "".join(f'<{tag} name="{tag.lower()}" toName="image">{_LABELS}</{tag}>' for tag in tags)
    return f'<View><Image name="image" {image}/>{controls}{more}</View>'


BOXES = config_of("RectangleLabels")
SHAPES = config_of("RectangleLabels", "PolygonLabels", "BrushLabels", "EllipseLabels")
POSES = (
    '<View><Image name="image" value="$image"/>'
    '<RectangleLabels name="rectanglelabels" toName="image"><Label value="person"/><Label value="dog"/></RectangleLabels>'
    '<KeyPointLabels name="keypointlabels" toName="image"><Label value="nose"/><Label value="left eye"/>'
    '<Label value="tail"/></KeyPointLabels>'
    '<Choices name="seen" toName="image" perRegion="true"><Choice value="Occluded"/></Choices></View>'
)


def region(tag: str, identity: str, value: dict[str, Any], label: Any = "ant", **over: Any) -> dict[str, Any]:
    """A region under the control of `config_of` for that tag."""
    labels = label if isinstance(label, list) else [label]
    kind = tag.lower()
    return {
        "id": identity, "from_name": kind, "to_name": "image", "type": kind, "value": {**value, kind: labels},
        "original_width": WIDTH, "original_height": HEIGHT, "origin": "manual",
    } | over  # fmt: skip


def box(x: float, y: float, w: float, h: float, label: Any = "ant", rotation: float = 0, **over: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": rotation}
    return region("RectangleLabels", over.pop("id", f"r{x}"), value, label, **over)


def polygon(points: Sequence[Sequence[float]], label: Any = "ant", **over: Any) -> dict[str, Any]:
    return region("PolygonLabels", over.pop("id", "p"), {"points": [list(p) for p in points]}, label, **over)


def brush(pixels: Pixels, label: Any = "ant", **over: Any) -> dict[str, Any]:
    height, width = pixels.shape
    sized = {"original_width": width, "original_height": height}
    value = {"format": "rle", "rle": brush_of_pixels(pixels)}
    return region("BrushLabels", over.pop("id", "b"), value, label, **{**sized, **over})


def point(x: float, y: float, label: Any, identity: str, **over: Any) -> dict[str, Any]:
    return region("KeyPointLabels", identity, {"x": x, "y": y, "width": 0.5}, label, **over)


def ringed(width: int = WIDTH, height: int = HEIGHT) -> Pixels:
    """A square of 30 pixels with a hole of 10."""
    pixels = np.zeros((height, width), dtype=bool)
    pixels[20:50, 30:60] = True
    pixels[30:40, 40:50] = False
    return pixels


def task_of(number: int, result: Sequence[dict[str, Any]] | None, data: Any = None, **over: Any) -> dict[str, Any]:
    """A task of an image of 200 x 100; without annotation where `result` is None."""
    at = "2026-01-01T00:00:00Z"
    label = {"id": number * 10, "completed_by": 1, "result": list(result or ()), "updated_at": at}
    sized = {"labelloop": {"width": WIDTH, "height": HEIGHT}}
    own = {"data": data or {"image": f"/data/upload/1/i{number}.png"}, "meta": sized}
    return {"id": number, "annotations": [] if result is None else [label], **own, **over}


def exported(
    folder: Path,
    format: str,
    tasks: Sequence[Any],
    config: str = BOXES,
    *,
    workers: int = 1,
    fetch: Any = None,
    **options: Any,
) -> tuple[Path, ExportReport]:
    """Tasks (or the result of each) written as a format, all of them into train; (folder, report)."""
    listed = [each if isinstance(each, dict) else task_of(n, each) for n, each in enumerate(tasks, start=1)]
    (folder / "export.json").write_bytes(orjson.dumps(listed))
    (folder / "config.xml").write_text(config)
    source = open_export(folder / "export.json", folder / "config.xml", "latest")
    chosen = ExportOptions(**{"train_share": 1.0, **options})
    out = folder / f"out-{format}"
    return out, export_dataset(source, format, out, options=chosen, workers=workers, fetch=fetch)


def reasons(report: ExportReport) -> list[str]:
    return [reason for _, reason in report.skipped]
