"""The demo's texts: truthful offsets, names that never repeat, near misses, the same for the same seed."""

from __future__ import annotations

import re
from collections import Counter

from labelloop.demo.texts import NER_LABELS, TOPIC_LABELS, generate_classification, generate_ner

NEWS = generate_ner()
MESSAGES = generate_classification()


def test_as_many_different_texts_as_asked_for() -> None:
    assert len(NEWS) == len({truth.text for truth in NEWS}) == 800
    assert len(MESSAGES) == len({truth.text for truth in MESSAGES}) == 800


def test_same_seed_same_texts_and_another_seed_others() -> None:
    assert generate_ner(60, seed=4) == generate_ner(60, seed=4)
    assert generate_classification(60, seed=4) == generate_classification(60, seed=4)
    assert generate_ner(60, seed=4) != generate_ner(60, seed=5)
    assert generate_classification(60, seed=4) != generate_classification(60, seed=5)


def test_spans_lie_in_the_text_in_order_and_begin_and_end_with_a_visible_character() -> None:
    for truth in NEWS:
        end = 0
        for start, stop, label in truth.spans:
            assert end <= start < stop <= len(truth.text)
            assert label in NER_LABELS
            assert truth.text[start:stop] == truth.text[start:stop].strip()
            end = stop


def test_no_name_and_no_invented_word_of_a_name_occurs_in_two_texts() -> None:
    names = Counter(truth.text[start:end].lower() for truth in NEWS for start, end, _ in truth.spans)
    assert len(names) > 1000
    assert max(names.values()) == 1
    for truth in NEWS[:100]:
        for start, end, _ in truth.spans:
            name = re.escape(truth.text[start:end])
            assert sum(bool(re.search(rf"(?<!\w){name}(?!\w)", other.text)) for other in NEWS) == 1


def test_every_class_is_frequent_and_some_texts_have_no_entity() -> None:
    labels = Counter(label for truth in NEWS for _, _, label in truth.spans)
    assert min(labels[name] for name in NER_LABELS) >= 150
    assert 60 <= sum(not truth.spans for truth in NEWS) <= 140
    topics = Counter(truth.label for truth in MESSAGES)
    assert set(topics) == set(TOPIC_LABELS)
    assert max(topics.values()) - min(topics.values()) <= 1


def test_capitalised_words_that_are_no_entity_are_common() -> None:
    outside = 0
    for truth in NEWS:
        inside = [range(start, end) for start, end, _ in truth.spans]
        for word in re.finditer(r"(?<=[a-z] )[A-Z]\w{3,}", truth.text):
            outside += not any(word.start() in span for span in inside)
    assert outside > 300


def test_some_texts_hold_emoji_other_scripts_and_several_lines() -> None:
    for texts in ([t.text for t in NEWS], [t.text for t in MESSAGES]):
        assert sum(any(ord(letter) > 0xFFFF for letter in text) for text in texts) >= 20
        assert sum(any(0x7F < ord(letter) <= 0xFFFF for letter in text) for text in texts) >= 20
        assert sum("\n" in text for text in texts) >= 20
        assert any("\r\n" in text for text in texts)


def test_misleading_words_of_another_topic_occur_in_each_topic() -> None:
    ruled_out = [t for t in MESSAGES if re.search(r"not about|nothing to do with|don't tell me", t.text)]
    assert {truth.label for truth in ruled_out} == set(TOPIC_LABELS)
    assert len(ruled_out) >= 30
