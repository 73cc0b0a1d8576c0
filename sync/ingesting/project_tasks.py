"""The project's tasks in the journal, to compare with: by their marks, or by their data where they came another way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from labelloop.label_studio import LabelStudio, TaskMark, TaskRow
from labelloop.progress import Counting
from sync.ingesting.examining import content_of
from sync.ingesting.fingerprints import text_fingerprint
from sync.ingesting.journal import Held, Journal
from sync.ingesting.marks import META_KEY, data_hash, mark_of
from sync.ingesting.places import address_name
from sync.ingesting.shown import Shown
from sync.ingesting.texts import normalised

_PAGE = 1000


def note_project(
    client: LabelStudio, journal: Journal, project_id: int, shown: Shown, near: bool, counting: Counting
) -> int:
    """Note every task that Label Studio has; how many there are."""
    count = 0
    marks = client.task_marks(project_id)
    while page := list(islice(marks, _PAGE)):
        journal.add_held([_marked(mark) for mark in page])
        count += len(page)
        counting("reading the project's tasks", count)
    for ids in _pages(journal.held_without_mark()):
        overlaps = {task_id: journal.held_task(task_id).overlap for task_id in ids}
        rows = client.tasks_by_id(project_id, ids)
        journal.add_held([_unmarked(row, overlaps[row.task_id], shown, near) for row in rows])
    return count


def _marked(mark: TaskMark) -> Held:
    content, group = mark_of(mark.meta) or (None, None)
    ours = mark.meta.get(META_KEY)
    told: Mapping[str, Any] = ours if isinstance(ours, Mapping) else {}
    return Held(mark.task_id, content, group, _text(told.get("fingerprint")), mark.overlap, _text(told.get("name")))


def _unmarked(row: TaskRow, overlap: int, shown: Shown, near: bool) -> Held:
    """A task that came another way: a text is known by what it shows, a file by its name alone."""
    value = row.data.get(shown.main)
    if shown.has_files:
        address = next((each for each in value if isinstance(each, str)), None) if isinstance(value, list) else value
        name = address_name(address) if isinstance(address, str) else None
        return Held(row.task_id, None, data_hash(row.data), None, overlap, name)
    data = {key: normalised(each)[0] if isinstance(each, str) else each for key, each in row.data.items()}
    fingerprint = text_fingerprint(data[shown.main]) if near and isinstance(value, str) else None
    return Held(row.task_id, content_of(shown, data, (), []), data_hash(row.data), fingerprint, overlap, None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _pages(ids: Iterable[int]) -> Iterator[list[int]]:
    iterator = iter(ids)
    while page := list(islice(iterator, _PAGE)):
        yield page
