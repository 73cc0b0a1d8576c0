"""The Label Studio client against an injected transport: keyset, retries, tokens, errors, counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelloop.errors import ServiceDown, ServiceError, UsageError
from labelloop.label_studio import LabelStudio, ShownPrediction
from labelloop.label_studio.rows import moment, wire_moment

T0 = datetime(2026, 1, 1, tzinfo=UTC)
Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, token: str = "legacy-secret") -> LabelStudio:  # noqa: S107
    return LabelStudio("http://ls.test", token, transport=httpx.MockTransport(handler))


def task(task_id: int, second: int, **fields: Any) -> dict[str, Any]:
    at = wire_moment(T0 + timedelta(seconds=second))
    row = {"id": task_id, "data": {}, "meta": None, "overlap": 1, "is_labeled": False, "created_at": at}
    return {**row, "updated_at": at, "annotations": [], **fields}


class TaskList:
    """Filters, orders and cuts like the server's task list (first page only: another page fails the test)."""

    def __init__(self, tasks: list[dict[str, Any]]) -> None:
        self.tasks = tasks
        self.asked = 0
        self.on_request: Callable[[int], None] = lambda n: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert "page" not in request.url.params
        self.asked += 1
        self.on_request(self.asked)
        query = json.loads(request.url.params["query"])
        found = [t for t in self.tasks if all(self._passes(t, f) for f in query["filters"]["items"])]
        included = query.get("selectedItems", {}).get("included")
        if included is not None:
            found = [t for t in found if t["id"] in included]
        (ordering,) = query["ordering"]
        found.sort(key=lambda t: t[ordering.rpartition(":")[2]], reverse=ordering.startswith("-"))
        answer = {"tasks": found[: int(request.url.params["page_size"])], "total": len(found)}
        return httpx.Response(200, json=answer)

    @staticmethod
    def _passes(row: dict[str, Any], rule: dict[str, Any]) -> bool:
        key = rule["filter"].removeprefix("filter:tasks:")
        if rule["operator"] == "in":
            return bool(rule["value"]["min"] <= row[key] <= rule["value"]["max"])
        have, want = (row[key], rule["value"]) if key == "updated_at" else (row[key], int(rule["value"]))
        return bool({"greater": have > want, "equal": have == want}[rule["operator"]])


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(1, 7), st.integers(0, 5))
def test_every_changed_task_comes_once_whatever_the_ties(seconds: list[int], page_size: int, since: int) -> None:
    server = TaskList([task(i + 1, second) for i, second in enumerate(seconds)])
    pages = list(client(server).changed_tasks(1, T0 + timedelta(seconds=since), page_size))
    rows = [row for page in pages for row in page]
    assert sorted(row.task_id for row in rows) == [i + 1 for i, s in enumerate(seconds) if s > since]
    assert [row.updated_at for row in rows] == sorted(row.updated_at for row in rows)
    assert all(0 < len(page) <= page_size for page in pages)


def test_a_task_changed_while_reading_comes_again_and_none_is_lost() -> None:
    server = TaskList([task(i, i) for i in range(1, 8)])

    def touch(n: int) -> None:
        if n == 2:
            server.tasks[0] = task(1, 100)

    server.on_request = touch
    seen = [row.task_id for page in client(server).changed_tasks(1, None, 3) for row in page]
    assert seen.count(1) == 2
    assert set(seen) == set(range(1, 8))


@settings(deadline=None)
@given(st.sets(st.integers(1, 400), max_size=60), st.integers(1, 9), st.integers(0, 50))
def test_spans_hold_every_id_once_and_leave_no_gap(ids: set[int], page_size: int, after: int) -> None:
    spans = list(client(TaskList([task(i, 0) for i in ids])).task_spans(1, after, page_size))
    assert [row.task_id for span in spans for row in span.rows] == sorted(i for i in ids if i > after)
    assert [span.after for span in spans] == [after, *(span.last for span in spans[:-1])]
    assert spans[-1].last is None
    for span in spans:
        assert (
            all(span.after < row.task_id <= (span.last or 10**9) for row in span.rows) and len(span.rows) <= page_size
        )


def test_a_small_project_is_one_question_and_ids_of_others_between_are_passed_quickly() -> None:
    server = TaskList([task(i, 0) for i in range(1, 51)])
    assert len(list(client(server).task_spans(1))) == 1 and server.asked == 1
    server = TaskList([task(i, 0) for i in (*range(1, 301), *range(5_000_000, 5_000_300))])
    assert sum(len(span.rows) for span in client(server).task_spans(1, page_size=100)) == 600
    assert server.asked < 40


def test_pages_of_large_tasks_get_smaller_and_of_slow_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelloop.label_studio.listing.LARGE_ANSWER", 20_000)
    server = TaskList([task(i, 0, data={"text": "x" * 5_000}) for i in range(1, 31)])
    sizes: list[int] = []

    def serve(request: httpx.Request) -> httpx.Response:
        sizes.append(int(request.url.params["page_size"]))
        if sizes[-1] > 20:
            raise httpx.ReadTimeout("too slow", request=request)
        return server(request)

    rows = [row for span in client(serve).task_spans(1, page_size=100) for row in span.rows]
    assert [row.task_id for row in rows] == list(range(1, 31))
    assert sizes[:3] == [100, 50, 25] and set(sizes[5:]) <= {1, 2, 3, 4, 5, 6}


def test_a_server_that_never_answers_is_said_so() -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too slow", request=request)

    with pytest.raises(ServiceDown, match="did not answer in time"):
        list(client(silent).task_spans(1))


def test_predictions_are_asked_for_apart() -> None:
    annotation = {"id": 5, "result": [], "completed_by": {"id": 3}, "parent_prediction": 9}
    times = {"created_at": wire_moment(T0), "updated_at": wire_moment(T0)}
    predictions = [{"id": 9, "task": 1, "model_version": None, "score": 0.5, "result": [{"id": "r"}], **times}]
    server = TaskList([task(1, 1, annotations=[annotation | times], predictions=predictions), task(2, 2)])
    ((first, _),) = client(server).changed_tasks(1)
    assert (first.annotations[0].person_id, first.annotations[0].parent_prediction) == (3, 9)
    assert client(server).predictions_of(1, [1]) == [ShownPrediction(9, 1, "", T0, 0.5, [{"id": "r"}])]


def test_a_light_listing_says_when_the_server_cut_the_ids() -> None:
    long = ",".join(str(n) for n in range(1000, 1200))[:500]
    rows = [task(1, 1, annotations_ids="7,8", total_annotations=2), task(2, 1, annotations_ids=long), task(3, 1)]
    spans = client(TaskList(rows)).light_spans(1, page_size=2)
    swept = [row for span in spans for row in span.rows]
    assert [s.annotation_ids for s in swept] == [frozenset({7, 8}), None, frozenset()]
    assert swept[0].n_submitted == 2
    listed, total = client(TaskList(rows)).changed_lately(1, T0, at_most=2)
    assert ([row.task_id for row in listed], total) == ([1, 2], 3)
    assert client(TaskList(rows)).newest_change(1) == T0 + timedelta(seconds=1)
    assert client(TaskList([])).newest_change(1) is None
    assert client(TaskList(rows)).task_ids(1) == {1, 2, 3}


def test_half_a_surrogate_pair_comes_through() -> None:
    content = b'{"tasks": [{"id": 1, "data": {"text": "\\ud83d"}}]}'
    answer = client(lambda request: httpx.Response(200, content=content)).request("GET", "/api/tasks/")
    assert answer["tasks"][0]["data"]["text"] == "\ud83d"


def test_times_keep_their_microseconds_also_when_there_are_none() -> None:
    assert wire_moment(moment("2026-11-21T05:00:00Z")) == "2026-11-21T05:00:00.000000Z"
    assert moment("2026-11-21T05:00:00.000001Z") > moment("2026-11-21T05:00:00Z")


def test_reads_are_repeated_when_the_connection_fails_writes_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelloop.label_studio.connection.time.sleep", lambda s: None)
    asked: list[str] = []

    def fail_twice(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if len(asked) < 3:
            raise httpx.ConnectError("refused by legacy-secret", request=request)
        return httpx.Response(200, json={"id": 1})

    assert client(fail_twice).whoami() == {"id": 1}
    asked.clear()
    with pytest.raises(ServiceDown, match=r"http://ls\.test.*LABELLOOP_LABEL_STUDIO_URL") as caught:
        client(fail_twice).update_project(1, title="x")
    assert asked == ["PATCH"]
    assert "legacy-secret" not in str(caught.value)


def test_an_error_carries_status_and_the_servers_words_but_no_secret() -> None:
    body = {
        "detail": "Validation error",
        "validation_errors": {"url": ["Enter a valid URL. hook-secret legacy-secret"]},
    }

    def refuse(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=[])
        return httpx.Response(400, json=body | {"exc_info": "Traceback"})

    labels = client(refuse)
    with pytest.raises(ServiceError, match=r"HTTP 400: Validation error \| url: Enter a valid URL") as caught:
        labels.ensure_webhook(1, "http://x", "hook-secret")
    assert caught.value.status == 400
    assert not any(word in str(caught.value) for word in ("hook-secret", "legacy-secret", "Traceback"))
    assert "secret" not in repr(labels) + repr(labels._auth)


def test_a_personal_token_is_exchanged_once_and_renewed_after_401() -> None:
    renewals, authorizations = [], []

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/token/refresh/":
            renewals.append(json.loads(request.content)["refresh"])
            return httpx.Response(200, json={"access": f"access{len(renewals)}"})
        authorizations.append(request.headers["Authorization"])
        stale = len(authorizations) == 3
        return httpx.Response(401 if stale else 200, json={"id": 1})

    labels = client(serve, "eyJ.refresh.token")
    for _ in range(3):
        labels.whoami()
    assert renewals == ["eyJ.refresh.token"] * 2
    assert authorizations == ["Bearer access1"] * 3 + ["Bearer access2"]


def test_a_revoked_personal_token_says_what_to_do() -> None:
    with pytest.raises(ServiceError, match="make a new one") as caught:
        client(lambda request: httpx.Response(401, json={}), "eyJ.refresh.token").whoami()
    assert "eyJ" not in str(caught.value)


def test_dropped_predictions_and_lost_tasks_are_errors() -> None:
    labels = client(lambda request: httpx.Response(201, json={"created": 1, "task_ids": [4]}))
    row = {"task": 1, "result": [], "score": 0.1, "model_version": "v"}
    assert labels.push_predictions(1, [row]) == 1
    with pytest.raises(ServiceError, match=r"sent 2 predictions .* made 1: 1 were dropped"):
        labels.push_predictions(1, [row, row])
    assert labels.import_tasks(1, [{"data": {}}]) == [4]
    with pytest.raises(ServiceError, match=r"sent 2 tasks .* made 1"):
        labels.import_tasks(1, [{"data": {}}, {"data": {}}])


def test_a_title_that_two_projects_carry_is_refused() -> None:
    rows = [{"id": 1, "title": "a"}, {"id": 2, "title": "a"}, {"id": 3, "title": "b"}]

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/projects/":
            return httpx.Response(200, json={"results": rows, "next": None})
        return httpx.Response(404 if request.url.path.endswith("/9/") else 200, json=rows[2])

    labels = client(serve)
    assert labels.find_project("b")["id"] == 3
    with pytest.raises(UsageError, match=r"ids 1, 2"):
        labels.find_project("a")
    with pytest.raises(UsageError, match="no project 9"):
        labels.find_project("9")
    with pytest.raises(UsageError, match="no project titled"):
        labels.find_project("c")


def test_a_page_that_is_no_json_is_named() -> None:
    with pytest.raises(ServiceError, match="is this address a Label Studio server"):
        client(lambda request: httpx.Response(200, html="<html>")).whoami()
