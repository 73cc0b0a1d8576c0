"""Sources that are not of this machine: a bucket behind moto's S3 server, and a file on the web."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from ingest_site import BOXES, TEXTS, Site, ingest_site, lines, picture, words

from labelloop.errors import DataError, UsageError
from labelloop.store import Store
from sync.ingesting import MetadataOptions
from sync.ingesting import places as places_of_sources

pytestmark = pytest.mark.integration


@pytest.fixture
def images_site(tmp_path: Path, sqlite_store: Store) -> Iterator[Site]:
    with ingest_site(tmp_path, sqlite_store, BOXES) as made:
        yield made


@pytest.fixture
def texts_site(tmp_path: Path, sqlite_store: Store) -> Iterator[Site]:
    with ingest_site(tmp_path, sqlite_store, TEXTS) as made:
        yield made


def test_images_of_a_bucket_are_checked_and_served_from_a_copy(images_site: Site, bucket: Any) -> None:
    for n in range(8):
        bucket.put_file(str(picture(images_site.folder / "x.png", n)), f"labels/pics/sub/{n}.png")
    bucket.pipe_file("labels/pics/torn.png", b"\x89PNG")
    bucket.pipe_file("labels/pics/empty.png", b"")
    bucket.pipe_file("labels/meta.csv", b"file_name,site\n3.png,north\n")
    report = images_site.ingest("s3://labels/pics", metadata=MetadataOptions("s3://labels/meta.csv"))
    assert (report.added, report.rejected) == (8, {"unreadable": 1, "empty": 1})
    assert report.metadata is not None and report.metadata["joined"] == 1
    assert {row["source"] for row in lines(report.rejects)} == {
        "s3://labels/pics/torn.png",
        "s3://labels/pics/empty.png",
    }
    served = images_site.folder / "served" / "labelloop" / "p1"
    assert len(list(served.iterdir())) == 8
    assert not any((images_site.folder / "ingest" / "1" / "fetched").iterdir())  # moved, not kept twice
    assert {task["meta"]["labelloop"]["name"] for task in images_site.remote.tasks.values()} == {
        f"sub/{n}.png" for n in range(8)
    }
    images_site.agree()
    again = images_site.ingest("s3://labels/pics/**/*.png")
    assert (again.added, again.present) == (0, 8)


def test_what_was_fetched_before_a_stop_is_not_fetched_again(
    images_site: Site, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sync.ingesting import examining

    for n in range(3):
        bucket.put_file(str(picture(images_site.folder / "x.png", n)), f"labels/{n}.png")
    fetched: list[str] = []
    fetch = places_of_sources.fetch
    monkeypatch.setattr(examining, "fetch", lambda address, *rest: fetched.append(address) or fetch(address, *rest))
    images_site.ingest("s3://labels", dry_run=True)
    images_site.ingest("s3://labels")
    assert sorted(fetched) == [f"s3://labels/{n}.png" for n in range(3)]
    bucket.put_file(str(picture(images_site.folder / "x.png", 9)), "labels/0.png")
    assert images_site.ingest("s3://labels").added == 1


def test_addresses_in_rows_stay_unless_copies_are_asked_for(images_site: Site, bucket: Any) -> None:
    bucket.put_file(str(picture(images_site.folder / "x.png", 1)), "labels/a.png")
    bucket.pipe_file("labels/rows.csv", b"image,n\ns3://labels/a.png,1\ns3://labels/none.png,2\n")
    report = images_site.ingest("s3://labels/rows.csv")
    assert report.added == 2 and not (images_site.folder / "served").exists()
    assert {task["data"]["image"] for task in images_site.remote.tasks.values()} == {
        "s3://labels/a.png", "s3://labels/none.png"
    }  # fmt: skip
    copied = images_site.ingest("s3://labels/rows.csv", copy_addresses=True)
    assert (copied.added, copied.rejected) == (1, {"not_found": 1})
    (task,) = [task for task in images_site.remote.tasks.values() if task["data"]["image"].startswith("/data/")]
    assert (task["data"]["n"], task["meta"]["labelloop"]["width"]) == ("1", 64)


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "json", "csv"])
def test_tables_of_a_bucket_are_read(texts_site: Site, bucket: Any, kind: str) -> None:
    import polars as pl

    frame = pl.DataFrame({"text": [words(n) for n in range(5)], "n": list(range(5))})
    path = texts_site.folder / f"rows.{kind}"
    write = {
        "jsonl": frame.write_ndjson,
        "parquet": frame.write_parquet,
        "json": frame.write_json,
        "csv": frame.write_csv,
    }
    write[kind](path)
    bucket.put_file(str(path), f"labels/rows.{kind}")
    assert texts_site.ingest(f"s3://labels/rows.{kind}").added == 5


def test_what_a_bucket_does_not_give_is_told(texts_site: Site, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"s3://labels/none\.jsonl does not exist"):
        texts_site.ingest("s3://labels/none.jsonl")
    with pytest.raises((UsageError, DataError), match=r"s3://nobodys/rows"):
        texts_site.ingest("s3://nobodys/rows.jsonl")


class _Web(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        found = self.path.startswith("/rows.csv")
        content = ("text,n\n" + "".join(f"{words(n)},{n}\n" for n in range(4))).encode() if found else b"gone"
        self.send_response(200 if found else 404)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Web) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_on_the_web_is_a_source(texts_site: Site, web: str) -> None:
    assert texts_site.ingest(f"{web}/rows.csv?version=2").added == 4
    with pytest.raises(DataError, match=r"none\.csv answered with status 404"):
        texts_site.ingest(f"{web}/none.csv")
    with pytest.raises(DataError, match="cannot be read"):
        texts_site.ingest("http://127.0.0.1:9/rows.csv")
