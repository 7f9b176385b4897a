"""How long the candidates of a sweep will still take, from those that it has made."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from eigenselect.compressors import Compressor
from eigenselect.compressors.training import spent_once
from eigenselect.selector.pool.digest import method_name

PATIENCE = 2.0
"""A candidate that takes this many times what was expected of it makes every forecast a guess."""


class Forecast:
    """The time that is left, learned as the sweep goes on.

    A candidate costs what the last one of its kind did, the methods being the same from the outermost to the innermost.
    Of a kind that has not been seen yet it costs a pass over the table, as the cheapest did, and its `effort` in the
    seconds that others took for theirs. While nothing of that kind is known there is no forecast.
    """

    def __init__(self, candidates: Sequence[Compressor]) -> None:
        """`candidates` are those that will be made, in this order."""
        self._left = [*candidates]
        self._seconds: dict[str, float] = {}
        self._scales: list[float] = []
        self._plain: list[float] = []
        self._began, self._once = time.monotonic(), spent_once()

    def begin(self) -> None:
        """The first of those that are left is begun."""
        self._began, self._once = time.monotonic(), spent_once()

    def done(self) -> None:
        """It is made."""
        self.took(time.monotonic() - self._began - (spent_once() - self._once))

    def took(self, seconds: float) -> None:
        """It is made, and took so long."""
        candidate = self._left.pop(0)
        self._seconds[kind(candidate)] = seconds
        if (work := effort(candidate)) == 0:
            self._plain.append(seconds)
        elif self._plain:
            self._scales.append(max(0.0, seconds - min(self._plain)) / work)

    def left(self, now: float | None = None) -> float | None:
        """Seconds until the last is made; None while too little is known.

        Args:
            now: seconds since the first of those that are left was begun; by the clock where it is not given.
        """
        costs = [self._cost(candidate) for candidate in self._left]
        known = [cost for cost in costs if cost is not None]
        if not known or len(known) < len(costs):
            return None
        spent = time.monotonic() - self._began if now is None else now
        if spent > PATIENCE * known[0] + 1:
            return None
        return max(0.0, known[0] - spent) + sum(known[1:])

    def _cost(self, candidate: Compressor) -> float | None:
        if (seen := self._seconds.get(kind(candidate))) is not None:
            return seen
        work = effort(candidate)
        if not self._plain or (work and not self._scales):
            return None
        return min(self._plain) + (work * statistics.median(self._scales) if work else 0)


def kind(candidate: Compressor) -> str:
    """The methods of a candidate, from the outermost on."""
    return " ".join([method_name(type(candidate)), *map(kind, candidate.parts)])


def effort(candidate: Compressor) -> float:
    """That of a candidate, with the most of the methods in it."""
    return candidate.effort + max(map(effort, candidate.parts), default=0)
