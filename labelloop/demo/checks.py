"""What the demo must have shown, judged from its summary alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

#: How well the order served must match ours.
ORDER_TAU = 0.99
LEARNING_SHARE = 0.9


def check(name: str, value: Any, must_be: str, ok: bool) -> dict[str, Any]:
    """One line of the summary's checks."""
    return {"name": name, "value": value, "must_be": must_be, "ok": bool(ok)}


def project_checks(found: Mapping[str, Any], at_least: float, above_baseline: float) -> list[dict[str, Any]]:
    """The checks of one project; what could not be measured (None) fails."""
    metric = found["holdout_metric"]
    name, first, last, baseline = metric["name"], metric["first"], metric["last"], metric["baseline"]
    tau = found["next_order_kendall_tau"]
    numbers = first is not None and last is not None
    checks = [
        check("tasks with a prediction", found["unlabelled_with_prediction"], f"= {found['unlabelled']}",
              found["unlabelled_with_prediction"] == found["unlabelled"]),
        check("holdout and blind tasks that show a suggestion", found["hidden_with_suggestion"], "= 0",
              found["hidden_with_suggestion"] == 0),
        check("served version", found["served_version"], f"= {found['store_served_version']}",
              found["served_version"] is not None and found["served_version"] == found["store_served_version"]),
        check(f"{name} of the last version", last, f">= {at_least}", last is not None and last >= at_least),
        check("learning is real", first, f"<= {LEARNING_SHARE} x last", numbers and first <= LEARNING_SHARE * last),
        check("served order, Kendall tau", tau, f">= {ORDER_TAU}", tau is not None and tau >= ORDER_TAU),
        check("labels in the store", found["store_labels"], f"= {found['label_studio_labels']}",
              found["store_labels"] == found["label_studio_labels"] and found["label_studio_labels"] > 0),
        check("same labels", found["differing_labels"], "= 0", found["differing_labels"] == 0),
        check("trainings", found["trainings"], f"= {found['trainings_expected']}",
              found["trainings"] == found["trainings_expected"] and found["trainings"] > 0),
        check("exported items", found["exported"]["items"], f"= {found['labelled_tasks']}",
              found["exported"]["items"] == found["labelled_tasks"]),
        check("agreement", found["agreement"]["value"], "a number", found["agreement"]["value"] is not None),
        check("webhooks", found["webhooks_received"], "> 0", found["webhooks_received"] > 0),
    ]  # fmt: skip
    if above_baseline:
        bar = None if baseline is None else round(baseline + above_baseline, 4)
        ok = last is not None and bar is not None and last >= bar
        checks.append(check(f"{name} above the baseline", last, f">= {bar}", ok))
    return checks


def kendall_tau(places: Sequence[float]) -> float | None:
    """Kendall's tau-a between the order served and the order keys of those servings; None for fewer than two."""
    pairs = [(a, b) for i, a in enumerate(places) for b in places[i + 1 :]]
    if not pairs:
        return None
    return sum((b > a) - (b < a) for a, b in pairs) / len(pairs)


def expected_trainings(
    label_times: Sequence[datetime],
    trainings: Sequence[tuple[datetime, datetime | None, int]],
    every: int,
    until: datetime,
) -> int:
    """How many trainings there had to be by `until`, from the labels' times alone.

    `trainings` are (queued, finished, labels in its dataset) in order. One starts once `every` labels came that the last
    finished one did not have; the next cannot start before it finished, and its dataset holds what had come by then.
    """
    times = sorted(label_times)
    free_at, frozen, expected = datetime.min.replace(tzinfo=until.tzinfo), 0, 0
    while frozen + every <= len(times):
        due = max(times[frozen + every - 1], free_at)
        if due > until:
            return expected
        expected += 1
        if len(trainings) < expected or trainings[expected - 1][1] is None:
            # This one is missing or never ended: what would have followed is unknown, and the count differs already.
            return expected
        _, finished, frozen = trainings[expected - 1]
        free_at = finished or until
    return expected


def wait_for(
    condition: Callable[[], bool], timeout_s: float, pause: Callable[[float], None], every_s: float = 1.0
) -> bool:
    """Whether a condition came true within the time."""
    waited = 0.0
    while not condition():
        if waited >= timeout_s:
            return False
        pause(every_s)
        waited += every_s
    return True
