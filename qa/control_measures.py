"""The measures of each kind of control, over groups of labels of one task: choices, boxes and spans.

A group is the readings of one task by different people. Groups in which nobody gave anything enter no measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from qa.measures import BoxAgreement, box_agreement, krippendorff_alpha, measured, percent_agreement, undefined
from qa.measures.categorical import NO_UNITS
from qa.measures.coefficients import Coefficient
from qa.measures.spans import span_counts, token_values
from qa.readings import Reading

Group = Sequence[Reading]
Measure = Callable[[Sequence[Group]], Coefficient]

BOX_IOU = 0.5


@dataclass(frozen=True)
class MeasureSet:
    """The measures of one kind: which is the headline, which is raw agreement, and which corrects for chance."""

    headline: str
    percent: str
    alpha: str
    measures: Mapping[str, Measure]


def measures_for(kind: str) -> MeasureSet:
    """The measures of a kind of reading ("choices", "boxes", "spans")."""
    return {"choices": _choices, "boxes": _boxes, "spans": _spans}[kind]()


def pairs_of(groups: Sequence[Group]) -> list[tuple[Reading, Reading]]:
    """Every pair of people's labels of one task."""
    return [pair for group in groups for pair in combinations(group, 2)]


# -- choices ------------------------------------------------------------------------------------------------------


def _choices() -> MeasureSet:
    return MeasureSet(
        "alpha",
        "percent",
        "alpha",
        {
            "alpha": lambda groups: krippendorff_alpha(*_choice_table(groups)),
            "percent": lambda groups: percent_agreement(*_choice_table(groups)),
        },
    )


def _choice_table(groups: Sequence[Group]) -> tuple[list[int], list[str]]:
    cells = [(unit, reading.choice) for unit, group in enumerate(groups) for reading in group]
    return [unit for unit, _ in cells], [value for _, value in cells]


# -- boxes --------------------------------------------------------------------------------------------------------


def _boxes() -> MeasureSet:
    matcher = _BoxMatcher()
    return MeasureSet(
        "f1_iou50",
        "f1_iou50",
        "class_alpha",
        {
            "f1_iou50": lambda groups: _box_f1(groups, matcher, same_class=True),
            "f1_iou50_any_class": lambda groups: _box_f1(groups, matcher, same_class=False),
            "mean_iou": lambda groups: _mean_iou(groups, matcher),
            "class_alpha": lambda groups: krippendorff_alpha(*_class_table(groups, matcher)),
            "class_percent": lambda groups: percent_agreement(*_class_table(groups, matcher)),
        },
    )


class _BoxMatcher:
    """Matches each pair of labels once, however many measures and groupings ask."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, bool], BoxAgreement] = {}

    def __call__(self, a: Reading, b: Reading, same_class: bool) -> BoxAgreement:
        key = (id(a), id(b), same_class)
        if key not in self._known:
            self._known[key] = box_agreement(
                a.corners, b.corners, a.labels, b.labels, threshold=BOX_IOU, same_class=same_class
            )
        return self._known[key]


def _box_f1(groups: Sequence[Group], matcher: _BoxMatcher, same_class: bool) -> Coefficient:
    found = [matcher(a, b, same_class) for a, b in pairs_of(groups)]
    boxes = sum(match.n_first + match.n_second for match in found)
    if not boxes:
        return undefined(NO_UNITS if not found else "no box in any pair", len(groups), len(found))
    return measured(2 * sum(len(match.pairs) for match in found) / boxes, len(groups), len(found))


def _mean_iou(groups: Sequence[Group], matcher: _BoxMatcher) -> Coefficient:
    found = [matcher(a, b, True) for a, b in pairs_of(groups)]
    overlaps = [iou for match in found for _, _, iou in match.pairs]
    if not overlaps:
        return undefined(NO_UNITS if not found else "no boxes match", len(groups), len(found))
    return measured(sum(overlaps) / len(overlaps), len(groups), len(found))


def _class_table(groups: Sequence[Group], matcher: _BoxMatcher) -> tuple[list[int], list[str]]:
    """The classes of boxes matched by place alone: each matched pair is a unit with two values."""
    units: list[int] = []
    values: list[str] = []
    for a, b in pairs_of(groups):
        for i, j, _ in matcher(a, b, False).pairs:
            unit = len(units) // 2
            units += [unit, unit]
            values += [a.labels[i], b.labels[j]]
    return units, values


# -- spans --------------------------------------------------------------------------------------------------------


def _spans() -> MeasureSet:
    return MeasureSet(
        "span_f1",
        "token_percent",
        "token_alpha",
        {
            "span_f1": _span_f1,
            "token_alpha": lambda groups: _over_tokens(groups, krippendorff_alpha),
            "token_percent": lambda groups: _over_tokens(groups, percent_agreement),
        },
    )


def _span_f1(groups: Sequence[Group]) -> Coefficient:
    counts = [span_counts(a.spans, b.spans) for a, b in pairs_of(groups)]
    spans = sum(n_first + n_second for _, n_first, n_second in counts)
    if not spans:
        return undefined(NO_UNITS if not counts else "no span in any pair", len(groups), len(counts))
    return measured(2 * sum(both for both, _, _ in counts) / spans, len(groups), len(counts))


def _over_tokens(groups: Sequence[Group], measure: Callable[[list[int], list[str]], Coefficient]) -> Coefficient:
    units: list[int] = []
    values: list[str] = []
    first = 0
    for group in groups:
        if any(reading.text is None for reading in group):
            return undefined(
                "the text of a task is not known, so its tokens are not", len(groups), len(pairs_of(groups))
            )
        length = 0
        for reading in group:
            tokens = token_values(reading.text or "", reading.spans)
            length = len(tokens)
            units += range(first, first + length)
            values += tokens
        first += length
    return measure(units, values)
