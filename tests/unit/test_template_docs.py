"""docs/templates.md tells every template as it is, and its rules for rows of a table run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backends import rules
from labelloop.label_config import parse_label_config
from labelloop.values import TaskItem
from templates.catalogue import list_templates, load_template

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
ROWS = {name: line for line in GUIDE.splitlines() for name in re.findall(r"^\| `(\w+)` \|", line)}


def test_every_template_has_a_row_and_no_other() -> None:
    assert set(ROWS) == set(list_templates())


@pytest.mark.parametrize("name", list_templates())
def test_a_row_tells_data_backend_and_export(name: str) -> None:
    template = load_template(name)
    _, _, _, data, backend, _, _, export, _ = (cell.strip() for cell in ROWS[name].split("|"))
    assert re.findall(r"`(\w+)`", data) == list(template.data_keys)
    assert re.findall(r"`(\w+)`", backend) == ([template.backend] if template.backend else [])
    wanted = [template.defaults["export"][key] for key in ("format", "task") if key in template.defaults["export"]]
    assert re.findall(r"`(\w+)`", export) == wanted


def test_the_rules_for_rows_pass_their_own_tests_and_suggest(tmp_path: Path) -> None:
    (text,) = re.findall(r"^`rows.yaml`:\n\n```yaml\n(.+?)^```", GUIDE, flags=re.M | re.S)
    (tmp_path / "rows.yaml").write_text(text, encoding="utf-8")
    template = load_template("tabular")
    config = parse_label_config(template.config)
    made = rules.import_model([str(tmp_path / "rows.yaml")], config, tmp_path / "v1")
    assert made.params["tests"] == 3
    tasks = [TaskItem(n, dict(sample["data"])) for n, sample in enumerate(template.samples)]
    outcomes = rules.load(tmp_path / "v1").predict(tasks)
    chosen = [[region["value"]["choices"] for region in outcome.regions] for outcome in outcomes]
    assert chosen == [[], [["unsure"]], [["wrong"]], [["unsure"]]]
    assert all(config.problem_with(region) is None for outcome in outcomes for region in outcome.regions)
