"""How the report writes figures: numbers, intervals, reasons, and the names of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qa.report.markup import Child, Html, element, joined, named

#: Characters of an answer in a table.
MOST_CHARACTERS = 300
_NAMES = {
    "percent_agreement": "Percent agreement",
    "cohens_kappa": "Cohen's kappa",
    "cohens_kappa_mean": "Cohen's kappa, mean of pairs",
    "cohens_kappa_linear_mean": "Cohen's kappa, linear weights, mean of pairs",
    "cohens_kappa_quadratic_mean": "Cohen's kappa, quadratic weights, mean of pairs",
    "fleiss_kappa": "Fleiss' kappa",
    "krippendorff_alpha": "Krippendorff's alpha",
    "gwet_ac1": "Gwet's AC1",
    "gwet_ac2": "Gwet's AC2",
    "mean_iou": "Mean IoU of matched regions",
    "f1_50": "F1 at IoU 0.5",
    "f1_50_95": "F1 at IoU 0.5 to 0.95",
    "f1_50_any_class": "F1 at IoU 0.5, whatever the class",
    "mean_score": "Mean score of pairs",
    "score": "Score",
}
#: What a prefix of a coefficient says about its units.
_UNITS = {"class": "classes of matched regions", "token": "tokens", "unit": "units"}
#: Parts of names of coefficients that take out what chance explains.
_CORRECTED = ("kappa", "alpha", "gwet")


def metric_name(name: str) -> str:
    """What people call a metric; `token_` and the like before a coefficient is told after it."""
    if name in _NAMES:
        return _NAMES[name]
    for known, said in _NAMES.items():
        if name.endswith(f"_{known}"):
            unit = name.removesuffix(known).strip("_")
            return f"{said} ({_UNITS.get(unit, unit.replace('_', ' ') + 's')})"
    return name.replace("_", " ").capitalize()


def corrects_for_chance(name: str) -> bool:
    """Whether 0 stands for what chance alone would give."""
    return any(part in name for part in _CORRECTED)


def number(value: Any) -> str:
    """A number with three digits behind the point; whole ones as they are; a dash for none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–"
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.3f}".replace("-", "−")


def interval(bounds: Sequence[float] | None) -> str:
    """Bounds, or a dash."""
    return f"{number(float(bounds[0]))} to {number(float(bounds[1]))}" if bounds else "–"


def counted(n: int, one: str, several: str | None = None) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number(n)} {one if n == 1 else several or one + 's'}"


def figure(metric: Mapping[str, Any]) -> Html:
    """A metric's value, or a dash with the reason."""
    if metric.get("value") is None:
        return joined(["– ", element("span", metric.get("reason") or "not defined", class_="why")])
    return element("strong", number(float(metric["value"])))


def plain(value: Any) -> Child:
    """A class, several of them, or a number, as text; of a long text its beginning."""
    if value is None:
        return "–"
    if isinstance(value, list):
        return joined([part for each in value for part in (" / ", plain(each))][1:]) or "nothing"
    if isinstance(value, Mapping):
        return joined([part for key, each in value.items() for part in (", ", f"{key} ", plain(each))][1:])
    if isinstance(value, str) and len(value) > MOST_CHARACTERS:
        return named(value[:MOST_CHARACTERS] + " …")
    return named(number(value) if isinstance(value, float) else value)


def meaning(metric: str, value: float | None) -> str:
    """One sentence on what the value of a metric says.

    The bounds .667 and .8 of coefficients are those of Krippendorff 2004, "Content Analysis", chapter 11.
    """
    if value is None:
        return "It can't be told how far people agree."
    if not corrects_for_chance(metric):
        of = (
            "It is the share of what two people marked that they have in common, one to one. " if "f1" in metric else ""
        )
        return f"{of}0 is nothing in common, 1 is the same. What chance alone would give is not taken out."
    scale = "1 is full agreement, 0 is what chance alone would give."
    if value >= 0.8:
        return f"{scale} From 0.8 on, labels count as reliable."
    if value >= 0.667:
        return f"{scale} Between 0.667 and 0.8, labels carry tentative conclusions only."
    if value > 0:
        return f"{scale} Below 0.667, labels do not count as reliable: look at the guideline and the worst tasks below."
    return f"{scale} People agree no more than by chance, or less."
