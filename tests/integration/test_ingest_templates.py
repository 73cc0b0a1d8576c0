"""What the samples of a template hold is brought in by `labelloop ingest` too: rows of tables, pairs, answers, texts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from ingest_site import ingest_site, texts

from labelloop.store import Store
from templates.catalogue import list_templates, load_template

pytestmark = pytest.mark.integration

WITHOUT_IMAGES = [name for name in list_templates() if load_template(name).data_key != "image"]


@pytest.mark.parametrize("name", WITHOUT_IMAGES)
def test_tasks_of_a_template_come_in(name: str, tmp_path: Path, sqlite_store: Store) -> None:
    template = load_template(name)
    with ingest_site(tmp_path, sqlite_store, template.config) as site:
        source = texts(tmp_path / "rows.jsonl", [dict(sample["data"]) for sample in template.samples])
        report = site.ingest(source)
        assert (report.added, dict(report.rejected)) == (len(template.samples), {})
        found = [task["data"] for task in site.remote.tasks.values()]
        assert all(sample["data"] in found for sample in template.samples)
        assert site.ingest(source).present == len(template.samples)
        site.agree()


@pytest.mark.parametrize(("name", "key"), [("pairwise", "right"), ("pairwise", "question"), ("rating", "question")])
def test_tasks_that_differ_in_one_of_their_texts_are_two(
    name: str, key: str, tmp_path: Path, sqlite_store: Store
) -> None:
    template = load_template(name)
    first = dict(template.samples[0]["data"])
    with ingest_site(tmp_path, sqlite_store, template.config) as site:
        report = site.ingest(texts(tmp_path / "rows.jsonl", [first, {**first, key: "Something else."}]))
        assert (report.added, report.duplicates) == (2, 0)
