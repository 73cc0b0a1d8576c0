"""What about a person's work deserves a look: only what is beyond chance, large enough to matter, and seen often enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qa.annotators.figures import LEAST_STAMPED
from qa.annotators.significance import Z99, paired, wilson

#: Labels that a flag about agreement needs, how far below the others it begins, and the kappa of mere guessing.
LEAST, BELOW, GUESSING = 20, 0.1, 0.2
#: Drift and bias must be this large and this unlikely by chance.
LARGE, UNLIKELY = 0.1, 0.001


def flags_of(figures: Mapping[str, Any], usual: Mapping[str, float | None]) -> list[dict[str, Any]]:
    """The flags of one person, the gravest first. `usual` has the medians of all people for gold and agreement."""
    found: list[dict[str, Any]] = []
    for name, words in (("gold", "right on tasks with a known answer"), ("agreement", "in agreement with the others")):
        figure, middle = figures[name], usual[name]
        if figure["n"] < LEAST or middle is None:
            continue
        high = wilson(figure["value"] * figure["n"], figure["n"], Z99)[1]
        if high < middle - BELOW:
            why = f"{_percent(figure['value'])} {words} over {figure['n']}, where {_percent(middle)} is usual"
            found.append(_flag(f"low_{name}", why, figures["tasks"][name]))
    for name, control in figures["controls"].items():
        found += _of_control(name, control)
    accepts = figures["accept_when_wrong"]
    if accepts["n"] >= LEAST_STAMPED and wilson(accepts["value"] * accepts["n"], accepts["n"], Z99)[0] > 0.3:
        why = f"{_percent(accepts['value'])} of {accepts['n']} wrong suggestions were left as they were"
        found.append(_flag("accepts_wrong_suggestions", why, accepts["tasks"]))
    stamped = figures["rubber_stamping"]
    if stamped["share"] is not None and stamped["share"] >= 0.5:
        why = (
            f"accepted suggestions took {_percent(stamped['ratio'])} of the usual time without a suggestion; "
            f"{_percent(stamped['share'])} of {stamped['n_accepted']} less than a third of it"
        )
        found.append(_flag("rubber_stamping", why, stamped["tasks"]))
    drift = figures["drift"]
    if drift["p"] is not None and drift["p"] < UNLIKELY and drift["change"] <= -LARGE:
        places = f"label {drift['at_label']} of {drift['n']}"
        why = f"agreement went from {_percent(drift['before'])} to {_percent(drift['after'])} at {places}"
        found.append(_flag("drift", why, figures["tasks"]["late"]))
    speed = figures["speed"]
    if speed["z"] is not None and speed["n"] >= LEAST and speed["z"] < -2.5 and speed["ratio"] < 0.5:
        why = f"{speed['ratio']:.2f} of the time that others need, over {speed['n']} labels"
        found.append(_flag("very_fast", why, speed["too_fast"]["tasks"]))
    return found


def _of_control(name: str, control: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    kappa = control["kappa"]
    # Chance alone agrees, too: against the others' answers this is what is left without it.
    if kappa["ci"] is not None and kappa["n"] >= 30 and kappa["ci"][1] < GUESSING:
        told = f"kappa {kappa['value']:.2f} with the others over {kappa['n']}"
        why = f"under {name!r} the answers hardly depend on the task: {told}"
        found.append(_flag("guessing", why, control["tasks"], name))
    strong = [
        each for each in _uses(control) if each[4] < UNLIKELY and abs(each[1] - each[2]) >= LARGE and each[3] >= LEAST
    ]
    if strong:
        label, own, theirs, n, _ = max(strong, key=lambda each: abs(each[1] - each[2]))
        often = "more" if own > theirs else "less"
        why = (
            f"{label!r} {often} often than most others on the same {n} tasks: {own:.2f} times a task, they {theirs:.2f}"
        )
        found.append(_flag("class_bias", why, control["tasks"], name))
    return found


def _uses(control: Mapping[str, Any]) -> list[tuple[str, float, float, int, float]]:
    """(class, how often each label has it, how often the others', n, p) of each class.

    Of single choices the others' is what most of them say: their mean would hold it against everybody that one of them guesses.
    """
    table = control["confusion"]
    if table is None:
        bias = control["bias"]
        return [(c, v["own"], v["others"], bias["n"], v["p"]) for c, v in bias["classes"].items()]
    cells = [(true, said, n) for true, row in table.items() for said, n in row.items()]
    total = sum(n for _, _, n in cells)
    found = []
    classes = sorted({said for _, said, _ in cells} | set(table))
    for label in classes:
        more = sum(n for true, said, n in cells if said == label != true)
        less = sum(n for true, said, n in cells if true == label != said)
        same = table.get(label, {}).get(label, 0)
        p = min(1.0, paired(more - less, more + less, total)[1] * len(classes))
        found.append((label, (same + more) / total, (same + less) / total, total, p))
    return found


def _flag(flag: str, why: str, tasks: Sequence[Any], control: str | None = None) -> dict[str, Any]:
    return {"flag": flag, "control": control, "why": why, "tasks": list(tasks)}


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
