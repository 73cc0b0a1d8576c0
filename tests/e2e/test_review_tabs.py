"""The review workflow in a stock Label Studio: who is asked, a reviewer's verdict, and its tabs in a real browser."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from labelloop.settings import load_settings
from sync.roles import salted_unit

sys.path.insert(0, str(Path(__file__).parent))
from review_site import RULES, Site, review_site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PATIENCE_MS = 30_000


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


def text_of(site: Site, task: int) -> str:
    (row,) = site.client.tasks_by_id(site.project_id, [task])
    return str(row.data["text"])


def shows(page: Page, site: Site, url: str, title: str, tasks: set[int]) -> None:
    """A tab renders, and lists exactly these tasks."""
    page.goto(f"{url}/projects/{site.project_id}/data?tab={site.tab(title)}")
    expect(page.get_by_text(re.compile(rf"Tasks:\s*{len(tasks)}\s*/\s*{len(site.tasks)}"))).to_be_visible(
        timeout=PATIENCE_MS
    )
    for task in site.tasks:
        expect(page.get_by_text(text_of(site, task), exact=True)).to_have_count(1 if task in tasks else 0)


def answered(page: Page, text: str, task: int, label: str) -> int:
    """The reviewer opens a task of the tab at hand and submits an answer by hand; the annotation's id."""
    page.get_by_text(text, exact=True).click()
    page.get_by_role("button", name="Create an annotation").or_(
        page.locator("[aria-label*='reate'][aria-label*='nnotation']")
    ).first.click()
    page.get_by_text(label, exact=False).locator("visible=true").last.click()
    with page.expect_response(
        lambda a: a.request.method == "POST" and f"/api/tasks/{task}/annotations" in a.url
    ) as sent:
        page.locator("button", has_text=re.compile(r"^\s*Submit\s*$")).click()
    assert sent.value.status == 201
    return int(sent.value.json()["id"])


def test_from_disagreement_to_a_reviewers_answer(label_studio: Any, page: Page, tmp_path: Path) -> None:
    """Of six texts that two people label, one is split and another the reviewer's own work."""
    texts = [f"text {n}" for n in range(6)]
    with review_site(label_studio, tmp_path, texts, people=2, QUALITY__SPOT_CHECK="0") as site:
        _from_disagreement_to_a_reviewers_answer(site, label_studio.url, page)


def _from_disagreement_to_a_reviewers_answer(site: Site, url: str, page: Page) -> None:
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

    shows(page, site, url, "Needs review", {split, own})
    shows(page, site, url, "Disagreement", {split, own})
    shows(page, site, url, "Approved", {agreed})
    shows(page, site, url, title, {split})

    answer = answered(page, "text 1", split, "land")

    # A review of own work, done anyway.
    refused = site.label(own, reviewer, "land")
    summary = site.go()
    made = [(task, verdict, by) for task, _, verdict, by in site.decided("review")]
    assert made.count((own, "refused", str(reviewer))) == 1 and (own, "approved", str(reviewer)) not in made
    assert made.count((split, "approved", str(reviewer))) == 3 and made.count((split, "rejected", str(reviewer))) == 1
    assert dict(summary.stages) == {"approved": 2, "review": 1, "label": 1}
    blind = {row.annotation_id: row.shown_serving_id for row in site.runtime.store.labels(site.project_id)}
    assert blind[answer] is None and blind[refused] is None
    shows(page, site, url, "Needs review", {own})
    shows(page, site, url, title, set())
    shows(page, site, url, "Approved", {agreed, split})


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's, which runs in this process
def test_what_is_drawn_doubted_or_unsure_reaches_the_reviewer(label_studio: Any, page: Page, tmp_path: Path) -> None:
    """One label of each text suffices here, so nothing but a flag asks for a reviewer."""
    (tmp_path / "rules.yaml").write_text(RULES)
    texts = [f"plain {n}" for n in range(5)] + ["harbour", "harbour too", "water", "open", "known"]
    with review_site(label_studio, tmp_path, texts, people=1, backend="rules") as site:
        site.serve(tmp_path / "rules.yaml")
        _flags_to_a_reviewers_answer(site, label_studio.url, page)


def _flags_to_a_reviewers_answer(site: Site, url: str, page: Page) -> None:
    ann, bob, _, reviewer = site.people
    plain, (harbour, agreed, water, unsure, known) = site.tasks[:5], site.tasks[5:]
    made = {task: site.label(task, ann, "land") for task in plain}
    # A sure model says "sea" of the first; the other two are as suggested, one by a model that is not sure.
    made |= {harbour: site.label(harbour, ann, "land"), agreed: site.accept(agreed, bob)}
    made |= {water: site.accept(water, bob), unsure: site.label(unsure, ann, "unsure")}
    site.label(known, reviewer, "sea", ground_truth=True)
    right, wrong = site.label(known, ann, "sea"), site.label(known, bob, "land")

    # The share to draw is set so that of the plain ones exactly the first in the salted order is drawn.
    units = {task: salted_unit(site.project.salt, "spot check", str(made[task])) for task in made}
    first, second = sorted(plain, key=units.__getitem__)[:2]
    share = (units[first] + units[second]) / 2
    site.runtime.store.put_project(
        project_id=site.project_id, title=site.project.title, task_type=site.project.task_type, backend="rules",
        label_config=site.project.label_config,
        settings={"quality": {"spot_check": share, "reviewers": [str(reviewer)]}},
    )  # fmt: skip
    drawn = {task for task in made if units[task] < share}
    assert drawn & set(plain) == {first}

    summary = site.go()
    waiting = {each.task_id: set(each.reasons) for each in summary.standings if each.stage == "review"}
    flags = {harbour: {"low_confidence"}, water: {"low_confidence"}, unsure: {"unsure"}}
    assert waiting == {
        task: flags.get(task, set()) | ({"spot_check"} if task in drawn else set()) for task in {*flags, *drawn}
    }
    assert {task for task, _, verdict, _ in site.decided("review") if verdict == "requested"} == waiting.keys()
    assert summary.to_json()["honeypots"] == {str(ann): {"n": 1, "right": 1.0}, str(bob): {"n": 1, "right": 0.0}}
    assert [each[1:3] for each in site.decided("honeypot")] == [(right, "right"), (wrong, "wrong")]
    shows(page, site, url, "Needs review", set(waiting))

    for n, (task, label) in enumerate(((first, "land"), (harbour, "sea")), start=1):
        shows(page, site, url, "Needs review", set(waiting))
        answered(page, text_of(site, task), task, label)
        assert site.go().stages["approved"] == n
        del waiting[task]
    verdicts = [(annotation, verdict) for _, annotation, verdict, by in site.decided("review") if by == str(reviewer)]
    assert (made[first], "approved") in verdicts and (made[harbour], "rejected") in verdicts
    shows(page, site, url, "Needs review", set(waiting))
    shows(page, site, url, "Approved", {first, harbour})
    assert not site.go().decided
