"""Tasks that are broken, each with the reason code that it must get, and odd ones that must work ("ok")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from broken_site import bad_bytes, odd_bytes

TOO_LARGE = ("pixel-bomb.png", "wide.png", "bomb.gif")


@dataclass(frozen=True)
class Case:
    """One task's data, and the reason that its answer must carry."""

    name: str
    data: Any
    reason: str


def image_cases(port: int) -> Iterator[Case]:
    """Cases of an image project whose address is under "image"."""
    upload = "/data/upload/1"
    for name in bad_bytes():
        yield Case(name, {"image": f"{upload}/{name}"}, "too_large" if name in TOO_LARGE else "unreadable")
    for name in odd_bytes():
        yield Case(name, {"image": f"{upload}/{name}"}, "ok")
    site = f"http://images.test:{port}"
    for name, reason in {
        "large": "too_large",
        "endless": "too_large",
        "packed": "unreadable",
        "400": "not_found",
        "401": "not_found",
        "403": "not_found",
        "404": "not_found",
        "410": "not_found",
        "500": "not_found",
        "503": "not_found",
        "loop": "not_found",
        "to-metadata": "not_found",
        "to-metadata-literal": "not_found",
        "to-private": "not_found",
        "to-private-name": "not_found",
        "to-own": "not_found",
        "to-file": "not_found",
        "to-unknown": "not_found",
        "to-garbage": "not_found",
        "to-nothing": "not_found",
        "to-here": "ok",
    }.items():
        yield Case(name, {"image": f"{site}/{name}"}, reason)
    for host in ("slow", "stall", "drip", "noise", "cut"):
        name = "slow" if host == "drip" else host
        yield Case(f"a {host} server", {"image": f"http://{name}.test:{port}/{host}"}, "not_found")
    yield from _addresses(port)
    yield from _values()


def _addresses(port: int) -> Iterator[Case]:
    good = "data/upload/1/good-3.png"
    for name, address in {
        "a file": "file:///etc/passwd",
        "an absolute path": "/etc/passwd",
        "a path that is there": "/etc/hostname",
        "up": "../../etc/passwd",
        "up from the uploads": "/data/upload/../../etc/passwd",
        "up, encoded": "/data/upload/%2e%2e/%2e%2e/etc/passwd",
        "up, encoded twice": "/data/upload/%252e%252e/etc/passwd",
        "up, with backslashes": "/data/upload\\..\\..\\etc\\passwd",
        "up in local files": "/data/local-files/?d=../../etc/passwd",
        "a file of windows": "C:\\Windows\\win.ini",
        "a share": "\\\\host\\share\\a.png",
        "no scheme": f"//images.test:{port}/{good}",
        "ftp": f"ftp://images.test/{good}",
        "gopher": "gopher://127.0.0.1:6379/_FLUSHALL",
        "a bucket": "s3://bucket/a.png",
        "a bucket of another": "gs://bucket/a.png",
        "inline": "data:image/png;base64,iVBORw0KGgo=",
        "script": "javascript:alert(1)",
        "credentials": f"http://anna:s3cret-pw@images.test:{port}/{good}",
        "a user": f"http://token@images.test:{port}/{good}",
        "a host that looks allowed": f"http://images.test@evil.test:{port}/{good}",
        "an unknown host": f"http://nowhere.cdn.test/{good}",
        "a host that is not allowed": f"http://evil.test:{port}/{good}",
        "a port that is not allowed": f"http://images.test:{port + 1}/{good}",
        "a unicode host": f"http://évil.test:{port}/{good}",
        "a host of the metadata service": "http://metadata.test/latest/meta-data",
        "the metadata service": "http://169.254.169.254/latest/meta-data",
        "the metadata service in IPv6": "http://[::ffff:169.254.169.254]/latest",
        "a private address by a pattern": "http://private.cdn.test/a.png",
        "one private address of two": f"http://mixed.cdn.test:{port}/{good}",
        "a mapped address": f"http://mapped.cdn.test:{port}/{good}",
        "loopback in IPv6 by name": f"http://loopback6.cdn.test:{port}/{good}",
        "loopback in IPv6": f"http://[::1]:{port}/{good}",
        "loopback as a number": f"http://2130706433:{port}/{good}",
        "loopback in short": f"http://127.1:{port}/{good}",
        "any address": f"http://0.0.0.0:{port}/{good}",
        "a closed port": "http://closed.test:9/a.png",
        "no host": f"http:///{good}",
        "half a host": "http://[bad/a.png",
        "no such port": "http://images.test:99999/a.png",
        "only a scheme": "http://",
        "the token of Label Studio": "/api/current-user/token",
        "the same with its host": f"http://127.0.0.1:{port}/api/current-user/token",
        "logging out": "/user/logout",
    }.items():
        yield Case(name, {"image": address}, "not_found")
    for name, address in {
        "Label Studio with its host": f"http://127.0.0.1:{port}/{good}",
        "an allowed host": f"http://images.test:{port}/{good}?sig=a%2Fb",
        "in capitals": f"HTTP://IMAGES.TEST:{port}/{good}",
        "with the root's dot": f"http://images.test.:{port}/{good}",
        "an allowed unicode host": f"http://bücher.test:{port}/{good}",
        "with a fragment": f"/{good}#top",
        "white space around": f"  /{good}\n",
    }.items():
        yield Case(name, {"image": address}, "ok")


def _values() -> Iterator[Case]:
    for name, value in {
        "null": None, "a number": 7, "a truth": True, "a list": ["/data/upload/1/good-1.png"], "an object": {"url": "/a"},
        "empty": "", "only white space": " \t\n", "a NUL": "/data/upload/1/\x00.png", "a lone surrogate": "/data/upload/\ud800",
        "not a number": float("nan"), "endless": "/data/upload/1/" + "a" * 100_000, "a text": "John Smith works at Acme",
    }.items():  # fmt: skip
        yield Case(f"image is {name}", {"image": value}, "not_found")
    yield Case("no key", {"picture": "/data/upload/1/good-1.png"}, "not_found")
    yield Case("no data", {}, "not_found")
    yield Case("data is null", None, "not_found")
    yield Case("data is a list", ["image"], "not_found")


def text_cases(longest: int) -> Iterator[Case]:
    """Cases of a text project whose text is under "text"; a backend reads at most `longest` characters."""
    for name, value in {
        "null": None, "a number": 7, "a truth": True, "a list": ["a text"], "an object": {"text": "a text"}, "empty": "",
        "only white space": " \t\r\n \u3000", "not a number": float("nan"), "infinite": float("inf"),
    }.items():  # fmt: skip
        yield Case(f"text is {name}", {"text": value}, "text_missing")
    yield Case("no key", {"body": "a text"}, "text_missing")
    yield Case("no data", {}, "text_missing")
    yield Case("data is null", None, "text_missing")
    yield Case("data is a list", ["text"], "text_missing")
    yield Case("data is a text", "a text", "text_missing")
    yield Case("ten megabytes", {"text": "word " * 2_000_000}, "too_large")
    yield Case("one character too many", {"text": "a" * (longest + 1)}, "too_large")
    for name, text in {
        "a NUL": "the team\x00 won the match", "only NULs": "\x00\x00", "control characters": "\x01\x02 the bank \x1b[31m",
        "a byte order mark": "\ufeffthe bank lends", "emoji": "👩\u200d👩\u200d👧 won 🏆", "right to left": "השחקן ניצח",
        "one letter": "a", "one word of great length": "x" * 5000, "markup": "<b>the bank</b><script>alert(1)</script>",
        "zero width": "\u200b\u200b", "combining": "e\u0301" * 50, "outside the first plane": "𝔘𝔫𝔦 won",
        "a template": "{{7*7}} ${jndi:ldap://x} %s %n", "lines": "the bank\r\n\r\nlends\n" * 50,
    }.items():  # fmt: skip
        yield Case(name, {"text": text}, "ok")
