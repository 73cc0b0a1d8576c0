"""What the columns of a Hugging Face dataset mean: ours, and those of datasets that others saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labelloop.errors import DataError
from sync.formats.hf_features import ClassLabel, Feature, Features, Image, ListOf, Value

_TEXTS = ("text", "sentence", "content", "document", "review")
_IMAGES = ("image", "img")
_TOKENS, _TAGS = ("tokens", "words"), ("ner_tags", "tags", "labels", "ner")
CATEGORIES = ("category", "label", "category_id", "labels", "categories")
#: Columns of ours that are neither shown nor labels.
_OURS = ("task_id", "data")
EXPECTED = (
    "image with objects {bbox, category}; tokens with ner_tags; text with spans {start, end, label}; or image or text with "
    "label or labels (classes as ClassLabel, or as text)"
)


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; `labels` maps each column of choices to its class names (None: the names are in it).

    `objects` are told by the column of their classes and its names; so are `spans`, and `tags` of tokens.
    """

    task: str
    image: str | None = None
    text: str | None = None
    objects: str | None = None
    category: str = "category"
    tokens: str | None = None
    tags: str | None = None
    spans: str | None = None
    labels: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    several: frozenset[str] = frozenset()
    names: tuple[str, ...] | None = None
    ours: bool = False

    @property
    def taken(self) -> set[str | None]:
        """The columns that are no data."""
        own = {self.image, self.text, self.objects, self.tokens, self.tags, self.spans, *self.labels}
        return own | set(_OURS) if self.ours else own


def columns_of(features: Features, task: str | None) -> Columns:
    """What the columns mean; DataError when none of them is a label."""
    image = _first(features, _IMAGES, (Image,)) or next((n for n, f in features.items() if isinstance(f, Image)), None)
    text = _first(features, _TEXTS, (Value,)) or _only_text(features)
    ours = "task_id" in features and "data" in features
    objects, category = _objects(features)
    if image and objects and task in (None, "detect", "segment"):
        inner = _inside(features[objects])
        found = "segment" if "segmentation" in inner else "detect"
        return Columns(
            task or found, image, objects=objects, category=category, names=_names(inner[category]), ours=ours
        )
    spans = "spans" if {"start", "end", "label"} <= set(_inside(features.get("spans"))) else None
    tokens = next((n for n in _TOKENS if isinstance(features.get(n), ListOf)), None)
    tags = next((n for n in _TAGS if tokens and isinstance(features.get(n), ListOf)), None)
    if task in (None, "ner") and ((spans and text) or tags):
        names = _names(_inside(features["spans"])["label"]) if spans and text else _names(features[str(tags)])
        shown = text if text in _TEXTS else None
        return Columns(
            "ner", text=shown, tokens=tokens, tags=tags, spans=spans if shown else None, names=names, ours=ours
        )
    shown = image or text
    labels = {n: _names(f) for n, f in features.items() if n not in (shown, *_OURS) and _is_label(n, f)}
    wanted = "classify" if image else "textcat"
    if shown is None or not labels or task not in (None, wanted):
        has = ", ".join(features) or "none"
        asked = f" as {task}" if task else ""
        raise DataError(f"expected a dataset{asked} with {EXPECTED}; got the columns {has}")
    several = frozenset(name for name in labels if isinstance(features[name], ListOf))
    return Columns(wanted, image, None if image else text, labels=labels, several=several, ours=ours)


def _first(features: Features, names: tuple[str, ...], types: tuple[type, ...]) -> str | None:
    return next((n for n in names if isinstance(features.get(n), types) or features.get(n) == Value("string")), None)


def _only_text(features: Features) -> str | None:
    """The column of text where there is one alone."""
    texts = [name for name, feature in features.items() if _is_text(feature) and name not in _OURS]
    return texts[0] if len(texts) == 1 else None


def _is_text(feature: Any) -> bool:
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def _objects(features: Features) -> tuple[str | None, str]:
    for name, feature in features.items():
        inner = _inside(feature)
        category = next((each for each in CATEGORIES if each in inner), None)
        if "bbox" in inner and category is not None:
            return name, category
    return None, "category"


def _inside(feature: Any) -> Mapping[str, Any]:
    """The features of what is listed, be it a struct of lists or a list of structs."""
    if isinstance(feature, ListOf):
        feature = feature.feature
    return feature if isinstance(feature, Mapping) else {}


def _names(feature: Feature) -> tuple[str, ...] | None:
    while isinstance(feature, ListOf):
        feature = feature.feature
    return feature.names if isinstance(feature, ClassLabel) else None


def _is_label(name: str, feature: Feature) -> bool:
    if _names(feature) is not None:
        return True
    text = feature.feature if isinstance(feature, ListOf) else feature
    return name in ("label", "labels") and _is_text(text)
