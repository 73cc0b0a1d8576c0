"""The figures of one person: speed, steadiness, suggestions; and of all people under one control: confusion, bias, skill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qa.annotators.scores import Scored
from qa.annotators.significance import Z99, Figure, change_in, nothing, paired, rounded
from qa.annotators.work import UNCHANGED, UNKNOWN, Work
from qa.consensus import dawid_skene, one_coin
from qa.measures.ratings import Floats, Ints, ratings_of

#: Labels that a figure of this kind needs, so that it is more than chance.
LEAST_STAMPED, LEAST_DRIFT = 10, 60
#: An accepted suggestion took less than this share of one's own usual time without one: hardly looked at.
STAMPED = 1 / 3
#: A label is too fast this many spreads below the usual time for its task.
TOO_FAST = 3.0
_MOST_CELLS = 50_000_000


# -- speed ----------------------------------------------------------------------------------------------------------------


def relative_times(work: Work) -> tuple[Floats, Floats]:
    """(log of each lead time over the median of the others' on its task, whether there are such: 1 or 0).

    Where nobody else was timed on the task, over the median of all labels.
    """
    logs = np.log(work.lead)
    timed = np.flatnonzero(~np.isnan(logs))
    order = timed[np.lexsort((logs[timed], work.task[timed]))]
    task = work.task[order]
    sizes = np.bincount(task, minlength=len(work.tasks))
    starts = np.cumsum(sizes) - sizes
    rank, m, ordered = np.arange(len(order)) - starts[task], sizes[task], logs[order]
    others = np.maximum(m - 1, 1)
    low, high = (others - 1) // 2, others // 2
    # Places among the others become places among all by stepping over one's own.
    middle = [ordered[np.minimum(starts[task] + at + (at >= rank), max(len(order) - 1, 0))] for at in (low, high)]
    usual = float(np.median(ordered)) if len(order) else 0.0
    relative, met = np.full(len(work), np.nan), np.zeros(len(work))
    relative[order] = ordered - np.where(m > 1, (middle[0] + middle[1]) / 2, usual)
    met[order] = m > 1
    return relative, met


def spread_of(relative: Floats) -> tuple[float, float]:
    """(median, spread) of relative times: 1.4826 times the median distance from the median, at least 0.1."""
    known = relative[~np.isnan(relative)]
    middle = float(np.median(known)) if len(known) else 0.0
    return middle, max(0.1, 1.4826 * float(np.median(np.abs(known - middle)))) if len(known) else 1.0


def speed(work: Work, mine: Ints, relative: Floats, met: Floats, spread: tuple[float, float]) -> dict[str, Any]:
    """Lead times of one person's labels (places), robust."""
    timed = mine[~np.isnan(work.lead[mine])]
    found: dict[str, Any] = {
        "median_s": None, "p10_s": None, "p95_s": None, "n": len(timed), "n_paused": int(work.paused[mine].sum()),
        "ratio": None, "z": None, "n_overlapped": int(met[timed].sum()), "too_fast": {"n": 0, "share": None, "tasks": []},
        "reason": None if len(timed) else "no lead time is known",
    }  # fmt: skip
    if not len(timed):
        return found
    # What others needed for the same tasks tells more than any average.
    own = timed[met[timed] > 0] if met[timed].sum() >= 5 else timed
    typical = float(np.median(relative[own]))
    fast = timed[relative[timed] < spread[0] - TOO_FAST * spread[1]]
    fast = fast[np.argsort(relative[fast], kind="stable")]
    p10, median, p95 = np.percentile(work.lead[timed], (10, 50, 95)).tolist()
    too_fast = {"n": len(fast), "share": rounded(len(fast) / len(timed)), "tasks": tasks_of(work, fast)}
    return found | {
        "median_s": rounded(median), "p10_s": rounded(p10), "p95_s": rounded(p95), "ratio": rounded(float(np.exp(typical))),
        "z": rounded((typical - spread[0]) / spread[1]), "too_fast": too_fast,
    }  # fmt: skip


def stamping(work: Work, mine: Ints) -> dict[str, Any]:
    """How fast suggestions are accepted unchanged, beside the person's own time without suggestions."""
    lead, touched = work.lead[mine], work.touched[mine]
    blind = lead[~work.shown[mine] & ~np.isnan(lead)]
    accepted = mine[(touched == UNCHANGED) & ~np.isnan(lead)]
    seen = int((touched != UNKNOWN).sum())
    unchanged = int((touched == UNCHANGED).sum())
    found: dict[str, Any] = {
        "ratio": None, "share": None, "accepted": rounded(unchanged / seen) if seen else None, "n_shown": seen,
        "n_accepted": len(accepted), "n_blind": len(blind), "tasks": [], "reason": None,
    }  # fmt: skip
    if not seen:
        return found | {"reason": "no label tells what became of a suggestion"}
    if len(blind) < LEAST_STAMPED or len(accepted) < LEAST_STAMPED:
        few = f"needs {LEAST_STAMPED} timed labels made blind and {LEAST_STAMPED} accepted unchanged"
        return found | {"reason": f"{few}, there are {len(blind)} and {len(accepted)}"}
    own = float(np.median(blind))
    taken = work.lead[accepted]
    fast = accepted[taken < STAMPED * own]
    fast = fast[np.argsort(work.lead[fast], kind="stable")]
    share = rounded(len(fast) / len(accepted))
    return found | {"ratio": rounded(float(np.median(taken)) / own), "share": share, "tasks": tasks_of(work, fast)}


# -- steadiness -----------------------------------------------------------------------------------------------------------


def usual_agreement(work: Work, others: Floats, blocks: int = 20) -> tuple[Ints, Floats, Floats]:
    """(block of time of each label, per person and block the sum of scores, and their number)."""
    place = np.argsort(work.order, kind="stable")
    place = place[~np.isnan(others[place])]
    block: Ints = np.zeros(len(work), np.int64)
    block[place] = np.arange(len(place)) * blocks // max(1, len(place))
    cell = work.annotator[place] * blocks + block[place]
    shape = (len(work.people), blocks)
    size = shape[0] * blocks
    sums: Floats = np.bincount(cell, weights=others[place], minlength=size).reshape(shape).astype(np.float64)
    return block, sums, np.bincount(cell, minlength=size).reshape(shape).astype(np.float64)


def drift(work: Work, mine: Ints, person: int, others: Floats, usual: tuple[Ints, Floats, Floats]) -> dict[str, Any]:
    """Whether a person's agreement with the others changed, beyond what changed for everybody at that time."""
    scored = mine[~np.isnan(others[mine])]
    found: dict[str, Any] = {
        "n": len(scored), "before": None, "after": None, "change": None, "at_label": None, "p": None, "slope": None,
        "slope_p": None, "reason": None,
    }  # fmt: skip
    if len(scored) < LEAST_DRIFT:
        return found | {"reason": f"needs {LEAST_DRIFT} labels that can be compared, there are {len(scored)}"}
    at = work.at[scored]
    if np.isnan(at).any() or float(at.max()) == float(at.min()):
        return found | {"reason": "the labels have no times to order them"}
    scored = scored[np.argsort(work.order[scored], kind="stable")]
    block, sums, counts = usual
    rest, n = sums.sum(axis=0) - sums[person], counts.sum(axis=0) - counts[person]
    mean = rest.sum() / max(1, n.sum())
    moved = np.where(n >= 20, np.divide(rest, n, out=np.zeros_like(rest), where=n > 0) - mean, 0.0)
    plain = others[scored]
    change = change_in(plain - moved[block[scored]])
    return found | {
        "before": rounded(float(plain[: change.at].mean())), "after": rounded(float(plain[change.at :].mean())),
        "change": rounded(change.after - change.before), "at_label": change.at + 1, "p": rounded(change.p),
        "slope": rounded(change.slope), "slope_p": rounded(change.slope_p),
    }  # fmt: skip


# -- under one control ----------------------------------------------------------------------------------------------------


def skills(work: Work, scores: Scored) -> dict[int, dict[str, Any]]:
    """Estimated skill of each person: how often they are right by a model of who errs how, from overlapped tasks alone.

    Dawid and Skene where people have ten labels for each cell of a row of their confusion, one coin otherwise.
    """
    ratings = scores.ratings
    if ratings is None:
        return {}
    overlapped = ratings.sizes[ratings.units] >= 2
    at = scores.judged[overlapped]
    if not len(at):
        return {}
    some = ratings_of(work.task[at], work.annotator[at], ratings.values[overlapped])
    k, people = len(some.value_names), len(some.rater_names)
    if len(some) * k > _MOST_CELLS:
        return {}
    each = np.bincount(some.raters, minlength=people)
    many = float(np.median(each)) >= 10 * k and people * k * k <= _MOST_CELLS
    model = (dawid_skene if many else one_coin)(some)
    if model.confusion is None or model.prior is None:
        return {}
    names = [scores.classes[value] for value in some.value_names.tolist()]
    found = {}
    for place, person in enumerate(some.rater_names.tolist()):
        right = np.diagonal(model.confusion[place])
        found[int(person)] = {
            "value": rounded(float(model.prior @ right)), "n": int(each[place]),
            "method": "dawid_skene" if many else "one_coin",
            "by_class": dict(zip(names, [rounded(x) for x in right.tolist()], strict=True)) if many else None, "reason": None,
        }  # fmt: skip
    return found


def confusion(scores: Scored, mine: Ints) -> tuple[dict[str, dict[str, int]] | None, Figure]:
    """(class of most others -> class of the person -> how often, Cohen's kappa of the two with its 99% interval)."""
    if scores.ratings is None:
        return None, nothing("only classes of whole tasks have a kappa with the others")
    at = mine[(scores.majority[mine] >= 0) & (scores.code[mine] >= 0)]
    if not len(at):
        return {}, nothing("nobody else labelled these tasks, or the others are undecided")
    k, n = len(scores.classes), len(at)
    a, b = scores.majority[at], scores.code[at]
    cells, counts = np.unique(a * k + b, return_counts=True)
    table: dict[str, dict[str, int]] = {}
    for cell, count in zip(cells.tolist(), counts.tolist(), strict=True):
        table.setdefault(scores.classes[cell // k], {})[scores.classes[cell % k]] = count
    observed = float((a == b).mean())
    chance = float(np.bincount(a, minlength=k) @ np.bincount(b, minlength=k)) / n**2
    if chance >= 1 - 1e-12:
        return table, nothing("every label is of one class", n)
    kappa = (observed - chance) / (1 - chance)
    # Cohen 1960; of perfect agreement the error is not none, but about one label's.
    share = min(observed, 1 - 0.5 / n)
    half = Z99 * float(np.sqrt(share * (1 - share) / n)) / (1 - chance)
    if len(np.unique(b)) == 1 and chance < 0.8:
        # Always the same answer while the tasks differ has a kappa of 0 whatever the sample.
        half = 0.0
    return table, Figure(kappa, n, max(-1.0, kappa - half), min(1.0, kappa + half))


class Bias:
    """How much more often than the others, on the same tasks, people give each class (of regions: how many more each task)."""

    def __init__(self, work: Work, scores: Scored) -> None:
        if scores.ratings is not None:
            rows, codes, self.classes = scores.judged, scores.ratings.values, scores.classes
        else:
            rows, names = _classes_given(scores)
            self.classes = sorted(set(names))
            places = {name: at for at, name in enumerate(self.classes)}
            codes = np.array([places[name] for name in names], np.int64)
        k, people = max(1, len(self.classes)), len(work.people)
        self.reason = None if self.classes else "the answers have no classes"
        self._sum: Floats = np.zeros((people, k))
        self._squares: Floats = self._sum
        self._own: Floats = self._sum
        self._n: Ints = np.zeros(people, np.int64)
        counted = np.ones(len(work), np.bool_) if scores.ratings is None else scores.code >= 0
        labels = np.bincount(work.task[counted], minlength=len(work.tasks))
        takes_part = counted & (labels[work.task] >= 2)
        if not self.classes or not takes_part.any() or people * k > 50_000_000:
            self.reason = self.reason or "no task has labels of two people"
            return
        keep = takes_part[rows]
        rows, codes = rows[keep], codes[keep]
        cells, own = np.unique(rows * k + codes, return_counts=True)
        of_task, total = np.unique(work.task[rows] * k + codes, return_counts=True)
        # Every label meets each class that anybody gave to its task.
        first = np.searchsorted(of_task, np.arange(len(work.tasks)) * k)
        many = np.searchsorted(of_task, (np.arange(len(work.tasks)) + 1) * k) - first
        label = np.repeat(np.flatnonzero(takes_part), many[work.task[takes_part]])
        starts = np.repeat(first[work.task[takes_part]], many[work.task[takes_part]])
        before = np.cumsum(many[work.task[takes_part]]) - many[work.task[takes_part]]
        at = starts + np.arange(len(label)) - np.repeat(before, many[work.task[takes_part]])
        value = of_task[at] % k
        found = np.minimum(np.searchsorted(cells, label * k + value), len(cells) - 1)
        mine = np.where(cells[found] == label * k + value, own[found], 0).astype(np.float64)
        differs = mine - (total[at] - mine) / (labels[work.task[label]] - 1)
        cell = work.annotator[label] * k + value
        self._sum, self._squares, self._own = (
            np.bincount(cell, weights=weights, minlength=people * k).reshape(people, k).astype(np.float64)
            for weights in (differs, differs**2, mine)
        )
        self._n = np.bincount(work.annotator[takes_part], minlength=people)

    def of(self, person: int) -> dict[str, Any]:
        """`l1` (0 to 2), and by class the share (or number) of labels, the others', their difference and its p (Bonferroni)."""
        n = int(self._n[person])
        if not n:
            return {"l1": None, "n": 0, "classes": {}, "reason": self.reason or "nobody else labelled these tasks"}
        own, expected = self._own[person], self._own[person] - self._sum[person]
        mine, theirs = own.sum(), expected.sum()
        l1 = float(np.abs(own / mine - expected / theirs).sum()) if mine > 0 and theirs > 0 else None
        classes: dict[str, Mapping[str, Any]] = {}
        for at, name in enumerate(self.classes):
            if own[at] > 0 or expected[at] > 1e-12:
                mean, p = paired(float(self._sum[person, at]), float(self._squares[person, at]), n)
                classes[name] = {
                    "own": rounded(own[at] / n), "others": rounded(abs(expected[at]) / n), "difference": rounded(mean),
                    "p": rounded(min(1.0, p * len(self.classes)), 9),
                }  # fmt: skip
        return {
            "l1": rounded(l1),
            "n": n,
            "classes": classes,
            "reason": None if l1 is not None else "nothing was marked",
        }


def _classes_given(scores: Scored) -> tuple[Ints, list[str]]:
    """(label, class) of every class that is given, also twice in one label."""
    rows: list[int] = []
    names: list[str] = []
    for row, value in enumerate(scores.answers.values):
        if value is None or isinstance(value, float | int):
            continue
        given = value if isinstance(value, frozenset) else getattr(value, "labels", ())
        rows += [row] * len(given)
        names += given
    return np.array(rows, np.int64), names


def tasks_of(work: Work, places: Ints, most: int = 20) -> list[Any]:
    """The tasks of these labels, the first ones."""
    return [work.tasks[at] for at in work.task[places[:most]].tolist()]
