"""Exports for the tests of the row formats, and strategies that draw labelled tasks of many kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import orjson
from hypothesis import strategies as st

from sync.formats.examples import ExportOptions
from sync.formats.exporting import export_dataset
from sync.formats.media import folder_fetch
from sync.formats.reading import Labelled, LabelledItem, read_labelled
from sync.formats.report import ExportReport
from sync.formats.sources import open_export

AT = "2026-01-01T00:00:00.500000Z"
#: What spoils a table, a spreadsheet or XML.
CLASSES = ("zebra", "=ant", 'quo"te', "a,b", "'-x", "caf\u00e9 \U0001f600", "two\nlines", "<&>")


def config(*controls: str, object_tag: str = "Image", key: str = "image") -> str:
    return f'<View><{object_tag} name="{key}" value="${key}"/>{"".join(controls)}</View>'


def control(tag: str, name: str, to: str, classes: Sequence[str] = CLASSES, more: str = "") -> str:
    value = "Choice" if tag in ("Choices", "Taxonomy") else "Label"
    inner = "".join(f"<{value} value={quoteattr(each)}/>" for each in classes)
    return f'<{tag} name="{name}" toName="{to}" {more}>{inner}</{tag}>'


SHAPES = config(
    control("RectangleLabels", "box", "image"),
    control("PolygonLabels", "polygon", "image"),
    control("EllipseLabels", "ellipse", "image"),
    control("KeyPointLabels", "point", "image"),
    control("BrushLabels", "brush", "image"),
    control("Choices", "quality", "image", more='choice="multiple"'),
)
TEXTS = config(
    control("Labels", "span", "text"),
    control("Choices", "topic", "text"),
    control("Choices", "mood", "text", more='choice="multiple"'),
    object_tag="Text",
    key="text",
)
BOXES = config(control("RectangleLabels", "box", "image", ("zebra", "ant")))


def region(kind: str, name: str, to: str, value: dict[str, Any], **over: Any) -> dict[str, Any]:
    return {"id": f"{name}1", "from_name": name, "to_name": to, "type": kind, "value": value, "origin": "manual"} | over


def box(x: float, y: float, w: float, h: float, *labels: str, rotation: float = 0, **over: Any) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": rotation, "rectanglelabels": list(labels or ["ant"])}
    sized = {"original_width": 200, "original_height": 100, "image_rotation": 0}
    return region("rectanglelabels", "box", "image", value, id=f"r{x}", **sized) | over


def span(text: str, start: int, end: int, *labels: str, **over: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "text": text[start:end], "labels": list(labels)}
    return region("labels", "span", "text", value, id=f"s{start}-{end}") | over


def choice(name: str, *labels: str, to: str = "text", **over: Any) -> dict[str, Any]:
    return region("choices", name, to, {"choices": list(labels)}) | over


def task(number: int, data: dict[str, Any], result: Sequence[dict[str, Any]] | None, **over: Any) -> dict[str, Any]:
    """A task with one annotation; None for a task that nobody labelled."""
    one = {"id": number * 10, "completed_by": 7, "result": list(result or []), "created_at": AT, "updated_at": AT}
    annotations = [] if result is None else [one | over.pop("annotation", {})]
    return {"id": number, "data": data, "annotations": annotations} | over


def exported(
    folder: Path,
    format: str,
    tasks: Sequence[dict[str, Any]],
    xml: str = BOXES,
    *,
    images: Path | None = None,
    workers: int = 1,
    **options: Any,
) -> tuple[Path, ExportReport]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "export.json").write_bytes(orjson.dumps(list(tasks)))
    (folder / "project.xml").write_text(xml, encoding="utf-8")
    source = open_export(folder / "export.json", folder / "project.xml", "latest")
    out = folder / f"out-{format}"
    fetch = folder_fetch(images) if images is not None else None
    given = ExportOptions(**{"train_share": 1.0, "images": images is not None, **options})
    return out, export_dataset(source, format, out, options=given, fetch=fetch, workers=workers)


def read(path: Path, format: str, **told: Any) -> tuple[Labelled, list[LabelledItem]]:
    found = read_labelled(path, format, **told)
    return found, list(found)


# -- strategies ---------------------------------------------------------------------------------------------------------

words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
_labels = st.lists(st.sampled_from(CLASSES), min_size=1, max_size=3, unique=True)
_percent = st.floats(0, 100)
_points = st.lists(st.tuples(_percent, _percent).map(list), min_size=3, max_size=5)
_extra = st.sampled_from(
    [{}, {"meta": {"text": ["note"]}}, {"readonly": True}, {"parentID": "box1"}, {"hidden": False}]
)


def _shape(kind: str, name: str, value: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    def made(value: dict[str, Any], labels: list[str], extra: dict[str, Any], turn: int) -> dict[str, Any]:
        sized = {"original_width": 640, "original_height": 427, "image_rotation": turn}
        return region(kind, name, "image", value | {kind: labels}, **sized) | extra

    return st.builds(made, value, _labels, _extra, st.sampled_from([0, 0, 90]))


@st.composite
def _rectangle(draw: st.DrawFn) -> dict[str, Any]:
    x, y = draw(st.floats(0, 99)), draw(st.floats(0, 99))
    w, h = draw(st.floats(0.01, 100 - x)), draw(st.floats(0.01, 100 - y))
    return {"x": x, "y": y, "width": w, "height": h, "rotation": draw(st.sampled_from([0, 0.0, 33.3]))}


shapes = st.one_of(
    _shape("rectanglelabels", "box", _rectangle()),
    _shape("polygonlabels", "polygon", st.fixed_dictionaries({"points": _points, "closed": st.booleans()})),
    _shape(
        "ellipselabels", "ellipse",
        st.fixed_dictionaries(
            {"x": _percent, "y": _percent, "radiusX": st.floats(0.1, 50), "radiusY": st.floats(0.1, 50)}
        ),
    ),
    _shape("keypointlabels", "point", st.fixed_dictionaries({"x": _percent, "y": _percent, "width": st.floats(0, 2)})),
    _shape(
        "brushlabels", "brush",
        st.fixed_dictionaries({"format": st.just("rle"), "rle": st.lists(st.integers(0, 255), min_size=1, max_size=9)}),
    ),
    st.builds(lambda labels: choice("quality", *labels, to="image"), _labels),
)  # fmt: skip


def _numbered(result: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each | {"id": f"{each['from_name']}-{number}"} for number, each in enumerate(result)]


@st.composite
def image_tasks(draw: st.DrawFn) -> list[dict[str, Any]]:
    count = draw(st.integers(1, 4))
    results = [_numbered(draw(st.lists(shapes, max_size=4))) for _ in range(count)]
    return [task(n, {"image": f"/d/{n}.png", "note": draw(words)}, each) for n, each in enumerate(results, start=1)]


@st.composite
def _marked(draw: st.DrawFn, text: str) -> dict[str, Any]:
    start = draw(st.integers(0, len(text) - 1))
    return span(text, start, draw(st.integers(start + 1, len(text))), *draw(_labels))


@st.composite
def text_tasks(draw: st.DrawFn) -> list[dict[str, Any]]:
    tasks = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        text = draw(words)
        chosen = [choice("topic", draw(st.sampled_from(CLASSES))), choice("mood", *draw(_labels))]
        result = _numbered(
            draw(st.lists(_marked(text), max_size=4)) + draw(st.lists(st.sampled_from(chosen), max_size=2))
        )
        tasks.append(task(number, {"text": text, "source": draw(words)}, result))
    return tasks
