"""Which revision of an annotation is its newest."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select

from labelloop.store.tables import revisions


def is_newest() -> ColumnElement[bool]:
    """The condition for rows of `revisions` that no later revision of the same annotation follows.

    It names the project, too: without it SQLite, as long as it has no statistics, walks through all of an instance for each row.
    """
    r, later = revisions.c, revisions.alias("later")
    follows = select(later.c.rev).where(
        later.c.instance == r.instance,
        later.c.project_id == r.project_id,
        later.c.annotation_id == r.annotation_id,
        later.c.rev > r.rev,
    )
    return ~follows.exists()
