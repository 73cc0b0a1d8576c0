"""A task as a model sees it: its media, its meta, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelloop.errors import MediaError
from labelloop.label_config import parse_label_config
from labelloop.task_items import MediaUse, task_item
from labelloop.values import Outcome, TaskItem

IMAGES = parse_label_config(
    '<View><Image name="i" valueList="$pages"/><Choices name="c" toName="i"><Choice value="a"/></Choices></View>'
)
TEXTS = parse_label_config(
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
)


def fetch(address: str) -> Path:
    if "bad" in address:
        raise MediaError("unreadable", f"{address} does not decode")
    return Path("/cache") / address.strip("/")


def test_a_text_has_its_meta_and_no_media() -> None:
    found = task_item(1, {"text": "x"}, TEXTS, None, meta={"shop": "nl"})
    assert found == TaskItem(1, {"text": "x"}, {}, {"shop": "nl"})


def test_one_bad_image_of_several_stands_as_its_error() -> None:
    found = task_item(1, {"pages": ["/a", "/bad", "/a"]}, IMAGES, fetch)
    assert isinstance(found, TaskItem) and list(found.media) == ["/a", "/bad"]
    assert found.media["/a"] == Path("/cache/a")
    error = found.media["/bad"]
    assert isinstance(error, MediaError) and error.reason == "unreadable"


@pytest.mark.parametrize(("pages", "status"), [(["/bad"], "unreadable"), ([], "not_found"), (7, "not_found")])
def test_without_any_image_the_reason_is_told(pages: object, status: str) -> None:
    found = task_item(1, {"pages": pages}, IMAGES, fetch)
    assert isinstance(found, Outcome) and found.status == status and found.detail


@pytest.mark.parametrize(("use", "media"), [("optional", {"/bad"}), ("unused", set())])
def test_a_model_that_can_do_without_media_gets_the_task_all_the_same(use: MediaUse, media: set[str]) -> None:
    found = task_item(1, {"pages": ["/bad"]}, IMAGES, fetch, meta={"m": 1}, media_use=use)
    assert isinstance(found, TaskItem) and set(found.media) == media and found.meta == {"m": 1}
    assert isinstance(task_item(1, {}, IMAGES, fetch, media_use=use), TaskItem)
    assert isinstance(task_item(1, {"pages": ["/a"]}, IMAGES, None, media_use=use), TaskItem)
