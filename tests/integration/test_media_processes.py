"""One cache folder for several processes: nobody loses a file that was handed out, and a kill leaves nothing half-written."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from broken_site import Site, noise, saved

from labelloop.media import MediaCache, MediaRules
from labelloop.media.shelves import KEEP_S, Shelves

pytestmark = pytest.mark.integration

UPLOAD = "/data/upload/1"
IMAGES = 60
READER = """
import hashlib, random, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from labelloop.media import MediaCache, MediaRules

folder, url, seed, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
media = MediaCache(folder, MediaRules(url), dict, cache_bytes=limit)
order = list(range(int(sys.argv[5]))) * 2
random.Random(seed).shuffle(order)

def read(number):
    data = media.fetch(f"/data/upload/1/image-{number}.png").read_bytes()
    return f"{number} {hashlib.sha256(data).hexdigest()}"

with ThreadPoolExecutor(4) as pool:
    print("\\n".join(pool.map(read, order)))
media.close()
"""


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site(limit=1_000_000)
    made.files |= {f"{UPLOAD}/image-{n}.png": saved(noise(200 + n), "PNG") for n in range(IMAGES)}
    yield made
    made.close()


def cache(folder: Path, site: Site, limit: int = 10_000_000) -> MediaCache:
    return MediaCache(folder, MediaRules(f"http://127.0.0.1:{site.port}"), dict, cache_bytes=limit)


def fill(folder: Path, count: int, size: int) -> None:
    """Put files that nobody used for long."""
    shelves = Shelves(folder, 10**9, clock=lambda: time.time() - 2 * KEEP_S)
    for number in range(count):
        content = f"{number:08d}".encode() * (size // 8)
        with shelves.partial() as partial:
            partial.write_bytes(content)
            shelves.put(partial, hashlib.sha256(content).hexdigest(), "png")
    shelves.close()


@pytest.mark.parametrize("old", [100, 0])
def test_processes_that_fetch_and_remove_at_once_lose_nothing(tmp_path: Path, site: Site, old: int) -> None:
    folder, limit = tmp_path / "media", 400_000
    if old:  # else the processes also make the index at once
        fill(folder, old, 4000)
    command = [sys.executable, "-c", READER, str(folder), f"http://127.0.0.1:{site.port}"]
    running = [
        subprocess.Popen([*command, str(seed), str(limit), str(IMAGES)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for seed in range(4)
    ]
    contents = [site.files[f"{UPLOAD}/image-{number}.png"] for number in range(IMAGES)]
    expected = {f"{number} {hashlib.sha256(content).hexdigest()}" for number, content in enumerate(contents)}
    for process in running:
        out, error = process.communicate(timeout=300)
        assert process.returncode == 0, error.decode()
        lines = out.decode().split("\n")[:-1]
        assert len(lines) == 2 * IMAGES and set(lines) == expected
    files = {file.name: file.stat().st_size for file in folder.glob("content/*/*")}
    with closing(sqlite3.connect(folder / "index.sqlite3")) as index:
        assert dict(index.execute("select name, size from contents")) == files
    assert sum(files.values()) <= limit + 50_000
    assert len(files) < IMAGES + old or not old  # some of the old ones had to go
    assert list(folder.glob("partial/*")) == []


def test_a_process_killed_in_mid_write_leaves_nothing_half_written(tmp_path: Path, site: Site) -> None:
    folder, address = tmp_path / "media", f"{UPLOAD}/image-0.png"
    site.hanging.add(address)
    command = [sys.executable, "-c", READER, str(folder), f"http://127.0.0.1:{site.port}", "0", "100000", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while not any(address == path for _, path, _ in site.requests) or not list(folder.glob("partial/*")):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    (left,) = folder.glob("partial/*")
    assert list(folder.glob("content/*/*")) == []
    site.hanging.clear()
    media = cache(folder, site)
    assert media.fetch(address).read_bytes() == site.files[address]
    os.utime(left, (1, 1))
    media.close()
    shelves = Shelves(folder, 10_000)
    shelves.trim()
    shelves.close()
    assert not left.exists()


def test_a_folder_that_two_caches_of_one_process_share_is_no_matter(tmp_path: Path, site: Site) -> None:
    caches = [cache(tmp_path / "media", site) for _ in range(3)]
    addresses = [f"{UPLOAD}/image-{number}.png" for number in range(20)]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda at: caches[at % 3].fetch(addresses[at // 3]), range(60)))
    assert [found[at] for at in range(0, 60, 3)] == [found[at] for at in range(1, 60, 3)]
    assert len(set(found)) == 20
    for each in caches:
        each.close()
