"""The hash chains of decisions and schema versions on SQLite and PostgreSQL: many writers, and rows that were tampered with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from labelloop.errors import UsageError
from labelloop.store import ProjectRow, Store
from labelloop.store.chains import START, link_hash
from labelloop.store.classes import change_classes, class_table, schema_versions_of, verify_schema
from labelloop.store.decisions import decide, decisions_end, decisions_of, review_status, verify_chain
from labelloop.store.forgotten import finish_forgetting, mark_forgotten
from labelloop.store.tables import chains, decisions, schema_versions

pytestmark = pytest.mark.integration

XML = '<View><Text name="t" value="$text"/><Choices name="c" toName="t"><Choice value="a"/><Choice value="b"/></Choices></View>'
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def project(store: Store) -> ProjectRow:
    return store.put_project(project_id=1, title="P", task_type="t", backend="b", label_config=XML, settings={})


def say(store: Store, *reasons: str) -> None:
    for reason in reasons:
        decide(store, 1, 1, "review", "approved", "ada", reason)


def rows(store: Store) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(decisions).order_by(decisions.c.decision_id)).mappings())


def test_each_decision_follows_the_one_before(store: Store, project: ProjectRow) -> None:
    say(store, "one", "two", "three")
    found = decisions_of(store, 1, 1, 1)
    assert [each.previous_hash for each in found] == [START, found[0].hash, found[1].hash]
    assert [link_hash(each.previous_hash, each.content()) for each in found] == [each.hash for each in found]
    assert verify_chain(store, 1) == [] and decisions_end(store, 1).length == 3
    with pytest.raises(UsageError, match="no project 9"):
        decide(store, 9, 1, "review", "approved", "ada", "")


WRITER = """
import sys
from labelloop.store import open_store
from labelloop.store.decisions import decide
store = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    decide(store, 1, number, "review", "approved", sys.argv[2], f"reason {number}")
store.close()
"""


def test_writers_in_four_processes_never_fork_the_chain(store: Store, project: ProjectRow, database_url: str) -> None:
    pipe = subprocess.PIPE
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, database_url, f"w{n}"], stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
        for n in range(4)
    ]
    assert [process.stdout.readline() for process in running if process.stdout] == ["ready\n"] * 4
    errors = [process.communicate("go\n", timeout=300)[1] for process in _started(running)]
    assert [process.returncode for process in running] == [0] * 4, errors
    found = rows(store)
    assert len(found) == 100 and verify_chain(store, 1) == [] and decisions_end(store, 1).length == 100
    assert len({row["previous_hash"] for row in found}) == 100 and {row["by"] for row in found} == {
        "w0",
        "w1",
        "w2",
        "w3",
    }


def _started(running: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """All of them told to begin before the first is waited for."""
    for process in running:
        if process.stdin:
            process.stdin.write("go\n")
            process.stdin.flush()
    return running


def test_the_database_itself_lets_no_two_rows_follow_one(store: Store, project: ProjectRow) -> None:
    say(store, "one")
    row = {key: value for key, value in rows(store)[0].items() if key != "decision_id"}
    with pytest.raises(IntegrityError), store.begin() as connection:
        connection.execute(insert(decisions).values({**row, "verdict": "rejected"}))


def test_a_chain_that_a_transaction_gave_up_is_as_before(store: Store, project: ProjectRow) -> None:
    say(store, "one")
    with pytest.raises(RuntimeError), store.begin() as connection:
        decide(store, 1, 1, "review", "approved", "ada", "lost", connection=connection)
        raise RuntimeError
    say(store, "two")
    assert [row["reason"] for row in rows(store)] == ["one", "two"] and verify_chain(store, 1) == []


def _changed(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(update(decisions).where(decisions.c.reason == "two").values(by="mallory"))


def _reason_changed(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(update(decisions).where(decisions.c.reason == "two").values(reason="to"))


def _reason_emptied(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(update(decisions).where(decisions.c.reason == "two").values(reason=""))


def _removed(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(delete(decisions).where(decisions.c.reason == "two"))


def _last_removed(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(delete(decisions).where(decisions.c.reason == "three"))


def _all_removed(store: Store) -> None:
    with store.begin() as connection:
        connection.execute(delete(decisions))


def _inserted(store: Store) -> None:
    row = {key: value for key, value in rows(store)[1].items() if key != "decision_id"}
    with store.begin() as connection:
        connection.execute(insert(decisions).values({**row, "previous_hash": "f" * 64, "hash": "e" * 64}))


def _swapped(store: Store) -> None:
    first, second = rows(store)[:2]
    with store.begin() as connection:
        for number, row in ((first["decision_id"], second), (second["decision_id"], first)):
            values = {"reason": row["reason"], "reason_hash": row["reason_hash"], "at": row["at"]}
            connection.execute(update(decisions).where(decisions.c.decision_id == number).values(values))


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (_changed, "content was changed"),
        (_reason_changed, "reason was changed"),
        (_reason_emptied, "reason was changed"),
        (_removed, "does not follow"),
        (_last_removed, "expected 3 rows"),
        (_all_removed, "expected 3 rows"),
        (_inserted, "does not follow"),
        (_swapped, "content was changed"),
    ],
)
def test_what_was_tampered_with_is_found(
    tamper: Callable[[Store], None], words: str, store: Store, project: ProjectRow
) -> None:
    say(store, "one", "two", "three")
    tamper(store)
    problems = verify_chain(store, 1)
    assert problems and any(words in problem for problem in problems), problems


def test_a_reason_that_was_forgotten_leaves_the_chain_whole(store: Store, project: ProjectRow) -> None:
    store.put_tasks(1, [{"task_id": 1, "data": {}, "meta": {}, "overlap": 1, "content_hash": "c", "group_key": "g",
                         "role": "pool"}])  # fmt: skip
    say(store, "one", "two")
    with store.begin() as connection:
        mark_forgotten(store, connection, 1, [1])
        finish_forgetting(store, connection, 1, [1])
    _reason_emptied(store)
    assert verify_chain(store, 1) == []


def test_projects_have_chains_of_their_own(store: Store, project: ProjectRow) -> None:
    store.put_project(project_id=2, title="Q", task_type="t", backend="b", label_config=XML, settings={})
    say(store, "one")
    decide(store, 2, 1, "review", "rejected", "ada", "other")
    say(store, "two")
    assert verify_chain(store, 1) == verify_chain(store, 2) == []
    assert [decisions_end(store, number).length for number in (1, 2)] == [2, 1]


# -- reviews ----------------------------------------------------------------------------------------------------------


def test_a_review_counts_until_the_label_changes(store: Store, project: ProjectRow) -> None:
    decide(store, 1, 1, "review", "approved", "ada", "all of it")
    decide(store, 1, 1, "arbitration", "rejected", "bob", "another stage")
    found = decisions_of(store, 1, 1, 1)
    at = found[0].at
    assert review_status(found, 11, "h1", at - timedelta(seconds=1)) == "approved"
    assert review_status(found, 11, "h1", at + timedelta(seconds=1)) == "unreviewed"
    decide(store, 1, 1, "review", "rejected", "ada", "this one", annotation_id=11, rev_hash="h1")
    found = decisions_of(store, 1, 1, 1)
    assert review_status(found, 11, "h1", at + timedelta(seconds=9)) == "rejected"
    assert review_status(found, 12, "h1", at) == "approved" and review_status(found, 11, "h2", at) == "approved"
    assert review_status([], 11, "h1", at) == "unreviewed"


# -- schema versions --------------------------------------------------------------------------------------------------


def test_every_state_of_the_classes_is_a_version_that_follows_the_one_before(store: Store, project: ProjectRow) -> None:
    class_table(store, project)
    class_table(store, project)  # the same config: nothing new
    change_classes(store, project, "ada", lambda t: t.renamed("c", "a", "alpha"), {"kind": "rename"})
    versions = schema_versions_of(store, 1)
    assert [(v.number, v.by) for v in versions] == [(1, "label config"), (2, "ada")]
    assert versions[1].previous_hash == versions[0].hash and verify_schema(store, 1) == []
    assert [row["name"] for row in versions[0].classes] == ["a", "b"]
    assert [entry.name for entry in class_table(store, project).entries] == ["alpha", "b"]
    with store.begin() as connection:
        connection.execute(update(schema_versions).where(schema_versions.c.number == 1).values(by="mallory"))
    assert "content was changed" in verify_schema(store, 1)[0]
    with store.begin() as connection:
        connection.execute(update(chains).values(length=9))
    assert any("expected 9 rows" in problem for problem in verify_schema(store, 1))


def test_a_change_that_fails_writes_nothing(store: Store, project: ProjectRow) -> None:
    with pytest.raises(UsageError):
        change_classes(store, project, "ada", lambda t: t.renamed("c", "ghost", "x"))
    assert schema_versions_of(store, 1) == [] and class_table(store, project).entries[0].class_id == 0
