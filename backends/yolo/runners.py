"""What runs a network: pixels in, raw outputs out, by torch or by the engine that was built for a version."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from backends.yolo.engine import load_model
from backends.yolo.network import raw_network
from backends.yolo.openvino_runner import NETWORK_FILE, OpenVinoRunner, native_precisions

RECORD_FILE = "engine.json"
#: Images that PyTorch computes at once: on a CPU more of them take memory and are no faster.
CPU_BATCH, GPU_BATCH = 4, 32
_log = logging.getLogger(__name__)

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Runner(Protocol):
    """A loaded network; `run` may be called from several threads."""

    kind: str

    def run(self, pixels: Pixels) -> tuple[list[Floats], Floats]:
        """(the head's raw outputs, pooled features (n, f)) of a batch (n, side, side, 3) in RGB.

        Raw outputs by task kind, with nc classes, boxes as centre x, centre y, width, height in input pixels:
        detect [(n, 4 + nc, anchors)], segment [(n, 4 + nc + 32, anchors), prototypes (n, 32, side / 4, side / 4)],
        obb [(n, 4 + nc + 1, anchors)] with the angle in radians last, pose [(n, 4 + nc + 3 k, anchors)],
        classify [(n, nc)].
        """

    def each(self, pixels: Pixels) -> Iterator[tuple[list[Floats], Floats]]:
        """As `run`, image by image without the first dimension, each as soon as it is known.

        What the caller does with one image then costs no time while the next ones are computed.
        """


def engine_folder(model_folder: Path) -> Path:
    """Where the engine of `<version>/model/<kind>` lies: `<version>/engine/openvino/<kind>`."""
    return model_folder.parent.parent / "engine" / "openvino" / model_folder.name


def open_runner(
    model_folder: Path, *, device: str = "cpu", threads: int = 2, half: bool = True, engine: Path | None = None
) -> Runner:
    """The fastest runner on this machine for the model in `model_folder` (model.json, weights.pt).

    On a CPU that is the engine in `engine` (by default `engine_folder(model_folder)`), where one was kept when the
    version was made; when it does not work here, PyTorch serves and one line in the log says why. Without `half`
    everything is computed in single precision, on a GPU too. DataError when the model cannot be read.
    """
    built = engine or engine_folder(model_folder)
    if device == "cpu" and (built / NETWORK_FILE).is_file():
        try:
            return _engine_runner(built, threads, half)
        except Exception as error:  # an optional speed-up: whatever its library raises, PyTorch serves
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            _log.warning("the engine in %s does not work here, PyTorch serves: %s", built, reason)
    return TorchRunner(load_model(model_folder, device)[0], device=device, threads=threads, half=half)


def _engine_runner(built: Path, threads: int, half: bool) -> Runner:
    precision = str(orjson.loads((built / RECORD_FILE).read_bytes())["precision"])
    if not half:
        precision = "f32"
    elif precision not in native_precisions():
        _log.info("%s was built for %s, which this processor lacks; it computes in f32", built, precision)
        precision = "f32"
    return OpenVinoRunner(built / NETWORK_FILE, precision=precision, threads=threads)


class TorchRunner:
    """The network in PyTorch: on a GPU in half precision, if `half`, and in single precision elsewhere."""

    kind = "torch"

    def __init__(self, model: Any, *, device: str = "cpu", threads: int = 2, half: bool = True) -> None:
        import torch

        torch.set_num_threads(threads)
        self._device = device
        on_gpu = device.startswith("cuda")
        self._batch = GPU_BATCH if on_gpu else CPU_BATCH
        self._network = raw_network(model, half=half and on_gpu).to(device)
        if on_gpu:
            self._network = self._network.to(memory_format=torch.channels_last)

    def run(self, pixels: Pixels) -> tuple[list[Floats], Floats]:
        """As Runner says."""
        parts = [self._batch_of(pixels, start) for start in range(0, len(pixels), self._batch)]
        *outputs, pooled = [np.concatenate(each) for each in zip(*parts, strict=True)]
        return outputs, pooled

    def each(self, pixels: Pixels) -> Iterator[tuple[list[Floats], Floats]]:
        """As Runner says."""
        for start in range(0, len(pixels), self._batch):
            *outputs, pooled = self._batch_of(pixels, start)
            for number in range(len(pooled)):
                yield [output[number] for output in outputs], pooled[number]

    def _batch_of(self, pixels: Pixels, start: int) -> list[Floats]:
        import torch

        with torch.inference_mode():
            images = torch.from_numpy(pixels[start : start + self._batch]).to(self._device)
            return [each.cpu().numpy() for each in self._network(images)]
