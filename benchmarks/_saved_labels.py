"""How many labels the default strategy saves against random, on texts of one's own or on made ones."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks._comparison import at_least
from labelloop.demo.texts import generate_classification
from sync.simulating.running import planned, simulate
from sync.simulating.sources import backend_for, prepare

#: Share of the labels that random needs to 95 % of the full score, which must be saved at least.
SAVED = 0.25
_TARGET = 95


def saving_rows(data: Sequence[Path], seeds: int, workers: int, texts: int = 1500) -> list[dict[str, Any]]:
    """A row for each file (columns text and label), or for made texts of which one class in four is frequent.

    `equal`: the interval of the saving lies above 0.
    """
    rows = []
    with _files(data, texts) as files:
        for file in files:
            with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as made:
                scratch = Path(made)
                prepared = prepare(file, scratch)
                plan = planned(prepared, backend_for(prepared))
                report = simulate(prepared, plan, ["hybrid"], seeds, scratch, until=_TARGET, workers=workers)
            saving = report["hybrid"]["saving_vs_random"][str(_TARGET)]
            low, high = saving["ci"] or (None, None)
            rows.append(
                at_least(
                    f"{file.stem}: labels saved to {_TARGET}%, {saving['n']} seeds", saving["mean"] or 0.0, SAVED,
                    "of random's", equal=low is not None and low > 0, low=low, high=high,
                    labels={name: each["labels_to"][str(_TARGET)] for name, each in report.items()},
                )
            )  # fmt: skip
    return rows


@contextmanager
def _files(data: Sequence[Path], texts: int) -> Iterator[Sequence[Path]]:
    if data:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as folder:
        file = Path(folder) / "made texts.csv"
        kept: dict[str, int] = {}
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow(["text", "label"])
            for truth in generate_classification(texts, seed=7):
                kept[truth.label] = kept.get(truth.label, 0) + 1
                if truth.label == "billing" or kept[truth.label] % 5 == 0:
                    writer.writerow([truth.text, truth.label])
        yield [file]
