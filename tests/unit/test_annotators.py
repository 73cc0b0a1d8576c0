"""What is told of annotators: figures beside plain loops, and people who guess, accept blindly or drift among honest ones."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelloop.label_config import parse_label_config
from qa.annotators import annotator_report
from qa.annotators.figures import relative_times
from qa.annotators.scores import majority_of_others, scored
from qa.annotators.significance import change_in, paired, wilson
from qa.annotators.work import _read_all, work_of
from qa.kinds.registry import measurable

CONFIG = parse_label_config(
    '<View><Text name="text" value="$text"/><Choices name="mood" toName="text"><Choice value="a"/><Choice value="b"/>'
    '<Choice value="c"/></Choices></View>'
)
BOXES = parse_label_config(
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image"><Label value="cat"/>'
    "</RectangleLabels></View>"
)
START = datetime(2026, 11, 2, tzinfo=UTC)


def choice(value: str | None, origin: str | None = None) -> list[dict[str, Any]]:
    if value is None:
        return []
    region = {"id": "r", "from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": [value]}}
    return [region if origin is None else {**region, "origin": origin}]


def row(task: int, person: int, result: list[dict[str, Any]], at: int = 0, **over: Any) -> dict[str, Any]:
    return {
        "task_id": task, "annotation_id": task * 1000 + person, "annotator": person,
        "at": START + timedelta(minutes=at), "shown": None, "result": orjson.dumps(result).decode(),
        "lead_time_s": 8.0, "ground_truth": False, "suggested": None,
    } | over  # fmt: skip


def table(rows: list[dict[str, Any]], **dropped: Any) -> pl.DataFrame:
    types: Any = {"shown": pl.String, "suggested": pl.String, "lead_time_s": pl.Float64, "at": pl.Datetime("us", "UTC")}
    return pl.DataFrame(rows, schema_overrides=types)


def by_name(report: dict[str, Any]) -> dict[Any, dict[str, Any]]:
    return {each["annotator"]: each for each in report["annotators"]}


# -- figures by hand --------------------------------------------------------------------------------------------------


def test_gold_is_found_among_all_labels_and_does_not_measure_who_gave_it() -> None:
    rows = [row(t, 9, choice("a"), ground_truth=True) for t in range(4)]
    rows += [row(t, 1, choice("a" if t else "b")) for t in range(4)]
    found = by_name(annotator_report(table(rows), CONFIG))
    assert (found[1]["gold"]["value"], found[1]["gold"]["n"]) == (0.75, 4)
    assert found[1]["gold"]["ci"] == [pytest.approx(bound, abs=1e-6) for bound in wilson(3, 4)]
    assert found[9]["gold"] == {
        "value": None, "ci": None, "n": 0, "reason": "no label of a task whose true answer is known",
    }  # fmt: skip
    imported = table([{**each, "kind": "import" if each["annotator"] == 9 else "human"} for each in rows])
    assert by_name(annotator_report(imported, CONFIG))[1]["gold"]["n"] == 4


def test_boxes_are_compared_by_their_own_score() -> None:
    def box(x: float) -> list[dict[str, Any]]:
        value = {"x": x, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["cat"]}
        sizes = {"original_width": 100, "original_height": 100}
        return [
            {"id": f"{x}", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value, **sizes}
        ]

    rows = [row(t, 9, box(10), ground_truth=True) for t in range(3)]
    rows += [row(0, 1, box(10)), row(1, 1, box(70)), row(2, 1, []), row(0, 2, box(11)), row(1, 2, box(11))]
    found = by_name(annotator_report(table(rows), BOXES))
    assert (found[1]["gold"]["n"], found[1]["gold"]["value"]) == (3, pytest.approx(1 / 3, abs=1e-6))
    assert found[2]["gold"]["value"] == 1.0
    assert found[1]["controls"]["box"]["confusion"] is None and found[1]["skill"]["value"] is None


def test_without_anything_to_compare_figures_are_null_with_a_reason() -> None:
    report = annotator_report(table([row(1, 1, choice("a"))]).drop("lead_time_s", "ground_truth", "suggested"), CONFIG)
    each = report["annotators"][0]
    for name in ("gold", "agreement", "skill", "drift", "accept_when_wrong", "rubber_stamping", "speed"):
        assert each[name]["reason"], name
        assert report["reasons"][name] == each[name]["reason"]
    assert each["n_skipped"] is None and each["flags"] == [] and "nothing to compare" in each["message"]
    assert annotator_report(table([row(1, 1, choice("a"))]).clear(), CONFIG)["annotators"] == []


def test_skipped_tasks_pauses_and_times_without_sense() -> None:
    leads = [10.0, 20.0, 30.0, 7200.0, None, -1.0]
    rows = [row(t, 1, choice("a"), lead_time_s=lead, state="submitted") for t, lead in enumerate(leads)]
    rows.append(row(9, 1, [], state="cancelled"))
    each = annotator_report(table(rows), CONFIG)["annotators"][0]
    assert (each["n_labels"], each["n_skipped"]) == (6, 1)
    assert (each["speed"]["n"], each["speed"]["n_paused"], each["speed"]["median_s"]) == (3, 1, 20.0)


def test_hard_tasks_do_not_count_against_a_person() -> None:
    rows = [row(t, p, choice("a"), lead_time_s=(100.0 if t < 40 else 5.0) + p) for t in range(80) for p in (1, 2, 3)]
    rows = [each for each in rows if each["annotator"] != 3 or each["task_id"] < 40]
    speed = by_name(annotator_report(table(rows), CONFIG))[3]["speed"]
    assert speed["median_s"] > 100 and abs(speed["z"]) < 1.0 and speed["ratio"] == pytest.approx(1.0, abs=0.05)


def test_only_labels_since_then_count_beside_all_others() -> None:
    rows = [row(t, p, choice("a"), at=t * 1440) for t in range(10) for p in (1, 2)]
    report = annotator_report(table(rows), CONFIG, since=START + timedelta(days=5))
    assert [each["n_labels"] for each in report["annotators"]] == [5, 5]
    assert report["annotators"][0]["agreement"]["n"] == 5
    assert [week["n_labels"] for week in report["annotators"][0]["by_week"]] == [2, 3]


def test_what_is_known_of_wrong_suggestions() -> None:
    rows = [row(t, 9, choice("a"), ground_truth=True) for t in range(5)]
    seen = [
        ("b", "prediction"),
        ("a", "prediction"),
        ("a", "prediction-changed"),
        ("c", "prediction-changed"),
        ("b", None),
    ]
    rows += [row(t, 1, choice(value, origin), shown="v1") for t, (value, origin) in enumerate(seen)]
    found = by_name(annotator_report(table(rows).drop("suggested"), CONFIG))[1]["accept_when_wrong"]
    assert (found["value"], found["n"], found["tasks"]) == (0.5, 2, [0])
    told = ["b", "a", "b", "b", "b"]
    for each in rows:
        if each["annotator"] == 1:
            each["suggested"] = orjson.dumps(choice(told[each["task_id"]])).decode()
    found = by_name(annotator_report(table(rows), CONFIG))[1]["accept_when_wrong"]
    assert (found["value"], found["n"], found["tasks"]) == (0.5, 4, [0, 4])


def test_two_blind_others_tell_that_a_suggestion_is_wrong_and_one_does_not() -> None:
    rows = [row(t, p, choice("a")) for t in range(2) for p in (2, 3) if (t, p) != (1, 3)]
    rows += [row(t, 1, choice("b", "prediction"), shown="v1") for t in range(2)]
    found = by_name(annotator_report(table(rows), CONFIG))[1]["accept_when_wrong"]
    assert (found["n"], found["tasks"]) == (1, [0])


# -- beside plain loops -----------------------------------------------------------------------------------------------

judgments = st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 3)), max_size=40)


@given(judgments)
def test_the_majority_of_the_others(said: list[tuple[int, int]]) -> None:
    said.sort(key=lambda each: each[0])
    task, code = (np.array([each[at] for each in said], np.int64) for at in (0, 1))
    found, support = majority_of_others(task, code, 4)
    for i, (unit, _) in enumerate(said):
        others = Counter(c for j, (u, c) in enumerate(said) if u == unit and j != i and c >= 0).most_common()
        undecided = not others or (len(others) > 1 and others[0][1] == others[1][1])
        assert found[i] == (-1 if undecided else others[0][0])
        assert support[i] == sum(n for _, n in others)


people_said = st.dictionaries(
    st.tuples(st.integers(0, 6), st.integers(1, 4)), st.tuples(st.sampled_from("abc"), st.floats(0.1, 3000)), min_size=1
)


@settings(deadline=None, max_examples=50)
@given(people_said)
def test_bias_and_relative_times(said: dict[tuple[int, int], tuple[str, float]]) -> None:
    labels = table([row(t, p, choice(v), lead_time_s=lead) for (t, p), (v, lead) in said.items()])
    report = by_name(annotator_report(labels, CONFIG))
    for person, each in report.items():
        bias = each["controls"]["mood"]["bias"]
        differences: dict[str, list[float]] = {"a": [], "b": [], "c": []}
        for (task, who), (value, _) in said.items():
            others = [v for (t, p), (v, _) in said.items() if t == task and p != person]
            if who == person and others:
                for name, found in differences.items():
                    found.append((value == name) - others.count(name) / len(others))
        assert bias["n"] == len(differences["a"])
        for name, value in bias["classes"].items():
            assert value["difference"] == pytest.approx(np.mean(differences[name]), abs=1e-6)
    work = work_of(labels, CONFIG)
    relative, met = relative_times(work)
    usual = np.median([math.log(lead) for _, lead in said.values()])
    for i in range(len(work)):
        key = (work.tasks[work.task[i]], work.people[work.annotator[i]])
        times = [math.log(lead) for (t, p), (_, lead) in said.items() if t == key[0] and p != key[1]]
        assert met[i] == bool(times)
        assert relative[i] == pytest.approx(math.log(said[key][1]) - (np.median(times) if times else usual), abs=1e-9)


def test_wilson_and_paired_by_published_formulas() -> None:
    # Newcombe 1998, table I: 81 of 263.
    assert list(wilson(81, 263)) == [pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5)]
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0
    differences = np.array([1, 0, 1, -1, 1, 0, 0, 1.0])
    mean, p = paired(differences.sum(), (differences**2).sum(), 8)
    z = differences.mean() / (differences.std(ddof=1) / math.sqrt(8))
    assert mean == 0.375 and p == pytest.approx(math.erfc(z / math.sqrt(2)))
    assert paired(0.0, 0.0, 5) == (0.0, 1.0)


def test_a_change_is_found_where_it_is_and_chance_makes_none() -> None:
    found = change_in(np.array([1.0] * 60 + [0.0, 1.0] * 30))
    assert abs(found.at - 60) <= 2 and found.p < 1e-4 and found.slope < 0
    rng = np.random.default_rng(0)
    chance = [change_in((rng.random(100) < 0.8).astype(float)) for _ in range(400)]
    assert np.mean([each.p < 0.05 for each in chance]) < 0.08
    assert np.mean([each.slope_p < 0.05 for each in chance]) < 0.1
    assert change_in(np.ones(70)).p == 1.0


@pytest.mark.parametrize("values", [["a"], ["b", "a"], [], ["unsure"], None, "a"])
@pytest.mark.parametrize("origin", ["prediction", "manual", None])
def test_the_short_way_to_read_choices_is_the_long_one(values: Any, origin: str | None) -> None:
    region = {"from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": values}, "origin": origin}
    results = [[region], [region, {**region, "from_name": "x"}], [{**region, "value": None}], []]
    rows = table([row(t, 1, result) for t, result in enumerate(results)])
    controls = measurable(CONFIG)
    short, long = _read_all(rows, controls), _read_all(rows, [*controls, *controls])
    assert short.values[0] == long.values[0]
    assert short.touched[0].tolist() == long.touched[0].tolist() and short.whole.tolist() == long.whole.tolist()


def test_a_region_that_is_no_region_does_not_end_the_batch() -> None:
    rows = [row(1, 1, choice("a")), row(2, 1, [{**choice("a")[0], "value": 7}]), row(3, 1, choice("b"))]
    assert annotator_report(table(rows), CONFIG)["annotators"][0]["controls"]["mood"]["n"] == 2


# -- injected ---------------------------------------------------------------------------------------------------------


def team(seed: int) -> pl.DataFrame:
    """Ten honest people (1 to 10), right nine times of ten; 11 guesses, 12 accepts at once, 13 drifts."""
    rng = np.random.default_rng(seed)
    rows = []
    for task in range(900):
        truth, suggestion = "abc"[rng.integers(3)], None
        if rng.random() < 0.1:
            rows.append(row(task, 99, choice(truth), at=task, ground_truth=True))
        hard = math.exp(rng.normal(2.5, 0.5))
        for person in rng.choice(np.arange(1, 14), 4, replace=False).tolist():
            right = {11: 1 / 3, 13: 0.92 if task < 450 else 0.5}.get(person, 0.9)
            value = truth if rng.random() < right else str(rng.choice([c for c in "abc" if c != truth]))
            value = str(rng.choice(list("abc"))) if person == 11 else value
            lead, origin, shown = hard * math.exp(rng.normal(0, 0.3)), "manual", None
            if rng.random() < 0.5:
                suggestion = truth if rng.random() < 0.75 else "abc"[rng.integers(3)]
                shown = "v1"
                if person == 12:
                    value, lead = suggestion, lead * 0.12
                else:
                    lead *= 0.7 if value == suggestion else 1.1
                origin = "prediction" if value == suggestion else "prediction-changed"
            rows.append(row(task, person, choice(value, origin), at=task, lead_time_s=lead, shown=shown))
    return table(rows).drop("suggested")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_who_guesses_accepts_at_once_or_drifts_is_flagged_and_honest_people_are_not(seed: int) -> None:
    report = by_name(annotator_report(team(seed), CONFIG))
    flags = {person: {flag["flag"] for flag in each["flags"]} for person, each in report.items()}
    assert all(not flags[person] for person in range(1, 11)), flags
    assert {"guessing", "low_agreement", "low_gold"} <= flags[11]
    assert {"rubber_stamping", "accepts_wrong_suggestions"} <= flags[12] and "guessing" not in flags[12]
    assert "drift" in flags[13] and "drift" not in flags[11] | flags[12]
    drift = report[13]["drift"]
    assert drift["before"] > 0.75 > drift["after"] and drift["slope"] < 0
    skill = [report[p]["skill"]["value"] for p in range(1, 14)]
    assert int(np.argmin(skill)) == 10
    for each in report.values():
        for flag in each["flags"]:
            assert flag["tasks"] and flag["why"]


def test_messages_have_numbers_and_tasks_and_nobody_elses_name() -> None:
    labels = team(0).with_columns(pl.col("annotator") + 77_000)
    report = annotator_report(labels, CONFIG)
    for each in report["annotators"]:
        assert not [other["annotator"] for other in report["annotators"] if str(other["annotator"]) in each["message"]]
        assert f"{each['n_labels']} label" in each["message"]
        if each["flags"]:
            told = each["message"].split("Worth another look: task")[1]
            assert str(each["flags"][0]["tasks"][0]) in told and told.count(",") <= 2
    honest = by_name(report)[77_001]["message"]
    assert "Nothing stands out" in honest


def test_scores_of_a_control_know_the_class_of_most_others() -> None:
    rows = [row(1, 1, choice("a")), row(1, 2, choice("b")), row(1, 3, choice("b")), row(2, 1, choice("c"))]
    work = work_of(table(rows), CONFIG)
    found = scored(work, work.answers[0])
    assert [found.classes[at] if at >= 0 else None for at in found.majority.tolist()] == ["b", None, None, None]
