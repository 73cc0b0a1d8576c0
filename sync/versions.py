"""A model version as an artefact: named and published, whoever made it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labelloop import folders
from labelloop.errors import Cancelled, NotReady
from labelloop.store import ProjectRow
from labelloop.store.leases import holding
from labelloop.store.trainings import next_version
from sync.runtime import Runtime

LEASE_TTL_S = 30.0
#: Another one publishes its artefact meanwhile, perhaps to a slow bucket.
LEASE_WAIT_S = 1800.0


@dataclass(frozen=True)
class Version:
    """A published version: its name, the address of its artefact and the artefact's digest."""

    name: str
    path: str
    digest: str


@contextmanager
def published(runtime: Runtime, project: ProjectRow, folder: Path, digest: str) -> Iterator[Version]:
    """The project's next version with this artefact; the block must note it in the store.

    Under a lease, so that a training and a registration that end together get two names.
    """
    end = time.monotonic() + LEASE_WAIT_S
    while time.monotonic() < end:
        with holding(runtime.store, project.project_id, "version", LEASE_TTL_S) as lease:
            if lease is not None:
                name = next_version(runtime.store, project.project_id, project.backend)
                models = folders.join(runtime.services.artifacts, "models")
                _clear_unnoted(models, name)
                uri = folders.publish(folder, folders.join(models, f"{name}-{digest[:12]}"))
                try:
                    lease.check()
                    yield Version(name, uri, digest)
                except Cancelled:
                    # Any other error leaves it: its row may be there although the store could not say so.
                    folders.remove(uri)
                    raise
                return
        time.sleep(0.2)
    raise NotReady(f"another version of {project.title!r} is being published for {LEASE_WAIT_S:.0f} s; try again later")


def _clear_unnoted(models: str, name: str) -> None:
    """Remove artefacts of this name, which no row has yet: whoever published them was killed before it noted them."""
    for left in folders.names_starting(models, f"{name}-"):
        folders.remove(folders.join(models, left))
