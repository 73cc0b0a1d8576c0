"""Dawid and Skene's consensus of 1,000,000 labels beside crowd-kit, which runs in an environment of its own; and beside votes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks._comparison import at_least, in_turn, not_measured
from qa.consensus import dawid_skene, majority, one_coin
from qa.measures.ratings import Ratings, ratings_of

ITEMS, EACH, PEOPLE, CLASSES, ROUNDS = 200_000, 5, 200, 5, 10
PEER = "crowd-kit==1.4.2"
#: Minutes, for its first start fetches some hundred megabytes.
PATIENCE_S = 900
#: The peer: one run, timed by who asks, for each line it reads; its labels go into a file.
PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy, pandas
from crowdkit.aggregation import DawidSkene
path, answers, rounds = sys.argv[1:]
labels = pandas.read_parquet(path)
print("ready", flush=True)
for line in sys.stdin:
    model = DawidSkene(n_iter=int(rounds), tol=-numpy.inf)
    found = model.fit_predict(labels)
    print(len(model.loss_history_), flush=True)
    numpy.save(answers, found.sort_index().to_numpy())
"""


def labels_of(items: int, seed: int = 4) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """(task, worker and label, one row each; the truth). People are right half of the time to nearly always."""
    source = np.random.default_rng(seed)
    truth = source.integers(CLASSES, size=items)
    skill = source.uniform(0.5, 0.95, PEOPLE)
    steps = source.integers(1, PEOPLE // EACH, size=(items, EACH - 1)).cumsum(axis=1)
    workers = (source.integers(PEOPLE, size=(items, 1)) + np.hstack([np.zeros((items, 1), np.int64), steps])) % PEOPLE
    # Half of the mistakes go to the next class: confusions that votes cannot see through.
    wrong = np.where(
        source.random((items, EACH)) < 0.5, (truth[:, None] + 1) % CLASSES, source.integers(CLASSES, size=(items, EACH))
    )
    said = np.where(source.random((items, EACH)) < skill[workers], truth[:, None], wrong)
    columns = {"task": np.repeat(np.arange(items), EACH), "worker": workers.ravel(), "label": said.ravel()}
    return pl.DataFrame(columns), truth


def dawid_skene_rows(repeats: int, items: int = ITEMS) -> list[dict[str, Any]]:
    """The same rounds of expectation and maximisation on both sides, from a table in memory to a label for each task."""
    what = f"Dawid-Skene, {items * EACH} labels, {ROUNDS} rounds"
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}") or shutil.which("uv")
    if uv is None:
        return [not_measured(what, PEER, "there is no uv to make an environment for the peer with")]
    labels, truth = labels_of(items)
    with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as folder:
        path, answers = Path(folder) / "labels.parquet", Path(folder) / "answers.npy"
        labels.write_parquet(path)
        program = [sys.executable, "-c", PROGRAM, str(path), str(answers), str(ROUNDS)]
        command = [uv, "run", "-q", "--no-project", "--isolated", "--python", program[0], "--with", PEER, "python"]
        child = subprocess.Popen(
            command + program[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            if _read(child) != "ready\n":
                _, said = child.communicate(timeout=PATIENCE_S)
                return [not_measured(what, PEER, f"the peer did not start: {said.strip()[-300:]}")]

            def peer() -> int:
                print("run", file=child.stdin, flush=True)
                return int(_read(child))

            timings = in_turn(lambda: _ours(labels), peer, repeats)
        finally:
            # The end of what it reads is the end of the peer, once it has written its last answer.
            child.communicate(timeout=PATIENCE_S)
        theirs = np.load(answers)
    same = float((timings.ours == theirs).mean())
    return [
        {
            "what": what,
            "peer": PEER.replace("==", " "),
            **timings.to_json(),
            "must_be": 2.0,
            "equal": timings.peer == ROUNDS and same >= 0.9999,
            "same_labels": same,
            "ours_right": float((timings.ours == truth).mean()),
            "peer_right": float((theirs == truth).mean()),
        }
    ]


def _read(child: subprocess.Popen[str]) -> str:
    return child.stdout.readline() if child.stdout else ""


def _ours(labels: pl.DataFrame) -> NDArray[np.int64]:
    # Without smoothing and with a tolerance that nothing meets: as the peer.
    ratings = _ratings(labels)
    found = dawid_skene(ratings, smoothing=0.0, tolerance=-np.inf, most_rounds=ROUNDS)
    return ratings.value_names[found.labels]


def _ratings(labels: pl.DataFrame) -> Ratings:
    return ratings_of(labels["task"], labels["worker"], labels["label"])


def consensus_rows(items: int = 20_000) -> list[dict[str, Any]]:
    """Share of tasks that are right by each model of errors, beside the majority, on drawn labels whose truth is known."""
    labels, truth = labels_of(items, seed=5)
    ratings = _ratings(labels)
    votes = float((ratings.value_names[majority(ratings).labels] == truth).mean())
    rows = []
    for name, model in (("Dawid-Skene", dawid_skene), ("one coin", one_coin)):
        right = float((ratings.value_names[model(ratings).labels] == truth).mean())
        what = f"consensus right, {name}, {items} tasks (ratio: ours / peer)"
        rows.append(at_least(what, right, votes, "majority of votes"))
    return rows
