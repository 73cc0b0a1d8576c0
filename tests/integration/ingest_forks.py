"""Ingests as processes of their own that kill themselves at a chosen point: after a write to Label Studio, a commit, a copy.

Run as a program it imports everything once and then forks for each line that it reads, so that a kill costs no start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from labelloop.settings import inherited_environment

ROOT = Path(__file__).parents[2]


class Forks:
    """That program; `run` starts one ingest in it."""

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={**inherited_environment(), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def run(self, url: str, folder: Path, kill_at: int | None = None, **labels: str) -> tuple[int, list[str]]:
        """The signal that ended the ingest of `folder`/pics (0: none), and the points that it passed."""
        trace = folder / "trace.txt"
        trace.unlink(missing_ok=True)
        asked = {"url": url, "folder": str(folder), "kill_at": kill_at, "labels": labels}
        assert self._program.stdin is not None and self._program.stdout is not None
        self._program.stdin.write(json.dumps(asked) + "\n")
        self._program.stdin.flush()
        ended = json.loads(self._program.stdout.readline())
        assert ended["exit"] == 0 or ended["signal"], (folder / "error.txt").read_text()
        return int(ended["signal"]), trace.read_text().splitlines() if trace.exists() else []

    def close(self) -> None:
        assert self._program.stdin is not None
        self._program.stdin.close()
        self._program.wait(timeout=60)
        if self._program.stdout is not None:
            self._program.stdout.close()


@contextmanager
def forks() -> Iterator[Forks]:
    """That program, while the block lasts."""
    made = Forks()
    try:
        yield made
    finally:
        made.close()


#: What a run imports on its way, so that a fork finds it there.
_PRELOADED = ("alembic.command", "imagehash", "sqlalchemy.dialects.sqlite", "sync.formats.coco", "sync.ingesting")


# -- in the program -----------------------------------------------------------------------------------------------------


def _watched(trace: Path, kill_at: int | None) -> Callable[[str], None]:
    passed = 0

    def point(name: str) -> None:
        nonlocal passed
        if threading.current_thread() is not threading.main_thread():
            return  # the lease is renewed whenever its time comes
        passed += 1
        with trace.open("a") as file:
            file.write(f"{name}\n")
        if passed == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return point


def _ingest(asked: dict[str, Any]) -> None:
    from labelloop.label_studio import LabelStudio
    from labelloop.settings import ProjectSettings
    from labelloop.store import Store, open_store
    from sync.ingesting import IngestOptions, IngestTarget, LabelOptions, LocalFiles, ingest, placing, running, scanning
    from sync.ingesting.journal import Journal

    folder = Path(asked["folder"])
    store = open_store(f"sqlite:///{folder / 'store.sqlite3'}")
    client = LabelStudio(asked["url"], "token")
    point = _watched(folder / "trace.txt", asked["kill_at"])
    placing.CHUNK, scanning.BATCH, running.LEASE_TTL_S = 3, 5, 0.5
    request, begin, writing, stage = client.request, Store.begin, Journal.writing, LocalFiles.stage

    def watched_request(method: Any, path: str, **rest: Any) -> Any:
        answer = request(method, path, **rest)
        if method != "GET":
            point(f"{method} {path}")
        return answer

    @contextmanager
    def watched_begin(self: Store) -> Iterator[Any]:
        with begin(self) as connection:
            yield connection
        point("store commit")

    @contextmanager
    def watched_writing(self: Journal) -> Iterator[None]:
        outermost = not self._db.in_transaction
        with writing(self):
            yield
        if outermost:
            point("journal commit")

    def watched_stage(self: LocalFiles, *args: Any, **rest: Any) -> str:
        address = stage(self, *args, **rest)
        point("file staged")
        return address

    client.request = watched_request  # type: ignore[method-assign]
    Store.begin, Journal.writing = watched_begin, watched_writing  # type: ignore[method-assign]
    LocalFiles.stage = watched_stage  # type: ignore[method-assign]
    labels = asked["labels"]
    wanted = LabelOptions(folder / "boxes.json", "coco", images=folder / "pics", **labels) if labels else None
    target = IngestTarget(
        client, store, 1, ProjectSettings(), folder / "ingest", LocalFiles(folder / "served")
    )  # fmt: skip
    ingest(target, str(folder / "pics") if wanted is None else None, IngestOptions(labels=wanted))


def _forked(asked: dict[str, Any]) -> dict[str, int]:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _ingest(asked)
            code = 0
        except BaseException as error:  # told to the test, which is another process
            (Path(asked["folder"]) / "error.txt").write_text(repr(error))
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, "exit": os.waitstatus_to_exitcode(status)}


def main() -> None:
    for name in _PRELOADED:
        import_module(name)

    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
