"""Which tasks lack a prediction of the served id, in the store or in Label Studio, and the blocks of ids they lie in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from sqlalchemy import select

from labelloop.store import ProjectRow, Served, Store
from labelloop.store.promotions import ranked_ids
from labelloop.store.tables import outcomes, predictions
from labelloop.store.tables import tasks as tasks_table
from sync.prediction import MAY_PASS, outcome_ids
from sync.runtime import Runtime

#: Tasks of one job: enough to be worth the loading of a model, few enough for several workers to share a project.
BLOCK = 500
#: End of the last block: tasks that come later lie in it until it is full, so its job keeps its id.
OPEN_END = 2**31 - 1


def lacking(runtime: Runtime, project: ProjectRow, served: Served, *, every: bool, compare: bool) -> set[int]:
    """Tasks without an outcome or a prediction of what is served: the open ones, or with `every` the finished ones too.

    `compare` also counts what Label Studio holds (0.05 s) and, when that is not what the store says, looks which tasks
    have lost theirs, which have one that is not ours, and whether any may have two.
    """
    store, project_id = runtime.store, project.project_id
    there = store.task_ids(project_id)
    ranked = ranked_ids(store, project_id, served.serving_id) & there
    wanted = there if every else store.open_task_ids(project_id)
    found = wanted - ranked
    if served.digest:
        found |= wanted - outcome_ids(store, project_id, served.model_version)
        found |= wanted & outdated_ids(store, project_id, served)
    if compare:
        count = runtime.client.count_predictions(project_id, served.serving_id)
        if count != len(ranked):
            holding = runtime.client.tasks_holding(project_id, served.serving_id)
            found |= ranked ^ (holding & there)
            if count > len(holding):
                found |= there
    return found


def outdated_ids(store: Store, project_id: int, served: Served) -> set[int]:
    """Tasks whose prediction of the served id tells a failure that their outcome no longer has."""
    p, o = predictions.c, outcomes.c
    same = (p.instance == o.instance) & (p.project_id == o.project_id) & (p.task_id == o.task_id)
    query = (
        select(p.task_id)
        .select_from(predictions.join(outcomes, same))
        .where(
            store.in_queue(project_id, served.serving_id),
            p.status.in_(sorted({*MAY_PASS, "no_model"})),
            o.model_version == served.model_version,
            o.status != p.status,
        )
    )
    with store.read() as connection:
        return set(connection.execute(query).scalars())


def blocks_of(store: Store, project_id: int) -> list[tuple[int, int]]:
    """Ranges of task ids, both ends included, with BLOCK tasks each.

    By every task that was ever known, so that a block stays the same when tasks are deleted or come later.
    """
    query = select(tasks_table.c.task_id).where(store.scope(tasks_table, project_id)).order_by(tasks_table.c.task_id)
    with store.read() as connection:
        starts = list(connection.execute(query).scalars())[::BLOCK]
    ends = [start - 1 for start in starts[1:]]
    return list(zip(starts, [*ends, OPEN_END], strict=True)) if starts else []


def blocks_with(store: Store, project_id: int, task_ids: Iterable[int]) -> list[tuple[int, int]]:
    """The blocks in which these tasks lie, in order."""
    blocks = blocks_of(store, project_id)
    starts = [lo for lo, _ in blocks]
    return [blocks[index] for index in sorted({bisect_right(starts, task_id) - 1 for task_id in task_ids})]
