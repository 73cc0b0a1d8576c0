"""Which classes' suggestions are shown to nobody, since when and why; rows are only added, the last of a class holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert, select

from labelloop.store.store import Store
from labelloop.store.tables import showings

Verdict = Literal["hidden", "shown"]


@dataclass(frozen=True)
class Showing:
    """One decision about a class of a control, by the name that the label config gives it; `evidence` is what it rests on."""

    control: str
    class_name: str
    verdict: Verdict
    by: str
    reason: str
    at: datetime
    evidence: Mapping[str, Any]


def put_showings(store: Store, connection: Connection, project_id: int, found: Sequence[Showing]) -> None:
    """Add decisions in this order, within the caller's transaction."""
    rows = [{"instance": store.instance, "project_id": project_id, **asdict(each)} for each in found]
    if rows:
        connection.execute(insert(showings), rows)


def last_showings(store: Store, project_id: int) -> dict[tuple[str, str], Showing]:
    """The decision that holds, by control and class."""
    c = showings.c
    columns = [c[name] for name in Showing.__dataclass_fields__]
    query = select(*columns).where(store.scope(showings, project_id)).order_by(c.showing_id)
    with store.read() as connection:
        found = [Showing(**row) for row in connection.execute(query).mappings()]
    return {(each.control, each.class_name): each for each in found}


def hidden_classes(store: Store, project_id: int) -> dict[str, frozenset[str]]:
    """By control the classes whose suggestions are shown to nobody."""
    hidden = [key for key, each in last_showings(store, project_id).items() if each.verdict == "hidden"]
    return {control: frozenset(name for of, name in hidden if of == control) for control, _ in hidden}
