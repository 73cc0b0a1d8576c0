"""Fetches a task's media by the address that the task names, and keeps it by content."""

from __future__ import annotations

import errno
import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from labelloop.errors import MediaError
from labelloop.media.pictures import verified_suffix
from labelloop.media.places import BucketPlace, FilePlace, MediaRules, Place, WebPlace
from labelloop.media.shelves import Remembered, Shelves, Stamp
from labelloop.media.sink import Sink
from labelloop.media.stored import file_state, read_bucket, read_file
from labelloop.media.web import HostRefused, WebReader

if TYPE_CHECKING:
    from labelloop.settings import ServiceSettings

log = logging.getLogger(__name__)

#: A server that can be asked whether a file changed is asked again after so long.
REVALIDATE_S = 24 * 3600.0


class MediaCache:
    """Images by the address that a task names; safe for threads, and for processes that share the folder.

    A task's data is written by others: what it may name is in the rules. An address is fetched once, also when several
    threads ask at once; the same bytes under two addresses are one file, which is decoded once, when it is new.
    """

    def __init__(
        self,
        folder: Path,
        rules: MediaRules,
        auth: Callable[[], Mapping[str, str]],
        *,
        cache_bytes: int = 2_048_000_000,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.rules = rules
        self._shelves = Shelves(folder, cache_bytes, clock=clock)
        self._web = WebReader(rules, auth, transport)
        self._clock = clock
        self._flights: dict[str, Future[Path]] = {}
        self._guard = threading.Lock()
        self._told: set[str] = set()

    @classmethod
    def of(cls, services: ServiceSettings, auth: Callable[[], Mapping[str, str]]) -> MediaCache:
        """The cache of the settings, in the data folder; `auth` gives the headers that open Label Studio's files."""
        rules, size = MediaRules.of(services), int(services.media_cache_mb * 1_000_000)
        return cls(services.data / "media", rules, auth, cache_bytes=size)

    def close(self) -> None:
        """Close the connections and the index."""
        self._web.close()
        self._shelves.close()

    def fetch(self, address: str) -> Path:
        """The local file of an image, there for the next minutes at least; MediaError with a reason code."""
        with self._guard:
            flight = self._flights.get(address)
            first = flight is None
            if flight is None:
                flight = self._flights[address] = Future()
        if not first:
            return flight.result()
        try:
            path = self._fetched(address)
        except BaseException as error:
            flight.set_exception(error)
            raise
        else:
            flight.set_result(path)
            return path
        finally:
            with self._guard:
                del self._flights[address]

    def forget(self, address: str) -> bool:
        """Remove what was kept of an address for good, unless another address has the same bytes; whether it was there."""
        try:
            return self._shelves.forget(_key(self.rules.place_of(address)))
        except MediaError:
            return False  # nothing that the rules refuse is ever kept

    def _fetched(self, address: str) -> Path:
        try:
            return self._current(self.rules.place_of(address))
        except HostRefused as error:
            self._tell(error)
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self._make_room()
            raise MediaError(
                "error", f"{self.folder} cannot keep the file ({error.strerror}); make room or move LABELLOOP_DATA"
            ) from error
        except sqlite3.Error as error:
            raise MediaError(
                "error", f"the index of {self.folder} does not work ({error}); make room, or delete that folder"
            ) from error

    def _current(self, place: Place) -> Path:
        """The file that the place has now, from the shelves where that is known."""
        if isinstance(place, WebPlace):
            self._web.check(place.url)  # also what is held is given only while the rules allow it
        key = _key(place)
        known = self._shelves.recall(key)
        held = self._shelves.hand_out(known.digest) if known is not None else None
        if known is None or held is None:
            return self._read(key, place, None)
        if not self._doubtful(place, known):
            return held
        try:
            return self._read(key, place, known)
        except MediaError:
            if isinstance(place, FilePlace):
                raise
            log.info("media not checked again", extra={"age_s": round(self._clock() - known.checked_at)})
            self._shelves.remember(key, known.digest, known.stamp)
            return held  # an address that worked and is down today: better the file of yesterday than none

    def _doubtful(self, place: Place, known: Remembered) -> bool:
        """Whether to look again. Label Studio's uploads and objects in buckets are written once."""
        if isinstance(place, FilePlace):
            return self.rules.folder is None or file_state(place, self.rules.folder)[1] != known.stamp.state
        if isinstance(place, WebPlace) and self.rules.is_upload(place.url):
            return False
        return known.stamp.can_be_asked and self._clock() - known.checked_at > REVALIDATE_S

    def _read(self, key: str, place: Place, known: Remembered | None) -> Path:
        with self._shelves.partial() as partial:
            with partial.open("xb") as file:
                sink = Sink(file, self.rules.max_bytes, self.rules.budget_s)
                stamp = self._read_into(sink, place, known.stamp if known is not None else None)
            if stamp is None and known is not None:
                digest, stamp = known.digest, known.stamp
            else:
                digest = sink.digest
            path = self._shelves.hand_out(digest)
            if path is None:
                path = self._shelves.put(partial, digest, verified_suffix(partial, self.rules.max_pixels))
            self._shelves.remember(key, digest, stamp or Stamp())
            return path

    def _read_into(self, sink: Sink, place: Place, known: Stamp | None) -> Stamp | None:
        if isinstance(place, BucketPlace):
            return read_bucket(place, sink)
        if isinstance(place, FilePlace):
            if self.rules.folder is None:
                raise MediaError("not_found", "files of this machine are refused")
            return read_file(place, self.rules.folder, sink)
        return self._web.read(place.url, sink, known)

    def _make_room(self) -> None:
        try:
            self._shelves.trim(max_bytes=0)
        except (OSError, sqlite3.Error) as error:
            log.warning("no room made", extra={"why": str(error)})

    def _tell(self, refused: HostRefused) -> None:
        """Say once per host which setting would allow it: the tasks only carry a reason code."""
        with self._guard:
            new = refused.host not in self._told and len(self._told) < 100
            self._told.add(refused.host) if new else None
        if new:
            log.warning("media host not allowed", extra={"host": refused.host, "why": str(refused)})


def _key(place: Place) -> str:
    return hashlib.sha256(repr(place).encode()).hexdigest()
