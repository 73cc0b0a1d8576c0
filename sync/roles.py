"""Which tasks are held out, shown blind or labelled by several people: decided by salted hashes, the same for ever.

Pure. A task's group (its duplicates and near-duplicates) decides its role, so that no group is on both sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from labelloop.values import Role

#: However few tasks there are, no more than this share is held out to reach the wanted number.
_LARGEST_HOLDOUT = 0.25


@dataclass(frozen=True)
class RolePolicy:
    """How a project assigns roles. `holdout_below` bounds the holdout hash; `people` label what needs several."""

    salt: str
    holdout_below: float
    blind_share: float
    overlap_share: float
    people: int = 2


def salted_unit(salt: str, purpose: str, key: str) -> float:
    """A number in [0, 1) that only salt, purpose and key decide; independent between purposes."""
    digest = hashlib.sha256("\x1f".join((salt, purpose, key)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def holdout_unit(salt: str, group_key: str) -> float:
    """The holdout hash of a group, in [0, 1)."""
    return salted_unit(salt, "holdout", group_key)


def holdout_size(n: int, share: float, min_items: int) -> int:
    """How many of `n` tasks to hold out: the share, or more to reach `min_items`, but then at most a quarter."""
    return min(n, round(max(share * n, min(min_items, n * _LARGEST_HOLDOUT)))) if share > 0 else 0


def role_threshold(hashes: Sequence[float], share: float, min_items: int) -> float:
    """The bound below which a holdout hash means holdout, so that these tasks (one hash each) give `holdout_size`.

    Tasks of one group share a hash and stay together: then a few more than wanted may fall below.
    """
    wanted = holdout_size(len(hashes), share, min_items)
    if wanted == 0:
        return 0.0
    ordered = sorted(hashes)
    last = ordered[wanted - 1]
    above = next((value for value in ordered[wanted:] if value > last), 1.0)
    return (last + above) / 2


def role_of(group_key: str, policy: RolePolicy) -> Role:
    """The role of every task of a group: holdout, blind or pool ("gold" is given by people, never drawn)."""
    if holdout_unit(policy.salt, group_key) < policy.holdout_below:
        return "holdout"
    return "blind" if salted_unit(policy.salt, "blind", group_key) < policy.blind_share else "pool"


def overlap_of(content_hash: str, role: Role, policy: RolePolicy) -> int:
    """How many people label a task: several for holdout, gold and a random share of the others, else one."""
    several = role in ("holdout", "gold") or salted_unit(policy.salt, "overlap", content_hash) < policy.overlap_share
    return policy.people if several else 1
