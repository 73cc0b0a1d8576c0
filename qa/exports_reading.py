"""The labels of a stock Label Studio JSON export as the table that `measure_agreement` takes."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from labelloop import export_files


def read_export(path: Path) -> pl.DataFrame:
    """One row per annotation with the `data` of its task; DataError when the file is no JSON export."""
    export = export_files.read_export(path)
    return export.with_data(export.labels)
