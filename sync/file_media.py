"""Media of tasks that stand in a file, not in a project: fetched as the settings allow, and gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from labelloop.media import MediaCache
from sync.runtime import Runtime


@contextmanager
def file_media(runtime: Runtime) -> Iterator[MediaCache]:
    """A cache below a temporary folder; Label Studio is asked as itself only where there is a token."""
    headers: Callable[[], Mapping[str, str]] = dict
    if runtime.services.label_studio_token is not None:
        headers = runtime.client.auth_headers
    with tempfile.TemporaryDirectory(prefix="labelloop-media-") as made:
        cache = MediaCache.of(runtime.services.model_copy(update={"data": Path(made)}), headers)
        try:
            yield cache
        finally:
            cache.close()
