"""The formats by name; a module is imported when its format is first used."""

from __future__ import annotations

from importlib import import_module

from labelloop.errors import UsageError
from sync.formats.format import Format

#: name -> module with the constant FORMAT
MODULES = {
    "coco": "sync.formats.coco",
    "voc": "sync.formats.voc",
    "yolo": "sync.formats.yolo",
    "spacy": "sync.formats.spacy_docbin",
    "huggingface": "sync.formats.huggingface_parquet",
    "csv": "sync.formats.csv_table",
    "jsonl": "sync.formats.json_lines",
    "conll": "sync.formats.conll",
    "parquet": "sync.formats.parquet_tables",
    "label_studio": "sync.formats.label_studio_tasks",
}


def load_format(name: str) -> Format:
    """The format of that name; UsageError lists those there are."""
    if name not in MODULES:
        raise UsageError(f"expected one of {sorted(MODULES)} as the format, got {name!r}")
    found = import_module(MODULES[name]).FORMAT
    if not isinstance(found, Format):
        raise TypeError(f"{MODULES[name]}.FORMAT is no Format")
    return found
