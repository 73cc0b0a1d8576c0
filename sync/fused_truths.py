"""Truths of tasks that several people labelled, fused region by region before a model learns them or is judged by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from labelloop.datasets import REGIONS_SCHEMA, Dataset, arrow_schema, read_dataset, regions_of
from labelloop.values import Region


@dataclass(frozen=True)
class Fusing:
    """How many tasks have a fused truth, and how many regions no quorum of their people had."""

    tasks: int = 0
    without_quorum: int = 0


def fuse_truths(folder: Path) -> Fusing:
    """Put the consensus of their regions in the place of the chosen label of such tasks, in a materialised dataset.

    Only in one that was frozen by the policy "consensus", and not where a reviewer approved a label: that one is the truth
    as it is. The dataset version itself keeps what every person said.
    """
    dataset = read_dataset(folder)
    if dataset.manifest["body"].get("policy") != "consensus":
        return Fusing()
    # Polars and SciPy, which a project without such controls need not wait for.
    from qa.consensus.fused_labels import fused_label, fusible

    controls = fusible(dataset.label_config)
    several = _labels_of_several(dataset) if controls else {}
    if not several:
        return Fusing()
    wanted = dataset.tasks.filter(dataset.tasks["task_id"].is_in(list(several)))
    data = {task: orjson.loads(text) for task, text in wanted.select("task_id", "data").iter_rows()}
    results: dict[int, list[Region]] = {}
    without = 0
    for task, (chosen, said) in several.items():
        fused = fused_label(said, chosen, controls, data.get(task, {}))
        if fused is not None:
            results[task], without = fused.result, without + fused.without_quorum
    if results:
        _put(dataset, folder, results)
    return Fusing(len(results), without)


def _labels_of_several(dataset: Dataset) -> dict[int, tuple[int, list[list[Region]]]]:
    """Task -> (place of the chosen label, what each person said), where several may be right and none was approved."""
    import polars as pl

    # Null in a version of an older schema.
    reviewed = pl.col("review_status").fill_null("unreviewed")
    able = dataset.labels.filter(pl.col("left_out").is_null() & (reviewed != "rejected"))
    counted = able.group_by("task_id").agg(
        pl.len().alias("n"), (reviewed == "approved").any().alias("approved"), pl.col("is_truth").any()
    )
    wanted = counted.filter((pl.col("n") > 1) & ~pl.col("approved") & pl.col("is_truth"))["task_id"]
    found: dict[int, tuple[int, list[list[Region]]]] = {}
    rows = able.filter(pl.col("task_id").is_in(wanted.to_list())).sort("task_id", "annotation_id")
    for task, is_truth, text in rows.select("task_id", "is_truth", "result").iter_rows():
        chosen, said = found.get(task, (0, []))
        found[task] = (len(said) if is_truth else chosen, said)
        said.append(orjson.loads(text))
    return found


def _put(dataset: Dataset, folder: Path, results: Mapping[int, list[Region]]) -> None:
    """Write these regions as the truths of their tasks."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = dataset.labels
    replaced = labels["is_truth"] & labels["task_id"].is_in(list(results))
    truths = labels.filter(replaced).select("task_id", "annotation_id")
    written = pl.Series(
        [
            orjson.dumps(results[task]).decode() if fused else text
            for task, text, fused in zip(labels["task_id"], labels["result"], replaced, strict=True)
        ],
        dtype=pl.String,
    )
    rows: list[tuple[Any, ...]] = [
        row for task, annotation in truths.iter_rows() for row in regions_of(task, annotation, results[task])
    ]
    others = dataset.regions.filter(~pl.col("task_id").is_in(list(results)))
    schema = arrow_schema(REGIONS_SCHEMA)
    columns = list(zip(*rows, strict=True)) or [()] * len(REGIONS_SCHEMA)
    fused_rows = pa.table([pa.array(column, type=kind) for column, kind in zip(columns, schema.types, strict=True)],
                          schema=schema)  # fmt: skip
    others_rows = others.select(schema.names).to_arrow().cast(schema)
    labels.with_columns(written.alias("result")).write_parquet(folder / "labels.parquet")
    pq.write_table(pa.concat_tables([others_rows, fused_rows]), folder / "regions.parquet")
