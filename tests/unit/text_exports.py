"""Label Studio exports of labelled texts for the tests of text formats, written in a format by the real pipeline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.format import ClassName
from sync.formats.reading import Labelled, read_labelled
from sync.formats.report import ExportReport
from sync.formats.sources import open_export

ENTITIES = (
    '<View><Labels name="label" toName="text"><Label value="PER"/><Label value="LOC"/><Label value="First Name"/></Labels>'
    '<Labels name="more" toName="text"><Label value="ORG"/></Labels>'
    '<Choices name="topic" toName="text"><Choice value="sport"/><Choice value="money"/></Choices>'
    '<Text name="text" value="$text"/></View>'
)
_TAG = re.compile(r"O|[BI]-\S+")


def span(text: str, marked: str, label: Any = "PER", **over: Any) -> dict[str, Any]:
    """A span on the first place where `marked` stands in the text."""
    start = text.index(marked)
    return marked_at(text, start, start + len(marked), label, **over)


def marked_at(text: str, start: int, end: int, label: Any = "PER", **over: Any) -> dict[str, Any]:
    """A span at code points; under the control "more" where its class is ORG."""
    labels = label if isinstance(label, list) else [label]
    value = {"start": start, "end": end, "text": text[start:end], "labels": labels}
    control = "more" if labels == ["ORG"] else "label"
    return {
        "id": f"s{start}-{end}", "from_name": control, "to_name": "text", "type": "labels", "value": value,
        "origin": "manual",
    } | over  # fmt: skip


def choice(*chosen: str, control: str = "topic") -> dict[str, Any]:
    value = {"choices": list(chosen)}
    return {"id": f"c-{control}", "from_name": control, "to_name": "text", "type": "choices", "value": value}


def task(number: int, text: Any, *regions: dict[str, Any], **data: Any) -> dict[str, Any]:
    made = {"id": number * 10, "completed_by": 1, "result": list(regions), "updated_at": "2026-01-01T00:00:00Z"}
    return {"id": number, "data": {"text": text, **data}, "annotations": [made]}


def exported(
    folder: Path,
    format: str,
    tasks: Sequence[dict[str, Any]],
    config: str = ENTITIES,
    *,
    out: str = "out",
    workers: int = 1,
    variant: str | None = None,
    share: float = 1.0,
    test_share: float = 0.0,
    classes: Sequence[ClassName] | None = None,
    **values: str,
) -> tuple[Path, ExportReport]:
    """Write the tasks; `values` are the format's own options. The folder of the files, and the report."""
    folder.mkdir(exist_ok=True)
    (folder / "export.json").write_bytes(orjson.dumps(list(tasks)))
    (folder / "config.xml").write_text(config, encoding="utf-8")
    source = open_export(folder / "export.json", folder / "config.xml", "latest")
    options = ExportOptions(variant, train_share=share, test_share=test_share, values=values)
    report = export_dataset(source, format, folder / out, options=options, workers=workers, classes=classes)
    return folder / out, report


def reasons(report: ExportReport) -> list[str]:
    return [reason for _, reason in report.skipped]


def spans_in(labelled: Labelled) -> list[list[tuple[int, int, str]]]:
    """(start, end, class) of every item that was read, in order of the text."""
    return [
        sorted(
            (region["value"]["start"], region["value"]["end"], label)
            for region in item.result
            for label in region["value"].get("labels", ())
        )
        for item in labelled
    ]


def read(folder: Path, format: str, **more: Any) -> Labelled:
    return read_labelled(folder, format, **more)


def sentences_of(path: Path) -> list[list[list[tuple[str, str]]]]:
    """Documents of sentences of (token, tag) of a file of columns; AssertionError where it is not valid CoNLL-2003.

    Valid: four columns in every line, also in that which begins a document; a blank line after it and after each sentence,
    and no other; tags O, B-X, I-X, and I-X only behind B-X or I-X of the same sentence.
    """
    content = path.read_bytes().decode()
    assert content.endswith("\n")
    documents: list[list[list[tuple[str, str]]]] = []
    for block in content.removesuffix("\n\n").split("\n\n"):
        rows = [line.split() for line in block.split("\n")]
        assert all(len(row) == 4 for row in rows), block
        if rows[0][0] == "-DOCSTART-":
            assert rows == [["-DOCSTART-", "-X-", "O", "O"]]
            documents.append([])
            continue
        assert all(line == " ".join(row) for line, row in zip(block.split("\n"), rows, strict=True))
        before = "O"
        for _, _, _, tag in rows:
            assert _TAG.fullmatch(tag), tag
            assert not tag.startswith("I-") or before[2:] == tag[2:], f"{tag} after {before}"
            before = tag
        documents[-1].append([(row[0], row[3]) for row in rows])
    return documents
