"""One budget over many tables: which candidate each gets, so that the weighted sum of their scores is the highest.

A multiple-choice knapsack problem. A price of a byte, that of the steps on the convex hulls of the curves (Sinha and
Zoltners 1979; Everett 1963), bounds what any split can reach. What a candidate falls short of the best at that price is
lost to every split that has it, so that few candidates are left within the gap to a good split, and dynamic programming
over them (Pisinger 1995) finds the best one. Pure: no files, no clock, no order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.selector.decision.lookup import Limit
from eigenselect.selector.decision.selection import Candidate, rank_key
from eigenselect.selector.measures import higher_is_better

MOST = 50_000
"""Partial splits that are kept beside each other: with more the best of them are, and the bound stays what it is."""

ROUNDING = 1e-12
"""Of sums, relative."""


@dataclass(frozen=True)
class Point:
    """A candidate on a table's curve.

    Attributes:
        name: of the candidate.
        nbytes: of its payload.
        score: its criterion.
    """

    name: str
    nbytes: int
    score: float


@dataclass(frozen=True)
class Curve:
    """The scores of a table against bytes.

    Attributes:
        name: of the table.
        weight: what its score counts, above 0.
        points: of the fewest bytes first, each better than those before it.
        higher: whether more of the score is better.
    """

    name: str
    weight: float
    points: Sequence[Point]
    higher: bool = True

    @staticmethod
    def of(
        name: str, weight: float, candidates: Iterable[Candidate], criterion: str, limit: Limit | None = None
    ) -> Curve:
        """The curve of the candidates that have the criterion and are within the limit."""
        able = (c for c in candidates if criterion in c.measures and (limit is None or limit.allows(c.costs)))
        points: list[Point] = []
        best = float("inf")
        for candidate in sorted(able, key=lambda c: (c.nbytes, *rank_key(c, criterion))):
            if (rank := rank_key(candidate, criterion)[0]) < best:
                best = rank
                points.append(Point(candidate.name, candidate.nbytes, candidate.measures[criterion]))
        return Curve(name, weight, points, higher_is_better(criterion))

    @property
    def nbytes(self) -> npt.NDArray[np.int64]:
        """(points,) int64."""
        return np.array([point.nbytes for point in self.points])

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """(points,) float64, what each adds to the sum that is to be highest."""
        return self.weight * np.array([point.score if self.higher else -point.score for point in self.points])


@dataclass(frozen=True)
class Split:
    """The candidate of each table.

    Attributes:
        points: in the order of the curves.
        nbytes: that they take together.
        score: weighted sum of their scores.
        bound: no split of these candidates within the budget has a better one.
    """

    points: list[Point]
    nbytes: int
    score: float
    bound: float


def split(curves: Sequence[Curve], budget: int) -> Split:
    """The split of at most `budget` bytes with the best weighted sum of scores.

    It is the best one unless more than `MOST` partial splits are near it; `Split.bound` says how near it is then.

    Raises:
        ValueError: the smallest candidates together are over the budget.

    Example:
        >>> users = Curve("users", 1, [Point("b1", 100, 0.5), Point("b2", 200, 0.8), Point("b4", 400, 0.9)])
        >>> items = Curve("items", 2, [Point("b1", 10, 0.4), Point("b4", 40, 0.7)])
        >>> found = split([users, items], 300)
        >>> [point.name for point in found.points], found.nbytes, round(found.score, 6), found.bound == found.score
        (['b2', 'b4'], 240, 2.2, True)
    """
    if (least := sum(curve.points[0].nbytes for curve in curves)) > budget:
        raise ValueError(f"the smallest candidates take {least:,} bytes together, {budget:,} are allowed")
    picked, price = _by_steps(curves, budget)
    picked = _filled(curves, picked, budget)
    losses = [_losses(curve, price) for curve in curves]
    bound = sum(float((curve.values - price * curve.nbytes).max()) for curve in curves) + price * budget
    gap = bound - _value(curves, picked)
    better, whole = _best_within(curves, losses, gap, budget)
    if better is not None and _value(curves, better) > _value(curves, picked):
        picked = better
    points = [curve.points[at] for curve, at in zip(curves, picked, strict=True)]
    score = sum(curve.weight * point.score for curve, point in zip(curves, points, strict=True))
    higher = all(curve.higher for curve in curves)
    return Split(points, sum(point.nbytes for point in points), score, score if whole else bound if higher else -bound)


def _value(curves: Sequence[Curve], picked: Sequence[int]) -> float:
    return sum(float(curve.values[at]) for curve, at in zip(curves, picked, strict=True))


def _by_steps(curves: Sequence[Curve], budget: int) -> tuple[list[int], float]:
    """A point of each hull, from the smallest on by the steps that are worth the most a byte; and the price of a byte.

    The price is that of the first step that does not fit, 0 where all do.
    """
    hulls = [_hull(curve) for curve in curves]
    steps = [
        (
            -(curve.values[hull[at + 1]] - curve.values[hull[at]])
            / float(curve.nbytes[hull[at + 1]] - curve.nbytes[hull[at]]),
            table,
            at,
        )
        for table, (curve, hull) in enumerate(zip(curves, hulls, strict=True))
        for at in range(len(hull) - 1)
    ]
    picked, left = [hull[0] for hull in hulls], budget - sum(curve.points[0].nbytes for curve in curves)
    for worth, table, at in sorted(steps):
        nbytes = curves[table].nbytes
        if (more := int(nbytes[hulls[table][at + 1]] - nbytes[hulls[table][at]])) > left:
            return picked, -worth
        picked[table], left = hulls[table][at + 1], left - more
    return picked, 0.0


def _hull(curve: Curve) -> list[int]:
    """Places of the points on the upper convex hull, of the fewest bytes first; the first and the last are."""
    nbytes, values, hull = curve.nbytes, curve.values, [0]
    for at in range(1, len(nbytes)):
        while len(hull) > 1 and (values[hull[-1]] - values[hull[-2]]) * (nbytes[at] - nbytes[hull[-1]]) <= (
            values[at] - values[hull[-1]]
        ) * (nbytes[hull[-1]] - nbytes[hull[-2]]):
            hull.pop()
        hull.append(at)
    return hull


def _filled(curves: Sequence[Curve], picked: Sequence[int], budget: int) -> list[int]:
    """The same with what is left of the budget spent on the largest gain, again and again."""
    filled = [*picked]
    left = budget - sum(curve.points[at].nbytes for curve, at in zip(curves, filled, strict=True))
    while True:
        reached = [
            int(np.searchsorted(curve.nbytes, curve.points[at].nbytes + left, side="right")) - 1
            for curve, at in zip(curves, filled, strict=True)
        ]
        gains = [
            float(curve.values[to] - curve.values[at]) for curve, at, to in zip(curves, filled, reached, strict=True)
        ]
        table = int(np.argmax(gains))
        if gains[table] <= 0:
            return filled
        left -= curves[table].points[reached[table]].nbytes - curves[table].points[filled[table]].nbytes
        filled[table] = reached[table]


def _losses(curve: Curve, price: float) -> npt.NDArray[np.float64]:
    """(points,) what each point is below the best one at a price of a byte."""
    at_price = curve.values - price * curve.nbytes
    losses: npt.NDArray[np.float64] = at_price.max() - at_price
    return losses


def _best_within(
    curves: Sequence[Curve], losses: Sequence[npt.NDArray[np.float64]], gap: float, budget: int
) -> tuple[list[int] | None, bool]:
    """The best split whose losses together are at most `gap`, if there is one; and whether every such one was seen."""
    allowed = gap + ROUNDING * (1 + abs(gap))
    near = [np.flatnonzero(each <= allowed) for each in losses]
    rest = np.cumsum([int(curve.nbytes[at].min()) for curve, at in zip(reversed(curves), reversed(near), strict=True)])
    least = [*reversed(rest[:-1].tolist()), 0]  # of the tables after each
    nbytes, lost, value = np.zeros(1, np.int64), np.zeros(1), np.zeros(1)
    came: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    whole = True
    for curve, loss, at, after in zip(curves, losses, near, least, strict=True):
        before, point = np.divmod(np.arange(len(nbytes) * len(at)), len(at))
        nbytes, lost, value = (
            nbytes[before] + curve.nbytes[at][point],
            lost[before] + loss[at][point],
            value[before] + curve.values[at][point],
        )
        kept = np.flatnonzero((nbytes + after <= budget) & (lost <= allowed))
        kept = kept[np.lexsort((-value[kept], nbytes[kept]))]
        kept = kept[value[kept] > np.concatenate([[-np.inf], np.maximum.accumulate(value[kept])[:-1]])]
        if len(kept) > MOST:
            whole, kept = False, np.sort(kept[np.argsort(lost[kept], kind="stable")[:MOST]])
        if not len(kept):
            return None, whole
        nbytes, lost, value = nbytes[kept], lost[kept], value[kept]
        came.append((before[kept], at[point[kept]]))
    picked, state = [], int(np.argmax(value))
    for earlier, points in reversed(came):
        picked.append(int(points[state]))
        state = int(earlier[state])
    return picked[::-1], whole
