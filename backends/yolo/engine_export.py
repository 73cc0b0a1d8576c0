"""Builds the engine of a version: the network converted to OpenVINO, kept where it is equal to PyTorch and faster."""

from __future__ import annotations

import logging
import platform
import shutil
import time
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

from backends.yolo.engine import load_model
from backends.yolo.images import letterbox, read_image
from backends.yolo.network import raw_network
from backends.yolo.openvino_runner import NETWORK_FILE, OpenVinoRunner, import_openvino, native_precisions
from backends.yolo.runners import RECORD_FILE, Runner, TorchRunner, engine_folder
from labelloop.errors import LabelloopError, MediaError

#: How far an engine's outputs may be from PyTorch's: scores and probabilities (0..1), boxes where a score is at least
#: SURE (input pixels), and what else a head says there (angles, masks, key points), as a share of its norm. On an
#: image without any such score the LIKELIEST are compared.
SCORE_TOLERANCE = 0.05
BOX_TOLERANCE_PX = 2.0
REST_TOLERANCE = 0.05
SURE = 0.25
LIKELIEST = 20
CHECKED_IMAGES = 8
_REPEATS = 3
_log = logging.getLogger(__name__)

Raw = tuple[list[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Difference:
    """How far an engine is from PyTorch on the checked images, at most; units as for the tolerances above."""

    score: float
    box_px: float
    rest: float
    features: float

    @property
    def tolerable(self) -> bool:
        """Whether all of it is within the tolerances."""
        return (
            self.score <= SCORE_TOLERANCE
            and self.box_px <= BOX_TOLERANCE_PX
            and self.rest <= REST_TOLERANCE
            and self.features <= REST_TOLERANCE
        )


@dataclass(frozen=True)
class EngineRecord:
    """engine.json: whether an engine was kept, in which precision, and what was measured."""

    kept: bool
    reason: str
    precision: str | None
    openvino: str
    torch: str
    cpu: str
    threads: int
    checked_images: int
    torch_images_per_s: float
    tried: list[dict[str, Any]] = field(default_factory=list)


def build_engine(
    model_folder: Path,
    *,
    images: Iterable[Path] = (),
    threads: int = 2,
    half: bool = True,
    to: Path | None = None,
) -> EngineRecord | None:
    """Build the engine of `model_folder` (model.json, weights.pt) into `to`, by default `engine_folder(model_folder)`.

    The precisions that this processor has are tried, fastest first, and the first one that is equal to PyTorch within
    the tolerances and faster is kept; without `half`, single precision alone is tried. It is checked on some of
    `images`, or on drawn ones. engine.json tells what was measured, also when nothing is kept. None, with one line in
    the log, when OpenVINO is missing or cannot convert the network: the version is then served by PyTorch. DataError
    when the model cannot be read.
    """
    folder = to or engine_folder(model_folder)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        record = _built(model_folder, folder, list(images), threads, half)
    except LabelloopError:
        raise
    except Exception as error:  # an optional speed-up: whatever a converter raises, PyTorch serves
        shutil.rmtree(folder, ignore_errors=True)
        _log.warning("no OpenVINO engine for %s, PyTorch will serve it: %s", model_folder, _first_line(error))
        return None
    _log.info("engine of %s: %s", model_folder, record.reason)
    return record


def _built(model_folder: Path, folder: Path, images: list[Path], threads: int, half: bool) -> EngineRecord:
    import torch

    openvino = import_openvino()
    model, spec = load_model(model_folder, "cpu")
    before = torch.get_num_threads()
    try:
        reference = TorchRunner(model, threads=threads)
        pixels = _example_pixels(images, spec.image_size)
        network = _converted(load_model(model_folder, "cpu")[0], pixels[:1])
        torch_speed, expected = _measured(reference, pixels)
    finally:
        torch.set_num_threads(before)
    tried: list[dict[str, Any]] = []
    kept: str | None = None
    for precision in native_precisions() if half else ("f32",):
        speed, found = _measured(OpenVinoRunner(network, precision=precision, threads=threads), pixels)
        difference = compare(expected, found, len(spec.classes))
        tried.append({"precision": precision, "images_per_s": round(speed, 2), "difference": asdict(difference)})
        if difference.tolerable and speed > torch_speed:
            kept = precision
            break
    folder.mkdir(parents=True)
    if kept:
        openvino.save_model(network, folder / NETWORK_FILE, compress_to_fp16=False)
    record = EngineRecord(
        kept is not None, _reason(kept, torch_speed, tried), kept, openvino.__version__, torch.__version__,
        _processor(), threads, len(pixels), round(torch_speed, 2), tried,
    )  # fmt: skip
    (folder / RECORD_FILE).write_bytes(orjson.dumps(asdict(record), option=orjson.OPT_INDENT_2))
    return record


def _converted(model: Any, pixels: NDArray[np.uint8]) -> Any:
    """The network as an OpenVINO model for one image at a time."""
    import torch

    network, example = raw_network(model), torch.from_numpy(pixels)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every size that becomes fixed, which is what is wanted
        network(example)  # sizes that the head remembers are set before they are traced
        traced = torch.jit.trace(network, example, check_trace=False)
        openvino = import_openvino()
        return openvino.convert_model(traced, input=[(list(pixels.shape), openvino.Type.u8)], example_input=example)


def _measured(runner: Runner, pixels: NDArray[np.uint8]) -> tuple[float, Raw]:
    """(images per second at best, outputs)."""
    found = runner.run(pixels)
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        runner.run(pixels)
        seconds.append(time.perf_counter() - began)
    return len(pixels) / min(seconds), found


def compare(expected: Raw, found: Raw, n_classes: int) -> Difference:
    """How far `found` is from `expected`: raw outputs and pooled features of the same images, as a Runner gives them."""
    (main, *other), features = expected
    (own, *own_other), own_features = found
    if main.ndim == 2:  # a classifier's probabilities
        return Difference(_largest(main - own), 0.0, 0.0, _share(features, own_features))
    boxes, scores, rest = np.split(main, [4, 4 + n_classes], axis=1)
    own_boxes, own_scores, own_rest = np.split(own, [4, 4 + n_classes], axis=1)
    sure = np.broadcast_to(_worth_comparing(scores)[:, None], boxes.shape)
    rest_sure = np.broadcast_to(sure[:, :1], rest.shape)
    shares = [_share(rest[rest_sure], own_rest[rest_sure]), *map(_share, other, own_other)]
    return Difference(
        _largest(scores - own_scores),
        _largest((boxes - own_boxes)[sure]),
        max(shares),
        _share(features, own_features),
    )


def _worth_comparing(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n, anchors): where an image's detections are, as far as (n, classes, anchors) scores tell."""
    best = scores.max(axis=1)
    likeliest = np.sort(best, axis=1)[:, -min(LIKELIEST, best.shape[1])]
    bound = np.where(best.max(axis=1) >= SURE, SURE, likeliest)
    found: NDArray[np.bool_] = best >= bound[:, None]
    return found


def _largest(differences: NDArray[np.float32]) -> float:
    return float(np.abs(differences).max(initial=0.0))


def _share(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    size = float(np.linalg.norm(expected))
    return float(np.linalg.norm(expected - found)) / size if size else 0.0


def _example_pixels(files: list[Path], side: int) -> NDArray[np.uint8]:
    pictures = []
    for file in files[:: max(1, len(files) // CHECKED_IMAGES)]:
        try:
            pictures.append(read_image(file))
        except MediaError:
            continue
    source = np.random.default_rng(0)
    while len(pictures) < CHECKED_IMAGES:
        coarse = source.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        pictures.append(Image.fromarray(coarse).resize((side, side * 3 // 4), Image.Resampling.BICUBIC))
    return np.stack([letterbox(picture, side)[0] for picture in pictures[:CHECKED_IMAGES]])


def _reason(kept: str | None, torch_speed: float, tried: list[dict[str, Any]]) -> str:
    last = tried[-1]
    speeds = f"{last['images_per_s']:.1f} images/s against {torch_speed:.1f} with PyTorch"
    if kept:
        return f"kept in {kept}: {speeds}"
    return f"not kept: no precision is both equal within the tolerances and faster; the last, {last['precision']}: {speeds}"


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        return str(import_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME"))
    except RuntimeError:
        return platform.processor() or platform.machine()


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
