"""The review workflow in a stock Label Studio: a third person, a reviewer's verdict, and its tabs in a real browser."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from labelloop.label_studio import LabelStudio
from labelloop.settings import Settings, load_settings
from labelloop.store.decisions import decisions_of
from sync.reconcile import role_policy
from sync.reviewing import ReviewSummary, review_pass
from sync.runtime import Runtime

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PATIENCE_MS = 30_000
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    '<Choice value="sea"/><Choice value="land"/></Choices></View>'
)


def choice(label: str) -> list[dict[str, Any]]:
    return [{"id": "r", "from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]


@dataclass
class Site:
    """A project with its store, and people who label."""

    runtime: Runtime
    project_id: int
    tasks: list[int]
    people: list[int]

    @property
    def client(self) -> LabelStudio:
        return self.runtime.client

    def label(self, task: int, person: int, label: str) -> int:
        body = {"result": choice(label), "completed_by": person, "lead_time": 2.0}
        made = self.client.request(
            "POST", f"/api/tasks/{task}/annotations/", params={"project": self.project_id}, json=body
        )
        return int(made["id"])

    def go(self) -> ReviewSummary:
        from labelloop.store.leases import holding
        from sync.mirror import Mirror

        project = self.runtime.store.project(self.project_id)
        assert project is not None
        with holding(self.runtime.store, self.project_id, "sync", 60) as lease:
            assert lease is not None
            Mirror(self.runtime.store, self.client, project, role_policy(self.runtime, project), lease).read()
        return review_pass(self.runtime, project)

    def marked(self, marker: str) -> set[int]:
        return self.client.marked_tasks(self.project_id, marker)

    def tab(self, title: str) -> int:
        (found,) = [int(v["id"]) for v in self.client.views(self.project_id) if v["data"]["title"] == title]
        return found


def invited(client: LabelStudio, number: int) -> int:
    email = f"r{number}-{secrets.token_hex(4)}@people.example"
    made = client.request(
        "POST", "/api/users/", json={"email": email, "username": email[:30], "first_name": f"P{number}"}
    )
    return int(made["id"])


@pytest.fixture(scope="module")
def site(label_studio: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Six texts that two people label, and a reviewer: the administrator."""
    with LabelStudio(label_studio.url, label_studio.token) as client:
        people = [invited(client, number) for number in range(3)]
        reviewer = int(client.whoami()["id"])
        project_id = int(client.create_project(f"Review {secrets.token_hex(4)}", CONFIG, maximum_annotations=2)["id"])
        tasks = client.import_tasks(project_id, [{"data": {"text": f"text {n}"}} for n in range(6)])
        environ = {"LABELLOOP_QUALITY__SPOT_CHECK": "0", "LABELLOOP_QUALITY__REVIEWERS": str(reviewer)}
        loaded = load_settings(None, environ)
        services = loaded.services.model_copy(update={"data": tmp_path_factory.mktemp("review")})
        runtime = Runtime(Settings(services=services, defaults=loaded.defaults))
        runtime.__dict__["client"] = client
        runtime.store.put_project(
            project_id=project_id, title="Review", task_type="text_classification", backend="sklearn_text",
            label_config=CONFIG, settings={}, holdout_threshold=0.0,
        )  # fmt: skip
        yield Site(runtime, project_id, tasks, [*people, reviewer])
        client.delete_project(project_id)
        runtime.store.close()


@pytest.fixture(scope="module")
def page(label_studio: Any) -> Iterator[Page]:
    """The administrator's browser."""
    program = load_settings().services.chromium or "/usr/bin/chromium"
    if not Path(program).is_file():
        pytest.skip(f"no Chromium at {program}: install it, or name one by LABELLOOP_CHROMIUM")
    with sync_playwright() as playwright:
        # Chromium refuses to run as root inside its own sandbox, as in a container.
        browser = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1400, "height": 900})
        opened.set_default_timeout(PATIENCE_MS)
        opened.goto(f"{label_studio.url}/user/login/")
        opened.fill("input[name=email]", label_studio.email)
        opened.fill("input[name=password]", label_studio.password)
        opened.click("button[type=submit]")
        opened.wait_for_url(lambda url: "/user/login" not in url, wait_until="commit")
        yield opened
        browser.close()


def shows(page: Page, site: Site, url: str, title: str, tasks: set[int]) -> None:
    """A tab renders, and lists exactly these tasks."""
    page.goto(f"{url}/projects/{site.project_id}/data?tab={site.tab(title)}")
    expect(page.get_by_text(re.compile(rf"Tasks:\s*{len(tasks)}\s*/\s*6"))).to_be_visible(timeout=PATIENCE_MS)
    for number, task in enumerate(site.tasks):
        found = page.get_by_text(f"text {number}", exact=True)
        expect(found).to_have_count(1 if task in tasks else 0)


def test_from_disagreement_to_a_reviewers_answer(site: Site, label_studio: Any, page: Page) -> None:
    ann, bob, carl, reviewer = site.people
    agreed, split, own, open_one = site.tasks[:4]
    for person in (ann, bob):
        site.label(agreed, person, "sea")
    site.label(split, ann, "sea")
    site.label(split, bob, "land")
    site.label(own, reviewer, "sea")
    site.label(own, bob, "land")
    site.label(open_one, ann, "sea")

    summary = site.go()
    assert sorted(summary.asked_for_one_more) == sorted([split, own])
    rows = {row.task_id: row for row in site.client.tasks_by_id(site.project_id, site.tasks)}
    assert (rows[split].overlap, rows[split].is_labeled, rows[agreed].overlap) == (3, False, 2)
    assert site.go().asked_for_one_more == []

    for task in (split, own):
        site.label(task, carl, "land")
    summary = site.go()
    assert dict(summary.stages) == {"approved": 1, "review": 2, "label": 1}
    assert site.client.tasks_by_id(site.project_id, [split])[0].is_labeled
    title = next(title for title in summary.tabs if title.startswith("Needs review ("))
    assert not site.go().decided

    url = label_studio.url
    shows(page, site, url, "Needs review", {split, own})
    shows(page, site, url, "Disagreement", {split, own})
    shows(page, site, url, "Approved", {agreed})
    shows(page, site, url, title, {split})

    # The reviewer opens the one task of the own tab and submits an answer by hand.
    page.get_by_text("text 1", exact=True).click()
    page.get_by_role("button", name="Create an annotation").or_(
        page.locator("[aria-label*='reate'][aria-label*='nnotation']")
    ).first.click()
    page.get_by_text("land", exact=False).locator("visible=true").last.click()
    with page.expect_response(
        lambda a: a.request.method == "POST" and f"/api/tasks/{split}/annotations" in a.url
    ) as sent:
        page.locator("button", has_text=re.compile(r"^\s*Submit\s*$")).click()
    assert sent.value.status == 201
    answer = int(sent.value.json()["id"])

    # A review of own work, done anyway.
    refused = site.label(own, reviewer, "land")
    summary = site.go()
    made = [(d.task_id, d.verdict, d.by) for d in decisions_of(site.runtime.store, site.project_id, 0, 2**31, "review")]
    assert made.count((own, "refused", str(reviewer))) == 1 and (own, "approved", str(reviewer)) not in made
    assert made.count((split, "approved", str(reviewer))) == 3 and made.count((split, "rejected", str(reviewer))) == 1
    assert dict(summary.stages) == {"approved": 2, "review": 1, "label": 1}
    blind = {row.annotation_id: row.shown_serving_id for row in site.runtime.store.labels(site.project_id)}
    assert blind[answer] is None and blind[refused] is None
    shows(page, site, url, "Needs review", {own})
    shows(page, site, url, title, set())
    shows(page, site, url, "Approved", {agreed, split})
