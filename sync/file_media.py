"""Media of tasks that stand in a file, not in a project: fetched as the settings allow, and gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from labelloop.media import MediaCache
from sync.runtime import Runtime


def open_media(runtime: Runtime, data: Path | None = None) -> MediaCache:
    """A cache below `data` (default: where the services' own is); Label Studio is asked as itself where there is a token."""
    headers: Callable[[], Mapping[str, str]] = dict
    if runtime.services.label_studio_token is not None:
        headers = runtime.client.auth_headers
    services = runtime.services if data is None else runtime.services.model_copy(update={"data": data})
    return MediaCache.of(services, headers)


@contextmanager
def file_media(runtime: Runtime) -> Iterator[MediaCache]:
    """A cache below a temporary folder."""
    with (
        tempfile.TemporaryDirectory(prefix="labelloop-media-") as made,
        closing(open_media(runtime, Path(made))) as cache,
    ):
        yield cache
