"""Who agrees with whom: a heat map of pairs of people, or the worst and the largest pairs where there are too many people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qa.report.markup import Child, Html, element, joined
from qa.report.tables import framed, table
from qa.report.wording import metric_name, number

#: People up to which each pair has a cell.
MOST_PEOPLE = 60
#: Pairs in each table where there are more people.
MOST_PAIRS = 20
#: Upper bounds of the bands, and how each is written; a score of the last bound is in the band above.
BANDS = ((0.4, "below 0.4"), (0.6, "0.4 to 0.6"), (0.75, "0.6 to 0.75"), (0.9, "0.75 to 0.9"), (None, "0.9 and more"))
#: Pairs with fewer tasks than this are marked: one task more can change the score by a tenth.
FEW = 10


def pair_matrix(pairs: Sequence[Mapping[str, Any]], ident: str) -> Html:
    """The pairs of one control; `ident` names the place on the page."""
    people = sorted({person for pair in pairs for person in (pair["first"], pair["second"])}, key=str)
    if not pairs:
        return element("p", "No two people labelled the same task.", class_="note")
    if len(people) > MOST_PEOPLE:
        return _tables(pairs, len(people))
    return joined([_heat_map(pairs, ident), _legend(), _pair_table(pairs, "All pairs, the lowest score first")])


def band(score: float) -> int:
    """The place of a score's band, the lowest first."""
    return sum(bound is not None and score >= bound for bound, _ in BANDS)


def _heat_map(pairs: Sequence[Mapping[str, Any]], ident: str) -> Html:
    cells = {(pair["first"], pair["second"]): pair for pair in pairs}
    cells |= {(second, first): pair for (first, second), pair in cells.items()}
    people = _worst_first(pairs)
    heads = [element("th", f"{person}", scope="col") for person in people]
    rows = [
        element(
            "tr",
            element("th", f"{person}", scope="row"),
            *[_cell(person, other, cells.get((person, other))) for other in people],
        )
        for person in people
    ]
    caption = element(
        "caption", "Score of each pair of people, from 0 to 1, and n, the tasks of both. People are in order of their mean score."
    )  # fmt: skip
    made = element(
        "table",
        caption,
        element("thead", element("tr", element("td"), *heads)),
        element("tbody", *rows),
        class_="matrix",
        id=f"{ident}-matrix",
    )
    return framed(made, "Scores of pairs of people")


def _cell(person: Any, other: Any, pair: Mapping[str, Any] | None) -> Html:
    if person == other:
        return element("td", element("span", "same person", class_="unseen"), class_="self")
    if pair is None:
        return element("td", element("span", "no common task", class_="unseen"), class_="none")
    score = pair.get("score")
    shown = element("small", f"n {number(pair['n'])}")
    if score is None:
        return element("td", "–", shown, class_="none")
    few = " few" if pair["n"] < FEW else ""
    title = f"{person} and {other}: {number(float(score))} over {pair['n']} tasks"
    return element("td", element("b", f"{score:.2f}"), shown, class_=f"band{band(score)}{few}", title=title)


def _legend() -> Html:
    shown = [
        element("li", element("span", class_=f"swatch band{place}", aria_hidden="true"), said)
        for place, (_, said) in enumerate(BANDS)
    ]
    few = element("li", element("span", class_="swatch few", aria_hidden="true"), f"dashed border: n below {FEW}")
    return element("ul", *shown, few, class_="legend", aria_label="Bands of the matrix")


def _worst_first(pairs: Sequence[Mapping[str, Any]]) -> list[Any]:
    sums: dict[Any, list[float]] = {}
    for pair in pairs:
        for person in (pair["first"], pair["second"]):
            total = sums.setdefault(person, [0.0, 0.0])
            if pair.get("score") is not None:
                total[0] += pair["n"] * pair["score"]
                total[1] += pair["n"]
    return sorted(sums, key=lambda person: (sums[person][0] / (sums[person][1] or 1.0), str(person)))


def _tables(pairs: Sequence[Mapping[str, Any]], people: int) -> Html:
    scored = [pair for pair in pairs if pair.get("score") is not None]
    known = [pair for pair in scored if pair["n"] >= FEW]
    said = f"{people} people are too many for a matrix (at most {MOST_PEOPLE})"
    worst = sorted(known or scored, key=lambda pair: pair["score"])[:MOST_PAIRS]
    largest = sorted(pairs, key=lambda pair: -pair["n"])[:MOST_PAIRS]
    least = f" with n of {FEW} and more" if known else ""
    return joined(
        [
            element("p", f"{said}; of {number(len(pairs))} pairs these are shown:", class_="note"),
            _pair_table(worst, f"The {len(worst)} pairs that agree least{least}", opened=True),
            _pair_table(largest, f"The {len(largest)} pairs with most common tasks", opened=True),
        ]
    )


def _pair_table(pairs: Sequence[Mapping[str, Any]], caption: str, *, opened: bool = False) -> Html:
    more = sorted({name for pair in pairs for name in pair} - {"first", "second", "n", "score"})
    heads: list[Child] = ["First", "Second", "n", "Score", *map(metric_name, more)]
    ordered = pairs if opened else sorted(pairs, key=lambda pair: (pair.get("score") is None, pair.get("score")))
    rows = [
        [str(pair["first"]), str(pair["second"]), number(pair["n"]), number(pair.get("score")),
         *[number(_value(pair.get(name))) for name in more]]
        for pair in ordered
    ]  # fmt: skip
    made = table(caption, heads, rows, class_="numbers")
    return made if opened else element("details", element("summary", caption), made)


def _value(found: Any) -> Any:
    return found.get("value") if isinstance(found, Mapping) else found
