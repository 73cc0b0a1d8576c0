"""Checks one item and says what it holds: content hash, fingerprint, sizes, texts in their normal form."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from PIL import Image

from labelloop.errors import MediaError
from labelloop.media import MAX_PIXELS, Picture, examined
from labelloop.values import Region
from sync.ingesting.fingerprints import IMAGE_DRAFT, image_fingerprint, text_fingerprint
from sync.ingesting.items import IngestItem, Labels, Medium, Refusal
from sync.ingesting.places import Found, fetch, found, is_address, local, suffix_of
from sync.ingesting.shown import Shown
from sync.ingesting.texts import all_cleaned, moved, normalised, plain

_MARKUP = {b"<svg": "an SVG drawing", b"<!doctype html": "an HTML page", b"<html": "an HTML page", b"%pdf": "a PDF"}
_HEAD = 1024

FactsOf = Callable[[str, str], Mapping[str, Any] | None]
"""(address, state) -> what is known of a file in that state."""


@dataclass(frozen=True)
class Limits:
    """What is too large to come in."""

    max_bytes: int = 50_000_000
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class Facts:
    """What one file holds. `path` is where its bytes are for now; `fetched` files are the ingest's own and may be moved."""

    content: str
    size: int
    path: str
    fetched: bool
    suffix: str
    picture: Mapping[str, Any] | None = None
    fingerprint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Examined:
    """An item that may come in. `noted` are (address, state, facts) to remember, `changes` what was done to its texts."""

    item: IngestItem
    content: str
    fingerprint: str | None
    facts: tuple[Facts, ...] = ()
    noted: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    changes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Examiner:
    """Checks items of one project; safe for threads.

    `fetched` is where files that are not of this machine are kept until they are staged; `near` asks for fingerprints.
    """

    shown: Shown
    limits: Limits
    fetched: Path
    near: bool = True
    copy_addresses: bool = False

    def examine(self, item: IngestItem, known: FactsOf = lambda _address, _state: None) -> Examined:
        """What the item holds; Refusal says why it cannot come in."""
        changes: Counter[str] = Counter()
        item = self._with_plain_texts(self._with_addresses(item), changes)
        self._check_keys(item)
        noted: list[tuple[str, str, Mapping[str, Any]]] = []
        facts = tuple(self._facts(medium, known, noted) for medium in item.media)
        content = content_of(self.shown, item.data, item.media, [each.content for each in facts])
        return Examined(item, content, self._fingerprint(item, facts), facts, tuple(noted), changes)

    # -- texts ------------------------------------------------------------------------------------------------------

    def _with_plain_texts(self, item: IngestItem, changes: Counter[str]) -> IngestItem:
        data = dict(all_cleaned(plain(item.data)))
        labels = item.labels
        for key in self.shown.texts:
            before = item.data.get(key)
            if isinstance(before, str):
                data[key], done = normalised(before)
                changes.update(done)
                if done and labels is not None:
                    labels = _moved_labels(labels, before, data[key])
        return replace(item, data=data, meta=all_cleaned(plain(item.meta)), labels=labels)

    def _check_keys(self, item: IngestItem) -> None:
        """Refusal for an item without what the project shows: Label Studio would not take it, nor those beside it."""
        there = {*item.data, *(medium.key for medium in item.media)}
        missing = next((key for key in self.shown.needed if key not in there), None)
        main = item.data.get(self.shown.main)
        if missing is None and not item.media and not (main.strip() if isinstance(main, str) else main):
            missing = self.shown.main
        if missing is not None:
            has = ", ".join(map(str, item.data)) or "nothing"
            raise Refusal(
                "text_missing", f"nothing under {missing!r}, which the project shows; there is {has} (see --column)"
            )

    # -- files ------------------------------------------------------------------------------------------------------

    def _with_addresses(self, item: IngestItem) -> IngestItem:
        """The item with files in place of the addresses in its data, where those are to be copied."""
        if not self.copy_addresses:
            return item
        media = list(item.media)
        data = dict(item.data)
        for key, listed in (*self.shown.images.items(), *((key, False) for key in self.shown.files)):
            value = data.get(key)
            values = value if isinstance(value, list) else [value]
            if all(isinstance(each, str) and is_address(each) for each in values):
                del data[key]
                media += [Medium(key, str(each), number if listed else None) for number, each in enumerate(values)]
        return replace(item, data=data, media=tuple(media))

    def _facts(self, medium: Medium, known: FactsOf, noted: list[tuple[str, str, Mapping[str, Any]]]) -> Facts:
        """What a file holds, from the notes where its state is the same."""
        place = None if medium.content is not None else self._place_of(medium)
        if medium.content is None and place is None:
            raise Refusal("not_found", f"there is no file {medium.address}")
        if place is not None and place.size is not None:
            self._check_size(place.size)
        before = known(medium.address, place.state) if place is not None and place.state is not None else None
        if before is not None and Path(before["path"]).is_file() and self._still_fits(before):
            return Facts(**before)
        facts = self._looked_at(medium)
        if place is not None and place.state is not None:
            noted.append((medium.address, place.state, facts.to_json()))
        return facts

    def _place_of(self, medium: Medium) -> Found | None:
        """The file as it is now; of a remote one, as the listing told."""
        return medium.found if medium.found and is_address(medium.address) else found(medium.address)

    def _still_fits(self, before: Mapping[str, Any]) -> bool:
        """Whether notes were made for what is asked now: the limits may be others, and a fingerprint may be wanted."""
        picture = before["picture"]
        if picture is None:
            return True
        small = picture["width"] * picture["height"] <= self.limits.max_pixels
        return small and (before["fingerprint"] is not None or not self.near)

    def _check_size(self, size: int) -> None:
        if size == 0:
            raise Refusal("empty", "the file has no bytes")
        if size > self.limits.max_bytes:
            most = self.limits.max_bytes / 1e6
            raise Refusal("too_large", f"{size / 1e6:.1f} MB; at most {most:g} MB (LABELLOOP_IMAGE_MAX_MB)")

    def _looked_at(self, medium: Medium) -> Facts:
        path, fetched = self._at_hand(medium)
        try:
            self._check_size(path.stat().st_size)
            if medium.key in self.shown.images:
                picture, fingerprint = look_at_image(path, self.limits.max_pixels, near=self.near)
                suffix = f".{picture.suffix}"
            else:
                picture, fingerprint, suffix = None, None, suffix_of(medium.address)
            content = digest_of(path)
        except (Refusal, OSError) as error:
            if fetched:
                path.unlink(missing_ok=True)
            raise error if isinstance(error, Refusal) else Refusal("not_found", f"{path}: {error.strerror}") from error
        if fetched:
            path = path.replace(self.fetched / content)
        shown = vars(picture) if picture is not None else None
        return Facts(content, path.stat().st_size, str(path), fetched, suffix, shown, fingerprint)

    def _at_hand(self, medium: Medium) -> tuple[Path, bool]:
        """A file of this machine with the bytes, and whether it is the ingest's own."""
        if medium.content is None and not is_address(medium.address):
            return local(medium.address).absolute(), False
        self.fetched.mkdir(parents=True, exist_ok=True)
        target = self.fetched / f".{uuid.uuid4().hex}.part"
        if medium.content is not None:
            target.write_bytes(medium.content)
        else:
            fetch(medium.address, target, self.limits.max_bytes)
        return target, True

    def _fingerprint(self, item: IngestItem, facts: tuple[Facts, ...]) -> str | None:
        """What near duplicates are found by: of the one image, or of the main text."""
        if not self.near:
            return None
        if facts:
            return facts[0].fingerprint if len(facts) == 1 else None
        text = item.data.get(self.shown.main)
        return text_fingerprint(text) if self.shown.main in self.shown.texts and isinstance(text, str) else None


def content_of(shown: Shown, data: Mapping[str, Any], media: tuple[Medium, ...], digests: list[str]) -> str:
    """SHA-256 of what a person sees: of the one file's bytes, or of the shown values with each file's hash in its place.

    Of a task none of whose values the config names, of all its data.
    """
    seen = {key: data[key] for key in shown.keys if key in data}
    if len(media) == 1 and not seen:
        return digests[0]
    for medium, digest in zip(media, digests, strict=True):
        seen[medium.key] = [*seen.get(medium.key, []), digest] if medium.number is not None else digest
    return hashlib.sha256(orjson.dumps(seen or dict(data), option=orjson.OPT_SORT_KEYS)).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def look_at_image(path: Path, max_pixels: int, *, near: bool = True) -> tuple[Picture, str | None]:
    """What an image file holds, and its fingerprint; Refusal for what is none, is damaged or has too many pixels."""
    prints: list[str] = []

    def look(image: Image.Image) -> None:
        prints.append(image_fingerprint(image))

    try:
        picture = examined(path, max_pixels, look if near else None, IMAGE_DRAFT)
    except MediaError as error:
        disguise = _disguise_of(path)
        if disguise is not None:
            raise Refusal("not_an_image", f"the content is {disguise}, whatever the name says") from error
        raise Refusal(error.reason, str(error)) from error
    return picture, prints[0] if prints else None


def _disguise_of(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(_HEAD).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<?xml") and b"<svg" in head:
        return _MARKUP[b"<svg"]
    return next((what for start, what in _MARKUP.items() if head.startswith(start)), None)


def _moved_labels(labels: Labels, before: str, after: str) -> Labels:
    """Spans of a text in their places in its normal form; those that have none there are refused."""
    kept: list[Region] = []
    refused = list(labels.refused)
    for region in labels.result:
        value = region.get("value") or {}
        first, last = value.get("start"), value.get("end")
        if region.get("type") != "labels" or not isinstance(first, int) or not isinstance(last, int):
            kept.append(region)
            continue
        start, end = moved(before, first), moved(before, last)
        if start is None or end is None:
            refused.append(f"the span {first} to {last} cuts a character of the text's normal form in two")
        else:
            kept.append({**region, "value": {**value, "start": start, "end": end, "text": after[start:end]}})
    return Labels(tuple(kept), labels.source, tuple(refused), labels.lost)
