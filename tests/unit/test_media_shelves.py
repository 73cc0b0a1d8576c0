"""The cache on disk: one file per content, bounded, shared, never taking away what was just handed out."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from labelloop.errors import MediaError
from labelloop.media import MediaCache, MediaRules, cache, keep_file
from labelloop.media.shelves import KEEP_S, Shelves, Stamp

LABEL_STUDIO = "http://127.0.0.1:8080"
HOST = "http://93.184.215.14"
DAY = 24 * 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shelves(tmp_path: Path, clock: Clock) -> Iterator[Callable[[int], Shelves]]:
    made: list[Shelves] = []

    def make(max_bytes: int = 10_000) -> Shelves:
        made.append(Shelves(tmp_path / "media", max_bytes, clock=clock))
        return made[-1]

    yield make
    for each in made:
        each.close()


def store(shelf: Shelves, content: bytes) -> tuple[str, Path]:
    digest = hashlib.sha256(content).hexdigest()
    with shelf.partial() as partial:
        partial.write_bytes(content)
        return digest, shelf.put(partial, digest, "png")


def held(folder: Path) -> list[bytes]:
    return sorted(file.read_bytes()[:1] for file in folder.rglob("content/*/*"))


# -- the shelves ---------------------------------------------------------------------------------------------------------


def test_what_was_put_is_handed_out_also_to_another_process(shelves: Any) -> None:
    first, second = shelves(), shelves()
    digest, path = store(first, b"a" * 10)
    first.remember("key", digest, Stamp(etag="e"))
    known = second.recall("key")
    assert known is not None and (known.digest, known.stamp.etag) == (digest, "e")
    assert second.hand_out(digest) == path
    assert path.name == f"{digest}.png" and path.read_bytes() == b"a" * 10
    assert second.recall("other") is None and second.hand_out("0" * 64) is None


def test_the_least_recently_used_go_first_and_their_addresses_with_them(
    shelves: Any, clock: Clock, tmp_path: Path
) -> None:
    shelf = shelves(1_000_000)
    digests = {}
    for letter in b"abcd":
        digests[letter], _ = store(shelf, bytes([letter]) * 3100)
        shelf.remember(chr(letter), digests[letter], Stamp())
        clock.now += KEEP_S + 100
    assert shelf.hand_out(digests[ord("b")]) is not None  # used again
    clock.now += KEEP_S + 100
    assert shelf.trim(max_bytes=10_000) == 6200
    assert held(tmp_path) == [b"b", b"d"]
    assert shelf.recall("a") is None and shelf.recall("c") is None and shelf.recall("b") is not None
    assert shelf.hand_out(digests[ord("a")]) is None


def test_what_was_handed_out_in_the_last_minutes_stays_whatever_the_limit(
    shelves: Any, clock: Clock, tmp_path: Path
) -> None:
    shelf, other = shelves(1000), shelves(1000)
    digest, path = store(shelf, b"a" * 5000)
    clock.now += KEEP_S * 3
    assert other.hand_out(digest) == path
    clock.now += KEEP_S / 2
    store(shelf, b"b" * 5000)
    assert shelf.trim(max_bytes=0) == 0
    assert held(tmp_path) == [b"a", b"b"]
    clock.now += KEEP_S + 1
    assert shelf.trim(max_bytes=0) == 10_000
    assert held(tmp_path) == []


def test_putting_trims_by_itself(shelves: Any, clock: Clock, tmp_path: Path) -> None:
    shelf = shelves(100_000)
    for number in range(100):
        store(shelf, f"{number:04d}".encode() * 1000)
        clock.now += KEEP_S
    size = sum(file.stat().st_size for file in tmp_path.rglob("content/*/*"))
    assert 80_000 <= size <= 110_000


def test_a_file_that_vanished_or_was_cut_is_not_handed_out(shelves: Any) -> None:
    shelf = shelves()
    digest, path = store(shelf, b"a" * 10)
    path.chmod(0o644)
    path.write_bytes(b"a")
    assert shelf.hand_out(digest) is None
    path.unlink()
    assert shelf.hand_out(digest) is None
    assert store(shelf, b"a" * 10)[1].read_bytes() == b"a" * 10


def test_putting_the_same_content_again_keeps_its_addresses(shelves: Any) -> None:
    shelf = shelves()
    digest, _ = store(shelf, b"a")
    shelf.remember("key", digest, Stamp())
    store(shelf, b"a")
    assert shelf.recall("key") is not None


def test_what_a_killed_process_left_is_removed_when_it_is_old(shelves: Any, tmp_path: Path) -> None:
    shelf = shelves()
    _, path = store(shelf, b"a" * 10)
    strays = [tmp_path / "media" / "partial" / "x", path.parent / "stray.png"]
    for stray in strays:
        stray.write_bytes(b"half")
    shelf.trim()
    assert all(stray.exists() for stray in strays)  # they may be somebody's work
    for file in [*strays, path]:
        os.utime(file, (1, 1))
    shelf.trim()
    assert [stray.exists() for stray in strays] == [False, False]
    assert path.exists()


def test_a_process_that_was_forked_opens_the_index_anew(shelves: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = shelves()
    digest, path = store(shelf, b"a")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert shelf.hand_out(digest) == path


def test_a_dataset_keeps_its_file_when_the_cache_lets_go(shelves: Any, clock: Clock, tmp_path: Path) -> None:
    shelf = shelves()
    _, path = store(shelf, b"a" * 10)
    target = tmp_path / "1-0.png"
    keep_file(path, target)
    keep_file(path, target)
    clock.now += KEEP_S + 1
    assert shelf.trim(max_bytes=0) == 10
    assert not path.exists()
    assert target.read_bytes() == b"a" * 10 and not target.is_symlink()
    assert target.stat().st_mode & 0o222 == 0  # a library that repairs files in place is refused


def test_where_no_link_can_be_made_a_dataset_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a.png").write_bytes(b"a")
    keep_file(tmp_path / "a.png", tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes() == b"a"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "b.png"]


# -- the cache on the shelves ---------------------------------------------------------------------------------------------


def picture(shade: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


class Web:
    """A server with an ETag; `pages` is what it has, `requests` what was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.requests: list[httpx.Request] = []
        self.down = False
        self.gate: threading.Event | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.gate is not None:
            assert self.gate.wait(60)
        if self.down:
            raise httpx.ConnectError("down", request=request)
        content = self.pages.get(request.url.path)
        if content is None:
            return httpx.Response(404)
        etag = hashlib.sha256(content).hexdigest()
        if request.headers.get("if-none-match") == etag:
            return httpx.Response(304)
        return httpx.Response(200, content=content, headers={"etag": etag} if "/plain" not in str(request.url) else {})


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def media(tmp_path: Path, web: Web, clock: Clock) -> Iterator[MediaCache]:
    rules = MediaRules(LABEL_STUDIO, hosts=("*",))
    made = MediaCache(tmp_path / "media", rules, dict, transport=httpx.MockTransport(web), clock=clock)
    yield made
    made.close()


def test_two_addresses_with_the_same_bytes_are_one_file_that_is_decoded_once(
    media: MediaCache, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    verify = cache.verified_suffix
    monkeypatch.setattr(cache, "verified_suffix", lambda path, most: decoded.append(path) or verify(path, most))
    web.pages = {"/a": picture(), "/b": picture(), "/c": picture(9)}
    paths = [media.fetch(f"{HOST}{path}") for path in ("/a", "/b", "/c", "/a", "/b?sig=2")]
    assert len(set(paths)) == 2 and paths[0] == paths[1] == paths[3] == paths[4]
    assert len(decoded) == 2
    assert len(list(tmp_path.rglob("*.png"))) == 2
    assert len(web.requests) == 4


def test_a_changed_content_is_seen_after_a_day_and_not_before(media: MediaCache, web: Web, clock: Clock) -> None:
    web.pages = {"/a": picture(1)}
    first = media.fetch(f"{HOST}/a")
    web.pages = {"/a": picture(2)}
    clock.now += DAY / 2
    assert media.fetch(f"{HOST}/a") == first
    assert len(web.requests) == 1
    clock.now += DAY
    second = media.fetch(f"{HOST}/a")
    assert second.read_bytes() == picture(2)
    clock.now += 2 * DAY
    assert media.fetch(f"{HOST}/a") == second  # "not modified"
    assert media.fetch(f"{HOST}/a") == second
    assert len(web.requests) == 3


def test_without_a_validator_and_with_the_server_away_the_file_of_yesterday_is_used(
    media: MediaCache, web: Web, clock: Clock
) -> None:
    web.pages = {"/a": picture(1), "/plain": picture(2)}
    paths = [media.fetch(f"{HOST}{path}") for path in web.pages]
    clock.now += 3 * DAY
    web.down = True
    assert [media.fetch(f"{HOST}{path}") for path in web.pages] == paths
    assert [media.fetch(f"{HOST}{path}") for path in web.pages] == paths
    assert [request.url.path for request in web.requests] == ["/a", "/plain", "/a"]


def test_an_upload_of_label_studio_is_never_asked_about_again(media: MediaCache, web: Web, clock: Clock) -> None:
    web.pages = {"/data/upload/1/a.png": picture(1), "/data/local-files/": picture(2)}
    paths = [media.fetch(address) for address in ("/data/upload/1/a.png", "/data/local-files/?d=a.png")]
    clock.now += 3 * DAY
    assert [media.fetch(address) for address in ("/data/upload/1/a.png", "/data/local-files/?d=a.png")] == paths
    assert [request.url.path for request in web.requests] == [*web.pages, "/data/local-files/"]


def test_a_host_that_is_no_longer_allowed_is_refused_though_its_file_is_held(
    media: MediaCache, web: Web, tmp_path: Path
) -> None:
    web.pages = {"/a": picture()}
    media.fetch(f"{HOST}/a")
    stricter = MediaCache(tmp_path / "media", MediaRules(LABEL_STUDIO), dict)
    with pytest.raises(MediaError, match="LABELLOOP_MEDIA_HOSTS"):
        stricter.fetch(f"{HOST}/a")
    stricter.close()


def test_threads_that_ask_for_one_address_at_once_fetch_it_once(media: MediaCache, web: Web) -> None:
    web.pages, web.gate = {"/a": picture()}, threading.Event()
    with ThreadPoolExecutor(8) as pool:
        flights = [pool.submit(media.fetch, f"{HOST}/a") for _ in range(8)]
        while not web.requests:
            pass
        web.gate.set()
        paths = {flight.result(60) for flight in flights}
    assert len(paths) == 1 and len(web.requests) == 1


def test_a_failure_is_shared_by_those_who_waited_and_tried_again_by_the_next(media: MediaCache, web: Web) -> None:
    web.down, web.gate = True, threading.Event()
    with ThreadPoolExecutor(4) as pool:
        flights = [pool.submit(media.fetch, f"{HOST}/a") for _ in range(4)]
        while not web.requests:
            pass
        web.gate.set()
        errors = [flight.exception(60) for flight in flights]
    assert {getattr(error, "reason", None) for error in errors} == {"not_found"}
    web.down, web.pages = False, {"/a": picture()}
    assert media.fetch(f"{HOST}/a").is_file()


def test_a_full_disk_is_a_reason_and_what_is_there_is_still_handed_out(
    media: MediaCache, web: Web, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.pages = {f"/{n}": picture(n) for n in range(4)}
    old, used = media.fetch(f"{HOST}/0"), media.fetch(f"{HOST}/1")
    clock.now += KEEP_S + 1
    media.fetch(f"{HOST}/1")
    write = cache.Sink.write
    full = [True]

    def no_space(self: Any, chunk: bytes) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, chunk)

    monkeypatch.setattr(cache.Sink, "write", no_space)
    with pytest.raises(MediaError, match="No space left") as caught:
        media.fetch(f"{HOST}/2")
    assert caught.value.reason == "error"
    assert media.fetch(f"{HOST}/1") == used
    assert not old.exists()  # room was made of what nobody used
    assert list(tmp_path.rglob("partial/*")) == []
    full[0] = False
    assert media.fetch(f"{HOST}/2").is_file()


def test_an_index_that_cannot_be_written_is_a_reason(
    media: MediaCache, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    web.pages = {"/a": picture()}
    with monkeypatch.context() as patch:
        patch.setattr(Shelves, "remember", full)
        with pytest.raises(MediaError, match="disk is full") as caught:
            media.fetch(f"{HOST}/a")
    assert caught.value.reason == "error"
    assert media.fetch(f"{HOST}/a").is_file()


def test_a_folder_that_was_deleted_meanwhile_is_a_reason_and_not_a_crash(
    media: MediaCache, web: Web, tmp_path: Path
) -> None:
    web.pages = {"/a": picture()}
    media.fetch(f"{HOST}/a")
    shutil.rmtree(tmp_path / "media")
    (tmp_path / "media").write_text("a file stands there now")
    with pytest.raises(MediaError) as caught:
        media.fetch(f"{HOST}/a")
    assert caught.value.reason == "error"
