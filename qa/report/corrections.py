"""The part of the report on what suggestions cost or save, from the JSON of `labelloop cost`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qa.corrections.labels import FATES
from qa.report.markup import Child, Html, element, joined, named
from qa.report.tables import left_out_note, section, table
from qa.report.wording import figure, number

_MOST_ROWS = 100


def corrections_section(report: Mapping[str, Any]) -> Html:
    """Seconds saved per task, and of each class and model version what became of what was suggested."""
    classes, versions = report["classes"], report["versions"]
    by_class: list[Sequence[Child]] = [
        [
            joined([named(each["control"]), " ", named(each["class"])]),
            *[number(each["regions"][fate]) for fate in FATES],
            _seconds(each["seconds_saved"]),
            _state(each),
        ]
        for each in classes[:_MOST_ROWS]
    ]
    by_version: list[Sequence[Child]] = [
        [named(each["model_version"]), number(each["labels"]), *[number(each["regions"][fate]) for fate in FATES]]
        for each in versions[:_MOST_ROWS]
    ]
    fates = [fate.capitalize() for fate in FATES]
    return section(
        "cost",
        "What suggestions cost or save",
        element("p", "Seconds saved per task, against blind labels by the same people: ", _seconds(report["seconds_saved"])),
        table("Suggested regions by class", ["Class", *fates, "Seconds saved", "State"], by_class, class_="numbers")
        if by_class
        else element("p", "Nothing was suggested."),
        left_out_note(len(by_class), len(classes), "classes"),
        table("Suggested regions by model version", ["Version", "Labels", *fates], by_version, class_="numbers")
        if by_version
        else None,
        left_out_note(len(by_version), len(versions), "versions"),
    )  # fmt: skip


def _seconds(saving: Mapping[str, Any]) -> Html:
    if saving["value"] is None:
        return figure(saving)
    low, high = (_signed(bound) for bound in saving["ci"])
    more = f" ({low} to {high}; {number(saving['n_suggested'])} suggested, {number(saving['n_blind'])} blind)"
    return joined([element("strong", _signed(saving["value"])), element("small", more, class_="soft")])


def _signed(seconds: float) -> str:
    return f"{seconds:.1f}".replace("-", "−")


def _state(told: Mapping[str, Any]) -> str:
    if not told["shown"]:
        return f"hidden since {str(told['decision']['at'])[:10]}"
    return "to be hidden at the next ranking" if told["slows"] else "shown"
