"""What goes through an ingest: an item of a source, the media that it shows, and why something was left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labelloop.values import REASONS, Region

if TYPE_CHECKING:
    from sync.ingesting.places import Found

#: Why something was not brought in; what models also say, and beyond it what only a source can have.
REJECT_REASONS: Mapping[str, str] = {
    **{code: REASONS[code] for code in ("unreadable", "not_found", "too_large", "text_missing")},
    "empty": "the file has no bytes",
    "not_an_image": "the content is something else (HTML, SVG, PDF), whatever the name says",
    "encoding": "the text is not in the encoding that was expected",
    "not_json": "the line or the value is no JSON, or no object",
    "columns": "the row has other cells than the header",
    "fits_no_task": "the annotations name no item that comes in or is there",
    "refused": "Label Studio does not take the task; the detail has its words",
    "does_not_fit": "a region does not fit the project's label config; the others of its item came in",
    "annotation_differs": "the task has an annotation of this import already, with other content",
}


@dataclass(frozen=True)
class Medium:
    """One file that a task shows: its address, and `number` where the key holds a list of files.

    `content` is set where the bytes came with the row, `found` where a listing has told of the file already.
    """

    key: str
    address: str
    number: int | None = None
    content: bytes | None = field(default=None, repr=False)
    found: Found | None = None


@dataclass(frozen=True)
class Labels:
    """What an item brings along; no regions: somebody looked, and nothing is there. `source` says where it stands.

    `refused` says of each region that cannot come in why; `lost` counts those whose reader has said so already.
    """

    result: tuple[Region, ...]
    source: str
    refused: tuple[str, ...] = ()
    lost: int = 0


@dataclass(frozen=True)
class IngestItem:
    """One task to be: the data without its media; without a `group` it is a group of its own.

    `names` are what metadata and annotations may call it, the surest first. With `for_task` it is labels alone, for a
    task that is there.
    """

    data: Mapping[str, Any]
    source: str = ""
    media: tuple[Medium, ...] = ()
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    labels: Labels | None = None
    split: str | None = None
    for_task: bool = False


@dataclass(frozen=True)
class Rejected:
    """Something that was not brought in; `reason` is a key of REJECT_REASONS."""

    source: str
    reason: str
    detail: str


class Refusal(Exception):
    """Raised where one item cannot come in; it never leaves the package."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail
