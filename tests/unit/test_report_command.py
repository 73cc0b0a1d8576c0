"""labelloop report: a project, an export or a CSV becomes one HTML file; what can't be read is told, there or as an error."""

from __future__ import annotations

import base64
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image
from selectolax.lexbor import LexborHTMLParser
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.errors import DataError, MediaError, NotReady, UsageError
from labelloop.media import thumbnail_of
from labelloop.settings import ServiceSettings
from labelloop.store import open_store
from labelloop.store.tables import revisions

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "report.schema.json").read_text())
CHOICES = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text"><Choice value="a"/><Choice value="b"/>'
    "</Choices></View>"
)
PICTURES = (
    '<View><Image name="image" value="$image"/><Choices name="label" toName="image"><Choice value="a"/>'
    '<Choice value="b"/></Choices></View>'
)
SAID = {1: ("a", "a", "a"), 2: ("a", "b", "a"), 3: ("b", "b", "b"), 4: ("a", "b", "b"), 5: ("a", "b", None)}
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def region(value: str, to_name: str = "text") -> dict[str, Any]:
    return {"id": "r", "from_name": "label", "to_name": to_name, "type": "choices", "value": {"choices": [value]}}


def export(folder: Path, config: str = CHOICES, data: dict[str, str] | None = None) -> list[str]:
    """export.json and config.xml in a folder; the arguments that name them."""
    to_name = "image" if config == PICTURES else "text"
    tasks = [
        {
            "id": task,
            "data": data or {"text": f"letter {task}"},
            "annotations": [
                {"id": task * 10 + person, "completed_by": person, "created_at": AT.isoformat(),
                 "result": [region(value, to_name)]}
                for person, value in enumerate(values, start=1)
                if value is not None
            ],
        }
        for task, values in SAID.items()
    ]  # fmt: skip
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    (folder / "config.xml").write_text(config, encoding="utf-8")
    return ["--file", str(folder / "export.json"), "--config", str(folder / "config.xml")]


def picture(size: tuple[int, int] = (60, 40), mode: str = "RGB", **saved: Any) -> bytes:
    made = io.BytesIO()
    Image.new(mode, size, 128 if mode in ("L", "I;16") else (10, 200, 30, 90)[: len(mode)]).save(made, "PNG", **saved)
    return made.getvalue()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELLOOP_DATA", str(tmp_path / "data"))
    return tmp_path


def written(*arguments: str) -> tuple[dict[str, Any], LexborHTMLParser]:
    result = CliRunner().invoke(app, ["report", *arguments, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    jsonschema.validate(told, SCHEMA)
    text = Path(told["path"]).read_text(encoding="utf-8")
    assert told["bytes"] == len(text.encode())
    return told, LexborHTMLParser(text)


def refused(*arguments: str) -> Any:
    result = CliRunner().invoke(app, ["report", *arguments])
    assert result.exit_code != 0
    return result.exception


def test_an_export_becomes_a_page_with_the_tasks_that_people_disagree_on(here: Path) -> None:
    told, tree = written(*export(here), "--out", "page.html", "--label-studio-url", "http://ls.example/projects/3/")
    assert (told["path"], told["controls"], told["parts"]) == (
        "page.html", ["label"], ["agreement", "annotators", "errors", "consensus"],
    )  # fmt: skip
    assert [each["task"] for each in told["worst"]] == [5, 2, 4]
    assert [a.attributes["href"] for a in tree.css("article a")] == [
        f"http://ls.example/projects/3/data?task={task}" for task in (5, 2, 4)
    ]
    assert [row.css("td")[0].text() for row in tree.css("article tbody tr")] == ["a", "b", "a", "b", "a", "a", "b", "b"]
    confused = tree.css_first("#control-0-confused tbody tr")
    assert confused is not None and confused.text(separator="|").startswith("a|b|5|")
    assert not (here / "data").exists(), "a report of a file keeps nothing"


def test_without_a_project_s_address_tasks_are_named_but_not_linked(here: Path) -> None:
    _, tree = written(*export(here))
    assert Path("quality.html").is_file() and tree.css("article a") == [] and "Task 5" in str(tree.text())


def test_a_project_is_read_from_the_store_and_links_to_label_studio(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELLOOP_LABEL_STUDIO_URL", "http://127.0.0.1:9")
    store = open_store(ServiceSettings(data=here / "data").database)
    store.put_project(
        project_id=1, title="Letters", task_type="text_classification", backend="sklearn_text", label_config=CHOICES,
        settings={}, holdout_threshold=0.1,
    )  # fmt: skip
    store.put_tasks(1, [
        {"task_id": task, "data": {"text": f"letter {task}"}, "meta": {}, "overlap": 1, "content_hash": f"c{task}",
         "group_key": f"c{task}", "role": "pool"} for task in SAID
    ])  # fmt: skip
    rows = [
        {"project_id": 1, "annotation_id": task * 10 + person, "task_id": task, "rev": 1, "rev_hash": f"h{task}{person}",
         "person_id": person, "kind": "human", "state": "submitted", "ground_truth": False, "created_at": AT,
         "updated_at": AT, "seen_at": AT, "lead_time_s": 2.0, "parent_prediction": None, "shown_serving_id": None,
         "config_hash": "c", "result": [region(value)]}
        for task, values in SAID.items() for person, value in enumerate(values, start=1) if value is not None
    ]  # fmt: skip
    with store.begin() as connection:
        store.insert_missing(connection, revisions, rows)
    store.engine.dispose()
    told, tree = written("Letters")
    assert [each["task"] for each in told["worst"]] == [5, 2, 4] and "Letters" in str(tree.text())
    parts = ["agreement", "annotators", "errors", "consensus", "review", "cost", "learning"]
    assert told["parts"] == parts and told["not_made"] == {}
    assert "No model was measured yet." in str(tree.css_first("#learning").text())  # type: ignore[union-attr]
    assert next(a.attributes["href"] for a in tree.css("article a")) == "http://127.0.0.1:9/projects/1/data?task=5"
    _, tree = written("Letters", "--label-studio-url", "https://labels.example")
    assert next(a.attributes["href"] for a in tree.css("article a")) == "https://labels.example/projects/1/data?task=5"


def test_a_csv_has_figures_and_no_pictures(here: Path) -> None:
    rows = [
        f"t{task},p{person},{value}" for task, values in SAID.items() for person, value in enumerate(values) if value
    ]
    (here / "labels.csv").write_text("\n".join(["task,annotator,label", *rows]))
    told, tree = written("--file", "labels.csv")
    assert told["worst"] == [] and tree.css_first(".matrix") is not None
    assert told["parts"] == ["agreement", "consensus"] and len(tree.css("#consensus tbody tr")) == 5
    assert "Krippendorff's alpha" in str(tree.css_first(".headline").text())  # type: ignore[union-attr]


def test_other_reports_are_taken_in_and_others_are_refused(here: Path) -> None:
    (here / "errors.json").write_text(json.dumps({"findings": [], "hotspots": []}))
    told, tree = written(*export(here), "--errors", "errors.json")
    assert "errors" in told["parts"] and "None found." in str(tree.css_first("#errors").text())  # type: ignore[union-attr]
    for name, body in (("errors", '{"findings": [{}]}'), ("annotators", "{}"), ("consensus", "[]"), ("review", "{"),
                       ("cost", '{"classes": []}'), ("learning", '{"learning": {}}')):  # fmt: skip
        (here / "other.json").write_text(body)
        error = refused(*export(here), f"--{name}", "other.json")
        command = "models" if name == "learning" else name
        assert isinstance(error, DataError) and f"labelloop {command} --json" in str(error)
    assert isinstance(refused(*export(here), "--errors", "nowhere.json"), DataError)


def said_of(tree: LexborHTMLParser, selector: str) -> str:
    found = tree.css(selector)
    assert found, selector
    return " ".join(each.text(separator="|") for each in found)


def test_errors_and_the_consensus_of_each_control_are_made_on_the_spot(here: Path) -> None:
    both = CHOICES.replace("</View>", '<Rating name="stars" toName="text"/></View>')
    _, tree = written(*export(here, both))
    assert "confident learning of label" in said_of(tree, "#errors")  # five texts are too few: said, not left out
    first = said_of(tree, "#consensus-0 tbody tr")
    assert len(tree.css("#consensus-0 tbody tr")) == 5 and first.startswith("5|")  # one says a, one b
    assert "label" in said_of(tree, "#consensus-0 h3")
    assert "no judgment" in said_of(tree, "#consensus-1 .why") and "stars" in said_of(tree, "#consensus-1 h3")


def test_parts_are_left_out_where_asked_and_a_given_file_is_shown_all_the_same(here: Path) -> None:
    told, tree = written(*export(here), "--without", "errors", "--without", "consensus", "--without", "annotators")
    assert told["parts"] == ["agreement"] and tree.css("#errors, #consensus, #annotators") == []
    given = {"method": "majority", "tasks": [{"task": 3, "label": "given", "probability": 0.25}]}
    (here / "consensus.json").write_text(json.dumps(given))
    told, tree = written(*export(here), "--without", "consensus", "--consensus", "consensus.json")
    assert "given" in said_of(tree, "#consensus") and len(tree.css("#consensus tbody tr")) == 1
    assert CliRunner().invoke(app, ["report", *export(here), "--without", "agreement"]).exit_code == 2


@pytest.mark.parametrize("fault", [NotReady("install 'labelloop[quality]'"), ZeroDivisionError("a fault")])
def test_a_part_that_cannot_be_made_says_why_and_the_others_are_there(
    here: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr("sync.label_errors.errors_of_file", fail)
    monkeypatch.setattr("qa.consensus.controls.control_consensus", fail)
    told, tree = written(*export(here))
    assert str(fault) in said_of(tree, "#errors .why") and str(fault) in said_of(tree, "#consensus-0 .why")
    assert list(told["not_made"]) == ["errors"] and str(fault) in told["not_made"]["errors"]
    assert told["parts"] == ["agreement", "annotators", "consensus"] and len(told["worst"]) == 3
    assert "no errors: " in CliRunner().invoke(app, ["report", *export(here)]).stdout


def test_long_work_tells_where_it_is(here: Path) -> None:
    result = CliRunner().invoke(app, ["report", *export(here)])
    assert all(f"report: {stage}" in result.stderr for stage in ("errors", "annotators", "consensus of controls"))
    assert "report: " not in CliRunner().invoke(app, ["report", *export(here), "--json"]).stderr


def test_wrong_use_is_told_before_anything_is_measured(here: Path) -> None:
    arguments = export(here)
    for wrong in (
        ["--out", "no/such/folder.html"], ["--out", "."], ["--level", "ordinal"], ["--label-studio-url", "http://ls.example"],
        ["--label-studio-url", "javascript:alert(1)//projects/1"],
    ):  # fmt: skip
        assert isinstance(refused(*arguments, *wrong), UsageError), wrong
    assert isinstance(refused("--file", "export.json"), UsageError) and isinstance(refused(), UsageError)


# -- images -----------------------------------------------------------------------------------------------------------------


def test_images_in_tasks_and_in_the_allowed_folder_are_shown(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = "data:image/png;base64," + base64.b64encode(picture()).decode()
    (here / "files").mkdir()
    (here / "files" / "a.png").write_bytes(picture())
    monkeypatch.setenv("LABELLOOP_MEDIA_FOLDER", str(here / "files"))
    for address in (inside, str(here / "files" / "a.png"), "/data/local-files/?d=a.png"):
        told, tree = written(*export(here, PICTURES, {"image": address}))
        assert told["images_missing"] == {}
        shown = [str(image.attributes["href"]) for image in tree.css("article image")]
        assert len(shown) == 3 and all(each.startswith("data:image/jpeg;base64,") for each in shown)
        with Image.open(io.BytesIO(base64.b64decode(shown[0].partition(",")[2]))) as small:
            assert small.size == (60, 40)
    assert not (here / "data").exists()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("https://elsewhere.example/a.png", "LABELLOOP_MEDIA_HOSTS"),
        ("http://169.254.169.254/latest/meta-data", "LABELLOOP_MEDIA_HOSTS"),
        ("file:///etc/passwd", "LABELLOOP_MEDIA_FOLDER"),
        ("/etc/passwd", "refused"),
        ("data:image/png;base64,!!!", "base64"),
        ("data:image/png;base64,aGVsbG8=", "none of"),
    ],
)
def test_what_may_not_be_fetched_is_a_grey_canvas_with_the_reason(here: Path, address: str, reason: str) -> None:
    told, tree = written(*export(here, PICTURES, {"image": address}))
    assert tree.css("article image") == [] and len(tree.css("article .canvas")) == 3
    assert reason in str(tree.css_first("figure .note").text())  # type: ignore[union-attr]
    assert list(told["images_missing"].values()) == [1]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "LA", "I;16", "1", "CMYK"])
def test_a_thumbnail_is_small_plain_and_in_colour(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tif"
    Image.new(mode, (2000, 500)).save(path, "TIFF")
    small = thumbnail_of(path)
    assert (small.width, small.height) == (2000, 500)
    with Image.open(io.BytesIO(small.jpeg)) as image:
        assert (image.format, image.size) == ("JPEG", (1000, 250))


def test_a_thumbnail_is_upright_keeps_colours_and_no_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret place"
    Image.new("RGB", (3000, 2000), (200, 30, 30)).save(tmp_path / "a.jpg", "JPEG", exif=exif)
    small = thumbnail_of(tmp_path / "a.jpg")
    assert (small.width, small.height) == (2000, 3000) and b"secret" not in small.jpeg
    with Image.open(io.BytesIO(small.jpeg)) as image:
        assert image.size == (667, 1000)
        red, green, blue = image.getpixel((300, 300))  # type: ignore[misc]
        assert red > 180 and green < 60 and blue < 60
    with pytest.raises(MediaError, match="pixels"):
        thumbnail_of(tmp_path / "a.jpg", max_pixels=1000)
