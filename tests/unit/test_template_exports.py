"""What people answer to the samples of each template is measured, and leaves in the format that the template names."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

from template_labels import answer_to, main_control

from labelloop.cli import app
from templates.catalogue import Template, list_templates, load_template


def export_file(template: Template, folder: Path) -> None:
    """export.json and config.xml: as many tasks as there are samples, like the first one, each answered alike by two people."""
    data = template.samples[0]["data"]
    result = answer_to(template, data)
    tasks = []
    for number in range(1, len(template.samples) + 1):
        made = [{"id": 10 * number + who, "completed_by": who, "result": result} for who in (1, 2)]
        # Formats know an image by the name in its address.
        own = {**data, "image": f"{number}.png"} if "image" in data else data
        tasks.append({"id": number, "data": own, "annotations": made})
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    (folder / "config.xml").write_text(template.config, encoding="utf-8")


def run(folder: Path, *arguments: str) -> Any:
    files = ("--file", str(folder / "export.json"), "--config", str(folder / "config.xml"))
    result = CliRunner().invoke(app, [arguments[0], *files, *arguments[1:], "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def use(defaults: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the template's section export for that of the settings."""
    for key, value in defaults.items():
        monkeypatch.setenv(f"LABELLOOP_EXPORT__{key.upper()}", str(value))


@pytest.mark.parametrize("name", list_templates())
def test_answers_leave_whole_in_the_format_that_the_template_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = load_template(name)
    monkeypatch.chdir(tmp_path)
    export_file(template, tmp_path)
    wanted = template.defaults["export"]
    use(wanted, monkeypatch)
    report = run(tmp_path, "export", "--out", str(tmp_path / "out"))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format"] == wanted["format"]
    assert "task" not in wanted or manifest["task"] == wanted["task"]
    assert report["items"] == len(template.samples) and report["objects"] >= report["items"]
    skipped = tmp_path / "out" / "skipped.jsonl"
    assert not skipped.exists() or skipped.read_text(encoding="utf-8") == ""


def test_a_format_that_is_asked_for_does_not_take_the_task_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = load_template("obb")
    monkeypatch.chdir(tmp_path)
    export_file(template, tmp_path)
    use(template.defaults["export"], monkeypatch)
    run(tmp_path, "export", "--out", str(tmp_path / "turned"))
    run(tmp_path, "export", "--out", str(tmp_path / "upright"), "--format", "yolo")
    rows = [(tmp_path / out / "labels" / "train").glob("*.txt") for out in ("turned", "upright")]
    turned, upright = ({len(path.read_text(encoding="utf-8").split()) for path in found} for found in rows)
    assert (turned, upright) == ({9}, {5})


@pytest.mark.parametrize("name", list_templates())
def test_agreement_is_measured_under_the_main_control(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = load_template(name)
    monkeypatch.chdir(tmp_path)
    export_file(template, tmp_path)
    report = run(tmp_path, "agreement")
    found = report["controls"][main_control(template).name]
    assert found["n_overlapped"] == len(template.samples) and "comment" not in report["controls"]
    assert [each["score"] for each in found["pairs"]] == [1.0]
