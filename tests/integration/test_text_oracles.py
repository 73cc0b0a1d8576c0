"""spaCy's own commands take what is exported: `convert` reads the columns, `debug data` and `train` the DocBin files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.cli.init_config import init_config
from spacy.tokens import DocBin

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from text_exports import ENTITIES, choice, exported, sentences_of, span, task

pytestmark = pytest.mark.integration

NAMES, PLACES = ("Ada Lovelace", "Bo", "\u592a\u90ce", "Zo\u0065\u0308"), ("New York", "\u6771\u4eac", "Lima", "Oslo")


def entity_tasks(count: int) -> list[dict[str, Any]]:
    """Texts with emoji, combining marks, ideographs and a tab; a quarter has no entity."""
    found = []
    for number in range(1, count + 1):
        name, place = NAMES[number % 4], PLACES[number // 4 % 4]
        text = f"\U0001f600 {number}: {name} met\tsomebody in {place} . They left. It rained"
        regions = [span(text, name), span(text, place, "LOC")] if number % 4 else []
        found.append(task(number, text, *regions))
    return found


def marks(made: dict[str, Any]) -> list[tuple[str, str]]:
    """(text without white space, class) of the entities of a task."""
    values = [region["value"] for region in made["annotations"][0]["result"]]
    return [("".join(value["text"].split()), value["labels"][0]) for value in values]


def spacy_command(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "spacy", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_spacy_converts_the_columns_with_every_entity(tmp_path: Path) -> None:
    tasks = entity_tasks(200)
    out, report = exported(tmp_path, "conll", tasks, share=0.5)
    total = 0
    for split, count in report.splits.items():
        said = spacy_command("convert", out / f"{split}.conll", tmp_path, "-c", "conll")
        assert f"({count} documents)" in said
        docs = list(DocBin().from_disk(tmp_path / f"{split}.spacy").get_docs(spacy.blank("xx").vocab))
        documents = sentences_of(out / f"{split}.conll")
        assert [len(doc) for doc in docs] == [sum(map(len, document)) for document in documents]
        assert [len(list(doc.sents)) for doc in docs] == [len(document) for document in documents]
        sides = [json.loads(line) for line in (out / f"{split}.texts.jsonl").read_text().splitlines()]
        expected = [marks(tasks[side["task"] - 1]) for side in sides]
        # convert knows no white space, and puts a space between all tokens
        assert [[(ent.text.replace(" ", ""), ent.label_) for ent in doc.ents] for doc in docs] == expected
        total += sum(map(len, expected))
    assert (report.items, report.objects) == (200, 300)
    assert total == 300


@pytest.mark.parametrize("variant", ["ner", "spancat", "textcat", "textcat_multilabel"])
def test_spacy_debugs_the_files_and_trains_on_them(variant: str, tmp_path: Path) -> None:
    config, tasks, more = ENTITIES, entity_tasks(400), {"alignment": "expand"}
    if variant.startswith("textcat"):
        topics = ("sport", "money")
        tasks = [task(n, f"{topics[n % 2]} of day {n}", choice(topics[n % 2])) for n in range(1, 401)]
        more = {}
    if variant == "textcat_multilabel":
        config = config.replace('name="topic"', 'name="topic" choice="multiple"')
    out, report = exported(
        tmp_path, "spacy", tasks, config, variant=variant.removesuffix("_multilabel"), share=0.7, **more
    )
    assert json.loads(Path(report.manifest).read_text())["component"] == variant
    init_config(lang="en", pipeline=[variant]).to_disk(tmp_path / "config.cfg")
    paths = ("--paths.train", out / "train.spacy", "--paths.dev", out / "dev.spacy")
    said = spacy_command("debug", "data", tmp_path / "config.cfg", *paths)
    assert re.search(rf"{report.splits['train']} training docs", said)
    assert re.search(rf"{report.splits['val']} evaluation docs", said)
    assert "\u2718" not in said, said  # the mark of an error
    if variant == "ner":
        quick = ("--training.max_steps", 20, "--training.eval_frequency", 20, "--output", tmp_path / "model")
        said = spacy_command("train", tmp_path / "config.cfg", *paths, *quick)
        assert (tmp_path / "model" / "model-last" / "config.cfg").exists(), said
