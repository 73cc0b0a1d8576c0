"""Runs a network that was converted to OpenVINO: one image per stream, as many streams as there are threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NETWORK_FILE = "network.xml"
#: Beyond that, further threads work inside a stream: each stream holds a network's intermediate results in memory.
MOST_STREAMS = 4
_GREY = 114


def import_openvino() -> Any:
    """OpenVINO, without the usage data that it would otherwise send at its import; ImportError when it is missing."""
    if "openvino" not in sys.modules:
        # It takes this package for missing then, and its own stand-in, which sends nothing.
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino  # type: ignore[import-untyped,unused-ignore]

    return openvino


def native_precisions() -> tuple[str, ...]:
    """The precisions that this machine's processor computes natively, the fastest first; "f32" is always the last."""
    able = set(import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return (*(name for name in ("bf16", "f16") if {"bf16": "BF16", "f16": "FP16"}[name] in able), "f32")


class OpenVinoRunner:
    """A converted network on the CPU; see backends.yolo.runners.Runner.

    `network` is network.xml or a model in memory. Each of the streams computes one image at a time, on a core of its
    own: two images side by side take less than one after the other on two cores, because a small network leaves
    much of a second core idle. An image does not wait for a batch.
    """

    kind = "openvino"

    def __init__(self, network: Path | Any, *, precision: str, threads: int = 2) -> None:
        core = import_openvino().Core()
        streams = max(1, min(threads, MOST_STREAMS))
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            # A pinned thread waits for its core while another process is there, though the next core may be idle.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = core.compile_model(network, "CPU", options)
        self._local = threading.local()
        self._streams = ThreadPoolExecutor(streams, thread_name_prefix="openvino")
        side = int(self._compiled.input(0).shape[1])
        outputs, pooled = self.run(np.full((1, side, side, 3), _GREY, dtype=np.uint8))
        if not all(np.isfinite(each).all() for each in (*outputs, pooled)):
            raise RuntimeError("the network gives numbers that are not finite on this machine")

    def run(self, pixels: NDArray[np.uint8]) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
        """As Runner says."""
        found = list(self._streams.map(self._one, pixels))
        *outputs, pooled = [np.concatenate(each) for each in zip(*found, strict=True)]
        return outputs, pooled

    def each(self, pixels: NDArray[np.uint8]) -> Iterator[tuple[list[NDArray[np.float32]], NDArray[np.float32]]]:
        """As Runner says."""
        for *outputs, pooled in self._streams.map(self._one, pixels):
            yield [output[0] for output in outputs], pooled[0]

    def _one(self, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        return list(request.infer({0: np.ascontiguousarray(image[None])}, share_inputs=True).values())
