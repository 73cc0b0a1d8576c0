"""`labelloop agreement` of a CSV: levels, pairs, classes, repeated ratings, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.errors import DataError, UsageError

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/agreement.schema.json").read_text())
#: Krippendorff 2011, example C.
ROWS = ("1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .")


def table(folder: Path, rows: list[tuple[Any, ...]]) -> Path:
    lines = ["task,annotator,label", *[",".join(map(str, row)) for row in rows]]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "labels.csv"


def published(folder: Path) -> Path:
    return table(
        folder,
        [
            (f"u{u}", f"p{p}", said if said != "." else "")
            for p, row in enumerate(ROWS)
            for u, said in enumerate(row.split())
        ],
    )


def run(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["agreement", *map(str, arguments), "--json"])
    if result.exception is not None:
        raise result.exception
    report = json.loads(result.output)
    jsonschema.validate(report, SCHEMA)
    (control,) = report["controls"].values()
    found: dict[str, Any] = control
    return found


def test_the_published_example(tmp_path: Path) -> None:
    found = run("--file", published(tmp_path))
    assert (found["n_tasks"], found["n_overlapped"], found["n_annotators"], found["n_judgments"]) == (12, 11, 4, 41)
    values = {name: each["value"] for name, each in found["metrics"].items()}
    assert values["krippendorff_alpha"] == pytest.approx(0.743, abs=5e-4)
    assert values["gwet_ac1"] == pytest.approx(0.77544, abs=5e-6)
    assert values["fleiss_kappa"] == pytest.approx(0.76117, abs=5e-6)
    assert all(each["ci"][0] < each["value"] < each["ci"][1] for each in found["metrics"].values() if each["ci"])
    assert len(found["pairs"]) == 6 and found["pairs"][0]["first"] == "p0"
    assert found["pairs"][0]["n"] == 9 and found["pairs"][0]["percent_agreement"] == pytest.approx(8 / 9)


@pytest.mark.parametrize(("level", "alpha"), [("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)])
def test_levels_take_labels_as_numbers(level: str, alpha: float, tmp_path: Path) -> None:
    found = run("--file", published(tmp_path), "--level", level)
    assert found["metrics"]["krippendorff_alpha"]["value"] == pytest.approx(alpha, abs=5e-4)
    assert {"gwet_ac2", "cohens_kappa_linear_mean", "cohens_kappa_quadratic_mean"} < set(found["metrics"])


def test_specific_agreement_of_a_class_is_among_those_who_name_it(tmp_path: Path) -> None:
    rows = [(1, "a", "x"), (1, "b", "x"), (2, "a", "x"), (2, "b", "y"), (3, "a", "y"), (3, "b", "y"), (4, "a", "z")]
    found = run("--file", table(tmp_path, rows))
    assert found["per_class"] == {
        "x": {"n": 3, "specific_agreement": pytest.approx(2 / 3)},
        "y": {"n": 3, "specific_agreement": pytest.approx(2 / 3)},
        "z": {"n": 1, "specific_agreement": None},
    }


def test_several_rows_of_one_annotator_are_ratings_of_their_own(tmp_path: Path) -> None:
    rows = [(1, "a", "x"), (1, "a", "x"), (1, "b", "y"), (2, "a", "y"), (2, "b", "y")]
    found = run("--file", table(tmp_path, rows))
    assert found["metrics"]["cohens_kappa_mean"] == {"value": None, "ci": None, "n": 0, "reason": "repeated_ratings"}
    assert found["metrics"]["percent_agreement"]["value"] == pytest.approx(2 / 4)


def test_what_is_refused_says_why(tmp_path: Path) -> None:
    named = table(tmp_path, [(1, "a", "x"), (1, "b", "y")])
    with pytest.raises(DataError, match="the level ordinal needs numbers as labels, got 'x'"):
        run("--file", named, "--level", "ordinal")
    with pytest.raises(DataError, match="zero or more, got -1"):
        run("--file", table(tmp_path, [(1, "a", -1), (1, "b", 2)]), "--level", "ratio")
    with pytest.raises(DataError, match="there is no judgment to measure"):
        run("--file", table(tmp_path, [(1, "a", "")]))
    (tmp_path / "export.json").write_text("[]")
    with pytest.raises(UsageError, match="--level is for a CSV"):
        run("--file", tmp_path / "export.json", "--level", "ordinal")


def test_people_read_it_too(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["agreement", "--file", str(published(tmp_path))]).output
    assert said.startswith("label (table): 11 of 12 tasks with several labels, 4 people, level nominal\n")
    assert "krippendorff_alpha           0.743  (" in said
