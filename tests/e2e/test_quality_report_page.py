"""The quality report in a real browser, from a file and without a network: pictures, themes, widths, keyboard, print."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.settings import load_settings

pytestmark = pytest.mark.e2e

CONFIG = (
    '<View><Image name="image" value="$image"/><Text name="text" value="$text"/><RectangleLabels name="boxes" '
    'toName="image"><Label value="cat"/><Label value="&lt;img src=x onerror=alert(1)&gt;"/></RectangleLabels>'
    '<Labels name="spans" toName="text"><Label value="name"/></Labels></View>'
)
HOSTILE = "<img src=x onerror=alert(1)>"
TEXT = "Ada wrote to Charles <script>alert(2)</script> in London."


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium: LABELLOOP_CHROMIUM, or /usr/bin/chromium."""
    program = load_settings().services.chromium or "/usr/bin/chromium"
    if not Path(program).is_file():
        pytest.skip(f"no Chromium at {program}: install it, or name one by LABELLOOP_CHROMIUM")
    with sync_playwright() as playwright:
        # Chromium refuses to run as root inside its own sandbox, as in a container.
        opened = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        yield opened
        opened.close()


def box(number: int, x: float, y: float, label: str) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 20, "height": 30, "rotation": 0, "rectanglelabels": [label]}
    return {"id": f"b{number}", "from_name": "boxes", "to_name": "image", "type": "rectanglelabels", "value": value,
            "original_width": 320, "original_height": 240}  # fmt: skip


def span(number: int, start: int, end: int) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": TEXT[start:end], "labels": ["name"]}
    return {"id": f"s{number}", "from_name": "spans", "to_name": "text", "type": "labels", "value": value}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 30 tasks by three people: in task 1 they drew 3, 1 and 2 boxes, far from each other."""
    folder = tmp_path_factory.mktemp("report")
    picture = io.BytesIO()
    Image.effect_noise((320, 240), 60).convert("RGB").save(picture, "PNG")
    image = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    tasks = []
    for task in range(1, 31):
        drawn = [[box(1, 10, 10, "cat"), span(1, 0, 3)] for _ in range(3)]
        if task == 1:
            drawn = [
                [box(1, 5, 5, "cat"), box(2, 40, 5, "cat"), box(3, 70, 5, HOSTILE)],
                [box(1, 5, 60, "cat")],
                [box(1, 40, 60, HOSTILE), box(2, 75, 65, "cat")],
            ]
        if task == 2:
            drawn = [[box(1, 10, 10, "cat"), *spans] for spans in ([span(1, 0, 3)], [span(1, 13, 20)], [])]
        annotations = [
            {"id": task * 10 + person, "completed_by": person, "result": result,
             "created_at": f"2026-{1 + task // 4:02d}-03T10:00:00Z"}
            for person, result in enumerate(drawn, start=1)
        ]  # fmt: skip
        tasks.append({"id": task, "data": {"image": image, "text": TEXT}, "annotations": annotations})
    (folder / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    (folder / "config.xml").write_text(CONFIG, encoding="utf-8")
    page = folder / "quality.html"
    result = CliRunner().invoke(
        app,
        ["report", "--file", str(folder / "export.json"), "--config", str(folder / "config.xml"), "-o", str(page),
         "--label-studio-url", "https://labels.example/projects/7"],
    )  # fmt: skip
    assert result.exit_code == 0, (result.output, result.exception)
    return page


@pytest.fixture(params=[("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)], ids=lambda p: f"{p[0]}-{p[1]}")
def opened(request: pytest.FixtureRequest, browser: Browser, page_file: Path) -> Iterator[tuple[Page, list[str]]]:
    """The page without a network, in one theme and width; what the console said and which requests were made."""
    scheme, width = request.param
    context: BrowserContext = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, reduced_motion="reduce"
    )
    page, said = context.new_page(), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith(("file://", "data:")) else None)
    page.goto(page_file.as_uri())
    yield page, said
    context.close()


def test_the_worst_task_shows_each_person_s_boxes_over_its_image(opened: tuple[Page, list[str]]) -> None:
    page, said = opened
    drawing = page.locator("article svg.drawing").first
    layers = drawing.locator("g.layer")
    assert [layers.nth(at).locator("g.region").count() for at in range(layers.count())] == [3, 1, 2]
    loaded = (
        "image => new Promise(r => {const i = new Image(); i.onload = () => r(i.naturalWidth); i.onerror = () => r(0);"
    )
    assert drawing.locator("image").evaluate(f"{loaded} i.src = image.getAttribute('href')}})") == 320
    colours = {layers.nth(at).locator(".drawn").first.evaluate("e => getComputedStyle(e).stroke") for at in range(3)}
    dashes = {
        layers.nth(at).locator(".drawn").first.evaluate("e => getComputedStyle(e).strokeDasharray") for at in range(3)
    }
    assert len(colours) == len(dashes) == 3
    assert said == []


def test_every_part_is_there_and_reached_from_the_navigation(opened: tuple[Page, list[str]]) -> None:
    page, said = opened
    for part in ("pairs", "classes", "people", "weeks"):
        assert page.locator(f"#control-0-{part}").is_visible(), part
    shown = page.locator("#control-0-pairs .matrix, #control-0-classes .bar, #control-0-weeks .trend")
    assert shown.count() >= 3
    for ident in ("annotators", "errors", "consensus", "worst"):
        page.locator(f"nav a[href='#{ident}']").click()
        assert page.locator(f"#{ident}").is_visible() and page.url.endswith(f"#{ident}")
    assert page.locator("#consensus h3").count() == 2
    assert page.locator("#consensus-0 tbody th").first.inner_text() == "1"
    link = page.locator("article a").first.get_attribute("href")
    assert link == "https://labels.example/projects/7/data?task=1" and said == []


def test_the_page_fits_its_width_and_only_frames_scroll(opened: tuple[Page, list[str]]) -> None:
    page, said = opened
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,p,li')].every(e => e.getBoundingClientRect().right <= innerWidth + 1)"
    )
    assert said == []


#: (contrast with what is behind, the first characters) of texts whose contrast is below 4.5, WCAG's AA.
CONTRAST = """() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const behind = e => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
  return [...document.querySelectorAll('p,th,td,li,b,small,h1,h2,h3,a,summary,caption,.why,.value')].filter(e =>
    !e.closest('svg') && !e.closest('.unseen') && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    return [(a + .05) / (b + .05), e.textContent.slice(0, 30)]; }).filter(([ratio]) => ratio < 4.5); }"""


def test_every_text_stands_out_from_what_is_behind_it(opened: tuple[Page, list[str]]) -> None:
    page, _ = opened
    assert page.evaluate(CONTRAST) == []


def test_the_keyboard_reaches_the_content_the_tables_and_the_legend(opened: tuple[Page, list[str]]) -> None:
    page, said = opened
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    reached: set[str] = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
        if page.evaluate("document.activeElement.dataset.layer || ''") == "worst-0-0-1":
            break
    assert {"wide", "SUMMARY", "A", "INPUT"} <= reached
    layer = page.locator("#worst-0-0-1")
    assert layer.is_visible()
    page.keyboard.press("Space")
    assert not layer.is_visible()
    page.keyboard.press("Space")
    assert layer.is_visible() and said == []


def test_spans_are_rows_of_the_text_and_texts_stay_texts(opened: tuple[Page, list[str]]) -> None:
    page, said = opened
    rows = page.locator("article .passages li")
    assert rows.count() == 3
    marked = [rows.nth(at).locator("mark > span").all_inner_texts() for at in range(3)]
    assert marked == [["Ada"], ["Charles"], []]
    assert (
        "<script>alert(2)</script>" in rows.first.inner_text()
        and HOSTILE in page.locator("figcaption").first.inner_text()
    )
    assert said == []


def test_print_opens_what_is_folded_and_drops_the_navigation(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    context = browser.new_context(color_scheme="dark", offline=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert page.locator("details[open]").count() == 0
    page.pdf(path=str(tmp_path / "page.pdf"))
    assert page.locator("details:not([open])").count() == 0 and (tmp_path / "page.pdf").stat().st_size > 10_000
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    context.close()
