"""The page: headline, counts, each control, what other reports found, and the worst tasks with pictures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qa.kinds.shapes import Spans
from qa.report.answers import answer_table, task_text
from qa.report.bars import Confused
from qa.report.consensus import consensus_section, not_made
from qa.report.controls import control_section
from qa.report.corrections import corrections_section
from qa.report.disagreements import Disagreement
from qa.report.findings import annotators_section, errors_section, review_section
from qa.report.learning import learning_section
from qa.report.markup import Child, Html, element, escaped, joined, named
from qa.report.passages import passage_rows
from qa.report.pictures import DRAWN, Absent, Look, image_figures
from qa.report.style import SCRIPT, STYLE
from qa.report.tables import section, table
from qa.report.wording import counted, interval, meaning, metric_name, number


def _no_image(address: str) -> Absent:
    return Absent("images were not asked for")


@dataclass(frozen=True)
class Content:
    """What the page tells. `agreement` is the JSON of `labelloop agreement`; the other reports, where there are any:
    of consensus one for each control. `not_made` has the reasons of parts that could not be made, by the names of these.

    `task_url` gives the address of a task in Label Studio, None where that is not known; `look` an image of a task.
    """

    title: str
    made_at: datetime
    agreement: Mapping[str, Any]
    worst: Sequence[Disagreement] = ()
    confused: Mapping[str, Sequence[Confused]] = field(default_factory=dict)
    annotators: Mapping[str, Any] | None = None
    errors: Mapping[str, Any] | None = None
    consensus: Sequence[Mapping[str, Any]] | None = None
    review: Mapping[str, Any] | None = None
    cost: Mapping[str, Any] | None = None
    learning: Mapping[str, Any] | None = None
    not_made: Mapping[str, str] = field(default_factory=dict)
    look: Look = _no_image
    task_url: Callable[[Any], str | None] = lambda task: None


def quality_page(content: Content) -> str:
    """The whole HTML file as text; it loads nothing, and forbids itself to."""
    parts = list(_parts(content))
    links = [element("li", element("a", name, href=f"#{ident}")) for ident, name, _ in parts]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"  # noqa: E501
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"Quality of labels: {content.title}"),
        element("style", Html(STYLE)),
    )
    made = content.made_at.strftime("%Y-%m-%d %H:%M %Z").strip()
    body = element(
        "body",
        element("a", "To the content", href="#content", class_="skip"),
        element("header", element("h1", "Quality of labels: ", named(content.title)),
                element("p", f"Made at {made} by labelloop.", class_="note")),
        element("nav", element("ul", *links), aria_label="Parts of the report"),
        element("main", *[part for _, _, part in parts], id="content", tabindex=-1),
        element("script", Html(SCRIPT)),
    )  # fmt: skip
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _parts(content: Content) -> list[tuple[str, str, Html]]:
    """(anchor, name in the navigation, part)"""
    link = _linker(content.task_url)
    controls: Mapping[str, Any] = content.agreement["controls"]
    found = [("headline", "Headline", _headline(content.agreement))]
    for at, (name, control) in enumerate(controls.items()):
        ident = f"control-{at}"
        made = control_section(name, control, content.confused.get(name, ()), ident, link)
        found.append((ident, f"Control {name}", made))
    found += _others(content, link)
    found.append(("worst", "Worst tasks", _worst(content, link)))
    found.append(("not-counted", "Not counted", _not_counted(content.agreement)))
    return found


def _others(content: Content, link: Callable[[Any], Html]) -> Iterator[tuple[str, str, Html]]:
    """The parts of other reports, and of those that could not be made the reasons."""
    parts: Sequence[tuple[str, str, Any, Callable[[Any], Html]]] = (
        ("annotators", "Annotators", content.annotators, lambda told: annotators_section(told, link)),
        ("errors", "Label errors", content.errors, lambda told: errors_section(told, link)),
        ("consensus", "Consensus", content.consensus, lambda told: consensus_section(told, link)),
        ("review", "Review", content.review, review_section),
        ("cost", "Cost of corrections", content.cost, corrections_section),
        ("learning", "Learning", content.learning, learning_section),
    )
    for ident, title, told, made in parts:
        if told is not None:
            yield ident, title, made(told)
        elif ident in content.not_made:
            yield ident, title, section(ident, title, not_made(content.not_made[ident]))


def _headline(report: Mapping[str, Any]) -> Html:
    head = report.get("headline") or _first_headline(report)
    metric, value = head.get("metric") or "", head.get("value")
    said: list[Child] = [
        element("div", number(value if value is None else float(value)), class_="value"),
        element("p", metric_name(metric), " of control ", named(head["control"])) if head.get("control") else None,
    ]
    if head.get("ci"):
        said.append(
            element("p", f"95 of 100 bootstrap samples lie in {interval(head['ci'])}; n is {number(head.get('n'))}.")
        )
    elif value is not None:
        said.append(element("p", f"n is {number(head.get('n'))}; too few units for an interval."))
    said.append(element("p", meaning(metric, value), None if value is not None else f" {head.get('reason') or ''}"))
    if report.get("basis") == "blind":
        said.append(element("p", f"Basis: blind pairs. {_sentence(report['basis_reason'])}"))
    elif "basis" in report:
        said.append(element("p", f"Basis: all pairs, because {report['basis_reason']}."))
    for alarm in report.get("alarms") or ():
        below = (
            f": {number(float(alarm['value']))} is below the alarm at {alarm['threshold']:g} (n {number(alarm['n'])})."
        )
        said.append(element("p", element("strong", "Alarm: "), named(alarm["control"]), ", ",
                            metric_name(alarm["metric"]), below, class_="alarm"))  # fmt: skip
    counts = {
        "labels that count": report.get("n_labels"),
        "tasks": report.get("n_tasks"),
        "tasks with several people's labels": report.get("n_overlapped"),
        "annotators": report.get("n_annotators"),
    }
    facts = [element("li", element("b", number(n)), name) for name, n in counts.items() if n is not None]
    pairs = [
        element("li", element("b", number(n)), f"pairs: {str(name).replace('_', ' ')}")
        for name, n in (report.get("pairs") or {}).items()
    ]
    return section(
        "headline",
        "How far people agree",
        element("div", *said, class_="headline"),
        element("ul", *facts, *pairs, class_="facts") if facts or pairs else None,
    )


def _first_headline(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a table's report, which has no headline of its own: alpha of its first control."""
    for name, control in report["controls"].items():
        metric = control.get("headline") or "krippendorff_alpha"
        return {"control": name, "metric": metric, **control["metrics"].get(metric, {})}
    return {"reason": "There is no control that is measured."}


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _not_counted(report: Mapping[str, Any]) -> Html:
    left = {name: n for name, n in (report.get("left_out") or {}).items() if n}
    rows = [[str(name).replace("_", " "), number(n)] for name, n in left.items()]
    unmeasured = [
        [named(each["control"]), str(each["tag"]), str(each["reason"])] for each in report.get("unmeasured") or ()
    ]
    return section(
        "not-counted",
        "What is not counted",
        table("Labels left out, by reason", ["Reason", "Labels"], rows)
        if rows
        else element("p", "No label was left out."),
        table("Controls that are not measured", ["Control", "Tag", "Why"], unmeasured)
        if unmeasured
        else element("p", "Every control is measured."),
    )


# -- worst tasks --------------------------------------------------------------------------------------------------------


def _worst(content: Content, link: Callable[[Any], Html]) -> Html:
    if not content.worst:
        said = "There is no task to show: people agree on all that several of them labelled, or the labels are not at hand."
        return section("worst", "Tasks on which people agree least", element("p", said))
    tasks = [_task(found, at, content.look, link) for at, found in enumerate(content.worst)]
    intro = element("p", f"{counted(len(tasks), 'task')}, the lowest score first.")
    return section("worst", "Tasks on which people agree least", intro, *tasks)


def _task(found: Disagreement, at: int, look: Look, link: Callable[[Any], Html]) -> Html:
    ident = f"worst-{at}"
    score = number(None if found.score is None else float(found.score))
    title = joined(["Task ", link(found.task), ", control ", named(found.control.name)])
    return element(
        "article",
        element("h3", title, id=ident),
        element("p", f"Score {score}, the mean of the pairs of {counted(len(found.answers), 'person', 'people')}."),
        _picture(found, look, ident),
        aria_labelledby=ident,
    )


def _picture(found: Disagreement, look: Look, ident: str) -> Html:
    values = [answer.value for answer in found.answers]
    if any(isinstance(value, DRAWN) for value in values):
        return image_figures(found, look, ident)
    if any(isinstance(value, Spans) for value in values):
        return passage_rows(found)
    asked = None
    if found.control.object_tag == "Image":
        asked = image_figures(found, look, ident, drawn=False)
    return joined([asked or task_text(found.data, found.control.data_key), answer_table(found)])


def _linker(task_url: Callable[[Any], str | None]) -> Callable[[Any], Html]:
    def link(task: Any) -> Html:
        url = task_url(task)
        if url is None or not url.startswith(("http://", "https://")):
            return escaped(str(task))
        return element("a", str(task), href=url, rel="noopener noreferrer")

    return link
