"""Base weights to start from, where a project names some; without them a training starts cold."""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import Any

from backends.yolo.engine import import_ultralytics

_ASSETS = "https://github.com/ultralytics/assets/releases/download/v8.4.0/"
_NAME = re.compile(r"yolo11[nsmlx]\.pt")
_TIMEOUT_S = 20.0
_log = logging.getLogger(__name__)


def base_weights(checkpoint: str) -> Any | None:
    """The network of a base checkpoint (a local .pt file, or the name of a published one), or None with one warning.

    Loaded with torch's restricted reader: a file that would run code is refused.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="yolo-base-") as scratch:
            return _read(_fetched(checkpoint, Path(scratch)))
    except Exception as error:
        _log.warning("base weights %r were not used, training starts from scratch: %s", checkpoint, error)
        return None


def _fetched(checkpoint: str, scratch: Path) -> Path:
    if Path(checkpoint).is_file():
        return Path(checkpoint)
    if not _NAME.fullmatch(checkpoint):
        raise ValueError("expected a local .pt file or a published name such as yolo11n.pt")
    import httpx

    target = scratch / checkpoint
    with httpx.stream("GET", _ASSETS + checkpoint, timeout=_TIMEOUT_S, follow_redirects=True) as answer:
        answer.raise_for_status()
        with target.open("wb") as file:
            for part in answer.iter_bytes():
                file.write(part)
    return target


def _read(file: Path) -> Any:
    import_ultralytics()
    from ultralytics.nn.tasks import torch_safe_load

    loaded, _ = torch_safe_load(str(file), safe_only=True)
    return (loaded.get("ema") or loaded["model"]).float()
