"""Every measure straight from its definition: whole tables, dense n x n matrices, no streaming, no moments."""

from __future__ import annotations

import numpy as np
import scipy.linalg


def spectrum(x, rank):
    """Left singular vectors and singular values of x, as many as its rank, which the test knows."""
    u, s, _ = scipy.linalg.svd(x, full_matrices=False)
    return u[:, :rank], s[:rank]


def kernel_difference(x, y):
    """K~ - K, dense (n, n).

    In extended precision: for a candidate close to its table nearly every digit cancels, and in float64 it would be
    the oracle that is wrong.
    """
    wide, other = x.astype(np.longdouble), y.astype(np.longdouble)
    return (other @ other.T - wide @ wide.T).astype(np.float64)


def kernel_difference_of_error(x, error):
    """K~ - K of large tables of one dimension, where extended precision would take minutes.

    The error y - x is exact in float64 for float32 entries, and XEᵀ + EXᵀ + EEᵀ cancels nothing of it.
    """
    half = x @ error.T
    return half + half.T + error @ error.T


def pencil_shifts(x, difference, ridge):
    """Smallest and largest eigenvalue, less 1, of the pencil (K~ + λI, K + λI)."""
    shifts = scipy.linalg.eigh(difference, x @ x.T + ridge * np.eye(len(x)), eigvals_only=True, driver="gvd")
    return shifts[0], shifts[-1]


def on_span(x, y, *others):
    """All of them in the coordinates of a basis of the columns of [x y]: K and K~ are zero on the rest."""
    q = scipy.linalg.qr(np.concatenate([x, y], axis=1), mode="economic")[0]
    return [q.T @ other for other in others]


def weighted_share(x, basis, rank, p):
    """What of the matrix power (XXᵀ)^(p/2) the span of `basis` holds, by trace."""
    u, s = spectrum(x, rank)
    power = u * s**p @ u.T
    return np.trace(basis.T @ power @ basis) / np.trace(power)


def instability(x, y, u, other):
    """By traces of (n, n) matrices, in units of the table's largest entry."""
    unit = np.abs(x).max()
    of_x, of_y = (np.linalg.matrix_power(each @ each.T / unit**2, 3) for each in (x, y))
    mine, theirs, one = u @ u.T, other @ other.T, np.eye(len(x))
    published = np.trace((mine + theirs - 2 * theirs @ mine) @ (of_x + of_y)) / np.trace(of_x + of_y)
    # The same where each span holds its own table; nothing of what is left of the other is lost to what cancels.
    left = sum(np.trace((one - span) @ anchor @ (one - span)) for span, anchor in ((theirs, of_x), (mine, of_y)))
    found = left / np.trace(of_x + of_y)
    assert abs(found - published) < 1e-12
    return found


def ridge_alignment(x, y, rank):
    """The cosine of two (n, n) smoothing matrices."""
    ridge = (x**2).sum() / rank
    own, other = (np.linalg.solve(each @ each.T + ridge * np.eye(len(each)), each @ each.T) for each in (x, y))
    return (own * other).sum() / np.linalg.norm(own) / np.linalg.norm(other)


def pooled_cosine_error(x, y, weights, tokens=16):
    """1 − the cosine of expected inner products, of queries of so many rows drawn by weight."""
    p = (weights / weights.sum()).astype(np.longdouble)  # nearly every digit cancels
    a, b = x.astype(np.longdouble), y.astype(np.longdouble)

    def inner(one, other):
        return p @ (one * other).sum(axis=1) / tokens + (1 - np.longdouble(1) / tokens) * ((p @ one) @ (p @ other))

    return 1 - inner(a, b) / np.sqrt(inner(a, a) * inner(b, b))


def neighbour_overlap(x, y, asked, nearest=10):
    """Of single rows, with every cosine between all rows; among those tied at the last place each is as likely kept."""
    cosines = []
    for table in (x, y):
        unit = table / np.linalg.norm(table, axis=1, keepdims=True)
        found = unit[asked] @ unit.T
        found[np.arange(len(asked)), asked] = -2
        cosines.append(found)
    shares = []
    for mine, theirs in zip(*cosines, strict=True):
        wanted = np.flatnonzero(mine >= np.sort(mine)[-nearest] - 2.0**-20)
        theirs = np.rint(theirs * 2**20)
        if len(wanted) <= 4 * nearest:
            room = [(len(wanted) - (theirs > theirs[i]).sum()) / (theirs == theirs[i]).sum() for i in wanted]
            shares.append(np.clip(room, 0, 1).mean())
    return np.mean(shares) if shares else None


def measures(x, y, rank_x, rank_y, *, large=False, aligned=True):
    """Metric key -> value, for tables of known rank."""
    u, s = spectrum(x, rank_x)
    other = spectrum(y, rank_y)[0]
    ridge = s[-1] ** 2
    if large:
        inner, error, *bases = on_span(x, y, x, y - x, u, other)
        inner_y = inner + error
        difference = kernel_difference_of_error(inner, error)
    else:
        inner, inner_y, bases, difference = x, y, [u, other], kernel_difference(x, y)
    low, high = pencil_shifts(inner, difference, ridge)
    delta1, delta2 = max(0.0, -low), max(0.0, high)
    found = {
        "eos": np.linalg.norm(u.T @ other) ** 2 / max(rank_x, rank_y),
        "pip_loss": np.linalg.norm(difference),
        "pip_loss_relative": np.linalg.norm(difference) / np.linalg.norm(x.T @ x),
        "projected_reconstruction_error": np.linalg.norm(x - other @ (other.T @ x)) ** 2,
        "eigenspace_instability": instability(inner, inner_y, *bases),
        "neighbour_overlap": neighbour_overlap(x, y, np.arange(0, len(x), -(-len(x) // 256))),
        **{f"weighted_eos_p{p}": weighted_share(x, other, rank_x, p) for p in (1, 2)},
        "delta1": delta1,
        "delta2": delta2,
        "delta": max(delta1, delta2),
        "delta_max": max(1 / (1 - delta1), delta2),
    }
    if aligned and x.shape == y.shape:
        cosines = [a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(x, y, strict=True)]
        found["reconstruction_error"] = np.sqrt(((x - y) ** 2).sum())
        found["reconstruction_error_relative"] = np.sqrt(((x - y) ** 2).sum() / (x**2).sum())
        found["mean_cosine"] = np.mean(cosines)
        found["ridge_alignment"] = ridge_alignment(inner, inner_y, rank_x)
        found["pooled_cosine_error"] = pooled_cosine_error(x, y, np.ones(len(x)))
    return {key: float(value) for key, value in found.items() if value is not None}
