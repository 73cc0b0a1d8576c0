"""What each person answered about a task as a whole, beside the task's own data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from qa.report.disagreements import Disagreement
from qa.report.markup import Child, Html, element, joined, named
from qa.report.tables import table

#: Characters of a text that are shown.
MOST_CHARACTERS = 1200


def answer_table(found: Disagreement) -> Html:
    """Everybody's answer, and whether it was given blind."""
    rows: list[Sequence[Child]] = [
        [
            f"annotator {answer.annotator}",
            _answer(answer.value, found.control.tag),
            "blind" if answer.blind else "saw a suggestion",
        ]
        for answer in found.answers
    ]
    return table("What each person answered", ["Person", "Answer", "Made"], rows)


def task_text(data: Mapping[str, Any], key: str) -> Html | None:
    """The text that was asked about, where the task has one."""
    value = data.get(key)
    if not isinstance(value, str) or not value:
        return None
    cut = value[:MOST_CHARACTERS]
    return element("blockquote", cut, " …" if len(value) > len(cut) else None, class_="asked", dir="auto")


def _answer(value: Any, tag: str) -> Child:
    if value is None:
        return element("span", "nothing", class_="why")
    if isinstance(value, frozenset):
        return joined(_listed([named(each) for each in sorted(map(str, value))], ", "))
    if isinstance(value, tuple):
        return joined(_listed([named(each) for each in value], " > "))
    if isinstance(value, float) and tag == "DateTime":
        return _moment(value)
    if isinstance(value, float | int):
        return f"{value:g}"
    return named(str(value)[:MOST_CHARACTERS])


def _moment(days: float) -> str:
    try:
        return datetime.fromtimestamp(days * 86400, UTC).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")
    except (OverflowError, ValueError, OSError):
        return f"{days:g}"


def _listed(parts: Sequence[Child], between: str) -> list[Child]:
    return [each for part in parts for each in (between, part)][1:]
