"""Tasks that show nearly the same, by the fingerprints that ingest notes too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labelloop.label_config import LabelConfig
from sync.ingesting.fingerprints import IMAGE_KIND, TEXT_KIND, image_rows, kind_of, text_fingerprint, text_rows
from sync.ingesting.grouping import NearOptions
from sync.ingesting.marks import META_KEY
from sync.ingesting.near import Near, near_images, near_texts

if TYPE_CHECKING:
    from numpy.typing import NDArray


def near_groups(prints: Mapping[int, str], options: NearOptions | None = None) -> list[list[int]]:
    """Tasks in groups of two or more, each near another of its group; `prints` are their fingerprints, of any kind."""
    options = options or NearOptions()
    found: list[list[int]] = []
    searches: dict[str, Callable[[list[str], Any], Iterator[Near]]] = {
        IMAGE_KIND: lambda rows, skip: near_images(image_rows(rows), 1, options.distance, skip),
        TEXT_KIND: lambda rows, skip: near_texts(text_rows(rows), 1, options.similarity, skip),
    }
    for kind, search in searches.items():
        tasks = sorted(task for task, each in prints.items() if kind_of(each) == kind)
        if len(tasks) < 2:
            continue
        group = np.arange(len(tasks))

        def skip(row: int, others: NDArray[np.int64], group: NDArray[np.int64] = group) -> NDArray[np.bool_]:
            return np.asarray(group[others] == group[row], dtype=bool)

        for near in search([prints[task] for task in tasks], skip):
            one, other = int(group[near.earlier]), int(group[near.row])
            if one != other:
                group[group == max(one, other)] = min(one, other)
        order = np.argsort(group, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
        found += [[tasks[at] for at in part.tolist()] for part in parts if len(part) > 1]
    return sorted(found)


def noted_print(meta: Mapping[str, Any]) -> str | None:
    """The fingerprint that ingest noted in a task's meta."""
    mark = meta.get(META_KEY)
    told = mark.get("fingerprint") if isinstance(mark, Mapping) else None
    return told if isinstance(told, str) and told else None


def image_bits(fingerprint: str | None) -> NDArray[np.float64] | None:
    """The bits of an image's fingerprint as -1 and 1, (256,); None for another kind, or none."""
    if fingerprint is None or kind_of(fingerprint) != IMAGE_KIND:
        return None
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(fingerprint.partition(":")[2]), dtype=np.uint8))
    found: NDArray[np.float64] = bits.astype(np.float64) * 2 - 1
    return found


def text_keys(config: LabelConfig) -> list[str]:
    """The keys of the texts that tasks of a config show."""
    return sorted({each.data_key for each in (*config.controls, *config.answers) if each.object_tag == "Text"})


def shown_text(data: Mapping[str, Any], keys: Sequence[str]) -> str:
    """What texts a task shows under these keys, together."""
    return "\n".join(value for key in keys if isinstance(value := data.get(key), str) and value.strip())


def text_print(text: str) -> str | None:
    """The fingerprint of a text; None for none."""
    return text_fingerprint(text) if text else None
