"""The formats by name: what writes each, and what reads it back; a module is imported when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from labelloop.errors import UsageError
from sync.formats.format import Format

if TYPE_CHECKING:
    from sync.formats.reading import Labelled

#: name -> module with the constant FORMAT, and where the function is that opens such files for reading
MODULES = {
    "coco": ("sync.formats.coco", "sync.formats.coco_reading", "read_coco"),
    "voc": ("sync.formats.voc", "sync.formats.voc_reading", "read_voc"),
    "yolo": ("sync.formats.yolo", "sync.formats.yolo_reading", "read_yolo"),
    "spacy": ("sync.formats.spacy_docbin", "sync.formats.docbin_reading", "read_docbins"),
    "huggingface": ("sync.formats.huggingface_parquet", "sync.formats.huggingface_reading", "read_huggingface"),
    "csv": ("sync.formats.csv_table", "sync.formats.csv_reading", "read_csv"),
    "conll": ("sync.formats.conll", "sync.formats.conll_reading", "read_conll"),
    "parquet": ("sync.formats.parquet_tables", "sync.formats.parquet_reading", "read_parquet"),
    "jsonl": ("sync.formats.json_lines", "sync.formats.json_lines", "read_jsonl"),
    "label_studio": ("sync.formats.label_studio_tasks", "sync.formats.label_studio_tasks", "read_label_studio"),
}


def load_format(name: str) -> Format:
    """The format of that name; UsageError lists those there are."""
    found = import_module(_known(name)[0]).FORMAT
    if not isinstance(found, Format):
        raise TypeError(f"{MODULES[name][0]}.FORMAT is no Format")
    return found


def load_reader(name: str) -> Callable[..., Labelled]:
    """What opens files of that format; see sync/formats/reading.py."""
    _, module, function = _known(name)
    reader: Callable[..., Labelled] = getattr(import_module(module), function)
    return reader


def _known(name: str) -> tuple[str, str, str]:
    if name not in MODULES:
        raise UsageError(f"expected one of {sorted(MODULES)} as the format, got {name!r}")
    return MODULES[name]
