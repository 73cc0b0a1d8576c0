"""spaCy DocBin: train.spacy, dev.spacy and test.spacy with entities (`ner`), spans (`spancat`) or categories (`textcat`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from labelloop.errors import DataError
from labelloop.values import Region
from sync.formats.docbin_files import SPANS_KEY, add_document, count_docbins, docbin_bytes, join_docbins, runs_of
from sync.formats.examples import SPLITS, Example, labels_of
from sync.formats.format import Format, Joined, Part, PartDone, Plan, fragments
from sync.formats.format_options import chosen_options
from sync.formats.texts import (
    ALL,
    Notes,
    TextLayer,
    controls_on_texts,
    notes_of,
    span_classes,
    spans_of,
    text_controls,
    texts_of,
)

TASKS = ("ner", "spancat", "textcat")
FILES = {"train": "train.spacy", "val": "dev.spacy", "test": "test.spacy"}
#: Above it a split is a folder of several files, which spaCy's corpus reader takes just so: some 10,000 texts.
_MOST_TOKENS = 1_000_000
#: Longer texts spaCy refuses to read (`Language.max_length`).
_MOST_CHARACTERS = 1_000_000
#: What is kept of each token besides its text; `norm` differs for the tokenizer's own exceptions only.
_ATTRIBUTES = {"ner": ("NORM", "ENT_IOB", "ENT_TYPE"), "spancat": ("NORM",), "textcat": ("NORM",)}


@dataclass(frozen=True)
class Details:
    """What is written: the texts with their controls, the id of each class, and which classes are not retired.

    `exclusive`: of the choices of the one control there is one for each text.
    """

    task: str
    language: str
    widened: bool
    layers: tuple[TextLayer, ...]
    classes: Mapping[str, int]
    live: tuple[str, ...]
    exclusive: bool = False

    @property
    def component(self) -> str:
        """The component of a pipeline that learns this."""
        return "textcat_multilabel" if self.task == "textcat" and not self.exclusive else self.task


def plan_docbin(plan: Plan) -> Details:
    """The variant and its controls; DataError when the config has none for it, or spaCy is not installed."""
    languages = _languages()
    task = plan.options.task or ("ner" if controls_on_texts(plan.config, "Labels") else "textcat")
    controls = text_controls(plan, "Choices" if task == "textcat" else "Labels")
    names = [control.name for control in controls]
    known = {"control": names if task == "textcat" else [ALL, *names], "language": languages}
    chosen = chosen_options(plan, known if task == "textcat" else {**known, "alignment": ("strict", "expand")})
    spans = span_classes(plan, controls, chosen["control"])
    written = {name for layer in spans.layers for name in layer.controls}
    live = {entry.name for entry in plan.classes if entry.control in written and not entry.retired}
    exclusive = task == "textcat" and controls[names.index(chosen["control"])].attributes.get("choice") != "multiple"
    return Details(
        task,
        chosen["language"],
        chosen.get("alignment") == "expand",
        spans.layers,
        spans.classes,
        tuple(name for name in spans.classes if name in live),
        exclusive,
    )


def _languages() -> list[str]:
    """The codes that spaCy has a tokenizer for, English first; found without importing it."""
    found = find_spec("spacy")
    if found is None or not found.submodule_search_locations:
        raise DataError("the format spacy needs spaCy; install labelloop[spacy]")
    folder = Path(found.submodule_search_locations[0]) / "lang"
    codes = sorted(each.name for each in folder.iterdir() if (each / "__init__.py").exists())
    return ["en", *(code for code in codes if code != "en")]


@lru_cache(maxsize=4)
def _pipeline(language: str) -> Any:
    """A blank pipeline: its tokenizer."""
    import spacy

    try:
        return spacy.blank(language)
    except ImportError as error:
        raise DataError(f"spaCy's tokenizer of the language {language!r} needs another package: {error}") from error


def write_docbin(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """A DocBin for each split."""
    from spacy.tokens import DocBin

    details: Details = plan.details
    nlp = _pipeline(details.language)
    bins: dict[str, Any] = {}
    tokens: dict[str, int] = {}
    notes = Notes()
    fill = _fill_categories if details.task == "textcat" else _fill_spans
    with nlp.memory_zone():  # else the words of every part stay in memory
        for example in examples:
            for layer, text, regions in texts_of(example, details.layers, part, f"spaCy's {details.task}"):
                if len(text) > _MOST_CHARACTERS:
                    part.skip(example.task_id, f"too_large: {len(text)} characters; spaCy reads {_MOST_CHARACTERS}")
                    continue
                doc = nlp.make_doc(text)
                spans, written = fill(doc, regions, layer, details, example, part, notes)
                if example.split not in bins:
                    bins[example.split] = DocBin(_ATTRIBUTES[details.task])
                add_document(bins[example.split], doc, spans, {"labelloop": _origin(example, layer, written)})
                tokens[example.split] = tokens.get(example.split, 0) + len(doc)
                part.item(example.split)
        for split, found in bins.items():
            part.fragment(FILES[split]).write(docbin_bytes(found))
    part.notes["tokens"] = tokens
    notes.to_part(part)


def _fill_spans(
    doc: Any, regions: Sequence[Region], layer: TextLayer, details: Details, example: Example, part: Part, notes: Notes
) -> tuple[list[Any], list[Region]]:
    """The spans of a text on its document's tokens, with the region of each; its entities are set."""
    found, written = [], []
    for start, end, label, region in spans_of(doc.text, regions, layer, details.classes, example, part, notes):
        span = doc.char_span(start, end, label=label, alignment_mode="expand" if details.widened else "strict")
        if span is None:
            part.skip(example.task_id, f"region {region.get('id')}: misaligned: {start}:{end} cuts a token")
            continue
        if span.start_char != start or span.end_char != end:
            notes.spans["widened"] += 1
        found.append(span)
        written.append(region)
        part.object(example, region, label, details.classes[label], FILES[example.split])
    if details.task == "ner":
        from spacy.util import filter_spans

        entities = filter_spans(found)
        notes.spans["not_among_entities"] += len(found) - len(entities)
        doc.set_ents(entities, default="outside")
    return found, written


def _fill_categories(
    doc: Any, regions: Sequence[Region], layer: TextLayer, details: Details, example: Example, part: Part, notes: Notes
) -> tuple[None, list[Region]]:
    """Set the categories of a text: 1 for what was chosen, 0 for the others; there are no spans."""
    chosen: list[str] = []
    for region in regions:
        for label in labels_of(region, layer.controls[region["from_name"]]):
            if label not in details.live:
                why = f"class {label!r} is not in the label config"
            elif label in chosen:
                why = f"{label!r} was chosen twice"
            elif chosen and details.exclusive:
                why = f"{label!r} was chosen besides {chosen[0]!r}, and one may be"
            else:
                chosen.append(label)
                part.object(example, region, label, details.classes[label], FILES[example.split])
                continue
            part.skip(example.task_id, f"region {region.get('id')}: {why}")
    doc.cats = {name: float(name in chosen) for name in details.live}
    return None, []


def _origin(example: Example, layer: TextLayer, written: Sequence[Region]) -> dict[str, Any]:
    """What a document says of itself; `regions` are the (id, control) of its spans, `data` what its task has besides."""
    besides = {key: value for key, value in example.data.items() if key != layer.data_key}
    return {
        "task": example.task_id,
        "annotation": example.annotation_id,
        "annotator": example.annotator,
        "at": example.at.isoformat(),
        "rev_hash": example.rev_hash,
        "version": example.shown_serving_id,
        "source": example.source,
        "review_status": example.review_status,
        "split": example.split,
        "group": example.group_key,
        "key": layer.data_key,
        "data": orjson.dumps(besides).decode(),
        "regions": [[str(region.get("id") or ""), region["from_name"]] for region in written],
    }


def join_docbin(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """One file for each split that has documents, or a folder of that name with files in order."""
    details: Details = plan.details
    files = []
    for split in SPLITS:
        name = FILES[split]
        tokens = [part.notes["tokens"][split] for part in parts if split in part.notes["tokens"]]
        runs = list(runs_of(list(fragments(scratch, name, parts)), tokens, _MOST_TOKENS))
        if len(runs) > 1:
            (folder / name).mkdir()
        for number, run in enumerate(runs):
            files.append(f"{name}/{number:05d}.spacy" if len(runs) > 1 else name)
            join_docbins(run, folder / files[-1])
    extra = {
        "component": details.component,
        "controls": [name for layer in details.layers for name in layer.controls],
        "labels": list(details.live),
        "language": details.language,
        "spans_key": None if details.task == "textcat" else SPANS_KEY,
        **notes_of(parts),
    }
    return Joined(tuple(files), extra)


def count_docbin(plan: Plan, folder: Path) -> tuple[int, int]:
    """(documents, spans or chosen categories) as they lie on the disk."""
    files = sorted(path for path in folder.rglob("*.spacy") if path.is_file())
    documents, spans, categories = count_docbins(files)
    return documents, categories if plan.task == "textcat" else spans


def losses_of_docbin(plan: Plan) -> tuple[str, ...]:
    """What a DocBin of the variant cannot say."""
    always = "annotations of other people than the one that counts as truth"
    details: Details = plan.details
    if details.task == "textcat":
        return (
            always,
            "everything but the choices of one <Choices> for a whole <Text>; another is named by the option control",
            "a text for which nothing was chosen has every category at 0",
        )
    cut = "is widened to whole tokens" if details.widened else "is left out and named in skipped"
    entities = (f'of overlapping spans doc.ents keeps the longest, then the first; doc.spans["{SPANS_KEY}"] keeps all',)
    return (
        always,
        "relations and everything that is no labelled span of a <Text>: HTML, dialogues, choices, ratings",
        "white space at the ends of a span is cut off",
        f"a span that cuts a token of spaCy's tokenizer ({details.language}) {cut}",
        "of a task with several texts each is a document of its own",
        *(entities if details.task == "ner" else ()),
    )


FORMAT = Format(
    "spacy", TASKS, plan_docbin, write_docbin, join_docbin, count_docbin, losses_of_docbin
)  # fmt: skip
