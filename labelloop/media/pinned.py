"""HTTP to addresses that were checked before: the host's name is not looked up again, and the whole exchange is timed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import httpcore
import httpx


class PinnedTransport(httpx.BaseTransport):
    """Connects to one of the request's extension "addresses", until its "deadline" (of time.monotonic).

    Host header, server name and certificate are the URL's own. Each request has a connection of its own, as one made for
    another check must not be used again.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, its body not read yet; httpx.TransportError."""
        network = _PinnedNetwork(request.extensions["addresses"], request.extensions["deadline"])
        pool = httpcore.ConnectionPool(ssl_context=self._tls, network_backend=network, max_connections=1)
        asked = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream if isinstance(request.stream, Iterable) else None,
            extensions={"timeout": request.extensions.get("timeout", {})},
        )
        try:
            with _as_httpx(request):
                answer = pool.handle_request(asked)
        except BaseException:
            pool.close()
            raise
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(request, answer, pool))

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()


class _Body(httpx.SyncByteStream):
    def __init__(self, request: httpx.Request, answer: httpcore.Response, pool: httpcore.ConnectionPool) -> None:
        self._request, self._answer, self._pool = request, answer, pool

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx(self._request):
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()
        self._pool.close()


@contextmanager
def _as_httpx(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise httpx.ReadTimeout(str(error), request=request) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise httpx.ReadError(str(error), request=request) from error


class _PinnedNetwork(httpcore.NetworkBackend):
    def __init__(self, addresses: Sequence[str], deadline: float) -> None:
        self._addresses, self._deadline = addresses, deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                stream = httpcore.SyncBackend().connect_tcp(
                    address, port, _left(self._deadline, timeout), local_address, socket_options
                )
                return _TimedStream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline: a server that sends a byte now and then gains nothing by it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline, timeout))
        return _TimedStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()


def _left(deadline: float, timeout: float | None) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time for this file is over")
    return left if timeout is None else min(left, timeout)
