"""What one run writes down: what was left out and why, duplicates, and what could not be matched; a JSON object per line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import orjson

from sync.ingesting.items import Rejected


class JsonLines:
    """A file of JSON lines that is made with its first line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._file: IO[bytes] | None = None

    def open(self) -> IO[bytes]:
        """The file, begun anew when first asked for."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb")
        return self._file

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a line."""
        self.open().write(orjson.dumps(row) + b"\n")
        self.count += 1

    def flush(self) -> None:
        """What was written is in the file."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """End the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class RunFiles:
    """The files of one run, in a folder of its own; `rejects` may be a file elsewhere."""

    def __init__(self, folder: Path, rejects: Path | None = None) -> None:
        self.folder = folder
        self.rejected = JsonLines(rejects or folder / "rejected.jsonl")
        self.duplicates = JsonLines(folder / "duplicates.jsonl")
        self.unmatched = JsonLines(folder / "unmatched.jsonl")
        self.by_reason: Counter[str] = Counter()
        if rejects is not None:
            self.rejected.open()  # an earlier run's lines must not stay where this one has none

    def __enter__(self) -> RunFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self.rejected, self.duplicates, self.unmatched):
            file.close()

    def reject(self, rejected: Rejected) -> None:
        """Note something that does not come in."""
        self.by_reason[rejected.reason] += 1
        self.rejected.write({"source": rejected.source, "reason": rejected.reason, "detail": rejected.detail})

    def duplicate(self, source: str, same_as: str, kind: str, measure: float | None = None) -> None:
        """Note an item that is the same as another ("exact") or near it, with distance or similarity."""
        self.duplicates.write({"source": source, "same_as": same_as, "kind": kind, "measure": measure})

    def unmatch(self, side: str, name: str, what: str) -> None:
        """Note an item that has no row in another file ("item"), or a row there that no item has ("row")."""
        self.unmatched.write({"side": side, "name": name, "what": what})

    def flush(self) -> None:
        """Everything written is in the files."""
        for file in (self.rejected, self.duplicates, self.unmatched):
            file.flush()
