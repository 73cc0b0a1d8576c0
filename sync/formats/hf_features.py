"""Features of a Hugging Face dataset: the types of its columns for Arrow, for Parquet metadata, and for a dataset card.

Lists are told as `Sequence`, which every version of `datasets` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import pyarrow as pa

#: The key of a Parquet schema's metadata in which `datasets` keeps the features.
METADATA = b"huggingface"


@dataclass(frozen=True)
class Value:
    """A plain value: "string", "int64", "float64" or "bool"."""

    dtype: str


@dataclass(frozen=True)
class ClassLabel:
    """The place of a class among the names."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Image:
    """The bytes of an image file, and its path."""


@dataclass(frozen=True)
class ListOf:
    """A list of one feature."""

    feature: Feature


Feature = Value | ClassLabel | Image | ListOf | Mapping[str, Any]
"""One of the above, or a mapping of names to features (a struct)."""
Features = Mapping[str, Feature]


def arrow_type(feature: Feature) -> pa.DataType:
    """The Arrow type that `datasets` expects for a feature."""
    import pyarrow as pa

    match feature:
        case Value(dtype):
            return pa.type_for_alias(dtype)
        case ClassLabel():
            return pa.int64()
        case Image():
            return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        case ListOf(inner):
            return pa.list_(arrow_type(inner))
        case _:
            return pa.struct([(name, arrow_type(inner)) for name, inner in feature.items()])


def arrow_schema(features: Features) -> pa.Schema:
    """The schema of the files, with the features in its metadata."""
    import pyarrow as pa

    told = {"info": {"features": {name: _told(feature) for name, feature in features.items()}}}
    fields = [(name, arrow_type(feature)) for name, feature in features.items()]
    return pa.schema(fields, metadata={METADATA: orjson.dumps(told)})


def _told(feature: Feature) -> dict[str, Any]:
    match feature:
        case Value(dtype):
            return {"dtype": dtype, "_type": "Value"}
        case ClassLabel(names):
            return {"names": list(names), "_type": "ClassLabel"}
        case Image():
            return {"_type": "Image"}
        case ListOf(inner):
            return {"feature": _told(inner), "_type": "Sequence"}
        case _:
            return {name: _told(inner) for name, inner in feature.items()}


def card_features(features: Features) -> list[dict[str, Any]]:
    """The features as the YAML of a dataset card has them."""
    return [{"name": name, **_carded(feature)} for name, feature in features.items()]


def _carded(feature: Feature) -> dict[str, Any]:
    match feature:
        case Value(dtype):
            return {"dtype": dtype}
        case ClassLabel(names):
            return {"dtype": {"class_label": {"names": {str(place): name for place, name in enumerate(names)}}}}
        case Image():
            return {"dtype": "image"}
        case ListOf(inner):
            told = _carded(inner)
            only = told.get("dtype")
            return {"sequence": only if set(told) == {"dtype"} else told}
        case _:
            return {"struct": card_features(feature)}


# -- and back -----------------------------------------------------------------------------------------------------------


def features_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, Feature]:
    """The features that a schema's metadata tells, whatever version of `datasets` wrote it; unknown types are left out."""
    try:
        told = orjson.loads((metadata or {})[METADATA])["info"]["features"]
    except (KeyError, TypeError, orjson.JSONDecodeError):
        return {}
    return {str(name): found for name, each in told.items() if (found := _feature(each)) is not None}


def _feature(told: Any) -> Feature | None:
    if isinstance(told, list):
        inner = _feature(told[0]) if told else None
        return None if inner is None else ListOf(inner)
    if not isinstance(told, dict):
        return None
    type_ = told.get("_type")
    if not isinstance(type_, str):
        return {str(name): found for name, each in told.items() if (found := _feature(each)) is not None}
    if type_ in ("Sequence", "List", "LargeList"):
        inner = _feature(told.get("feature"))
        return None if inner is None else ListOf(inner)
    if type_ == "ClassLabel" and isinstance(told.get("names"), list):
        return ClassLabel(tuple(map(str, told["names"])))
    if type_ == "Value":
        return Value(str(told.get("dtype")))
    return Image() if type_ == "Image" else None
