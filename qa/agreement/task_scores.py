"""How far people agree on single tasks: the mean of the scores of every two labels."""

from __future__ import annotations

from typing import Any

import polars as pl

from qa.agreement.counting import Said


def task_scores(said: Said) -> pl.DataFrame:
    """One row for each task that several people labelled: `task`, `score` (null where nobody gave anything), `n` pairs."""
    tasks = pl.DataFrame({"task": said.readings.task})
    several = tasks.filter(pl.len().over("task") > 1).unique()
    pairs = said.compared.pairs
    pairs = pairs.select(pl.Series("task", said.readings.task[said.met][pairs["left"].to_numpy()]), "score")
    scores = pairs.group_by("task").agg(pl.col("score").mean(), n=pl.len().cast(pl.Int64))
    return several.join(scores, on="task", how="left").with_columns(pl.col("n").fill_null(0)).sort("task")


def worst_tasks(said: Said, most: int) -> list[dict[str, Any]]:
    """The tasks on which people agree least, of those that two people said something about and do not agree on."""
    scores = task_scores(said).filter(pl.col("score") < 1.0)
    return scores.sort("score", "task").head(most).select("task", "score").to_dicts()
