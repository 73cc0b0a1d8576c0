"""Media of tasks: fetched over HTTP only, checked to be the image it claims to be, and kept in a local cache."""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import httpx
from PIL import Image, UnidentifiedImageError

from labelloop.errors import MediaError, ServiceError

#: Pixels from which Pillow itself suspects a decompression bomb.
MAX_PIXELS = 89_478_485
_OWN_PATHS = ("/data/", "/storage-data/", "/tasks/")
_REDIRECTS = {301, 302, 303, 307, 308}
_MAX_REDIRECTS = 5
_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _check_host(url: str) -> None:
    """Refuse addresses that are never an image server, such as a cloud's link-local metadata service."""
    host = urlsplit(url).hostname or ""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as error:
        raise MediaError("not_found", f"the host {host!r} is not known: {error}") from error
    for text in found:
        address = ipaddress.ip_address(str(text).partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
            raise MediaError("not_found", f"the host {host!r} has the address {address}, which is refused")


def verified_suffix(path: Path, max_pixels: int = MAX_PIXELS) -> str:
    """The suffix that fits an image file's content; MediaError for what is no image, damaged, or too many pixels."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > max_pixels:
                raise MediaError(
                    "too_large", f"{image.width} x {image.height} pixels; at most {max_pixels} are allowed"
                )
            suffix = (image.format or "bin").lower()
            image.verify()
        with Image.open(path) as image:
            image.draft("L", (64, 64))  # a JPEG is then decoded at an eighth of its size; truncation still shows
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError("too_large", f"the image has too many pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise MediaError("unreadable", "what was fetched is no image that Pillow knows") from error
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise MediaError("unreadable", f"the image does not decode: {type(error).__name__}") from error
    return {"jpeg": "jpg", "mpo": "jpg"}.get(suffix, suffix)


class MediaCache:
    """Fetches images by the address that a task names, once; the headers of `auth` go to Label Studio only.

    `max_bytes` bounds one file. A task's data is written by others: it can name http(s) addresses and Label Studio's
    own paths, never a file of this machine.
    """

    def __init__(
        self,
        folder: Path,
        label_studio_url: str,
        auth: Callable[[], Mapping[str, str]],
        max_bytes: int,
        *,
        budget_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.folder = folder
        self._base = label_studio_url.rstrip("/")
        self._auth = auth
        self._max_bytes = max_bytes
        self._budget_s = budget_s
        # A proxy of the environment must not stand between this process and a Label Studio beside it.
        self._own_client = httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=False, transport=transport)
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=False, transport=transport)

    def close(self) -> None:
        """Close the connections."""
        self._own_client.close()
        self._client.close()

    def address(self, url_or_path: str) -> str:
        """The http(s) address that a task's value stands for; MediaError "not_found" for anything else."""
        value = url_or_path.strip()
        if urlsplit(value).scheme in _DEFAULT_PORTS and urlsplit(value).hostname:
            return value
        if not value.startswith("/") or value.startswith("//"):
            raise MediaError(
                "not_found",
                "the address is refused: expected http(s)://… or a path of Label Studio such as /data/upload/…",
            )
        prefix = urlsplit(self._base).path
        path = value.removeprefix(prefix) if prefix and value.startswith(prefix + "/") else value
        plain = unquote(unquote(urlsplit(path).path))
        if not plain.startswith(_OWN_PATHS) or ".." in plain.split("/"):
            raise MediaError("not_found", f"the path is refused: Label Studio's own start with one of {_OWN_PATHS}")
        return self._base + path

    def fetch(self, url_or_path: str) -> Path:
        """The local file of an image; MediaError with reason "not_found", "unreadable" or "too_large"."""
        try:
            url = self.address(url_or_path)
        except ValueError as error:
            raise MediaError("not_found", "the address is not a valid URL") from error
        name = hashlib.sha256(url.encode()).hexdigest()
        shelf = self.folder / name[:2]
        for found in shelf.glob(f"{name}.*"):
            return found
        shelf.mkdir(parents=True, exist_ok=True)
        partial = shelf / f".{name}-{uuid.uuid4().hex}"
        try:
            self._download(url, partial)
            target = shelf / f"{name}.{verified_suffix(partial)}"
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return target

    def _download(self, url: str, target: Path) -> None:
        deadline = time.monotonic() + self._budget_s
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                onward = self._one_hop(url, target, deadline)
                if onward is None:
                    return
                url = onward
        except ServiceError as error:
            raise MediaError("not_found", str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise MediaError("not_found", f"the address did not answer: {type(error).__name__}") from error
        raise MediaError("not_found", f"more than {_MAX_REDIRECTS} redirects")

    def _one_hop(self, url: str, target: Path, deadline: float) -> str | None:
        """Fetch into `target`, or return where the answer redirects to."""
        own = _origin(url) == _origin(self._base)
        if urlsplit(url).scheme not in _DEFAULT_PORTS:
            raise MediaError("not_found", "a redirect to something other than http(s) is refused")
        if not own:
            _check_host(url)
        client = self._own_client if own else self._client
        with client.stream("GET", url, headers=dict(self._auth()) if own else {}) as response:
            if response.status_code in _REDIRECTS:
                return urljoin(url, str(response.headers.get("location", "")))
            if response.status_code != 200:
                raise MediaError("not_found", f"the address answered with status {response.status_code}")
            self._store(response, target, deadline)
        return None

    def _store(self, response: httpx.Response, target: Path, deadline: float) -> None:
        told = response.headers.get("content-length", "")
        if told.isdigit() and int(told) > self._max_bytes:
            raise MediaError("too_large", f"the file has {told} bytes; at most {self._max_bytes} are allowed")
        size = 0
        with target.open("wb") as file:
            for chunk in response.iter_bytes():
                size += len(chunk)
                if size > self._max_bytes:
                    raise MediaError("too_large", f"the file has more than {self._max_bytes} bytes")
                if time.monotonic() > deadline:
                    raise MediaError("not_found", f"the address did not finish within {self._budget_s:.0f} s")
                file.write(chunk)
