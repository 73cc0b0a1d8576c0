"""What the variant of a format may be told besides: `--option KEY=VALUE`, checked against what the format knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from labelloop.errors import UsageError
from sync.formats.format import Plan


def chosen_options(plan: Plan, known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The value of each known option, the first of its values where none was given; UsageError for any other."""
    for key, value in plan.options.values.items():
        if key not in known:
            has = f"knows the options {sorted(known)}" if known else "has no options"
            raise UsageError(f"the format {plan.format} {has}, got {key!r}")
        if value not in known[key]:
            raise UsageError(f"expected one of {list(known[key])} as the option {key} of {plan.format}, got {value!r}")
    return {key: plan.options.values.get(key, values[0]) for key, values in known.items()}
