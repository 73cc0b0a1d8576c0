"""What people marked in a text, a row for each of them, and in a sound or series, a line of time for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from qa.kinds.shapes import Spans
from qa.report.disagreements import Answer, Disagreement
from qa.report.inks import dash, ink, sample, underline
from qa.report.markup import Child, Html, element, joined, named
from qa.report.tables import framed, table
from qa.report.wording import counted

#: Characters of a text that are shown; of one that is longer than SHORT, from so many before the first mark to so many
#: after the last one.
MOST_CHARACTERS, SHORT, AROUND = 2500, 500, 150
#: Spans of one person in a table or a line of time.
MOST_SPANS = 200


@dataclass(frozen=True)
class _Span:
    start: float
    end: float
    label: str
    place: str


def passage_rows(found: Disagreement) -> Html:
    """Rows of the text with each person's spans underlined; times as bars; else a table of the spans."""
    read = [_spans(answer.value) for answer in found.answers]
    text = next((a.value.text for a in found.answers if isinstance(a.value, Spans) and a.value.text is not None), None)
    if any(span.place for each in read for span in each):
        return _table(found.answers, read)
    if text is not None:
        return _underlined(found.answers, read, text)
    if found.control.object_tag in ("Audio", "AudioPlus", "Video", "TimeSeries"):
        return _tracks(found, read)
    return _table(found.answers, read)


def _spans(value: object) -> list[_Span]:
    if not isinstance(value, Spans):
        return []
    parts = zip(value.starts, value.ends, value.labels, value.places, strict=True)
    return sorted((_Span(*each) for each in parts), key=lambda span: (span.start, span.end, span.label))


def _head(place: int, answer: Answer) -> list[Child]:
    return [sample(place), f" annotator {answer.annotator}{'' if answer.blind else ' (saw a suggestion)'}"]


# -- texts ----------------------------------------------------------------------------------------------------------------


def _underlined(answers: Sequence[Answer], read: Sequence[Sequence[_Span]], text: str) -> Html:
    marks = [span for each in read for span in each]
    first, last = 0, min(len(text), MOST_CHARACTERS)
    if len(text) > SHORT:
        first = min(int(max(0, min((span.start for span in marks), default=0) - AROUND)), len(text))
        end = int(min(max((span.end for span in marks), default=0) + AROUND, len(text)))
        last = min(max(end, first + SHORT), first + MOST_CHARACTERS, len(text))
    rows = [
        element(
            "li",
            element("div", *_head(place, answer), class_="who"),
            element("p", *_marked(text, read[place], place, first, last), class_="passage", dir="auto"),
            data_annotator=answer.annotator,
        )
        for place, answer in enumerate(answers)
    ]
    outside = sum(span.start >= last for span in marks)
    notes: list[Child] = []
    if (first, last) != (0, len(text)):
        notes.append(f"Characters {first} to {last} of {len(text)} are shown.")
    if outside:
        notes.append(f" {counted(outside, 'span')} further on.")
    return joined([element("ul", *rows, class_="passages"), element("p", *notes, class_="note") if notes else None])


def _marked(text: str, spans: Sequence[_Span], place: int, first: int, last: int) -> list[Child]:
    """The text between two places, cut where a span starts or ends; each piece below which spans lie is underlined."""
    cut = [
        (max(int(s.start), first), min(int(s.end), last), s.label) for s in spans if s.end > first and s.start < last
    ]
    cut = [each for each in cut if each[0] < each[1]][:MOST_SPANS]
    bounds = sorted({first, last, *(end for each in cut for end in each[:2])})
    parts: list[Child] = ["… "] if first else []
    for start, end in pairwise(bounds):
        over = [each for each in cut if each[0] <= start and end <= each[1]]
        if not over:
            parts.append(text[start:end])
            continue
        starting = [label for begin, _, label in over if begin == start]
        shown = [element("small", named(label or "no class"), class_="label") for label in starting]
        style = f"text-decoration-style: {underline(place)}"
        depth = " deep" if len(over) > 1 else ""
        parts.append(element("mark", *shown, element("span", text[start:end], style=style),
                             class_=f"{ink(place)}{depth}"))  # fmt: skip
    return [*parts, " …"] if last < len(text) else parts


# -- times ----------------------------------------------------------------------------------------------------------------


def _tracks(found: Disagreement, read: Sequence[Sequence[_Span]]) -> Html:
    marks = [span for each in read for span in each]
    low, high = min((s.start for s in marks), default=0.0), max((s.end for s in marks), default=1.0)
    low = min(0.0, low) if high else low
    scale = 900.0 / ((high - low) or 1.0)
    rows, height = [], 34
    for place, answer in enumerate(found.answers):
        top = 8 + height * place
        bars = [
            element(
                "g",
                element("title", f"annotator {answer.annotator}: {span.label or 'no class'}, {span.start:g} to {span.end:g}"),
                element("rect", x=f"{(span.start - low) * scale:.1f}", y=top + 12,
                        width=f"{max((span.end - span.start) * scale, 2.0):.1f}", height=12,
                        stroke_dasharray=dash(place), class_="drawn"),
                element("text", span.label, x=f"{(span.start - low) * scale:.1f}", y=top + 8, font_size=11),
                class_="region",
            )
            for span in read[place][:MOST_SPANS]
        ]  # fmt: skip
        rows.append(element("g", *bars, class_=f"layer {ink(place)}", data_annotator=answer.annotator))
    total = 8 + height * len(rows)
    ends = [
        element("text", f"{low:g}", x=0, y=total + 12, font_size=11),
        element("text", f"{high:g}", x=900, y=total + 12, font_size=11, text_anchor="end"),
    ]
    said = "; ".join(
        f"annotator {answer.annotator}: {len(read[place])} spans" for place, answer in enumerate(found.answers)
    )
    drawing = element(
        "svg", element("title", f"Task {found.task}: what each person marked. {said}"), *rows, *ends,
        viewBox=f"-4 0 908 {total + 18}", width=908, class_="tracks", role="img",
    )  # fmt: skip
    legend = [element("li", *_head(place, answer)) for place, answer in enumerate(found.answers)]
    return element(
        "figure", framed(drawing, "Marked times"), element("figcaption", element("ul", *legend, class_="legend"))
    )


def _table(answers: Sequence[Answer], read: Sequence[Sequence[_Span]]) -> Html:
    rows: list[list[Child]] = []
    for place, answer in enumerate(answers):
        who = joined(_head(place, answer))
        rows += [
            [who, named(span.label or "no class"), f"{span.start:g}", f"{span.end:g}", span.place]
            for span in read[place][:MOST_SPANS]
        ] or [[who, "nothing", "–", "–", "–"]]
    return table("What each person marked", ["Person", "Class", "From", "To", "Part"], rows)
