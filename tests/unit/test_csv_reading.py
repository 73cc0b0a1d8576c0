"""Tables of users as labelled items, and what is said of tables that are not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from labelloop.errors import DataError
from labelloop.label_config import parse_label_config

sys.path.insert(0, str(Path(__file__).parent))
from row_exports import SHAPES, TEXTS, box, config, control, exported, read, task


def table(folder: Path, content: str | bytes, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_texts_with_a_label(tmp_path: Path) -> None:
    path = table(tmp_path, '\ufefftext,label,author,split\r\n=1+1,pos,"Doe, J",dev\r\n\'=x,,,train\r\nthree,neg,,\r\n')
    found, items = read(path, "csv")
    assert found.rejected == []
    assert [item.data for item in items] == [{"text": "=1+1", "author": "Doe, J"}, {"text": "'=x"}, {"text": "three"}]
    assert [[region["value"]["choices"] for region in item.result] for item in items] == [[["pos"]], [], [["neg"]]]
    assert [item.split for item in items] == ["val", "train", None]
    (made,) = found.config.controls
    assert (made.tag, made.name, made.classes, made.data_key) == ("Choices", "label", ("pos", "neg"), "text")
    assert [item.source for item in items][-1] == "mine.csv, line 4"


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    path = table(tmp_path, f'text{delimiter}label\n"a, b{delimiter} c"{delimiter}x\n')
    _, (item,) = read(path, "csv")
    assert item.data == {"text": f"a, b{delimiter} c"}


def test_images_with_a_label_find_their_files(tmp_path: Path) -> None:
    (tmp_path / "pics").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pics" / "a.png")
    found, items = read(table(tmp_path, "image,label\npics/a.png,cat\ngone.png,dog\n"), "csv")
    assert [item.media for item in items] == [tmp_path / "pics" / "a.png", None]
    assert [item.media_key for item in items] == ["image", "image"]
    (made,) = found.config.controls
    assert (made.object_tag, made.classes) == ("Image", ("cat", "dog"))
    _, items = read(table(tmp_path, "image,label\na.png,cat\n"), "csv", images=tmp_path / "pics")
    assert items[0].media == tmp_path / "pics" / "a.png"


def test_spans_are_gathered_by_text(tmp_path: Path) -> None:
    content = "text,start,end,label\nAda met Bo,0,3,PER\nAda met Bo,8,10,PER\nnothing,,,\nx,0,9,PER\nx,zero,1,PER\n"
    found, items = read(table(tmp_path, content), "csv")
    assert [[(r["value"]["start"], r["value"]["text"]) for r in item.result] for item in items] == [
        [(0, "Ada"), (8, "Bo")], [], [],
    ]  # fmt: skip
    assert [(each.source, each.reason) for each in found.rejected] == [
        ("mine.csv, line 5", "bad_span"), ("mine.csv, line 6", "bad_span"),
    ]  # fmt: skip
    assert "0 <= start < end <= 1, got '0', '9'" in found.rejected[0].detail


def test_a_config_names_the_columns(tmp_path: Path) -> None:
    chosen = parse_label_config(
        config(
            control("Choices", "mood", "words", ("good", "bad")),
            control("Choices", "tags", "words", ("x", "y"), 'choice="multiple"'),
            object_tag="Text",
            key="words",
        )
    )
    content = 'words,mood,tags\nhi,good,"[""x"",""y""]"\nho,ugly,\n'
    found, items = read(table(tmp_path, content), "csv", config=chosen)
    assert [[(r["from_name"], r["value"]["choices"]) for r in item.result] for item in items] == [
        [("mood", ["good"]), ("tags", ["x", "y"])], [],
    ]  # fmt: skip
    assert [each.detail for each in found.rejected] == ["region r1: class 'ugly' is not in the config"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n", r"expected the columns of labels.csv .*text,label or image,label .*got the columns a, b"),
        ("text,note\nx,y\n", "got the columns text, note"),
        ("image,xmin,ymin,xmax,ymax,label\na.png,1,2,3,4,cat\n", r"has boxes \(xmin, ymin\)"),
        ("text,label,label\n", "has the column 'label' twice"),
        ("", "has no header"),
        (
            b"text,label\n\xff,x\n",
            r"no label is in the files.*first of 1 unread: mine.csv, line 2: the row is not UTF-8",
        ),
        (b"text,l\xff\n", "has a header that is not UTF-8"),
    ],
)
def test_other_tables_are_refused_with_what_was_expected(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(table(tmp_path, content), "csv")


def test_which_file_is_meant_is_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no \.csv file"):
        read(tmp_path, "csv")
    table(tmp_path, "text,label\na,b\n", "one.csv")
    assert len(read(tmp_path, "csv")[1]) == 1
    table(tmp_path, "text,label\na,b\n", "two.csv")
    with pytest.raises(DataError, match=r"has \['one.csv', 'two.csv'\]; name the file itself"):
        read(tmp_path, "csv")
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "absent.csv", "csv")


def test_bad_rows_do_not_cost_the_others(tmp_path: Path) -> None:
    content = b"text,label\ngood,x\nshort\none,two,three\n\n\xff\xfe,x\nlast,x\n"
    found, items = read(table(tmp_path, content), "csv")
    assert [item.data["text"] for item in items] == ["good", "last"]
    assert [(each.source, each.reason) for each in found.rejected] == [
        ("mine.csv, line 3", "bad_row"), ("mine.csv, line 4", "bad_row"), ("mine.csv, line 6", "not_utf8"),
    ]  # fmt: skip


def test_bad_cells_of_our_own_table_cost_a_region_or_a_task(tmp_path: Path) -> None:
    tasks = [task(n, {"image": f"{n}.png", "more": {"k": n}}, [box(1, 2, 3, 4), box(5, 6, 7, 8)]) for n in (1, 2, 3)]
    out, _ = exported(tmp_path, "csv", tasks)
    path = out / "labels.csv"
    lines = path.read_bytes().decode().split("\r\n")
    lines[1] = lines[1].replace(",1.0,2.0,", ",one,2.0,")
    lines[3] = lines[3].replace('"{""k"":2}"', "{k")
    path.write_bytes("\r\n".join(lines).encode())
    found, items = read(out, "csv")
    assert [(item.data["image"], len(item.result)) for item in items] == [("1.png", 1), ("3.png", 2)]
    assert [(each.source, each.reason) for each in found.rejected] == [
        ("labels.csv, line 2", "bad_cell"), ("labels.csv, line 4", "bad_cell"),
    ]  # fmt: skip
    assert found.rejected[0].detail == "x is 'one', expected a number"


def test_long_cells_are_read(tmp_path: Path) -> None:
    text = "word " * 60_000
    out, _ = exported(tmp_path, "csv", [task(1, {"text": text}, [])], TEXTS)
    _, (item,) = read(out, "csv")
    assert item.data == {"text": text}


def test_a_broken_config_beside_is_named(tmp_path: Path) -> None:
    path = table(tmp_path, "text,label\na,b\n")
    (tmp_path / "config.xml").write_text("<View>")
    with pytest.raises(DataError, match=r"config.xml is no label config"):
        read(path, "csv")


def test_regions_that_no_config_holds_are_named(tmp_path: Path) -> None:
    off = box(90, 2, 30, 4, id="off")
    out, _ = exported(tmp_path, "csv", [task(1, {"image": "a.png"}, [off, box(1, 2, 3, 4, "zebra")])], SHAPES)
    found, (item,) = read(out, "csv")
    assert len(item.result) == 1
    assert [each.detail for each in found.rejected] == ["region off: class 'ant' is not in the config"]
