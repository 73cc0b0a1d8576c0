"""Which class of a control each class of a foreign model means: told by `predicted_values`, else by its name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labelloop.errors import DataError
from labelloop.label_config import Control

_NEAR_ENOUGH = 0.6
_LEAST_PREFIX = 2


@dataclass(frozen=True)
class ClassMap:
    """Config class by model class, and the model classes that mean none, each with the nearest config class or None."""

    mapping: Mapping[str, str]
    unmapped: Mapping[str, str | None]

    def warning(self, control: str) -> str | None:
        """One sentence for the person who reads the log, or None when every class of the model has its place."""
        if not self.unmapped:
            return None
        names = ", ".join(
            f"{name!r} (did you mean {near!r}?)" if near else repr(name) for name, near in self.unmapped.items()
        )
        return (
            f"control {control!r} has no place for these classes of the model, their results are left out: {names}. "
            f"Say which label means them with predicted_values in the label config, "
            f'as in <Label value="Person" predicted_values="PER,PERSON"/>'
        )


def map_classes(
    model_classes: Sequence[str], control: Control, predicted_values: Mapping[str, Sequence[str]]
) -> ClassMap:
    """The config class of each model class, in the model's order.

    `predicted_values` names model classes by config class and goes before equal names; in both, the exact name goes
    before one that differs in case only. A model class that would fit two config classes equally well fits none, but
    DataError when `predicted_values` itself gives it to two.
    """
    told = [(said, name) for name in control.classes for said in predicted_values.get(name, ())]
    named = [(name, name) for name in control.classes]
    _refuse_doubles(told, control.name)
    ways = [_by_name(told), _by_folded_name(told), _by_name(named), _by_folded_name(named)]
    mapping: dict[str, str] = {}
    unmapped: dict[str, str | None] = {}
    for model_class in model_classes:
        keys = (model_class, model_class.casefold(), model_class, model_class.casefold())
        found = next((way[key] for way, key in zip(ways, keys, strict=True) if key in way), None)
        if found is None:
            unmapped[model_class] = _nearest(model_class, control.classes)
        else:
            mapping[model_class] = found
    return ClassMap(mapping, unmapped)


def _refuse_doubles(told: Sequence[tuple[str, str]], control: str) -> None:
    owners: dict[str, str] = {}
    for said, name in told:
        if owners.setdefault(said, name) != name:
            raise DataError(
                f"control {control!r}: predicted_values gives {said!r} to {owners[said]!r} and to {name!r}; leave it at one"
            )


def _by_name(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    return dict(pairs)


def _by_folded_name(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """By case-folded name, without those that several classes share."""
    targets: dict[str, set[str]] = {}
    for said, name in pairs:
        targets.setdefault(said.casefold(), set()).add(name)
    return {folded: next(iter(names)) for folded, names in targets.items() if len(names) == 1}


def _nearest(model_class: str, classes: Sequence[str]) -> str | None:
    """The class that begins like the model's, or whose letters are most alike; None when none is near."""
    wanted = model_class.casefold()
    folded = {name.casefold(): name for name in reversed(classes)}
    begins = [
        key
        for key in folded
        if min(len(key), len(wanted)) >= _LEAST_PREFIX and (key.startswith(wanted) or wanted.startswith(key))
    ]
    near = begins or difflib.get_close_matches(wanted, folded, n=1, cutoff=_NEAR_ENOUGH)
    return folded[near[-1]] if near else None
