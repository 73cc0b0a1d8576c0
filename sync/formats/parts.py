"""Writes the parts of an export, in this process or in several, and asks again for a part whose image sizes were missing."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson

from labelloop.collecting import cycles_uncollected
from labelloop.errors import ServiceError
from labelloop.lifeline import die_with_parent
from sync.formats import provenance
from sync.formats.examples import (
    Example,
    ImageKey,
    Picture,
    addresses_of,
    image_keys,
    media_path,
    picture_name,
    rebased,
    size_in,
    size_in_meta,
)
from sync.formats.format import Part, PartDone, Plan, fragment_path
from sync.formats.image_names import Claims
from sync.formats.media import MediaDesk, PartMedia
from sync.formats.registry import load_format
from sync.formats.report import SKIPPED, TOLD
from sync.formats.sources import Found, Source

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """One part to write. `media` is what is known of its images' files; `unsized` tells of those without a size."""

    plan: Plan
    source: Source
    number: int
    folder: Path
    scratch: Path
    twice: frozenset[str]
    media: PartMedia = field(default_factory=PartMedia)


#: A part as it was written, and the addresses of images whose size it would have needed.
Written = tuple[PartDone, tuple[str, ...]]


def write_part(job: Job) -> Written:
    """Write one part; what it became, and the addresses of images whose size it would have needed."""
    form = load_format(job.plan.format)
    part = Part(job.number, job.folder, job.scratch, job.media)
    keys = image_keys(job.plan.config)
    found = Found(Claims(keys))
    try:
        with cycles_uncollected():
            read = job.source.examples(job.number, job.plan.options, found)
            form.write(job.plan, _with_pictures(read, keys, job) if keys else read, part)
    finally:
        part.close()
    _keep(job, part)
    done = PartDone(
        job.number,
        dict(part.items),
        dict(part.objects),
        part.notes,
        bytes(found.entries),
        bytes(found.claims.ids),
        bytes(found.claims.names),
        dict(found.left_out),
        tuple(part.skipped[:TOLD]),
        len(part.skipped),
    )
    return done, tuple(part.unsized)


def _keep(job: Job, part: Part) -> None:
    """The part's provenance and what it left out, as fragments."""
    if len(part.provenance):
        part.provenance.save(fragment_path(job.scratch, provenance.FILE, job.number))
    if part.skipped:
        lines = [orjson.dumps({"task_id": task_id, "reason": reason}) for task_id, reason in part.skipped]
        fragment_path(job.scratch, SKIPPED, job.number).write_bytes(b"\n".join([*lines, b""]))


def _with_pictures(examples: Iterator[Example], keys: Sequence[ImageKey], job: Job) -> Iterator[Example]:
    options = job.plan.options
    for example in examples:
        found = list(addresses_of(example.data, keys))
        for key, index, address in found:
            name = picture_name(media_path(address), example.task_id, index, job.twice)
            picture = Picture(key.to_name, index, address, name, rebased(address, name, options.rebase), None)
            example.pictures.append(picture)
        for picture in example.pictures:
            # What the file itself says goes first: labels may carry the size of another copy.
            known = job.media.sizes.get(picture.address) or size_in(example.regions_on(picture))
            picture.size = known or (size_in_meta(example.meta) if len(found) == 1 else None)
            picture.file = job.media.files.get(picture.address)
        yield example


class PartRunner:
    """Runs jobs in order of their numbers: `workers` processes, or this one alone.

    A context, which ends them; ServiceError when one of them was killed.
    """

    #: A source of fewer bytes is written faster than processes start.
    SMALL = 8 << 20

    def __init__(self, workers: int, format: str) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None
        if workers > 1:
            context = multiprocessing.get_context(_start_method())
            self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(),))
            # They start, and import what they need, while this process looks at the names.
            for _ in range(workers):
                self._pool.submit(_warm, format)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise ServiceError(
                "a process of the export was killed (out of memory?); nothing was kept, run it again, or with --workers 1"
            ) from error

    def beside(self, work: Callable[..., Result], *given: Any) -> Future[Result]:
        """Work of a top level function, done by another process while this one goes on; done already where there is none."""
        if self._pool is not None:
            return self._pool.submit(work, *given)
        future: Future[Result] = Future()
        future.set_result(work(*given))
        return future

    def run(self, jobs: Sequence[Job], desk: MediaDesk | None) -> Iterator[PartDone]:
        """The parts as they are done, in order."""
        running: deque[tuple[Job, Future[Written]]] = deque()
        waiting = iter(jobs)
        while True:
            while len(running) < 2 * self._workers and (job := next(waiting, None)) is not None:
                job = _with_files(job, desk)
                running.append((job, self.beside(write_part, job)))
            if not running:
                return
            job, future = running.popleft()
            done, unsized = future.result()
            if desk is not None and unsized:
                done, _ = self.beside(write_part, _with_sizes(job, desk, unsized)).result()
            yield done


def _begin(parent: int) -> None:
    """What a process does first. It is one of several: libraries that start threads for each core are to start one."""
    from labelloop.settings import THREAD_COUNTS, set_library_environment

    die_with_parent(parent)
    set_library_environment(dict.fromkeys(THREAD_COUNTS, "1"))


def _warm(format: str) -> None:
    """Import what writing a format takes."""
    for library in ("pyarrow", *load_format(format).libraries):
        import_module(library)


def _start_method() -> str:
    """How processes start: by a fork, which costs nothing, unless a library has started threads that a fork would lose."""
    threads = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 2
    return "fork" if threads == 1 else "spawn"


def _with_files(job: Job, desk: MediaDesk | None) -> Job:
    """The job with the files of its images, where they are copied."""
    if desk is None or not job.plan.options.images:
        return job
    data: list[Mapping[str, object]] = [data for _, data in job.source.heads(job.number)]
    return replace(job, media=desk.fetched(data))


def _with_sizes(job: Job, desk: MediaDesk, unsized: Sequence[str]) -> Job:
    return replace(job, media=desk.sized(job.media, unsized))
