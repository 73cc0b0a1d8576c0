"""Media is fetched and decoded ahead of the model, in turn for each request, and only so far that memory stays bounded."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from backend_bench import IMAGE_CONFIG, PATIENCE_S, Asking, Bench, HeldModel, Media, reasons, request_of, task, until

from backends.answering import AHEAD
from labelloop.values import Outcome, TaskItem


@dataclass(frozen=True)
class Decoded(TaskItem):
    """A task with its image decoded."""

    pixels: str = ""


class Painter(HeldModel):
    """A model for images that are decoded ahead."""

    batch_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.prepared: list[int | None] = []
        self.outcome = lambda item: Outcome()

    def prepare(self, item: TaskItem) -> TaskItem:
        self.prepared.append(item.task_id)
        if item.task_id == 13:
            raise ValueError("cannot decode")
        return Decoded(item.task_id, item.data, item.media, pixels="ok")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path, clock=lambda: 0.0)
    found.model = Painter()
    found.serve(*range(1, 500))
    yield found
    found.model.release()  # type: ignore[attr-defined]
    found.close()


def images(*numbers: int) -> dict[str, Any]:
    return request_of(*[task(n, image=f"/data/upload/2/{n}.png") for n in numbers], config=IMAGE_CONFIG)


def painter(bench: Bench) -> Painter:
    assert isinstance(bench.model, Painter)
    return bench.model


def test_later_images_are_decoded_while_the_model_computes(bench: Bench) -> None:
    model = painter(bench)
    asking = Asking(lambda: bench.results(images(*range(1, 8))))
    model.wait_inside()
    until(lambda: len(model.prepared) == 7)
    model.release()
    assert reasons(asking.result()) == ["ok"] * 7
    assert all(isinstance(item, Decoded) for batch in model.asked for item in batch)


def test_only_so_many_images_are_decoded_ahead(bench: Bench) -> None:
    model = painter(bench)
    asking = Asking(lambda: bench.results(images(*range(1, 101))))
    model.wait_inside()
    until(lambda: len(model.prepared) == AHEAD[0])
    assert len(model.prepared) == AHEAD[0], "twice the batch, and no more while nothing is settled"
    model.release()
    assert reasons(asking.result()) == ["ok"] * 100
    assert len(model.prepared) == 100


def test_what_cannot_be_prepared_is_left_to_the_model(bench: Bench) -> None:
    model = painter(bench)
    model.release()
    assert reasons(bench.results(images(12, 13))) == ["ok", "ok"]
    kinds = {item.task_id: type(item) for batch in model.asked for item in batch}
    assert kinds == {12: Decoded, 13: TaskItem}


def test_images_that_cannot_be_fetched_hold_nothing_up(bench: Bench) -> None:
    painter(bench).release()
    body = images(*range(1, 60))
    for entry in body["tasks"][::2]:
        entry["data"]["image"] = "/data/upload/2/broken.png"
    assert reasons(bench.results(body)) == ["unreadable" if n % 2 == 0 else "ok" for n in range(59)]


class SlowMedia(Media):
    """Media that waits until the test lets it go on."""

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)
        self.asked: list[str] = []

    def fetch(self, address: str) -> Path:
        self.asked.append(address)
        assert self.go_on.acquire(timeout=PATIENCE_S)
        return super().fetch(address)


def test_l7_a_fetch_that_hangs_costs_a_request_no_more_than_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = SlowMedia()
    monkeypatch.setattr("backend_bench.Media", lambda: media)
    bench = Bench(tmp_path, predict_budget_s=0.2)
    bench.serve(*range(1, 50))
    bench.model.outcome = lambda item: Outcome()
    answer = bench.client.post("/predict", json=images(*range(1, 31))).get_json()
    assert answer["reasons"] == ["deadline"] * 30
    media.go_on.release(1000)
    bench.app.extensions["answering"]._budget_s = PATIENCE_S
    assert reasons(bench.results(images(40))) == ["ok"]
    assert len(media.asked) <= 9, "what nobody waits for any more is not fetched"
    bench.close()


def test_a_lone_image_is_fetched_in_turn_with_a_large_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = SlowMedia()
    monkeypatch.setattr("backend_bench.Media", lambda: media)
    bench = Bench(tmp_path, clock=lambda: 0.0)
    bench.serve(*range(1, 200))
    bench.model.outcome = lambda item: Outcome()
    large = Asking(lambda: bench.results(images(*range(1, 101))))
    until(lambda: len(media.asked) == 8)  # every thread is busy with it
    small = Asking(lambda: bench.results(images(150)))
    until(lambda: _waits(bench, 2))
    media.go_on.release(2)
    until(lambda: any("150" in address for address in media.asked))
    assert len(media.asked) <= 10, "the lone image came after at most one more of the large request"
    media.go_on.release(1000)
    assert reasons(small.result()) == ["ok"]
    assert reasons(large.result()) == ["ok"] * 100
    bench.close()


def _waits(bench: Bench, owners: int) -> bool:
    """Whether so many requests have tasks that wait to be fetched."""
    prefetch = bench.app.extensions["answering"]._prefetch
    return len(prefetch._turns._lanes) == owners
