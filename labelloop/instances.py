"""Which key points belong to one object: by their parent, by a relation, by the only box around them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from labelloop.values import Region

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Shape:
    """A region around an object, and its bounds (x0, y0, x1, y1)."""

    region: Region
    bounds: Box


@dataclass(frozen=True)
class Point:
    """A key point and where it is, in the unit of the shapes' bounds."""

    region: Region
    x: float
    y: float


@dataclass(frozen=True)
class Grouped:
    """The points of each shape, in the order of the shapes; and instances of points that have no shape around them."""

    of_shapes: list[list[Point]]
    loose: list[list[Point]]


def grouped_points(shapes: Sequence[Shape], points: Sequence[Point], result: Iterable[Region]) -> Grouped:
    """Which key points of one image belong together; `result` is the task's, with its relations.

    A point belongs to the shape that its `parentID` or a relation names, be it by way of other points. Points tied to no
    shape belong to the one whose bounds hold them (and those tied to them) where there is exactly one. Of what is left,
    points tied to each other are an instance, and all the others are one together.
    """
    owners, leaders = _tied(shapes, points, result)
    groups: dict[int, list[int]] = {}
    for index, leader in enumerate(leaders):
        groups.setdefault(leader, []).append(index)
    found = Grouped([[] for _ in shapes], [])
    alone: list[Point] = []
    for members in groups.values():
        theirs = next((owners[index] for index in members if owners[index] is not None), None)
        if theirs is None:
            theirs = _only_holder(shapes, [points[index] for index in members])
        if theirs is not None:
            for index in members:  # a point's own tie goes before those of the points that it is tied to
                own = owners[index]
                found.of_shapes[theirs if own is None else own].append(points[index])
        elif len(members) > 1:
            found.loose.append([points[index] for index in members])
        else:
            alone.append(points[members[0]])
    if alone:
        found.loose.append(alone)
    return found


def _tied(
    shapes: Sequence[Shape], points: Sequence[Point], result: Iterable[Region]
) -> tuple[list[int | None], list[int]]:
    """(the shape that each point is tied to itself, the first of the points that it is tied to) by place."""
    places: dict[str, int] = {}
    drawn = [*(point.region for point in points), *(shape.region for shape in shapes)]
    for number, region in enumerate(drawn):
        places.setdefault(str(region.get("id")), number)
    count = len(points)
    owners: list[int | None] = [None] * count
    leaders = list(range(count))

    def leader(index: int) -> int:
        while leaders[index] != index:
            leaders[index] = leaders[leaders[index]]
            index = leaders[index]
        return index

    for ends in _ties(points, result):
        low, high = sorted(places.get(end, -1) for end in ends)
        if low < 0 or low >= count:
            continue
        if high >= count:
            owners[low] = high - count if owners[low] is None else owners[low]
        else:
            one, other = sorted((leader(low), leader(high)))
            leaders[other] = one
    return owners, [leader(index) for index in range(count)]


def _ties(points: Sequence[Point], result: Iterable[Region]) -> Iterator[tuple[str, str]]:
    """Pairs of ids: each point with its parent, and the ends of each relation."""
    for point in points:
        if point.region.get("parentID"):
            yield str(point.region.get("id")), str(point.region["parentID"])
    for entry in result:
        if entry.get("type") == "relation":
            yield str(entry.get("from_id")), str(entry.get("to_id"))


def _only_holder(shapes: Sequence[Shape], points: Sequence[Point]) -> int | None:
    """The place of the one shape whose bounds hold all of the points; None where none does, or more than one."""
    holders = [
        number
        for number, shape in enumerate(shapes)
        if all(
            shape.bounds[0] <= point.x <= shape.bounds[2] and shape.bounds[1] <= point.y <= shape.bounds[3]
            for point in points
        )
    ]
    return holders[0] if len(holders) == 1 else None
