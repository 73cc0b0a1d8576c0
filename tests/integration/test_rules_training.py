"""Rules weighed on dataset versions: by labels, by agreement, with calibration only where there are labels enough."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml

from backends import rules
from backends.version_labels import ControlLabels, read_labels
from labelloop.datasets import write_dataset
from labelloop.errors import DataError, LeaseLost, NotReady
from labelloop.label_config import parse_label_config
from labelloop.values import Budget, Outcome, TaskItem

pytestmark = pytest.mark.integration

XML = """<View><Text name="text" value="$text"/>
<Choices name="topic" toName="text"><Choice value="a"/><Choice value="b"/><Choice value="c"/></Choices>
<Choices name="tags" toName="text" choice="multiple"><Choice value="hot"/><Choice value="rude"/></Choices>
<Labels name="names" toName="text"><Label value="PERSON"/><Label value="ORG"/></Labels></View>"""
WORDS = {"one": "a", "two": "a", "three": "b", "four": "b", "five": "c", "six": "c"}
#: Word -> how often the text is of the word's class where it is there; made by the generator below.
GOOD, POOR = ("one", "three", "five"), ("two", "four", "six")
Row = tuple[dict[str, Any], list[dict[str, Any]], str]


def quiet(share: float, message: str) -> None:
    assert 0.0 <= share <= 1.0 and message


def keyword(name: str, label: str, *words: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": 1, "kind": "keyword", "label": label, "keywords": list(words) or [name], **more}


def choice(labels: Sequence[str], control: str = "topic") -> dict[str, Any]:
    return {"from_name": control, "to_name": "text", "type": "choices", "value": {"choices": list(labels)}}


def person(start: int, end: int, label: str = "PERSON") -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [label]}
    return {"from_name": "names", "to_name": "text", "type": "labels", "value": value}


def rows_of(count: int, split: str, seed: int) -> list[Row]:
    """Texts of a class, with words that mean it: the good ones nearly always, the poor ones half of the time."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        label = rng.choice("abc")
        words = ["so"]
        for word, own in WORDS.items():
            wrong = 0.01 if word in GOOD else 0.2
            if rng.random() < (0.4 if label == own else wrong):
                words.append(word)
        rows.append(({"text": " ".join(words)}, [choice(label)], split))
    return rows


def dataset(folder: Path, rows: Sequence[Row], xml: str = XML) -> Path:
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    tasks = [
        {
            "task_id": number, "data": orjson.dumps(data).decode(), "group_key": str(number),
            "role": "holdout" if split == "holdout" else "pool", "split": split,
        }
        for number, (data, _, split) in enumerate(rows, start=1)
    ]  # fmt: skip
    labels = [
        {
            "task_id": number, "annotation_id": number, "annotator": 1, "at": at, "rev_hash": str(number), "lead_time_s": 1.0,
            "shown_serving_id": None, "is_truth": True, "result": orjson.dumps(result).decode(),
        }
        for number, (_, result, _) in enumerate(rows, start=1)
    ]  # fmt: skip
    write_dataset(folder, {"label_config": xml, "project": 1}, tasks, labels, None, at.isoformat())
    return folder


def version(folder: Path, control: str, *said: dict[str, Any], xml: str = XML, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = "spans" if control == "names" else "choices"
    body = {"version": 1, "control": control, "target": target, "rules": list(said), **more}
    (folder / "rules.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    rules.import_model([str(folder / "rules.yaml")], parse_label_config(xml), folder / "v1", allow_python=True)
    return folder / "v1"


def topic_rules(folder: Path, **more: Any) -> Path:
    return version(folder, "topic", *(keyword(word, label) for word, label in WORDS.items()), **more)


def fit(data: Path, out: Path, start: Path | None, seed: int = 0) -> dict[str, Any]:
    return dict(rules.trainer().fit(data, out, start=start, budget=Budget(seed=seed), progress=quiet).params)


def one_label(folder: Path) -> ControlLabels:
    (labels,) = read_labels(folder)
    return labels


def ask(folder: Path, *texts: str) -> list[Outcome]:
    return rules.load(folder).predict([TaskItem(at, {"text": text}) for at, text in enumerate(texts)])


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(dataset, version as declared, version learned from 900 labels); 300 tasks of holdout."""
    folder = tmp_path_factory.mktemp("rules")
    data = dataset(folder / "data", rows_of(900, "train", 1) + rows_of(300, "holdout", 2))
    start = topic_rules(folder)
    fit(data, folder / "v2", start)
    return data, start, folder / "v2"


def test_labels_tell_good_rules_from_poor_ones(learned: tuple[Path, Path, Path]) -> None:
    data, start, better = learned
    told = orjson.loads((better / "metrics.json").read_bytes())["controls"]["topic"]
    assert told["accuracies"] == "gold" and told["gold"] == 900
    accuracy = {name.partition(":")[0]: value for name, value in told["voters"].items()}
    assert min(accuracy[word] for word in GOOD) > 0.9 and max(accuracy[word] for word in POOR) < 0.65
    trainer = rules.trainer()
    before, after = trainer.evaluate(start, data), trainer.evaluate(better, data)
    assert after.name == "macro_f1" and after.n == after.n_objects == 300
    assert after.value > before.value + 0.02
    assert after.baseline is not None and after.value > after.baseline + 0.3
    assert 0.5 < after.extra["coverage/topic"] < 1.0
    assert set(after.extra) == {"f1/a", "f1/b", "f1/c", "coverage/topic"}
    assert trainer.headline(after.per_item) == after.value
    assert trainer.headline(random.Random(0).choices(after.per_item, k=300)) != after.value
    orjson.dumps(after.per_item)


def test_the_rules_themselves_do_not_change_and_are_traced(learned: tuple[Path, Path, Path]) -> None:
    _, start, better = learned
    assert (start / "model/0/rules.yaml").read_bytes() == (better / "model/0/rules.yaml").read_bytes()
    (good,), (poor,) = ask(better, "so one"), ask(better, "so two")
    assert good.fired_rules == ("one@1",) and poor.fired_rules == ("two@1",)
    assert (
        good.confidence is not None and poor.confidence is not None and good.confidence > 0.9 > 0.65 > poor.confidence
    )


def test_scores_mean_what_they_say_once_calibrated(learned: tuple[Path, Path, Path]) -> None:
    _, start, better = learned
    labels = one_label(better)
    assert labels.calibrated is True and labels.classes == ("a", "b", "c")
    assert one_label(start).calibrated is False
    held = rows_of(3000, "holdout", 9)
    outcomes = ask(better, *(str(row[0]["text"]) for row in held))
    scored = [
        (outcome.confidence, outcome.regions[0]["value"]["choices"] == row[1][0]["value"]["choices"])
        for outcome, row in zip(outcomes, held, strict=True)
        if outcome.confidence is not None
    ]
    scores, right = np.array([one[0] for one in scored]), np.array([one[1] for one in scored])
    edges = np.quantile(scores, [0.25, 0.5, 0.75])
    bins = np.digitize(scores, edges)
    error = sum(
        abs(scores[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean() for b in set(bins.tolist())
    )
    assert error < 0.05


def test_thresholds_hide_what_is_wrong_too_often(learned: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, _, better = learned
    poor = version(tmp_path, "topic", *(keyword(word, WORDS[word]) for word in POOR))
    fit(data, tmp_path / "v2", poor)
    (alone,) = ask(tmp_path / "v2", "so two")
    assert alone.confidence is not None and 0.4 < alone.confidence < one_label(tmp_path / "v2").show_threshold["a"]
    (good,) = ask(better, "so one")
    assert good.confidence is not None and good.confidence >= one_label(better).show_threshold["a"]


@pytest.mark.parametrize(("count", "rare", "calibrated"), [(400, 0, True), (150, 0, False), (400, 3, False)])
def test_calibration_is_claimed_only_with_labels_enough(
    count: int, rare: int, calibrated: bool, tmp_path: Path
) -> None:
    rows = [row for row in rows_of(count * 2, "train", 3) if not rare or row[1][0]["value"]["choices"] != ["c"]][:count]
    data = dataset(tmp_path / "data", rows + [({"text": "so five"}, [choice("c")], "train")] * rare)
    fit(data, tmp_path / "v2", topic_rules(tmp_path))
    assert one_label(tmp_path / "v2").calibrated is calibrated


def test_without_labels_agreement_weighs_the_rules(tmp_path: Path, learned: tuple[Path, Path, Path]) -> None:
    data, start, better = learned
    unlabelled = dataset(tmp_path / "data", [(row[0], [], "train") for row in rows_of(2500, "train", 5)])
    told = fit(unlabelled, tmp_path / "v2", start)["controls"]["topic"]
    assert told["accuracies"] == "agreement" and told["gold"] == 0
    accuracy = {name.partition(":")[0]: value for name, value in told["voters"].items()}
    assert min(accuracy[word] for word in GOOD) > max(accuracy[word] for word in POOR) + 0.15
    assert one_label(tmp_path / "v2").calibrated is False
    trainer = rules.trainer()
    assert trainer.evaluate(tmp_path / "v2", data).value > trainer.evaluate(start, data).value
    tasks = [TaskItem(at, row[0]) for at, row in enumerate(rows_of(2500, "train", 5))]
    again = rules.learn_from_tasks(start, tasks, tmp_path / "v3")
    assert again.params["controls"]["topic"]["voters"] == told["voters"]
    later = rules.learn_from_tasks(better, tasks, tmp_path / "v4")
    assert later.params["controls"]["topic"]["voters"] == told["voters"]


def test_fitting_is_the_same_for_the_same_seed(learned: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, start, better = learned
    for name in ("labels.json", "model/0/label_model.json", "metrics.json"):
        fit(data, tmp_path / name.replace("/", "-"), start)
        assert (tmp_path / name.replace("/", "-") / name).read_bytes() == (better / name).read_bytes()


def test_learning_again_begins_at_the_declared_accuracies(learned: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Otherwise the same labels would count again with every training."""
    data, _, better = learned
    fit(data, tmp_path / "v3", better)
    name = "model/0/label_model.json"
    assert (tmp_path / "v3" / name).read_bytes() == (better / name).read_bytes()


def test_several_choices_are_learned_each_by_itself(tmp_path: Path) -> None:
    rng, rows = random.Random(4), []
    for number in range(500):
        true = [name for name in ("hot", "rude") if rng.random() < 0.3]
        words = ["so", *(name for name in true if rng.random() < 0.8), *(["hm"] if rng.random() < 0.3 else [])]
        split = "holdout" if number % 4 == 0 else "train"
        rows.append(({"text": " ".join(words)}, [choice(true, "tags")] if true else [], split))
    data = dataset(tmp_path / "data", rows)
    start = version(tmp_path, "tags", keyword("hot", "hot"), keyword("rude", "rude"), keyword("hm", "rude"))
    told = fit(data, tmp_path / "v2", start)["controls"]["tags"]
    assert told["gold"] == 375  # a task without any of the choices says that none of them holds
    assert told["voters"]["hot: hot"] > 0.9 > 0.75 > told["voters"]["hm: rude"]
    metrics = rules.trainer().evaluate(tmp_path / "v2", data)
    assert metrics.value > 0.7 and metrics.baseline is not None and metrics.value > metrics.baseline
    (both,) = ask(tmp_path / "v2", "so hot rude")
    assert both.regions[0]["value"] == {"choices": ["hot", "rude"]}


def names_rows(count: int, split: str, seed: int) -> list[Row]:
    """Sentences with a name; "May" is a person's in one of five, and a month in the others."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        name = rng.choice(["Ada", "Bob", "May", "May"])
        month = name == "May" and rng.random() < 0.8
        text = f"🙂 in {name} 2020" if month else f"🙂 dear {name}, hello"
        start = text.index(name)
        rows.append(({"text": text}, [] if month else [person(start, start + len(name))], split))
    return rows


def test_spans_are_learned_and_measured_exactly(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", names_rows(500, "train", 1) + names_rows(100, "holdout", 2))
    start = version(tmp_path, "names", keyword("first", "PERSON", "Ada", "Bob"), keyword("month", "PERSON", "May"))
    told = fit(data, tmp_path / "v2", start)["controls"]["names"]
    assert told["voters"]["first: PERSON"] > 0.95 and told["voters"]["month: PERSON"] < 0.35
    trainer = rules.trainer()
    before, after = trainer.evaluate(start, data), trainer.evaluate(tmp_path / "v2", data)
    assert after.name == "entity_f1" and after.n == 100 and 0 < after.n_objects < 100
    assert after.value > before.value and after.value > 0.85
    assert after.baseline is not None and after.baseline < after.value
    labels = one_label(tmp_path / "v2")
    assert labels.type == "labels" and labels.calibrated is True
    sure, unsure = ask(tmp_path / "v2", "🙂 dear Ada, hello", "🙂 in May 2020")
    assert sure.regions[0]["value"]["text"] == "Ada" and unsure.regions == ()
    assert unsure.fired_rules == ("month@1",)


def test_two_controls_are_learned_together_and_a_task_may_have_truth_for_one_only(tmp_path: Path) -> None:
    topics = rows_of(200, "train", 1) + rows_of(50, "holdout", 2)
    data = dataset(tmp_path / "data", topics + names_rows(200, "train", 3) + names_rows(50, "holdout", 4))
    sources = []
    for control, said in (
        ("topic", [keyword(w, c) for w, c in WORDS.items()]),
        ("names", [keyword("n", "PERSON", "Ada")]),
    ):
        version(tmp_path / control, control, *said)
        sources.append(str(tmp_path / control / "rules.yaml"))
    rules.import_model(sources, parse_label_config(XML), tmp_path / "v1")
    told = fit(data, tmp_path / "v2", tmp_path / "v1")["controls"]
    assert told["topic"]["gold"] == 200 and told["names"]["gold"] == 400
    metrics = rules.trainer().evaluate(tmp_path / "v2", data)
    assert metrics.name == "mean_f1" and metrics.n == 100
    assert rules.trainer().headline(metrics.per_item) == metrics.value
    assert {"f1/topic/a", "f1/names/PERSON", "coverage/topic", "coverage/names"} <= set(metrics.extra)


def test_functions_stay_allowed_in_what_is_learned(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text("def f(task):\n    return 'a' if 'one' in task.data['text'] else None\n")
    python = {"name": "f", "version": 1, "kind": "python", "function": "f"}
    start = version(tmp_path, "topic", python, functions="functions.py")
    rows = [*rows_of(60, "train", 1), ({"other": 1}, [choice("a")], "train")]
    told = fit(dataset(tmp_path / "data", rows), tmp_path / "v2", start)["controls"]["topic"]
    assert told["errors"] == {"f@1": 1}
    assert ask(tmp_path / "v2", "one")[0].fired_rules == ("f@1",)
    (tmp_path / "v2/model/0/functions.py").write_text("def f(task): return 'b'\n")
    with pytest.raises(DataError, match="is not the code that was allowed"):
        rules.load(tmp_path / "v2")


def test_what_cannot_be_learned_is_said(learned: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, start, _ = learned
    with pytest.raises(NotReady, match="write a rule file"):
        fit(data, tmp_path / "v2", None)
    silent = dataset(tmp_path / "silent", [({"text": "nothing"}, [choice("a")], "train")])
    with pytest.raises(NotReady, match="no rule fires"):
        fit(silent, tmp_path / "v2", start)
    renamed = dataset(tmp_path / "renamed", rows_of(5, "train", 1), XML.replace('"a"', '"aa"'))
    with pytest.raises(DataError, match="label 'a' is no class of control 'topic'; did you mean 'aa'"):
        fit(renamed, tmp_path / "v2", start)
    gone = dataset(tmp_path / "gone", rows_of(5, "train", 1), XML.replace('"topic"', '"subject"'))
    with pytest.raises(DataError, match="no control 'topic' any more"):
        fit(gone, tmp_path / "v2", start)


def test_a_lost_lease_stops_the_asking(learned: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, start, _ = learned
    shares: list[float] = []

    def lost(share: float, message: str) -> None:
        shares.append(share)
        if share > 0.3:
            raise LeaseLost("taken over")

    with pytest.raises(LeaseLost):
        rules.trainer().fit(data, tmp_path / "v2", start=start, budget=Budget(), progress=lost)
    assert len(shares) > 2 and shares == sorted(shares) and shares[-1] < 0.9
    assert not (tmp_path / "v2").exists()


def test_b5_a_class_without_any_label_shifts_no_other(tmp_path: Path) -> None:
    rows = [row for row in rows_of(300, "train", 1) if row[1][0]["value"]["choices"] != ["b"]]
    fit(dataset(tmp_path / "data", rows), tmp_path / "v2", topic_rules(tmp_path))
    said = [outcome.regions[0]["value"]["choices"] for outcome in ask(tmp_path / "v2", "so one", "so five")]
    assert said == [["a"], ["c"]]


def test_few_labels_are_enough_to_begin(tmp_path: Path) -> None:
    start = topic_rules(tmp_path)
    for count in (1, 4, 12):
        data = dataset(tmp_path / f"d{count}", [({"text": "so one"}, [choice("a")], "train")] * count)
        fit(data, tmp_path / f"v{count}x", start)
        labels = one_label(tmp_path / f"v{count}x")
        assert labels.calibrated is False and labels.show_threshold == {"a": 0.3, "b": 0.3, "c": 0.3}
    (outcome,) = ask(tmp_path / "v12x", "so one")
    assert outcome.confidence is not None and outcome.confidence > 0.85
