"""Whether the gate keeps out models that learned from wrong labels, and lets in those that learned from more right ones."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backends.sklearn_text.training import SklearnTrainer
from benchmarks._comparison import at_least
from labelloop.datasets import write_dataset
from labelloop.demo.texts import TOPIC_LABELS, ClassTruth, generate_classification
from labelloop.values import Budget, Metrics
from sync.gate import Verdict, judge

AT = datetime(2026, 11, 27, tzinfo=UTC)
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="topic" toName="text">'
    + "".join(f'<Choice value="{name}"/>' for name in TOPIC_LABELS)
    + "</Choices></View>"
)
FLIPPED = 0.4
HOLDOUT = 400
#: Labels of the champion that is poisoned, and of the one that is improved; each candidate has MORE beside them.
GROWN, YOUNG, MORE = 300, 60, 300
#: At least so many of the candidates that learned from more clean labels have to be let in.
LET_IN = 0.9
#: The class that most labels of the third kind of candidate are wrong for, while the others get better.
VICTIM, LOST = TOPIC_LABELS[-1], 0.8


@dataclass(frozen=True)
class Judged:
    """A verdict, and how many seconds it took."""

    verdict: Verdict
    seconds: float


def poison_rows(seeds: int = 20) -> list[dict[str, Any]]:
    """Verdicts over seeds: every poisoned candidate is to be refused, and nearly every improved one let in.

    Texts of the demo's help desk, other ones for each seed, the trainer and the gate as they are in the loop.
    """
    poisoned = [_judged(seed, GROWN, FLIPPED, TOPIC_LABELS) for seed in range(seeds)]
    improved = [_judged(seed, YOUNG, 0.0, TOPIC_LABELS) for seed in range(seeds)]
    lopsided = [_judged(seed, YOUNG, LOST, [VICTIM]) for seed in range(seeds)]
    refused = [each for each in poisoned if each.verdict.outcome != "promoted"]
    let_in = [each for each in improved if each.verdict.outcome == "promoted"]
    named = [each for each in lopsided if each.verdict.reason.startswith(f"fell beyond doubt: {VICTIM}")]
    return [
        _row(f"poisoned candidates refused, of {seeds} ({FLIPPED:.0%} of the labels wrong)", refused, poisoned, seeds),
        _row(f"improved candidates let in, of {seeds}", let_in, improved, LET_IN * seeds),
        _row(f"lost classes named, of {seeds} ({LOST:.0%} of one class wrong)", named, lopsided, LET_IN * seeds),
    ]


def _row(what: str, good: Sequence[Judged], all_of: Sequence[Judged], bar: float) -> dict[str, Any]:
    compared = [each.verdict.headline for each in all_of if each.verdict.headline]
    differences = [each.difference for each in compared]
    return at_least(
        what, len(good), bar, f"at least {bar:g}", unit="verdicts",
        outcomes=dict(Counter(each.verdict.outcome for each in all_of)),
        better=sum(each >= 0 for each in differences), difference=[round(min(differences), 3), round(max(differences), 3)],
        lowest=round(min(each.low for each in compared), 3),
        gate_s=round(max(each.seconds for each in all_of), 3),
    )  # fmt: skip


def _judged(seed: int, labels: int, flipped: float, of: Sequence[str]) -> Judged:
    """A champion of so many clean labels, and a candidate of the same and MORE, a share of these classes made wrong."""
    truths = generate_classification(HOLDOUT + labels + MORE, seed=1000 + seed)
    holdout, clean = truths[:HOLDOUT], truths[HOLDOUT:]
    champion = _measured(holdout, clean[:labels], seed)
    candidate = _measured(holdout, _flipped(clean, flipped, of, seed), seed)
    began = time.perf_counter()
    verdict = judge(candidate, champion, SklearnTrainer().scores)
    return Judged(verdict, time.perf_counter() - began)


def _flipped(truths: Sequence[ClassTruth], share: float, of: Sequence[str], seed: int) -> list[ClassTruth]:
    """The truths with that share of the labels of some classes wrong, each class always for the same other one."""
    own = [at for at, each in enumerate(truths) if each.label in of]
    wrong = set(np.random.default_rng(seed).permutation(own)[: round(share * len(own))].tolist())
    taken_for = dict(zip(TOPIC_LABELS, (*TOPIC_LABELS[1:], TOPIC_LABELS[0]), strict=True))
    return [replace(each, label=taken_for[each.label]) if at in wrong else each for at, each in enumerate(truths)]


def _measured(holdout: Sequence[ClassTruth], train: Sequence[ClassTruth], seed: int) -> Metrics:
    """A model of the training part, measured on the holdout."""
    with tempfile.TemporaryDirectory(prefix="labelloop-gate-") as scratch:
        data, version = Path(scratch) / "data", Path(scratch) / "version"
        _write(data, holdout, train)
        trainer = SklearnTrainer()
        trainer.fit(data, version, start=None, budget=Budget(seed=seed), progress=lambda share, message: None)
        return trainer.evaluate(version, data)


def _write(folder: Path, holdout: Sequence[ClassTruth], train: Sequence[ClassTruth]) -> None:
    """A dataset version; a text keeps its task id whatever the training part is."""
    tasks, labels = [], []
    for number, truth in enumerate([*holdout, *train], start=1):
        split = "holdout" if number <= len(holdout) else "train"
        region = {"id": "r", "from_name": "topic", "to_name": "text", "type": "choices"}
        result = [{**region, "value": {"choices": [truth.label]}}]
        tasks.append(
            {
                "task_id": number, "data": orjson.dumps({"text": truth.text}).decode(), "group_key": str(number),
                "role": "holdout" if split == "holdout" else "pool", "split": split,
            }
        )  # fmt: skip
        labels.append(
            {
                "task_id": number, "annotation_id": number, "annotator": 1, "at": AT, "rev_hash": str(number),
                "is_truth": True, "result": orjson.dumps(result).decode(),
            }
        )  # fmt: skip
    body = {"label_config": CONFIG, "project": 1, "classes": list(TOPIC_LABELS), "options": {}}
    write_dataset(folder, body, tasks, labels, None, AT.isoformat())
