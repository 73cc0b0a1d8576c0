"""What an address in a task stands for: Label Studio's own file, a web host, a bucket, or a file of the one folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

import httpx

from labelloop.errors import MediaError, SettingsError
from labelloop.media.pictures import MAX_PIXELS

if TYPE_CHECKING:
    from labelloop.settings import ServiceSettings

#: Paths below which Label Studio serves files; its API answers the token, so nothing else of it is asked.
_OWN_PATHS = re.compile(r"/(data/|storage-data/|(tasks|projects)/\d+/(resolve|presign)/)")
_HOST = re.compile(r"[a-z0-9._:-]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOCAL_FILES = "/data/local-files/"
_BUCKET = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+(/.*)?")
_NO_BUCKETS = ("http://", "https://", "file://", "local://")
EXPECTED = "expected http(s)://…, or a path of Label Studio such as /data/upload/…"

Verdict = Literal["named", "public"]


@dataclass(frozen=True)
class WebPlace:
    """An http(s) address."""

    url: httpx.URL


@dataclass(frozen=True)
class BucketPlace:
    """An object in a bucket: the fsspec protocol, and bucket and key."""

    protocol: str
    path: str


@dataclass(frozen=True)
class FilePlace:
    """A file that is meant to be in the allowed folder; reading it checks that it truly is."""

    path: Path


Place = WebPlace | BucketPlace | FilePlace


@dataclass(frozen=True)
class MediaRules:
    """Where media may come from, and how much of it: the settings `media_*` and `image_max_*`.

    Raises SettingsError for hosts or buckets that are not written as the settings expect.
    """

    label_studio_url: str
    hosts: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    folder: Path | None = None
    max_bytes: int = 50_000_000
    max_pixels: int = MAX_PIXELS
    budget_s: float = 20.0

    def __post_init__(self) -> None:
        for bucket in self.buckets:
            if not _BUCKET.fullmatch(bucket) or bucket.startswith(_NO_BUCKETS):
                raise SettingsError(f"LABELLOOP_MEDIA_BUCKETS: expected s3://name or gs://name/folder, got {bucket!r}")
        if any(not host for host, _, _ in self._patterns):
            raise SettingsError(
                f"LABELLOOP_MEDIA_HOSTS: expected host, host:port, *.domain or *, got {','.join(self.hosts)!r}"
            )

    @classmethod
    def of(cls, services: ServiceSettings) -> MediaRules:
        """The rules of the settings."""
        return cls(
            label_studio_url=services.label_studio_url,
            hosts=services.media_hosts,
            buckets=services.media_buckets,
            folder=services.media_folder,
            max_bytes=int(services.image_max_mb * 1_000_000),
            max_pixels=int(services.image_max_megapixels * 1_000_000),
            budget_s=services.media_timeout_s,
        )

    @cached_property
    def label_studio(self) -> httpx.URL:
        """Label Studio's address without a slash at the end."""
        return httpx.URL(self.label_studio_url.rstrip("/"))

    @cached_property
    def _patterns(self) -> tuple[tuple[str, int | None, bool], ...]:
        """(name, port, whether names below it are meant) of each host of the settings; an empty name is an error."""
        found = []
        for entry in self.hosts:
            below = entry.startswith("*.")
            try:
                url = httpx.URL(f"http://{entry.removeprefix('*.')}/") if entry != "*" else None
            except httpx.InvalidURL:
                url = httpx.URL()
            name = "*" if url is None else host_of(url)
            plain = url is None or (url.path == "/" and not url.userinfo and _HOST.fullmatch(name))
            port = re.search(r":(\d+)$", entry)
            found.append((name if plain else "", int(port[1]) if port else None, below))
        return tuple(found)

    def is_label_studio(self, url: httpx.URL) -> bool:
        """Whether an address has Label Studio's scheme, host and port."""
        own = self.label_studio
        return (url.scheme, host_of(url), url.port) == (own.scheme, host_of(own), own.port)

    def is_upload(self, url: httpx.URL) -> bool:
        """Whether an address is a file that was uploaded to Label Studio, which gives each a name of its own."""
        return self.is_label_studio(url) and url.path.startswith(self.label_studio.path.rstrip("/") + "/data/upload/")

    def verdict(self, url: httpx.URL) -> Verdict | None:
        """ "named" where the settings name this very host, "public" where a pattern covers it, None where neither does."""
        host, covered = host_of(url), False
        for name, port, below in self._patterns:
            if name == "*" or (below and host.endswith(f".{name}")):
                covered = True
            elif not below and host == name and port in (None, url.port or _DEFAULT_PORTS.get(url.scheme)):
                return "named"
        return "public" if covered else None

    def place_of(self, value: str) -> Place:
        """What a task's value stands for; MediaError "not_found" for what is no place that media may come from."""
        address = value.strip()
        scheme, has_scheme, _ = address.partition("://")
        try:
            if not has_scheme:
                return self._path(address)
            if scheme.lower() in ("http", "https"):
                return self._web(address)
            if scheme.lower() == "file":
                url = httpx.URL(address)
                if url.host in ("", "localhost"):
                    return self._file(Path(unquote(url.path)))
            elif bucket := self._bucket(address):
                return bucket
        except (httpx.InvalidURL, ValueError, OSError) as error:  # NUL characters, lone surrogates, names too long
            raise MediaError("not_found", f"the address is not valid; {EXPECTED}") from error
        raise MediaError("not_found", f"addresses that begin so are refused; {EXPECTED}")

    def own_path(self, path: str) -> str | None:
        """A path and query below Label Studio's address, or None where that is nothing to fetch."""
        prefix = self.label_studio.path.rstrip("/")
        below = path.removeprefix(prefix) if prefix and path.startswith(prefix + "/") else path
        plain = unquote(unquote(below)).replace("\\", "/").partition("?")
        climbs = ".." in plain[0].split("/") or ".." in re.split(r"[/=]", plain[2])
        return below if _OWN_PATHS.match(plain[0]) and not climbs else None

    def _web(self, address: str) -> WebPlace:
        url = httpx.URL(address)
        if not url.host:
            raise MediaError("not_found", f"the address has no host; {EXPECTED}")
        return WebPlace(url.copy_with(fragment=None))

    def _path(self, address: str) -> Place:
        if not address.startswith("/") or address.startswith("//"):
            raise MediaError("not_found", f"the address is refused; {EXPECTED}")
        if self.folder is not None and Path(os.path.normpath(address)).is_relative_to(self.folder.absolute()):
            return FilePlace(Path(address))
        below = self.own_path(address)
        if below is None:
            raise MediaError("not_found", "the path is refused: it is not one below which Label Studio serves files")
        if self.folder is not None and below.startswith(_LOCAL_FILES):
            named = httpx.URL(below).params.get("d", "")
            if named and (self.folder / named).is_file():
                return self._file(self.folder / named)
        return WebPlace(httpx.URL(str(self.label_studio).rstrip("/") + below))

    def _file(self, path: Path) -> FilePlace:
        if self.folder is None:
            raise MediaError("not_found", "files of this machine are refused; LABELLOOP_MEDIA_FOLDER allows one folder")
        return FilePlace(path)

    def _bucket(self, address: str) -> BucketPlace | None:
        for bucket in self.buckets:
            if address == bucket or address.startswith(bucket.rstrip("/") + "/"):
                protocol, _, path = address.partition("://")
                if ".." in path.split("/") or "::" in path:  # "::" would chain file systems
                    return None
                return BucketPlace(protocol, path)
        if re.match(r"(s3a?|gs|gcs|az|abfss?)://", address):
            raise MediaError("not_found", "the bucket is not among those that LABELLOOP_MEDIA_BUCKETS names")
        return None


def host_of(url: httpx.URL) -> str:
    """The host as it is asked for on the wire: IDNA-encoded, lower case, without the root's dot."""
    return url.raw_host.decode("ascii").lower().rstrip(".")
