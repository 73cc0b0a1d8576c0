"""docs/ingest.md is complete and exact: every reason, option, suffix and key is told, and what is shown can be run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from typer.main import get_command

from labelloop.cli import app
from sync.ingesting import REJECT_REASONS, NearOptions
from sync.ingesting.fingerprints import IMAGE_BITS
from sync.ingesting.marks import META_KEY, task_meta
from sync.ingesting.tables import TABLE_SUFFIXES
from sync.ingesting.texts import CHANGES

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "ingest.md").read_text(encoding="utf-8")
COMMAND: Any = get_command(app).commands["ingest"]  # type: ignore[attr-defined]
OPTIONS = {option for parameter in COMMAND.params for option in (*parameter.opts, *parameter.secondary_opts)}


def section(title: str) -> str:
    return GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_reason_is_told_and_no_other() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", section("Checks"), flags=re.M)) == set(REJECT_REASONS)


def test_every_option_is_told_and_every_told_option_is_there() -> None:
    told = set(re.findall(r"(?<!-)(--[a-z][a-z-]+)", GUIDE))
    common = {"--settings", "--near"}
    assert {option for option in OPTIONS if option.startswith("--")} - told <= common
    assert told <= OPTIONS


def test_shown_commands_have_a_project_and_known_options() -> None:
    shown = re.findall(r"^labelloop ingest (.+)$", GUIDE, flags=re.M)
    assert len(shown) >= 5
    for line in shown:
        words = shlex.split(line)
        assert not words[0].startswith("-") and {word for word in words if word.startswith("--")} <= OPTIONS


def test_suffixes_changes_and_thresholds_are_told() -> None:
    assert {f"`{suffix}`" for suffix in TABLE_SUFFIXES} <= set(re.findall(r"`\.\w+`", section("Sources")))
    assert all(f"`{change}`" in section("Checks") for change in CHANGES)
    near = NearOptions()
    for said in (f"{IMAGE_BITS}-bit", f"`--near-distance` {near.distance} ", f"`--near-similarity` {near.similarity})"):
        assert said in section("Duplicates")
    assert {p.opts[0]: p.default for p in COMMAND.params if p.opts[0].startswith("--near-")} == {
        "--near-distance": near.distance, "--near-similarity": near.similarity
    }  # fmt: skip


def test_every_key_of_the_mark_is_told() -> None:
    medium = {"key": "image", "number": None, "size": [3, 2]}
    one = {"meta": {}, "name": "a.png", "split": "train", "media": [medium]}
    several = {**one, "media": [medium, {**medium, "key": "other"}]}
    keys = {key for body in (one, several) for key in task_meta("c", "g", "f", body)[META_KEY]}
    assert keys <= set(re.findall(r"`(\w+)`", section("What is kept"))) and {"width", "sizes"} <= keys
