"""The store: one database that every process shares. Reads give frozen rows; every write is idempotent by a unique key."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Table, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from labelloop.errors import UsageError
from labelloop.store import tables as t
from labelloop.store.engine import migrate, open_engine
from labelloop.store.rows import LabelRow, Place, ProjectRow, Served, TaskRow
from labelloop.store.types import utc_now

Id = TypeVar("Id", int, str)
#: Ids of one statement: SQLite takes 32,766 parameters, PostgreSQL 65,535.
_CHUNK = 2000


def open_store(database_url: str) -> Store:
    """Open (and migrate) the store at a SQLAlchemy address; see `migrate` for what it raises."""
    engine = open_engine(database_url)
    try:
        migrate(engine)
        return Store(engine, _instance_of(engine))
    except BaseException:
        engine.dispose()
        raise


def _instance_of(engine: Engine) -> str:
    """The UUID of this installation, made once; of two processes that start together one wins and both use its UUID."""
    with engine.connect().execution_options(writing=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE instances IN EXCLUSIVE MODE"))
        found = connection.execute(select(t.instances.c.instance)).scalar()
        if found is None:
            found = str(uuid.uuid4())
            connection.execute(insert(t.instances).values(instance=found, made_at=utc_now()))
        return str(found)


class Store:
    """Projects, tasks, labels, predictions and what is served. Trainings, promotions and leases have modules of their own."""

    def __init__(self, engine: Engine, instance: str) -> None:
        self.engine = engine
        self.instance = instance

    # -- transactions ---------------------------------------------------------------------------------------------

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A writing transaction."""
        with self.engine.connect().execution_options(writing=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A reading transaction."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def refresh_statistics(self) -> None:
        """Let PostgreSQL count its rows: until it has, it takes tables for small, and minutes for what then takes a moment.

        It does so by itself a minute after many rows were written; who writes many and reads at once cannot wait.
        """
        if self.engine.dialect.name == "postgresql":
            with self.begin() as connection:
                connection.execute(text("ANALYZE tasks, revisions"))

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def scope(self, table: Table, project_id: int) -> ColumnElement[bool]:
        """The condition that keeps a query within one project of this installation."""
        return (table.c.instance == self.instance) & (table.c.project_id == project_id)

    def in_queue(self, project_id: int, serving_id: str) -> ColumnElement[bool]:
        """The condition for the places of one serving id's queue; copies of what people were shown are none."""
        c = t.predictions.c
        return self.scope(t.predictions, project_id) & (c.serving_id == serving_id) & c.ls_prediction_id.is_(None)

    def _insert(self, table: Table) -> postgresql.Insert | sqlite.Insert:
        return postgresql.insert(table) if self.engine.dialect.name == "postgresql" else sqlite.insert(table)

    def insert_missing(self, connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add rows (all with the same keys), leaving alone those whose unique key is there already; the number added."""
        pending = [{"instance": self.instance, **row} for row in rows]
        if not pending:
            return 0
        # The rows are parameters: a statement with the rows in it would be compiled anew for each chunk.
        statement = self._insert(table).on_conflict_do_nothing()
        if self.engine.dialect.name == "postgresql":
            # psycopg does not count the rows of many parameter sets.
            return len(connection.execute(statement.returning(table.c.instance), pending).all())
        return max(connection.execute(statement, pending).rowcount, 0)

    def upsert(
        self, connection: Connection, table: Table, rows: Iterable[Mapping[str, Any]], changed: Sequence[str]
    ) -> None:
        """Add rows by primary key; of those that are there, set the `changed` columns."""
        pending = [{"instance": self.instance, **row} for row in rows]
        if pending:
            statement = self._insert(table)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=list(table.primary_key.columns),
                    set_={name: statement.excluded[name] for name in changed},
                ),
                pending,
            )

    @staticmethod
    def chunks(ids: Sequence[Id]) -> Iterator[Sequence[Id]]:
        """Pieces of a list that one statement can take as parameters."""
        return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))

    # -- projects -------------------------------------------------------------------------------------------------

    def put_project(
        self,
        *,
        project_id: int,
        title: str,
        task_type: str,
        backend: str,
        label_config: str,
        settings: Mapping[str, Any],
        holdout_threshold: float | None = None,
    ) -> ProjectRow:
        """Add a project, or bring its title, config and settings up to date; its salt and threshold stay."""
        row = {
            "project_id": project_id,
            "title": title,
            "task_type": task_type,
            "backend": backend,
            "label_config": label_config,
            "salt": secrets.token_hex(16),
            "holdout_threshold": holdout_threshold,
            "settings": dict(settings),
            "training_paused": False,
            "created_at": utc_now(),
        }
        changed = ["title", "task_type", "backend", "label_config", "settings"]
        with self.begin() as connection:
            self.upsert(connection, t.projects, [row], changed)
        found = self.project(project_id)
        if found is None:
            raise UsageError(f"project {project_id} could not be stored")
        return found

    def set_holdout_threshold(self, project_id: int, threshold: float) -> float:
        """Fix the project's holdout threshold if none is fixed yet; the one in force."""
        with self.begin() as connection:
            connection.execute(
                update(t.projects)
                .where(self.scope(t.projects, project_id), t.projects.c.holdout_threshold.is_(None))
                .values(holdout_threshold=threshold)
            )
            where = self.scope(t.projects, project_id)
            return float(connection.execute(select(t.projects.c.holdout_threshold).where(where)).scalar_one())

    def set_label_config(self, connection: Connection, project_id: int, label_config: str) -> None:
        """Bring the project's label config up to date, within the caller's transaction."""
        where = self.scope(t.projects, project_id)
        connection.execute(update(t.projects).where(where).values(label_config=label_config))

    def pause_training(self, project_id: int, paused: bool) -> None:
        """Stop (or allow again) trainings that the trigger would start; manual ones still run."""
        with self.begin() as connection:
            connection.execute(
                update(t.projects).where(self.scope(t.projects, project_id)).values(training_paused=paused)
            )

    def project(self, project_id: int) -> ProjectRow | None:
        """The project of that id, or None."""
        with self.read() as connection:
            row = connection.execute(select(t.projects).where(self.scope(t.projects, project_id))).mappings().first()
        return _project(row) if row else None

    def projects(self) -> list[ProjectRow]:
        """Every project, by id."""
        query = select(t.projects).where(t.projects.c.instance == self.instance).order_by(t.projects.c.project_id)
        with self.read() as connection:
            return [_project(row) for row in connection.execute(query).mappings()]

    def find_project(self, wanted: str) -> ProjectRow:
        """The project with that id or title; UsageError lists those there are."""
        known = self.projects()
        for row in known:
            if str(row.project_id) == wanted or row.title == wanted:
                return row
        titles = ", ".join(f"{row.project_id} ({row.title})" for row in known) or "none yet"
        raise UsageError(f"no project {wanted!r}; labelloop knows: {titles}")

    # -- tasks ----------------------------------------------------------------------------------------------------

    def put_tasks(self, project_id: int, rows: Iterable[Mapping[str, Any]]) -> int:
        """Add tasks; those known stay as they are. Rows: task_id, data, meta, overlap, content_hash, group_key, role."""
        full = [
            {
                "project_id": project_id,
                "rev_hash": row["content_hash"],
                "created_at": None,
                "updated_at": None,
                "deleted_at": None,
                **row,
            }
            for row in rows
        ]
        with self.begin() as connection:
            return self.insert_missing(connection, t.tasks, full)

    def tasks(self, project_id: int, lo: int | None = None, hi: int | None = None) -> list[TaskRow]:
        """Tasks that still exist, by id; `lo` and `hi` bound the ids (both included)."""
        c = t.tasks.c
        query = select(c.task_id, c.data, c.overlap, c.content_hash, c.group_key, c.role, c.meta).where(
            self.scope(t.tasks, project_id), c.deleted_at.is_(None)
        )
        if lo is not None:
            query = query.where(c.task_id >= lo)
        if hi is not None:
            query = query.where(c.task_id <= hi)
        with self.read() as connection:
            return [TaskRow(**row) for row in connection.execute(query.order_by(c.task_id)).mappings()]

    def task_ids(self, project_id: int) -> set[int]:
        """Tasks that still exist."""
        where = self.scope(t.tasks, project_id) & t.tasks.c.deleted_at.is_(None)
        with self.read() as connection:
            return set(connection.execute(select(t.tasks.c.task_id).where(where)).scalars())

    def open_task_ids(self, project_id: int) -> set[int]:
        """Tasks that still want labels: fewer people have labelled them than their overlap asks for."""
        k, label = t.tasks.c, t.labels.c
        # A person who was deleted in Label Studio has no id and has labelled all the same.
        people = func.count(func.coalesce(label.person_id, -1).distinct()).label("people")
        done = select(label.task_id, people).where(self.scope(t.labels, project_id)).group_by(label.task_id).subquery()
        query = (
            select(k.task_id)
            .select_from(t.tasks.outerjoin(done, done.c.task_id == k.task_id))
            .where(self.scope(t.tasks, project_id), k.deleted_at.is_(None))
            .where(func.coalesce(done.c.people, 0) < k.overlap)
        )
        with self.read() as connection:
            return set(connection.execute(query).scalars())

    def places(self, project_id: int, serving_id: str, task_ids: Sequence[int]) -> dict[int, Place]:
        """Role and order key of the tasks that are known; unknown ones are absent."""
        tc, pc = t.tasks.c, t.predictions.c
        join = t.tasks.outerjoin(
            t.predictions,
            (pc.instance == tc.instance)
            & (pc.project_id == tc.project_id)
            & (pc.task_id == tc.task_id)
            & (pc.serving_id == serving_id)
            & pc.ls_prediction_id.is_(None),
        )
        query = select(tc.task_id, tc.role, pc.order_key).select_from(join).where(self.scope(t.tasks, project_id))
        found: dict[int, Place] = {}
        with self.read() as connection:
            for chunk in self.chunks(task_ids):
                for task_id, role, order_key in connection.execute(query.where(tc.task_id.in_(chunk))):
                    found[task_id] = Place(role, order_key)
        return found

    def median_order_key(self, project_id: int, serving_id: str) -> float:
        """The middle order key of one serving id; 0.5 when it has none."""
        c = t.predictions.c
        where = self.in_queue(project_id, serving_id)
        with self.read() as connection:
            count = connection.execute(select(func.count()).where(where)).scalar_one()
            if not count:
                return 0.5
            middle = select(c.order_key).where(where).order_by(c.order_key).offset(count // 2).limit(1)
            return float(connection.execute(middle).scalar_one())

    # -- labels ---------------------------------------------------------------------------------------------------

    def labels(
        self, project_id: int, roles: Sequence[str] | None = None, task_ids: Sequence[int] | None = None
    ) -> list[LabelRow]:
        """Every current label, or those of some tasks: one per (task, person), newest annotation, by task and annotation id."""
        label, k = t.labels.c, t.tasks.c
        names = [name for name in LabelRow.__dataclass_fields__ if name != "role"]
        of_task = (k.instance == label.instance) & (k.project_id == label.project_id) & (k.task_id == label.task_id)
        query = (
            select(*(label[name] for name in names), k.role)
            .select_from(t.labels.join(t.tasks, of_task))
            .where(self.scope(t.labels, project_id))
            .order_by(label.task_id, label.annotation_id)
        )
        if roles is not None:
            query = query.where(k.role.in_(list(roles)))
        parts = (
            [query] if task_ids is None else [query.where(label.task_id.in_(c)) for c in self.chunks(sorted(task_ids))]
        )
        with self.read() as connection:
            return [LabelRow(**row) for part in parts for row in connection.execute(part).mappings()]

    def count_labels(self, project_id: int) -> int:
        """How many current labels there are."""
        query = select(func.count()).select_from(t.labels).where(self.scope(t.labels, project_id))
        with self.read() as connection:
            return int(connection.execute(query).scalar_one())

    # -- what is served -------------------------------------------------------------------------------------------

    def served(self, project_id: int) -> Served | None:
        """What the project serves now, or None before the first switch."""
        with self.read() as connection:
            row = connection.execute(select(t.serving).where(self.scope(t.serving, project_id))).mappings().first()
        return _served(row) if row else None

    def served_by(self, backend: str) -> list[Served]:
        """What one backend serves, over all projects."""
        where = (t.serving.c.instance == self.instance) & (t.serving.c.backend == backend)
        with self.read() as connection:
            return [_served(row) for row in connection.execute(select(t.serving).where(where)).mappings()]


def _project(row: Mapping[Any, Any]) -> ProjectRow:
    return ProjectRow(**{name: row[name] for name in ProjectRow.__dataclass_fields__})


def _served(row: Mapping[Any, Any]) -> Served:
    return Served(**{name: row[name] for name in Served.__dataclass_fields__})
