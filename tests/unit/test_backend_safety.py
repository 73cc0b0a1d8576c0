"""What a backend refuses: strangers, too much, nonsense; and what it never tells: tracebacks, tokens, texts."""

from __future__ import annotations

import base64
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from backend_bench import PROJECT, SECRET, TEXT_CONFIG, Bench, request_of, task

from backends import answering, server
from backends.__main__ import main, require_credential
from labelloop.errors import ServiceDown, SettingsError
from labelloop.hints import HintSender
from labelloop.http_serving import is_authorized, is_loopback, secret_matches
from labelloop.logs import JsonLines
from labelloop.settings import ServiceSettings, load_settings, service_environment

LOGIN = {"backend_user": "loop", "backend_password": "s3same"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


GOOD = [basic("loop", "s3same"), {"Authorization": "Token s3same"}, {"Authorization": "bearer s3same"}, SECRET]
BAD: list[dict[str, str]] = [
    {}, basic("loop", "S3same"), basic("other", "s3same"), basic("", ""), {"Authorization": "Token s3sam"},
    {"Authorization": "Token"}, {"Authorization": "Basic s3same"}, {"Authorization": "Basic ÿ"}, {"Authorization": ""},
    {"Authorization": "Digest s3same"}, {"X-Labelloop-Secret": "s3same"}, {"X-Labelloop-Secret": ""},
]  # fmt: skip
#: Every path but those that are open, with a body that is right.
GUARDED: list[tuple[str, str, Any]] = [
    ("POST", "/predict", request_of(task(5))),
    ("POST", "/setup", {"project": "3.1", "schema": TEXT_CONFIG}),
    ("GET", "/versions", None),
    ("POST", "/train", {"project": PROJECT}),
    ("GET", "/metrics", None),
    ("GET", "/", None),
    ("POST", "/webhook", {"action": "START_TRAINING", "project": {"id": PROJECT}}),
]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path, **LOGIN)
    found.serve(5)
    yield found
    found.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    found.serve(5)
    yield found
    found.close()


# -- who may ask -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "body"), GUARDED)
def test_with_a_password_strangers_get_nothing(guarded: Bench, method: str, path: str, body: Any) -> None:
    for headers in GOOD:
        assert guarded.client.open(path, method=method, json=body, headers=headers).status_code < 300, headers
    calls = len(guarded.model.asked)
    for headers in BAD:
        answer = guarded.client.open(path, method=method, json=body, headers=headers)
        assert answer.status_code == 401, headers
        assert set(answer.get_json()) == {"error", "error_id"}
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert len(guarded.model.asked) == calls


def test_a_model_is_loaded_for_nobody_without_a_credential(guarded: Bench) -> None:
    coming = guarded.row("v2")
    body = {"project": PROJECT, "model_version": "v2", "path": coming.path, "digest": coming.digest}
    for headers in BAD:
        assert guarded.client.post("/ready", json=body, headers=headers).status_code == 401
    assert guarded.models.loaded_count == 1
    assert guarded.client.post("/ready", json=body, headers=GOOD[0]).status_code == 200


def test_life_and_readiness_are_for_everybody_and_the_reasons_are_not(guarded: Bench) -> None:
    assert guarded.client.get("/health").status_code == 200
    assert guarded.client.get("/readiness").get_json() == {"ready": True, "reasons": []}
    guarded.load = lambda folder: 1 / 0
    guarded.serve(name="v2", generation=2)
    assert guarded.client.get("/readiness").get_json()["reasons"] == []
    told = guarded.client.get("/readiness", headers=GOOD[0]).get_json()
    assert "ZeroDivisionError" in told["reasons"][0]


def test_an_unknown_path_is_401_for_strangers_and_404_for_others(guarded: Bench) -> None:
    assert guarded.client.get("/health/../metrics").status_code == 401
    assert guarded.client.get("/nothing").status_code == 401
    assert guarded.client.get("/nothing", headers=GOOD[0]).status_code == 404


def test_without_a_password_predictions_are_open_and_loading_is_not(bench: Bench) -> None:
    assert bench.results(request_of(task(5)))[0]["reason"] == "ok"
    for path in ("/train", "/ready"):
        assert bench.client.post(path, json={"project": PROJECT}, headers=GOOD[0]).status_code == 401


def test_without_any_secret_own_calls_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, webhook_secret=None)
    for path in ("/train", "/ready"):
        for headers in BAD:
            assert bench.client.post(path, json={"project": PROJECT}, headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "192.168.1.7", "10.0.0.1", "backend.internal", ""])  # noqa: S104
def test_a_backend_that_others_reach_does_not_start_without_a_password(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="LABELLOOP_BACKEND_PASSWORD"):
        require_credential(host, ServiceSettings())
    for value in ("", None):
        with pytest.raises(SettingsError):
            require_credential(host, ServiceSettings.model_validate({"backend_password": value}))
    require_credential(host, ServiceSettings.model_validate(LOGIN))
    monkeypatch.delenv("LABELLOOP_BACKEND_PASSWORD", raising=False)
    monkeypatch.delenv("LABELLOOP_BACKEND_PASSWORD_FILE", raising=False)
    assert main(["sklearn_text", "--host", host]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
def test_on_this_machine_no_password_is_needed(host: str) -> None:
    assert is_loopback(host)
    require_credential(host, ServiceSettings())


def test_the_password_may_lie_in_a_file_that_is_not_empty(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3same\n", encoding="utf-8")
    environ = {"LABELLOOP_BACKEND_PASSWORD_FILE": str(file), "LABELLOOP_BACKEND_USER": "loop"}
    services = load_settings(None, environ).services
    assert services.backend_login == ("loop", "s3same")
    assert "s3same" not in repr(services)
    assert load_settings(None, service_environment(services)).services.backend_login == ("loop", "s3same")
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="empty"):
        load_settings(None, environ)
    with pytest.raises(SettingsError, match="backend_user"):
        load_settings(None, {"LABELLOOP_BACKEND_USER": "a:b"})


def test_secrets_are_compared_as_a_whole() -> None:
    assert is_authorized("Token abc", "u", "abc") and is_authorized("  Basic dTpw ", "u", "p")
    for header in (None, "", "abc", "Token ab", "Token abcd", "Basic dTpw=", "Basic !!!!", "Bearer"):
        assert not is_authorized(header, "u", "abc"), header
    assert secret_matches("é", "é") and not secret_matches("e", "é") and not secret_matches(None, "")


# -- too much, and nonsense --------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_413(bench: Bench) -> None:
    bench.app.config["MAX_CONTENT_LENGTH"] = 1000
    answer = bench.client.post("/predict", data=b"[" * 2000)
    assert answer.status_code == 413
    assert set(answer.get_json()) == {"error", "error_id"}
    assert server.MAX_BODY_BYTES <= 128 * 1024 * 1024


def test_too_many_tasks_are_refused_with_what_to_do(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "MAX_TASKS", 3)
    answer = bench.client.post("/predict", json=request_of(*[task(n) for n in range(4)]))
    assert answer.status_code == 400
    assert "labelloop prelabel" in answer.get_json()["error"]


@pytest.mark.parametrize("path", ["/predict", "/setup", "/webhook", "/train", "/ready"])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b"1", b'"x"', b'{"project": {}}'])
def test_a_body_that_is_nonsense_is_no_500(bench: Bench, path: str, body: bytes) -> None:
    answer = bench.client.post(path, data=body, headers=SECRET)
    assert answer.status_code in ((200, 400) if path == "/setup" else (400,))
    if answer.status_code == 400:
        assert set(answer.get_json()) == {"error", "error_id"}


def test_a_full_house_of_hints_takes_no_more(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setattr("labelloop.hints.MAX_WAITING", 2)
    bench.queue.mark_dirty = lambda project_id: 1 / 0  # type: ignore[method-assign, assignment]
    sender = HintSender(bench.queue, retry_s=60)
    for project in range(1000):
        sender.give("reconcile", project)
    assert sender.waiting <= 3
    sender.close()


# -- what is told --------------------------------------------------------------------------------------------------------


def test_every_refusal_has_an_id_that_the_log_has_too(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def explode(project_id: int | None) -> None:
        raise KeyError("John Smith 5 works at Acme")

    def unreachable(project_id: int | None) -> None:
        raise ServiceDown("the store is away")

    expected = {400: [("/predict", None)], 404: [("/nothing", None)], 405: [("/health", None)], 401: [("/train", {})]}
    with caplog.at_level(logging.INFO):
        answers = [bench.client.post(path, json=body) for pairs in expected.values() for path, body in pairs]
        for broken in (explode, unreachable):
            bench.models.row = broken  # type: ignore[method-assign, assignment]
            answers.append(bench.client.post("/setup", json={"project": "3.1"}))
    assert [answer.status_code for answer in answers] == [*expected, 500, 503]
    lines = [JsonLines().format(record) for record in caplog.records]
    ids = [answer.get_json()["error_id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    for answer, error_id in zip(answers, ids, strict=True):
        assert sum(error_id in line for line in lines) == 1
        assert "Traceback" not in answer.text and "John" not in answer.text and "KeyError" not in answer.text
    assert not any("John" in line for line in lines)
    [failed] = [line for line in lines if ids[4] in line]
    assert '"error":"KeyError"' in failed and "test_backend_safety.py" in failed


def test_no_credential_reaches_the_log(guarded: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for headers in (*GOOD, basic("loop", "wr0ng"), {"Authorization": "Token wr0ng"}):
            for method, path, body in GUARDED:
                guarded.client.open(path + "?token=wr0ng", method=method, json=body, headers=headers)
    text = "\n".join(JsonLines().format(record) for record in caplog.records)
    for secret in ("s3same", "wr0ng", "s3cr3t", basic("loop", "s3same")["Authorization"][6:], "John Smith"):
        assert secret not in text
    assert "request refused" in text
