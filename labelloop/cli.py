"""The command line: with `labelloop.commands` the composition root, where alone the kernel meets the other packages."""

from __future__ import annotations

import errno
import sys

import typer

from labelloop.commands import datasets, exports, ingesting, labels, lineage, models, projects, report, services, store
from labelloop.commands.annotators import annotators
from labelloop.commands.cost import cost
from labelloop.commands.errors import errors
from labelloop.commands.prioritize import prioritize
from labelloop.commands.review import review
from labelloop.commands.simulate import simulate
from labelloop.errors import LabelloopError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="labelloop")
project_app = typer.Typer(no_args_is_help=True, help="Projects in Label Studio that labelloop looks after.")
app.add_typer(project_app, name="project")
project_app.command("create")(projects.project_create)
project_app.command("templates")(projects.project_templates)
dataset_app = typer.Typer(no_args_is_help=True, help="Dataset versions: frozen labels, named by what they hold.")
app.add_typer(dataset_app, name="dataset")
dataset_app.command("create")(datasets.dataset_create)
dataset_app.command("list")(datasets.dataset_list)
dataset_app.command("show")(datasets.dataset_show)
dataset_app.command("diff")(datasets.dataset_diff)

for command in (
    ingesting.ingest,
    projects.sync,
    models.train,
    models.models,
    models.evaluate,
    models.promote,
    models.rollback,
    models.register,
    models.prelabel,
    prioritize,
    models.rules,
    exports.export,
    exports.convert,
    lineage.classes,
    lineage.history,
    lineage.forget,
    labels.agreement,
    labels.consensus,
    annotators,
    errors,
    review,
    cost,
    report.report,
    simulate,
    services.demo,
    services.up,
    services.down,
    services.status,
    store.backup,
    store.restore,
):
    app.command()(command)


def main() -> None:
    """Run the command line; an expected failure prints its message and exits with 1, or 2 for wrong usage."""
    try:
        app()
    except LabelloopError as error:
        print(f"labelloop: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"labelloop: the disk is full{where}; free some space and run the same command again", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
