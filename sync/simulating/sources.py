"""A labelled dataset of any format as a folder to learn from, with a part for tests apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from labelloop.datasets import Dataset, read_dataset
from labelloop.errors import DataError, UsageError
from labelloop.label_config import read_label_config
from sync.folds import groups_of
from sync.formats.converting import converted
from sync.formats.freezing_exports import dataset_from_export
from sync.formats.yolo_classes import is_of_classes
from sync.freezing import lay_out
from sync.roles import salted_unit

#: What a file's ending says of its format.
_ENDINGS = {
    ".csv": "csv", ".tsv": "csv", ".conll": "conll", ".bio": "conll", ".iob": "conll", ".txt": "conll",
    ".jsonl": "jsonl", ".parquet": "parquet", ".spacy": "spacy", ".json": "coco",
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A materialised dataset folder; `pool` are the tasks that may be labelled, `test` those that only measure.

    Tasks of one of the `groups` show nearly the same; `left_out` could not be used.
    """

    folder: Path
    pool: tuple[int, ...]
    test: tuple[int, ...]
    groups: Mapping[int, int]
    left_out: int

    @property
    def dataset(self) -> Dataset:
        """The dataset, opened."""
        return read_dataset(self.folder)


def prepare(
    path: Path,
    scratch: Path,
    *,
    format: str | None = None,
    config: Path | None = None,
    task: str | None = None,
    images: Path | None = None,
    test_share: float = 0.2,
    progress: Callable[[float, str], None] | None = None,
) -> Prepared:
    """Read labelled data into `scratch`.

    What the data itself calls its test part is that, else its validation part, else a share of its groups of near
    duplicates, the same ones each time. UsageError for a format that can't be told; DataError where nothing is left to
    learn from, or to test by.
    """
    name = format or format_of(path)
    if config is not None and name in ("coco", "label_studio") and _is_export(path):
        made = dataset_from_export(path, config, scratch / "version", kinds=("human", "import"))
        fetch = None
    else:
        if name == "coco" and path.is_file() and _is_export(path):
            raise UsageError(f"{path} is an export of Label Studio; give its label config: --config config.xml")
        given = read_label_config(config) if config is not None else None
        found = converted(path, name, scratch, task=task, config=given, images=images, progress=progress)
        source = scratch / "converted.json", scratch / "converted.xml"
        made, fetch = dataset_from_export(*source, scratch / "version", kinds=("human", "import")), found.fetch
    folder, failed = lay_out(made, scratch / "dataset", fetch, lambda: None)
    dataset = read_dataset(folder)
    truths = {task_id for task_id, _, _ in dataset.truth("train")} - failed.keys()
    groups = groups_of(dataset)
    test = _told_test(dataset, truths) or {
        task_id for task_id in truths if salted_unit("simulate", "test", str(groups[task_id])) < test_share
    }
    pool = truths - test
    if not pool or not test:
        raise DataError(f"{path}: {len(pool)} tasks to learn from and {len(test)} to test by; both are needed")
    return Prepared(folder, tuple(sorted(pool)), tuple(sorted(test)), groups, len(failed))


def format_of(path: Path) -> str:
    """The format that a file or folder looks like; UsageError where that can't be told."""
    if not path.exists():
        raise UsageError(f"there is no {path}; expected a labelled dataset: CSV, CoNLL, COCO, YOLO, an export")
    if path.is_file():
        if path.suffix.lower() in _ENDINGS:
            return _ENDINGS[path.suffix.lower()]
    else:
        if any(path.glob("*.yaml")) or (path / "labels").is_dir():
            return "yolo"
        if any(path.glob("**/*.xml")):
            return "voc"
        for ending, name in _ENDINGS.items():
            if any(path.glob(f"*{ending}")) or (ending == ".json" and any(path.glob("annotations/*.json"))):
                return name
        if is_of_classes(path):
            return "yolo"
    raise UsageError(f"{path} does not tell its format; name it: --from csv, conll, coco, yolo ...")


def _is_export(path: Path) -> bool:
    """Whether a JSON file is a list, as exports of Label Studio are, and no object, as COCO's."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(200).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"["


def _told_test(dataset: Dataset, tasks: set[int]) -> set[int]:
    """The tasks that the data puts into its test part, else into its validation part."""
    by_split: dict[str, set[int]] = {}
    for task_id, meta in dataset.tasks.select("task_id", "meta").iter_rows():
        ours = (orjson.loads(meta) if meta else {}).get("labelloop")
        if isinstance(ours, dict) and task_id in tasks and isinstance(ours.get("split"), str):
            by_split.setdefault(ours["split"], set()).add(task_id)
    if not by_split.get("train"):
        return set()
    return by_split.get("test") or by_split.get("val") or set()


def backend_for(prepared: Prepared) -> str:
    """The backend that learns such labels; UsageError where none is known to."""
    tags = {(control.object_tag, control.tag) for control in prepared.dataset.label_config.controls}
    if any(tag == "Image" for tag, _ in tags):
        return "yolo"
    if ("Text", "Labels") in tags:
        return "spacy_nlp"
    if ("Text", "Choices") in tags:
        return "sklearn_text"
    raise UsageError("no backend is known to learn these labels; name one: --backend")
