"""`labelloop simulate` on datasets of several formats, with the models that a project would have."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from PIL import Image
from typer.testing import CliRunner

from labelloop.cli import app
from labelloop.demo.texts import generate_classification, generate_ner
from labelloop.errors import DataError, UsageError
from sync.simulating.replay import Plan, Replay
from sync.simulating.running import planned
from sync.simulating.sources import backend_for, format_of, prepare

pytestmark = pytest.mark.integration

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "simulate.schema.json"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Messages to a help desk, each with its topic."""
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([truth.text, truth.label] for truth in generate_classification(400, seed=5))
    return path


def simulated(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["simulate", *arguments, "--json"])
    assert result.exit_code == 0, result.output + str(result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    return found


def test_texts_by_every_kind_of_strategy(texts: Path, tmp_path: Path) -> None:
    names = ["hybrid", "committee", "class_balance"]
    found = simulated(
        str(texts), "--strategies", ",".join(names), "--seeds", "2", "--batch", "40", "--labels", "160", "--until", "100",
        "--plot", str(tmp_path / "curves.svg"),
    )  # fmt: skip
    assert list(found) == [*names, "random"]
    for each in found.values():
        labels = [point["labels"] for point in each["curve"]]
        assert each["seeds"] == 2 and (labels[0], labels[-1]) == (40, 160)
        assert 0.2 < each["curve"][0]["mean"] < each["curve"][-1]["mean"] <= each["full_score"] + 0.1
    assert "hybrid" in (tmp_path / "curves.svg").read_text()


def test_the_same_seed_is_the_same_run_and_no_label_of_the_test_part_is_learned(texts: Path, tmp_path: Path) -> None:
    prepared = prepare(texts, tmp_path)
    assert not set(prepared.pool) & set(prepared.test) and len(prepared.pool) + len(prepared.test) == 400
    assert not {prepared.groups[task] for task in prepared.pool} & {prepared.groups[task] for task in prepared.test}
    plan = planned(prepared, backend_for(prepared), batch=30, most=90)
    replay = Replay(prepared, plan, tmp_path)
    one, other = replay.run("hybrid", 3), Replay(prepared, plan, tmp_path).run("hybrid", 3)
    assert one == other and [labels for labels, _ in one.points] == [30, 60, 90]
    assert one != replay.run("hybrid", 4)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["converted.json", "converted.xml", "dataset", "version"]


def test_names_in_texts(tmp_path: Path) -> None:
    lines = []
    for truth in generate_ner(120, seed=3):
        at, tags = 0, []
        for word in truth.text.split(" "):
            inside = next((s for s in truth.spans if s[0] <= at < s[1]), None)
            tags.append(f"{word} " + ("O" if inside is None else ("B-" if inside[0] == at else "I-") + inside[2]))
            at += len(word) + 1
        lines.append("\n".join(tags))
    (tmp_path / "news.conll").write_text("\n\n".join(lines) + "\n")
    found = simulated(
        str(tmp_path / "news.conll"), "--strategies", "uncertainty", "--seeds", "1", "--batch", "40", "--labels", "80",
        "--epochs", "8", "--until", "100",
    )  # fmt: skip
    assert found["uncertainty"]["curve"][0]["labels"] == 40 and found["uncertainty"]["full_score"] > 0
    assert found["uncertainty"]["saving_vs_random"]["95"]["ci"] is None


def test_an_export_of_label_studio_needs_its_config(texts: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(texts.read_text().splitlines()))[:60]
    tasks = [
        {"id": n, "data": {"text": row["text"]}, "annotations": [{
            "id": n, "completed_by": 1, "was_cancelled": False, "ground_truth": False,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
            "result": [{"id": "r", "from_name": "c", "to_name": "text", "type": "choices",
                        "value": {"choices": [row["label"]]}}]}]}
        for n, row in enumerate(rows, start=1)
    ]  # fmt: skip
    names = sorted({row["label"] for row in rows})
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    (tmp_path / "config.xml").write_text(
        '<View><Text name="text" value="$text"/><Choices name="c" toName="text">'
        + "".join(f'<Choice value="{name}"/>' for name in names) + "</Choices></View>"
    )  # fmt: skip
    with pytest.raises(UsageError, match="--config"):
        prepare(tmp_path / "export.json", tmp_path / "a")
    (tmp_path / "b").mkdir()
    prepared = prepare(tmp_path / "export.json", tmp_path / "b", config=tmp_path / "config.xml")
    assert len(prepared.pool) + len(prepared.test) == 60 and backend_for(prepared) == "sklearn_text"


def test_images_with_boxes_and_their_own_test_part(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("val", 2), ("test", 3)):
        for kind in ("images", "labels"):
            (tmp_path / "set" / kind / split).mkdir(parents=True)
        for n in range(count):
            Image.effect_noise((64, 48), 20 + n).save(tmp_path / "set" / "images" / split / f"{split}{n}.png")
            (tmp_path / "set" / "labels" / split / f"{split}{n}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    yaml = "path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnames: {0: cell}\n"
    (tmp_path / "set" / "data.yaml").write_text(yaml)
    (tmp_path / "scratch").mkdir()
    prepared = prepare(tmp_path / "set", tmp_path / "scratch")
    assert backend_for(prepared) == "yolo" and len(prepared.test) == 3
    named = dict(prepared.dataset.tasks.select("task_id", "data").iter_rows())
    assert all("test" in named[task] for task in prepared.test)
    assert not any("test" in named[task] for task in prepared.pool) and len(prepared.pool) in (6, 8)


def test_images_in_folders_of_classes_and_in_a_table_are_learned_by_a_classifier(tmp_path: Path) -> None:
    rows = ["image,label"]
    for n in range(24):
        name = "dark" if n % 2 else "light"
        for folder in (tmp_path / "set" / name, tmp_path / "images"):
            folder.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((64, 64), 20 + n).point(lambda v, n=n: v // 2 if n % 2 else v).save(folder / f"{n}.png")
        rows.append(f"{n}.png,{name}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    assert format_of(tmp_path / "set") == "yolo"
    for number, (source, images) in enumerate([("set", None), ("labels.csv", tmp_path / "images")]):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        prepared = prepare(tmp_path / source, scratch, images=images, test_share=0.4)
        assert backend_for(prepared) == "yolo" and len(prepared.pool) + len(prepared.test) == 24
        replay = Replay(prepared, Plan("yolo", 8, 8, 8, epochs=1), scratch / "runs")
        (point,) = replay.run("uncertainty", 0).points
        assert point[0] == 8 and 0.0 <= point[1] <= 1.0


def test_what_cannot_be_simulated_says_why(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a labelled dataset"):
        format_of(tmp_path / "nothing.csv")
    (tmp_path / "odd.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match="--from"):
        format_of(tmp_path / "odd.bin")
    (tmp_path / "one.csv").write_text("text,label\nhello,a\n")
    with pytest.raises(DataError, match="both are needed"):
        prepare(tmp_path / "one.csv", tmp_path)
    result = CliRunner().invoke(app, ["simulate", str(tmp_path / "one.csv"), "--strategies", "best"])
    assert isinstance(result.exception, UsageError)


def test_a_command_that_is_killed_leaves_no_process_behind(texts: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "labelloop.cli", "simulate", str(texts), "--seeds", "20", "--workers", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        me, end = psutil.Process(process.pid), time.monotonic() + 120
        while not (runs := [child for child in me.children() if "spawn_main" in " ".join(child.cmdline())]):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.2)
        process.kill()
    gone, alive = psutil.wait_procs(runs, timeout=30)
    assert gone and not alive
