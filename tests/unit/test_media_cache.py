"""Media of tasks: which addresses are fetched, who gets the token, and what is taken for an image (Y6)."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from PIL import Image

from labelloop.errors import MediaError, ServiceError
from labelloop.media import MediaCache, verified_suffix

LABEL_STUDIO = "http://127.0.0.1:8080"
ELSEWHERE = "http://203.0.113.9"
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


def cache(folder: Path, web: Web, url: str = LABEL_STUDIO, max_bytes: int = 100_000) -> MediaCache:
    return MediaCache(
        folder, url, lambda: {"Authorization": "Token abc"}, max_bytes, transport=httpx.MockTransport(web)
    )


def always(content: bytes, status: int = 200) -> Web:
    return Web(lambda request: httpx.Response(status, content=content))


@pytest.mark.parametrize("path", ["/data/upload/2/0a1b2c3d-cat_1.png", "/data/local-files/?d=ds1/c.png"])
def test_label_studios_own_paths_are_fetched_with_its_token_once(tmp_path: Path, path: str) -> None:
    content = picture()
    web = always(content)
    media = cache(tmp_path, web)
    first = media.fetch(path)
    assert first.read_bytes() == content
    assert media.fetch(path) == first
    assert [str(request.url) for request in web.requests] == [LABEL_STUDIO + path]
    assert web.requests[0].headers["authorization"] == "Token abc"


def test_under_a_sub_path_both_spellings_reach_the_same_file(tmp_path: Path) -> None:
    web = always(picture())
    media = cache(tmp_path, web, url="http://127.0.0.1:8080/label-studio/")
    assert media.fetch("/data/upload/2/a.png") == media.fetch("/label-studio/data/upload/2/a.png")
    assert [request.url.path for request in web.requests] == ["/label-studio/data/upload/2/a.png"]


def test_the_token_goes_to_no_other_origin(tmp_path: Path) -> None:
    web = always(picture())
    media = cache(tmp_path, web)
    for address in (f"{ELSEWHERE}/a.png", "http://127.0.0.1:8081/a.png", "https://127.0.0.1:8080/a.png"):
        media.fetch(address)
    assert len(web.requests) == 3
    assert all("authorization" not in request.headers for request in web.requests)


def test_the_token_does_not_follow_a_redirect_elsewhere(tmp_path: Path) -> None:
    def redirecting(request: httpx.Request) -> httpx.Response:
        if request.url.host == "127.0.0.1":
            return httpx.Response(302, headers={"location": f"{ELSEWHERE}/bucket/a.png"})
        return httpx.Response(200, content=picture())

    web = Web(redirecting)
    cache(tmp_path, web).fetch("/data/upload/2/a.png")
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
    ],
)
def test_y6_a_task_names_no_file_of_the_machine(tmp_path: Path, address: str) -> None:
    web = always(picture())
    with pytest.raises(MediaError) as caught:
        cache(tmp_path, web).fetch(address)
    assert caught.value.reason == "not_found"
    assert web.requests == []


def test_a_redirect_to_a_refused_address_is_not_followed(tmp_path: Path) -> None:
    for location in ("file:///etc/passwd", "http://169.254.169.254/x"):
        web = Web(lambda request, to=location: httpx.Response(302, headers={"location": to}))  # type: ignore[misc]
        with pytest.raises(MediaError) as caught:
            cache(tmp_path, web).fetch("/data/upload/2/a.png")
        assert caught.value.reason == "not_found"
        assert len(web.requests) == 1


def test_a_redirect_loop_ends(tmp_path: Path) -> None:
    web = Web(lambda request: httpx.Response(302, headers={"location": "/data/upload/2/b.png"}))
    with pytest.raises(MediaError, match="redirects"):
        cache(tmp_path, web).fetch("/data/upload/2/a.png")


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
    tmp_path: Path, content: bytes, status: int, reason: str
) -> None:
    with pytest.raises(MediaError) as caught:
        cache(tmp_path, always(content, status)).fetch("/data/upload/2/a.png")
    assert caught.value.reason == reason
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_server_that_lies_about_the_length_is_cut_off(tmp_path: Path) -> None:
    def endless() -> httpx.Response:
        return httpx.Response(200, content=iter([b"x" * 60_000] * 1000))

    with pytest.raises(MediaError) as caught:
        cache(tmp_path, Web(lambda request: endless())).fetch("/data/upload/2/a.png")
    assert caught.value.reason == "too_large"


def test_a_server_that_does_not_answer_is_a_reason_too(tmp_path: Path) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(MediaError) as caught:
        cache(tmp_path, Web(refuse)).fetch("/data/upload/2/a.png")
    assert caught.value.reason == "not_found"


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    file = tmp_path / "wide.png"
    Image.new("1", (3000, 2000)).save(file)
    with pytest.raises(MediaError) as caught:
        verified_suffix(file, max_pixels=5_999_999)
    assert caught.value.reason == "too_large"
    assert verified_suffix(file, max_pixels=6_000_000) == "png"


def test_the_suffix_tells_the_content_whatever_the_address_says(tmp_path: Path) -> None:
    assert cache(tmp_path, always(picture("JPEG"))).fetch(f"{ELSEWHERE}/a.png?sig=1").suffix == ".jpg"


def test_a_refused_token_is_a_reason_and_nothing_is_asked_without_it(tmp_path: Path) -> None:
    def refused() -> dict[str, str]:
        raise ServiceError("the token has expired", 401)

    web = always(picture())
    media = MediaCache(tmp_path, LABEL_STUDIO, refused, 100_000, transport=httpx.MockTransport(web))
    with pytest.raises(MediaError, match="expired") as caught:
        media.fetch("/data/upload/2/a.png")
    assert caught.value.reason == "not_found"
    assert web.requests == []
