"""Takes a file's bytes from wherever they come: counted, timed and hashed while they are written."""

from __future__ import annotations

import hashlib
import time
from typing import IO

from labelloop.errors import MediaError


class Unanswered(MediaError):
    """A host did not answer, or not in time; asking it for something else may go the same way."""

    def __init__(self, message: str) -> None:
        super().__init__("not_found", message)


class Sink:
    """Writes into `file` at most `max_bytes` bytes until `deadline` (of time.monotonic); MediaError beyond either."""

    def __init__(self, file: IO[bytes], max_bytes: int, budget_s: float) -> None:
        self._file, self._max_bytes, self._budget_s = file, max_bytes, budget_s
        self.deadline = time.monotonic() + budget_s
        self._hash, self._size = hashlib.sha256(), 0

    @property
    def digest(self) -> str:
        """SHA-256 hex of what was written."""
        return self._hash.hexdigest()

    def expect(self, size: int | None) -> None:
        """Refuse at once what says of itself that it is too large."""
        if size is not None and size > self._max_bytes:
            raise MediaError("too_large", f"the file has {size} bytes; at most {self._max_bytes} are allowed")

    def check_time(self) -> None:
        """Unanswered once the time is over."""
        if time.monotonic() > self.deadline:
            raise Unanswered(f"the file did not arrive within {self._budget_s:g} s")

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise MediaError("too_large", f"the file has more than {self._max_bytes} bytes")
        self.check_time()
        self._hash.update(chunk)
        self._file.write(chunk)
