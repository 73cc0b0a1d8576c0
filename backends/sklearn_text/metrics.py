"""Macro F1 of one class per text, from (truth, predicted) pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def class_f1(per_item: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """F1, 0..1, of each class that occurs among the truths."""
    true = Counter(str(item["truth"]) for item in per_item)
    said = Counter(str(item["predicted"]) for item in per_item if item["predicted"] is not None)
    right = Counter(str(item["truth"]) for item in per_item if item["truth"] == item["predicted"])
    return {name: 2 * right[name] / (true[name] + said[name]) for name in sorted(true)}


def macro_f1(per_item: Sequence[Mapping[str, Any]]) -> float:
    """The mean F1 of the classes that occur among the truths, 0..1; 0.0 without any item."""
    values = class_f1(per_item).values()
    return sum(values) / len(values) if values else 0.0


def item_counts(item: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """One text's answer as {"tp", "fp", "fn"} of {class: count}."""
    truth, predicted = str(item["truth"]), item["predicted"]
    if predicted == item["truth"]:
        return {"tp": {truth: 1}, "fp": {}, "fn": {}}
    return {"tp": {}, "fp": {} if predicted is None else {str(predicted): 1}, "fn": {truth: 1}}
