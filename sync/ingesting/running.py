"""One ingest from beginning to end: read and check, group, give roles, import, record; under a lease of the project."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import orjson

from labelloop.errors import NotReady, UsageError
from labelloop.label_config import LabelConfig, parse_label_config
from labelloop.label_studio import LabelStudio
from labelloop.progress import Counting, not_counted
from labelloop.settings import ProjectSettings
from labelloop.store import ProjectRow, Store
from labelloop.store.leases import HeldLease, holding
from sync.ingesting.examining import Examiner, Limits
from sync.ingesting.grouping import NearCounts, NearOptions, group_near
from sync.ingesting.journal import Journal
from sync.ingesting.label_placing import LabelCounts, LabelPlacing
from sync.ingesting.labelled import JoinedLabels, LabelOptions, labelled_items, open_labels
from sync.ingesting.marks import policy_of
from sync.ingesting.metadata import Metadata, MetadataOptions
from sync.ingesting.placing import PlaceCounts, Placing, planned
from sync.ingesting.project_tasks import note_project
from sync.ingesting.report import IngestReport, LabelReport
from sync.ingesting.run_files import RunFiles
from sync.ingesting.scanning import Join, Scan, ScanCounts
from sync.ingesting.shown import Shown, shown_by
from sync.ingesting.sources import Source, SourceOptions, open_source
from sync.ingesting.staging import LocalFiles
from sync.roles import RolePolicy, holdout_unit, role_threshold

LEASE_TTL_S = 30.0


@dataclass(frozen=True)
class IngestTarget:
    """Where items go: the project, its Label Studio and store, and this machine's folders.

    `work` is the folder of notes and lists; `files` is where Label Studio serves media from, and items with media need it.
    """

    client: LabelStudio
    store: Store
    project_id: int
    settings: ProjectSettings
    work: Path
    files: LocalFiles | None = None
    limits: Limits = field(default_factory=Limits)
    threads: int = 2


@dataclass(frozen=True)
class IngestOptions:
    """How a source is brought in. `near` None looks for no near duplicates; `copy_addresses` fetches what data addresses."""

    data_key: str | None = None
    source: SourceOptions = field(default_factory=SourceOptions)
    metadata: MetadataOptions | None = None
    labels: LabelOptions | None = None
    near: NearOptions | None = field(default_factory=NearOptions)
    copy_addresses: bool = False
    rejects: Path | None = None
    dry_run: bool = False


def ingest(
    target: IngestTarget,
    address: str | None,
    options: IngestOptions = IngestOptions(),
    counting: Counting = not_counted,
) -> IngestReport:
    """Bring a source into a project and record its tasks; a report of what was added, present, doubled and rejected.

    Without an address the items are those of `options.labels`. Killed anywhere and run again, it goes on, and adds
    nothing twice. UsageError for an unknown project or a source that cannot be one; DataError for a full disk; NotReady
    while another process brings something into the project.
    """
    project = target.store.project(target.project_id)
    if project is None:
        raise UsageError(f"project {target.project_id} is not known to labelloop; create or adopt it first")
    began = time.monotonic()
    run = _Run(target, project, address, options, counting)
    with _lease(target) as lease:
        report = run.carried_out(lease)
    report.seconds = time.monotonic() - began
    (run.folder / "report.json").write_bytes(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2))
    return report


@contextmanager
def _lease(target: IngestTarget) -> Iterator[HeldLease]:
    """The right to bring items into the project. One that a killed process left runs out while this waits."""
    end = time.monotonic() + 2 * LEASE_TTL_S
    while True:
        with holding(target.store, target.project_id, "ingest", LEASE_TTL_S) as lease:
            if lease is not None:
                yield lease
                return
        if time.monotonic() > end:
            raise NotReady(f"another process brings items into project {target.project_id}; wait for its end")
        time.sleep(0.2)


class _Run:
    """One run; its lists lie in a folder of their own."""

    def __init__(
        self, target: IngestTarget, project: ProjectRow, address: str | None, options: IngestOptions, counting: Counting
    ) -> None:
        self.target, self.project, self.address, self.options = target, project, address, options
        self.counting = counting
        self.config: LabelConfig = parse_label_config(project.label_config)
        self.shown: Shown = shown_by(project.label_config, options.data_key)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        self.folder = target.work / f"{target.project_id}-{stamp}-{uuid.uuid4().hex[:6]}"
        self.notes = target.work / str(target.project_id)
        self.source: Source | None = None
        self.metadata: Metadata | None = None

    def carried_out(self, lease: HeldLease) -> IngestReport:
        """Do it."""
        items = self._opened()
        self.folder.mkdir(parents=True)
        journal = Journal(self.notes / "work.sqlite3")
        try:
            with RunFiles(self.folder, self.options.rejects) as files:
                journal.begin_run()
                return self._brought_in(journal, files, items, lease)
        finally:
            journal.close()

    # -- the first pass ---------------------------------------------------------------------------------------------

    def _opened(self) -> Source | None:
        """The source, where there is one beside the pre-annotations; what is wrong with it shows before anything is done."""
        if self.address is not None:
            return open_source(self.address, self.shown, self.options.source)
        if self.options.labels is None:
            raise UsageError("expected a source, or pre-annotations with --annotations and --format")
        return None

    def _brought_in(self, journal: Journal, files: RunFiles, source: Source | None, lease: HeldLease) -> IngestReport:
        target, options = self.target, self.options
        self.source = source
        near = options.near is not None
        note_project(target.client, journal, target.project_id, self.shown, near, self.counting)
        scanned = self._scan(journal, files, near)
        grouped = group_near(journal, options.near, files) if options.near is not None else NearCounts()
        policy = self._policy(journal)
        if policy is None:
            placed, labelled = PlaceCounts(), LabelCounts()
        elif options.dry_run:
            placed, labelled = _foreseen(journal, policy), LabelCounts()
        else:
            placed, labelled = self._place(journal, files, policy, lease.check)
        return self._report(files, scanned, grouped, placed, labelled)

    def _scan(self, journal: Journal, files: RunFiles, near: bool) -> ScanCounts:
        """Check the items of the source, or those of the pre-annotations where there is no source.

        With both, the source's items take their labels; labels that no item took may be for tasks that are there.
        """
        examiner = Examiner(self.shown, self.target.limits, self.notes / "fetched", near, self.options.copy_addresses)
        scan = Scan(journal, examiner, self.config, files, self.counting, self.target.threads)
        joins: list[Join] = []
        if self.options.metadata is not None:
            self.metadata = Metadata(journal, self.options.metadata, files)
            self.metadata.load()
            joins.append(self.metadata.join)
        if self.options.labels is None:
            scan.run(self.source.items(files.reject) if self.source is not None else (), joins)
            return scan.counts
        labelled = open_labels(self.options.labels, self.config)
        if self.source is None:
            scan.run(labelled_items(labelled, self.options.labels, self.shown, files.reject), joins)
            return scan.counts
        joined = JoinedLabels(journal, self.shown, files)
        joined.load(labelled, self.options.labels)
        scan.run(self.source.items(files.reject), [*joins, joined.join])
        scan.run(joined.left(), ())
        return scan.counts

    # -- the second pass --------------------------------------------------------------------------------------------

    def _policy(self, journal: Journal) -> RolePolicy | None:
        """How roles are given. The first ingest's groups fix the share of the holdout for ever; None when nothing came."""
        target, project = self.target, self.project
        if project.holdout_threshold is None:
            hashes = [holdout_unit(project.salt, key) for key in journal.group_keys()]
            if not hashes:
                return None
            learning = target.settings.active_learning
            threshold = role_threshold(hashes, learning.holdout, learning.holdout_min_items)
            if not self.options.dry_run:
                threshold = target.store.set_holdout_threshold(target.project_id, threshold)
            project = replace(project, holdout_threshold=threshold)
        return policy_of(project, target.settings)

    def _place(
        self, journal: Journal, files: RunFiles, policy: RolePolicy, check: Callable[[], None]
    ) -> tuple[PlaceCounts, LabelCounts]:
        target, wanted = self.target, self.options.labels
        labels = (
            LabelPlacing(target.client, target.store, target.project_id, wanted, files, check)
            if wanted is not None
            else None
        )
        placing = Placing(
            target.client, target.store, target.project_id, journal, policy, files, target.files, check, labels
        )
        placing.run(self.counting)
        return placing.counts, labels.counts if labels is not None else LabelCounts()

    def _report(
        self, files: RunFiles, scanned: ScanCounts, grouped: NearCounts, placed: PlaceCounts, labelled: LabelCounts
    ) -> IngestReport:
        metadata = self.metadata.report() if self.metadata is not None else None
        wanted = self.options.labels
        source = self.address if self.address is not None else str(wanted.path) if wanted is not None else ""
        files.flush()
        return IngestReport(
            project=self.target.project_id,
            source=source,
            dry_run=self.options.dry_run,
            added=placed.added,
            present=scanned.present,
            finished=placed.finished,
            duplicates=scanned.duplicates,
            near=grouped,
            roles=placed.roles,
            overlapped=placed.overlapped,
            rejected=files.by_reason,
            changed_texts=scanned.changes,
            images=scanned.images,
            other_files=self.source.other_files if self.source is not None else Counter(),
            ignored_labels=self.source.ignored_labels if self.source is not None else 0,
            metadata=metadata,
            labels=_label_report(wanted, scanned, labelled) if wanted is not None else None,
            rejects=files.rejected.path if files.by_reason else None,
            duplicates_file=_if_made(files.duplicates.path),
            unmatched_file=_if_made(files.unmatched.path),
        )


def _foreseen(journal: Journal, policy: RolePolicy) -> PlaceCounts:
    """What placing would do."""
    counts = PlaceCounts()
    for candidate in journal.candidates(present=False):
        plan = planned(candidate, policy)
        counts.added += 1
        counts.roles[plan.role] += 1
        counts.overlapped += plan.overlap > 1
    return counts


def _label_report(wanted: LabelOptions, scanned: ScanCounts, labelled: LabelCounts) -> LabelReport:
    return LabelReport(
        wanted.kind, wanted.version, scanned.labelled, scanned.regions, scanned.refused_regions, labelled.sent,
        labelled.present, labelled.withheld, labelled.resent,
    )  # fmt: skip


def _if_made(path: Path) -> Path | None:
    return path if path.exists() else None
