"""Sources: folders, patterns, tables and single files as items; what cannot be read is told and costs no other its place."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelloop.errors import DataError, UsageError
from sync.ingesting.items import IngestItem, Rejected
from sync.ingesting.shown import shown_by
from sync.ingesting.sources import SourceOptions, open_source

TEXT = shown_by('<View><Text name="t" value="$text"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>')
BOX = '<RectangleLabels name="b" toName="i"><Label value="a"/></RectangleLabels>'
IMAGE = shown_by(f'<View><Image name="i" value="$image"/>{BOX}</View>')
IMAGES = shown_by(f'<View><Image name="i" valueList="$images"/>{BOX}</View>')


def read(address: Path | str, shown: Any = TEXT, **options: Any) -> tuple[list[IngestItem], list[Rejected]]:
    rejected: list[Rejected] = []
    items = list(open_source(str(address), shown, SourceOptions(**options)).items(rejected.append))
    return items, rejected


def image(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 6), shade).save(path)
    return path


def files(items: list[IngestItem]) -> list[str]:
    return [medium.address for item in items for medium in item.media]


# -- folders, patterns, single files ----------------------------------------------------------------------------------


def test_a_folder_gives_its_images_in_order_and_counts_the_rest(tmp_path: Path) -> None:
    image(tmp_path / "b.png")
    image(tmp_path / "sub" / "a.JPG")
    image(tmp_path / ".hidden" / "x.png")
    (tmp_path / "notes.txt").write_text("x")
    source = open_source(str(tmp_path), IMAGE)
    items = list(source.items(lambda _: None))
    assert files(items) == [str(tmp_path / "b.png"), str(tmp_path / "sub" / "a.JPG")]
    assert items[1].names == ("sub/a.JPG", "a.JPG", "a")
    assert source.other_files == {".txt": 1}


def test_a_folder_of_texts_gives_one_task_per_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffGrüße\r\n".encode())
    (tmp_path / "b.md").write_text("# two")
    (tmp_path / "c.txt").write_bytes(b"ol\xe9")
    (tmp_path / "d.txt").write_bytes(b"")
    items, rejected = read(tmp_path)
    assert [item.data["text"] for item in items] == ["\ufeffGrüße\r\n", "# two"]
    assert [(r.reason, Path(r.source).name) for r in rejected] == [("encoding", "c.txt"), ("empty", "d.txt")]
    assert "at byte 2 (0xe9)" in rejected[0].detail and "--encoding" in rejected[0].detail
    items, rejected = read(tmp_path, encoding="latin-1")
    assert items[2].data == {"text": "olé"} and [r.reason for r in rejected] == ["empty"]


def test_a_pattern_takes_tables_and_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name}))
    (tmp_path / "c.bin").write_bytes(b"x")
    source = open_source(str(tmp_path / "*"), TEXT)
    assert [item.data["text"] for item in source.items(lambda _: None)] == ["a", "b"]
    assert source.other_files == {".bin": 1}
    image(tmp_path / "deep" / "er" / "x.png")
    items, _ = read(tmp_path / "**" / "*.png", IMAGE)
    assert items[0].names[0] == "deep/er/x.png"
    image(tmp_path / "odd[1].png")  # no pattern where a file has that very name
    assert files(read(tmp_path / "odd[1].png", IMAGE)[0]) == [str(tmp_path / "odd[1].png")]


def test_an_fsspec_address_is_a_source_like_any_other(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/ing/a.jsonl": b'{"text": "one"}\n', "/ing/x/p.png": image(tmp_path / "p.png").read_bytes()})
    try:
        assert read("memory://ing/a.jsonl")[0][0].data == {"text": "one"}
        assert read("memory://ing/*.jsonl")[0][0].data == {"text": "one"}
        (item,) = read("memory://ing", IMAGE)[0]
        assert (item.media[0].address, item.names[0]) == ("memory://ing/x/p.png", "x/p.png")
        (tmp_path / "b.jsonl").write_text('{"text": "two"}')
        assert read(f"file://{tmp_path}/b.jsonl")[0][0].data == {"text": "two"}
    finally:
        memory.rm("/ing", recursive=True)


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no file that the project shows"):
        read(tmp_path, IMAGE)
    with pytest.raises(UsageError, match=r"does not exist; expected a folder, a pattern .*\.jsonl"):
        read(tmp_path / "absent.jsonl")
    with pytest.raises(UsageError, match="fits no file"):
        read(tmp_path / "*.csv")
    (tmp_path / "a.docx").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"expected a folder, .*\.txt"):
        read(tmp_path / "a.docx")
    with pytest.raises(UsageError, match="a protocol that fsspec knows"):
        read("nosuch://bucket/x.jsonl")
    with pytest.raises(DataError, match="does not exist"):
        read_after_it_went()


def read_after_it_went() -> None:
    """A file that goes away between opening and reading."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/gone.jsonl", b"{}")
    source = open_source("memory://gone.jsonl", TEXT)
    memory.rm("/gone.jsonl")
    list(source.items(lambda _: None))


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_json_lines_are_flat_or_nested_and_may_name_images(tmp_path: Path) -> None:
    image(tmp_path / "pics" / "x.png")
    lines = [
        '{"text": "one", "group": 3}',
        "",
        '{"data": {"text": "two", "k": 1}, "meta": {"m": 2}}',
        "{broken",
        '["no"]',
    ]
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(lines))
    (one, two), rejected = read(path)
    assert (one.data, one.group) == ({"text": "one"}, "3")
    assert (two.data, two.group, two.meta) == ({"text": "two", "k": 1}, None, {"m": 2})
    assert [(r.source, r.reason) for r in rejected] == [(f"{path}:4", "not_json"), (f"{path}:5", "not_json")]
    path.write_text('{"data": {"image": "pics/x.png", "site": "A"}, "group": "g"}\n{"image": "s3://b/y.png"}')
    (near, far), _ = read(path, IMAGE)
    assert (near.data, files([near]), near.group) == ({"site": "A"}, [str(tmp_path / "pics" / "x.png")], "g")
    assert near.names == ("pics/x.png", "x.png", "x")
    assert (far.data, far.media) == ({"image": "s3://b/y.png"}, ())


def test_lone_surrogates_and_bad_bytes_cost_their_line_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a\\ud83d"}\n{"text": "b\xff"}\n{"text": NaN}\n{"text": "c"}\n')
    items, rejected = read(path)
    assert [item.data["text"] for item in items] == ["a\ud83d", "c"]
    assert [(r.source, r.reason) for r in rejected] == [(f"{path}:2", "encoding"), (f"{path}:3", "not_json")]
    assert f"at byte {path.read_bytes().index(0xFF)} (0xff)" in rejected[0].detail


def test_a_json_list_of_tasks_is_read_and_its_labels_are_told(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    tasks = [{"id": 7, "data": {"text": "one"}, "annotations": [{"result": []}]}, {"text": "two"}, 5]
    path.write_text("\ufeff" + json.dumps(tasks))
    rejected: list[Rejected] = []
    source = open_source(str(path), TEXT)
    assert [item.data["text"] for item in source.items(rejected.append)] == ["one", "two"]
    assert (source.ignored_labels, [r.source for r in rejected]) == (1, [f"{path}, entry 3"])
    path.write_text('[{"text": "half \\ud800"}]')
    assert read(path)[0][0].data["text"] == "half \ud800"
    for content, said in (("", "no JSON"), ('{"text": "x"}', "expected a list"), ("[1,", "no JSON")):
        path.write_text(content)
        with pytest.raises(DataError, match=said):
            read(path)


# -- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_rows_are_items_and_wrong_ones_are_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [b"text,group,id", b'"two\r\nlines",g,1', b'"a ""quote""",,2', b"short", b"ol\xe9,g,4", "ß,g,5".encode()]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines) + b'\n"never closed,g,6\n')
    items, rejected = read(path)
    assert [item.data["text"] for item in items] == ["two\r\nlines", 'a "quote"', "ß"]
    assert [item.data["id"] for item in items] == ["1", "2", "5"] and items[0].group == "g"
    assert [(r.source, r.reason) for r in rejected] == [
        (f"{path}:5", "columns"), (f"{path}:6", "encoding"), (f"{path}:8", "columns")
    ]  # fmt: skip
    assert f"at byte {path.read_bytes().index(0xE9)}" in rejected[1].detail


def test_delimiters_encodings_and_unnamed_columns(tmp_path: Path) -> None:
    semicolon, tabs, cp1252 = tmp_path / "a.csv", tmp_path / "a.tsv", tmp_path / "b.csv"
    semicolon.write_text(";text;n\n0;x, y;1\n")
    tabs.write_text("text\tn\na,b\t1\n")
    cp1252.write_bytes("text,n\n“olé”,1\n".encode("cp1252"))
    assert read(semicolon)[0][0].data == {"text": "x, y", "n": "1"}
    assert read(tabs)[0][0].data == {"text": "a,b", "n": "1"}
    assert read(cp1252, encoding="cp1252")[0][0].data["text"] == "“olé”"
    (tmp_path / "c.csv").write_bytes("text,n\nx,1\n".encode("utf-16"))
    assert read(tmp_path / "c.csv", encoding="utf-16")[0][0].data == {"text": "x", "n": "1"}
    with pytest.raises(DataError, match=r"not utf-8 at byte 0 .* begins like utf-16"):
        read(tmp_path / "c.csv")
    for content in ("", "a,a\n1,2\n"):
        semicolon.write_text(content)
        with pytest.raises(DataError, match="names each column once"):
            read(semicolon)


def test_a_long_cell_and_many_columns_are_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text," + ",".join(f"c{i}" for i in range(300)) + "\n" + "x" * 500_000 + "," * 300 + "\n")
    (item,), rejected = read(path)
    assert len(item.data["text"]) == 500_000 and not rejected


def test_the_column_to_show_can_be_named_and_a_wrong_one_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("review,stars\ngood,5\n")
    with pytest.raises(UsageError, match=r"no column 'text'; it has review, stars: .*--column"):
        read(path)
    assert read(path, column="review")[0][0].data == {"text": "good", "stars": "5"}
    with pytest.raises(UsageError, match=r"no column 'id'.*--key"):
        read(path, column="review", key="id")
    (item,), _ = read(path, column="review", key="stars")
    assert item.names == ("5",)


def test_cells_name_files_and_addresses(tmp_path: Path) -> None:
    picture = image(tmp_path / "p" / "x.png")
    path = tmp_path / "a.csv"
    cells = ["p/x.png", str(picture), "https://h.test/y.png", "/data/upload/1/z.png", "p/none.png", ""]
    path.write_text("image,n\n" + "".join(f"{cell},1\n" for cell in cells))
    items, _ = read(path, IMAGE)
    assert files(items) == [str(picture), str(picture), str(tmp_path / "p" / "none.png")]
    assert [item.data.get("image") for item in items][2:4] == cells[2:4]
    other = image(tmp_path / "elsewhere" / "p" / "x.png", 9)
    assert files(read(path, IMAGE, base=str(tmp_path / "elsewhere"))[0])[0] == str(other)


def test_a_list_of_images_is_one_task(tmp_path: Path) -> None:
    for name in "ab":
        image(tmp_path / f"{name}.png")
    path = tmp_path / "a.jsonl"
    path.write_text('{"images": ["a.png", "b.png"]}\n{"images": ["a.png", "https://h.test/c.png"]}\n')
    (item,), rejected = read(path, IMAGES)
    assert [(m.number, Path(m.address).name) for m in item.media] == [(0, "a.png"), (1, "b.png")]
    assert [r.reason for r in rejected] == ["not_found"] and "mixes" in rejected[0].detail


# -- Parquet ----------------------------------------------------------------------------------------------------------


def test_parquet_rows_become_json_values_and_images_may_be_inside(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    at = datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC)
    rows = {"text": ["a", "b"], "at": [at, None], "cost": [decimal.Decimal("1.10"), None], "x": [float("nan"), 1.5]}
    pq.write_table(pa.table(rows), path)
    items, rejected = read(path)
    assert items[0].data == {"text": "a", "at": "2026-01-02T03:00:00+00:00", "cost": "1.10", "x": None}
    assert items[1].data == {"text": "b", "at": None, "cost": None, "x": 1.5} and not rejected
    content = image(tmp_path / "x.png").read_bytes()
    pq.write_table(pa.table({"image": [{"bytes": content, "path": "x.png"}, {"bytes": None, "path": "x.png"}]}), path)
    (inside, beside), _ = read(path, IMAGE)
    assert (inside.media[0].content, inside.media[0].address) == (content, "x.png")
    assert (beside.media[0].content, beside.media[0].address) == (None, str(tmp_path / "x.png"))
    pq.write_table(pa.table({"text": ["a"], "blob": [b"\x00"]}), path)
    assert [(r.reason, r.source) for r in read(path)[1]] == [("not_json", f"{path}, row 1")]
    path.write_bytes(b"PAR1 is not enough")
    with pytest.raises(DataError, match="no Parquet file"):
        read(path)


def test_a_config_says_what_is_shown() -> None:
    several = shown_by(
        '<View><Header value="Is $question answered?"/><Image name="i" valueList="$pages"/><Text name="t" value="$text"/>'
        '<Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
    )
    assert (several.main, several.keys) == ("text", ("question", "pages", "text"))
    assert (dict(several.images), several.texts) == ({"pages": True}, {"text"})
    assert shown_by(f'<View><Image name="i" value="$image"/>{BOX}</View>', "image").main == "image"
    with pytest.raises(UsageError, match="shows 'image', not 'picture'"):
        shown_by(f'<View><Image name="i" value="$image"/>{BOX}</View>', "picture")
