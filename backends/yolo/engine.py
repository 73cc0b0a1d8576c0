"""The networks: built, saved and loaded without pickled code, quiet and offline."""

from __future__ import annotations

import copy
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from backends.yolo.images import letterbox, read_image
from backends.yolo.model_spec import ModelSpec, read_spec, write_spec
from labelloop.errors import DataError
from labelloop.settings import set_library_environment

WEIGHTS_FILE = "weights.pt"
#: The class of ultralytics.nn.tasks that builds a network of each kind.
NETWORK_CLASSES = {
    "detect": "DetectionModel", "obb": "OBBModel", "segment": "SegmentationModel", "pose": "PoseModel",
    "classify": "ClassificationModel",
}  # fmt: skip


def import_ultralytics() -> None:
    """Import ultralytics so that it looks nothing up on the network, reports nothing, and writes nothing into the home.

    It reads its environment and settings once, at import; its settings folder is scratch and removed at once.
    """
    if "ultralytics" in sys.modules:
        _silence()
        return
    with tempfile.TemporaryDirectory(prefix="yolo-settings-") as scratch:
        set_library_environment(
            {
                "YOLO_CONFIG_DIR": scratch,
                "YOLO_OFFLINE": "true",
                "YOLO_AUTOINSTALL": "false",
                "YOLO_VERBOSE": "false",
                # Threads that spin while they wait slow everything down where cores are shared with other services.
                "OMP_WAIT_POLICY": "PASSIVE",
            }
        )
        import ultralytics  # noqa: F401

        _silence()


def _silence() -> None:
    """Undo what importing ultralytics does to the process: logs on stdout, integrations, another Image.open."""
    from PIL import Image
    from ultralytics.utils import LOGGER, SETTINGS, patches

    Image.open = getattr(patches, "_image_open", Image.open)
    LOGGER.handlers.clear()
    LOGGER.propagate = True
    LOGGER.setLevel(logging.WARNING)
    for key in ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb"):
        dict.__setitem__(SETTINGS, key, False)  # SETTINGS' own setter writes its file


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def build_model(spec: ModelSpec, seed: int | None = None) -> Any:
    """A network with random weights for the classes of `spec`; the same ones for the same seed."""
    import_ultralytics()
    from ultralytics.nn import tasks

    if seed is not None:
        import torch  # not earlier: threads wait as their library is told when it is loaded

        torch.manual_seed(seed)
    tasks.SAFE_LOAD = True  # a foreign description may hold an expression, which would be evaluated otherwise
    shape = {"data_kpt_shape": spec.point_shape} if spec.kind == "pose" else {}
    network_class = getattr(tasks, NETWORK_CLASSES[spec.kind])
    model = network_class(copy.deepcopy(spec.architecture), nc=len(spec.classes), verbose=False, **shape)
    model.names = dict(enumerate(spec.classes))
    head = model.model[-1]
    if hasattr(head, "end2end"):
        head.end2end = False  # a head that drops its doubles itself keeps only its surest 300: the floor is ours
    return model


def save_model(model: Any, spec: ModelSpec, folder: Path) -> None:
    """Write weights.pt (tensors only) and model.json into `folder`."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    torch.save(tensors, folder / WEIGHTS_FILE)
    write_spec(spec, folder)


def read_weights(folder: Path) -> dict[str, Any]:
    """The tensors of `folder`/weights.pt, loaded without running anything in it; DataError when they cannot be read."""
    import pickle

    import torch

    try:
        tensors: dict[str, Any] = torch.load(folder / WEIGHTS_FILE, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{folder / WEIGHTS_FILE} cannot be read: {error}; make this version again") from error
    return tensors


def load_model(folder: Path, device: str) -> tuple[Any, ModelSpec]:
    """The network of a version, ready to predict on `device`; DataError when weights and spec do not fit."""
    spec = read_spec(folder)
    model = build_model(spec)
    try:
        model.load_state_dict(read_weights(folder))
    except RuntimeError as error:
        raise DataError(f"{folder}: {WEIGHTS_FILE} does not fit model.json: {error}") from error
    return model.to(device).eval(), spec


def copy_weights(model: Any, tensors: Mapping[str, Any], own: Sequence[str], source: Sequence[str]) -> int:
    """Take over every tensor that fits, and of a class layer the rows of the classes that both have.

    `own` and `source` are the class names of the model and of the tensors. Returns the number of tensors taken over.
    """
    import torch

    state = model.state_dict()
    pairs = [(own.index(name), source.index(name)) for name in own if name in source]
    taken = 0
    with torch.no_grad():
        for name, value in tensors.items():
            target = state.get(name)
            if target is None or target.shape[1:] != value.shape[1:]:
                continue
            is_class_layer = target.ndim > 0 and _class_layer(name) and len(value) == len(source)
            if is_class_layer and list(own) != list(source):
                for to, origin in pairs:
                    target[to] = value[origin]
            elif target.shape == value.shape:
                target.copy_(value)
            else:
                continue
            taken += 1
    return taken


def _class_layer(name: str) -> bool:
    """Whether a tensor belongs to the last layer of the class branch, or of a classifier: its rows are the classes."""
    return ".linear." in name or (".cv3." in name and name.rsplit(".", 2)[-2] == "2" and name.count(".") == 5)


def settle_statistics(model: Any, files: Sequence[Path], side: int, device: str) -> None:
    """Measure the normalisation statistics of a trained network anew on up to 256 images.

    The running ones lag behind the weights after a short training.
    """
    import torch
    from torch.optim.swa_utils import update_bn

    def batches() -> Iterator[Any]:
        for start in range(0, min(len(files), 256), 16):
            pixels = np.stack([letterbox(read_image(file), side)[0] for file in files[start : start + 16]])
            yield torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).to(device).float() / 255

    model.eval()
    update_bn(batches(), model)
