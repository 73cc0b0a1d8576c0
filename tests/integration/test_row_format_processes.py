"""CSV, JSONL, Parquet, Hugging Face and Label Studio tasks are the same bytes from one process and from several."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from labelloop.datasets import PART_TASKS

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from row_exports import TEXTS, choice, exported, span, task

pytestmark = pytest.mark.integration


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "huggingface", "label_studio"])
def test_the_number_of_processes_changes_nothing(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync.formats.parts.PartRunner.SMALL", 0)
    text = "Ada met =Bo"
    tasks = [
        task(
            n,
            {"text": text, f"k{n % 3}": n},
            [span(text, 0, 3, "zebra", "a,b"), choice("topic", "=ant")] if n % 5 else [],
        )
        for n in range(1, 3 * PART_TASKS)
    ]
    tasks[1500]["annotations"][0]["result"].append({"id": "broken", "type": "labels", "from_name": "span", "value": 3})
    one, first = exported(tmp_path / "one", format, tasks, TEXTS, train_share=0.8, test_share=0.1)
    two, second = exported(tmp_path / "two", format, tasks, TEXTS, train_share=0.8, test_share=0.1, workers=2)
    assert digests(one) == digests(two)
    assert (first.items, first.objects, first.n_skipped) == (second.items, second.objects, second.n_skipped)
    assert first.items == 3 * PART_TASKS - 1
