"""Two ways to do the same work, timed in turn in one process, and the ratio between them."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Generic, TypeVar

import orjson

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timings(Generic[Result]):
    """Seconds of every repeat of both sides, pair by pair, and what the last repeat of each gave."""

    ours_s: tuple[float, ...]
    peer_s: tuple[float, ...]
    ours: Result
    peer: Result

    def to_json(self) -> dict[str, Any]:
        """Medians, and the ratio peer / ours of each pair: above 1, ours is the faster one."""
        ratios = [peer / ours for ours, peer in zip(self.ours_s, self.peer_s, strict=True)]
        return {
            "repeats": len(ratios),
            "ours_s": round(statistics.median(self.ours_s), 6),
            "peer_s": round(statistics.median(self.peer_s), 6),
            "ratio": round(statistics.median(ratios), 3),
            "ratio_low": round(min(ratios), 3),
            "ratio_high": round(max(ratios), 3),
        }


def in_turn(ours: Callable[[], Result], peer: Callable[[], Result], repeats: int) -> Timings[Result]:
    """Run both `repeats` times, taking turns in who goes first, after one run of each that does not count."""
    last = {"ours": ours(), "peer": peer()}
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    sides = [("ours", ours), ("peer", peer)]
    for repeat in range(repeats):
        for name, work in sides if repeat % 2 == 0 else reversed(sides):
            gc.collect()
            began = time.perf_counter()
            last[name] = work()
            seconds[name].append(time.perf_counter() - began)
    return Timings(tuple(seconds["ours"]), tuple(seconds["peer"]), last["ours"], last["peer"])


def released(package: str) -> str:
    """A peer with its version."""
    return f"{package} {version(package)}"


def arguments(described: str, repeats: int) -> argparse.Namespace:
    """--json and --repeats; every benchmark has these two."""
    parser = argparse.ArgumentParser(description=described)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=repeats, help=f"how often each side runs (default {repeats})")
    given = parser.parse_args()
    if given.repeats < 1:
        parser.error("--repeats: expected 1 or more")
    return given


def at_most(
    what: str, found: float, limit: float | None, *, unit: str = "s", equal: bool = True, **more: Any
) -> dict[str, Any]:
    """A row without a peer: what was found beside what it may be at most (None: told only)."""
    ratio = None if limit is None else round(limit / found, 2)
    return {
        "what": what, "peer": "told only" if limit is None else f"at most {limit:g} {unit}", "ours_s": round(found, 4),
        "peer_s": limit, "ratio": ratio, "ratio_low": ratio, "ratio_high": ratio,
        "must_be": None if limit is None else 1.0, "unit": unit, "equal": equal, **more,
    }  # fmt: skip


def at_least(
    what: str, found: float, other: float, peer: str, /, *, unit: str = "share", equal: bool = True, **more: Any
) -> dict[str, Any]:
    """A row of two numbers of which more is better: what was found, and what it must reach. Its ratio is found / other."""
    ratio = round(found / other, 4)
    return {
        "what": what, "peer": peer, "ours_s": round(found, 4), "peer_s": round(other, 4), "ratio": ratio,
        "ratio_low": ratio, "ratio_high": ratio, "must_be": 1.0, "unit": unit, "equal": equal, **more,
    }  # fmt: skip


def not_measured(what: str, peer: str, reason: str) -> dict[str, Any]:
    """A row that says why it has no numbers; it is not ok."""
    numbers = dict.fromkeys(("ours_s", "peer_s", "ratio", "ratio_low", "ratio_high"))
    return {"what": what, "peer": peer, **numbers, "equal": False, "reason": reason}


def show(name: str, comparisons: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print a benchmark: every comparison has at least `what`, `peer`, `equal` and what `Timings.to_json` gives.

    The JSON has `rows` with `what`, `ours` and `peer` in seconds (or `unit`), `ratio`, `must_be` (the least ratio; none: told
    only), `ok`, and the rest.
    """
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}
    if as_json:
        report = {"benchmark": name, "machine": machine, "rows": [_row(each) for each in comparisons]}
        print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
        return
    print(f"{'what':44} {'ours':>10} {'peer':>10} {'peer/ours':>10} {'from':>8} {'to':>8}  peer")
    for row in comparisons:
        unit = "s" if row.get("unit", "s") == "s" else " "
        told = [_number(row["ours_s"], 9, 4) + unit, _number(row["peer_s"], 9, 4) + unit, _number(row["ratio"], 10, 2)]
        told += [_number(row[name], 8, 2) for name in ("ratio_low", "ratio_high")]
        print(f"{row['what']:44} {' '.join(told)}  {row['peer']} {row.get('reason', '')}".rstrip())


def _number(value: float | None, width: int, digits: int) -> str:
    return "-".rjust(width) if value is None else f"{value:{width}.{digits}f}"


def _row(found: dict[str, Any]) -> dict[str, Any]:
    named = ("what", "peer", "ours_s", "peer_s", "ratio", "must_be", "unit")
    more = {key: value for key, value in found.items() if key not in named}
    must_be = found.get("must_be")
    return {
        "what": found["what"], "ours": found["ours_s"], "peer": found["peer_s"], "ratio": found["ratio"],
        "must_be": must_be, "ok": bool(found["equal"]) and (must_be is None or (found["ratio"] or 0.0) >= must_be),
        "unit": found.get("unit", "s"), "peer_name": found["peer"], **more,
    }  # fmt: skip
