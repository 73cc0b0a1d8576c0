"""`labelloop demo`: the whole loop on one machine, stage by stage, and what it must have shown."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from labelloop.demo.checks import wait_for
from labelloop.demo.commands import CommandLine
from labelloop.demo.crowd import Crowd
from labelloop.demo.measuring import ProjectRun, order_of, summarise
from labelloop.demo.projects import PROJECTS, SOURCES, DemoProject, controls_of, make_input, write_settings
from labelloop.demo.reading_back import read_back
from labelloop.demo.screen import Screen
from labelloop.errors import ServiceError, UsageError
from labelloop.label_studio import LabelStudio
from labelloop.services.local import ALL_SERVICES, BACKENDS, LocalRun, up
from labelloop.services.state import read_state
from labelloop.services.supervisor import interrupted_by_terminate
from labelloop.settings import ServiceSettings
from labelloop.store import open_store
from labelloop.store.promotions import unserved
from labelloop.store.trainings import running_training

#: A person who holds a task this long may see its suggestion retired; long enough for anyone who looks around.
DEMO_LOCK_TTL_S = 1800
STAGE_TIMEOUT_S = 1500.0
#: First servings that the order is compared on; a few more are labelled, in case one has lost its prediction.
ORDER_SERVINGS, ORDER_SPARE = 50, 4


@dataclass
class DemoOptions:
    """What a shorter run, or one that must fail, changes."""

    projects: tuple[DemoProject, ...] = PROJECTS
    shuffled: bool = False
    pace: float = 0.05
    envs: Path | None = None
    label_studio_program: Path | None = None
    order_servings: int = ORDER_SERVINGS
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Demo:
    """One demo while its services run."""

    running: LocalRun
    folder: Path
    options: DemoOptions
    screen: Screen
    runs: dict[str, ProjectRun] = field(default_factory=dict)

    def __post_init__(self) -> None:
        services = self.running.services
        self.client = LabelStudio(services.label_studio_url, services.token())
        self.store = open_store(services.database)
        self.settings_file = self.folder / "labelloop.yaml"
        self.command = CommandLine(services, self.settings_file)
        self.crowd = Crowd(
            services.label_studio_url,
            self.folder / "truth.json",
            self.folder / "people",
            pace=self.options.pace,
            run=self.running.supervisor.run,
        )

    # -- the stages -----------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Three projects from templates, with their input and the first order."""
        write_settings(self.options.projects, self.settings_file)
        for project in self.options.projects:
            made = int(self.command("project", "create", project.title)["project"])
            config = self.client.get_project(made)["label_config"]
            self.runs[project.task_type] = ProjectRun(controls_of(project, config), made)
        projects = tuple(run.project for run in self.runs.values())
        make_input(projects, self.folder, shuffled=self.options.shuffled)
        for run in self.runs.values():
            self.screen.say(f"{run.project.title}: bringing in its {run.project.count} tasks")
            self.command("ingest", str(run.project_id), str(self.folder / SOURCES[run.project.task_type]))

    def label(self) -> None:
        """People label until each project has its goal, while the loop trains, promotes and reorders."""
        for run in self.runs.values():
            self.command("train", str(run.project_id), "--resume")
            self._reconcile(run)
        self.crowd.tell_all(quota={})
        self.crowd.start()
        waiting = set(self.runs)

        def step() -> bool:
            self._check_health()
            for name in sorted(waiting):
                if self._training_labels(self.runs[name]) >= self.runs[name].project.goal:
                    waiting.discard(name)
            quota = {run.project.title: 0 for name, run in self.runs.items() if name not in waiting}
            self.crowd.tell_all(quota=quota)
            self._show()
            return not waiting

        self._wait(step, "people to reach the goal of every project")
        self.crowd.tell_all(pause=True)

    def label_until(self, run: ProjectRun, count: int) -> None:
        """People label until one project has so many training labels; then they pause."""

        def reached() -> bool:
            self._check_health()
            self._show()
            return self._training_labels(run) >= count

        self.crowd.tell_all(quota={})
        self._wait(reached, f"{count} labels of {run.project.title}")
        self.crowd.tell_all(pause=True)

    def settle(self) -> None:
        """Wait until every training is over and what it earned is served."""

        def settled() -> bool:
            self._check_health()
            self._show()
            return all(self._settled(run) for run in self.runs.values())

        def nothing_new() -> bool:
            if not settled():
                return False
            for run in self.runs.values():
                self._reconcile(run)
            return settled()

        self._wait(nothing_new, "trainings and promotions to end")

    def compare_order(self) -> None:
        """Trainings paused, one person takes the next tasks of every project: the order served is written down."""
        name = self.crowd.names[0]
        for run in self.runs.values():
            self.command("train", str(run.project_id), "--pause")
            run.paused_at = datetime.now(UTC)
        before = len(self.crowd.servings(name))
        titles = [run.project.title for run in self.runs.values() if not self._known_order(run)]
        others = {run.project.title: 0 for run in self.runs.values() if run.project.title not in titles}

        def step() -> bool:
            self._check_health()
            served = self.crowd.servings(name)[before:]
            firsts = {t: sum(1 for row in served if row["project"] == t and row["first_serving"]) for t in titles}
            full = {title: 0 for title, count in firsts.items() if count >= self.options.order_servings + ORDER_SPARE}
            self.crowd.tell(name, quota=full | others, pace=0.0)
            self._show()
            return len(full) == len(titles)

        self._wait(step, "the order of the next tasks to be compared")
        self.crowd.tell_all(pause=True)
        for run in self.runs.values():
            if run.project.title in titles:
                served = [row for row in self.crowd.servings(name)[before:] if row["project"] == run.project.title]
                run.order = order_of(served, read_back(self.client, run.project_id), self.options.order_servings)
                self._order_file(run).write_bytes(orjson.dumps(run.order))

    def _order_file(self, run: ProjectRun) -> Path:
        return self.folder / f"order-{run.project.task_type}.json"

    def _known_order(self, run: ProjectRun) -> bool:
        """Whether too few tasks are left to compare on; then an earlier run's comparison stands."""
        left = len(read_back(self.client, run.project_id).unlabelled)
        if left > self.options.order_servings + ORDER_SPARE or not self._order_file(run).is_file():
            return False
        run.order = orjson.loads(self._order_file(run).read_bytes())
        return True

    def report(self, started: float) -> dict[str, Any]:
        """Reconcile, measure agreement, export, evaluate; the summary."""
        self.crowd.stop()
        for run in self.runs.values():
            self._reconcile(run)
        self.screen.say("agreement, export and evaluation of every project")
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda run: run.measure(self.command, self.folder / "exports"), self.runs.values()))
        summary = summarise(
            list(self.runs.values()), self.store, self.client, self.running, started, self.screen.seconds
        )
        path = self.running.services.data / "demo-summary.json"
        partial = path.with_suffix(".part")
        partial.write_bytes(orjson.dumps(summary, option=orjson.OPT_INDENT_2))
        partial.replace(path)
        return summary

    # -- what the stages share --------------------------------------------------------------------------------------

    def _reconcile(self, run: ProjectRun) -> None:
        """`labelloop sync`, once the worker that may be at it is done."""

        def done() -> bool:
            try:
                self.command("sync", str(run.project_id))
            except ServiceError as error:
                if "at this moment" not in str(error):
                    raise
                return False
            return True

        self._wait(done, f"{run.project.title} to be reconciled")

    def _check_health(self) -> None:
        self.running.supervisor.raise_failure()
        self.crowd.check()

    def _training_labels(self, run: ProjectRun) -> int:
        return len(self.store.labels(run.project_id, ("pool", "blind")))

    def _settled(self, run: ProjectRun) -> bool:
        return running_training(self.store, run.project_id) is None and not unserved(self.store, run.project_id)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition to hold; ServiceError names what did not happen in time."""
        if not wait_for(condition, STAGE_TIMEOUT_S, time.sleep):
            raise ServiceError(
                f"waited {STAGE_TIMEOUT_S / 60:.0f} minutes for {what}; see the logs in {self.running.services.data}/logs"
            )

    def _show(self) -> None:
        for run in self.runs.values():
            served = self.store.served(run.project_id)
            training = running_training(self.store, run.project_id)
            pending = unserved(self.store, run.project_id)
            state = "training" if training else "promoting" if pending else "labelling"
            self.screen.project(
                run.project.title,
                labels=self._training_labels(run),
                goal=run.project.goal,
                version=served.model_version if served else "-",
                state=state,
            )


@contextmanager
def started(services: ServiceSettings, options: DemoOptions, screen: Screen) -> Iterator[Demo]:
    """Every service of the demo running; on leaving, everything has ended."""
    settings = services.model_copy(update={"task_lock_ttl_s": DEMO_LOCK_TTL_S, "sweep_every_s": 45.0})
    idle = set(BACKENDS) - {project.backend for project in options.projects}
    with screen.stage("services"):
        running = up(
            settings,
            screen.say,
            names=[name for name in ALL_SERVICES if name not in idle],
            ports=options.ports,
            label_studio_program=options.label_studio_program,
            envs=options.envs,
        )
    with running:
        demo = Demo(running, running.services.data / "demo", options, screen)
        try:
            demo.folder.mkdir(parents=True, exist_ok=True)
            yield demo
        finally:
            demo.crowd.stop()
            demo.client.close()
            demo.store.close()


def play(demo: Demo, began: float) -> dict[str, Any]:
    """All stages; the summary."""
    screen = demo.screen
    with screen.stage("projects"):
        demo.set_up()
    with screen.stage("labelling"):
        demo.label()
    with screen.stage("settling"):
        demo.settle()
    with screen.stage("order"):
        demo.compare_order()
    with screen.stage("report"):
        return demo.report(began)


def run_demo(services: ServiceSettings, *, headless: bool, fresh: bool, options: DemoOptions | None = None) -> int:
    """Run the demo; 0 when every check holds. Without `headless` everything stays running until Ctrl-C."""
    began = time.monotonic()
    data = services.data.absolute()
    if fresh:
        if read_state(data) is not None:
            raise UsageError(f"a demo runs in {data}; stop it first (labelloop down, or Ctrl-C where it was started)")
        forget(data)
    screen = Screen(live=not headless)
    with suppress(KeyboardInterrupt), interrupted_by_terminate(), screen:
        with started(services, options or DemoOptions(), screen) as demo:
            summary = play(demo, began)
            screen.table(summary, demo.running)
            if not headless:
                screen.say("everything is left running; Ctrl-C stops it")
                stopped = threading.Event()
                while not stopped.wait(1.0):
                    demo.running.supervisor.raise_failure()
        return 0 if summary["ok"] else 1
    screen.say("stopped; nothing is left running")
    return 130


def forget(data: Path, keep: Sequence[str] = ("envs",)) -> None:
    """Remove an earlier demo's data; installed environments stay."""
    for entry in sorted(data.iterdir()) if data.is_dir() else []:
        if entry.name in keep:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
