"""Y6: what an address stands for; the one folder and the buckets that the settings name, and nothing beside them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest
from fsspec.registry import _registry
from PIL import Image

from labelloop.errors import MediaError, SettingsError
from labelloop.media import MediaCache, MediaRules, verified_suffix
from labelloop.media.places import FilePlace, WebPlace
from labelloop.settings import ServiceSettings, load_settings, service_environment

LABEL_STUDIO = "http://127.0.0.1:8080"
Make = Callable[..., MediaCache]


def picture(shade: int = 0, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The allowed folder, with an image in it and secrets around it."""
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(picture(1))
    (folder / "sub" / "b c.png").write_bytes(picture(2))
    (folder / "inside.png").symlink_to("sub/b c.png")
    (tmp_path / "secret.png").write_bytes(picture(3))
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe.png")
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a cache with such rules; Label Studio has no files."""
    made: list[MediaCache] = []

    def build(**rules: Any) -> MediaCache:
        transport = httpx.MockTransport(lambda request: httpx.Response(404))
        made.append(MediaCache(tmp_path / "media", MediaRules(LABEL_STUDIO, **rules), dict, transport=transport))
        return made[-1]

    yield build
    for each in made:
        each.close()


def reason(media: MediaCache, address: str) -> str:
    with pytest.raises(MediaError) as caught:
        media.fetch(address)
    assert "secret" not in str(caught.value)
    return caught.value.reason


def test_files_of_the_folder_are_read_under_every_spelling(make: Make, images: Path) -> None:
    media = make(folder=images)
    for address, shade in [
        ("/data/local-files/?d=a.png", 1),
        ("/data/local-files/?d=sub/b%20c.png", 2),
        (f"{images}/a.png", 1),
        (f"file://{images}/a.png", 1),
        (f"file://localhost{images}/sub/b%20c.png", 2),
        (f"{images}/sub/b c.png", 2),
        (f"{images}/inside.png", 2),
    ]:
        assert media.fetch(address).read_bytes() == picture(shade), address


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "file://otherhost/etc/passwd",
        "{folder}/../secret.png",
        "{folder}/out.png",
        "{folder}/up/secret.png",
        "{folder}/loop",
        "{folder}/pipe.png",
        "{folder}/sub",
        "{folder}/none.png",
        "file://{folder}/../secret.png",
        "file://{folder}/%2e%2e/secret.png",
        "{folder}x/a.png",
        "/data/local-files/?d=out.png",
        "/data/local-files/?d=../secret.png",
        "/data/local-files/?d=%2e%2e/secret.png",
        "/data/local-files/?d=up/secret.png",
        "/data/local-files/?d=/etc/hostname",
        "/data/local-files/?d=pipe.png",
        "/data/local-files/?d=none.png",
        "/data/local-files/?d=" + "a" * 5000,
        "a.png",
        "./a.png",
        "\\\\host\\share\\a.png",
    ],
)
def test_y6_nothing_outside_the_folder_is_read(make: Make, images: Path, address: str) -> None:
    assert reason(make(folder=images), address.replace("{folder}", str(images))) == "not_found"


def test_y6_without_the_setting_no_file_of_this_machine_is_read(make: Make, images: Path) -> None:
    media = make()
    for address in (f"{images}/a.png", f"file://{images}/a.png", "/data/local-files/?d=a.png", "/etc/passwd"):
        assert reason(media, address) == "not_found"


def test_a_file_that_changed_is_read_anew_and_one_that_went_is_gone(make: Make, images: Path) -> None:
    media = make(folder=images)
    first = media.fetch(f"{images}/a.png")
    assert media.fetch(f"{images}/a.png") == first
    (images / "a.png").write_bytes(picture(77))
    assert media.fetch(f"{images}/a.png").read_bytes() == picture(77)
    assert first.read_bytes() == picture(1)  # who holds the old file keeps it
    (images / "a.png").unlink()
    assert reason(media, f"{images}/a.png") == "not_found"


def test_the_limits_hold_for_files_too(make: Make, images: Path) -> None:
    assert reason(make(folder=images, max_bytes=20), f"{images}/a.png") == "too_large"
    assert reason(make(folder=images, max_pixels=63), f"{images}/a.png") == "too_large"
    (images / "a.png").write_bytes(b"text")
    assert reason(make(folder=images), f"{images}/a.png") == "unreadable"


@pytest.fixture
def bucket() -> Iterator[Any]:
    """An object store in memory."""
    files = fsspec.filesystem("memory")
    files.pipe("/bucket/images/a.png", picture(5))
    files.pipe("/bucket/other/a.png", picture(6))
    files.pipe("/bucket/images/text.png", b"text")
    yield files
    files.rm("/bucket", recursive=True)


def test_objects_of_the_named_buckets_are_read(make: Make, bucket: Any) -> None:
    media = make(buckets=("memory://bucket/images",))
    assert media.fetch("memory://bucket/images/a.png").read_bytes() == picture(5)
    assert reason(media, "memory://bucket/images/none.png") == "not_found"
    assert reason(media, "memory://bucket/images/text.png") == "unreadable"
    assert reason(make(buckets=("memory://bucket",), max_bytes=20), "memory://bucket/other/a.png") == "too_large"


@pytest.mark.parametrize(
    "address",
    [
        "memory://bucket/other/a.png",
        "memory://bucket/imagesx/a.png",
        "memory://bucket/images/../other/a.png",
        "memory://bucket/images/a.png::file:///etc/passwd",
        "zip://a.png::memory://bucket/images/a.zip",
        "local:///etc/passwd",
        "s3://bucket/images/a.png",
    ],
)
def test_y6_nothing_outside_the_named_buckets_is_read(make: Make, bucket: Any, address: str) -> None:
    assert reason(make(buckets=("memory://bucket/images",)), address) == "not_found"
    with pytest.raises(MediaError):  # no store is even asked
        MediaRules(LABEL_STUDIO, buckets=("memory://bucket/images",)).place_of(address)


def test_a_bucket_that_is_not_named_and_a_library_that_is_not_there_are_said(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MediaError, match="LABELLOOP_MEDIA_BUCKETS"):
        make().fetch("s3://bucket/a.png")
    for protocol in ("s3", "gs"):  # what another test had loaded is kept there
        monkeypatch.delitem(_registry, protocol, raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MediaError, match=r"s3fs.*labelloop\[s3\]"):
        make(buckets=("s3://bucket",)).fetch("s3://bucket/a.png")
    with pytest.raises(MediaError, match=r"gcsfs.*labelloop\[gcs\]"):
        make(buckets=("gs://bucket",)).fetch("gs://bucket/a.png")


@pytest.mark.parametrize("entry", ["bucket", "s3:/bucket", "file:///", "http://host", "s3://", "local://x"])
def test_a_bucket_that_is_none_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(SettingsError, match="LABELLOOP_MEDIA_BUCKETS"):
        MediaRules(LABEL_STUDIO, buckets=(entry,))


def test_label_studios_own_paths_at_its_address_or_without_it_are_one_place() -> None:
    rules = MediaRules("http://studio.test/ls/")
    url = httpx.URL("http://studio.test/ls/data/upload/1/a.png")
    for address in ("/data/upload/1/a.png", "/ls/data/upload/1/a.png", str(url), f"{url}#x", f"  {url} "):
        assert rules.place_of(address) == WebPlace(url), address
    assert rules.place_of("/tasks/7/resolve/?fileuri=czM6Ly9h") == WebPlace(
        httpx.URL("http://studio.test/ls/tasks/7/resolve/?fileuri=czM6Ly9h")
    )
    for refused in ("/tasks/7/", "/tasks/7/annotations/resolve/", "/user/logout", "/api/tasks/7", "/datax/"):
        with pytest.raises(MediaError):
            rules.place_of(refused)


def test_a_folder_below_data_goes_before_label_studios_path(tmp_path: Path) -> None:
    rules = MediaRules(LABEL_STUDIO, folder=Path("/data/images"))
    assert rules.place_of("/data/images/a.png") == FilePlace(Path("/data/images/a.png"))
    assert isinstance(rules.place_of("/data/upload/a.png"), WebPlace)


def test_the_settings_become_rules_and_reach_child_processes() -> None:
    environ = {
        "LABELLOOP_MEDIA_HOSTS": "images.test, *.cdn.test",
        "LABELLOOP_MEDIA_BUCKETS": "s3://a,gs://b/c",
        "LABELLOOP_MEDIA_FOLDER": "/srv/images",
        "LABELLOOP_IMAGE_MAX_MEGAPIXELS": "10",
        "LABELLOOP_MEDIA_TIMEOUT_S": "7",
    }
    services = load_settings(None, environ).services
    rules = MediaRules.of(services)
    assert (rules.hosts, rules.buckets) == (("images.test", "*.cdn.test"), ("s3://a", "gs://b/c"))
    assert (rules.folder, rules.max_pixels, rules.budget_s) == (Path("/srv/images"), 10_000_000, 7.0)
    assert load_settings(None, service_environment(services)).services == services
    assert MediaRules.of(ServiceSettings()).hosts == ()


def test_only_kinds_of_images_that_are_decoded_here_count(tmp_path: Path) -> None:
    for kind, suffix in {
        "PNG": "png",
        "JPEG": "jpg",
        "GIF": "gif",
        "BMP": "bmp",
        "TIFF": "tiff",
        "WEBP": "webp",
    }.items():
        (tmp_path / "file").write_bytes(picture(1, kind))
        assert verified_suffix(tmp_path / "file") == suffix
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")  # Pillow would run another program to read it
    with pytest.raises(MediaError) as caught:
        verified_suffix(tmp_path / "a.eps")
    assert caught.value.reason == "unreadable"
