"""model.json of a network: how to build it again, how to run it, and which controls of the project it answers for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from labelloop.errors import DataError, UsageError

MODEL_FILE = "model.json"
#: Task kinds of a network, in the order in which a version's networks are run; the folder of each has its name.
KINDS = ("detect", "obb", "segment", "pose", "classify")
#: Kinds whose results have a place in the image.
PLACED_KINDS = KINDS[:-1]


@dataclass(frozen=True)
class Options:
    """How a network is run; each is an option of a project (docs/yolo.md)."""

    iou: float = 0.6
    max_det: int = 300
    half: bool = True
    device: str | None = None
    tile: int = 0
    tile_overlap: float = 0.2
    point_threshold: float = 0.5
    point_size: float = 0.5

    def __post_init__(self) -> None:
        for name in ("iou", "point_threshold"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"option {name} must be a number from 0 to 1, got {getattr(self, name)}")
        if not 0.0 <= self.tile_overlap < 0.9:
            raise UsageError(f"option tile_overlap must be from 0 to below 0.9, got {self.tile_overlap}")
        if self.max_det < 1:
            raise UsageError(f"option max_det must be at least 1, got {self.max_det}")
        if self.tile and self.tile < 32:
            raise UsageError(f"option tile must be 0 (none) or at least 32 pixels, got {self.tile}")
        if not 0.0 < self.point_size <= 100.0:
            raise UsageError(f"option point_size must be a percentage above 0, got {self.point_size}")

    @classmethod
    def of(cls, given: Mapping[str, Any], base: Options | None = None) -> Options:
        """`base` with the options among `given`, other keys left out; UsageError when a value does not fit."""
        base = base or cls()
        changed: dict[str, Any] = {}
        for each in fields(cls):
            value = given.get(each.name)
            if value is not None:
                try:
                    changed[each.name] = _converted(value, getattr(cls(), each.name))
                except (TypeError, ValueError) as error:
                    raise UsageError(f"option {each.name} cannot be {value!r}: {error}") from error
        return replace(base, **changed)


def _converted(value: Any, like: Any) -> Any:
    if isinstance(like, bool):
        if not isinstance(value, bool):
            raise ValueError("expected true or false")
        return value
    return str(value) if like is None else type(like)(value)


@dataclass(frozen=True)
class PointUse:
    """Where a class of KeyPointLabels finds its point: the index among the model's points, of these model classes."""

    index: int
    of: tuple[str, ...]


@dataclass(frozen=True)
class ControlUse:
    """How one control takes a network's results: `mapping` names the config class of each model class that has one.

    `multiple`: several choices at once. `paths`: the path of each Taxonomy class. `points`: the point of each
    KeyPointLabels class. `boxes`: the RectangleLabels control that takes the boxes around the points.
    """

    control: str
    mapping: Mapping[str, str]
    multiple: bool = False
    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    points: Mapping[str, PointUse] = field(default_factory=dict)
    boxes: str | None = None


@dataclass(frozen=True)
class ModelSpec:
    """What a network's weights need to be built again and run: model.json.

    `architecture` is the name of one that ultralytics has, or its description. `point_shape` of a pose network is
    (points per object, 2 or 3 numbers per point).
    """

    architecture: str | Mapping[str, Any]
    classes: tuple[str, ...]
    image_size: int
    kind: str = "detect"
    options: Options = field(default_factory=Options)
    controls: tuple[ControlUse, ...] = ()
    point_shape: tuple[int, int] | None = None


def write_spec(spec: ModelSpec, folder: Path) -> None:
    """Write `folder`/model.json."""
    (folder / MODEL_FILE).write_text(json.dumps(asdict(spec), indent=2), encoding="utf-8")


def read_spec(folder: Path) -> ModelSpec:
    """The spec in `folder`/model.json; DataError when it is missing or incomplete."""
    try:
        body = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
        shape = body.get("point_shape")
        spec = ModelSpec(
            architecture=body["architecture"],
            classes=tuple(map(str, body["classes"])),
            image_size=int(body["image_size"]),
            kind=str(body["kind"]),
            options=Options(**body["options"]),
            controls=tuple(map(_control_use, body["controls"])),
            point_shape=(int(shape[0]), int(shape[1])) if shape else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, UsageError) as error:
        raise DataError(f"{folder} holds no yolo model ({MODEL_FILE}): {error}; make this version again") from error
    if spec.kind not in KINDS:
        raise DataError(f"{folder}/{MODEL_FILE} is of kind {spec.kind!r}, expected one of {', '.join(KINDS)}")
    return spec


def _control_use(raw: Mapping[str, Any]) -> ControlUse:
    return ControlUse(
        control=str(raw["control"]),
        mapping={str(key): str(value) for key, value in raw["mapping"].items()},
        multiple=bool(raw["multiple"]),
        paths={str(key): tuple(map(str, path)) for key, path in raw["paths"].items()},
        points={str(key): PointUse(int(use["index"]), tuple(use["of"])) for key, use in raw["points"].items()},
        boxes=raw["boxes"],
    )
