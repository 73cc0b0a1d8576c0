"""Exports that leave this machine: to a bucket (moto's S3 server) and to a run of a real MLflow server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from labelloop.cli import app

sys.path.insert(0, str(Path(__file__).parent))
from test_export_faults import write_export

pytestmark = pytest.mark.integration


def run(folder: Path, *more: str) -> dict[str, Any]:
    arguments = [
        "export",
        "--file",
        str(folder / "export.json"),
        "--config",
        str(folder / "config.xml"),
        *more,
        "--json",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    report: dict[str, Any] = json.loads(result.stdout)
    return report


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_export_goes_to_a_bucket(bucket: Any, tmp_path: Path) -> None:
    write_export(tmp_path, 30, 10)
    report = run(tmp_path, "--format", "coco", "--out", "s3://labels/sets/first")
    assert report["path"] == "s3://labels/sets/first"
    manifest = json.loads(bucket.cat_file("labels/sets/first/manifest.json"))
    assert manifest["items"] == 30
    assert all(bucket.exists(f"labels/sets/first/{name}") for name in manifest["files"])
    write_export(tmp_path, 20, 10)
    run(tmp_path, "--format", "coco", "--out", "s3://labels/sets/first", "--split", "1.0")
    found = {name.removeprefix("labels/sets/first/") for name in bucket.find("labels/sets/first")}
    assert found == {"manifest.json", "provenance.parquet", "annotations/instances_train.json"}


def test_an_export_is_kept_with_an_mlflow_run(mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("LABELLOOP_MLFLOW_URI", mlflow_uri)
    client = MlflowClient(mlflow_uri)
    experiment = client.create_experiment("exports")
    started = client.create_run(experiment)
    write_export(tmp_path, 5, 10)
    report = run(tmp_path, "--format", "coco", "--out", str(tmp_path / "out"), "--mlflow-run", started.info.run_id)
    kept = f"exports/{report['dataset_id']}-coco"
    names = {file.path for file in client.list_artifacts(started.info.run_id, kept)}
    assert f"{kept}/manifest.json" in names and f"{kept}/annotations" in names


def test_the_default_folder_is_named_by_the_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_export(tmp_path, 5, 10)
    report = run(tmp_path, "--format", "coco")
    assert report["path"] == f"./labeled_data/{report['dataset_id']}-coco"
    assert [p.name for p in (tmp_path / "labeled_data").iterdir()] == [f"{report['dataset_id']}-coco"]
