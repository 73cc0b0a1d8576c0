"""A foreign model's classes on those of a label config."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.class_mapping import map_classes
from labelloop.errors import DataError
from labelloop.label_config import Control


def control(*classes: str) -> Control:
    return Control("Labels", "label", "text", "text", "Text", classes)


def test_s1_a_class_that_differs_in_case_only_is_found_both_ways() -> None:
    assert map_classes(["PERSON"], control("Person"), {}).mapping == {"PERSON": "Person"}
    assert map_classes(["Person"], control("PERSON"), {}).mapping == {"Person": "PERSON"}


def test_what_the_config_tells_goes_before_names_and_exact_before_folded() -> None:
    found = map_classes(
        ["PER", "per", "Org", "org", "GPE"],
        control("Person", "Org", "org", "Place"),
        {"Person": ("PER",), "Place": ("gpe",)},
    )
    assert found.mapping == {"PER": "Person", "per": "Person", "Org": "Org", "org": "org", "GPE": "Place"}
    assert map_classes(["car"], control("car", "vehicle"), {"vehicle": ("car",)}).mapping == {"car": "vehicle"}
    several = map_classes(["car", "truck"], control("vehicle"), {"vehicle": ("car", "truck")})
    assert several.mapping == {"car": "vehicle", "truck": "vehicle"}


def test_a_name_that_fits_two_classes_is_not_guessed() -> None:
    assert map_classes(["ORG"], control("Org", "org"), {}).mapping == {}
    with pytest.raises(DataError, match=r"gives 'PER' to 'Person' and to 'People'"):
        map_classes(["PER"], control("Person", "People"), {"Person": ("PER",), "People": ("PER",)})


def test_what_has_no_place_is_said_once_with_the_nearest_class() -> None:
    found = map_classes(["ORG", "PERSN", "CARDINAL"], control("Person", "Organisation"), {})
    assert found.mapping == {}
    assert found.unmapped == {"ORG": "Organisation", "PERSN": "Person", "CARDINAL": None}
    warning = found.warning("label")
    assert warning is not None
    assert "'ORG' (did you mean 'Organisation'?), 'PERSN' (did you mean 'Person'?), 'CARDINAL'." in warning
    assert map_classes(["Person"], control("Person"), {}).warning("label") is None


names = st.lists(st.text("abcAB", min_size=1, max_size=3), unique=True, max_size=6)


@given(names, names, st.dictionaries(st.sampled_from("abcAB"), st.tuples(st.text("abcAB", min_size=1, max_size=2))))
def test_each_model_class_is_mapped_to_a_class_of_the_control_or_is_reported(
    model: list[str], classes: list[str], told: dict[str, tuple[str]]
) -> None:
    said = [values[0] for name, values in told.items() if name in classes]
    if len(set(said)) < len(said):
        return
    found = map_classes(model, control(*classes), told)
    assert set(found.mapping) | set(found.unmapped) == set(model)
    assert not set(found.mapping) & set(found.unmapped)
    assert set(found.mapping.values()) <= set(classes)
    assert {near for near in found.unmapped.values() if near} <= set(classes)
