"""Label configs: controls, classes and what fits them."""

from __future__ import annotations

from typing import Any

import pytest

from labelloop.errors import DataError
from labelloop.label_config import CONTROL_TAGS, parse_label_config

XML = """
<View>
  <Image name="image" value="$picture"/>
  <RectangleLabels name="box" toName="image" strokeWidth="3">
    <Label value="cat"/><Label value="dog" alias="hound"/><Label value="cat"/>
  </RectangleLabels>
  <View><Choices name="mood" toName="image"><Choice value="good"/><Choice value="bad"/></Choices></View>
  <Text name="text" value="$body"/>
  <Labels name="span" toName="text"><Label value="PER"/></Labels>
  <Taxonomy name="kind" toName="text"><Choice value="a"><Choice value="b"/></Choice></Taxonomy>
</View>
"""


def box(**changes: Any) -> dict[str, Any]:
    value = {"x": 1, "y": 2.5, "width": 3, "height": 4, "rectanglelabels": ["cat"]}
    region = {"from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value}
    return region | changes


def test_controls_are_read_in_document_order() -> None:
    config = parse_label_config(XML)
    assert [c.name for c in config.controls] == ["box", "mood", "span", "kind"]
    first = config.control("box")
    assert (first.tag, first.to_name, first.data_key, first.object_tag) == (
        "RectangleLabels",
        "image",
        "picture",
        "Image",
    )
    assert first.classes == ("cat", "hound")  # an alias is what results carry; a class named twice is one class
    assert (first.region_type, first.value_key, first.attributes["strokeWidth"]) == (
        "rectanglelabels",
        "rectanglelabels",
        "3",
    )
    assert config.control("span").data_key == "body"
    assert config.control("kind").classes == ("a", "b")


def test_a_control_is_found_by_name_or_tag() -> None:
    config = parse_label_config(XML)
    assert config.first("Labels", "Choices").name == "mood"
    with pytest.raises(DataError, match=r"no control named 'bxo'.*'box'"):
        config.control("bxo")
    with pytest.raises(DataError, match="BrushLabels"):
        config.first("BrushLabels")


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        ("<View>", "not valid XML"),
        ("", "not valid XML"),
        ('<!DOCTYPE x [<!ENTITY e "boom">]><View>&e;</View>', "not valid XML"),
        ('<View><Choices name="c" toName="nothing"/></View>', "no such object tag"),
        ('<View><Text name="t" value="$t"/><Choices name="c"/></View>', "no such object tag"),
    ],
)
def test_what_cannot_be_read_is_refused(xml: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_label_config(xml)


def test_a_config_without_controls_has_none() -> None:
    assert parse_label_config('<View><Text name="t" value="$t"/></View>').controls == ()


def test_a_region_that_fits_has_no_problem() -> None:
    config = parse_label_config(XML)
    assert config.problem_with(box()) is None
    nested = {"from_name": "kind", "to_name": "text", "type": "taxonomy", "value": {"taxonomy": [["a", "b"]]}}
    assert config.problem_with(nested) is None


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (box(from_name="bxo"), "unknown control 'bxo'"),
        (box(to_name="text"), "labels 'image'"),
        (box(type="brushlabels"), "type 'rectanglelabels'"),
        (box(value={"x": 1}), "rectanglelabels is empty"),
        (box(value=None), "value is no object"),
        (box(value={"rectanglelabels": ["cow"]}), "'cow' is not in the config"),
        (box(value={"rectanglelabels": ["dog"]}), "'dog' is not in the config"),
    ],
)
def test_what_does_not_fit_is_said(region: dict[str, Any], said: str) -> None:
    found = parse_label_config(XML).problem_with(region)
    assert found is not None and said in found


@pytest.mark.parametrize("tag", sorted(CONTROL_TAGS))
def test_every_control_tag_is_read(tag: str) -> None:
    value_tag, region_type, key = CONTROL_TAGS[tag]
    config = parse_label_config(
        f'<View><Text name="o" value="$x"/><{tag} name="c" toName="o"><{value_tag} value="one"/></{tag}></View>'
    )
    control = config.control("c")
    assert (control.classes, control.region_type, control.value_key) == (("one",), region_type, key)


def test_an_empty_alias_is_none_and_a_label_without_a_name_is_no_class() -> None:
    config = parse_label_config(
        '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="a" alias=""/><Choice/>'
        '<Choice value=" b " predicted_values="x"/></Choices></View>'
    )
    assert config.control("c").name == "c"
    assert config.control("c").classes == ("a", " b ")


def test_the_paths_of_a_taxonomy_go_by_aliases() -> None:
    config = parse_label_config(
        '<View><Text name="t" value="$t"/><Taxonomy name="c" toName="t"><Choice value="Animals" alias="animal">'
        '<View><Choice value="cat"/></View></Choice><Choice value="cat"/></Taxonomy></View>'
    )
    assert config.control("c").paths == {("animal",), ("animal", "cat"), ("cat",)}


def test_a_comparison_stands_under_the_first_of_what_it_compares() -> None:
    text = '<Text name="a" value="$one"/><Text name="b" value="$two"/>'
    config = parse_label_config(
        f'<View>{text}<Pairwise name="p" toName="a, b"/><Pairwise name="q" toName="c,a"/></View>'
    )
    (found,) = config.answers
    assert (found.name, found.to_name, found.data_key, found.object_tag) == ("p", "a", "one", "Text")
    assert (found.region_type, found.value_key) == ("pairwise", "selected")
