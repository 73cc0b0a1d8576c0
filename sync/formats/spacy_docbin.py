"""spaCy DocBin: train.spacy and dev.spacy with entities (`ner`), all spans ("sc"), or categories (`textcat`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from labelloop.datasets import Dataset
from labelloop.errors import DataError
from labelloop.label_config import Control, LabelConfig
from sync.formats.offsets import span_offsets
from sync.formats.report import Written
from sync.formats.source import ExportOptions, Item, items_of, part_of

FILES = {"train": "train.spacy", "dev": "dev.spacy"}
TASKS = {"ner": "Labels", "textcat": "Choices"}
SPANS_KEY = "sc"
LOSSES = {
    "ner": (
        "annotations of other people than the one that counts as truth",
        "relations and everything that is no labelled span",
        "white space at the ends of a span is cut off",
        "a span that cuts a token of spaCy's English tokenizer is left out and named in skipped",
        f'of overlapping spans doc.ents keeps the longest; doc.spans["{SPANS_KEY}"] keeps all',
    ),
    "textcat": (
        "annotations of other people than the one that counts as truth",
        "everything but the choices of the first <Choices> tag",
    ),
}


def write_spacy(dataset: Dataset, folder: Path, options: ExportOptions) -> Written:
    """Write train.spacy and dev.spacy; needs spaCy. DataError when the label config does not fit the task."""
    task, control = _task(dataset.label_config, options.task)
    spacy, bins = _libraries()
    nlp = spacy.blank("en")
    fill: Callable[[Any, Item, Control, list[tuple[int, str]]], int] = _entities if task == "ner" else _categories
    found = {part: bins() for part in FILES}
    skipped: list[tuple[int, str]] = []
    counts = {part: 0 for part in FILES}
    objects = 0
    for item in items_of(dataset):
        text = item.data.get(control.data_key)
        if not isinstance(text, str) or not text.strip():
            skipped.append((item.task_id, f"text_missing: no text under {control.data_key!r}"))
            continue
        doc = nlp.make_doc(text)
        objects += fill(doc, item, control, skipped)
        doc.user_data["labelloop"] = _provenance(item)
        part = part_of(item.group_key, options.train_share)
        found[part].add(doc)
        counts[part] += 1
    for part, name in FILES.items():
        found[part].to_disk(folder / name)
    extra = {"task": task, "control": control.name, "labels": list(control.classes), "parts": counts, "language": "en"}
    return Written(sum(counts.values()), objects, tuple(skipped), LOSSES[task], tuple(FILES.values()), extra)


def count_spacy(folder: Path) -> tuple[int, int]:
    """(documents, spans or chosen categories) as they lie on the disk."""
    spacy, bins = _libraries()
    vocab = spacy.blank("en").vocab
    docs = [doc for name in FILES.values() for doc in bins().from_disk(folder / name).get_docs(vocab)]
    spans = sum(len(doc.spans[SPANS_KEY]) for doc in docs if SPANS_KEY in doc.spans)
    return len(docs), spans + sum(int(score) for doc in docs for score in doc.cats.values())


def _libraries() -> tuple[Any, Callable[[], Any]]:
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError as error:
        raise DataError("the format spacy needs spaCy; install labelloop[spacy]") from error
    return spacy, lambda: DocBin(store_user_data=True)


def _task(config: LabelConfig, wanted: str | None) -> tuple[str, Control]:
    if wanted is not None and wanted not in TASKS:
        raise DataError(f"expected one of {list(TASKS)} as the task of a spaCy export, got {wanted!r}")
    for task in [wanted] if wanted else TASKS:
        for control in config.controls:
            if control.tag == TASKS[task] and control.object_tag == "Text":
                return task, control
    raise DataError("spaCy needs <Labels> or <Choices> on a <Text> in the label config; choose another format")


def _entities(doc: Any, item: Item, control: Control, skipped: list[tuple[int, str]]) -> int:
    from spacy.util import filter_spans

    spans = []
    for region in item.result:
        value = region.get("value") or {}
        if region.get("from_name") != control.name:
            skipped.append((item.task_id, f"region {region.get('id')}: {region.get('type')} is no labelled span"))
            continue
        offsets = span_offsets(doc.text, value)
        if isinstance(offsets, str):
            skipped.append((item.task_id, f"region {region.get('id')}: {offsets}"))
            continue
        start, end = _trimmed(doc.text, *offsets)
        for label in value.get(control.value_key) or []:
            span = doc.char_span(start, end, label=label) if start < end else None
            if span is None:
                skipped.append((item.task_id, f"region {region.get('id')}: misaligned: {start}:{end} cuts a token"))
            else:
                spans.append(span)
    doc.spans[SPANS_KEY] = spans
    doc.set_ents(filter_spans(spans), default="outside")
    return len(spans)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    inside = text[start:end]
    return start + len(inside) - len(inside.lstrip()), end - len(inside) + len(inside.rstrip())


def _categories(doc: Any, item: Item, control: Control, skipped: list[tuple[int, str]]) -> int:
    chosen: set[str] = set()
    for region in item.result:
        if region.get("from_name") != control.name:
            skipped.append((item.task_id, f"region {region.get('id')}: not a choice of {control.name!r}"))
            continue
        for label in (region.get("value") or {}).get(control.value_key) or []:
            if label in control.classes:
                chosen.add(label)
            else:
                skipped.append((item.task_id, f"region {region.get('id')}: class {label!r} is not in the label config"))
    doc.cats = {label: float(label in chosen) for label in control.classes}
    return len(chosen)


def _provenance(item: Item) -> dict[str, Any]:
    return {
        "task": item.task_id,
        "annotation": item.annotation_id,
        "annotator": item.annotator,
        "at": item.at.isoformat(),
        "rev_hash": item.rev_hash,
        "shown_serving_id": item.shown_serving_id,
        "split": item.split,
    }
