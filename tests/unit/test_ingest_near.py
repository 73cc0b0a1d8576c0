"""Near duplicates by buckets: for images the same pairs as comparing all with all, for texts nearly, and groups of them."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sync.ingesting import near
from sync.ingesting.fingerprints import image_rows, text_fingerprint, text_rows
from sync.ingesting.grouping import NearCounts, NearOptions, group_near
from sync.ingesting.journal import Candidate, Held, Journal
from sync.ingesting.near import band_length, near_images, near_texts
from sync.ingesting.run_files import RunFiles

WORDS = [f"word{n}" for n in range(400)]


def nothing(_row: int, others: Any) -> Any:
    return np.zeros(len(others), dtype=bool)


def hashes(count: int, copies: int, seed: int, most: int = 40) -> Any:
    """Random hashes, of which some are copies of others with up to `most` bits changed."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 2**64, (count, 4), dtype=np.uint64)
    for _ in range(copies):
        one, other = rng.integers(0, count, 2)
        rows[one] = rows[other]
        for bit in rng.choice(256, rng.integers(0, most + 1), replace=False):
            rows[one, bit // 64] ^= np.uint64(1) << np.uint64(63 - bit % 64)
    return rows


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 30), st.integers(0, 59))
def test_images_within_the_distance_are_all_found(seed: int, distance: int, first: int) -> None:
    rows = hashes(60, 40, seed)
    found = {(pair.earlier, pair.row, pair.measure) for pair in near_images(rows, first, distance, nothing)}
    expected = {
        (one, other, float(bits))
        for one, other in itertools.combinations(range(60), 2)
        if other >= first and (bits := int(np.bitwise_count(rows[one] ^ rows[other]).sum())) <= distance
    }
    assert found == expected


def test_work_on_many_is_no_matter_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = hashes(20_000, 1000, 1, most=20)
    compared = 0
    unique = np.unique

    def counting(values: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal compared
        compared += len(values)
        return unique(values, *args, **kwargs)

    monkeypatch.setattr(near.np, "unique", counting)
    assert sum(1 for _ in near_images(rows, 0, 20, nothing)) >= 900
    assert compared < 20_000**2 / 2 * 0.02


def test_a_collection_that_is_one_heap_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "BUCKET_LIMIT", 50)
    rows = np.repeat(hashes(1, 0, 1), 3000, axis=0)
    pairs = list(near_images(rows, 0, 20, nothing))
    assert len({pair.row for pair in pairs}) == 2999 and len(pairs) <= 3000 * 50


def changed(text: str, share: float, source: random.Random) -> str:
    words = text.split()
    return " ".join(source.choice(WORDS) if source.random() < share else word for word in words)


def test_texts_over_the_similarity_are_found_and_others_are_not() -> None:
    source = random.Random(4)
    texts = [" ".join(source.choices(WORDS, k=120)) for _ in range(300)]
    copies = [changed(text, 0.02, source) for text in texts[:100]]
    rows = text_rows([text_fingerprint(text) for text in [*texts, *copies]])
    found = {(pair.earlier, pair.row) for pair in near_texts(rows, 300, 0.8, nothing)}
    alike = {
        (one, 300 + other)
        for one, other in itertools.product(range(300), range(100))
        if (rows[one] == rows[300 + other]).mean() >= 0.8
    }
    assert found <= alike and len(found) >= 0.98 * len(alike) and len(alike) >= 90
    assert all(later == earlier + 300 for earlier, later in found)


def test_case_and_white_space_make_no_difference_and_short_texts_have_a_fingerprint() -> None:
    text = "Please send the INVOICE again, it never arrived here."
    assert text_fingerprint(text) == text_fingerprint(text.lower().replace(" ", "\n\n"))
    assert text_fingerprint("ok") == text_fingerprint("OK") != text_fingerprint("no")
    assert len(text_rows([text_fingerprint(""), text_fingerprint("x" * 100_000)])) == 2
    assert text_fingerprint("near").startswith("minhash128:") and len(text_fingerprint("near")) == 355
    assert image_rows(["phash256:" + "0" * 63 + "1"]).tolist() == [[0, 0, 0, 1]]


def test_a_fingerprint_is_the_same_in_every_release() -> None:
    """It is kept in the tasks, and compared for ever."""
    rows = text_rows([text_fingerprint("The quick brown fox jumps over the lazy dog.")])
    assert rows[0, :4].tolist() == [14816, 50150, 43637, 56346]


@pytest.mark.parametrize(("similarity", "length"), [(0.95, 16), (0.85, 8), (0.7, 4), (0.5, 2)])
def test_bands_are_as_long_as_the_threshold_allows(similarity: float, length: int) -> None:
    assert band_length(similarity, 128) == length


# -- groups -----------------------------------------------------------------------------------------------------------


class Notes:
    """A journal with candidates and tasks that carry given hashes."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "work.sqlite3")
        self.folder = folder

    def add(self, name: str, bits: int, key: str | None = None) -> None:
        """A candidate whose hash has the lowest `bits` set."""
        print_ = f"phash256:{(1 << bits) - 1:064x}"
        self.journal.add_candidate(Candidate(0, name, f"{name}.png", {}, key or name, print_, False, None))

    def hold(self, task_id: int, bits: int, key: str) -> None:
        held = Held(task_id, f"held{task_id}", key, f"phash256:{(1 << bits) - 1:064x}", 1, None)
        self.journal.add_held([held])

    def group(self, **options: Any) -> tuple[NearCounts, dict[str, str], list[dict[str, Any]]]:
        with RunFiles(self.folder / "run") as files:
            counts = group_near(self.journal, NearOptions(distance=4, **options), files)
        path = self.folder / "run" / "duplicates.jsonl"
        pairs = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return counts, {c.content: c.key for c in self.journal.candidates(present=False)}, pairs


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


def test_near_items_share_the_group_of_the_first_also_by_way_of_a_third(notes: Notes) -> None:
    for name, bits in (("a", 0), ("b", 3), ("c", 6), ("far", 90)):
        notes.add(name, bits)
    counts, keys, pairs = notes.group()
    assert keys == {"a": "a", "b": "a", "c": "a", "far": "far"}
    assert (counts.found, counts.groups, counts.largest, counts.to_project) == (2, 1, 3, 0)
    assert pairs == [
        {"source": "b.png", "same_as": "a.png", "kind": "near", "measure": 3.0},
        {"source": "c.png", "same_as": "b.png", "kind": "near", "measure": 3.0},
    ]


def test_a_bridge_joins_what_came_before_it(notes: Notes) -> None:
    for name, bits in (("a", 0), ("b", 8), ("bridge", 4)):
        notes.add(name, bits)
    assert set(notes.group()[1].values()) == {"a"}


def test_the_projects_group_wins_and_two_of_its_groups_stay_two(notes: Notes) -> None:
    notes.hold(1, 0, "old")
    notes.hold(2, 8, "other")
    for name, bits in (("a", 2), ("b", 4), ("c", 9)):
        notes.add(name, bits)
    counts, keys, pairs = notes.group()
    assert keys["a"] == "old" and keys["c"] == "other" and keys["b"] in ("old", "other")
    assert (counts.found, counts.to_project) == (3, 3) and pairs[0]["same_as"] == "task 1"


def test_groups_that_the_source_names_are_joined_as_a_whole(notes: Notes) -> None:
    notes.add("a", 0, "patient 1")
    notes.add("b", 90, "patient 1")
    notes.add("c", 2, "patient 2")
    notes.add("d", 180, "patient 2")
    assert set(notes.group()[1].values()) == {"patient 1"}


def test_dropping_keeps_what_is_near_nothing_that_stays(notes: Notes) -> None:
    notes.hold(1, 200, "old")
    for name, bits in (("a", 0), ("b", 3), ("c", 6), ("d", 202)):
        notes.add(name, bits)
    counts, keys, _ = notes.group(drop=True)
    assert keys == {"a": "a", "c": "c"}  # c is near b, which does not stay
    assert (counts.dropped, counts.to_project) == (2, 1)
