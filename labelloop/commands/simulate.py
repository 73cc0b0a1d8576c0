"""The command that replays a labelled dataset to tell what a strategy saves."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from labelloop.commands.common import AsJson, SettingsFile, say
from labelloop.errors import DataError, UsageError


def simulate(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="a labelled CSV, CoNLL, COCO, YOLO ... or export of Label Studio")
    ],
    strategies: Annotated[
        str, typer.Option("--strategies", help="comma-separated; random is always with them")
    ] = "hybrid",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="runs of each strategy")] = 5,
    backend: Annotated[
        str | None, typer.Option("--backend", help="what learns; default: what the labels look like")
    ] = None,
    from_format: Annotated[str | None, typer.Option("--from", help="the format, where the name does not tell")] = None,
    from_task: Annotated[str | None, typer.Option("--from-task", help="variant of what is read")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="label config (XML); an export needs it")] = None,
    images: Annotated[Path | None, typer.Option("--images-from", help="folder of the images")] = None,
    test: Annotated[
        float, typer.Option("--test", min=0.01, max=0.9, help="share to test by, where the data has no test part")
    ] = 0.2,
    first: Annotated[
        int | None, typer.Option("--first", min=1, help="labels of the first round; as many as --batch")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="labels of a round; a fortieth of the data, at least 10")
    ] = None,
    most: Annotated[int | None, typer.Option("--labels", min=1, help="labels at most; default: all")] = None,
    until: Annotated[
        int, typer.Option("--until", min=1, max=100, help="a run ends at this percentage of the full score")
    ] = 99,
    explore: Annotated[
        float | None,
        typer.Option("--explore", min=0.0, max=1.0, help="share drawn at random; the settings' by default"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="passes of each training; the backend's own")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="an SVG file for the learning curves")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="processes; as many as there are cores")
    ] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """How many labels each strategy would have needed on data that is labelled already; no server takes part.

    Example: labelloop simulate texts.csv --strategies hybrid,uncertainty --seeds 10 --plot curves.svg
    """
    from labelloop.progress import progress_bar, progress_counter
    from labelloop.settings import load_settings
    from sync.simulating.figures import told
    from sync.simulating.plot import learning_curves
    from sync.simulating.running import checked_strategies, planned
    from sync.simulating.running import simulate as replay_all
    from sync.simulating.sources import backend_for, prepare

    wanted = checked_strategies([name.strip() for name in strategies.split(",") if name.strip()])
    loaded = load_settings(settings)
    if plot is not None and not plot.absolute().parent.is_dir():
        raise UsageError(f"--plot: there is no folder {plot.absolute().parent}")
    share = loaded.defaults.active_learning.explore_share if explore is None else explore
    with tempfile.TemporaryDirectory(prefix="labelloop-simulate-") as made:
        scratch = Path(made)
        prepared = prepare(
            dataset, scratch, format=from_format, config=config, task=from_task, images=images, test_share=test,
            progress=progress_bar("read", silent=as_json),
        )  # fmt: skip
        plan = planned(
            prepared, backend or backend_for(prepared), first=first, batch=batch, most=most, explore=share, epochs=epochs,
            device=loaded.services.device,
        )  # fmt: skip
        report = replay_all(
            prepared, plan, wanted, seeds, scratch, until=until, workers=workers or os.cpu_count() or 1,
            count=progress_counter("simulate", silent=as_json),
        )  # fmt: skip
        about = f"{len(prepared.pool)} tasks to label, {len(prepared.test)} to test by, {plan.backend}"
    if plot is not None:
        try:
            plot.write_text(learning_curves(report, f"{dataset.name}: {about}"), encoding="utf-8")
        except OSError as error:
            raise DataError(f"--plot: {plot} can't be written: {error}") from error
    say(report, as_json, f"{about}; {plan.batch} labels a round, {plan.explore:.0%} at random\n{told(report)}")
