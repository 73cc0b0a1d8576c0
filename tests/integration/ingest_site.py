"""A project on a store, the Label Studio that outlives an ingest, and folders to bring in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ingest_remote import IngestRemote, ingest_remote
from PIL import Image

from labelloop.label_studio import LabelStudio
from labelloop.settings import ProjectSettings
from labelloop.store import Store
from sync.ingesting import IngestOptions, IngestReport, IngestTarget, LocalFiles, ingest

TEXTS = (
    '<View><Text name="text" value="$text"/><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/>'
    '</Labels><Choices name="topic" toName="text"><Choice value="sea"/><Choice value="land"/></Choices></View>'
)
BOXES = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="circle"/>'
    '<Label value="square"/></RectangleLabels></View>'
)
WORDS = [f"word{n}" for n in range(900)]


class Site:
    """What a test looks at: both sides and the report's files."""

    def __init__(self, folder: Path, remote: IngestRemote, client: LabelStudio, store: Store, config: str) -> None:
        self.folder, self.remote, self.client, self.store = folder, remote, client, store
        store.put_project(
            project_id=1, title="P", task_type="t", backend="b", label_config=config, settings={}
        )  # fmt: skip
        files = LocalFiles(folder / "served")
        self.target = IngestTarget(client, store, 1, ProjectSettings(), folder / "ingest", files)

    def ingest(self, address: Path | str | None, **options: Any) -> IngestReport:
        return ingest(self.target, None if address is None else str(address), IngestOptions(**options))

    def agree(self) -> None:
        """Label Studio and the store have the same tasks once each, with the same meta and number of people."""
        rows = {row.task_id: row for row in self.store.tasks(1)}
        assert rows.keys() == self.remote.tasks.keys()
        for task_id, task in self.remote.tasks.items():
            mark = task["meta"]["labelloop"]
            assert (rows[task_id].content_hash, rows[task_id].group_key) == (mark["content"], mark["group"])
            assert (rows[task_id].overlap, dict(rows[task_id].data)) == (task["overlap"], task["data"])
        assert len(set(self.remote.marks())) == len(self.remote.tasks)

    def roles(self) -> dict[str, set[str]]:
        """The roles of each group."""
        found: dict[str, set[str]] = {}
        for row in self.store.tasks(1):
            found.setdefault(row.group_key, set()).add(row.role)
        return found


@contextmanager
def ingest_site(folder: Path, store: Store, config: str) -> Iterator[Site]:
    """That project, while the block lasts."""
    with ingest_remote() as remote, LabelStudio(remote.url, "token") as client:
        yield Site(folder, remote, client, store, config)


def lines(path: Path | None) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    assert path is not None
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def words(seed: int, count: int = 40) -> str:
    """A text that is like no other of another seed."""
    rng = np.random.default_rng(seed)
    return " ".join(WORDS[n] for n in rng.integers(0, len(WORDS), count))


def picture(path: Path, seed: int, size: tuple[int, int] = (64, 48)) -> Path:
    """An image that is near none of another seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 255, (24, 32), dtype=np.uint8))
    small.resize(size, Image.Resampling.BICUBIC).convert("RGB").save(path)
    return path
