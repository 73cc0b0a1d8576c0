"""The command that looks for label errors and problems of data."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelloop.commands.common import (
    AsJson,
    ConfigFile,
    ExportFile,
    SettingsFile,
    needed,
    open_runtime,
    project_of,
    say,
)
from labelloop.errors import UsageError

if TYPE_CHECKING:
    from sync.folds import FoldPlan, OutOfFold
    from sync.predictions_reading import Predictions
    from sync.runtime import Runtime


def errors(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: ExportFile = None,
    config: ConfigFile = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", help="JSON lines or parquet: what a model that did not see the labels says of each task"
        ),
    ] = None,
    out_of_fold: Annotated[
        bool,
        typer.Option(
            "--out-of-fold", help="train models of the project's kind on parts of the labels, judge by the rest"
        ),
    ] = False,
    backend: Annotated[
        str | None, typer.Option("--backend", help="what --out-of-fold trains; default: the project's; --file needs it")
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", min=2, help="models that --out-of-fold trains; 5")] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="passes of each of them; default: the backend's own")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="JSON lines: what they say, to be read again with --predictions")
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="fetch images that have no fingerprint, to find near duplicates")
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="only the surest findings; default: all")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Labels that are likely wrong, why, where they gather, and problems of the data: duplicates, outliers, drift, leakage."""
    from labelloop.label_config import read_label_config
    from labelloop.progress import progress_counter
    from qa.issues import errors_text
    from sync.file_media import file_media
    from sync.fold_sources import out_of_fold_of_file, out_of_fold_of_project
    from sync.folds import reasons_told
    from sync.label_errors import errors_of_file, errors_of_project

    asked = {"--backend": backend, "--folds": folds, "--epochs": epochs, "--save": save}
    if out_of_fold and predictions is not None:
        raise UsageError("--out-of-fold makes the predictions that --predictions reads; leave one of the two out")
    if not out_of_fold and (lone := [name for name, value in asked.items() if value is not None]):
        raise UsageError(f"{', '.join(lone)}: only with --out-of-fold; add it, or leave them out")
    count = progress_counter("errors", silent=as_json)
    made: OutOfFold | None = None
    if file is None:
        runtime = open_runtime(settings)
        row = project_of(runtime, needed(project))
        if out_of_fold:
            made = out_of_fold_of_project(runtime, row, _plan(runtime, folds, epochs), backend=backend, count=count)
        given = predictions if made is None else _kept(made, save)
        fetch = runtime.media.fetch if images else None
        report = errors_of_project(runtime, row, given, fetch=fetch, count=count)
    elif config is None:
        raise UsageError("--file needs --config: the project's label config as XML")
    else:
        read = read_label_config(config)
        if out_of_fold:
            if backend is None:
                raise UsageError("--out-of-fold of a --file needs a kind of model, for example --backend spacy_nlp")
            runtime = open_runtime(settings)
            plan = _plan(runtime, folds, epochs)
            made = out_of_fold_of_file(runtime, file, config, backend, plan, count=count)
        given = predictions if made is None else _kept(made, save)
        with file_media(open_runtime(settings)) if images else nullcontext() as cache:
            report = errors_of_file(file, read, given, fetch=cache.fetch if cache is not None else None, count=count)
    if made is not None:
        report["skipped"] += [{"detector": "out of fold", "reason": each} for each in reasons_told(made.failed)]
    if limit is not None:
        report["findings"] = report["findings"][:limit]
    say(report, as_json, errors_text(report))


def _plan(runtime: Runtime, folds: int | None, epochs: int | None) -> FoldPlan:
    from sync.folds import FoldPlan

    services = runtime.services
    return FoldPlan(folds or FoldPlan.folds, epochs, device=services.device, threads=services.threads)


def _kept(made: OutOfFold, save: Path | None) -> Predictions:
    """The predictions, written to a file first where one is wanted."""
    from sync.fold_sources import write_predictions

    if save is not None:
        write_predictions(made.predictions, save)
    return made.predictions
