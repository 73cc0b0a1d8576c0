"""Pre-annotations read with a format's reader: as items of their own, or joined to the items of a source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from labelloop.errors import UsageError
from labelloop.label_config import LabelConfig
from labelloop.values import Region
from sync.formats.offsets import span_offsets
from sync.formats.reading import Labelled, LabelledItem, Unread, read_labelled
from sync.ingesting.examining import Examined, content_of
from sync.ingesting.items import IngestItem, Labels, Medium, Refusal, Rejected
from sync.ingesting.journal import Journal
from sync.ingesting.run_files import RunFiles
from sync.ingesting.shown import Shown
from sync.ingesting.sources import SourceOptions, names_of, row_item
from sync.ingesting.tables import Reject
from sync.ingesting.texts import normalised

PART = "labels"
As = Literal["predictions", "annotations"]
_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 48


@dataclass(frozen=True)
class LabelOptions:
    """Which pre-annotations come in, and as what. `name` tells this import from others; default: the file's name."""

    path: Path
    format: str
    task: str | None = None
    images: Path | None = None
    kind: As = "predictions"
    name: str | None = None

    @property
    def version(self) -> str:
        """The model version that its predictions carry, and its annotations' sign."""
        own = _NAME.sub("-", self.name or self.path.name.removesuffix(self.path.suffix) or self.path.name)
        return f"import-{own.strip('-.')[:_LONGEST_NAME] or self.format}"


def open_labels(options: LabelOptions, config: LabelConfig) -> Labelled:
    """The pre-annotations, read as regions of the project's config."""
    if not options.path.exists():
        raise UsageError(f"{options.path} does not exist; expected pre-annotations as {options.format}")
    return read_labelled(options.path, options.format, task=options.task, config=config, images=options.images)


def labelled_items(labelled: Labelled, options: LabelOptions, shown: Shown, reject: Reject) -> Iterator[IngestItem]:
    """Every item of the pre-annotations, with its labels."""
    base = options.images or (options.path if options.path.is_dir() else options.path.parent)
    for item in labelled:
        lost = sum(_is_part(unread, item) for unread in labelled.rejected)
        _reject_unread(labelled, reject)
        try:
            yield item_of(item, str(base), shown, lost)
        except Refusal as refusal:
            reject(Rejected(item.source, refusal.reason, refusal.detail))
    _reject_unread(labelled, reject)


def _is_part(unread: Unread, item: LabelledItem) -> bool:
    """Whether what could not be read is a region of this item."""
    return unread.source == item.source or unread.source.startswith(f"{item.source},")


def _reject_unread(labelled: Labelled, reject: Reject) -> None:
    """Hand over what the reader could not read so far."""
    for unread in labelled.rejected:
        reject(Rejected(unread.source, unread.reason, unread.detail))
    labelled.rejected.clear()


def item_of(item: LabelledItem, base: str, shown: Shown, lost: int = 0) -> IngestItem:
    """A labelled item as one of an ingest, of which `lost` regions could not be read.

    A file that is not at hand is looked for in the folder `base`.
    """
    made = row_item({"data": dict(item.data), "meta": dict(item.meta)}, item.source, base, shown, SourceOptions())
    names = made.names
    if item.media is not None:
        key = item.media_key if item.media_key in shown.images else shown.main
        listed = shown.images.get(key, False)
        medium = Medium(key, str(item.media), 0 if listed else None)
        data = {name: value for name, value in made.data.items() if name != key}
        below = str(item.media).removeprefix(f"{base.rstrip('/')}/")
        names = (*names, *names_of(below))
        made = replace(made, data=data, media=(*(m for m in made.media if m.key != key), medium))
    labels = Labels(tuple(item.result), item.source, lost=lost)
    return replace(made, names=names, labels=labels, group=item.group, split=item.split)


class JoinedLabels:
    """Pre-annotations in the journal, given to the items of a source by file name or by text."""

    def __init__(self, journal: Journal, shown: Shown, files: RunFiles) -> None:
        self._journal, self._shown, self._files = journal, shown, files

    def load(self, labelled: Labelled, options: LabelOptions) -> None:
        """Read them into the journal."""
        with self._journal.writing():
            items = labelled_items(labelled, options, self._shown, self._files.reject)
            for number, item in enumerate(items):
                names = self._names(item)
                body = {
                    "labels": vars(item.labels),
                    "group": item.group,
                    "split": item.split,
                    "text": item.data.get(self._shown.main) if self._shown.main in self._shown.texts else None,
                }
                if not names or not self._journal.add_joined(PART, number, names, body):
                    why = "they name no file and no text" if not names else "its item has annotations already"
                    self._files.reject(Rejected(item.source, "fits_no_task", why))

    def _names(self, item: IngestItem) -> tuple[str, ...]:
        text = item.data.get(self._shown.main)
        if self._shown.main in self._shown.texts:
            return (_text_name(text),) if isinstance(text, str) else ()
        return item.names

    def join(self, item: IngestItem) -> IngestItem:
        """The item with the labels that name it, if any do."""
        row = self._journal.take_joined(PART, self._names(item))
        if row is None:
            return item
        own = item.data.get(self._shown.main)
        # Offsets count in the text that was annotated, which may have other line ends.
        data = {**item.data, self._shown.main: row["text"]} if row["text"] is not None and own else item.data
        labels = Labels(**row["labels"])
        return replace(item, data=data, labels=labels, group=item.group or row["group"], split=row["split"])

    def left(self) -> Iterator[IngestItem]:
        """Items with nothing but labels, for the pre-annotations that no item of the source took."""
        for name, row in self._journal.unused(PART):
            data = {self._shown.main: row["text"]} if row["text"] is not None else {}
            names = () if row["text"] is not None else names_of(name)
            labels = Labels(**row["labels"])
            yield IngestItem(data, labels.source, names=names, labels=labels, for_task=True)


def _text_name(text: str) -> str:
    """What a text is known by, whatever its line ends."""
    shown = Shown("text", ("text",), {}, frozenset(), frozenset({"text"}))
    return content_of(shown, {"text": normalised(text)[0]}, (), [])


def fitting(found: Examined, config: LabelConfig, shown: Shown) -> Labels:
    """The labels of an item without the regions that the project could not show; why, for each of those."""
    labels = found.item.labels
    if labels is None:
        raise ValueError("expected an item with labels")
    kept: list[Region] = []
    refused = list(labels.refused)
    for region in labels.result:
        placed = config.problem_with(region) or _placed(region, found, config, shown)
        if isinstance(placed, str):
            refused.append(f"{region.get('type')} {region.get('id')}: {placed}")
        else:
            kept.append(placed)
    return Labels(tuple(kept), labels.source, tuple(refused), labels.lost)


def _placed(region: Region, found: Examined, config: LabelConfig, shown: Shown) -> Region | str:
    """A region that fits, spans at code points of their text; or why a span is not one of its text."""
    control = config.control(str(region["from_name"]))
    text = found.item.data.get(control.data_key)
    if region["type"] != "labels" or control.data_key not in shown.texts or not isinstance(text, str):
        return region
    offsets = span_offsets(text, region["value"])
    if isinstance(offsets, str):
        return offsets
    return {**region, "value": {**region["value"], "start": offsets[0], "end": offsets[1]}}
