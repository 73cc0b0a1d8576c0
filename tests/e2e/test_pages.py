"""Label Studio's own pages in a browser: what a person sees of a template, a suggestion and a guideline, and submits."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from template_labels import answer_to

from labelloop.label_studio import LabelStudio
from labelloop.settings import ProjectSettings, load_settings
from labelloop.store import open_store
from sync.projects import create_project
from templates.catalogue import Template, list_templates, load_template

pytestmark = pytest.mark.e2e

PATIENCE_MS = 30_000
VERSION = "model-p1-v1-r1"


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    """A page of a headless Chromium: LABELLOOP_CHROMIUM, or /usr/bin/chromium."""
    program = load_settings().services.chromium or "/usr/bin/chromium"
    if not Path(program).is_file():
        pytest.skip(f"no Chromium at {program}: install it, or name one by LABELLOOP_CHROMIUM")
    with sync_playwright() as playwright:
        # Chromium refuses to run as root inside its own sandbox, as in a container.
        browser = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def signed_in(browser_page: Page, label_studio: Any) -> Page:
    """The page after the administrator's login by hand."""
    browser_page.goto(f"{label_studio.url}/user/login/")
    browser_page.fill("input[name=email]", label_studio.email)
    browser_page.fill("input[name=password]", label_studio.password)
    browser_page.click("button[type=submit]")
    browser_page.wait_for_url(lambda url: "/user/login" not in url, wait_until="commit")
    return browser_page


def shown(page: Page, template: Template, region: dict[str, Any], data: dict[str, Any]) -> None:
    """The task and the suggestion are on the page: in the list of regions, or as what is chosen."""
    first = template.example_classes[0] if template.example_classes else ""
    match region["type"]:
        case "choices":
            ticked = page.get_by_role("checkbox", name=first).or_(page.get_by_role("radio", name=first))
            expect(ticked).to_be_checked(timeout=PATIENCE_MS)
        case "taxonomy":
            expect(page.get_by_text(first).first).to_be_visible(timeout=PATIENCE_MS)
        case "rating":
            expect(page.locator("[class*=rate-star-full]")).to_have_count(region["value"]["rating"])
        case "pairwise":
            chosen = page.locator("[class*=bg-primary-background]", has_text=data[region["value"]["selected"]])
            expect(chosen.first).to_be_visible(timeout=PATIENCE_MS)
        case _:
            expect(page.locator("[class*=outliner]", has_text=first).first).to_be_visible(timeout=PATIENCE_MS)
    for text in (value for key, value in data.items() if key not in ("image", "row")):
        expect(page.get_by_text(text[-12:]).first).to_be_visible()


def said(result: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    """What each region says under which control, without its place."""
    return sorted((r["from_name"], r["type"], r["value"].get(r["type"], r["value"].get("selected"))) for r in result)


@pytest.mark.parametrize("name", list_templates())
def test_a_person_sees_guideline_and_suggestion_and_submits_by_a_click(
    name: str, signed_in: Page, label_studio: Any, tmp_path: Path
) -> None:
    page, template = signed_in, load_template(name)
    title = f"{name} {secrets.token_hex(4)}"
    store = open_store(f"sqlite:///{tmp_path}/store.sqlite3")
    with LabelStudio(label_studio.url, label_studio.token) as client:
        project = create_project(client, store, template, title, template.example_classes, ProjectSettings())
        store.engine.dispose()
        sample = dict(template.samples[0])
        task = client.import_tasks(project, [sample])[0]
        result = answer_to(template, sample["data"])
        row = {"task": task, "result": result, "score": 0.1, "model_version": VERSION}
        client.push_predictions(project, [row])
        client.set_model_version(project, VERSION)

        page.goto(f"{label_studio.url}/projects/{project}/data")
        page.get_by_role("button", name="Label All Tasks").click()
        reads_the_guideline(page, template)
        shown(page, template, result[-1], sample["data"])
        with page.expect_response(lambda answer: is_submit(answer, task)) as submitted:
            page.locator("button", has_text=re.compile(r"^\s*Submit\s*$")).click()
        assert submitted.value.status == 201

        made = client.request("GET", f"/api/tasks/{task}/annotations/")
        predicted = client.request("GET", "/api/predictions/", params={"task": task})
        assert [row["parent_prediction"] for row in made] == [predicted[0]["id"]]
        assert said(made[0]["result"]) == said(result)
        client.delete_project(project)


def is_submit(answer: Any, task: int) -> bool:
    """Whether a response is the one to a new annotation of this task."""
    return answer.request.method == "POST" and f"/api/tasks/{task}/annotations" in answer.url


def reads_the_guideline(page: Page, template: Template) -> None:
    """The guideline is open, as headings and paragraphs and not as Markdown; then it is closed."""
    title = template.guideline.strip().splitlines()[0].removeprefix("# ")
    opened = page.locator("[role=dialog], .lsf-modal-ls, .modal-ls, .dm-modal, .lsf-modal").filter(has_text=title).last
    expect(page.get_by_text("Labeling Instructions")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    words = opened.inner_text()
    assert title in words and "\u2022 " in words and "1. " in words
    assert "**" not in words and "## " not in words and "|---" not in words
    page.keyboard.press("Escape")
    expect(page.get_by_text("Labeling Instructions")).to_be_hidden()
