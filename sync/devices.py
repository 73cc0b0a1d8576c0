"""One training at a time on a GPU that serves too: turns by a lease of the store, and a bounded share of its memory."""

from __future__ import annotations

import hashlib
import logging
import re
import socket
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from labelloop.store import Store
from labelloop.store.leases import HeldLease, holder, holding

log = logging.getLogger(__name__)

#: The lease of a device belongs to no project.
NO_PROJECT = 0
LEASE_TTL_S = 30.0
#: How often a training that waits for its turn looks again.
LOOK_EVERY_S = 1.0


def gpu_name(device: str) -> str | None:
    """The GPU that a device setting means, as "cuda:0"; None for a CPU."""
    if not device.startswith("cuda"):
        return None
    return device if ":" in device else f"{device}:0"


def lease_kind(gpu: str, host: str) -> str:
    """The kind of lease for one GPU of one host."""
    return f"gpu-{hashlib.sha256(f'{host} {gpu}'.encode()).hexdigest()[:12]}"


@contextmanager
def turn_on(
    store: Store, project_id: int, device: str, check: Callable[[], None], tell: Callable[[str], None]
) -> Iterator[HeldLease | None]:
    """Wait until no other training works on this host's GPU, and keep it meanwhile; None at once for a CPU.

    `check` ends the wait by an error of its own; `tell` is told what is waited for.
    """
    gpu = gpu_name(device)
    if gpu is None:
        yield None
        return
    kind = lease_kind(gpu, socket.gethostname())
    while True:
        with holding(store, NO_PROJECT, kind, LEASE_TTL_S, f"p{project_id}-") as lease:
            if lease is not None:
                yield lease
                return
        check()
        tell(_waits(holder(store, NO_PROJECT, kind)))
        time.sleep(LOOK_EVERY_S)


def _waits(owner: str | None) -> str:
    found = re.match(r"p(\d+)-", owner or "")
    return "waits for the GPU" + (f" (project {found[1]} trains on it)" if found else "")


def bound_gpu_memory(device: str, share: float, libraries: Collection[str]) -> None:
    """Let this process take at most that share of the GPU's memory, so that what serves there keeps the rest.

    `libraries` are those that the training computes with: PyTorch where it is one of them, else CuPy where it is there.
    """
    gpu = gpu_name(device)
    if gpu is None or share >= 1.0:
        return
    if "torch" in libraries:
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_per_process_memory_fraction(share, torch.device(gpu))
    elif find_spec("cupy") is not None:
        cupy = import_module("cupy")
        with cupy.cuda.Device(int(gpu.rpartition(":")[2])):
            cupy.get_default_memory_pool().set_limit(fraction=share)
