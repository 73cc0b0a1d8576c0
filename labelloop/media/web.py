"""Media over HTTP: which host may be asked, each redirect checked anew, the token for Label Studio alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import httpx

from labelloop.errors import MediaError, ServiceError
from labelloop.media.hosts import checked_addresses
from labelloop.media.pinned import PinnedTransport
from labelloop.media.places import MediaRules, host_of
from labelloop.media.shelves import Stamp
from labelloop.media.sink import Sink, Unanswered

_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_REDIRECTS = 5
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)


class HostRefused(MediaError):
    """The settings do not allow a host; the message names the setting."""

    def __init__(self, host: str) -> None:
        super().__init__("not_found", f"the host {host!r} is not allowed; LABELLOOP_MEDIA_HOSTS names those that are")
        self.host = host


class Patience:
    """Which hosts are not asked for a while, as they failed to answer several times in a row.

    A request holds tasks of many hosts: waiting for one that hangs, address after address, would cost the others their turn.
    """

    TRIES = 3
    PAUSE_S = 30.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[int, float]] = {}

    def check(self, host: str) -> None:
        """MediaError while the host is left alone."""
        count, last = self._failures.get(host, (0, 0.0))
        if count >= self.TRIES and self._clock() - last < self.PAUSE_S:
            raise MediaError("not_found", f"the host {host!r} did not answer {count} times; it is asked again later")

    def note(self, host: str, *, answered: bool) -> None:
        """Take down how it went."""
        count, _ = self._failures.pop(host, (0, 0.0))
        if not answered:
            self._failures[host] = (count + 1, self._clock())
            while len(self._failures) > 1000:
                self._failures.pop(next(iter(self._failures)), None)


class WebReader:
    """Reads http(s) addresses as the rules allow; the headers of `auth` go to Label Studio only."""

    def __init__(
        self, rules: MediaRules, auth: Callable[[], Mapping[str, str]], transport: httpx.BaseTransport | None = None
    ) -> None:
        self._rules = rules
        self._auth = auth
        self._patience = Patience()
        # A proxy of the environment must not stand between this process and a Label Studio beside it; and one between
        # this process and other hosts would look their names up itself.
        self._own_client = httpx.Client(timeout=_TIMEOUT, trust_env=False, transport=transport)
        self._client = httpx.Client(timeout=_TIMEOUT, trust_env=False, transport=transport or PinnedTransport())

    def close(self) -> None:
        """Close the connections."""
        self._own_client.close()
        self._client.close()

    def read(self, url: httpx.URL, sink: Sink, known: Stamp | None = None) -> Stamp | None:
        """Write what `url` has into `sink`: its stamp, or None when the server says that it is still `known`."""
        if self._rules.is_label_studio(url):
            return self._followed(url, sink, known)
        host, answered = host_of(url), True
        self._patience.check(host)
        try:
            return self._followed(url, sink, known)
        except Unanswered:
            answered = False
            raise
        finally:
            self._patience.note(host, answered=answered)

    def _followed(self, url: httpx.URL, sink: Sink, known: Stamp | None) -> Stamp | None:
        """As `read`, along the redirects."""
        before: httpx.URL | None = None
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                found = self._one_hop(url, before, sink, known)
                if not isinstance(found, httpx.URL):
                    return found
                before, url = url, found
        except ServiceError as error:
            raise MediaError("not_found", str(error)) from error
        except httpx.InvalidURL as error:
            raise MediaError("not_found", "the address redirects to something that is no address") from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            sink.check_time()
            raise Unanswered(f"the address did not answer: {type(error).__name__}") from error
        raise MediaError("not_found", f"more than {_MAX_REDIRECTS} redirects")

    def _one_hop(
        self, url: httpx.URL, before: httpx.URL | None, sink: Sink, known: Stamp | None
    ) -> Stamp | httpx.URL | None:
        """The stamp of what was written, None for "not modified", or where the answer redirects to."""
        sink.check_time()
        headers = {"accept-encoding": "identity"} | _conditions(known)
        private_allowed = self.check(url, before)
        if self._rules.is_label_studio(url):
            client, extensions = self._own_client, None
            headers |= self._auth()
        else:
            addresses = checked_addresses(host_of(url), private_allowed=private_allowed)
            client, extensions = self._client, {"addresses": addresses, "deadline": sink.deadline}
        timeout = httpx.Timeout(max(0.01, min(30.0, sink.deadline - time.monotonic())), connect=5.0)
        with client.stream("GET", url, headers=headers, extensions=extensions, timeout=timeout) as response:
            if response.status_code in _REDIRECTS:
                return url.join(str(response.headers.get("location", "")))
            if response.status_code == 304 and known is not None:
                return None
            if response.status_code != 200:
                raise MediaError("not_found", f"the address answered with status {response.status_code}")
            return _written(response, sink)

    def check(self, url: httpx.URL, before: httpx.URL | None = None) -> bool:
        """Whether the host may have a private address; MediaError for an address that the rules do not allow.

        `before` is the address that redirected to this one. No name is looked up.
        """
        if url.scheme not in ("http", "https"):
            raise MediaError("not_found", "a redirect to something other than http(s) is refused")
        if url.userinfo:
            raise MediaError("not_found", "an address with a user name or a password is refused")
        trusted = before is None or self._rules.is_label_studio(before)
        if self._rules.is_label_studio(url):
            if not trusted:
                raise MediaError("not_found", "a redirect of another host to Label Studio is refused")
            if self._rules.own_path(url.raw_path.decode("ascii")) is None:
                raise MediaError("not_found", "the path is refused: Label Studio serves no files below it")
            return True
        verdict = self._rules.verdict(url)
        if verdict is None and (before is None or not trusted):
            raise HostRefused(host_of(url))
        # Without a verdict, Label Studio itself sends there: to the bucket of a storage that was connected to it.
        return verdict == "named" and (trusted or (before is not None and host_of(before) == host_of(url)))


def _conditions(known: Stamp | None) -> dict[str, str]:
    if known is None:
        return {}
    conditions = {"if-none-match": known.etag, "if-modified-since": known.modified}
    return {name: value for name, value in conditions.items() if value}


def _written(response: httpx.Response, sink: Sink) -> Stamp:
    if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        # Nobody asked for it, and what a few bytes unpack to has no bound.
        raise MediaError("unreadable", "the address answers with compressed content, which was not asked for")
    told = response.headers.get("content-length", "")
    sink.expect(int(told) if told.isascii() and told.isdigit() else None)
    for chunk in response.iter_bytes():  # as it comes: gathering it into chunks would put off looking at the clock
        sink.write(chunk)
    return Stamp(etag=response.headers.get("etag"), modified=response.headers.get("last-modified"))
