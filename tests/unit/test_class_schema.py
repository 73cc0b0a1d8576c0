"""Classes that are renamed, merged, split and retired: how old labels are read, which ids there are, which config follows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelloop.class_schema import ClassTable, table_of
from labelloop.config_editing import dataset_config, label_studio_config
from labelloop.errors import UsageError
from labelloop.label_config import parse_label_config

BOXES = (
    '<View>\n  <!-- asked by the team -->\n  <Image name="i" value="$image"/>\n  <RectangleLabels name="l" toName="i">\n'
    '    <Label value="car" background="red"/>\n    <Label value="bus"/>\n    <Label value="dog"/>\n'
    "  </RectangleLabels>\n</View>"
)


def config(*classes: str, tag: str = "Choices", value: str = "Choice") -> str:
    listed = "".join(f'<{value} value="{name}"/>' for name in classes)
    return f'<View><Text name="t" value="$text"/><{tag} name="l" toName="t">{listed}</{tag}></View>'


def box(label: str, region: str = "r") -> dict[str, Any]:
    value = {"x": 1, "y": 1, "width": 2, "height": 2, "rectanglelabels": [label]}
    return {"id": region, "from_name": "l", "to_name": "i", "type": "rectanglelabels", "value": value}


def choice(*labels: str) -> dict[str, Any]:
    return {"id": "c", "from_name": "l", "to_name": "t", "type": "choices", "value": {"choices": list(labels)}}


def read(table: ClassTable, *regions: dict[str, Any], task: int = 1, annotation: int = 1) -> list[Any]:
    found = table.read(task, annotation, regions)
    return [region["value"][region["type"]] for region in found.result]


def boxes() -> ClassTable:
    return table_of(parse_label_config(BOXES))


def classes_in(xml: str) -> tuple[str, ...]:
    return parse_label_config(xml).controls[0].classes


# -- reading old labels -----------------------------------------------------------------------------------------------


def test_a_renamed_class_reads_old_and_new_labels_and_leaves_the_raw_ones_alone() -> None:
    table = boxes().renamed("l", "dog", "hound")
    raw = box("dog")
    assert read(table, raw, box("hound"), box("car")) == [["hound"], ["hound"], ["car"]]
    assert raw == box("dog")


def test_merged_classes_read_as_one_and_a_region_that_had_both_has_it_once() -> None:
    table = boxes().merged("l", ["car", "bus"], "vehicle")
    both = box("car")
    both["value"]["rectanglelabels"] = ["car", "bus"]
    assert read(table, box("car"), box("bus"), both) == [["vehicle"]] * 3


def test_merges_and_renames_after_each_other_are_followed_to_the_end() -> None:
    table = boxes().merged("l", ["bus"], "car").renamed("l", "car", "vehicle").merged("l", ["vehicle", "dog"], "thing")
    assert read(table, box("car"), box("bus"), box("dog"), box("vehicle")) == [["thing"]] * 4


def test_a_split_class_is_open_until_each_region_is_said_to_be_one_of_the_parts() -> None:
    table = boxes().split("l", "car", ["taxi", "van"])
    found = table.read(1, 1, [box("car", "a"), box("dog", "b")])
    assert found.is_open and found.problem is not None and "'taxi', 'van'" in found.problem
    said = table.assigning({(1, 0, "a"): ("l", 3), (1, 7, "a"): ("l", 4)})
    assert read(said, box("car", "a")) == [["taxi"]] and read(said, box("car", "a"), annotation=7) == [["van"]]
    assert not said.read(1, 1, [box("car", "a")]).is_open and said.read(2, 1, [box("car", "a")]).is_open
    assert read(said, box("taxi"), box("van")) == [["taxi"], ["van"]]


def test_a_part_that_was_renamed_or_merged_since_is_followed() -> None:
    table = boxes().split("l", "car", ["taxi", "van"]).assigning({(1, 0, "a"): ("l", 3)})
    assert read(table.renamed("l", "taxi", "cab"), box("car", "a")) == [["cab"]]
    assert read(table.merged("l", ["taxi"], "bus"), box("car", "a")) == [["bus"]]


def test_boxes_of_a_retired_class_go_and_a_choice_without_any_class_left_is_no_truth() -> None:
    found = boxes().retiring("l", "dog").read(1, 1, [box("dog"), box("car")])
    assert [r["value"]["rectanglelabels"] for r in found.result] == [["car"]]
    assert found.problem is None and found.dropped == (("l", "dog"),)
    topics = table_of(parse_label_config(config("a", "b"))).retiring("l", "a")
    assert "retired" in str(topics.read(1, 1, [choice("a")]).problem)
    assert read(topics, choice("a", "b")) == [["b"]]


def test_what_is_no_class_of_the_table_and_regions_without_classes_stay_as_they_are() -> None:
    table = boxes().renamed("l", "dog", "hound")
    odd = [box("ghost"), {"type": "textarea", "value": {"text": ["hm"]}}, {"value": None}, {"id": 1}]
    assert table.read(1, 1, odd).result == odd and table.read(1, 1, odd).problem is None


def test_a_taxonomys_steps_are_renamed() -> None:
    tree = '<Choice value="animal"><Choice value="cat"/></Choice>'
    xml = f'<View><Text name="t" value="$t"/><Taxonomy name="l" toName="t">{tree}</Taxonomy></View>'
    table = table_of(parse_label_config(xml)).renamed("l", "animal", "beast")
    region = {"id": "x", "from_name": "l", "type": "taxonomy", "value": {"taxonomy": [["animal", "cat"]]}}
    assert read(table, region) == [[["beast", "cat"]]]
    assert parse_label_config(dataset_config(xml, table)).controls[0].paths == {("beast",), ("beast", "cat")}


# -- ids --------------------------------------------------------------------------------------------------------------


def test_a_config_appends_what_is_new_and_retires_what_is_gone_until_it_is_back() -> None:
    table = table_of(parse_label_config(config("a", "b")))
    table = table.with_config(parse_label_config(config("c", "b")))
    assert [(e.name, e.class_id, e.retired) for e in table.entries] == [
        ("a", 0, True),
        ("b", 1, False),
        ("c", 2, False),
    ]
    table = table.with_config(parse_label_config(config("b", "a")))
    assert [(e.name, e.class_id, e.retired) for e in table.entries] == [
        ("a", 0, False),
        ("b", 1, False),
        ("c", 2, True),
    ]


def test_places_count_over_controls_in_order_of_first_appearance() -> None:
    two = (
        '<View><Text name="t" value="$t"/><Choices name="l" toName="t"><Choice value="a"/>{}</Choices>'
        '<Choices name="m" toName="t"><Choice value="x"/></Choices></View>'
    )
    table = table_of(parse_label_config(two.format(""))).with_config(
        parse_label_config(two.format('<Choice value="b"/>'))
    )
    assert [(e.control, e.class_id, e.place) for e in table.entries] == [("l", 0, 0), ("m", 0, 1), ("l", 1, 2)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.renamed("l", "cat", "x"), r"no class 'cat'.*\['car', 'bus', 'dog'\]"),
        (lambda t: t.renamed("l", "dog", "car"), "a name stands for one class for ever"),
        (lambda t: t.renamed("l", "dog", " x"), "without blanks"),
        (lambda t: t.merged("l", ["car"], "car"), "nothing to merge"),
        (lambda t: t.split("l", "car", ["taxi"]), "two classes or more"),
        (lambda t: t.split("l", "car", ["car", "van"]), "a name of its own"),
        (lambda t: t.retiring("l", "dog").renamed("l", "dog", "x"), "was retired"),
        (lambda t: t.merged("l", ["car"], "bus").split("l", "car", ["x", "y"]), "became 'bus'"),
        (lambda t: t.renamed("l", "dog", "hound").renamed("l", "car", "dog"), "is or was another class"),
    ],
)
def test_a_change_that_cannot_be_says_why(change: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        change(boxes())


def test_a_name_may_come_back_to_its_own_class() -> None:
    table = boxes().renamed("l", "dog", "hound").renamed("l", "hound", "dog")
    assert table.find("l", "hound") == table.find("l", "dog") and read(table, box("hound")) == [["dog"]]


NAMES = st.sampled_from(["car", "bus", "dog", "taxi", "van", "x"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("rename"), NAMES, NAMES),
        st.tuples(st.just("merge"), st.lists(NAMES, min_size=1, max_size=3), NAMES),
        st.tuples(st.just("split"), NAMES, st.lists(NAMES, min_size=2, max_size=3)),
        st.tuples(st.just("retire"), NAMES, st.just("")),
        st.tuples(st.just("config"), st.lists(NAMES, min_size=1, max_size=5, unique=True), st.just("")),
    ),
    max_size=12,
)


@given(STEPS)
def test_whatever_happens_an_id_keeps_its_class_and_a_stored_name_means_one_class(steps: list[Any]) -> None:
    table = boxes()
    for kind, one, other in steps:
        before = table
        try:
            table = {
                "rename": lambda t, a, b: t.renamed("l", a, b),
                "merge": lambda t, a, b: t.merged("l", a, b),
                "split": lambda t, a, b: t.split("l", a, b),
                "retire": lambda t, a, b: t.retiring("l", a),
                "config": lambda t, a, b: t.with_config(parse_label_config(config(*a))),
            }[kind](table, one, other)
        except UsageError:
            continue
        # Ids are only added; what a class was called or stored as goes on meaning it.
        assert [e.class_id for e in table.entries] == list(range(len(table.entries)))
        for old, new in zip(before.entries, table.entries, strict=False):
            assert {old.name, *old.aliases} <= {new.name, *new.aliases}
            assert old.became is None or new.became == old.became
        said = [name for entry in table.entries for name in {entry.name, *entry.aliases}]
        assert len(said) == len(set(said))
        # Every label reads to a class of its own, or to none: never to one that is gone.
        for entry in table.entries:
            current = {e.name for e in table.entries if e.became is None}
            for names in read(table, *[box(name) for name in (entry.name, *entry.aliases)]):
                assert set(names) <= current or table.read(1, 1, [box(entry.name)]).is_open


# -- configs ----------------------------------------------------------------------------------------------------------


def test_a_config_whose_classes_never_changed_stays_letter_by_letter() -> None:
    tree = '<Choice value="a"><Choice value="other"/></Choice><Choice value="b"><Choice value="other"/></Choice>'
    taxonomy = f'<View><Text name="t" value="$t"/><Taxonomy name="l" toName="t">{tree}</Taxonomy></View>'
    for xml in (BOXES, taxonomy, config("a", "b").replace('value="b"', 'value="B" alias="b"')):
        table = table_of(parse_label_config(xml))
        assert dataset_config(xml, table) == xml == label_studio_config(xml, table)


def test_a_dataset_has_todays_classes_and_label_studio_goes_on_storing_the_old_ones() -> None:
    table = boxes().renamed("l", "dog", "hound").merged("l", ["car", "bus"], "vehicle")
    assert classes_in(dataset_config(BOXES, table)) == ("vehicle", "hound")
    shown = label_studio_config(BOXES, table)
    assert classes_in(shown) == ("car", "bus", "dog", "vehicle") and '<Label value="hound" alias="dog"' in shown
    assert "asked by the team" in shown
    followed = table.with_config(parse_label_config(shown))
    assert label_studio_config(shown, followed) == shown
    assert classes_in(dataset_config(shown, followed)) == ("vehicle", "hound")
    assert [entry.class_id for entry in followed.entries] == [0, 1, 2, 3]


def test_classes_that_were_split_or_retired_are_in_no_dataset_and_their_parts_are() -> None:
    table = boxes().split("l", "car", ["taxi", "van"]).retiring("l", "dog")
    assert classes_in(dataset_config(BOXES, table)) == ("bus", "taxi", "van")


def test_a_suggestion_is_sent_as_it_is_stored() -> None:
    parsed = parse_label_config(label_studio_config(BOXES, boxes().renamed("l", "dog", "hound")))
    assert parsed.as_stored(box("hound")) == box("dog") and parsed.as_stored(box("car")) == box("car")
    assert parsed.problem_with(parsed.as_stored({**box("hound"), "original_width": 9, "original_height": 9})) is None
    assert parsed.as_stored({"from_name": "l", "value": None}) == {"from_name": "l", "value": None}
