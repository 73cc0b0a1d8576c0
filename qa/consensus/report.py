"""The consensus of a table of judgments as a report: the answer for each task, and what is known of those who gave it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from labelloop.errors import DataError
from qa.consensus.error_models import dawid_skene, one_coin
from qa.consensus.votes import Consensus, majority, weighted
from qa.measures.ratings import Floats, Ratings

SCHEMA_VERSION = 1

METHODS: Mapping[str, Callable[[Ratings], Consensus]] = {
    "majority": majority,
    "dawid_skene": dawid_skene,
    "one_coin": one_coin,
}


def consensus_report(
    ratings: Ratings, method: str, control: str | None = None, weights: Floats | None = None
) -> dict[str, Any]:
    """Plain JSON values, as docs/schemas/consensus.schema.json describes them; DataError without any judgment.

    `weights` are of the raters, for the method "weighted".
    """
    if not len(ratings):
        raise DataError("there is no judgment to find a consensus of; label some tasks first, or check --control")
    found = METHODS[method](ratings) if weights is None else weighted(ratings, weights)
    names = [str(name) for name in ratings.value_names.tolist()]
    tasks = [
        {"task": task, "label": names[label], "probability": round(probability, 6), "support": support, "judgments": judgments}
        for task, label, probability, support, judgments in zip(
            ratings.unit_names.tolist(), found.labels.tolist(), found.probability.tolist(), found.support.tolist(),
            ratings.sizes.tolist(), strict=True,
        )
    ]  # fmt: skip
    given = np.bincount(ratings.raters, minlength=len(ratings.rater_names)).tolist()
    annotators = {
        str(name): {"judgments": given[rater], "confusion": _confusion(found, rater, names)}
        for rater, name in enumerate(ratings.rater_names.tolist())
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "control": control,
        "method": method,
        "n_tasks": len(tasks),
        "n_judgments": len(ratings),
        "labels": names,
        "tasks": tasks,
        "annotators": annotators,
    }


def _confusion(found: Consensus, rater: int, names: list[str]) -> dict[str, dict[str, float]] | None:
    """True class -> said class -> probability; None for methods without a model of people."""
    if found.confusion is None:
        return None
    return {
        true: {said: round(float(found.confusion[rater, i, j]), 6) for j, said in enumerate(names)}
        for i, true in enumerate(names)
    }


def consensus_text(report: Mapping[str, Any], most: int = 20) -> str:
    """The report for people: the answers that are least sure first, or how many regions there are."""
    lines = [f"{report['n_tasks']} tasks, {report['n_judgments']} judgments, method {report['method']}"]
    if any("regions" in each for each in report["tasks"]):
        kept = sum(len(each["regions"]) for each in report["tasks"])
        few = sorted(report["tasks"], key=lambda each: -len(each["rejected"]))
        lines.append(
            f"  {kept} regions that a quorum has, {sum(len(each['rejected']) for each in few)} that fewer have"
        )
        lines += [
            f"  task {each['task']}: {len(each['regions'])} regions, {len(each['rejected'])} without a quorum of {each['quorum']}"
            for each in few[:most]
        ]
    else:
        unsure = sorted(report["tasks"], key=lambda each: each["probability"])[:most]
        lines += [
            f"  task {each['task']}: {_words(each['label'])}  probability {each['probability']:.3f}, "
            f"{each['support']} of {each['judgments']} said so"
            for each in unsure
        ]
    if len(report["tasks"]) > most:
        lines.append(f"  ... and {len(report['tasks']) - most} that are surer; --json has all")
    return "\n".join(lines)


def _words(label: Any) -> str:
    return ", ".join(map(str, label)) or "nothing" if isinstance(label, list) else str(label)
