"""How far an overlap score rests on which rows the table happens to hold: an infinitesimal jackknife.

A row's influence is the derivative of the score by the row's weight in the sums (Jaeckel 1972; Efron 1982, chapter 6).
With rows drawn independently, a score of n rows has the variance Σ influence² to first order in 1/n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.special import stdtrit

from eigenselect.selector.measures.moments import Moments

Doubles = npt.NDArray[np.float64]

GROUPS = 64
"""Replicates of a score: what is kept of the sampled rows."""

DIGITS = 6
"""Significant digits of a replicate, so that one that was read back is the one that was logged."""

COVERAGE = 0.95
"""Of an interval."""


def influences(m: Moments, exponents: Sequence[float]) -> list[Doubles]:
    """The influence of each sampled row on EOS, and then on `weighted_eos` for each exponent; [] for an all-zero table.

    With u, v a row's coordinates in the bases of X (singular vectors) and of X~, M = UᵀU~ and D = diag(σᵖ)/Σσᵖ, it is

        2 uᵀDMv − vᵀMᵀDMv + uᵀ(C ∘ MMᵀ)u − p/2 · score · uᵀDu,

    the derivative of tr(DMMᵀ) by way of XᵀX~, X~ᵀX~ and XᵀX, of which D is a function: C holds its divided differences.
    """
    u, s = m.x_svd
    rank = s.size
    if rank == 0:
        return []
    u, t = u[:, :rank], s / s[0]
    mine = m.sample.x.astype(np.float64) @ (m.x.T @ u / s**2)
    # y = basis @ inside, and so the rows' coordinates solve coordinates @ inside = rows.
    inside = m.y_basis.T @ m.y
    turn, triangle = np.linalg.qr(inside.T)
    theirs = scipy.linalg.solve_triangular(triangle, turn.T @ m.sample.y.astype(np.float64).T).T
    overlap = u.T @ m.y_basis
    seen, gram = theirs @ overlap.T, overlap @ overlap.T

    def influence(p: float) -> Doubles:
        total = (t**p).sum()
        weights = t**p / total
        inner = _divided_differences(t, p) / total * gram
        return np.asarray(
            (seen * (2 * mine - seen)) @ weights
            + np.einsum("ij,ij->i", mine @ inner, mine)
            - p / 2 * (weights @ np.diag(gram)) * (mine**2 @ weights)
        )

    share = rank / max(rank, m.y_basis.shape[1])  # EOS divides by the higher rank
    return [share * influence(0), *map(influence, exponents)]


def _divided_differences(t: Doubles, p: float) -> Doubles:
    """(h(a) − h(b))/(a − b) · ab with h(a) = a^(p/2 − 1), for all pairs of squares a, b of t; h'(a) a² where a = b."""
    a, b = t[:, None], t[None]
    near = np.abs(a - b) <= 1e-6 * (a + b)
    split = np.where(near, 1, a**2 - b**2)
    return np.where(near, (p / 2 - 1) * (a * b) ** (p / 2), (a**p * b**2 - b**p * a**2) / split)


def replicates(m: Moments, influence: Doubles) -> tuple[float, ...]:
    """Up to `GROUPS` independent deviations, whose mean has the spread of the score whose influences are given.

    A replicate is the mean influence of a group of the sampled rows, times √(n · sampled rows).

    Args:
        m: the moments.
        influence: (r,) of each row of `m.sample`.
    """
    return dealt(math.sqrt(m.n * len(influence)) * m.sample.factors * influence)


def dealt(values: Doubles) -> tuple[float, ...]:
    """Means of up to `GROUPS` groups of the values; () of fewer than two.

    They are dealt to the groups at random, the same way for every candidate: groups that each held all parts of a table
    sorted by frequency would be more alike than draws are.
    """
    groups = min(GROUPS, len(values))
    if groups < 2:
        return ()
    group = np.arange(len(values)) % groups
    shuffled = values[np.random.default_rng(0).permutation(len(values))]
    return tuple(float(f"{mean:.{DIGITS}g}") for mean in np.bincount(group, shuffled) / np.bincount(group))


def standard_error(found: Sequence[float] | Doubles) -> float:
    """Of the mean of independent replicates; of a difference of scores, from the replicates' differences."""
    return float(np.std(found, ddof=1) / np.sqrt(len(found)))


def half_width(found: Sequence[float] | Doubles, coverage: float = COVERAGE) -> float:
    """Half of the interval of that `coverage` around it."""
    return standard_error(found) * float(stdtrit(len(found) - 1, (1 + coverage) / 2))
