"""Small networks of every kind with drawn weights whose outputs vary, as checkpoints, and pictures to show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from backends.yolo.engine import build_model, settle_statistics
from backends.yolo.model_spec import ModelSpec

SIDE = 160
ARCHITECTURES = {
    "detect": "yolo11n.yaml", "obb": "yolo11n-obb.yaml", "segment": "yolo11n-seg.yaml", "pose": "yolo11n-pose.yaml",
    "classify": "yolo11n-cls.yaml",
}  # fmt: skip
CLASSES = {
    "detect": ("cat", "dog"), "obb": ("ship", "plane"), "segment": ("leaf", "stone"), "pose": ("person",),
    "classify": ("day", "dusk", "night"),
}  # fmt: skip


def picture(seed: int, width: int, height: int) -> Image.Image:
    """A picture of soft blots with some sharp rectangles."""
    source = np.random.default_rng(seed)
    coarse = source.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    for _ in range(6):
        left, top = source.integers(0, width), source.integers(0, height)
        colour = tuple(int(value) for value in source.integers(0, 256, 3))
        image.paste(colour, (left, top, left + width // 6, top + height // 6))
    return image


def network(kind: str, folder: Path, *, architecture: str = "", seed: int = 0, side: int = SIDE) -> Any:
    """A network of a kind with drawn weights; its scores spread from near 0 to near 1 over a picture."""
    import torch

    torch.manual_seed(seed)
    shape = (17, 3) if kind == "pose" else None
    spec = ModelSpec(architecture or ARCHITECTURES[kind], CLASSES[kind], side, kind, point_shape=shape)
    model = build_model(spec)
    files = []
    for number in range(8):
        files.append(folder / f"statistics-{number}.png")
        picture(100 + number, side, side).save(files[-1])
    settle_statistics(model, files, side, "cpu")
    head = model.model[-1]
    with torch.no_grad():
        for name, bias in (("cv3", -4.0), ("one2one_cv3", -4.0)):
            for branch in getattr(head, name, None) or ():
                torch.nn.init.normal_(branch[-1].weight, std=0.12)
                branch[-1].bias.fill_(bias)
        for name in ("cv2", "one2one_cv2"):
            for branch in getattr(head, name, None) or ():
                torch.nn.init.normal_(branch[-1].weight, std=0.1)
                branch[-1].bias.copy_(-0.4 * torch.arange(head.reg_max).repeat(4))  # small boxes are likelier
        for name in ("cv4", "one2one_cv4"):
            for branch in getattr(head, name, None) or ():
                last = branch[-1] if isinstance(branch, torch.nn.Sequential) else branch
                torch.nn.init.normal_(last.weight, std=0.15)
        if kind == "classify":
            torch.nn.init.normal_(head.linear.weight, std=0.1)
    model.args = {"imgsz": side, "task": kind}
    model.task = kind
    return model


def checkpoint(kind: str, folder: Path, **more: Any) -> Path:
    """The file of such a network, as ultralytics writes it."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{kind}{more.get('seed', '')}.pt"
    model = network(kind, folder, **more)
    torch.save({"model": model, "ema": None, "train_args": {"imgsz": SIDE}, "epoch": -1}, file)
    return file
