"""The command that fills a project: a source with its metadata and pre-annotations, then the first order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from labelloop.commands.common import AsJson, SettingsFile, Wanted, open_runtime, project_of, say
from labelloop.errors import UsageError

if TYPE_CHECKING:
    from labelloop.store import ProjectRow
    from sync.ingesting import IngestTarget, LabelOptions
    from sync.runtime import Runtime

Source = Annotated[
    str | None,
    typer.Argument(
        help="a folder, a pattern, a .csv .tsv .jsonl .json .parquet file, a text or an image; also s3://..."
    ),
]
DataKey = Annotated[str | None, typer.Option("--data-key", help="key of task data that the items go under")]
Column = Annotated[str | None, typer.Option("--column", help="column of SOURCE with the text or the file")]
Group = Annotated[str, typer.Option("--group", help="column that keeps items together, in roles and splits")]
Encoding = Annotated[str | None, typer.Option("--encoding", help="of texts and tables; default UTF-8")]
MediaRoot = Annotated[str | None, typer.Option("--media-root", help="folder of the files that rows name")]
CopyMedia = Annotated[
    bool, typer.Option("--copy-media", help="fetch what rows address (http, s3), check it, serve a copy")
]
MetadataFile = Annotated[str | None, typer.Option("--metadata", help="a table whose columns are joined to the items")]
Key = Annotated[str | None, typer.Option("--key", help="column that both have; default: the file name")]
Into = Annotated[Literal["data", "meta"], typer.Option("--metadata-into", help="where its columns go")]
Annotations = Annotated[Path | None, typer.Option("--annotations", help="pre-annotations of the items of SOURCE")]
Format = Annotated[
    str | None, typer.Option("--format", help="of the pre-annotations: coco, yolo, voc, ...; alone: SOURCE holds them")
]
Task = Annotated[str | None, typer.Option("--task", help="variant of that format, as `segment`")]
Images = Annotated[Path | None, typer.Option("--images", help="folder of their images")]
Kind = Annotated[
    Literal["predictions", "annotations"],
    typer.Option("--as", help="suggestions to people, or finished annotations that count as nobody's"),
]
Name = Annotated[str | None, typer.Option("--name", help="of this import of labels; default: their file's name")]
Near = Annotated[bool, typer.Option("--near/--no-near", help="look for near duplicates; they share one group")]
DropNear = Annotated[bool, typer.Option("--drop-near", help="leave near duplicates out")]
Distance = Annotated[
    int, typer.Option("--near-distance", min=0, max=64, help="bits of 256 by which near images differ")
]
Similarity = Annotated[float, typer.Option("--near-similarity", min=0.5, max=1.0, help="of near texts, 1 is the same")]
Rejects = Annotated[Path | None, typer.Option("--rejects", help="file for what does not come in, with reasons")]
FilesRoot = Annotated[Path | None, typer.Option("--files-root", help="Label Studio's local files root")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would happen; change nothing")]


def ingest(
    project: Wanted,
    source: Source = None,
    data_key: DataKey = None,
    column: Column = None,
    group: Group = "group",
    encoding: Encoding = None,
    media_root: MediaRoot = None,
    copy_media: CopyMedia = False,
    metadata: MetadataFile = None,
    key: Key = None,
    metadata_into: Into = "data",
    annotations: Annotations = None,
    format: Format = None,
    task: Task = None,
    images: Images = None,
    as_: Kind = "predictions",
    name: Name = None,
    near: Near = True,
    drop_near: DropNear = False,
    near_distance: Distance = 20,
    near_similarity: Similarity = 0.85,
    rejects: Rejects = None,
    files_root: FilesRoot = None,
    dry_run: DryRun = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring a source into a project: verified, without doubles, roles and overlap assigned; then the first order."""
    from labelloop.progress import progress_counter
    from sync.ingesting import IngestOptions, MetadataOptions, NearOptions, SourceOptions, is_table
    from sync.ingesting import ingest as bring_in

    if format is None and (annotations or images or task or name or as_ != "predictions"):
        raise UsageError(
            "--annotations, --as, --images, --task and --name are about labels: say which --format they have"
        )
    labels = _labels(source, annotations, format, task, images, as_, name) if format is not None else None
    address = source if labels is None or annotations is not None else None
    rows_keyed = metadata is not None and key is not None and source is not None and is_table(source)
    options = IngestOptions(
        data_key=data_key,
        source=SourceOptions(column, group, key if rows_keyed else None, encoding, media_root),
        metadata=MetadataOptions(metadata, key, metadata_into, group, encoding, rows_keyed) if metadata else None,
        labels=labels,
        near=NearOptions(near_distance, near_similarity, drop_near) if near else None,
        copy_addresses=copy_media,
        rejects=rejects,
        dry_run=dry_run,
    )
    runtime = open_runtime(settings)
    row = project_of(runtime, project)
    report = bring_in(_target(runtime, row, files_root), address, options, progress_counter("ingest", silent=as_json))
    if not dry_run:
        _order(runtime, row, labels)
    say(report.to_json(), as_json, report.text())


def _labels(
    source: str | None,
    annotations: Path | None,
    format: str,
    task: str | None,
    images: Path | None,
    kind: Literal["predictions", "annotations"],
    name: str | None,
) -> LabelOptions:
    from sync.ingesting import LabelOptions

    path = annotations or (Path(source) if source is not None else None)
    if path is None:
        raise UsageError(f"expected SOURCE or --annotations: where are the labels as {format}?")
    return LabelOptions(path, format, task, images, kind, name)


def _target(runtime: Runtime, row: ProjectRow, files_root: Path | None) -> IngestTarget:
    from sync.ingesting import IngestTarget, Limits, LocalFiles

    services = runtime.services
    return IngestTarget(
        runtime.client,
        runtime.store,
        row.project_id,
        runtime.project_settings(row),
        services.data.absolute() / "ingest",
        LocalFiles((files_root or services.data / "files").absolute()),
        Limits(int(services.image_max_mb * 1_000_000), int(services.image_max_megapixels * 1_000_000)),
        services.threads,
    )


def _order(runtime: Runtime, row: ProjectRow, labels: LabelOptions | None) -> None:
    """The order of a project that no model serves yet: its first, or one that shows the predictions that came in."""
    from sync.promotion import begun_cold_start, plan_cold_start, run_promotion

    imported = labels.version if labels is not None and labels.kind == "predictions" else None
    planned = plan_cold_start(runtime, project_of(runtime, str(row.project_id)), imported)
    promotion = planned or begun_cold_start(runtime.store, row.project_id)
    if promotion is not None:
        run_promotion(runtime, promotion)
