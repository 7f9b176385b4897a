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


def measures(x, y, rank_x, rank_y, *, large=False, aligned=True):
    """Metric key -> value, for tables of known rank."""
    u, s = spectrum(x, rank_x)
    other = spectrum(y, rank_y)[0]
    ridge = s[-1] ** 2
    if large:
        inner, error = on_span(x, y, x, y - x)
        difference = kernel_difference_of_error(inner, error)
    else:
        inner, difference = x, kernel_difference(x, y)
    low, high = pencil_shifts(inner, difference, ridge)
    delta1, delta2 = max(0.0, -low), max(0.0, high)
    found = {
        "eos": np.linalg.norm(u.T @ other) ** 2 / max(rank_x, rank_y),
        "pip_loss": np.linalg.norm(difference),
        "pip_loss_relative": np.linalg.norm(difference) / np.linalg.norm(x.T @ x),
        "projected_reconstruction_error": np.linalg.norm(x - other @ (other.T @ x)) ** 2,
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
    return {key: float(value) for key, value in found.items()}
