"""What runs a network: pixels in, raw outputs out, by torch or by the engine that was built for a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backends.yolo.engine import load_model
from backends.yolo.network import raw_network

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


def open_runner(model_folder: Path, *, device: str = "cpu", threads: int = 2) -> Runner:
    """The fastest runner for the model in `model_folder` (model.json, weights.pt) on this machine.

    DataError when the model cannot be read.
    """
    return TorchRunner(load_model(model_folder, device)[0], device=device, threads=threads)


class TorchRunner:
    """The network in PyTorch: in half precision on a GPU, in single precision elsewhere."""

    kind = "torch"

    def __init__(self, model: Any, *, device: str = "cpu", threads: int = 2) -> None:
        import torch

        torch.set_num_threads(threads)
        self._device = device
        on_gpu = device.startswith("cuda")
        self._network = raw_network(model, half=on_gpu).to(device)
        if on_gpu:
            self._network = self._network.to(memory_format=torch.channels_last)

    def run(self, pixels: Pixels) -> tuple[list[Floats], Floats]:
        """As Runner says."""
        import torch

        with torch.inference_mode():
            found = self._network(torch.from_numpy(pixels).to(self._device))
        *outputs, pooled = [each.cpu().numpy() for each in found]
        return outputs, pooled
