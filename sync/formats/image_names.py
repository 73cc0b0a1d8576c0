"""Whether tasks of an export share an id, and which names two of its images claim."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labelloop.errors import DataError
from sync.formats.examples import ImageKey, addresses_of, image_keys, media_path, name_key

if TYPE_CHECKING:
    from sync.formats.sources import Source


@dataclass
class Claims:
    """The ids of tasks, and what their images claim: 8 bytes for each, which go from process to process."""

    keys: Sequence[ImageKey] = ()
    ids: bytearray = field(default_factory=bytearray)
    names: bytearray = field(default_factory=bytearray)

    def add(self, task_id: int, data: Mapping[str, Any]) -> None:
        """The next task, whether it is in the export or will be when somebody labels it."""
        self.ids += task_id.to_bytes(8, "little", signed=True)
        for key in _names(data, self.keys):
            self.names += _digest(key)

    def extend(self, ids: bytes, names: bytes) -> None:
        """What another process gathered."""
        self.ids += ids
        self.names += names

    def checked(self, source: Source) -> frozenset[str]:
        """Name keys that two images of the source claim; DataError when two tasks share an id."""
        if shared := _repeated(self.ids):
            raise DataError(f"two tasks have the id {min(shared)}; export one project at a time")
        twice = _repeated(self.names)
        if not twice:
            return frozenset()
        every = (key for _, data in _heads(source) for key in _names(data, self.keys))
        return frozenset(key for key in every if int.from_bytes(_digest(key), "little", signed=True) in twice)


def claimed_twice(source: Source) -> frozenset[str]:
    """Name keys that two images of the source claim, found by reading all of it."""
    claims = Claims(image_keys(source.config))
    for task_id, data in _heads(source):
        claims.add(task_id, data)
    return claims.checked(source)


def _heads(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    return (head for number in range(source.parts()) for head in source.heads(number))


def _names(data: Mapping[str, Any], keys: Sequence[ImageKey]) -> Iterator[str]:
    return (name_key(media_path(address)) for _, _, address in addresses_of(data, keys))


def _digest(key: str) -> bytes:
    """8 bytes for a name, the same in every process; `hash` is not."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _repeated(numbers: bytearray) -> set[int]:
    """Those that are there twice or more."""
    import numpy as np

    ordered = np.sort(np.frombuffer(numbers, "<i8"))
    return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
