"""How many of the labels that rank first as errors were made wrong on purpose, with as many looked at as were made wrong.

Texts go through the real path: models that did not see a text tell its class. Boxes and spans are judged by predictions that are
made of the truth with noise, so that these figures tell of the detector and not of a model.

    python -m benchmarks._injected_errors [texts.csv]    columns text and category; without one, texts of the demo
"""

from __future__ import annotations

import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from labelloop.demo.texts import NER_LABELS, generate_classification, generate_ner
from labelloop.label_config import LabelConfig, parse_label_config
from qa.issues import Label, error_report
from qa.issues.classes import RankedBy, class_findings
from qa.issues.report import Clues
from qa.kinds.categories import CATEGORIES
from sync.ingesting.fingerprints import text_fingerprint
from sync.near_groups import near_groups
from sync.out_of_fold import Example, text_chances

SHARE = 0.1
AT = datetime(2026, 11, 2, tzinfo=UTC)
Pairs = Sequence[tuple[str, str]]


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(text, class) of a CSV with the columns text and category (or label)."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row.get("category") or row["label"]) for row in csv.DictReader(file)]


def generated_pairs(count: int = 800) -> list[tuple[str, str]]:
    """Texts of the demo with their class."""
    return [(each.text, each.label) for each in generate_classification(count)]


def measure_texts(
    pairs: Pairs, *, share: float = SHARE, seed: int = 1, ranked_by: RankedBy = "odds"
) -> list[dict[str, Any]]:
    """Precision for labels flipped to any other class, and for labels flipped to the class that theirs is most confused with.

    What is most confused is told by the models of the first run, on the labels as they came.
    """
    texts, truth = [text for text, _ in pairs], [label for _, label in pairs]
    names = sorted(set(truth))
    groups = near_groups({at: text_fingerprint(text) for at, text in enumerate(texts)})
    group_of = {task: group[0] for group in groups for task in group}
    clean = _chances(texts, truth, group_of)
    said = {task: max(chances, key=lambda name: chances[name]) for task, chances in clean.items()}
    taken_for = _most_confused(truth, said, clean)
    source = np.random.default_rng(seed)
    n = round(share * len(pairs))
    found = []
    for noise in ("uniform", "confusable"):
        flipped = sorted(source.choice(len(pairs), n, replace=False).tolist())
        labels = list(truth)
        for at in flipped:
            others = [name for name in names if name != truth[at]]
            labels[at] = others[int(source.integers(len(others)))] if noise == "uniform" else taken_for[truth[at]]
        config = _choices(names)
        made = [_label(at, _choice(label), {"text": texts[at]}) for at, label in enumerate(labels)]
        findings = class_findings(
            made, config.control("topic"), CATEGORIES, _chances(texts, labels, group_of), ranked_by=ranked_by
        )
        first = {each.task: each for each in findings[:n]}
        hits = set(first) & set(flipped)
        found.append(
            {
                "what": f"texts, {noise} noise",
                "labels": len(pairs),
                "classes": len(names),
                "injected": n,
                "findings": len(findings),
                "precision": round(len(hits) / n, 4),
                "suggested_right": round(sum(first[at].suggested == truth[at] for at in hits) / max(len(hits), 1), 4),
                "accuracy_before": round(sum(said[at] == truth[at] for at in said) / len(said), 4),
            }
        )
    return found


def measure_boxes(images: int = 200, *, share: float = SHARE, seed: int = 1) -> list[dict[str, Any]]:
    """Precision for boxes left out, moved and of another class; predictions are the truth moved, with misses and ghosts.

    They are made less sure where they are wrong, as those of models are: `_confidence` says how.
    """
    source = np.random.default_rng(seed)
    classes = ("cell", "nucleus", "plate")
    config = parse_label_config(
        '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
        + "".join(f'<Label value="{name}"/>' for name in classes)
        + "</RectangleLabels></View>"
    )
    labels, regions, wrong = [], {}, set()
    for task in range(images):
        places = [(x, y) for x in range(5, 85, 20) for y in range(5, 85, 20)]
        chosen = source.permutation(len(places))[: int(source.integers(2, 8))]
        truth = [
            (*map(float, places[at]), *source.uniform(8, 14, 2), classes[int(source.integers(3))]) for at in chosen
        ]
        told, seen = [], []
        for at, (x, y, width, height, name) in enumerate(truth):
            noise = source.normal(0, 0.06, 4) * (width, height, width, height)
            predicted = name if source.random() > 0.04 else classes[int(source.integers(3))]
            if source.random() > 0.05:
                values = (x + noise[0], y + noise[1], width + noise[2], height + noise[3])
                seen.append(_box("", predicted, *values, _confidence(source, predicted == name)))
            given = name
            if source.random() < share:
                kind = ("missing", "low_overlap", "wrong_class")[int(source.integers(3))]
                wrong.add((task, kind, None if kind == "missing" else f"r{at}"))
                if kind == "missing":
                    continue
                if kind == "low_overlap":
                    x += 0.6 * width
                else:
                    given = classes[(classes.index(name) + 1 + int(source.integers(2))) % 3]
            told.append(_box(f"r{at}", given, x, y, width, height))
        if source.random() < 0.1:
            seen.append(_box("", classes[int(source.integers(3))], 88, 88, 10, 10, _confidence(source, False)))
        labels.append(_label(task, told, {"image": f"{task}.png"}))
        regions[task] = seen
    return [_precision("boxes, predictions made of the truth", labels, config, regions, wrong)]


def measure_spans(texts: int = 400, *, share: float = SHARE, seed: int = 1) -> list[dict[str, Any]]:
    """Precision for spans left out, cut and of another class; predictions are the truth with misses and wrong boundaries."""
    source = np.random.default_rng(seed)
    config = parse_label_config(
        '<View><Labels name="ner" toName="text">'
        + "".join(f'<Label value="{name}"/>' for name in NER_LABELS)
        + '</Labels><Text name="text" value="$text"/></View>'
    )
    labels, regions, wrong = [], {}, set()
    for task, truth in enumerate(generate_ner(texts)):
        told, seen = [], []
        for at, (start, end, name) in enumerate(truth.spans):
            if source.random() > 0.07:
                last = end if source.random() > 0.05 else max(start + 1, end - 2)
                predicted = name if source.random() > 0.04 else NER_LABELS[int(source.integers(3))]
                seen.append(_span("", predicted, start, last, _confidence(source, (last, predicted) == (end, name))))
            given = name
            if source.random() < share:
                kind = ("missing", "boundary", "wrong_class")[int(source.integers(3))]
                wrong.add((task, kind, None if kind == "missing" else f"r{at}"))
                if kind == "missing":
                    continue
                if kind == "boundary":
                    end = start + max(1, (end - start) // 2)
                else:
                    given = NER_LABELS[(NER_LABELS.index(name) + 1 + int(source.integers(2))) % 3]
            told.append(_span(f"r{at}", given, start, end))
        labels.append(_label(task, told, {"text": truth.text}))
        regions[task] = seen
    return [_precision("spans, predictions made of the truth", labels, config, regions, wrong)]


def _precision(
    what: str, labels: Sequence[Label], config: LabelConfig, regions: Mapping[int, Any], wrong: set[Any]
) -> dict[str, Any]:
    report = error_report(labels, config, Clues(regions=regions))
    first = report["findings"][: len(wrong)]
    hits = Counter(each["type"] for each in first if (each["task"], each["type"], each["region"]) in wrong)
    return {
        "what": what,
        "labels": len(labels),
        "injected": len(wrong),
        "findings": len(report["findings"]),
        "precision": round(sum(hits.values()) / len(wrong), 4),
        "found": dict(sorted(hits.items())),
    }


def _confidence(source: np.random.Generator, right: bool) -> float:
    return float(source.uniform(0.5, 1.0) if right else source.uniform(0.3, 0.8))


def _chances(texts: Sequence[str], labels: Sequence[str], group_of: Mapping[int, int]) -> dict[int, dict[str, float]]:
    return text_chances(
        [
            Example(at, text, label, group_of.get(at, at))
            for at, (text, label) in enumerate(zip(texts, labels, strict=True))
        ]
    )


def _most_confused(
    truth: Sequence[str], said: Mapping[int, str], chances: Mapping[int, Mapping[str, float]]
) -> dict[str, str]:
    """Class -> the one that models take it for most often; where that never happens, the likeliest other one."""
    taken: dict[str, dict[str, float]] = {name: defaultdict(float) for name in truth}
    for at, name in said.items():
        for other, chance in chances[at].items():
            if other != truth[at]:
                taken[truth[at]][other] += (name == other) + chance / len(truth)
    return {name: max(counts, key=lambda other: (counts[other], other)) for name, counts in taken.items()}


def _choices(names: Sequence[str]) -> LabelConfig:
    from xml.sax.saxutils import quoteattr

    inner = "".join(f"<Choice value={quoteattr(name)}/>" for name in names)
    return parse_label_config(
        f'<View><Text name="text" value="$text"/><Choices name="topic" toName="text">{inner}</Choices></View>'
    )


def _label(task: int, result: list[dict[str, Any]], data: dict[str, Any]) -> Label:
    return Label(task, task, 1, AT, result, data)


def _choice(name: str) -> list[dict[str, Any]]:
    return [{"from_name": "topic", "to_name": "text", "type": "choices", "value": {"choices": [name]}}]


def _box(region: str, name: str, x: float, y: float, width: float, height: float, score: float = 1.0) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": [name]}
    return {
        "id": region,
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "value": value,
        "score": score,
    }


def _span(region: str, name: str, start: int, end: int, score: float = 1.0) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [name]}
    return {"id": region, "from_name": "ner", "to_name": "text", "type": "labels", "value": value, "score": score}


def main() -> None:
    """Print each measurement as one line of JSON."""
    pairs = read_pairs(Path(sys.argv[1])) if len(sys.argv) > 1 else generated_pairs()
    for each in (*measure_texts(pairs), *measure_boxes(), *measure_spans()):
        print(orjson.dumps(each).decode(), flush=True)


if __name__ == "__main__":
    main()
