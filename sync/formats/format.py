"""What a format is: it plans, writes part after part (side by side in several processes), joins the parts, and reads back.

A part is a run of about 1,000 tasks. Files of which each task has its own go straight into the export's folder; of a file
that all share, each part writes a fragment, and `join` puts the fragments together in the order of the parts. So
memory is bounded by a part, and the result does not depend on how many processes there were.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from labelloop.label_config import Control, LabelConfig
from labelloop.values import Region
from sync.formats.examples import Example, ExportOptions, Picture
from sync.formats.media import PartMedia, copy_upright, upright_bytes
from sync.formats.provenance import Provenance


@dataclass(frozen=True)
class ClassName:
    """One class of one control. `class_id` counts within the control from 0 and is never given to another class."""

    control: str
    class_id: int
    name: str
    retired: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything that a part needs to know; it travels to other processes.

    `classes` are in the order in which the project got them (at first: of the config), retired ones included.
    `details` is what the format's own `plan` made of it.
    """

    format: str
    task: str | None
    config: LabelConfig
    classes: tuple[ClassName, ...]
    options: ExportOptions
    details: Any = None

    def class_names(self, *controls: Control) -> tuple[str, ...]:
        """The classes of these controls, each once; the place of a name is its id in the files, and stays for ever."""
        names = {control.name for control in controls}
        return tuple(dict.fromkeys(entry.name for entry in self.classes if entry.control in names))


class Part:
    """Where one part goes: files of the export, fragments of shared files, counts, provenance, what was left out."""

    def __init__(self, number: int, folder: Path, scratch: Path, media: PartMedia | None = None) -> None:
        self.number, self.folder, self.scratch = number, folder, scratch
        self.unsized: list[str] = []
        """Addresses of images whose size was asked for and is not known."""
        self._media = media or PartMedia()
        self.items: Counter[str] = Counter()
        self.objects: Counter[str] = Counter()
        self.skipped: list[tuple[int, str]] = []
        self.provenance = Provenance()
        self.notes: dict[str, Any] = {}
        """What `join` needs to know of this part; plain values."""
        self._open = ExitStack()
        self._made: set[str] = set()
        self._fragments: dict[str, IO[bytes]] = {}

    def fragment(self, name: str) -> IO[bytes]:
        """This part's piece of a shared file, opened for writing when first asked for."""
        if name not in self._fragments:
            path = fragment_path(self.scratch, name, self.number)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fragments[name] = self._open.enter_context(path.open("wb", buffering=1 << 18))
        return self._fragments[name]

    def write(self, name: str, content: bytes) -> None:
        """Write a file of one task, below the export's folder; its folders are made."""
        path = f"{self.folder}/{name}"
        parent = path[: path.rindex("/")]
        if parent not in self._made:
            os.makedirs(parent, exist_ok=True)
            self._made.add(parent)
        # Thousands of small files: a file object would cost more than the file.
        file = os.open(path, _NEW_FILE, 0o666)
        try:
            while content:
                content = content[os.write(file, content) :]
        finally:
            os.close(file)

    def item(self, split: str) -> None:
        """Count a task (or one of its images) that was written."""
        self.items[split] += 1

    def object(
        self,
        example: Example,
        region: Region | None,
        label: str,
        class_id: int | None,
        file: str,
        number: int | None = None,
    ) -> None:
        """Count a box, span or choice that was written, and note where it came from.

        `file` is its file's relative path, `number` its place or id there (None: it is numbered by `join`, from 1 in
        each file, in the order in which parts and objects come).
        """
        self.objects[example.split] += 1
        self.provenance.add(example, region, label, class_id, file, number)

    def several(
        self, example: Example, objects: Sequence[tuple[Region, str, int | None]], file: str, first: int | None = None
    ) -> None:
        """What `object` does, for many objects (region, label, class id) of one file at once, and faster.

        `first` is the number of the first of them, which the others follow.
        """
        if objects:
            self.objects[example.split] += len(objects)
            self.provenance.add_several(example, objects, file, first)

    def size_of(self, example: Example, picture: Picture) -> tuple[int, int] | None:
        """(width, height) of an image; None where nobody knows, which is noted and leaves the image out."""
        if picture.size is None:
            self.unsized.append(picture.address)
            why = self._media.reasons.get(picture.address, "no label carries its width and height")
            self.skip(example.task_id, f"{picture.file_name}: image size unknown ({why}); give its file: --images-from")
        return picture.size

    def copy_image(self, picture: Picture, place: str, task_id: int) -> None:
        """Copy the image's file to its place below the export's folder, upright; what is not at hand is noted."""
        if self._at_hand(picture, task_id) and picture.file is not None:
            self._note_turned(copy_upright(picture.file, self.folder / place))

    def image_bytes(self, picture: Picture, task_id: int) -> bytes | None:
        """What `copy_image` would write, for formats that hold images; None, which is noted, for one not at hand."""
        if not self._at_hand(picture, task_id) or picture.file is None:
            return None
        content, turned = upright_bytes(picture.file)
        self._note_turned(turned)
        return content

    def _at_hand(self, picture: Picture, task_id: int) -> bool:
        if picture.file is None:
            why = self._media.reasons.get(picture.address, "not fetched")
            self.skip(task_id, f"{picture.name}: image not copied ({why})")
        return picture.file is not None

    def _note_turned(self, turned: bool) -> None:
        if turned:
            self.notes["turned"] = self.notes.get("turned", 0) + 1

    def skip(self, task_id: int, reason: str) -> None:
        """Note that a task, or something in it, is not in the files."""
        self.skipped.append((task_id, reason))

    def close(self) -> None:
        """Close the fragments."""
        self._open.close()


@dataclass(frozen=True)
class PartDone:
    """A part that was written, as its process reports it."""

    number: int
    items: Mapping[str, int]
    objects: Mapping[str, int]
    notes: Mapping[str, Any]
    entries: bytes = b""
    ids: bytes = b""
    names: bytes = b""
    left_out: Mapping[str, int] = field(default_factory=dict)
    skipped: tuple[tuple[int, str], ...] = ()
    n_skipped: int = 0


@dataclass(frozen=True)
class Joined:
    """The finished files: shared ones by relative path, and what the manifest says besides."""

    files: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Of files whose SHA-256 is known already."""


@dataclass(frozen=True)
class Format:
    """One format. Functions are of the module's top level, so that they can be named in another process.

    plan    what to write of a config: DataError says why the config does not fit, UsageError why an option does not
    write   examples of one part into it
    join    shared files from the parts' fragments; `parts` are in order
    count   (items, objects) as they lie on the disk, in bounded memory
    losses  what the format cannot say, by the plan
    place   where the image of a split goes, "" for nowhere: images/train/cats/a.jpg for "cats/a.jpg"
    libraries  what its functions import when they first need it
    """

    name: str
    tasks: tuple[str, ...]
    plan: Callable[[Plan], Any]
    write: Callable[[Plan, Iterable[Example], Part], None]
    join: Callable[[Plan, Path, Path, Sequence[PartDone]], Joined]
    count: Callable[[Plan, Path], tuple[int, int]]
    losses: Callable[[Plan], tuple[str, ...]]
    place: Callable[[str, str], str] = lambda split, name: f"images/{split}/{name}"
    libraries: tuple[str, ...] = ()


def fragment_path(scratch: Path, name: str, number: int) -> Path:
    """Where part `number` keeps its piece of a shared file."""
    return scratch / f"{name}.{number:07d}"


def fragments(scratch: Path, name: str, parts: Sequence[PartDone]) -> Iterator[Path]:
    """The pieces of a shared file that there are, in order."""
    for part in parts:
        path = fragment_path(scratch, name, part.number)
        if path.exists():
            yield path


class SharedFile:
    """A large file of the export; a context. Its SHA-256 is taken while it is written: to read it again takes as long."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._digest = hashlib.sha256()
        # Both let go of the interpreter: a block is written and hashed at one time.
        self._hashing = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hashing.shutdown()
        self._file.close()

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._digest.hexdigest()

    def write(self, content: bytes | memoryview) -> None:
        """Write more to the end of it."""
        hashed = self._hashing.submit(self._digest.update, content)
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]
        hashed.result()

    def append(self, piece: Path) -> None:
        """Write what a file holds to the end of it."""
        with piece.open("rb", buffering=0) as file:
            block = memoryview(bytearray(_BLOCK))
            while size := file.readinto(block):
                self.write(block[:size])


_BLOCK = 1 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def join_fragments(folder: Path, scratch: Path, name: str, parts: Sequence[PartDone]) -> str:
    """Write a shared file that is nothing but its pieces one after the other; its SHA-256."""
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with SharedFile(target) as file:
        for piece in fragments(scratch, name, parts):
            file.append(piece)
    return file.sha256


def small_file(path: str) -> bytes:
    """What a small file holds; much faster than `open` where there are thousands of them."""
    file, pieces = os.open(path, os.O_RDONLY), []
    try:
        while piece := os.read(file, _PIECE):
            pieces.append(piece)
            if len(piece) < _PIECE:
                break
    finally:
        os.close(file)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


_PIECE = 1 << 16
