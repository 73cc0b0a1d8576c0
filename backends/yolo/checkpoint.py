"""Networks that were trained elsewhere: a checkpoint of ultralytics, read without running code that it may carry."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.yolo.engine import NETWORK_CLASSES, import_ultralytics
from labelloop.errors import LabelloopError, ServiceDown, UsageError

_ASSETS = "https://github.com/ultralytics/assets/releases/download/v8.4.0/"
_NAME = re.compile(r"yolo(11|26|v8)[nsmlx](-seg|-obb|-pose|-cls)?\.pt")
_TIMEOUT_S = 20.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A network with its weights: task kind, class names, input size, what builds it; for pose the points' names."""

    network: Any
    kind: str
    classes: tuple[str, ...]
    image_size: int
    architecture: Mapping[str, Any]
    point_shape: tuple[int, int] | None = None
    point_names: Mapping[str, tuple[str, ...]] | None = None


def read_checkpoint(source: str) -> Checkpoint:
    """The checkpoint in a local .pt file, or a published one by its name (yolo11n.pt, yolo11n-seg.pt and so on).

    Loaded with torch's restricted reader: a file that would run code is refused. UsageError when the file cannot be
    used, ServiceDown when a published one cannot be downloaded.
    """
    with tempfile.TemporaryDirectory(prefix="yolo-checkpoint-") as scratch:
        return _described(_read(_fetched(source, Path(scratch)), source), source)


def base_weights(source: str) -> Any | None:
    """The network of a base checkpoint, or None with one warning: a training then starts from random weights."""
    try:
        return read_checkpoint(source).network
    except LabelloopError as error:
        _log.warning("base weights %r were not used, training starts from scratch: %s", source, error)
        return None


def _fetched(source: str, scratch: Path) -> Path:
    if Path(source).is_file():
        return Path(source)
    if not _NAME.fullmatch(source):
        raise UsageError(
            f"{source!r} is no checkpoint: expected a local .pt file, or a published name such as yolo11n.pt, "
            "yolo11n-seg.pt, yolo11n-obb.pt, yolo11n-pose.pt or yolo11n-cls.pt"
        )
    import httpx

    target = scratch / source
    try:
        with httpx.stream("GET", _ASSETS + source, timeout=_TIMEOUT_S, follow_redirects=True) as answer:
            answer.raise_for_status()
            with target.open("wb") as file:
                for part in answer.iter_bytes():
                    file.write(part)
    except httpx.HTTPError as error:
        raise ServiceDown(
            f"{source} could not be downloaded from {_ASSETS}: {error}; download it elsewhere and give the file's path"
        ) from error
    return target


def _read(file: Path, source: str) -> Any:
    import_ultralytics()
    from ultralytics.nn import tasks

    if not tasks._SafeLoad.SUPPORTED:  # then ultralytics would fall back to running what a file says
        raise UsageError("this version of torch has no restricted reader for checkpoints; install torch 2.7 or later")
    try:
        loaded, _ = tasks.torch_safe_load(str(file), safe_only=True)
        return (loaded.get("ema") or loaded["model"]).float()
    except Exception as error:  # whatever torch, pickle and ultralytics raise for a file that is no checkpoint
        raise UsageError(
            f"{source} cannot be used: {_first_line(error)}; expected a checkpoint of ultralytics (.pt) "
            "that holds a network and nothing else"
        ) from error


def _described(network: Any, source: str) -> Checkpoint:
    kinds = {name: kind for kind, name in NETWORK_CLASSES.items()}
    kind = kinds.get(type(network).__name__)
    if kind is None:
        raise UsageError(f"{source} holds a {type(network).__name__}, expected one of {', '.join(kinds)}")
    try:
        names = network.names
        classes = tuple(
            str(names[index]) for index in (sorted(names) if isinstance(names, dict) else range(len(names)))
        )
        shape = network.model[-1].kpt_shape if kind == "pose" else None
        return Checkpoint(
            network, kind, classes, _image_size(network, kind), dict(network.yaml),
            (int(shape[0]), int(shape[1])) if shape else None, _point_names(network, classes),
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise UsageError(f"{source} is an incomplete {kind} checkpoint: {_first_line(error)}") from error


def _image_size(network: Any, kind: str) -> int:
    args = getattr(network, "args", None)
    size = (args.get("imgsz") if isinstance(args, dict) else getattr(args, "imgsz", None)) or 0
    size = max(size) if isinstance(size, list | tuple) else int(size)
    return size or (224 if kind == "classify" else 640)


def _point_names(network: Any, classes: tuple[str, ...]) -> Mapping[str, tuple[str, ...]] | None:
    """The names of each class's points, where the checkpoint tells them."""
    told = getattr(network, "kpt_names", None)
    if not isinstance(told, dict):
        return None
    return {classes[int(index)]: tuple(map(str, names)) for index, names in told.items()}


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
