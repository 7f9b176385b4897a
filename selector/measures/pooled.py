"""Measures of mean-pooled queries: what becomes of the mean of a few rows, where these are drawn by their weights.

With L independent tokens a pooled query q has E[qqᵀ] = E[xxᵀ]/L + (1 − 1/L) μμᵀ over rows x of mean μ, and with the
candidate's q~ likewise. So the mean and the inner products of the columns are enough, for any L. Ours.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from eigenselect.selector.measures.moments import Moments

Doubles = npt.NDArray[np.float64]

TOKENS = 16
"""Of a query, about those of a sentence. More of them bring the measures nearer to those of the mean row alone."""


def _moment(a: Doubles, b: Doubles, a_mean: Doubles, b_mean: Doubles, n: int) -> Doubles:
    """E[pqᵀ] of pooled p and q, from columns a and b with the rows' inner products, and the means."""
    return np.asarray(a.T @ b / (n * TOKENS) + (1 - 1 / TOKENS) * np.outer(a_mean, b_mean))


def pooled_cosine_error(m: Moments) -> float | None:
    """1 − E[q·q~] / √(E|q|² E|q~|²): how far pooled queries turn; undefined where they are not in the same columns.

    Formed from the error e = q~ − q, so that a candidate close to the table loses no digits: with A = E|q|²,
    B = E[q·e] and C = E|e|² it is (AC − B²) / (√(AD) (√(AD) + A + B)), D = E|q~|² = A + 2B + C.
    """
    if m.error is None:
        return None
    e_mean = m.y_mean - m.x_mean
    a = float(np.trace(_moment(m.x, m.x, m.x_mean, m.x_mean, m.n)))
    b = float(np.trace(_moment(m.x, m.error, m.x_mean, e_mean, m.n)))
    c = float(np.trace(_moment(m.error, m.error, e_mean, e_mean, m.n)))
    d = max(a + 2 * b + c, 0.0)
    root = math.sqrt(a * d)
    if root == 0:
        return 0.0 if a == d else 1.0
    return max(0.0, a * c - b * b) / (root * (root + a + b)) if a + b > 0 else 1 - (a + b) / root
