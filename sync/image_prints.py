"""Fingerprints of the images of tasks that `labelloop ingest` did not bring in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from labelloop.errors import MediaError
from labelloop.label_config import LabelConfig
from labelloop.media import MAX_PIXELS, examined
from labelloop.progress import Counting, not_counted
from labelloop.task_items import Fetch
from sync.ingesting.fingerprints import IMAGE_DRAFT, image_fingerprint

#: Images fetched and decoded at once, and tasks of which is told at once.
_FETCHERS, _TOLD = 4, 100


def image_prints(
    tasks: Mapping[int, Mapping[str, object]],
    config: LabelConfig,
    fetch: Fetch,
    *,
    max_pixels: int = MAX_PIXELS,
    count: Counting = not_counted,
) -> tuple[dict[int, str], Counter[str]]:
    """(task -> fingerprint of its image, why other tasks have none); `tasks` are their data.

    Tasks with several images have none: they are near as wholes only where all are. An image that can't be had costs no other
    task anything.
    """

    def look(item: tuple[int, Mapping[str, object]]) -> tuple[int, str | None, str]:
        task, data = item
        addresses = config.media_addresses(data)
        if len(addresses) != 1:
            return task, None, "the task shows no image" if not addresses else "the task shows several images"
        prints: list[str] = []
        try:
            examined(
                fetch(addresses[0]), max_pixels, lambda image: prints.append(image_fingerprint(image)), IMAGE_DRAFT
            )
        except MediaError as error:
            return task, None, error.reason
        return task, prints[0], ""

    found: dict[int, str] = {}
    missing: Counter[str] = Counter()
    with ThreadPoolExecutor(_FETCHERS, thread_name_prefix="images") as pool:
        for done, (task, told, reason) in enumerate(pool.map(look, sorted(tasks.items())), start=1):
            if told is not None:
                found[task] = told
            else:
                missing[reason] += 1
            if done % _TOLD == 0 or done == len(tasks):
                count("images", done, len(tasks))
    return found, missing
