"""Every categorical coefficient with its interval, and each class and pair of people, from a Parquet file, in a child process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks._comparison import at_most
from qa.measures.chance import agreement_of
from qa.measures.classes import specific_agreement
from qa.measures.rater_pairs import rater_pairs
from qa.measures.ratings import ratings_of

TASKS, EACH, PEOPLE, CLASSES = 2_500_000, 4, 500, 20
SECONDS, GIGABYTES = 20.0, 4.0


def write_labels(path: Path, tasks: int = TASKS, seed: int = 3) -> float:
    """Labels of EACH different people out of PEOPLE per task, 70% right; returns the percent agreement, counted plainly."""
    source = np.random.default_rng(seed)
    truth = source.integers(CLASSES, size=tasks)
    steps = source.integers(1, PEOPLE // EACH, size=(tasks, EACH - 1)).cumsum(axis=1)
    people = (source.integers(PEOPLE, size=(tasks, 1)) + np.hstack([np.zeros((tasks, 1), np.int64), steps])) % PEOPLE
    right = source.random((tasks, EACH)) < 0.7
    said = np.where(right, truth[:, None], source.integers(CLASSES, size=(tasks, EACH)))
    names = pl.Series([f"class-{number:02d}" for number in range(CLASSES)])
    columns = {"task": np.repeat(np.arange(tasks), EACH), "annotator": people.ravel(), "label": names[said.ravel()]}
    pl.DataFrame(columns).write_parquet(path)
    pairs = [said[:, a] == said[:, b] for a in range(EACH) for b in range(a)]
    return float(np.mean([pair.mean() for pair in pairs]))


def measure_file(path: Path) -> dict[str, Any]:
    """What the child does and tells."""
    began = time.perf_counter()
    labels = pl.read_parquet(path)
    ratings = ratings_of(labels["task"], labels["annotator"], labels["label"])
    del labels
    found = agreement_of(ratings)
    pairs = rater_pairs(ratings)
    classes = specific_agreement(ratings.patterns, ratings.value_names)
    return {
        "labels": len(ratings),
        "values": {name: [each.coefficient.value, each.low, each.high] for name, each in found.items()},
        "cohens_kappa_mean": pairs.mean_kappa.value,
        "pairs": len(pairs.first),
        "classes": len(classes),
        "inner_seconds": round(time.perf_counter() - began, 3),
        # Of the whole process, in units of 1024 bytes on Linux.
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }


def disk_rows(repeats: int, tasks: int = TASKS) -> list[dict[str, Any]]:
    """Seconds from the start of the child to its end, the median of some runs, and the most memory that one of them held."""
    with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as folder:
        path = Path(folder) / "labels.parquet"
        agreement = write_labels(path, tasks)
        seconds, told = [], []
        for _ in range(repeats):
            began = time.perf_counter()
            command = [sys.executable, "-m", __spec__.name, str(path)]
            ran = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            seconds.append(time.perf_counter() - began)
            told.append(json.loads(ran.stdout))
    last = told[-1]
    equal = last["labels"] == tasks * EACH and abs(last["values"]["percent_agreement"][0] - agreement) <= 1e-9
    what = f"categorical coefficients and pairs, {tasks * EACH} labels"
    more = {"repeats": repeats, "equal": equal, **{name: last[name] for name in ("pairs", "values", "inner_seconds")}}
    memory = max(each["peak_gb"] for each in told)
    return [
        at_most(what, float(np.median(seconds)), SECONDS, **more),
        at_most(f"{what}: peak memory", memory, GIGABYTES, unit="GB", equal=equal, repeats=repeats),
    ]


if __name__ == "__main__":
    print(json.dumps(measure_file(Path(sys.argv[1]))))
