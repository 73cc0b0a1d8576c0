"""The documents say what is there: each setting with its default, each command, each service; examples are valid."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.settings import ProjectSettings, ServiceSettings, load_settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([\w.]+)`(?: \*)? \| (.+?) \|", CONFIGURATION, flags=re.M))


def written(value: Any) -> str:
    """A default as the tables write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value in (None, "", ()) or value == {} else f"`{value}`"


def settings() -> dict[str, Any]:
    """Every key that can be set, with its default."""
    found: dict[str, Any] = {}
    for section, part in ProjectSettings():
        found |= {f"{section}.{key}": value for key, value in part}
    return found | {f"LABELLOOP_{key.upper()}": value for key, value in ServiceSettings()}


def test_every_setting_is_told_with_its_default_and_no_other() -> None:
    assert {key: written(value) for key, value in settings().items()} == ROWS


def commands() -> set[str]:
    """Names of all commands, with those of groups as two words."""
    names = set()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        names |= {f"{name} {sub}" for sub in inner} if inner else {name}
    return names


def test_the_readme_tells_every_command_and_none_that_is_not_there() -> None:
    table = README.partition("## Command line")[2].partition("\n## ")[0]
    told = set(re.findall(r"`labelloop ((?:(?:project|dataset) )?[a-z]+)", table))
    assert told == commands()


def test_the_first_screen_of_the_readme_has_the_two_commands() -> None:
    first = "\n".join(README.splitlines()[:24])
    assert "make demo" in first and "make test" in first


@pytest.mark.parametrize("text", [README, CONFIGURATION], ids=["README.md", "docs/configuration.md"])
def test_the_yaml_examples_are_valid_settings(text: str, tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.+?)^```", text, flags=re.M | re.S)
    assert examples
    for example in examples:
        file = tmp_path / "labelloop.yaml"
        file.write_text(example, encoding="utf-8")
        assert load_settings(file, {}).projects


def shown_commands(text: str) -> list[list[str]]:
    """Lines of code blocks that call labelloop, as arguments without comments."""
    blocks = re.findall(r"^```\w*\n(.+?)^```", text, flags=re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("labelloop ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("arguments", shown_commands(README), ids=" ".join)
def test_a_shown_command_has_only_options_that_are_there(arguments: list[str]) -> None:
    command: Any = get_command(app)
    words = list(arguments)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def small_export(folder: Path) -> None:
    """export.json and config.xml: one image with one box by two people."""
    box = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["stop"]}
    region = {"id": "r", "from_name": "label", "to_name": "image", "type": "rectanglelabels", "value": box}
    result = [{**region, "original_width": 200, "original_height": 100}]
    made = [{"id": person, "completed_by": person, "result": result} for person in (1, 2)]
    task = {"id": 1, "data": {"image": "a.png"}, "annotations": made}
    (folder / "export.json").write_text(json.dumps([task]), encoding="utf-8")
    labels = '<RectangleLabels name="label" toName="image"><Label value="stop"/></RectangleLabels>'
    config = f'<View><Image name="image" value="$image"/>{labels}</View>'
    (folder / "config.xml").write_text(config, encoding="utf-8")


def test_shown_commands_that_need_no_server_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_export(tmp_path)
    monkeypatch.chdir(tmp_path)
    without_server = [arguments for arguments in shown_commands(README) if "--file" in arguments]
    assert {arguments[0] for arguments in without_server} == {"export", "agreement"}
    conversions = [arguments for arguments in shown_commands(README) if arguments[0] == "convert"]
    assert conversions
    for arguments in [*without_server, *conversions, ["--help"]]:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
    (annotations,) = (tmp_path / "coco" / "annotations").iterdir()
    written = json.loads(annotations.read_text(encoding="utf-8"))
    assert [row["bbox"] for row in written["annotations"]] == [[20.0, 10.0, 40.0, 20.0]]


def test_every_benchmark_is_told_with_its_peer() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    names = {file.stem for file in (ROOT / "benchmarks").glob("[a-z]*.py")}
    assert names and set(re.findall(r"^\*\*(\w+)\*\*:", text, flags=re.M)) == names


def test_links_between_documents_lead_somewhere() -> None:
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
            assert "://" in target or (file.parent / target).exists(), f"{file.name}: {target}"


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    documents = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|[`*]|    )make ([a-z0-9]+)", documents, flags=re.M)):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_the_workflow_file_runs_the_readmes_test_command() -> None:
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[-1] == "exec make test"
    assert yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["repo"] == "local"
