"""Free texts and rankings: how they are read, and how two people's compare."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from labelloop.label_config import parse_label_config
from qa.kinds.kind import Kind, Readings
from qa.kinds.rankings import RANKINGS, kendall_tau_b
from qa.kinds.registry import kind_of, measurable, unmeasured
from qa.kinds.texts import TEXTS

CONFIG = parse_label_config(
    '<View><Text name="text" value="$text"/><TextArea name="said" toName="text"/>'
    '<TextArea name="part" toName="text" perRegion="true"/>'
    '<List name="items" value="$items"/><Ranker name="rank" toName="items"/></View>'
)
SAID, PART, RANK = CONFIG.answers


def text_of(*lines: str) -> str | None:
    regions = [{"from_name": "said", "type": "textarea", "value": {"text": list(lines)}}]
    found = TEXTS.read(regions, SAID, {})
    assert found is None or isinstance(found, str)
    return found


def ranked(value: Any) -> Any:
    return RANKINGS.read([{"from_name": "rank", "type": "ranker", "value": {"ranker": value}}], RANK, {})


def row(kind: Kind, first: Any, second: Any) -> dict[str, Any]:
    compared = kind.compare(Readings(np.ones(2, np.int64), np.arange(2), (first, second))).pairs
    found: list[dict[str, Any]] = compared.to_dicts()
    return found[0] if found else {}


def test_texts_are_read_with_single_spaces() -> None:
    assert text_of("  two \n words ", "", "more") == "two words\nmore"
    assert text_of("  ") is None
    assert kind_of(SAID) is TEXTS and kind_of(PART) is None and kind_of(RANK) is RANKINGS


def test_what_people_note_beside_an_answer_is_not_compared() -> None:
    config = parse_label_config(
        '<View><Text name="text" value="$text"/><TextArea name="Comment" toName="text"/>'
        '<TextArea name="commented" toName="text"/><Rating name="note" toName="text"/></View>'
    )
    assert [control.name for control, _ in measurable(config)] == ["commented", "note"]
    assert [(each["control"], each["reason"]) for each in unmeasured(config)] == [
        ("Comment", "what people note about a task is no part of its label")
    ]


def test_texts_agree_but_for_their_edits() -> None:
    found = row(TEXTS, "the house", "the hous e")
    assert found["similarity"] == pytest.approx(0.9) and found["words"] == pytest.approx(1 / 3) and found["exact"] == 0
    assert row(TEXTS, "a b", "a b")["exact"] == 1
    assert row(TEXTS, "a b", None)["score"] == 0.0
    assert row(TEXTS, None, None) == {}


@given(st.text(max_size=12), st.text(max_size=12))
def test_similarity_is_that_of_the_edit_distance(first: str, second: str) -> None:
    if not (first or second):
        return
    before = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        now = [i]
        for j, b in enumerate(second, start=1):
            now.append(min(before[j] + 1, now[-1] + 1, before[j - 1] + (a != b)))
        before = now
    expected = 1 - before[-1] / max(len(first), len(second))
    assert row(TEXTS, first or None, second or None)["similarity"] == pytest.approx(expected)


def test_rankings_are_lists_or_buckets() -> None:
    assert ranked(["b", "a"]) == (("b",), ("a",))
    assert ranked({"rank": ["b", "a"]}) == (("b",), ("a",))
    assert ranked({"good": ["b", "a"], "bad": ["c"]}) == (("b", "a"), ("c",))
    assert ranked([]) is None and ranked("x") is None and ranked({"good": [], "bad": []}) is None


def test_orders_agree_by_their_pairs() -> None:
    assert row(RANKINGS, ranked(["a", "b", "c"]), ranked(["a", "b", "c"]))["tau"] == 1.0
    turned = row(RANKINGS, ranked(["a", "b", "c"]), ranked(["c", "b", "a"]))
    assert (turned["tau"], turned["score"], turned["exact"]) == (-1.0, 0.0, 0.0)
    assert row(RANKINGS, ranked(["a", "b"]), None) == {} and row(RANKINGS, ranked(["a", "b"]), ranked(["c"])) == {}


ranks = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), min_size=2)


@given(ranks, ranks)
def test_tau_is_that_of_scipy(first: dict[str, int], second: dict[str, int]) -> None:
    items = sorted(first.keys() & second.keys())
    found = kendall_tau_b(first, second)
    level = len({first[each] for each in items}) < 2 or len({second[each] for each in items}) < 2
    if level:
        assert found is None
    else:
        assert found == pytest.approx(
            kendalltau([first[each] for each in items], [second[each] for each in items]).statistic
        )
