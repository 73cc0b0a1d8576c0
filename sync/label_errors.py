"""Label errors of a project or an export: gathers what labels are judged by, and has them judged."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
from sqlalchemy import func, select

from labelloop.errors import NotReady
from labelloop.export_files import read_export
from labelloop.label_config import Control, LabelConfig, parse_label_config
from labelloop.progress import Counting, not_counted
from labelloop.store import ProjectRow, Store
from labelloop.store.signals import unpack
from labelloop.store.tables import outcomes, revisions, signals
from labelloop.task_items import Fetch
from qa.agreement import current_labels
from qa.issues import Label, error_report, labels_in_table
from qa.issues.classes import opinions
from qa.issues.report import Clues
from qa.issues.sets import chosen
from qa.kinds.kind import Kind
from qa.kinds.likeness import LIKENESS
from qa.kinds.registry import CLASS_KINDS, measurable
from sync.image_prints import image_prints
from sync.near_groups import near_groups, noted_print, shown_text, text_keys, text_print
from sync.out_of_fold import Example, SetExample, member_chances, text_chances
from sync.predictions_reading import Predictions, read_predictions
from sync.quality import labels_frame
from sync.runtime import Runtime

#: Roles of tasks that a model is judged by; all others are trained on.
_JUDGED_BY = ("holdout", "gold")


@dataclass(frozen=True)
class TaskFacts:
    """What is known of a task besides its labels."""

    data: Mapping[str, Any]
    split: str | None = None
    fingerprint: str | None = None


def errors_of_project(
    runtime: Runtime,
    project: ProjectRow,
    predictions: Path | Predictions | None = None,
    *,
    fetch: Fetch | None = None,
    count: Counting = not_counted,
) -> dict[str, Any]:
    """The report on a project's labels as they are in the store; `predictions` are a file, or were made already.

    With `fetch` images without a fingerprint are fetched, so that near duplicates are found among them.
    """
    store, config = runtime.store, parse_label_config(project.label_config)
    facts = {}
    for row in store.tasks(project.project_id):
        split = "judged by" if row.role in _JUDGED_BY else "trained on"
        facts[row.task_id] = TaskFacts(row.data, split, noted_print(row.meta))
    missing = _look_at_images(facts, config, fetch, count)
    given = _stored(store, project) if predictions is None else (_given(predictions), {})
    return errors_in(labels_frame(runtime, project), facts, config, *given, missing=missing)


def errors_of_file(
    file: Path,
    config: LabelConfig,
    predictions: Path | Predictions | None = None,
    *,
    fetch: Fetch | None = None,
    count: Counting = not_counted,
) -> dict[str, Any]:
    """The same on the labels of a JSON export; the split of a task is the text under "split" in its data."""
    export = read_export(file)
    facts = {}
    for task, raw in export.tasks.select("task_id", "data").iter_rows():
        data = orjson.loads(raw)
        split = data.get("split") if isinstance(data, dict) else None
        facts[task] = TaskFacts(data, split if isinstance(split, str) and split else None)
    missing = _look_at_images(facts, config, fetch, count)
    given = Predictions() if predictions is None else _given(predictions)
    return errors_in(export.with_data(export.labels), facts, config, given, missing=missing)


def _look_at_images(
    facts: dict[int, TaskFacts], config: LabelConfig, fetch: Fetch | None, count: Counting
) -> Counter[str]:
    """Give the tasks that show an image and have no fingerprint one; why some could not be given any."""
    bare = {task: each.data for task, each in facts.items() if each.fingerprint is None}
    if fetch is None or not config.has_media or not bare:
        return Counter()
    found, missing = image_prints(bare, config, fetch, count=count)
    facts.update({task: replace(facts[task], fingerprint=told) for task, told in found.items()})
    return missing


def _given(predictions: Path | Predictions) -> Predictions:
    return read_predictions(predictions) if isinstance(predictions, Path) else predictions


def errors_in(
    table: pl.DataFrame,
    facts: Mapping[int, TaskFacts],
    config: LabelConfig,
    predictions: Predictions,
    about: Mapping[int, Mapping[str, Any]] | None = None,
    *,
    missing: Counter[str] | None = None,
) -> dict[str, Any]:
    """The report on a label table; `about` is what is known of the predicted regions of a task.

    `missing` counts the images that could not be looked at, by reason.
    """
    labels = labels_in_table(current_labels(table)[0])
    skipped: list[tuple[str, str]] = []
    keys = text_keys(config)
    shown = {task: text for task, each in facts.items() if (text := shown_text(each.data, keys))}
    prints = {task: each.fingerprint or text_print(shown.get(task, "")) for task, each in facts.items()}
    groups = near_groups({task: told for task, told in prints.items() if told})
    if not any(each.fingerprint for each in facts.values()) and config.has_media:
        reason = "no fingerprints of images: --images makes them, `labelloop ingest` notes them in a project"
        skipped.append(("duplicates of images", reason))
    skipped += [("duplicates of images", f"{n} tasks: {reason}") for reason, n in (missing or Counter()).most_common()]
    vectors = {task: vector for task, vector in predictions.vectors.items() if task in facts}
    if len({len(vector) for vector in vectors.values()}) > 1:
        skipped.append(("outliers", "the embeddings are of several lengths"))
        vectors = {}
    if not vectors and not shown:
        skipped.append(("outliers", "no embeddings: --out-of-fold makes some of images, --predictions takes them"))
    if not any(each.split for each in facts.values()):
        skipped.append(("leakage", 'no task tells its split (in an export: "split" in its data)'))
    clues = Clues(
        chances=_chances(labels, config, predictions, groups, skipped),
        regions=predictions.regions,
        about=about or {},
        groups=groups,
        splits={task: each.split for task, each in facts.items() if each.split},
        vectors=vectors,
        texts=shown,
        skipped=skipped,
    )
    return error_report(labels, config, clues)


def _chances(
    labels: Sequence[Label],
    config: LabelConfig,
    predictions: Predictions,
    groups: Sequence[Sequence[int]],
    skipped: list[tuple[str, str]],
) -> dict[str, Mapping[int, Mapping[str, float]]]:
    """By control: the given probabilities, else those of texts out of fold."""
    group_of = {task: group[0] for group in groups for task in group}
    found: dict[str, Mapping[int, Mapping[str, float]]] = {}
    for control, kind in measurable(config):
        if kind.name not in CLASS_KINDS:
            continue
        given = predictions.chances.get(control.name) or {
            task: chances
            for task, chances in predictions.chances.get("", {}).items()
            if set(chances) & set(control.classes)
        }
        if given:
            found[control.name] = given
            continue
        if control.object_tag != "Text":
            reason = f"<{control.object_tag}> needs probabilities of a model that did not see the labels: --predictions"
            skipped.append((f"confident learning of {control.name}", reason))
            continue
        try:
            if kind.name == "sets":
                found[control.name] = member_chances(_set_examples(labels, control, kind, group_of))
            else:
                found[control.name] = text_chances(_examples(labels, control, kind, group_of))
        except NotReady as error:
            skipped.append((f"confident learning of {control.name}", str(error)))
    return found


def _examples(labels: Sequence[Label], control: Control, kind: Kind, group_of: Mapping[int, int]) -> list[Example]:
    said: dict[int, list[str]] = defaultdict(list)
    texts: dict[int, str] = {}
    for each in opinions(labels, control, kind):
        text = _text_of(each.label, control)
        if text is not None:
            texts[each.label.task] = text
            said[each.label.task].append(each.value)
    return [
        Example(task, texts[task], _usual(values), group_of.get(task, task)) for task, values in sorted(said.items())
    ]


def _set_examples(
    labels: Sequence[Label], control: Control, kind: Kind, group_of: Mapping[int, int]
) -> list[SetExample]:
    """Texts with the classes that at least half of those who labelled them gave."""
    said: dict[int, list[frozenset[str]]] = defaultdict(list)
    texts: dict[int, str] = {}
    for each in chosen(labels, control, kind):
        text = _text_of(each.label, control)
        if text is not None:
            texts[each.label.task] = text
            said[each.label.task].append(each.values)
    found = []
    for task, values in sorted(said.items()):
        votes = Counter(name for each in values for name in each)
        usual = frozenset(name for name, count in votes.items() if 2 * count >= len(values))
        found.append(SetExample(task, texts[task], usual, group_of.get(task, task)))
    return found


def _text_of(label: Label, control: Control) -> str | None:
    text = label.data.get(control.data_key)
    return text if isinstance(text, str) and text.strip() else None


def _usual(values: Sequence[str]) -> str:
    """What most said, the first by name among equals."""
    return min(Counter(values).items(), key=lambda each: (-each[1], each[0]))[0]


def _stored(store: Store, project: ProjectRow) -> tuple[Predictions, dict[int, dict[str, Any]]]:
    """What model versions said of tasks in the store, of each the last that was said before anybody labelled it.

    Such a version can't have learned from the task's labels. Of a task without any the regions of the latest are taken,
    and marked; probabilities are not. Embeddings are of one version and of all tasks, labelled or not: a label says
    nothing about whether a picture is unusual. Those of texts are not taken: their own words tell more.
    """
    config = parse_label_config(project.label_config)
    places = any(kind.name in LIKENESS for _, kind in measurable(config))
    images = any(each.object_tag == "Image" for each in (*config.controls, *config.answers))
    found, about = Predictions(), dict[int, dict[str, Any]]()
    fit: dict[int, str] = {}
    scope = store.scope(outcomes, project.project_id)
    first = select(revisions.c.task_id, func.min(revisions.c.created_at)).where(
        store.scope(revisions, project.project_id)
    )
    columns = (outcomes.c.task_id, outcomes.c.model_version, outcomes.c.created_at)
    with store.read() as connection:
        began = {task: at for task, at in connection.execute(first.group_by(revisions.c.task_id))}
        said = select(*columns).where(scope, outcomes.c.status == "ok").order_by(outcomes.c.created_at)
        last: dict[int, str] = {}
        spoke: dict[str, datetime] = {}
        for task, version, at in connection.execute(said):
            spoke[version] = at
            if task in began:
                last[task] = version
                if at < began[task]:
                    fit[task] = version
        chosen = {**last, **fit}
        if places:
            rows = select(outcomes.c.task_id, outcomes.c.model_version, outcomes.c.result).where(scope)
            rows = rows.where(outcomes.c.model_version.in_(sorted(set(chosen.values()))))
            for task, version, result in connection.execute(rows):
                if chosen.get(task) == version:
                    found.regions[task] = list(result)
                    about[task] = {"model_version": version, "may_know_the_label": task not in fit}
        vectors: dict[str, dict[int, Any]] = defaultdict(dict)
        for row in connection.execute(select(signals).where(store.scope(signals, project.project_id))):
            if row.probs and fit.get(row.task_id) == row.model_version:
                found.chances.setdefault(row.control, {})[row.task_id] = row.probs
            if row.embedding and images:
                vectors[row.model_version].setdefault(row.task_id, row.embedding)
    # Each version has a space of its own: the one is taken that knows the most tasks, the latest of equal ones.
    if vectors:
        version = max(vectors, key=lambda name: (len(vectors[name]), spoke.get(name, datetime.min.replace(tzinfo=UTC))))
        found.vectors.update({task: unpack(vector) for task, vector in vectors[version].items()})
    return found, about
