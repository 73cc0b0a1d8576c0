"""A source into a project: once each, checked, joined, grouped, with roles that stay; on both databases."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from ingest_site import BOXES, TEXTS, Site, ingest_site, lines, picture, texts, words

from labelloop.errors import NotReady, UsageError
from labelloop.store import Store
from labelloop.store.leases import acquire
from sync.ingesting import IngestOptions, MetadataOptions, NearOptions, SourceOptions, ingest, running

pytestmark = pytest.mark.integration


@pytest.fixture
def site(tmp_path: Path, store: Store) -> Iterator[Site]:
    """Texts, on SQLite and on PostgreSQL."""
    with ingest_site(tmp_path, store, TEXTS) as made:
        yield made


@pytest.fixture
def texts_site(tmp_path: Path, sqlite_store: Store) -> Iterator[Site]:
    with ingest_site(tmp_path, sqlite_store, TEXTS) as made:
        yield made


@pytest.fixture
def images_site(tmp_path: Path, sqlite_store: Store) -> Iterator[Site]:
    with ingest_site(tmp_path, sqlite_store, BOXES) as made:
        yield made


def test_a_source_comes_in_once_and_what_does_not_is_told(site: Site) -> None:
    rows: list[dict[str, Any]] = [{"text": words(n), "n": n} for n in range(120)]
    source = texts(site.folder / "a.jsonl", [*rows, {"text": words(0), "n": 500}, {"text": " "}, {"other": 1}])
    source.write_text(source.read_text() + "{broken\n" + json.dumps({"text": "fi\u0301n\r\n\0"}) + "\n")
    report = site.ingest(source)
    assert (report.added, report.present, report.duplicates) == (121, 0, 1)
    assert report.rejected == {"text_missing": 2, "not_json": 1} and report.rejects is not None
    assert [(row["source"], row["reason"]) for row in lines(report.rejects)] == [
        (f"{source}:124", "not_json"), (f"{source}:122", "text_missing"), (f"{source}:123", "text_missing")
    ]  # fmt: skip
    assert lines(report.duplicates_file) == [
        {"source": f"{source}:121", "same_as": f"{source}:1", "kind": "exact", "measure": None}
    ]
    assert report.changed_texts == {"nfc": 1, "line_ends": 1, "nul": 1}
    assert any(task["data"]["text"] == "fín\n" for task in site.remote.tasks.values())
    assert report.roles.total() == 121 and report.roles["holdout"] >= 30
    assert report.overlapped == sum(task["overlap"] == 2 for task in site.remote.tasks.values()) > 0
    site.agree()
    writes = len(site.remote.writes)
    again = site.ingest(source)
    assert (again.added, again.present, again.duplicates) == (0, 121, 1) and len(site.remote.writes) == writes


def test_roles_stay_whatever_comes_later(site: Site) -> None:
    site.ingest(texts(site.folder / "a.jsonl", [{"text": words(n)} for n in range(60)]))
    threshold = site.store.project(1).holdout_threshold  # type: ignore[union-attr]
    before = {row.content_hash: row.role for row in site.store.tasks(1)}
    site.ingest(texts(site.folder / "b.jsonl", [{"text": words(n)} for n in range(30, 200)]))
    site.agree()
    after = {row.content_hash: row.role for row in site.store.tasks(1)}
    assert site.store.project(1).holdout_threshold == threshold  # type: ignore[union-attr]
    assert before.items() <= after.items() and len(after) == 200


def test_a_dry_run_tells_the_same_and_changes_nothing(texts_site: Site) -> None:
    source = texts(texts_site.folder / "a.jsonl", [*({"text": words(n)} for n in range(80)), {"text": ""}])
    foreseen = texts_site.ingest(source, dry_run=True)
    assert (texts_site.remote.tasks, texts_site.remote.writes, texts_site.store.tasks(1)) == ({}, [], [])
    assert texts_site.store.project(1).holdout_threshold is None  # type: ignore[union-attr]
    report = texts_site.ingest(source)
    assert (foreseen.added, foreseen.roles, foreseen.overlapped) == (report.added, report.roles, report.overlapped)
    assert foreseen.rejected == report.rejected == {"text_missing": 1} and foreseen.dry_run


def test_rejects_may_go_to_a_file_of_ones_own(texts_site: Site) -> None:
    mine = texts_site.folder / "deep" / "mine.jsonl"
    texts_site.ingest(texts(texts_site.folder / "a.jsonl", [{"text": ""}]), rejects=mine)
    assert [row["reason"] for row in lines(mine)] == ["text_missing"]
    texts_site.ingest(texts(texts_site.folder / "a.jsonl", [{"text": "fine"}]), rejects=mine)
    assert lines(mine) == []


def test_a_task_that_label_studio_refuses_costs_the_others_nothing(texts_site: Site) -> None:
    texts_site.remote.refuses_task = lambda row: row["data"]["n"] in (7, 40)
    report = texts_site.ingest(texts(texts_site.folder / "a.jsonl", [{"text": words(n), "n": n} for n in range(60)]))
    assert (report.added, report.rejected) == (58, {"refused": 2}) and "no such task" in lines(report.rejects)[0][
        "detail"
    ]
    texts_site.agree()
    texts_site.remote.refuses_task = lambda row: False
    assert texts_site.ingest(texts_site.folder / "a.jsonl").added == 2


def test_a_value_that_the_project_shows_must_be_there(tmp_path: Path, sqlite_store: Store) -> None:
    asking = TEXTS.replace("<View>", '<View><Text name="context" value="$context"/><Header value="$title"/>')
    with ingest_site(tmp_path, sqlite_store, asking) as site:
        source = site.folder / "a.jsonl"
        rows = [{"text": words(1), "context": ""}, {"text": words(2)}, {"context": "x"}]
        report = site.ingest(texts(source, rows))
        assert (report.added, report.rejected) == (1, {"text_missing": 2})
        assert "nothing under 'context'" in lines(report.rejects)[0]["detail"]


# -- near duplicates and groups ---------------------------------------------------------------------------------------


def test_near_texts_share_a_group_and_a_role_also_with_earlier_tasks(texts_site: Site) -> None:
    rows = [{"text": words(n)} for n in range(80)]
    copies = [{"text": f"{words(n)} and a word"} for n in range(40)]
    first = texts_site.ingest(texts(texts_site.folder / "a.jsonl", [*rows, *copies[:20]]))
    assert (first.added, first.near.found, first.near.groups, first.near.largest) == (100, 20, 20, 2)
    second = texts_site.ingest(texts(texts_site.folder / "b.jsonl", copies[20:]))
    assert (second.added, second.near.found, second.near.to_project) == (20, 20, 20)
    texts_site.agree()
    roles = texts_site.roles()
    assert len(roles) == 80 and all(len(found) == 1 for found in roles.values())
    assert {frozenset(found) for found in roles.values()} >= {frozenset({"holdout"}), frozenset({"pool"})}


def test_near_images_are_found_by_their_marks_alone(images_site: Site) -> None:
    folder = images_site.folder / "first"
    for n in range(12):
        picture(folder / f"{n}.png", n, (640, 480))
    images_site.ingest(folder)
    again = images_site.folder / "again"
    again.mkdir()
    for n in range(6):
        Image.open(folder / f"{n}.png").resize((320, 240)).save(again / f"small {n}.jpg", quality=60)
    picture(again / "new.png", 99)
    for file in (images_site.folder / "served").rglob("*.png"):
        file.unlink()  # what was brought in is not looked at again
    report = images_site.ingest(again)
    assert (report.added, report.near.found, report.near.to_project) == (7, 6, 6)
    assert len(images_site.roles()) == 13
    dropped = images_site.ingest(again, near=NearOptions(drop=True))
    assert (dropped.added, dropped.present) == (0, 7)
    third = images_site.folder / "third"
    third.mkdir()
    Image.open(folder / "0.png").resize((200, 150)).save(third / "x.png")
    dropped = images_site.ingest(third, near=NearOptions(drop=True))
    assert (dropped.added, dropped.near.dropped, lines(dropped.duplicates_file)[0]["kind"]) == (0, 1, "near")
    assert images_site.ingest(third, near=None).added == 1


def test_items_of_one_group_get_one_role(texts_site: Site) -> None:
    rows = [{"text": words(n), "patient": f"p{n % 20}"} for n in range(100)]
    rows.append({"text": words(500), "patient": "x" * 500})
    texts_site.ingest(texts(texts_site.folder / "a.jsonl", rows), source=SourceOptions(group="patient"))
    roles = texts_site.roles()
    assert {key for key in roles if key.startswith("p")} == {f"p{n}" for n in range(20)}
    assert all(len(found) == 1 for found in roles.values()) and max(map(len, roles)) <= 128
    assert all("patient" not in task["data"] for task in texts_site.remote.tasks.values())


# -- metadata ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("into", ["data", "meta"])
def test_metadata_is_joined_by_file_name_and_both_sides_are_told(images_site: Site, into: Any) -> None:
    folder = images_site.folder / "pics"
    for name in ("a.png", "b.png", "sub/c.png", "sub/a.png"):
        picture(folder / name, hash(name) % 1000)
    table = images_site.folder / "meta.csv"
    table.write_text(
        "file_name,site,group\na.png,north,g1\nsub/c.png,south,g1\nnone.png,west,\na.png,twice,\n,blank,\n"
    )
    report = images_site.ingest(folder, metadata=MetadataOptions(str(table), into=into))
    assert report.metadata == {
        "rows": 3, "joined": 3, "items_without_row": 1, "rows_without_item": 1, "rows_for_several_items": 1
    }  # fmt: skip
    assert report.rejected == {"columns": 2}
    assert {(row["side"], Path(row["name"]).name) for row in lines(report.unmatched_file)} == {
        ("item", "b.png"), ("row", "none.png")
    }  # fmt: skip
    sites = {task["meta"]["labelloop"]["name"]: task[into].get("site") for task in images_site.remote.tasks.values()}
    assert sites == {"a.png": "north", "sub/c.png": "south", "sub/a.png": "north", "b.png": None}
    assert len({key for key in images_site.roles() if key == "g1"}) == 1
    assert images_site.ingest(folder).present == 4  # what is joined makes no other item


def test_metadata_is_joined_by_a_key_that_both_have(texts_site: Site) -> None:
    source = texts_site.folder / "a.csv"
    source.write_text("id,text\n" + "".join(f"{n},{words(n)}\n" for n in (1, 2, 12)))
    table = texts(texts_site.folder / "m.jsonl", [{"id": n, "lang": f"l{n}"} for n in (1, 12, 3)])
    options: dict[str, Any] = {
        "source": SourceOptions(key="id"),
        "metadata": MetadataOptions(str(table), key="id", exact=True),
    }
    report = texts_site.ingest(source, **options)
    assert report.metadata is not None and report.metadata["joined"] == 2
    found = {task["data"]["id"]: task["data"].get("lang") for task in texts_site.remote.tasks.values()}
    assert found == {"1": "l1", "2": None, "12": "l12"}
    with pytest.raises(UsageError, match=r"no column 'key'.*it has id, lang.*--key"):
        texts_site.ingest(source, metadata=MetadataOptions(str(table), key="key"))


# -- media ------------------------------------------------------------------------------------------------------------


def test_images_are_staged_with_their_upright_size_and_the_rest_is_told(images_site: Site) -> None:
    folder = images_site.folder / "pics"
    for n in range(3):
        picture(folder / f"p {n}.png", n)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(picture(folder / "x.png", 50, (90, 60))).save(folder / "turned.jpg", exif=exif)
    (folder / "torn.png").write_bytes((folder / "p 0.png").read_bytes()[:200])
    (folder / "page.jpg").write_text("<html>not found</html>")
    (folder / "readme.txt").write_text("x")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    report = images_site.ingest(folder)
    assert (report.added, report.rejected) == (5, {"unreadable": 1, "not_an_image": 1})
    assert (report.other_files, report.images) == ({".txt": 1}, {"png": 4, "jpg": 1, "turned": 1})
    marks = {t["meta"]["labelloop"]["name"]: t["meta"]["labelloop"] for t in images_site.remote.tasks.values()}
    assert (marks["turned.jpg"]["width"], marks["turned.jpg"]["height"]) == (60, 90)
    served = images_site.folder / "served" / "labelloop" / "p1"
    for task in images_site.remote.tasks.values():
        address = task["data"]["image"]
        assert (served / address.rpartition("/")[2]).is_file() and address.startswith("/data/local-files/?d=")
    assert images_site.remote.storages[0]["path"] == str(served)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    images_site.agree()


def test_a_file_that_goes_while_others_come_in_costs_only_itself(
    images_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = images_site.folder / "pics"
    for n in range(5):
        picture(folder / f"{n}.png", n)
    group_near = running.group_near

    def then_one_goes(*args: Any) -> Any:
        (folder / "2.png").unlink()
        return group_near(*args)

    monkeypatch.setattr(running, "group_near", then_one_goes)
    report = images_site.ingest(folder)
    assert (report.added, report.rejected) == (4, {"not_found": 1})
    images_site.agree()


def test_files_are_looked_at_once_and_again_only_when_they_change(
    images_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sync.ingesting import examining

    folder = images_site.folder / "pics"
    for n in range(4):
        picture(folder / f"{n}.png", n)
    looked: list[str] = []
    look = examining.look_at_image
    monkeypatch.setattr(
        examining, "look_at_image", lambda path, *a, **k: looked.append(path.name) or look(path, *a, **k)
    )
    images_site.ingest(folder, dry_run=True)
    images_site.ingest(folder)
    assert sorted(looked) == ["0.png", "1.png", "2.png", "3.png"]
    picture(folder / "1.png", 77)
    assert images_site.ingest(folder).added == 1
    assert looked[4:] == ["1.png"]


# -- the project's other tasks, and other processes -------------------------------------------------------------------


def test_tasks_that_came_another_way_are_recognised_by_what_they_show(texts_site: Site) -> None:
    for task_id, text in ((1, words(1)), (2, "e\u0301clair " + words(2))):
        texts_site.remote.tasks[task_id] = {
            "id": task_id, "data": {"text": text, "via": "upload"}, "meta": {}, "overlap": 1, "is_labeled": False
        }  # fmt: skip
    rows = [{"text": words(1)}, {"text": "éclair " + words(2)}, {"text": words(1) + " more"}, {"text": words(9)}]
    report = texts_site.ingest(texts(texts_site.folder / "a.jsonl", rows))
    assert (report.added, report.present, report.near.to_project) == (2, 2, 1)
    assert len(texts_site.remote.tasks) == 4
    assert {row.task_id for row in texts_site.store.tasks(1)} == {1, 2, 3, 4}


def test_only_one_process_brings_items_into_a_project(texts_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LEASE_TTL_S", 0.3)
    source = texts(texts_site.folder / "a.jsonl", [{"text": "x y"}])
    assert acquire(texts_site.store, 1, "ingest", 3600) is not None
    with pytest.raises(NotReady, match="another process brings items into project 1"):
        texts_site.ingest(source)
    assert texts_site.remote.tasks == {}


def test_a_project_that_is_not_known_and_a_source_that_is_none_are_refused(texts_site: Site) -> None:
    from dataclasses import replace

    with pytest.raises(UsageError, match="project 9 is not known"):
        ingest(replace(texts_site.target, project_id=9), "x", IngestOptions())
    with pytest.raises(UsageError, match="does not exist"):
        texts_site.ingest(texts_site.folder / "absent.csv")
    with pytest.raises(UsageError, match="expected a source, or pre-annotations"):
        texts_site.ingest(None)
    assert texts_site.remote.writes == []
