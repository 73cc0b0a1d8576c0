"""The first pass: every item of a source checked, joined with what belongs to it, and written into the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from labelloop.label_config import LabelConfig
from labelloop.progress import Counting
from sync.ingesting.examining import Examined, Examiner, Facts
from sync.ingesting.items import IngestItem, Labels, Refusal, Rejected
from sync.ingesting.journal import Candidate, Held, Journal
from sync.ingesting.labelled import fitting
from sync.ingesting.marks import group_key
from sync.ingesting.run_files import RunFiles

BATCH = 256
BATCH_BYTES = 16_000_000
Join = Callable[[IngestItem], IngestItem]
#: Labels whose file is not at hand may be for a task that has it.
_WITHOUT_FILE = ("not_found", "text_missing")


@dataclass
class ScanCounts:
    """What the first pass met."""

    items: int = 0
    present: int = 0
    duplicates: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    labelled: int = 0
    regions: int = 0
    refused_regions: int = 0


class Scan:
    """One run's first pass; the project's tasks are in the journal already."""

    def __init__(
        self,
        journal: Journal,
        examiner: Examiner,
        config: LabelConfig,
        files: RunFiles,
        counting: Counting,
        threads: int,
    ) -> None:
        self._journal, self._examiner, self._config, self._files = journal, examiner, config, files
        self._counting, self._threads = counting, threads
        self.counts = ScanCounts()

    def run(self, items: Iterable[IngestItem], joins: Sequence[Join]) -> None:
        """Check every item, joined with what belongs to it; one that cannot come in is noted, and fails no other."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="ingest") as pool:
            for batch in _batches(items):
                with self._journal.writing():
                    joined = [_joined(item, joins) for item in batch]
                looked_at = list(pool.map(self._examined, joined))
                with self._journal.writing():
                    for item, found in zip(joined, looked_at, strict=True):
                        self._take(item, found)
                self._files.flush()
                self.counts.items += len(batch)
                self._counting("checking", self.counts.items)
        self._counting("checking", self.counts.items, self.counts.items)

    def _examined(self, item: IngestItem) -> Examined | Refusal:
        try:
            return self._examiner.examine(item, self._journal.facts_of)
        except Refusal as refusal:
            return refusal

    def _take(self, item: IngestItem, found: Examined | Refusal) -> None:
        if isinstance(found, Examined) and not item.for_task:
            self._add(found)
        elif item.labels is not None and (isinstance(found, Examined) or found.reason in _WITHOUT_FILE):
            self._attach(item, found)
        elif isinstance(found, Refusal):
            self._files.reject(Rejected(item.source, found.reason, found.detail))

    # -- what comes in ----------------------------------------------------------------------------------------------

    def _add(self, found: Examined) -> None:
        for noted in found.noted:
            self._journal.note_facts(*noted)
        item = found.item
        held = self._journal.held_with(found.content)
        labels = self._fitting(found)
        body = {
            "data": dict(item.data),
            "meta": dict(item.meta),
            "media": [_medium_body(m, facts) for m, facts in zip(item.media, found.facts, strict=True)],
            "name": item.names[0] if item.names and item.media else None,
            "split": item.split,
            "labels": _labels_body(labels),
        }
        key = held.key if held is not None and held.key else group_key(item.group) or found.content
        candidate = Candidate(
            0, found.content, item.source, body, key, found.fingerprint, labels is not None,
            held.task_id if held is not None else None,
        )  # fmt: skip
        if self._note(candidate, labels, found.facts):
            self.counts.changes.update(found.changes)

    def _attach(self, item: IngestItem, found: Examined | Refusal) -> None:
        """Make labels without their file, or text, a candidate for the one task of the project that they are for."""
        looked_at = found if isinstance(found, Examined) else Examined(item, "", None)
        of_content = self._journal.held_with(found.content) if isinstance(found, Examined) else None
        named = [of_content] if of_content is not None else self._journal.held_named(item.names)
        if len(named) != 1:
            reason, detail = ("fits_no_task", "no item and no task of the project is called so, or shows this")
            if named:
                detail = f"tasks {named[0].task_id} and {named[1].task_id} are both called so"
            elif isinstance(found, Refusal) and not item.for_task:
                reason, detail = found.reason, found.detail
            self._files.reject(Rejected(item.source, reason, detail))
            return
        held: Held = named[0]
        labels = self._fitting(looked_at)
        content = held.content or f"task {held.task_id}"
        body = {"labels": _labels_body(labels)}
        self._note(Candidate(0, content, item.source, body, held.key or content, None, True, held.task_id), labels, ())

    def _note(self, candidate: Candidate, labels: Labels | None, facts: Sequence[Facts]) -> bool:
        """Whether a candidate is the first with its content."""
        same = self._journal.add_candidate(candidate)
        if same is not None:
            self.counts.duplicates += 1
            self._files.duplicate(candidate.source, same, "exact")
            return False
        self.counts.present += candidate.task_id is not None
        self._count(labels, facts)
        return True

    def _fitting(self, found: Examined) -> Labels | None:
        if found.item.labels is None:
            return None
        labels = fitting(found, self._config, self._examiner.shown)
        for detail in labels.refused:
            self._files.reject(Rejected(labels.source, "does_not_fit", detail))
        return labels

    def _count(self, labels: Labels | None, facts: Sequence[Facts]) -> None:
        if labels is not None:
            self.counts.labelled += 1
            self.counts.regions += len(labels.result)
            self.counts.refused_regions += len(labels.refused) + labels.lost
        for picture in (each.picture for each in facts if each.picture is not None):
            self.counts.images.update(_traits(picture))


def _traits(picture: Any) -> Iterator[str]:
    """What of an image is worth counting: its kind, and what a tool may not expect of it."""
    yield str(picture["suffix"])
    if picture["frames"] > 1:
        yield "animated"
    if picture["turned"]:
        yield "turned"
    mode = str(picture["mode"])
    names = {"CMYK": "cmyk", "P": "palette", "PA": "palette"}
    if mode in names or mode.startswith(("I", "F")):
        yield names.get(mode, "deep")


def _medium_body(medium: Any, facts: Facts) -> dict[str, Any]:
    return {
        "key": medium.key, "number": medium.number, "address": medium.address, "path": facts.path,
        "fetched": facts.fetched, "content": facts.content, "suffix": facts.suffix,
        "size": [facts.picture["width"], facts.picture["height"]] if facts.picture is not None else None,
    }  # fmt: skip


def _labels_body(labels: Labels | None) -> dict[str, Any] | None:
    if labels is None:
        return None
    return {"result": list(labels.result), "source": labels.source, "refused": len(labels.refused) + labels.lost}


def _joined(item: IngestItem, joins: Sequence[Join]) -> IngestItem:
    for join in joins:
        item = join(item)
    return item


def _batches(items: Iterable[IngestItem]) -> Iterator[list[IngestItem]]:
    """Runs of items that are held in memory at once: BATCH of them, or fewer long ones."""
    batch: list[IngestItem] = []
    size = 0
    for item in items:
        batch.append(item)
        size += sum(len(value) for value in item.data.values() if isinstance(value, str))
        size += sum(len(medium.content or b"") for medium in item.media)
        if len(batch) >= BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
