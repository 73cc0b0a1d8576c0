"""The quality report: what it tells of every report that it is given, escaped, accessible, and loading nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from labelloop.label_config import Control
from labelloop.masks import mask_of_pixels
from qa.kinds.shapes import Boxes, Brushed, Outlines, Points, Spans
from qa.report.bars import Confused
from qa.report.disagreements import Answer, Disagreement
from qa.report.markup import element, escaped, named
from qa.report.matrix import MOST_PEOPLE, band
from qa.report.page import Content, quality_page
from qa.report.pictures import Absent, Photo
from qa.report.wording import meaning, metric_name, number

HOSTILE = "<script>alert(1)</script>\"' onload=x &amp; \u202e\x00\ud800"
MADE = datetime(2026, 11, 27, 12, tzinfo=UTC)
PIXEL = "data:image/jpeg;base64,/9j/4AAQ"


def metric(value: float | None, ci: list[float] | None = None, n: int = 7, reason: str | None = None) -> dict[str, Any]:
    return {"value": value, "ci": ci, "n": n, "reason": reason}


def control(**changed: Any) -> dict[str, Any]:
    """One control of an agreement report, with figures that are all different."""
    bases = {
        name: {"n_pairs": n, "metrics": {"krippendorff_alpha": metric(value, n=n)}}
        for name, n, value in (("all", 91, 0.612), ("blind", 43, 0.587), ("same_suggestion", 29, 0.839))
    }
    told = {
        "type": "Choices", "kind": "categories", "level": "nominal", "headline": "krippendorff_alpha",
        "n_tasks": 411, "n_overlapped": 322, "n_annotators": 3, "n_labels": 733, "n_empty": 17, "n_unsure": 13,
        "metrics": {
            "percent_agreement": metric(0.701, [0.651, 0.752], 322),
            "krippendorff_alpha": metric(0.587, [0.511, 0.659], 322),
            "gwet_ac1": metric(None, None, 0, "every value is the same"),
        },
        "pairs": [
            {"first": 1, "second": 2, "n": 101, "score": 0.713, "cohens_kappa": 0.444},
            {"first": 1, "second": 3, "n": 5, "score": 0.212, "cohens_kappa": None},
        ],
        "per_class": {"cat": {"n": 88, "specific_agreement": 0.811}, HOSTILE: {"n": 44, "specific_agreement": None}},
        "per_annotator": {"1": {"n_labels": 201, "n": 106, "score": 0.689}, "2": {"n_labels": 7, "n": 0, "score": None}},
        "by_week": [
            {"week": "2026-W46", "n": 31, "score": 0.554}, {"week": "2026-W47", "n": 2, "score": None},
            {"week": "2026-W48", "n": 37, "score": 0.773},
        ],
        "by_shown": bases, "anchoring_gap": 0.252, "tasks": [{"task": 9, "score": 0.1}],
    }  # fmt: skip
    return told | changed


def report(**changed: Any) -> dict[str, Any]:
    """An agreement report as `labelloop agreement --json` prints it."""
    head = {"control": "label", "metric": "krippendorff_alpha", **metric(0.587, [0.511, 0.659], 322)}
    told = {
        "schema_version": 3, "basis": "blind", "headline": head, "n_labels": 733, "n_tasks": 411, "n_overlapped": 322,
        "basis_reason": "43 of 91 pairs were made without a suggestion; these count", "n_annotators": 3,
        "left_out": {"superseded": 19, "not_submitted": 23, "gold": 0},
        "pairs": {"all": 91, "blind": 43, "same_suggestion": 29, "mixed": 18}, "controls": {"label": control()},
        "unmeasured": [{"control": HOSTILE, "tag": "Video", "reason": "agreement on <Video> is not measured"}],
    }  # fmt: skip
    return told | changed


def page(agreement: dict[str, Any] | None = None, **more: Any) -> tuple[str, LexborHTMLParser]:
    text = quality_page(Content(HOSTILE, MADE, agreement or report(), **more))
    return text, LexborHTMLParser(text)


def text_of(tree: LexborHTMLParser, selector: str) -> str:
    found = tree.css(selector)
    assert found, selector
    return " ".join(each.text() for each in found)


def disagreement(tag: str, object_tag: str, values: list[Any], data: dict[str, Any] | None = None) -> Disagreement:
    shown = Control(tag, HOSTILE, "object", "key", object_tag, ("cat", "dog"))
    answers = tuple(Answer(person, value, blind=person != 2) for person, value in enumerate(values, start=1))
    return Disagreement(77, shown, 0.125, data if data is not None else {"key": "https://example.com/a.png"}, answers)


def boxes(*places: tuple[float, float], label: str = "cat", size: tuple[float, float] = (640, 480)) -> Boxes:
    corners = [[(x, y), (x + 50, y), (x + 50, y + 40), (x, y + 40)] for x, y in places]
    n = len(places)
    return Boxes(np.array(corners, dtype=float).reshape(-1, 4, 2), (label,) * n, ("r",) * n, (0,) * n, *size)


# -- structure ------------------------------------------------------------------------------------------------------------


def test_every_figure_of_the_report_is_on_the_page() -> None:
    _, tree = page()
    said = tree.body.text(separator=" ") if tree.body else ""
    shown = set(re.findall(r"[−-]?\d+(?:\.\d+)?", said))
    wanted = {f"{x:.3f}" for x in (0.701, 0.651, 0.752, 0.587, 0.511, 0.659, 0.713, 0.444, 0.212, 0.811, 0.689, 0.554)}
    wanted |= {f"{x:.3f}" for x in (0.773, 0.612, 0.839, 0.252)}
    wanted |= {str(n) for n in (733, 411, 322, 17, 13, 101, 5, 88, 44, 106, 201, 31, 37, 91, 43, 29, 18, 19, 23)}
    assert wanted - shown == set()
    assert "every value is the same" in said and "agreement on <Video> is not measured" in said
    assert "nan" not in said.lower().split() and "None" not in said


def test_the_headline_has_basis_interval_and_meaning() -> None:
    _, tree = page()
    head = text_of(tree, ".headline")
    assert "0.587" in head and "0.511 to 0.659" in head and "blind pairs" in head and "do not count as reliable" in head
    alarm = {"control": "label", "metric": "krippendorff_alpha", "value": 0.587, "n": 322, "threshold": 0.7}
    assert "below the alarm at 0.7" in text_of(page(report(alarms=[alarm]))[1], ".headline .alarm")
    nothing = {"control": None, "metric": None, **metric(None, None, 0, "no control of this config is measured")}
    head = text_of(
        page(report(headline=nothing, controls={}, basis="all", basis_reason="no two people"))[1], ".headline"
    )
    assert "–" in head and "no control of this config is measured" in head and "no two people" in head


def test_the_page_is_named_and_its_tables_have_headers() -> None:
    text, tree = page(worst=[disagreement("RectangleLabels", "Image", [boxes((1, 1)), None])])
    assert tree.html is not None and text.startswith("<!doctype html>")
    root = tree.css_first("html")
    assert root is not None and root.attributes["lang"] == "en"
    assert text_of(tree, "title").startswith("Quality of labels: <script>")
    for table in tree.css("table"):
        assert table.css_first("caption") is not None
        assert all(head.attributes.get("scope") in ("col", "row") for head in table.css("th"))
        assert table.css("thead th") and table.css("tbody th")
        frame = table.parent
        assert frame is not None and frame.attributes.get("tabindex") == "0" and frame.attributes.get("aria-label")
    idents = [each.attributes["id"] for each in tree.css("[id]")]
    assert len(idents) == len(set(idents))
    links = [str(each.attributes["href"]) for each in tree.css("nav a")]
    assert links and {link.removeprefix("#") for link in links} <= set(idents)
    for each in tree.css("[aria-labelledby]"):
        assert set(str(each.attributes["aria-labelledby"]).split()) <= set(idents)
    levels = [int(each.tag[1]) for each in tree.css("h1, h2, h3, h4")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_names_and_texts_of_others_never_become_markup() -> None:
    hostile = [
        disagreement("Choices", "Text", [HOSTILE, frozenset({HOSTILE}), (HOSTILE, "b")], {"key": HOSTILE}),
        disagreement("RectangleLabels", "Image", [boxes((1, 1), label=HOSTILE)]),
        disagreement("Labels", "Text", [Spans((0.0,), (5.0,), (HOSTILE,), ("r",), ("",), HOSTILE)]),
    ]
    flags = {"annotators": [{"annotator": 1, "n_labels": 3, "flags": [{"flag": HOSTILE, "why": HOSTILE, "tasks": [1]}],
                             "message": HOSTILE}]}  # fmt: skip
    finding = dict.fromkeys(("control", "type", "given", "suggested", "cause"), HOSTILE)
    errors = {"findings": [{"task": 1, "annotator": None, "score": 0.5, **finding}],
              "hotspots": [{"by": HOSTILE, "key": [HOSTILE, "b"], "n": 2, "ratio": 1.5, "tasks": [HOSTILE]}]}  # fmt: skip
    text, tree = page(
        worst=hostile, annotators=flags, errors=errors, consensus=[{"tasks": [{"task": HOSTILE, "probability": 0.5}]}],
        review={HOSTILE: HOSTILE}, confused={"label": [Confused(HOSTILE, HOSTILE, 3, (5,))]},
        look=lambda address: Absent(HOSTILE), task_url=lambda task: f"javascript:{task}",
    )  # fmt: skip
    assert len(tree.css("script")) == 1 and "alert(1)" not in (tree.css("script")[0].text() or "")
    assert not [name for each in tree.css("*") for name in each.attributes if name.startswith("on")]
    assert tree.css_first("a[href^='javascript']") is None
    assert "\x00" not in text and "\ud800" not in text and text.encode()
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 20


def test_the_page_loads_nothing_and_says_so() -> None:
    found = disagreement("RectangleLabels", "Image", [boxes((1, 1))])
    text, tree = page(
        worst=[found], look=lambda address: Photo(PIXEL, 640, 480), task_url=lambda task: f"https://ls/data?task={task}"
    )
    loaded = [each.attributes.get("src") for each in tree.css("[src]")] + [
        each.attributes.get("href") for each in tree.css("image, link, use, base")
    ]
    assert loaded == [PIXEL]
    assert "url(" not in text and "@import" not in text
    policy = text_of_attribute(tree, "meta[http-equiv='Content-Security-Policy']", "content")
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy
    assert [each.attributes["href"] for each in tree.css("article a")] == ["https://ls/data?task=77"]


def text_of_attribute(tree: LexborHTMLParser, selector: str, name: str) -> str:
    found = tree.css_first(selector)
    assert found is not None
    return str(found.attributes[name])


# -- pairs, classes, weeks ------------------------------------------------------------------------------------------------


def test_the_matrix_has_a_cell_for_each_pair_and_words_beside_colours() -> None:
    _, tree = page()
    cells = [cell for cell in tree.css(".matrix tbody td") if "band" in (cell.attributes.get("class") or "")]
    assert sorted(cell.text(separator=" ") for cell in cells) == ["0.21 n 5", "0.21 n 5", "0.71 n 101", "0.71 n 101"]
    assert [("few" in (cell.attributes["class"] or "")) for cell in cells].count(True) == 2
    assert len(tree.css(".matrix .none")) == 2  # the pair that never met, twice
    assert "below 0.4" in text_of(tree, ".legend")


def test_too_many_people_get_tables_of_the_worst_and_the_largest_pairs() -> None:
    people = range(MOST_PEOPLE + 1)
    pairs = [{"first": 0, "second": other, "n": 10 + other, "score": other / 100} for other in people if other]
    _, tree = page(report(controls={"label": control(pairs=pairs)}))
    assert tree.css_first(".matrix") is None
    said = text_of(tree, "#control-0-pairs")
    assert "20 pairs that agree least" in said and f"{MOST_PEOPLE + 1} people" in said
    first = [row.css("td")[0].text() for row in tree.css("#control-0-pairs tbody tr")]
    assert first[0] == "1" and first[20] == str(MOST_PEOPLE)
    _, tree = page(report(controls={"label": control(pairs=pairs[: MOST_PEOPLE - 1])}))
    assert tree.css_first(".matrix") is not None


@given(st.floats(0, 1), st.floats(0, 1))
def test_bands_rise_with_scores(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= band(low) <= band(high) <= 4


def test_classes_come_worst_first_with_bars_of_their_length() -> None:
    classes = {f"c{n}": {"n": n, "f1_50": n / 10} for n in range(1, 10)} | {"none": {"n": 0, "f1_50": None}}
    _, tree = page(report(controls={"label": control(per_class=classes)}))
    rows = tree.css("#control-0-classes tbody tr")
    assert [row.css_first("th").text() for row in rows] == [*[f"c{n}" for n in range(1, 10)], "none"]  # type: ignore[union-attr]
    widths = [row.css_first(".filled").attributes["width"] for row in rows if row.css_first(".filled")]  # type: ignore[union-attr]
    assert widths == [f"{10 * n:.1f}" for n in range(1, 10)]


def test_a_week_without_a_score_leaves_a_gap_in_the_line() -> None:
    _, tree = page()
    assert len(tree.css(".trend polyline")) == 2 and len(tree.css(".trend circle")) == 2
    assert "2026-W47" in text_of(tree, ".trend") and "n 2" in text_of(tree, ".trend")


def test_confused_classes_are_told_with_their_tasks() -> None:
    found = [Confused("cat", "dog", 12, (4, 5)), Confused("cat", "cow", 30)]
    _, tree = page(confused={"label": found}, task_url=lambda task: f"http://ls/projects/1/data?task={task}")
    rows = [row.text(separator="|") for row in tree.css("#control-0-confused tbody tr")]
    assert rows[0].startswith("cat|cow|30") and "4" in rows[1] and len(tree.css("#control-0-confused a")) == 2


def test_other_reports_have_a_part_only_when_they_are_there() -> None:
    assert not {"annotators", "errors", "consensus", "review"} & {e.attributes["id"] for e in page()[1].css("section")}
    errors = {"findings": [{"task": 31, "annotator": 8, "control": "label", "type": "wrong_class", "given": "cat",
                            "suggested": "dog", "score": 0.913, "cause": "guideline"}] * 3,
              "hotspots": [{"by": "class_pair", "key": ["cat", "dog"], "n": 14, "ratio": 2.75, "tasks": [31, 32]}],
              "data": [{"type": "leakage", "control": None, "key": "near", "tasks": [61, 62], "score": 0.977}],
              "skipped": [{"detector": "outliers", "reason": "no embeddings"}]}  # fmt: skip
    people = {"annotators": [{"annotator": 5, "n_labels": 10, "flags": [], "message": "well done"},
                             {"annotator": 6, "n_labels": 90, "message": "look again",
                              "flags": [{"flag": "too_fast", "why": "3 s against 30 s", "tasks": [1, 2]}],
                              "gold": {"value": 0.876, "ci": [0.801, 0.934], "n": 61}}]}  # fmt: skip
    consensus = {"method": "dawid_skene", "tasks": [{"task": 3, "label": "cat", "probability": 0.512, "support": 2}]}
    _, tree = page(
        errors=errors, annotators=people, consensus=[consensus], review={"open": {"review": 41}, "done": [1]}
    )
    assert all(
        part in text_of(tree, "#errors") for part in ("wrong class", "0.913", "guideline", "2.750", "class pair")
    )
    assert tree.css("#errors tbody")[1].text().count("guideline") == 1  # three alike are one row
    flagged = text_of(tree, "#annotators tbody")
    assert flagged.index("too fast") < flagged.index("well done") and "0.876 (0.801 to 0.934; n 61)" in flagged
    assert "0.512" in text_of(tree, "#consensus") and "41" in text_of(tree, "#review")


# -- pictures -------------------------------------------------------------------------------------------------------------


def test_each_person_s_boxes_are_drawn_in_a_layer_of_their_own_over_the_image() -> None:
    found = disagreement("RectangleLabels", "Image", [boxes((10, 20), (100, 200)), boxes((12, 22)), None])
    _, tree = page(worst=[found], look=lambda address: Photo(PIXEL, 1280, 960))
    drawing = tree.css_first(".drawing")
    assert drawing is not None and drawing.attributes["viewBox"] == "0 0 1280 960"
    layers = drawing.css("g.layer")
    assert [len(layer.css("g.region")) for layer in layers] == [2, 1, 0]
    assert [layer.attributes["data-annotator"] for layer in layers] == ["1", "2", "3"]
    path = layers[0].css_first("path.drawn")
    assert path is not None and path.attributes["d"] == "M20.0 40.0L120.0 40.0L120.0 120.0L20.0 120.0Z"
    styles = [(layer.attributes["class"], (layer.css_first("path.drawn").attributes.get("stroke-dasharray")))  # type: ignore[union-attr]
              for layer in layers[:2]]  # fmt: skip
    assert len({ink for ink, _ in styles}) == 2 and len({dash for _, dash in styles}) == 2
    legend = text_of(tree, "figcaption")
    assert "annotator 1: 2 regions (cat 2)" in legend and "annotator 2: 1 region (cat 1) (saw a suggestion)" in legend
    assert "annotator 3: nothing" in legend


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Outlines((np.array([[0, 0], [64, 0], [64, 48.0]]),), ("cat",), ("r",), (0,), 640, 480), "outline"),
        (Boxes(np.array([[[0, 0], [64, 0], [64, 48.0], [0, 48]]]), ("cat",), ("r",), (0,), 640, 480, True), "box"),
        (Points(np.array([[320.0, 240.0]]), ("cat",), ("r",), (0,), 640, 480), "point"),
        (Brushed((mask_of_pixels(np.pad(np.ones((100, 100), bool), 200)),), ("cat",), (0,), (("r",),)), "mask"),
    ],
)
def test_every_kind_of_region_is_drawn(value: Any, kind: str) -> None:
    _, tree = page(worst=[disagreement("PolygonLabels", "Image", [value, None])], look=lambda address: Absent("away"))
    drawn = tree.css("path.drawn")
    assert len(drawn) == 1 and kind in str(drawn[0].attributes["class"])
    assert kind != "box" or str(drawn[0].attributes["d"]).count("L") == 47  # an ellipse
    assert tree.css_first(".canvas") is not None and "The image is not shown: away." in text_of(tree, "figure")


def test_without_an_image_the_canvas_has_the_proportions_of_the_labels() -> None:
    known = disagreement("RectangleLabels", "Image", [boxes((1, 1), size=(100, 100)), boxes((1, 1), size=(300, 700))])
    _, tree = page(worst=[known])
    assert text_of_attribute(tree, ".drawing", "viewBox") == "0 0 300 700"
    unknown = disagreement("RectangleLabels", "Image", [boxes((1, 1), size=(100, 100))])
    assert "proportions are a guess" in text_of(page(worst=[unknown])[1], "figure")


def test_a_task_of_several_images_has_a_figure_for_each_that_has_regions() -> None:
    two = boxes((1, 1), (2, 2))
    two = Boxes(two.corners, two.labels, two.regions, (0, 2), 640, 480)
    asked: list[str] = []

    def look(address: str) -> Photo:
        asked.append(address)
        return Photo(PIXEL, 640, 480)

    found = disagreement("RectangleLabels", "Image", [two, None], {"key": ["a", "b", "c"]})
    _, tree = page(worst=[found], look=look)
    assert asked == ["a", "c"] and [len(f.css("g.region")) for f in tree.css("figure")] == [1, 1]


SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12), st.sampled_from(["per", "loc"])), max_size=6)


@settings(max_examples=40)
@given(st.text(min_size=1, max_size=40), SPANS)
def test_a_marked_text_is_the_text(text: str, marks: list[tuple[int, int, str]]) -> None:
    marks = [(start, min(start + length, len(text)), label) for start, length, label in marks if start < len(text)]
    starts, ends, labels = zip(*marks, strict=True) if marks else ((), (), ())
    n = len(marks)
    value = Spans(tuple(map(float, starts)), tuple(map(float, ends)), tuple(labels), ("r",) * n, ("",) * n, text)
    _, tree = page(worst=[disagreement("Labels", "Text", [value])])
    passage = tree.css_first(".passage")
    assert passage is not None
    covered = {at for start, end, _ in marks for at in range(start, end)}
    for label in passage.css(".label"):
        label.decompose()
    shown = str(escaped(text)).replace("\r\n", "\n").replace("\r", "\n")
    assert LexborHTMLParser(f"<p>{shown}</p>").css_first("p").text() == passage.text()  # type: ignore[union-attr]
    marked = "".join(each.text() for each in passage.css("mark"))
    normal = "".join(text[at] for at in sorted(covered))
    assert LexborHTMLParser(f"<p>{escaped(normal)}</p>").css_first("p").text() == marked  # type: ignore[union-attr]


def test_a_long_text_is_cut_around_what_was_marked() -> None:
    text = "a" * 9000 + "NAME" + "b" * 9000
    value = Spans((9000.0, 17000.0), (9004.0, 17010.0), ("per", "per"), ("r", "s"), ("", ""), text)
    _, tree = page(worst=[disagreement("Labels", "Text", [value, None])])
    said = text_of(tree, ".passages")
    assert "NAME" in said and len(said) < 9000 and "Characters 8850 to 11350" in text_of(tree, "article")
    assert "1 span further on" in text_of(tree, "article")


def test_times_are_bars_and_spans_without_a_text_are_a_table() -> None:
    value = Spans((1.5, 4.0), (3.0, 6.0), ("speech", ""), ("r", "s"), ("", ""), None)
    _, tree = page(worst=[disagreement("Labels", "Audio", [value, None])])
    assert [len(layer.css("rect")) for layer in tree.css(".tracks g.layer")] == [2, 0]
    hyper = Spans((0.0,), (3.0,), ("per",), ("r",), ("/p[1]",), None)
    _, tree = page(worst=[disagreement("HyperTextLabels", "HyperText", [hyper, None])])
    assert "/p[1]" in text_of(tree, "article table") and "nothing" in text_of(tree, "article table")


def test_answers_are_a_table_of_people() -> None:
    values = ["cat", None, frozenset({"b", "a"}), ("first", "second"), 4.0]
    _, tree = page(worst=[disagreement("Choices", "Text", values, {"key": "the text"})])
    rows = [row.css("td")[0].text() for row in tree.css("article tbody tr")]
    assert rows == ["cat", "nothing", "a, b", "first > second", "4"]
    assert text_of(tree, ".asked") == "the text"


# -- words ----------------------------------------------------------------------------------------------------------------


@given(st.text(), st.text())
def test_what_is_escaped_reads_back_as_text_and_attribute(text: str, other: str) -> None:
    made = element("p", named(text), title=other)
    tree = LexborHTMLParser(made)
    assert [each.tag for each in tree.css("body *")] == ["p", "bdi"]
    assert set(tree.css("p")[0].attributes) == {"title"}


def test_numbers_and_metrics_are_written_for_people() -> None:
    assert (number(0.5), number(12345), number(None), number(True)) == ("0.500", "12\u202f345", "–", "–")
    assert number(-0.25) == "−0.250"
    assert metric_name("token_krippendorff_alpha") == "Krippendorff's alpha (tokens)"
    assert metric_name("class_fleiss_kappa") == "Fleiss' kappa (classes of matched regions)"
    assert metric_name("new_metric") == "New metric"
    assert "0.667 and 0.8" in meaning("krippendorff_alpha", 0.7) and "reliable" in meaning("fleiss_kappa", 0.8)
    assert "one to one" in meaning("f1_50", 0.7) and "can't be told" in meaning("mean_iou", None)
