"""Small drawn images for trainings of every kind, and a dataset folder that holds their labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from PIL import Image, ImageDraw

from labelloop.datasets import write_dataset
from labelloop.masks import brush_of_pixels, mask_of_polygons

SIDE = 96
#: Bars and wedges differ in shape and colour, so that few epochs tell them apart.
LABELS = ("bar", "wedge")
_COLOURS = {"bar": (210, 60, 50), "wedge": (50, 80, 210)}
Point = tuple[float, float]


@dataclass(frozen=True)
class Thing:
    """A drawn object: its outline in pixels, the corners of the turned box around it, its tip and its tail."""

    label: str
    outline: tuple[Point, ...]
    corners: tuple[Point, ...]
    tip: Point
    tail: Point
    angle: float


def scene(seed: int, *, most: int = 1) -> tuple[Image.Image, list[Thing]]:
    """An image and what is on it: one to `most` things, each in a half of its own where there are two."""
    rng = np.random.default_rng(seed)
    grey = rng.integers(150, 220)
    noise = rng.normal(grey, 8, (SIDE, SIDE, 1)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(noise.repeat(3, axis=2))
    count = int(rng.integers(1, most + 1))
    things = []
    for number in range(count):
        room = SIDE / count
        x, y = room * (number + 0.5) + rng.uniform(-4, 4), rng.uniform(0.4, 0.6) * SIDE
        length = rng.uniform(0.7, 0.85) * room if count > 1 else rng.uniform(0.5, 0.7) * SIDE
        things.append(_thing(LABELS[int(rng.integers(2))], x, y, length, rng.uniform(-0.7, 0.7)))
        ImageDraw.Draw(image).polygon(things[-1].outline, fill=_COLOURS[things[-1].label])
    return image, things


def _thing(label: str, x: float, y: float, length: float, angle: float) -> Thing:
    half, wide = length / 2, length / (5 if label == "bar" else 3.2)
    cos, sin = math.cos(angle), math.sin(angle)

    def at(along: float, across: float) -> Point:
        return x + along * cos - across * sin, y + along * sin + across * cos

    corners = (at(-half, -wide), at(half, -wide), at(half, wide), at(-half, wide))
    outline = corners if label == "bar" else (at(-half, -wide), at(half, 0), at(-half, wide))
    return Thing(label, outline, corners, at(half, 0), at(-half, 0), angle)


def region(control: str, kind: str, number: object, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A region as Label Studio stores it."""
    return {
        "id": f"{control}-{number}", "from_name": control, "to_name": "image", "type": kind, "original_width": SIDE,
        "original_height": SIDE, "image_rotation": 0, "value": value, **more,
    }  # fmt: skip


def percent(point: Point) -> list[float]:
    return [100 * point[0] / SIDE, 100 * point[1] / SIDE]


def polygons(things: Sequence[Thing]) -> list[dict[str, Any]]:
    return [
        region("outline", "polygonlabels", n, {"points": [percent(p) for p in t.outline], "polygonlabels": [t.label]})
        for n, t in enumerate(things)
    ]


def brushes(things: Sequence[Thing]) -> list[dict[str, Any]]:
    return [
        region(
            "outline", "brushlabels", n,
            {
                "format": "rle", "brushlabels": [t.label],
                "rle": brush_of_pixels(mask_of_polygons([t.outline], SIDE, SIDE).pixels()),
            },
        )
        for n, t in enumerate(things)
    ]  # fmt: skip


def turned(things: Sequence[Thing]) -> list[dict[str, Any]]:
    found = []
    for n, t in enumerate(things):
        (x0, y0), (x1, y1), (x2, y2), _ = t.corners
        x, y = percent((x0, y0))
        value = {
            "x": x, "y": y, "width": 100 * math.hypot(x1 - x0, y1 - y0) / SIDE,
            "height": 100 * math.hypot(x2 - x1, y2 - y1) / SIDE, "rotation": math.degrees(t.angle) % 360,
            "rectanglelabels": [t.label],
        }  # fmt: skip
        found.append(region("box", "rectanglelabels", n, value))
    return found


def upright(things: Sequence[Thing], control: str = "box") -> list[dict[str, Any]]:
    found = []
    for n, t in enumerate(things):
        xs, ys = zip(*t.outline, strict=True)
        (x, y), (x1, y1) = percent((min(xs), min(ys))), percent((max(xs), max(ys)))
        value = {"x": x, "y": y, "width": x1 - x, "height": y1 - y, "rotation": 0, "rectanglelabels": [t.label]}
        found.append(region(control, "rectanglelabels", n, value))
    return found


def points(things: Sequence[Thing], *, parents: bool = True) -> list[dict[str, Any]]:
    found = []
    for n, t in enumerate(things):
        link = {"parentID": f"box-{n}"} if parents else {}
        for name, point in (("tip", t.tip), ("tail", t.tail)):
            x, y = percent(point)
            value = {"x": x, "y": y, "width": 0.5, "keypointlabels": [name]}
            found.append(region("point", "keypointlabels", f"{n}-{name}", value, **link))
    return found


def poses(things: Sequence[Thing]) -> list[dict[str, Any]]:
    return upright(things) + points(things)


def choice(things: Sequence[Thing]) -> list[dict[str, Any]]:
    return [
        {
            "id": "choice", "from_name": "class", "to_name": "image", "type": "choices",
            "value": {"choices": [things[0].label]},
        }
    ]  # fmt: skip


def config(*controls: str) -> str:
    """A label config with an image and these controls, each by name (`Tag name attributes`) with its classes."""
    made = []
    for said in controls:
        tag, _, rest = said.partition(" ")
        names = ("tip", "tail") if tag == "KeyPointLabels" else LABELS
        value = "Choice" if tag == "Choices" else "Label"
        made.append(
            f'<{tag} toName="image" {rest}>{"".join(f"<{value} value={name!r}/>" for name in names)}</{tag}>'.replace(
                "'", '"'
            )
        )
    return f'<View><Image name="image" value="$image"/>{"".join(made)}</View>'


def dataset(
    folder: Path,
    xml: str,
    label: Callable[[Sequence[Thing]], list[dict[str, Any]]],
    count: int,
    *,
    most: int = 1,
    blank: int = 0,
    options: dict[str, Any] | None = None,
) -> Path:
    """A materialised dataset of `count` scenes: every fourth is in the holdout, every `blank`-th shows nothing."""
    (folder / "media").mkdir(parents=True)
    tasks, labels = [], []
    for n in range(1, count + 1):
        image, things = scene(n, most=most)
        if blank and n % blank == 0:
            image, things = Image.new("RGB", (SIDE, SIDE), (190, 190, 190)), []
        image.save(folder / "media" / f"{n}-0.png")
        held = n % 4 == 0
        tasks.append(
            {"task_id": n, "data": orjson.dumps({"image": f"{n}.png"}).decode(), "group_key": f"g{n}",
             "role": "holdout" if held else "pool", "split": "holdout" if held else "train"}
        )  # fmt: skip
        labels.append(
            {"task_id": n, "annotation_id": n, "annotator": 1, "at": datetime.now(UTC), "rev_hash": f"h{n}",
             "lead_time_s": 1.0, "shown_serving_id": None, "is_truth": True,
             "result": orjson.dumps(label(things)).decode()}
        )  # fmt: skip
    body = {"label_config": xml, "project": 1, "classes": list(LABELS), "options": options or {}}
    write_dataset(folder, body, tasks, labels, None, "2025-01-01T00:00:00Z")
    return folder
