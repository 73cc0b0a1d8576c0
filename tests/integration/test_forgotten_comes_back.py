"""A forgotten task that Label Studio shows again, as after a restored backup, is not read; forgetting on S3 from end to end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from labelloop.errors import ServiceError
from labelloop.settings import Settings
from labelloop.store.tables import revisions, tasks

sys.path.insert(0, str(Path(__file__).parent))
from fake_label_studio import PROJECT, FakeLabelStudio, Loop, make_loop
from mirror_steps import read, sweep

from sync.forgetting import forget
from sync.freezing import freeze, open_dataset

pytestmark = pytest.mark.integration
GONE = 2


class Forgetful(FakeLabelStudio):
    """With the one call more that forgetting makes."""

    def delete_task(self, task_id: int) -> None:
        if task_id not in self.tasks:
            raise ServiceError("not found", status=404)
        del self.tasks[task_id]

    def auth_headers(self) -> dict[str, str]:
        return {}


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = make_loop(tmp_path)
    made.remote.__class__ = Forgetful
    made.fill(4)
    made.label(range(1, 5))
    read(made)
    yield made
    made.runtime.media.close()
    made.store.close()


def present(loop: Loop) -> list[int]:
    return [task.task_id for task in loop.store.tasks(PROJECT)]


def said(loop: Loop) -> list[Any]:
    """What the store says of the task."""
    with loop.store.read() as connection:
        data = list(connection.execute(select(tasks.c.data).where(tasks.c.task_id == GONE)).scalars())
        return data + list(connection.execute(select(revisions.c.result).where(revisions.c.task_id == GONE)).scalars())


def test_it_is_not_read_again_when_label_studio_is_set_back(loop: Loop) -> None:
    before = loop.remote.tasks[GONE]
    forget(loop.runtime, loop.project, [GONE])
    loop.remote.tasks[GONE] = before
    loop.remote.annotate(GONE, "sea", person=9)
    for look in (read, sweep, read):
        look(loop)
        assert present(loop) == [1, 3, 4] and said(loop) == [{}, []]


def test_a_task_that_is_being_forgotten_is_not_read_before_it_is_gone(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise ServiceError("no", status=500)

    with monkeypatch.context() as patched:
        patched.setattr(Forgetful, "delete_task", away)
        with pytest.raises(ServiceError):
            forget(loop.runtime, loop.project, [GONE])
    loop.remote.annotate(GONE, "land", person=9)
    for look in (read, sweep):
        look(loop)
        assert present(loop) == [1, 3, 4]
    forget(loop.runtime, loop.project, [])
    assert said(loop) == [{}, []] and GONE not in loop.remote.tasks


def test_another_task_with_its_id_is_read(loop: Loop) -> None:
    forget(loop.runtime, loop.project, [GONE])
    loop.remote.add_task(GONE, {"text": "a new one"})
    loop.remote.annotate(GONE, "sea")
    read(loop)
    assert present(loop) == [1, GONE, 3, 4] and {"text": "a new one"} in said(loop)


def test_it_goes_from_a_bucket_and_from_the_local_copy_of_it(loop: Loop, bucket: Any) -> None:
    services = loop.runtime.services.model_copy(update={"artifacts_uri": "s3://labels/loop"})
    services.__dict__.pop("artifacts", None)
    loop.runtime.services = services
    loop.runtime.settings = Settings(services=services, defaults=loop.runtime.settings.defaults)
    made = freeze(loop.store, loop.project, "s3://labels/loop")
    cache = loop.runtime.scratch("datasets")
    assert len(open_dataset("s3://labels/loop", made, cache).labels) == 4
    report = forget(loop.runtime, loop.project, [GONE])
    assert report.datasets == [made] and not (cache / made).exists()
    again = open_dataset("s3://labels/loop", made, cache)
    assert again.forgotten == {GONE} and again.dataset_id == made
    assert GONE not in {task for split in ("train", "holdout") for task, _, _ in again.truth(split)}
