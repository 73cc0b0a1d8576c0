"""CoNLL-2003 columns: <split>.conll, a token and its BIO tag to a line; the texts beside it in <split>.texts.jsonl."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import orjson

from sync.formats.conll_reading import SIDE
from sync.formats.examples import SPLITS, Example
from sync.formats.format import Format, Joined, Part, PartDone, Plan, join_fragments
from sync.formats.format_options import chosen_options
from sync.formats.texts import ALL, Notes, Span, SpanClasses, notes_of, span_classes, spans_of, text_controls, texts_of
from sync.formats.tokens import given_starts, given_tokens_between, line_starts, sentence_starts, tokens_between

#: Part of speech and chunk, which nobody labelled, and the tag: what stands behind a token.
_OUTSIDE = " -X- O O\n"
_INSIDE = " -X- O "
#: After each sentence.
_END = "\n"
_BEGINS = b" -X- O B-"
_DOCUMENT = "-DOCSTART- -X- O O\n"


_start = itemgetter(0)


@dataclass(frozen=True)
class Details:
    """What is written, and the tag of each class: its name, where white space became "_"."""

    spans: SpanClasses
    tags: Mapping[str, str]


def plan_conll(plan: Plan) -> Details:
    """The <Labels> on texts, all or the one that the option `control` names; DataError when there are none."""
    controls = text_controls(plan, "Labels")
    chosen = chosen_options(plan, {"control": [ALL, *(control.name for control in controls)]})
    spans = span_classes(plan, controls, chosen["control"])
    return Details(spans, tags_of(list(spans.classes)))


def tags_of(classes: Sequence[str]) -> dict[str, str]:
    """A tag without white space for each class; a number is added where two would share one."""
    tags: dict[str, str] = {}
    taken = {name for name in classes if not re.search(r"\s", name)}
    for name in classes:
        tag = name
        if name not in taken:
            tag = re.sub(r"\s+", "_", name)
            tag = next(each for each in (tag, *(f"{tag}_{n}" for n in range(2, len(classes) + 2))) if each not in taken)
            taken.add(tag)
        tags[name] = tag
    return tags


def write_conll(plan: Plan, examples: Iterable[Example], part: Part) -> None:
    """Fragments of each split: documents, and a line of JSON for each with what brings its text back."""
    details: Details = plan.details
    layers, classes, tags = details.spans.layers, details.spans.classes, details.tags
    notes = Notes()
    for example in examples:
        file = f"{example.split}.conll"
        for layer, text, regions in texts_of(example, layers, part, "CoNLL"):
            flat = flat_spans(spans_of(text, regions, layer, classes, example, part, notes), example, part, notes)
            tagged = [(start, end, tags[label]) for start, end, label, _ in flat]
            part.fragment(file).write(rows_of(text, tagged, given_starts(example.meta, text)))
            part.fragment(f"{example.split}{SIDE}").write(_side_line(example, layer.data_key))
            part.item(example.split)
            for _, _, label, region in flat:
                part.object(example, region, label, classes[label], file)
    notes.to_part(part)


def _side_line(example: Example, key: str) -> bytes:
    line = {
        "task": example.task_id,
        "annotation": example.annotation_id,
        "annotator": example.annotator,
        "at": example.at.isoformat(),
        "source": example.source,
        "review_status": example.review_status,
        "version": example.shown_serving_id,
        "group": example.group_key,
        "key": key,
        "data": example.data,
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def flat_spans(spans: list[Span], example: Example, part: Part, notes: Notes) -> list[Span]:
    """Spans of which none overlaps another, in order of the text: of overlapping ones the longest, then the first.

    What has no place is noted, also the second class of a span.
    """
    ordered = sorted(spans, key=_start)
    if all(before[1] <= after[0] for before, after in pairwise(ordered)):
        return ordered
    kept: list[Span] = []
    for span in sorted(ordered, key=lambda each: each[0] - each[1]):
        start, end, label, region = span
        at = bisect_right(kept, start, key=_start)
        against = next((each for each in kept[max(0, at - 1) : at + 1] if start < each[1] and each[0] < end), None)
        if against is None:
            kept.insert(at, span)
            continue
        notes.spans["overlapping"] += 1
        why = f"second class {label!r} of its span" if against[3] is region else f"{label!r} overlaps {against[2]!r}"
        part.skip(example.task_id, f"region {region.get('id')}: {why}; CoNLL has one class for a token")
    return kept


def rows_of(text: str, spans: Sequence[tuple[int, int, str]], given: Sequence[int] | None = None) -> bytes:
    """A document of columns.

    `spans` are (start, end, tag), in order and apart. A token never crosses the edge of a span, and no sentence ends in
    one. `given` are the starts of the tokens with which the text came; its sentences are then its lines.
    """
    between = tokens_between if given is None else partial(given_tokens_between, given)
    breaks = iter(sentence_starts(text) if given is None else line_starts(text))
    length = len(text)
    never = length + 1
    rows = [_DOCUMENT, _END]
    at, upcoming = 0, next(breaks, never)
    for start, end, tag in [*spans, (length, length, "")]:
        while upcoming <= start:
            if tokens := between(text, at, upcoming):
                rows += [_OUTSIDE.join(tokens), _OUTSIDE]
            if rows[-1] is not _END:
                rows.append(_END)
            at, upcoming = upcoming, next(breaks, never)
        if tokens := between(text, at, start):
            rows += [_OUTSIDE.join(tokens), _OUTSIDE]
        if tokens := between(text, start, end):
            rows += [f"{tokens[0]}{_INSIDE}B-{tag}\n", *[f"{token}{_INSIDE}I-{tag}\n" for token in tokens[1:]]]
        at = end
        while upcoming < end:
            upcoming = next(breaks, never)
    if rows[-1] is not _END:
        rows.append(_END)
    return "".join(rows).encode()


def join_conll(plan: Plan, folder: Path, scratch: Path, parts: Sequence[PartDone]) -> Joined:
    """Two files for each split that has documents."""
    details: Details = plan.details
    names = [
        name
        for split in SPLITS
        if any(part.items.get(split) for part in parts)
        for name in (f"{split}.conll", f"{split}{SIDE}")
    ]
    hashes = {name: join_fragments(folder, scratch, name, parts) for name in names}
    said = {"controls": list(details.spans.controls), "labels": list(details.spans.classes), "tags": dict(details.tags)}
    return Joined(tuple(names), {**said, **notes_of(parts)}, hashes)


def count_conll(plan: Plan, folder: Path) -> tuple[int, int]:
    """(documents with their line of JSON, spans) as they lie on the disk."""
    documents = spans = 0
    for path in sorted(folder.glob("*.conll")):
        found = 0
        with path.open("rb") as file:
            while lines := file.readlines(1 << 20):
                block = b"".join(lines)
                found += block.count(_DOCUMENT.encode())
                spans += block.count(_BEGINS)
        with path.with_suffix(SIDE).open("rb") as file:
            documents += min(found, sum(1 for _ in file))
    return documents, spans


def losses_of_conll(plan: Plan) -> tuple[str, ...]:
    """What columns of tags cannot say."""
    return (
        "annotations of other people than the one that counts as truth",
        "relations and everything that is no labelled span of a <Text>: HTML, dialogues, choices, ratings",
        "of overlapping spans and of the classes of one span all but one: the longest, then the first; the others are "
        "named in skipped",
        "white space at the ends of a span is cut off",
        "the ids of regions and which of several <Labels> tags a span is of (in provenance.parquet)",
        "of a task with several texts each is a document of its own",
        'white space in the name of a class is "_" in its tag (tags in the manifest)',
    )


FORMAT = Format("conll", (), plan_conll, write_conll, join_conll, count_conll, losses_of_conll)
