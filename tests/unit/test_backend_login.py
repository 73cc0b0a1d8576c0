"""How Label Studio gets to know the password of a backend: made with the ML backend object, and set right on it."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx

from labelloop.http_serving import is_authorized
from labelloop.label_studio import LabelStudio

URL = "http://yolo.labelloop.internal:9090"
LOGIN = ("labelloop", "pass word:ü")


class Server:
    """The parts of Label Studio that connect an ML backend; a PATCH without a url is its 500."""

    def __init__(self, **backend: Any) -> None:
        self.backends = [{"id": 8, "url": URL + "/", "title": "old", **backend}] if backend else []
        self.sent: list[tuple[str, str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.path
        if request.method != "GET":
            self.sent.append((request.method, path, body))
        if path == "/api/projects/3/":
            return httpx.Response(200, json={"model_version": "v1"})
        if path == "/api/webhooks/":
            return httpx.Response(200, json=[])
        if request.method == "GET":
            return httpx.Response(200, json=self.backends)
        return httpx.Response(200 if "url" in body else 500, json={"id": 8})

    def connect(self, login: tuple[str, str] | None = LOGIN) -> int:
        client = LabelStudio("http://ls.test", "token", transport=httpx.MockTransport(self))
        return client.ensure_ml_backend(3, URL, "labelloop yolo", login)


def test_a_new_backend_is_made_with_the_login_it_asks_for() -> None:
    server = Server()
    assert server.connect() == 8
    [(method, path, body)] = server.sent
    assert (method, path) == ("POST", "/api/ml/")
    assert (body["auth_method"], body["basic_auth_user"], body["basic_auth_pass"]) == ("BASIC_AUTH", *LOGIN)


def test_without_a_password_none_is_set() -> None:
    server = Server()
    server.connect(None)
    assert server.sent[0][2]["auth_method"] == "NONE"
    assert "basic_auth_pass" not in server.sent[0][2]


def test_a_backend_with_no_or_another_login_is_set_right() -> None:
    for there in (
        {"auth_method": "NONE"},
        {"auth_method": "BASIC_AUTH", "basic_auth_user": "other", "state": "CO"},
        {"auth_method": "BASIC_AUTH", "basic_auth_user": LOGIN[0], "state": "ER"},  # its password is another one
    ):
        server = Server(**there, is_interactive=True)
        server.connect()
        [(method, path, body)] = server.sent
        assert (method, path) == ("PATCH", "/api/ml/8"), there
        assert (body["url"], body["title"], body["is_interactive"]) == (URL, "old", True), "what people set stays"
        assert (body["basic_auth_user"], body["basic_auth_pass"]) == LOGIN


def test_a_login_that_works_is_left_alone_and_one_too_many_is_taken_away() -> None:
    server = Server(auth_method="BASIC_AUTH", basic_auth_user=LOGIN[0], state="CO")
    server.connect()
    assert server.sent == []
    server.connect(None)
    assert server.sent[0][2]["auth_method"] == "NONE"


def test_the_backend_takes_what_label_studio_sends() -> None:
    for encoding in ("latin-1", "utf-8"):
        sent = "Basic " + base64.b64encode(":".join(LOGIN).encode(encoding)).decode()
        assert is_authorized(sent, *LOGIN)
        assert not is_authorized(sent, "labelloop", "another")
