"""Media of tasks: which addresses are fetched, who gets the token, and what is taken for an image (Y6)."""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from labelloop.errors import MediaError, ServiceError
from labelloop.media import MediaCache, MediaRules, verified_suffix

LABEL_STUDIO = "http://127.0.0.1:8080"
ELSEWHERE = "http://93.184.215.14"
ALLOWED = ("93.184.215.14", "127.0.0.1:8081", "127.0.0.1:8080")
Answer = Callable[[httpx.Request], httpx.Response]


def picture(kind: str = "PNG", size: tuple[int, int] = (16, 12)) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(stream, kind)
    return stream.getvalue()


class Web:
    """Everything outside, as a function from request to response; keeps the requests."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answer(request)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Callable[..., MediaCache]]:
    """Makes a cache in the test's folder on such a web."""
    made: list[MediaCache] = []

    def make(web: Web, url: str = LABEL_STUDIO, auth: Callable[[], dict[str, str]] = token, **more: Any) -> MediaCache:
        rules = MediaRules(url, **({"hosts": ALLOWED, "max_bytes": 100_000} | more))
        made.append(MediaCache(tmp_path, rules, auth, transport=httpx.MockTransport(web)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def token() -> dict[str, str]:
    return {"Authorization": "Token abc"}


def files(folder: Path) -> list[str]:
    """Files in the folder besides the index."""
    return [file.name for file in folder.rglob("*") if file.is_file() and not file.name.startswith("index.")]


def always(content: bytes, status: int = 200) -> Web:
    return Web(lambda request: httpx.Response(status, content=content))


@pytest.mark.parametrize("path", ["/data/upload/2/0a1b2c3d-cat_1.png", "/data/local-files/?d=ds1/c.png"])
def test_label_studios_own_paths_are_fetched_with_its_token_once(cache: Any, path: str) -> None:
    content = picture()
    web = always(content)
    media = cache(web)
    first = media.fetch(path)
    assert first.read_bytes() == content
    assert media.fetch(path) == first
    assert [str(request.url) for request in web.requests] == [LABEL_STUDIO + path]
    assert web.requests[0].headers["authorization"] == "Token abc"


def test_under_a_sub_path_both_spellings_reach_the_same_file(cache: Any) -> None:
    web = always(picture())
    media = cache(web, url="http://127.0.0.1:8080/label-studio/")
    assert media.fetch("/data/upload/2/a.png") == media.fetch("/label-studio/data/upload/2/a.png")
    assert [request.url.path for request in web.requests] == ["/label-studio/data/upload/2/a.png"]


def test_the_token_goes_to_no_other_origin(cache: Any) -> None:
    web = always(picture())
    media = cache(web)
    for address in (f"{ELSEWHERE}/a.png", "http://127.0.0.1:8081/a.png", "https://127.0.0.1:8080/a.png"):
        media.fetch(address)
    assert len(web.requests) == 3
    assert all("authorization" not in request.headers for request in web.requests)


def test_the_token_does_not_follow_a_redirect_elsewhere(cache: Any) -> None:
    def redirecting(request: httpx.Request) -> httpx.Response:
        if request.url.host == "127.0.0.1":
            return httpx.Response(302, headers={"location": f"{ELSEWHERE}/bucket/a.png"})
        return httpx.Response(200, content=picture())

    web = Web(redirecting)
    cache(web).fetch("/data/upload/2/a.png")
    assert ["authorization" in request.headers for request in web.requests] == [True, False]


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "../../etc/passwd",
        "/data/../etc/passwd",
        "/data/%2e%2e/api/users",
        "/data/%252e%252e/api/users",
        "//203.0.113.9/a.png",
        "C:\\secret.png",
        "s3://bucket/a.png",
        "data:image/png;base64,AAAA",
        "http:///a.png",
        "http://[bad/a.png",
        "",
        "/api/current-user/token",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/latest",
        "http://0.0.0.0/a.png",
        "http://[::1]/a.png",
        "http://2130706433/a.png",
        "http://user:pw@93.184.215.14/a.png",
        "http://127.0.0.1:8080/api/current-user/token",
        "/data/local-files/?d=../../etc/passwd",
        "/data/..%5c..%5capi",
        "/data/upload/\x00.png",
        "/data/upload/\ud800.png",
    ],
)
def test_y6_a_task_names_no_file_of_the_machine(cache: Any, address: str) -> None:
    web = always(picture())
    with pytest.raises(MediaError) as caught:
        cache(web).fetch(address)
    assert caught.value.reason == "not_found"
    assert web.requests == []


def test_a_redirect_to_a_refused_address_is_not_followed(cache: Any) -> None:
    for location in ("file:///etc/passwd", "http://169.254.169.254/x"):
        web = Web(lambda request, to=location: httpx.Response(302, headers={"location": to}))  # type: ignore[misc]
        with pytest.raises(MediaError) as caught:
            cache(web).fetch("/data/upload/2/a.png")
        assert caught.value.reason == "not_found"
        assert len(web.requests) == 1


def test_a_redirect_loop_ends(cache: Any) -> None:
    web = Web(lambda request: httpx.Response(302, headers={"location": "/data/upload/2/b.png"}))
    with pytest.raises(MediaError, match="redirects"):
        cache(web).fetch("/data/upload/2/a.png")


def broken_jpeg() -> bytes:
    whole = picture("JPEG", (400, 300))
    return whole[: len(whole) // 2]


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"<html>log in</html>", 200, "unreadable"),
        (b"", 200, "unreadable"),
        (picture("PNG", (64, 64))[:900], 200, "unreadable"),
        (broken_jpeg(), 200, "unreadable"),
        (b"x" * 100_001, 200, "too_large"),
        (picture(), 404, "not_found"),
        (picture(), 401, "not_found"),
        (picture(), 500, "not_found"),
    ],
)
def test_what_cannot_be_used_has_a_reason_and_leaves_no_file(
    cache: Any, tmp_path: Path, content: bytes, status: int, reason: str
) -> None:
    with pytest.raises(MediaError) as caught:
        cache(always(content, status)).fetch("/data/upload/2/a.png")
    assert caught.value.reason == reason
    assert files(tmp_path) == []


def test_a_server_that_lies_about_the_length_is_cut_off(cache: Any) -> None:
    def endless() -> httpx.Response:
        return httpx.Response(200, content=iter([b"x" * 60_000] * 1000))

    with pytest.raises(MediaError) as caught:
        cache(Web(lambda request: endless())).fetch("/data/upload/2/a.png")
    assert caught.value.reason == "too_large"


def test_what_says_that_it_is_too_large_is_not_read(cache: Any) -> None:
    def unread() -> Iterator[bytes]:
        raise AssertionError("read")
        yield b""

    web = Web(lambda request: httpx.Response(200, headers={"content-length": "100001"}, content=unread()))
    with pytest.raises(MediaError) as caught:
        cache(web).fetch("/data/upload/2/a.png")
    assert caught.value.reason == "too_large"


def test_nothing_is_asked_for_packed_and_what_comes_packed_is_refused(cache: Any) -> None:
    web = Web(
        lambda request: httpx.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(picture()))
    )
    with pytest.raises(MediaError) as caught:
        cache(web).fetch("/data/upload/2/a.png")
    assert caught.value.reason == "unreadable"
    assert [request.headers["accept-encoding"] for request in web.requests] == ["identity"]


def test_label_studio_too_has_its_time_for_a_file(cache: Any) -> None:
    def trickle() -> Iterator[bytes]:
        while True:
            time.sleep(0.01)
            yield b"x"

    media = cache(Web(lambda request: httpx.Response(200, content=trickle())), budget_s=0.2)
    with pytest.raises(MediaError, match=r"within 0\.2 s") as caught:
        media.fetch("/data/upload/2/a.png")
    assert caught.value.reason == "not_found"


def test_a_server_that_does_not_answer_is_a_reason_too(cache: Any) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(MediaError) as caught:
        cache(Web(refuse)).fetch("/data/upload/2/a.png")
    assert caught.value.reason == "not_found"


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    file = tmp_path / "wide.png"
    Image.new("1", (3000, 2000)).save(file)
    with pytest.raises(MediaError) as caught:
        verified_suffix(file, max_pixels=5_999_999)
    assert caught.value.reason == "too_large"
    assert verified_suffix(file, max_pixels=6_000_000) == "png"


def test_the_suffix_tells_the_content_whatever_the_address_says(cache: Any) -> None:
    assert cache(always(picture("JPEG"))).fetch(f"{ELSEWHERE}/a.png?sig=1").suffix == ".jpg"


def test_a_refused_token_is_a_reason_and_nothing_is_asked_without_it(cache: Any) -> None:
    def refused() -> dict[str, str]:
        raise ServiceError("the token has expired", 401)

    web = always(picture())
    media = cache(web, auth=refused)
    with pytest.raises(MediaError, match="expired") as caught:
        media.fetch("/data/upload/2/a.png")
    assert caught.value.reason == "not_found"
    assert web.requests == []
