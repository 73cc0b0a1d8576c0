"""The command `ingest`: what its options mean together, and which of them make no sense."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import sync.ingesting
from labelloop.cli import app
from labelloop.commands import ingesting
from labelloop.errors import UsageError
from labelloop.settings import ProjectSettings, ServiceSettings
from sync.ingesting import IngestOptions, IngestReport, IngestTarget, NearOptions


class Asked:
    """What the command asked to bring in."""

    target: IngestTarget
    address: str | None
    options: IngestOptions


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    row = SimpleNamespace(project_id=3, title="P")
    services = ServiceSettings(data=tmp_path / "data", image_max_mb=2, image_max_megapixels=3, threads=5)
    store = SimpleNamespace(find_project=lambda wanted: row)
    runtime = SimpleNamespace(
        services=services, client=object(), store=store, project_settings=lambda _: ProjectSettings()
    )
    monkeypatch.setattr(ingesting, "open_runtime", lambda _: runtime)
    monkeypatch.chdir(tmp_path)
    found = Asked()

    def bring_in(target: Any, address: Any, options: Any, counting: Any) -> IngestReport:
        found.target, found.address, found.options = target, address, options
        return IngestReport(3, str(address), dry_run=options.dry_run)

    monkeypatch.setattr(sync.ingesting, "ingest", bring_in)
    return found


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["ingest", "P", *arguments, "--dry-run"])


def test_the_settings_say_where_and_how_much(asked: Asked, tmp_path: Path) -> None:
    result = run("pics")
    assert result.exit_code == 0, result.output
    assert "0 tasks would be added" in result.output
    target = asked.target
    assert (target.project_id, target.work, target.threads) == (3, tmp_path / "data" / "ingest", 5)
    assert target.files is not None and target.files.root == tmp_path / "data" / "files"
    assert (target.limits.max_bytes, target.limits.max_pixels) == (2_000_000, 3_000_000)
    assert asked.address == "pics" and asked.options == IngestOptions(dry_run=True)
    run("pics", "--files-root", "served")
    assert asked.target.files is not None and asked.target.files.root == tmp_path / "served"


def test_near_duplicates_are_looked_for_as_asked(asked: Asked) -> None:
    run("pics", "--drop-near", "--near-distance", "8", "--near-similarity", "0.9")
    assert asked.options.near == NearOptions(8, 0.9, True)
    run("pics", "--no-near")
    assert asked.options.near is None


def test_a_key_is_of_both_tables_and_of_the_metadata_alone_where_the_source_has_no_columns(asked: Asked) -> None:
    run(
        "a.csv", "--metadata", "m.csv", "--key", "id", "--metadata-into", "meta", "--group", "g", "--encoding", "cp1252"
    )
    assert asked.options.source.key == "id" and asked.options.source.encoding == "cp1252"
    metadata = asked.options.metadata
    assert metadata is not None and (metadata.key, metadata.exact, metadata.into, metadata.group) == (
        "id", True, "meta", "g"
    )  # fmt: skip
    run("pics", "--metadata", "m.csv", "--key", "id")
    assert asked.options.source.key is None
    assert asked.options.metadata is not None and not asked.options.metadata.exact


def test_labels_stand_beside_a_source_or_are_it(asked: Asked) -> None:
    run("pics", "--annotations", "boxes.json", "--format", "coco", "--task", "segment", "--as", "annotations")
    labels = asked.options.labels
    assert asked.address == "pics" and labels is not None
    assert (labels.path, labels.format, labels.task, labels.kind) == (
        Path("boxes.json"),
        "coco",
        "segment",
        "annotations",
    )
    assert labels.version == "import-boxes"
    run("my boxes!.json", "--format", "coco", "--images", "pics", "--name", "second try")
    labels = asked.options.labels
    assert asked.address is None and labels is not None
    assert (labels.path, labels.images, labels.version) == (Path("my boxes!.json"), Path("pics"), "import-second-try")
    run("--annotations", "boxes.json", "--format", "coco")
    assert asked.address is None and asked.options.labels is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pics", "--annotations", "a.json"), "say which --format"),
        (("pics", "--as", "annotations"), "say which --format"),
        (("pics", "--name", "x"), "say which --format"),
        (("--format", "coco"), "expected SOURCE or --annotations"),
    ],
)
def test_what_makes_no_sense_is_refused(asked: Asked, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, UsageError) and said in str(result.exception)
    assert not hasattr(asked, "options")
