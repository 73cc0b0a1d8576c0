"""Agreement that is kept: the tallies of all controls, from which a change is taken out and into which it is put again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import orjson
import polars as pl

from labelloop.errors import DataError
from labelloop.label_config import LabelConfig
from qa.agreement.counting import Labels, Said, current_labels, labels_of, said_under
from qa.agreement.tally import BASES, KEYS, Tally, tally_of
from qa.agreement.task_scores import task_scores
from qa.kinds.registry import measurable, unmeasured

#: What is kept in a folder; another number is not read.
KEPT_VERSION = 1
_COUNTS = "counts.json"


@dataclass(frozen=True)
class Running:
    """The tallies of labels by control, and counts of the labels as such.

    Keys of `counts`: (basis, "n_labels" | "n_tasks" | "n_overlapped" | "n_pairs"), ("left_out", reason), ("annotator", id),
    ("unknown", name of a control that the config lacks).
    """

    config: LabelConfig
    tallies: Mapping[str, Tally]
    counts: Counter[tuple[str, str]]

    @classmethod
    def of(cls, labels: pl.DataFrame, config: LabelConfig, *, gold: bool = False) -> Self:
        """The tallies of labels as `measure_agreement` takes them."""
        return cls.read(labels, config, gold=gold)[0]

    @classmethod
    def read(cls, labels: pl.DataFrame, config: LabelConfig, *, gold: bool = False) -> tuple[Self, list[Said]]:
        """The same, and what was said under each control."""
        kept, left_out = current_labels(labels, gold=gold)
        found = labels_of(kept)
        said = [said_under(found, control, kind) for control, kind in measurable(config)]
        tallies = {each.control.name: tally_of(found, each) for each in said}
        return cls(config, tallies, _counted(found, left_out, config)), said

    def changed(self, old: Running, new: Running) -> Self:
        """The same with labels of some tasks as they are now instead of as they were; both have all labels of those tasks."""
        tallies = {name: tally.minus(old.tallies[name]).plus(new.tallies[name]) for name, tally in self.tallies.items()}
        counts = self.counts.copy()
        counts.subtract(old.counts)
        counts.update(new.counts)
        return type(self)(self.config, tallies, counts)

    # -- kept in a folder -------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write all of it as files below a folder that is there."""
        for at, tally in enumerate(self.tallies.values()):
            for table, rows in tally.tables.items():
                rows.write_parquet(folder / f"{at}-{table}.parquet")
        body = {
            "version": KEPT_VERSION,
            "config": self.config.xml,
            "controls": list(self.tallies),
            "counts": [[*key, count] for key, count in sorted(self.counts.items())],
        }
        (folder / _COUNTS).write_bytes(orjson.dumps(body))

    @classmethod
    def load(cls, folder: Path, config: LabelConfig) -> Self | None:
        """What was saved; None when it was of another label config or of another version. DataError when it can't be read."""
        try:
            body = orjson.loads((folder / _COUNTS).read_bytes())
            if body["version"] != KEPT_VERSION or body["config"] != config.xml:
                return None
            tallies = {
                name: Tally({table: pl.read_parquet(folder / f"{at}-{table}.parquet") for table in KEYS})
                for at, name in enumerate(body["controls"])
            }
        except (OSError, KeyError, ValueError, pl.exceptions.PolarsError) as error:
            raise DataError(f"the tallies in {folder} can't be read: {error}") from error
        return cls(config, tallies, Counter({(kind, name): count for kind, name, count in body["counts"]}))

    # -- read out ---------------------------------------------------------------------------------------------------------

    def labels(self, basis: str) -> dict[str, int]:
        """How many labels, tasks, overlapped tasks and pairs there are in a basis."""
        return {name: self.counts[(basis, name)] for name in ("n_labels", "n_tasks", "n_overlapped", "n_pairs")}

    def named(self, kind: str) -> dict[str, int]:
        """The counts of one kind, by name."""
        return {name: count for (of, name), count in self.counts.items() if of == kind}

    @property
    def unmeasured(self) -> list[dict[str, str]]:
        """The controls, and names in the labels, that no measure covers."""
        strays = []
        for name, count in self.named("unknown").items():
            reason = "relations are not measured" if name == "relation" else "not in the label config"
            strays += [{"control": name, "tag": name, "reason": reason}] if count > 0 else []
        return [*unmeasured(self.config), *strays]


def _counted(labels: Labels, left_out: Mapping[str, int], config: LabelConfig) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter({("left_out", reason): count for reason, count in left_out.items()})
    frame = pl.DataFrame({"task": labels.task, "shown": labels.shown, "annotator": labels.annotator})
    blind, shown = frame.filter(pl.col("shown") < 0), frame.filter(pl.col("shown") >= 0)
    for basis, part, keys in zip(BASES, (frame, blind, shown), (["task"], ["task"], ["task", "shown"]), strict=True):
        groups = part.group_by(keys).agg(n=pl.len().cast(pl.Int64))
        several = groups.filter(pl.col("n") > 1)
        counts[(basis, "n_labels")] = part.height
        counts[(basis, "n_tasks")] = groups["task"].n_unique()
        counts[(basis, "n_overlapped")] = several["task"].n_unique()
        counts[(basis, "n_pairs")] = int((several["n"] * (several["n"] - 1) // 2).sum())
    for person, count in frame.group_by("annotator").len().iter_rows():
        counts[("annotator", str(person))] = count
    known = {control.name for control in (*config.controls, *config.answers)}
    known |= {each["control"] for each in unmeasured(config)}
    for region in (region for result in labels.results for region in result):
        name = str(region.get("from_name") or region.get("type"))
        if name not in known:
            counts[("unknown", name)] += 1
    return counts


def overall_scores(said: Sequence[Said]) -> pl.DataFrame:
    """How far people agree on each task that several labelled, over all controls.

    `task`, `score` (the mean over the controls under which somebody said something; null where that is none), and a column for
    each control.
    """
    parts = [task_scores(each).select("task", pl.col("score").alias(each.control.name)) for each in said]
    if not parts:
        return pl.DataFrame(schema={"task": pl.Int64, "score": pl.Float64})
    found = parts[0]
    for part in parts[1:]:
        found = found.join(part, on="task", how="full", coalesce=True)
    names = [each.control.name for each in said]
    return found.with_columns(pl.mean_horizontal(names).alias("score")).sort("task")


def kept_scores(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of `overall_scores` as plain values: `task`, `score`, and `scores` by control."""
    names = [name for name in frame.columns if name not in ("task", "score")]
    return [
        {
            "task": row["task"],
            "score": row["score"],
            "scores": {name: row[name] for name in names if row[name] is not None},
        }
        for row in frame.iter_rows(named=True)
    ]
