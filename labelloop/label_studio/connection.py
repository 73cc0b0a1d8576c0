"""HTTP to one Label Studio: tokens of both kinds, bounded retries of reads, and errors that say what to do.

Plain httpx: importing label_studio_sdk costs 3 s in every process, and its typed calls lack what is needed here
(`include` on task lists, `return_task_ids`, deletes by model version).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self

import httpx
import orjson

from labelloop.errors import ServiceDown, ServiceError

READ_ATTEMPTS = 3
_BACKOFF_S = 0.2
_PIECE = 1 << 20
#: A personal access token buys access for 300 s; it is renewed well before.
_ACCESS_TTL_S = 240.0

Method = Literal["GET", "POST", "PATCH", "DELETE"]


class TokenAuth(httpx.Auth):
    """Authorization by a legacy token, or by a personal access token that is exchanged for short-lived access."""

    requires_response_body = True

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._access: str | None = None
        self._access_at = 0.0

    def __repr__(self) -> str:
        return "TokenAuth(***)"

    @property
    def is_personal(self) -> bool:
        """True for a personal access token (a JWT), False for a legacy token."""
        return self._token.startswith("eyJ") and self._token.count(".") == 2

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign the request; with a personal token renew the access first when it is old, and once more after a 401."""
        if not self.is_personal:
            request.headers["Authorization"] = f"Token {self._token}"
            yield request
            return
        if self._access is None or time.monotonic() - self._access_at > _ACCESS_TTL_S:
            self._keep((yield self._renewal()))
        request.headers["Authorization"] = f"Bearer {self._access}"
        response = yield request
        if response.status_code == 401:
            self._keep((yield self._renewal()))
            request.headers["Authorization"] = f"Bearer {self._access}"
            yield request

    def _renewal(self) -> httpx.Request:
        return httpx.Request("POST", f"{self._url}/api/token/refresh/", json={"refresh": self._token})

    def _keep(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            raise ServiceError(
                f"Label Studio at {self._url} refused the personal access token (HTTP {response.status_code}); "
                "it may have expired or been revoked: make a new one in Label Studio under Account & Settings",
                response.status_code,
            )
        self._access = str(response.json()["access"])
        self._access_at = time.monotonic()


class Connection:
    """One Label Studio server as one account; safe to share between threads, `close()` it or use it in `with`."""

    def __init__(
        self, url: str, token: str, timeout_s: float = 30.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._secrets = {token}
        self._auth = TokenAuth(self.url, token)
        # The server drops idle connections; a write must not find that out first.
        limits = httpx.Limits(max_keepalive_connections=4, keepalive_expiry=2.0)
        self._http = httpx.Client(
            base_url=self.url,
            auth=self._auth,
            timeout=timeout_s,
            limits=limits,
            transport=transport,
            follow_redirects=True,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def auth_headers(self) -> dict[str, str]:
        """The header that opens this account's files on this server; never to be sent to another origin."""
        request = self._http.build_request("GET", "/")
        flow = self._auth.auth_flow(request)
        asked = next(flow)
        if asked is not request:
            answer = self._http.send(asked, auth=None)
            asked = flow.send(answer)
        flow.close()
        return {"Authorization": request.headers["Authorization"]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pooled connections."""
        self._http.close()

    def request(
        self,
        method: Method,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        json: Any = None,
        timeout_s: float | None = None,
    ) -> Any:
        """The decoded answer, or None for an empty one; see `answered` for retries and errors."""
        response = self.answered(method, path, params=params, json=json, timeout_s=timeout_s)
        if not response.content:
            return None
        try:
            return decoded(response)
        except ValueError as error:
            raise ServiceError(
                f"{method} {self.url}{path} answered with {response.headers.get('content-type', 'no type')} "
                "and no JSON; is this address a Label Studio server?",
                response.status_code,
            ) from error

    def answered(
        self,
        method: Method,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        json: Any = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """The whole answer. A GET is tried three times when the connection fails.

        Raises ServiceDown when the server cannot be reached, ServiceError with `status` for every HTTP error.
        """
        attempts = READ_ATTEMPTS if method == "GET" else 1
        for attempt in range(1, attempts + 1):
            try:
                response = self._http.request(
                    method, path, params=params, json=json, timeout=timeout_s or httpx.USE_CLIENT_DEFAULT
                )
                break
            except httpx.TransportError as error:
                if attempt == attempts or isinstance(error, httpx.ReadTimeout):
                    raise self._down(method, path, error) from error
                time.sleep(_BACKOFF_S * 4 ** (attempt - 1))
        if response.is_error:
            raise self._refused(method, path, response)
        return response

    @contextmanager
    def streamed(self, path: str, *, params: dict[str, Any], timeout_s: float) -> Iterator[Iterator[bytes]]:
        """The answer to a GET piece by piece, for what is too large to be held at once; tried once. Raises as `answered`."""
        try:
            with self._http.stream("GET", path, params=params, timeout=timeout_s) as response:
                if response.is_error:
                    response.read()
                    raise self._refused("GET", path, response)
                yield response.iter_bytes(_PIECE)
        except httpx.TransportError as error:
            raise self._down("GET", path, error) from error

    def _down(self, method: str, path: str, error: httpx.TransportError) -> ServiceDown:
        if isinstance(error, httpx.ReadTimeout):
            what = "did not answer in time (a write may have been carried out)"
        else:
            what = f"cannot be reached ({self._hide(str(error)) or type(error).__name__})"
        return ServiceDown(
            f"Label Studio at {self.url} {what} for {method} {path}; start it, or set LABELLOOP_LABEL_STUDIO_URL"
        )

    def _refused(self, method: str, path: str, response: httpx.Response) -> ServiceError:
        status = response.status_code
        advice = {
            401: "; check LABELLOOP_LABEL_STUDIO_TOKEN (a legacy token works only where the organization allows it)",
            403: "; this account may not do that, or the server's address checks refuse the address",
        }.get(status, "")
        return ServiceError(
            f"{method} {self.url}{path} -> HTTP {status}: {self._hide(_message(response))}{advice}", status
        )

    def _hide(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def decoded(response: httpx.Response) -> Any:
    """The JSON of an answer; ValueError where it is none."""
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        # A browser may send half of a surrogate pair; the standard decoder keeps it.
        return response.json()


def _message(response: httpx.Response) -> str:
    """Label Studio's own words: `detail` and the errors by field, never its traceback."""
    try:
        body = response.json()
    except ValueError:
        return response.reason_phrase or "no message"
    if not isinstance(body, dict):
        return str(body)[:500]
    errors = body.get("validation_errors")
    parts = [str(body.get("detail") or "")]
    if isinstance(errors, dict):
        parts += [f"{field}: {'; '.join(map(str, e)) if isinstance(e, list) else e}" for field, e in errors.items()]
    elif errors:
        parts.append(str(errors))
    return " | ".join(part for part in parts if part)[:500] or str(body)[:500]
