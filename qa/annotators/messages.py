"""A few plain words to each person about their own work: what goes well, what to look at, and some tasks to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qa.annotators.flags import LEAST

_MOST_TASKS = 3
_ADVICE = {
    "low_gold": "Please read the guideline again beside these tasks: their answers are known, and yours often differ.",
    "low_agreement": "You often answer otherwise than most others do. You may be right; let us look at some tasks together.",
    "guessing": "Your answers and the others' hardly go together, which often means that the question is read otherwise.",
    "class_bias": "You choose one class at other times than most do; the guideline may be unclear there.",
    "accepts_wrong_suggestions": "Suggestions are often wrong. Please look at the task first and only then at what is suggested.",
    "rubber_stamping": "Suggested answers are accepted very quickly. A moment on each is worth it: models err.",
    "drift": "Your recent labels differ more from the others' than earlier ones. A look at the guideline may help.",
    "very_fast": "You are much quicker than is usual for these tasks. If that is too hasty, please take the time you need.",
}


def message_of(figures: Mapping[str, Any], usual: Mapping[str, float | None]) -> str:
    """The text for one person, without a word on anybody else."""
    labels, weeks = figures["n_labels"], figures["by_week"]
    week = f", {weeks[-1]['n_labels']} of them in week {weeks[-1]['week']}" if len(weeks) > 1 else ""
    said = [f"Thank you for {_count(labels, 'label')}{week}."]
    gold, agreement = figures["gold"], figures["agreement"]
    if gold["n"]:
        said.append(f"Of {_count(gold['n'], 'task')} with a known answer you got {_percent(gold['value'])} right.")
    if agreement["n"]:
        said.append(
            f"On {_count(agreement['n'], 'task')} that others labelled too, you and they agree to {_percent(agreement['value'])}."
        )
    if not gold["n"] and not agreement["n"]:
        said.append("Nobody else has labelled your tasks yet, so there is nothing to compare them with.")
    said += _praise(figures, usual)
    flags = figures["flags"]
    for flag in list({each["flag"]: each for each in flags}.values())[:3]:
        said.append(f"{_ADVICE[flag['flag']]} ({flag['why']}.)")
    if not flags and gold["n"] + agreement["n"] >= LEAST:
        said.append("Nothing stands out that you would need to change.")
    if tasks := _worth_a_look(figures):
        said.append(f"Worth another look: task{'s' if len(tasks) > 1 else ''} {', '.join(map(str, tasks))}.")
    return " ".join(said)


def _praise(figures: Mapping[str, Any], usual: Mapping[str, float | None]) -> list[str]:
    said = []
    for name, words in (("gold", "known answers"), ("agreement", "agreement")):
        figure, middle = figures[name], usual[name]
        if figure["n"] >= LEAST and middle is not None and figure["value"] >= max(middle, 0.7):
            said.append(f"In {words} that is as good as the middle of the team or better.")
            break
    drift, accepts = figures["drift"], figures["accept_when_wrong"]
    if drift["p"] is not None and drift["p"] < 0.01 and drift["change"] >= 0.05:
        said.append(f"Your agreement rose from {_percent(drift['before'])} to {_percent(drift['after'])}.")
    if accepts["n"] >= 5 and accepts["value"] <= 0.2:
        said.append(
            f"You corrected {accepts['n'] - round(accepts['value'] * accepts['n'])} of {accepts['n']} wrong suggestions."
        )
    return said


def _worth_a_look(figures: Mapping[str, Any]) -> list[Any]:
    """Tasks of the flags by turns, the gravest flag first; else those that differ most."""
    lists = [flag["tasks"] for flag in figures["flags"] if flag["tasks"]]
    lists = lists or [figures["tasks"]["gold"], figures["tasks"]["agreement"]]
    longest = max(map(len, lists), default=0)
    turns = [tasks[at] for at in range(longest) for tasks in lists if at < len(tasks)]
    return list(dict.fromkeys(turns))[:_MOST_TASKS]


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
