"""The command that writes the quality report: one HTML file to read offline."""

from __future__ import annotations

import base64
import binascii
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelloop.commands.common import (
    AsJson,
    ConfigFile,
    LabelsFile,
    SettingsFile,
    TableLevel,
    WithGold,
    is_table,
    needed,
    open_runtime,
    project_of,
    read_labels,
    say,
)
from labelloop.errors import DataError, LabelloopError, MediaError, UsageError

if TYPE_CHECKING:
    from labelloop.media import MediaCache
    from labelloop.progress import Counting
    from qa.report.page import Content
    from qa.report.pictures import Absent, Look, Photo
    from sync.runtime import Runtime

SCHEMA_VERSION = 2
_log = logging.getLogger(__name__)


class PartName(StrEnum):
    """What the page tells besides agreement, in its order."""

    ANNOTATORS = "annotators"
    ERRORS = "errors"
    CONSENSUS = "consensus"
    REVIEW = "review"
    COST = "cost"
    LEARNING = "learning"


_PROJECT = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?/projects/\d+")
_DATA_IMAGE = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)


def report(
    project: Annotated[str | None, typer.Argument(metavar="PROJECT", help="id or title")] = None,
    file: LabelsFile = None,
    config: ConfigFile = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="the HTML file to write")] = Path("quality.html"),
    annotators: Annotated[
        Path | None, typer.Option("--annotators", help="JSON of labelloop annotators; default: made now")
    ] = None,
    errors: Annotated[
        Path | None, typer.Option("--errors", help="JSON of labelloop errors; default: looked for now")
    ] = None,
    consensus: Annotated[
        Path | None,
        typer.Option("--consensus", help="JSON of labelloop consensus; default: made now, of every control"),
    ] = None,
    review: Annotated[
        Path | None, typer.Option("--review", help="JSON of labelloop review; default: made now, of a project")
    ] = None,
    cost: Annotated[
        Path | None, typer.Option("--cost", help="JSON of labelloop cost; default: made now, of a project")
    ] = None,
    learning: Annotated[
        Path | None, typer.Option("--learning", help="JSON of labelloop models; default: made now, of a project")
    ] = None,
    without: Annotated[
        list[PartName] | None,
        typer.Option("--without", help="a part to leave out, for speed; may be said several times"),
    ] = None,
    label_studio_url: Annotated[
        str | None,
        typer.Option("--label-studio-url", help="what links lead to; with --file it names the project: …/projects/3"),
    ] = None,
    level: TableLevel = None,
    gold: WithGold = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the quality report: agreement with its intervals, who and what disagrees, and pictures of the worst tasks."""
    from labelloop.progress import progress_counter
    from qa.report.page import quality_page

    if out.is_dir() or not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: expected a file in a folder that is there")
    extra = {
        name.value: _extra(path, name.value)
        for name, path in zip(PartName, (annotators, errors, consensus, review, cost, learning), strict=True)
        if path is not None
    }
    parts = _Parts(extra, frozenset(each.value for each in without or ()), progress_counter("report", silent=as_json))
    if is_table(file):
        content, missing = _of_table(file, level, parts, label_studio_url), Counter[str]()
        page = quality_page(content)
    else:
        if level is not None:
            raise UsageError("--level is for a CSV of task, annotator and label; else the label config tells it")
        runtime = open_runtime(settings)
        missing = Counter()
        with _images(runtime, file is not None, missing) as look:
            content = _of_labels(runtime, project, file, config, label_studio_url, look, parts, gold=gold)
            page = quality_page(content)
    written = page.encode()
    out.write_bytes(written)
    told = {
        "schema_version": SCHEMA_VERSION,
        "path": str(out),
        "bytes": len(written),
        "controls": list(content.agreement["controls"]),
        "parts": ["agreement", *(name.value for name in PartName if getattr(content, name) is not None)],
        "not_made": dict(content.not_made),
        "worst": [{"task": each.task, "control": each.control.name, "score": each.score} for each in content.worst],
        "images_missing": dict(missing),
    }
    lines = [f"{out}: {len(written) / 1e6:.1f} MB, {len(content.worst)} tasks with a picture of the disagreement"]
    lines += [f"no {name}: {reason}" for name, reason in content.not_made.items()]
    lines += [
        f"{count} image{'s are' if count > 1 else ' is'} not shown: {reason}" for reason, count in missing.most_common()
    ]
    say(told, as_json, "\n".join(lines))


class _Parts:
    """The parts of the page that other commands tell: given as files, else made now unless they are to be left out."""

    def __init__(self, given: Mapping[str, Any], without: frozenset[str], count: Counting) -> None:
        self._made, self._without, self._count = dict(given), without, count
        self._reasons: dict[str, str] = {}

    def make(self, name: str, maker: Callable[[], Any]) -> None:
        """Have a part made; where that fails, the page says why."""
        if name in self._made or name in self._without:
            return
        self._count(name, 0, 1)
        try:
            self._made[name] = maker()
        except LabelloopError as error:
            self._reasons[name] = str(error)
        except Exception as error:  # a part's fault costs nobody the rest of the page
            _log.exception("a part of the report failed", extra={"part": name})
            self._reasons[name] = f"it failed with {type(error).__name__}: {error}"
        self._count(name, 1, 1)

    def consensus(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        """The consensus of each control, or why it has none."""
        if "consensus" in self._made or "consensus" in self._without or not makers:
            return
        told = []
        for at, (name, maker) in enumerate(makers.items()):
            self._count("consensus of controls", at, len(makers))
            try:
                told.append(maker())
            except LabelloopError as error:
                told.append({"control": name, "reason": str(error)})
            except Exception as error:  # one control's matter only
                _log.exception("the consensus of a control failed", extra={"control": name})
                told.append({"control": name, "reason": f"it failed with {type(error).__name__}: {error}"})
        self._count("consensus of controls", len(makers), len(makers))
        self._made["consensus"] = told

    def told(self) -> dict[str, Any]:
        """The fields of the page's content."""
        return {**self._made, "not_made": self._reasons}


def _of_table(file: Path, level: Any, parts: _Parts, url: str | None) -> Content:
    from qa.consensus.report import consensus_report
    from qa.judgments import coded, read_judgments
    from qa.report.page import Content
    from qa.table_agreement import table_agreement

    judgments = read_judgments(file)
    told = table_agreement(judgments, level or "nominal")
    if level in (None, "nominal"):  # of numbers no class is the answer
        parts.consensus({"": lambda: consensus_report(coded(judgments), "dawid_skene")})
    task_url = _task_url(_project_address(url) if url else None)
    return Content(file.name, datetime.now(UTC), told, task_url=task_url, **parts.told())


def _of_labels(
    runtime: Runtime,
    project: str | None,
    file: Path | None,
    config: Path | None,
    url: str | None,
    look: Look,
    parts: _Parts,
    *,
    gold: bool,
) -> Content:
    """What the page tells of a project, or of an export file."""
    from labelloop.label_config import parse_label_config
    from qa.agreement import Running, agreement_report
    from qa.annotators.report import annotator_report
    from qa.consensus.controls import control_consensus
    from qa.kinds.registry import measurable
    from qa.report.disagreements import confused_pairs, worst_disagreements
    from qa.report.page import Content
    from sync.label_errors import errors_of_file, errors_of_project

    address: str | None
    row = None
    if file is None:
        from sync.agreement_checks import alarms_of
        from sync.annotator_work import work_frame
        from sync.correction_cost import cost_of
        from sync.overview import models_report
        from sync.reviewing import review_report

        row = project_of(runtime, needed(project))
        labels, parsed, title = work_frame(runtime, row), parse_label_config(row.label_config), row.title
        parts.make("review", lambda: review_report(runtime, row).to_json())
        parts.make("cost", lambda: cost_of(runtime.store, row).to_json(row.project_id))
        parts.make("learning", lambda: models_report(runtime, row))
        parts.make("errors", partial(errors_of_project, runtime, row))
        base = (url or runtime.services.label_studio_url).rstrip("/")
        address = _project_address(base if _PROJECT.fullmatch(base) else f"{base}/projects/{row.project_id}")
    else:
        (labels, parsed), title = read_labels(file, config), file.name
        address = _project_address(url) if url is not None else None
        parts.make("errors", partial(errors_of_file, file, parsed))
    parts.make("annotators", partial(annotator_report, labels, parsed))
    measured = measurable(parsed)
    parts.consensus({each[0].name: partial(control_consensus, labels, *each) for each in measured})
    running, said = Running.read(labels, parsed, gold=gold)
    told = agreement_report(running, said)
    if row is not None:
        told["alarms"] = alarms_of(told, runtime.project_settings(row).quality.agreement_alarm)
    return Content(
        title,
        datetime.now(UTC),
        told,
        worst_disagreements(told, labels, measured, gold=gold),
        confused_pairs(running, said, told),
        look=look,
        task_url=_task_url(address),
        **parts.told(),
    )


def _project_address(url: str) -> str:
    """The address of a project in Label Studio; UsageError for any other."""
    plain = url.rstrip("/").removesuffix("/data")
    if not _PROJECT.fullmatch(plain):
        raise UsageError(
            f"--label-studio-url: expected a project's address such as http://host/projects/3, got {url!r}"
        )
    return plain


def _task_url(address: str | None) -> Callable[[Any], str | None]:
    """Where a task is opened; ids that are no numbers are those of a CSV, which Label Studio does not know."""

    def url(task: Any) -> str | None:
        return f"{address}/data?task={task}" if address and str(task).isdecimal() else None

    return url


def _extra(path: Path, name: str) -> Any:
    """The JSON of another command, looked through once; DataError when it is no such report."""
    import orjson

    from qa.report import findings
    from qa.report.consensus import consensus_section
    from qa.report.corrections import corrections_section
    from qa.report.learning import learning_section

    sections: dict[str, tuple[str | None, Callable[[dict[str, Any]], Any]]] = {
        "annotators": ("annotators", lambda told: findings.annotators_section(told, str)),  # type: ignore[arg-type]
        "errors": ("findings", lambda told: findings.errors_section(told, str)),  # type: ignore[arg-type]
        "consensus": ("tasks", lambda told: consensus_section([told], str)),  # type: ignore[arg-type]
        "review": (None, findings.review_section),
        "cost": ("classes", corrections_section),
        "learning": ("learning", learning_section),
    }
    key, section = sections[name]
    command = "models" if name == "learning" else name
    expected = f"--{name} {path}: expected what labelloop {command} --json prints"
    try:
        told = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{expected}, which can't be read: {error}") from error
    if not isinstance(told, dict) or (key is not None and key not in told):
        raise DataError(f"{expected}, with {key!r}" if key else expected)
    try:
        section(told)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{expected}, got another shape ({type(error).__name__}: {error})") from error
    return [told] if name == "consensus" else told


# -- images -------------------------------------------------------------------------------------------------------------


@contextmanager
def _images(runtime: Runtime, of_file: bool, missing: Counter[str]) -> Iterator[Look]:
    """Gives thumbnails of images that may be fetched; of a file's, nothing is kept. Counts why others are missing."""
    from qa.report.pictures import Absent
    from sync.file_media import open_media

    with (
        tempfile.TemporaryDirectory(prefix="labelloop-report-") as folder,
        closing(open_media(runtime, Path(folder) if of_file else None)) as cache,
    ):
        known: dict[str, Photo | Absent] = {}

        def look(address: str) -> Photo | Absent:
            if address not in known:
                try:
                    known[address] = _photo(cache, address, Path(folder))
                except LabelloopError as error:
                    missing[str(error)] += 1
                    known[address] = Absent(str(error))
            return known[address]

        yield look


def _photo(cache: MediaCache, address: str, folder: Path) -> Photo:
    from labelloop.media import thumbnail_of
    from qa.report.pictures import Photo

    path = _from_address(address, folder, cache.rules.max_bytes) or cache.fetch(address)
    small = thumbnail_of(path, max_pixels=cache.rules.max_pixels)
    return Photo("data:image/jpeg;base64," + base64.b64encode(small.jpeg).decode(), small.width, small.height)


def _from_address(address: str, folder: Path, max_bytes: int) -> Path | None:
    """The file of an image that is its own address (data:), None for any other address."""
    head = _DATA_IMAGE.match(address)
    if head is None:
        return None
    if len(address) > max_bytes * 4 // 3 + 100:
        raise MediaError("too_large", f"the image in the task is over {max_bytes} bytes")
    path = folder / "image-in-task"
    try:
        path.write_bytes(base64.b64decode(address[head.end() :], validate=True))
    except binascii.Error as error:
        raise MediaError("unreadable", "the image in the task is no valid base64") from error
    return path
