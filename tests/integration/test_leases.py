"""Leases on both databases: one owner, a fence that grows, and no write of a former owner."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from labelloop.errors import LeaseLost
from labelloop.store import Store
from labelloop.store import leases as leases_module
from labelloop.store.leases import HeldLease, acquire, held, holding, release, renew
from labelloop.store.promotions import add_step, steps_of
from labelloop.store.tables import leases
from labelloop.store.types import utc_now

pytestmark = pytest.mark.integration

TTL_S = 30.0


def expire(store: Store) -> None:
    """Every lease ran out a minute ago, as if its owner had hung for that long."""
    with store.begin() as connection:
        connection.execute(update(leases).values(expires_at=utc_now() - timedelta(minutes=1)))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen within 30 s"
        time.sleep(0.02)


RACER = """
import sys
from labelloop.store import open_store
from labelloop.store.leases import acquire
store = open_store({url!r})
print("ready", flush=True)
sys.stdin.readline()
print([acquire(store, project, "train", 60) is not None for project in range(30)])
"""


def test_of_processes_that_race_exactly_one_wins(store: Store, database_url: str) -> None:
    command = [sys.executable, "-c", RACER.format(url=database_url)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in running:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    answers = [process.communicate("go\n", timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], answers
    won = [[part.strip() == "True" for part in out.strip("[]\n").split(",")] for out, _ in answers]
    assert [sum(owners) for owners in zip(*won, strict=True)] == [1] * 30
    with store.read() as connection:
        assert {row.fence for row in connection.execute(leases.select())} == {1}


def test_a_lease_is_for_one_project_and_one_kind(store: Store) -> None:
    first = acquire(store, 1, "train", TTL_S)
    assert first is not None and acquire(store, 1, "train", TTL_S) is None
    assert acquire(store, 2, "train", TTL_S) is not None and acquire(store, 1, "promote", TTL_S) is not None
    assert held(store, 1, "train") and not held(store, 3, "train")
    release(store, first)
    assert not held(store, 1, "train")
    again = acquire(store, 1, "train", TTL_S)
    assert again is not None and again.fence == first.fence + 1 and again.owner != first.owner


def test_a_lease_that_ran_out_goes_to_the_next_with_a_higher_fence(store: Store) -> None:
    first = acquire(store, 1, "train", TTL_S)
    assert first is not None
    expire(store)
    second = acquire(store, 1, "train", TTL_S)
    assert second is not None and second.fence == first.fence + 1
    with pytest.raises(LeaseLost, match="fence 1"):
        renew(store, first, TTL_S)
    release(store, first)  # what the former owner gives back is nobody else's
    assert held(store, 1, "train")
    renew(store, second, TTL_S)


def test_an_owner_that_was_late_but_was_not_replaced_goes_on(store: Store) -> None:
    first = acquire(store, 1, "train", TTL_S)
    assert first is not None
    expire(store)
    renew(store, first, TTL_S)
    assert acquire(store, 1, "train", TTL_S) is None


def test_nothing_that_a_former_owner_writes_stays(store: Store, second_store: Callable[[], Store]) -> None:
    with holding(store, 1, "promote", TTL_S) as former:
        assert former is not None
        with former.writing() as connection:
            add_step(store, connection, 1, "p", "planned", {})
        expire(store)
        with holding(second_store(), 1, "promote", TTL_S) as successor:
            assert successor is not None
            with pytest.raises(LeaseLost), former.writing() as connection:
                add_step(store, connection, 1, "p", "predicted", {})
            with successor.writing() as connection:
                add_step(store, connection, 1, "p", "ranked", {})
    assert [step.step for step in steps_of(store, "p")] == ["planned", "ranked"]


def test_a_block_that_fails_gives_the_lease_back_and_writes_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError, match="half way"), holding(store, 1, "promote", TTL_S) as lease:
        assert lease is not None
        with lease.writing() as connection:
            add_step(store, connection, 1, "p", "planned", {})
            raise RuntimeError("half way")
    assert steps_of(store, "p") == [] and not held(store, 1, "promote")


def test_who_comes_second_gets_none(store: Store, second_store: Callable[[], Store]) -> None:
    with holding(store, 1, "sync", TTL_S) as first, holding(second_store(), 1, "sync", TTL_S) as second:
        assert first is not None and second is None


def test_a_held_lease_outlives_its_time_to_live(store: Store) -> None:
    with holding(store, 1, "train", 0.6) as lease:
        assert lease is not None
        renewed = lease._renewed_at
        until(lambda: lease._renewed_at - renewed > timedelta(seconds=0.9))
        lease.check()
        assert acquire(store, 1, "train", TTL_S) is None


def test_the_renewal_notices_that_the_lease_went_to_another(store: Store) -> None:
    with holding(store, 1, "train", 0.9) as lease:
        assert lease is not None
        # Taken over between two renewals, as after a pause of the whole process.
        with store.begin() as connection:
            connection.execute(update(leases).values(owner="another", fence=leases.c.fence + 1))
        until(lambda: not lease._thread.is_alive())
        with pytest.raises(LeaseLost):
            lease.check()


def test_a_store_that_is_away_for_a_moment_costs_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[int] = []
    real = leases_module.renew

    def away(*args: object) -> None:
        failures.append(1)
        raise OperationalError("UPDATE", {}, Exception("the server closed the connection"))

    with holding(store, 1, "train", 0.9) as lease:
        assert lease is not None
        with monkeypatch.context() as patched:
            patched.setattr(leases_module, "renew", away)
            until(lambda: bool(failures))
        assert leases_module.renew is real
        before = lease._renewed_at
        until(lambda: lease._renewed_at > before)
        lease.check()


def test_a_store_that_stays_away_ends_the_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("the server closed the connection"))

    lease = acquire(store, 1, "train", 0.3)
    assert lease is not None
    with monkeypatch.context() as patched:
        patched.setattr(leases_module, "renew", away)
        patched.setattr(leases_module, "release", away)
        with pytest.raises(LeaseLost), HeldLease(store, lease, 0.3) as work:
            until(lambda: utc_now() - work._renewed_at > timedelta(seconds=0.3))
            work.check()  # not the error of the release that fails as well
