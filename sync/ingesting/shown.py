"""What a project shows of a task: the data keys that its label config names, and what stands behind each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from defusedxml import ElementTree

from labelloop.errors import UsageError

_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")
#: Object tags whose value is the address of a file.
FILE_TAGS = frozenset({"Audio", "AudioPlus", "Video", "Pdf"})


@dataclass(frozen=True)
class Shown:
    """The keys of task data that people see. `main` is the one that a file of a source goes under.

    `images` are those of images (True: a list of them), `files` of other media, `texts` of plain texts; Label Studio
    takes no task without those that are `needed`.
    """

    main: str
    keys: tuple[str, ...]
    images: Mapping[str, bool]
    files: frozenset[str]
    texts: frozenset[str]
    needed: tuple[str, ...] = ()

    @property
    def has_files(self) -> bool:
        """Whether the main key holds an address and no text."""
        return self.main in self.images or self.main in self.files


def shown_by(xml: str, data_key: str | None = None) -> Shown:
    """What a label config shows; `data_key` is the main key (default: that of the first object that is labelled).

    UsageError when the config shows no such key.
    """
    root: Element = ElementTree.fromstring(xml)
    variables = list(_variables(root))
    keys = tuple(dict.fromkeys(key for key, _ in variables))
    if data_key is not None and data_key not in keys:
        raise UsageError(f"the project shows {_listed(keys)}, not {data_key!r}; name one of those as --data-key")
    main = data_key or _first_labelled(root, variables) or (keys[0] if keys else "")
    if not main:
        raise UsageError("the project's label config shows no value of a task; give it an object tag, as <Text>")
    return Shown(
        main,
        keys,
        {key: "valueList" in element.attrib for key, element in variables if element.tag == "Image"},
        frozenset(key for key, element in variables if element.tag in FILE_TAGS),
        frozenset(key for key, element in variables if element.tag == "Text" and _is_inline(element)),
        tuple(_needed(root)),
    )


def _variables(root: Element) -> Iterator[tuple[str, Element]]:
    """(key, element) of every value of a task that the config names."""
    for element in root.iter():
        for value in element.attrib.values():
            for key in _VARIABLE.findall(value):
                yield key, element


def _needed(root: Element) -> Iterator[str]:
    """The keys that Label Studio asks every task for: the first of each named tag's value."""
    for element in root.iter():
        if element.attrib.get("name"):
            yield from _VARIABLE.findall(element.attrib.get("value", ""))[:1]


def _first_labelled(root: Element, variables: list[tuple[str, Element]]) -> str | None:
    wanted = {name for element in root.iter() for name in element.attrib.get("toName", "").split(",") if name}
    return next((key for key, element in variables if element.attrib.get("name") in wanted), None)


def _is_inline(element: Element) -> bool:
    """Whether the text stands in the task itself, and not behind an address."""
    return element.attrib.get("valueType", "text").lower() != "url"


def _listed(keys: tuple[str, ...]) -> str:
    return ", ".join(map(repr, keys)) or "nothing"
