"""How long a pass of the review workflow takes over all tasks, and over those of which labels changed."""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._changed_agreement import fill_store, revision, write
from benchmarks._comparison import at_most
from labelloop.settings import ServiceSettings, Settings
from sync.reviewing import review_pass, review_report
from sync.runtime import Runtime

_EACH = 2
#: At most so many seconds for each task of a first pass, and for one after CHANGED labels.
A_TASK, AFTER_CHANGES = 0.001, 2.0
CHANGED = 100


class _Tasks:
    """Stands for Label Studio, which the passes ask for tasks that need one more person; it knows none."""

    def tasks_by_id(self, project_id: int, task_ids: Sequence[int]) -> list[Any]:
        return []


def review_rows(tasks: int) -> list[dict[str, Any]]:
    """A first pass over tasks with two labels each, one after some labels changed, and a report; without tabs."""
    with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as folder:
        runtime = Runtime(Settings(services=ServiceSettings(data=Path(folder))))
        runtime.__dict__["client"] = _Tasks()
        source = random.Random(0)
        try:
            fill_store(runtime.store, tasks * _EACH, source, _EACH)
            project = runtime.store.find_project("1")
            began = time.perf_counter()
            first = review_pass(runtime, project, tabs=False)
            first_s = time.perf_counter() - began
            annotations = source.sample(range(tasks * _EACH), min(CHANGED, tasks * _EACH))
            write(runtime.store, [revision(each, 2, source, _EACH) for each in annotations])
            changed = sorted({each // _EACH for each in annotations})
            began = time.perf_counter()
            after = review_pass(runtime, project, changed, tabs=False)
            after_s = time.perf_counter() - began
            began = time.perf_counter()
            report = review_report(runtime, project)
            report_s = time.perf_counter() - began
            again = review_pass(runtime, project, tabs=False)
        finally:
            runtime.store.close()
    # Every task stands somewhere, nothing is decided twice, and only looking finds the same.
    judged = (first.stages.total(), after.stages.total(), report.stages.total()) == (tasks, len(changed), tasks)
    equal = judged and not again.decided and again.stages == report.stages
    told: dict[str, Any] = {"stages": dict(Counter(first.stages)), "decided": first.decided.total()}
    return [
        at_most(f"first review of {tasks} tasks, {tasks * _EACH} labels", first_s, A_TASK * tasks, equal=equal, **told),
        at_most(f"review after {CHANGED} changed labels of them", after_s, AFTER_CHANGES, equal=equal),
        at_most(f"report on {tasks} reviewed tasks", report_s, A_TASK * tasks, equal=equal),
    ]
