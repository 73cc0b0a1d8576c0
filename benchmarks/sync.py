"""The sync of a project of annotated tasks, beside Label Studio's own JSON export of it, on a real stock Label Studio."""

from __future__ import annotations

import itertools
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks._comparison import arguments, in_turn, show
from labelloop.label_studio import LabelStudio
from labelloop.services.local import up
from labelloop.settings import ServiceSettings
from labelloop.store import Store, open_store
from labelloop.store.leases import holding
from sync.mirror import Mirror, Mirrored
from sync.mirroring.configs import follow_config
from sync.roles import RolePolicy

TASKS, BOXES, CHANGES = 20_000, 8, 10
CHUNK = 1000
#: Of Label Studio's own time for the first sync; seconds for the one after ten changes.
FIRST_AT_MOST, CHANGED_AT_MOST_S = 1.5, 2.0
ENVS = Path(__file__).parents[1] / ".labelloop" / "envs"
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    '<Label value="car"/><Label value="dog"/></RectangleLabels></View>'
)


class Counted(LabelStudio):
    """The client, counting its requests."""

    requests = 0

    def answered(self, *given: Any, **more: Any) -> httpx.Response:
        self.requests += 1
        return super().answered(*given, **more)


@dataclass
class Site:
    """A project in Label Studio, and as many empty stores as wanted."""

    client: Counted
    project_id: int
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_store(self) -> Store:
        store = open_store(f"sqlite:///{self.folder}/store{next(self.numbers)}.sqlite3")
        store.put_project(
            project_id=self.project_id, title="benchmark", task_type="bbox", backend="yolo", label_config=CONFIG,
            settings={}, holdout_threshold=0.1,
        )  # fmt: skip
        return store

    def synced(self, store: Store) -> Mirrored:
        """One sync as a reconcile does it, without what the reconcile does with the labels."""
        project = store.project(self.project_id)
        if project is None:
            raise RuntimeError("the benchmark's project is not in its store")
        with holding(store, self.project_id, "sync", 60) as lease:
            if lease is None:
                raise RuntimeError("another process syncs into the benchmark's store")
            project = follow_config(store, self.client, project, lease)
            return Mirror(store, self.client, project, RolePolicy(project.salt, 0.1, 0.15, 0.15), lease).read()


def boxes(number: int) -> list[dict[str, Any]]:
    """The regions of one annotation."""
    return [
        {
            "id": f"r{number}-{n}", "from_name": "label", "to_name": "image", "type": "rectanglelabels",
            "original_width": 640, "original_height": 480, "image_rotation": 0,
            "value": {"x": (number + n) % 80, "y": (number * 3 + n) % 80, "width": 10.5, "height": 7.25, "rotation": 0,
                      "rectanglelabels": ["car" if n % 2 else "dog"]},
        }
        for n in range(BOXES)
    ]  # fmt: skip


def fill(client: Counted, tasks: int) -> int:
    """A project with so many annotated tasks, imported one request after the other and counted; its id."""
    project_id = int(client.create_project("benchmark", CONFIG)["id"])
    for start in range(0, tasks, CHUNK):
        rows = [
            {
                "data": {"image": f"/data/{n}.jpg"},
                "annotations": [{"id": n + 1, "result": boxes(n), "lead_time": 3.5, "ground_truth": False}],
            }
            for n in range(start, min(start + CHUNK, tasks))
        ]
        client.import_tasks(project_id, rows)
    counts = client.counts(project_id)
    if (counts.tasks, counts.annotations) != (tasks, tasks):
        raise RuntimeError(f"expected {tasks} tasks with an annotation each, Label Studio has {counts}")
    return project_id


def exported(site: Site) -> int:
    """Label Studio's JSON export, to a file as a browser takes it; its bytes."""
    file = site.folder / "export.json"
    with (
        site.client.streamed(
            f"/api/projects/{site.project_id}/export", params={"exportType": "JSON"}, timeout_s=1800
        ) as pieces,
        file.open("wb") as out,
    ):
        return sum(out.write(piece) for piece in pieces)


@contextmanager
def site(tasks: int) -> Iterator[Site]:
    """A Label Studio with that project, while the block lasts."""
    with (
        tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as name,
        up(ServiceSettings(data=Path(name)), lambda line: None, names=("label-studio",), envs=ENVS) as run,
        Counted(run.services.label_studio_url, run.services.token()) as client,
    ):
        yield Site(client, fill(client, tasks), Path(name))


def first_sync(place: Site, tasks: int, repeats: int) -> dict[str, Any]:
    """The first sync into a new store each time, in turn with the export."""
    stores: list[Store] = []

    def ours() -> int:
        stores.append(place.new_store())
        return place.synced(stores[-1]).revisions_added

    timings = in_turn(ours, lambda: exported(place), repeats)
    for store in stores[:-1]:
        store.close()
    measured = timings.to_json()
    return {
        "what": f"first sync of {tasks} annotated tasks x {BOXES} boxes",
        "peer": "Label Studio's JSON export",
        **measured,
        "must_be": round(1 / FIRST_AT_MOST, 3),
        "equal": timings.ours == tasks and measured["ratio"] >= 1 / FIRST_AT_MOST,
        "revisions": timings.ours,
        "export_bytes": timings.peer,
        "largest_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def changed_sync(place: Site, tasks: int) -> dict[str, Any]:
    """The sync after some labels were made, right after a first sync; the export again is what it saves."""
    store = place.new_store()
    place.synced(store)
    changed = store.tasks(place.project_id)[:: max(1, tasks // CHANGES)][:CHANGES]
    for task in changed:
        body = {"result": boxes(task.task_id), "lead_time": 2.0}
        place.client.request("POST", f"/api/tasks/{task.task_id}/annotations/", json=body)
    place.client.requests = 0
    began = time.perf_counter()
    found = place.synced(store)
    ours = time.perf_counter() - began
    asked = place.client.requests
    began = time.perf_counter()
    exported(place)
    peer = time.perf_counter() - began
    store.close()
    return {
        "what": f"sync after {len(changed)} changes in {tasks} tasks",
        "peer": "Label Studio's JSON export",
        "repeats": 1,
        "ours_s": round(ours, 6),
        "peer_s": round(peer, 6),
        **dict.fromkeys(("ratio", "ratio_low", "ratio_high"), round(peer / ours, 3)),
        "must_be_s": CHANGED_AT_MOST_S,
        "equal": found.revisions_added == len(changed) and ours <= CHANGED_AT_MOST_S,
        "requests": asked,
    }


def measure(repeats: int, tasks: int = TASKS) -> list[dict[str, Any]]:
    """Both syncs of one project; Label Studio is started and filled before the clock starts."""
    with site(tasks) as place:
        return [first_sync(place, tasks, repeats), changed_sync(place, tasks)]


def main() -> None:
    """Print the comparison."""
    given = arguments(__doc__ or "", repeats=2)
    show("sync", measure(given.repeats), as_json=given.json)


if __name__ == "__main__":
    main()
