"""What agreement is made of, as tables of sums: what changed is taken out and put in, the rest is not touched.

Each table is keyed by `basis` and by what it groups. Bases: "all" pairs of people's labels of a task; "blind" pairs in which
neither was shown a suggestion; "same_suggestion" pairs in which both were shown the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from qa.agreement.counting import Labels, Said
from qa.kinds.kind import Readings

BASES = ("all", "blind", "same_suggestion")

#: Tasks are dealt into this many groups, a prime number, of which bootstrap samples are drawn.
GROUPS = 997
#: Between the values of one unit in a pattern.
AND = "\x1e"

#: table -> its keys; all other columns are sums, of which `rows` counts what was summed.
KEYS: Mapping[str, tuple[str, ...]] = {
    "pairs": ("basis", "first", "second"),
    "weeks": ("basis", "week"),
    "groups": ("basis", "group"),
    "classes": ("basis", "class"),
    "patterns": ("basis", "week", "group", "pattern"),
    "meetings": ("basis", "first", "second", "left", "right"),
    "people": ("annotator",),
    "counts": ("basis",),
}


@dataclass(frozen=True)
class Tally:
    """The tables of one control, by the names in KEYS."""

    tables: Mapping[str, pl.DataFrame]

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return _summed({name: [self.tables[name], other.tables[name]] for name in KEYS})

    def minus(self, other: Tally) -> Tally:
        """What is left without `other`, which was put in before."""
        taken = {
            name: table.with_columns(-pl.col(column) for column in table.columns if column not in KEYS[name])
            for name, table in other.tables.items()
        }
        return _summed({name: [self.tables[name], taken[name]] for name in KEYS})


def _summed(tables: Mapping[str, list[pl.DataFrame]]) -> Tally:
    found = {}
    for name, parts in tables.items():
        keys = KEYS[name]
        sums = pl.concat(parts, how="diagonal").group_by(keys).agg(pl.all().sum())
        # Whole numbers of rows tell whether anything is left; sums of fractions leave crumbs.
        found[name] = sums.filter(pl.col("rows") != 0).sort(keys)
    return Tally(found)


def tally_of(labels: Labels, said: Said) -> Tally:
    """The tables of what labels say under one control."""
    frame = pl.DataFrame(
        {
            "place": np.arange(len(said.readings)),
            "task": said.readings.task,
            "annotator": said.readings.annotator,
            "shown": labels.shown[said.place],
            "week": labels.week[said.place],
            "group": said.readings.task % GROUPS,
        },
        schema_overrides={"place": pl.Int64},
    )
    whole_tasks = said.kind.judged_prefix == ""
    places = frame[said.met].with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias("place"))
    compared = said.compared
    weeks = pl.DataFrame(
        {"week": np.arange(len(labels.weeks)), "name": list(labels.weeks)}, schema={"week": pl.Int64, "name": pl.String}
    )
    places = places.join(weeks, on="week", how="left").drop("week").rename({"name": "week"})
    pairs, by_class = _with_basis(compared.pairs, places), _with_basis(compared.by_class, places)
    judged = _judged(compared.judged, places)
    sums = [name for name in compared.pairs.columns if name not in ("left", "right")]
    class_sums = [name for name in compared.by_class.columns if name not in ("left", "right", "class")]
    unit_week, unit_group = (
        (pl.col("week").max(), pl.lit(0, pl.Int64)) if whole_tasks else (pl.lit(""), pl.col("group").first())
    )
    units = judged.group_by("basis", "shown", "unit").agg(
        unit_week.alias("week"),
        unit_group.alias("group"),
        pl.col("value").cast(pl.String).sort().str.join(AND).alias("pattern"),
    )
    tables = {
        "pairs": _total(pairs, "pairs", sums),
        "weeks": _total(pairs, "weeks", sums),
        "groups": _total(pairs, "groups", sums, pl.col("task").n_unique().cast(pl.Int64).alias("n_tasks")),
        "classes": _total(by_class, "classes", class_sums),
        "patterns": units.group_by(KEYS["patterns"]).agg(_COUNT).sort(KEYS["patterns"]),
        "meetings": _meetings(judged),
        "people": frame.group_by("annotator").agg(_COUNT).sort("annotator"),
        "counts": _counts(said.readings, frame, len(said.unsure)),
    }  # fmt: skip
    return Tally(tables)


_COUNT = pl.len().cast(pl.Int64).alias("rows")


def _with_basis(rows: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """Rows of pairs with who they are of, once for each basis that they belong to."""
    one = places.select("place", "task", "group", first="annotator", shown="shown", week="week")
    other = places.select("place", second="annotator", shown_other="shown", week_other="week")
    met = rows.join(one, left_on="left", right_on="place").join(other, left_on="right", right_on="place")
    met = met.with_columns(pl.max_horizontal("week", "week_other").alias("week"))
    blind = (pl.col("shown") < 0) & (pl.col("shown_other") < 0)
    same = (pl.col("shown") >= 0) & (pl.col("shown") == pl.col("shown_other"))
    return pl.concat(
        [
            met.with_columns(basis=pl.lit("all")),
            met.filter(blind).with_columns(basis=pl.lit("blind")),
            met.filter(same).with_columns(basis=pl.lit("same_suggestion")),
        ]
    )


def _total(rows: pl.DataFrame, table: str, sums: list[str], *more: pl.Expr) -> pl.DataFrame:
    return rows.group_by(KEYS[table]).agg(_COUNT, *more, pl.col(sums).sum()).sort(KEYS[table])


def _judged(judged: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    """Judgments with who made them, once for each basis. What people with different suggestions say is a unit each."""
    rows = judged.join(places, on="place")
    whole = rows.with_columns(basis=pl.lit("all"), shown=pl.lit(-1, pl.Int64))
    blind = rows.filter(pl.col("shown") < 0).with_columns(basis=pl.lit("blind"))
    same = rows.filter(pl.col("shown") >= 0).with_columns(basis=pl.lit("same_suggestion"))
    return pl.concat([whole.select(same.columns), blind, same])


def _meetings(judged: pl.DataFrame) -> pl.DataFrame:
    """How often two people judged a unit both, by what they said."""
    rows = judged.select("basis", "shown", "unit", "annotator", pl.col("value").cast(pl.String))
    several = rows.filter(pl.len().over("basis", "shown", "unit") > 1)
    met = several.join(several, on=["basis", "shown", "unit"], suffix="_other").filter(
        pl.col("annotator") < pl.col("annotator_other")
    )
    named = met.select("basis", first="annotator", second="annotator_other", left="value", right="value_other")
    return named.group_by(KEYS["meetings"]).agg(_COUNT).sort(KEYS["meetings"])


def _counts(readings: Readings, frame: pl.DataFrame, unsure: int) -> pl.DataFrame:
    """By basis how many labels, tasks, tasks that several labelled, and pairs in which nobody gave anything.

    `rows` counts labels and the unsure ones, so that a basis is there as long as one of them is.
    """
    told = frame.with_columns(pl.Series("empty", [value is None for value in readings.values], dtype=pl.Boolean))
    rows = []
    for basis in BASES:
        part, keys = told, ["task"]
        if basis == "blind":
            part = told.filter(pl.col("shown") < 0)
        elif basis == "same_suggestion":
            part, keys = told.filter(pl.col("shown") >= 0), ["task", "shown"]
        groups = part.group_by(keys).agg(n=pl.len().cast(pl.Int64), empty=pl.col("empty").sum().cast(pl.Int64))
        several = groups.filter(pl.col("n") > 1)
        said_so = unsure if basis == "all" else 0
        rows.append(
            {
                "basis": basis,
                "rows": part.height + said_so,
                "n_labels": part.height,
                "n_unsure": said_so,
                "n_tasks": groups["task"].n_unique(),
                "n_overlapped": several["task"].n_unique(),
                "n_pairs": int((several["n"] * (several["n"] - 1) // 2).sum()),
                "n_empty": int((groups["empty"] * (groups["empty"] - 1) // 2).sum()),
            }
        )
    schema = {"basis": pl.String, **dict.fromkeys(list(rows[0])[1:], pl.Int64)}
    return pl.DataFrame(rows, schema=schema)
