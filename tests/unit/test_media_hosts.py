"""Which hosts media come from: allowed ones, every address checked and connected to as checked, redirects checked anew."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from labelloop.errors import MediaError, SettingsError
from labelloop.media import MediaCache, MediaRules
from labelloop.media.hosts import checked_addresses, is_public, may_be_named
from labelloop.media.pinned import PinnedTransport
from labelloop.media.sink import Sink
from labelloop.media.web import WebReader

LABEL_STUDIO = "http://127.0.0.1:8080"
PUBLIC = "93.184.215.14"


class Names:
    """A name server: each look-up of a name gives the next of its answers, the last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def __call__(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else str(host)
        self.asked.append(name)
        try:
            found = [str(ipaddress.ip_address(name))]
        except ValueError:
            known = self.answers.get(name)
            if not known:
                raise socket.gaierror(-2, "Name or service not known") from None
            found = known.pop(0) if len(known) > 1 else known[0]
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [(family[ipaddress.ip_address(a).version], socket.SOCK_STREAM, 6, "", (a, port or 0)) for a in found]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    return made


@pytest.mark.parametrize(
    ("text", "public", "named"),
    [
        ("93.184.215.14", True, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True, True),
        ("10.1.2.3", False, True),
        ("192.168.0.9", False, True),
        ("172.16.0.1", False, True),
        ("fd00::1", False, True),
        ("127.0.0.1", False, True),
        ("127.9.9.9", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("::ffff:93.184.215.14", True, True),
        ("100.64.0.1", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),  # NAT64 of 169.254.169.254
        ("64:ff9b::5db8:d70e", True, True),  # NAT64 of 93.184.215.14
        ("64:ff9b::a01:203", False, True),
        ("2002:a9fe:a9fe::1", False, False),  # 6to4 of the same
        ("2002:7f00:1::", False, True),
        ("fe80::1", False, False),
        ("0.0.0.0", False, False),  # noqa: S104
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("240.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("203.0.113.9", False, True),
        ("fec0::1", False, True),
    ],
)
def test_addresses_are_told_apart(text: str, public: bool, named: bool) -> None:
    address = ipaddress.ip_address(text)
    assert (is_public(address), may_be_named(address)) == (public, named)


def test_every_address_of_a_name_is_checked(names: Names) -> None:
    names.answers["two.test"] = [[PUBLIC, "10.0.0.1"]]
    with pytest.raises(MediaError, match=r"10\.0\.0\.1 is not a public"):
        checked_addresses("two.test", private_allowed=False)
    assert checked_addresses("two.test", private_allowed=True) == (PUBLIC, "10.0.0.1")
    with pytest.raises(MediaError, match="not known"):
        checked_addresses("nowhere.test", private_allowed=True)


@pytest.mark.parametrize(
    ("hosts", "url", "verdict"),
    [
        ((), f"http://{PUBLIC}/a", None),
        (("images.test",), "http://images.test/a", "named"),
        (("Images.TEST.",), "https://images.test:444/a", "named"),
        (("images.test:8000",), "http://images.test:8000/a", "named"),
        (("images.test:8000",), "http://images.test/a", None),
        (("images.test:443",), "https://images.test/a", "named"),
        (("images.test",), "http://images.test.evil.test/a", None),
        (("images.test",), "http://evilimages.test/a", None),
        (("*.test",), "http://a.b.test/a", "public"),
        (("*.images.test",), "http://images.test/a", None),
        (("*.images.test",), "http://evilimages.test/a", None),
        (("*",), "http://any.where/a", "public"),
        (("*", "images.test"), "http://images.test/a", "named"),
        (("[::1]:8000",), "http://[::1]:8000/a", "named"),
        (("bücher.test",), "http://xn--bcher-kva.test/a", "named"),
        (("xn--bcher-kva.test",), "http://bücher.test/a", "named"),
    ],
)
def test_hosts_are_allowed_by_name_port_or_pattern(hosts: tuple[str, ...], url: str, verdict: str | None) -> None:
    assert MediaRules(LABEL_STUDIO, hosts=hosts).verdict(httpx.URL(url)) == verdict


@pytest.mark.parametrize(
    "entry", ["http://images.test", "images.test/a", "a b", "*.", "a*.test", "u:p@images.test", "[::"]
)
def test_a_host_that_is_none_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(SettingsError, match="LABELLOOP_MEDIA_HOSTS"):
        MediaRules(LABEL_STUDIO, hosts=(entry,))


Read = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Read]:
    """Reads an address on a web of redirects: the addresses that were requested; MediaError as it comes."""
    readers: list[WebReader] = []

    def go(url: str, hosts: tuple[str, ...], redirects: dict[str, str]) -> list[str]:
        requests: list[str] = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append(str(request.url))
            onward = redirects.get(str(request.url))
            return httpx.Response(302, headers={"location": onward}) if onward else httpx.Response(200, content=b"x")

        readers.append(WebReader(MediaRules(LABEL_STUDIO, hosts=hosts), dict, httpx.MockTransport(answer)))
        with (tmp_path / "file").open("wb") as file:
            try:
                readers[-1].read(httpx.URL(url), Sink(file, 100, 30))
            except MediaError as error:
                assert error.reason == "not_found"
                requests.append("refused")
        return requests

    yield go
    for reader in readers:
        reader.close()


OWN = f"{LABEL_STUDIO}/data/upload/1/a.png"
INTRANET = "http://intranet.test/a.png"
IMAGES = "http://images.test/a.png"


@pytest.mark.parametrize(
    ("url", "hosts", "redirects", "reached"),
    [
        (IMAGES, ("images.test",), {}, 1),
        (IMAGES, (), {}, 0),
        (INTRANET, ("intranet.test",), {}, 1),  # named: it may be private
        (INTRANET, ("*.test",), {}, 0),
        (INTRANET, ("*",), {}, 0),
        ("http://metadata.test/", ("metadata.test",), {}, 0),
        (IMAGES, ("images.test", "intranet.test"), {IMAGES: INTRANET}, 1),  # but not when another host sends there
        (IMAGES, ("images.test",), {IMAGES: "http://other.test/a.png"}, 1),
        (IMAGES, ("images.test", "other.test"), {IMAGES: "http://other.test/a.png"}, 2),
        (IMAGES, ("*.test",), {IMAGES: "http://10.0.0.1/a.png"}, 1),
        (IMAGES, ("images.test", "127.0.0.1"), {IMAGES: "http://127.0.0.1:9/a.png"}, 1),
        (IMAGES, ("images.test",), {IMAGES: "file:///etc/passwd"}, 1),
        (IMAGES, ("images.test",), {IMAGES: "//user:pw@images.test/b"}, 1),
        (IMAGES, ("images.test",), {IMAGES: OWN}, 1),  # Label Studio is not to be asked by others, token or not
        (INTRANET, ("intranet.test",), {INTRANET: "http://intranet.test/b.png"}, 2),
        (OWN, (), {OWN: "http://bucket.test/a.png"}, 2),  # Label Studio's own storage
        (OWN, (), {OWN: INTRANET}, 1),
        (OWN, ("intranet.test",), {OWN: INTRANET}, 2),
        (OWN, (), {OWN: "/user/login/?next=/"}, 1),
        (OWN, ("intranet.test",), {OWN: "http://bucket.test/a", "http://bucket.test/a": INTRANET}, 2),
    ],
)
def test_each_hop_is_checked(
    read: Read, names: Names, url: str, hosts: tuple[str, ...], redirects: dict[str, str], reached: int
) -> None:
    names.answers |= {f"{name}.test": [[PUBLIC]] for name in ("images", "other", "bucket")}
    names.answers |= {"intranet.test": [["10.0.0.9"]], "metadata.test": [["169.254.169.254"]]}
    requests = read(url, hosts, redirects)
    assert len([each for each in requests if each != "refused"]) == reached
    assert ("refused" in requests) == (len(redirects) + 1 != reached)


class Wire:
    """What is connected to; the server behind it answers with an image's first bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connected: list[tuple[str, int]] = []
        self.server_names: list[str | None] = []
        self.sent = b""
        self.down: set[str] = set()
        monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", self._connect)

    def _connect(self, host: str, port: int, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        self.connected.append((host, port))
        if host in self.down:
            raise httpcore.ConnectError("refused")
        return Stream(self)


class Stream(httpcore.MockStream):
    def __init__(self, wire: Wire) -> None:
        super().__init__([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: e1\r\n\r\nok"])
        self._wire = wire

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Stream:
        self._wire.server_names.append(server_hostname)
        return self

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._wire.sent += buffer


def test_the_connection_goes_to_the_checked_address_whatever_the_name_says_later(
    names: Names, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names.answers["rebind.test"] = [[PUBLIC], ["127.0.0.1"]]
    wire = Wire(monkeypatch)
    reader = WebReader(MediaRules(LABEL_STUDIO, hosts=("*",)), dict)
    with (tmp_path / "file").open("wb") as file:
        stamp = reader.read(httpx.URL("https://rebind.test:444/a.png"), Sink(file, 100, 30))
    reader.close()
    assert stamp is not None and stamp.etag == "e1"
    assert (tmp_path / "file").read_bytes() == b"ok"
    assert wire.connected == [(PUBLIC, 444)]
    assert wire.server_names == ["rebind.test"]  # the certificate is checked against the name
    assert b"Host: rebind.test:444\r\n" in wire.sent
    assert names.asked == ["rebind.test"]


def test_the_next_checked_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch)
    wire.down.add("192.0.2.1")
    extensions = {"addresses": ("192.0.2.1", PUBLIC), "deadline": time.monotonic() + 60}
    with httpx.Client(transport=PinnedTransport(), trust_env=False) as client:
        assert client.get("http://images.test/", extensions=extensions).text == "ok"
        assert wire.connected == [("192.0.2.1", 80), (PUBLIC, 80)]
        with pytest.raises(httpx.TransportError):
            client.get("http://images.test/", extensions={"addresses": (), "deadline": time.monotonic() + 60})
        with pytest.raises(httpx.TimeoutException):
            client.get("http://images.test/", extensions=extensions | {"deadline": time.monotonic() - 1})


def test_a_refused_host_is_told_once_with_the_setting(
    tmp_path: Path, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    media = MediaCache(tmp_path, MediaRules(LABEL_STUDIO), dict)
    for address in ("http://images.test/a.png?sig=s3cret", "http://images.test/b.png", "http://other.test/a.png"):
        with pytest.raises(MediaError, match="LABELLOOP_MEDIA_HOSTS"):
            media.fetch(address)
    media.close()
    told = [record for record in caplog.records if record.message == "media host not allowed"]
    assert [record.__dict__["host"] for record in told] == ["images.test", "other.test"]
    assert names.asked == []  # nothing of a refused host is asked, not even its address
    assert "s3cret" not in caplog.text
