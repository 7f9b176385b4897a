"""Weights of rows: how often each is looked up, from counts or from its place in the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.data.table import Rows
from eigenselect.compressors.data.views import View

Doubles = npt.NDArray[np.float64]


def relative(weights: npt.ArrayLike, n: int) -> Doubles:
    """(n,) float64 weights in units of their mean, so that equal ones are 1.

    Raises:
        ValueError: not n numbers, one that is negative or not finite, or none above 0.
    """
    given = np.asarray(weights, np.float64)
    if given.shape != (n,):
        raise ValueError(f"row weights of shape {given.shape} for a table of {n} rows: give one a row")
    bad = ~(np.isfinite(given) & (given >= 0))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"row weight {given[row]} at row {row}: each must be finite and at least 0; correct it")
    largest = given.max()
    if largest == 0:
        raise ValueError(f"row weights of {n} rows are all 0: at least one must be above 0")
    share: Doubles = given / largest  # whose sum cannot overflow
    return np.asarray(share / share.mean())


def zipf(n: int, exponent: float, offset: float) -> Doubles:
    """(n,) weights 1 / (rank + offset)^exponent, where the first row has rank 1 (Zipf 1949; Mandelbrot 1953).

    >>> zipf(3, 1, 0).round(3).tolist()
    [1.0, 0.5, 0.333]
    """
    ranks: Doubles = np.arange(1, n + 1, dtype=np.float64)
    return (ranks + offset) ** -float(exponent)


@dataclass(frozen=True, eq=False)
class WeightedTable(View):
    """W^½ X: each row times the root of its weight, (n, d) float64.

    Attributes:
        weights: (n,) float64, of mean 1, as `relative` makes them.
    """

    weights: Doubles

    def read(self, rows: Rows) -> npt.NDArray[np.float64]:  # noqa: D102
        return np.asarray(self.source.read(rows) * np.sqrt(self.weights[rows, None]))

    def sampled(self, count: int) -> tuple[npt.NDArray[np.int64], Doubles]:
        """At most `count` rows, likely in proportion to their weights, and a factor of each (`moments.Sample`).

        All of them where there are no more. Else systematic sampling: those at equal steps of the running sum of the
        weights, so that a row of more than a step is always there. A row that is there with probability π stands for
        1/π, and squares of what is multiplied by w √(r / nπ), the factor, have the mean over the r rows that they have
        over all n times w. Its sign is drawn, so that products of two rows have none.
        """
        if self.n <= count:
            return np.arange(self.n), self.weights
        running = np.cumsum(self.weights)
        step = running[-1] / count
        places = np.searchsorted(running, (np.arange(count) + 0.5) * step, side="right")
        ids = np.unique(np.minimum(places, self.n - 1))
        likely = np.minimum(self.weights[ids] / step, 1)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], len(ids))
        return ids, signs * self.weights[ids] * np.sqrt(len(ids) / (self.n * likely))
