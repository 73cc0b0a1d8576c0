"""The guide to the formats tells of every format, every variant and every option of the row formats, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sync.formats.csv_table import OPTIONS as CSV_OPTIONS
from sync.formats.label_table import COLUMNS
from sync.formats.registry import MODULES, load_format

GUIDE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| \[`(\w+)`\]\(#([\w-]+)\) \|", GUIDE, flags=re.M))
HEADINGS = {
    re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", GUIDE, flags=re.M)
}


def test_every_format_has_a_row_and_a_section_and_no_other_has() -> None:
    assert set(ROWS) == set(MODULES)
    assert set(ROWS.values()) <= HEADINGS


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_variants_of_a_format_are_told(name: str) -> None:
    (row,) = re.findall(rf"^\| \[`{name}`\].*$", GUIDE, flags=re.M)
    told = set(re.findall(r"`(\w+)`", row.split("|")[2]))
    assert told == set(load_format(name).tasks)


def test_columns_and_options_are_told() -> None:
    rows = GUIDE.partition("## Rows")[2].partition("\n## ")[0]
    assert {name for name, _ in COLUMNS} <= set(re.findall(r"`(\w+)`", rows))
    table = GUIDE.partition("## CSV")[2].partition("\n## ")[0]
    for option, values in CSV_OPTIONS.items():
        (row,) = re.findall(rf"^\| `{option}` \|.*$", table, flags=re.M)
        assert set(values) <= set(re.findall(r"`(\w+)`", row))


def test_links_inside_the_guide_lead_somewhere() -> None:
    assert set(re.findall(r"\]\(#([\w-]+)\)", GUIDE)) <= HEADINGS
