"""People's work as arrays: who labelled what, when, how long it took, what was shown, and what each label says per control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from labelloop.label_config import Control, LabelConfig
from qa.agreement import current_labels, result_of
from qa.judgments import read_csv
from qa.kinds.categories import CATEGORIES, sure
from qa.kinds.kind import Kind, under
from qa.kinds.registry import measurable, unmeasured
from qa.measures.ratings import Floats, Ints, ratings_of

#: A label that took longer was left open: its time tells nothing of how fast somebody works.
PAUSED_S = 3600.0
#: Whether a label is what was suggested: nobody knows (or nothing was suggested), it was changed, it is unchanged.
UNKNOWN, CHANGED, UNCHANGED = -1, 0, 1


@dataclass(frozen=True)
class Answers:
    """What each label says under one control; None for nothing. `gold` is the true answer of its task, None where unknown.

    `touched` is UNKNOWN, CHANGED or UNCHANGED; `suggested` what was shown, where that is known.
    """

    name: str | None
    tag: str | None
    kind: Kind
    values: Sequence[Any]
    gold: Sequence[Any]
    touched: Ints
    suggested: Sequence[Any] | None = None


@dataclass(frozen=True)
class Work:
    """Labels in order of their tasks, nobody twice in a task. `task` and `annotator` are places in their names.

    `at` is seconds since 1970 (nan: unknown), `lead` seconds (nan: unknown or paused), `order` the place of a label in time.
    """

    task: Ints
    annotator: Ints
    at: Floats
    order: Ints
    lead: Floats
    paused: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    touched: Ints
    tasks: list[Any]
    people: list[Any]
    answers: tuple[Answers, ...]
    has_gold: NDArray[np.bool_]
    skipped: Mapping[Any, int] | None
    left_out: Mapping[str, int]
    unmeasured: Sequence[Mapping[str, str]]

    def __len__(self) -> int:
        return len(self.task)


def work_of(labels: pl.DataFrame, config: LabelConfig) -> Work:
    """The work in a table of labels. `lead_time_s`, `role`, `ground_truth`, `state` and `suggested` may be absent.

    `suggested` (String) has the regions that a person was shown. The answer of a gold task is its latest label that is marked as
    ground truth, whoever made it. DataError names a missing column.
    """
    kept, left_out = current_labels(labels, gold=True)
    truth = _ground_truth(labels)
    places = truth.select("task_id", pl.int_range(pl.len()).cast(pl.Int64).alias("gold"))
    kept = kept.join(places, on="task_id", how="left", maintain_order="left")
    gold_at = kept["gold"].fill_null(-1).to_numpy().astype(np.int64)
    # Whoever gave the true answer is not measured by it.
    own = np.zeros(kept.height, np.bool_)
    if truth.height:
        maker = truth["annotator"].fill_null(-1).to_numpy()[gold_at]
        same = truth["annotation_id"].to_numpy()[gold_at] == kept["annotation_id"].to_numpy()
        own = (gold_at >= 0) & (same | (maker == kept["annotator"].to_numpy()))
    gold_at = np.where(own, -1, gold_at)
    answers, touched = _answers(kept, truth, gold_at, config)
    skipped = None
    if "state" in labels.columns:
        found = labels.filter((pl.col("state") == "cancelled") & pl.col("annotator").is_not_null())
        skipped = dict(found.group_by("annotator").len().iter_rows())
    return _work(kept, "task_id", gold_at >= 0, answers, touched, skipped, left_out, unmeasured(config))


def _ground_truth(labels: pl.DataFrame) -> pl.DataFrame:
    if "ground_truth" not in labels.columns:
        return labels.clear()
    found = labels.filter(pl.col("ground_truth").fill_null(False))
    if "state" in labels.columns:
        found = found.filter(pl.col("state") == "submitted")
    return found.sort("at", "annotation_id").unique("task_id", keep="last", maintain_order=True)


def _answers(
    kept: pl.DataFrame, truth: pl.DataFrame, gold_at: Ints, config: LabelConfig
) -> tuple[tuple[Answers, ...], Ints]:
    controls = measurable(config)
    read = _read_all(kept, controls)
    golden = _read_all(truth, controls)
    told = None
    if "suggested" in kept.columns:
        told = _read_all(kept.with_columns(pl.col("suggested").fill_null("[]").alias("result")), controls)
    shown = was_shown(kept)
    answers = []
    for place, (control, kind) in enumerate(controls):
        gold = [golden.values[place][at] if at >= 0 else None for at in gold_at.tolist()]
        touched = np.where(shown, read.touched[place], UNKNOWN)
        suggested = told.values[place] if told is not None else None
        answers.append(Answers(control.name, control.tag, kind, read.values[place], gold, touched, suggested))
    return tuple(answers), np.where(shown, read.whole, UNKNOWN)


@dataclass
class _Read:
    values: list[list[Any]]
    touched: list[Ints]
    whole: Ints


class _Said(msgspec.Struct):
    """The fields of a region that a single choice needs; far quicker to read than all of them."""

    from_name: str | None = None
    type: str | None = None
    origin: str | None = None
    value: dict[str, Any] | None = None


def _read_all(rows: pl.DataFrame, controls: Sequence[tuple[Control, Kind]]) -> _Read:
    results = rows["result"].to_list()
    if len(controls) == 1 and controls[0][1] is CATEGORIES and all(isinstance(each, str) for each in results[:1]):
        try:
            return _read_choices(results, controls[0][0])
        except msgspec.MsgspecError:
            pass  # Something is not as Label Studio writes it: the way that forgives more.
    n = len(results)
    read = _Read([[] for _ in controls], [np.zeros(n, np.int64) for _ in controls], np.zeros(n, np.int64))
    datas = rows["data"].to_list() if "data" in rows.columns else [None] * len(results)
    before: Any = None
    data: Mapping[str, Any] = {}
    for row, (result, text) in enumerate(zip(results, datas, strict=True)):
        regions = result_of(result)
        if text is not before:
            found = orjson.loads(text) if isinstance(text, str | bytes) else text
            before, data = text, found if isinstance(found, Mapping) else {}
        read.whole[row] = _touched([region.get("origin") for region in regions])
        for place, (control, kind) in enumerate(controls):
            read.values[place].append(sure(kind.read(regions, control, data), kind.name))
            read.touched[place][row] = _touched([region.get("origin") for region in under(regions, control)])
    return read


def _read_choices(results: Sequence[Any], control: Control) -> _Read:
    """The same for one control of single choices, as `CATEGORIES.read` reads them."""
    decode = msgspec.json.Decoder(list[_Said]).decode
    name, kind, key = control.name, control.region_type, control.value_key
    answers: dict[Any, str | None] = {}
    values: list[str | None] = []
    touched: list[int] = []
    whole: list[int] = []
    for text in results:
        regions = decode(text)
        mine = [region for region in regions if region.from_name == name and region.type == kind]
        said = [(region.value or {}).get(key) for region in mine]
        labels = said[0] if len(said) == 1 and isinstance(said[0], list) else _all_of(said)
        one = labels[0] if len(labels) == 1 and isinstance(labels[0], str) else tuple(sorted({str(x) for x in labels}))
        if one not in answers:
            answers[one] = sure((one if isinstance(one, str) else " | ".join(one)) or None, CATEGORIES.name)
        values.append(answers[one])
        state = UNKNOWN if len(mine) == 1 and mine[0].origin == "manual" else _touched([each.origin for each in mine])
        touched.append(state)
        whole.append(state if len(mine) == len(regions) else _touched([region.origin for region in regions]))
    return _Read([values], [np.array(touched, np.int64)], np.array(whole, np.int64))


def _all_of(said: Sequence[Any]) -> list[Any]:
    lists = [each if isinstance(each, list) else [] if each is None else [each] for each in said]
    return [label for labels in lists for label in labels]


def _touched(origins: Sequence[Any]) -> int:
    if "prediction" not in origins and "prediction-changed" not in origins:
        return UNKNOWN
    return UNCHANGED if all(origin == "prediction" for origin in origins) else CHANGED


def was_shown(rows: pl.DataFrame) -> NDArray[np.bool_]:
    """Of each row of a label table whether its person saw a suggestion."""
    shown = rows["shown"]
    known = shown.fill_null(False) if shown.dtype == pl.Boolean else shown.is_not_null()
    return known.to_numpy().astype(np.bool_)


def read_table(path: Path) -> Work:
    """The work in a CSV with the columns task, annotator and label; optional: lead_time_s, at (ISO), gold, shown, suggested.

    Of several rows of one annotator and task the last counts. DataError when it is no such table.
    """
    return table_work(read_csv(path))


def table_work(rows: pl.DataFrame) -> Work:
    """The same of such a table; its columns are texts."""
    absent = [name for name in ("lead_time_s", "at", "gold", "shown", "suggested") if name not in rows.columns]
    rows = rows.with_columns([pl.lit(None, pl.String).alias(name) for name in absent])
    rows = rows.with_columns(pl.when(pl.col(pl.String) == "").then(None).otherwise(pl.col(pl.String)).name.keep())
    complete = pl.all_horizontal(pl.col("task", "annotator", "label").is_not_null())
    said = rows.filter(complete).with_row_index("annotation_id")
    latest = said.unique(["task", "annotator"], keep="last", maintain_order=True).sort("task", "annotator")
    kept = latest.with_columns(
        pl.col("at").str.to_datetime(time_unit="us", time_zone="UTC", strict=False),
        pl.col("lead_time_s").cast(pl.Float64, strict=False),
        pl.coalesce("shown", "suggested").alias("shown"),
    )
    left_out = {"no_label": rows.height - said.height, "superseded": said.height - kept.height}
    values = [sure(value, CATEGORIES.name) for value in kept["label"].to_list()]
    suggested = kept["suggested"].to_list()
    touched = np.array(
        [UNKNOWN if s is None else UNCHANGED if s == v else CHANGED for s, v in zip(suggested, values, strict=True)], np.int64
    )  # fmt: skip
    known = suggested if kept["suggested"].is_not_null().any() else None
    answers = (Answers(None, None, CATEGORIES, values, kept["gold"].to_list(), touched, known),)
    return _work(kept, "task", kept["gold"].is_not_null().to_numpy(), answers, touched, None, left_out, ())


def _work(
    kept: pl.DataFrame, task: str, has_gold: NDArray[np.bool_], answers: tuple[Answers, ...], touched: Ints,
    skipped: Mapping[Any, int] | None, left_out: Mapping[str, int], unmeasured: Sequence[Mapping[str, str]],
) -> Work:  # fmt: skip
    names = [kept[column].to_numpy() for column in (task, "annotator")]
    coded = ratings_of(names[0], names[1], np.zeros(kept.height, np.int64))
    at = (kept["at"].dt.timestamp("us").cast(pl.Float64) / 1e6).fill_null(float("nan")).to_numpy()
    lead = np.full(kept.height, np.nan)
    if "lead_time_s" in kept.columns:
        lead = kept["lead_time_s"].cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
    lead[~np.isfinite(lead) | (lead <= 0)] = np.nan
    paused = lead > PAUSED_S
    lead[paused] = np.nan
    order: Ints = np.empty(kept.height, np.int64)
    order[np.lexsort((kept["annotation_id"].to_numpy(), at))] = np.arange(kept.height)
    return Work(
        coded.units, coded.raters, at, order, lead, paused, was_shown(kept), touched, coded.unit_names.tolist(),
        coded.rater_names.tolist(), answers, has_gold, skipped, left_out, unmeasured,
    )  # fmt: skip
