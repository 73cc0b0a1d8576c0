"""The switch between CPU and GPU for trainings: a GPU only where one is asked for and CuPy is there to use it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


@contextmanager
def computing_on(device: str) -> Iterator[str]:
    """While it is open spaCy computes on a device ("cpu", "cuda", "cuda:1"); gives the device that it really is.

    Without CuPy or a GPU that is the CPU, with a warning: the device is set for all backends of a machine, and the model
    that comes out is the same, later.
    """
    if device == "cpu":
        yield device
        return
    from thinc.api import set_active_gpu, use_ops
    from thinc.compat import has_cupy, has_cupy_gpu

    if not has_cupy_gpu:
        missing = "no GPU was found" if has_cupy else "CuPy is not installed (pip install cupy-cuda12x)"
        log.warning("spaCy trains on the CPU instead of %s: %s", device, missing)
        yield "cpu"
        return
    number = device.rpartition(":")[2]
    with use_ops("cupy"):
        set_active_gpu(int(number) if number.isdigit() else 0)
        yield device
