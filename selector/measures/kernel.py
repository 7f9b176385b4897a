"""Measures of the kernel K = XXᵀ, and of the candidate's K~ = X~X~ᵀ, without forming either."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eigenselect.selector.measures.moments import Moments

Doubles = npt.NDArray[np.float64]


def _kernel_difference(x: Doubles, y: Doubles, error: Doubles | None) -> Doubles:
    """yyᵀ − xxᵀ, from the error where there is one: what cancels is then never added."""
    if error is None:
        return y @ y.T - x @ x.T
    half = x @ error.T + error @ error.T / 2
    return half + half.T


def pip_loss(m: Moments) -> float:
    """Pairwise inner product loss ‖XXᵀ − X~X~ᵀ‖_F (Yin and Shen 2018; May et al. 2019, section 2.2)."""
    return float(np.linalg.norm(_kernel_difference(m.x, m.y, m.error)))


def pip_loss_relative(m: Moments) -> float | None:
    """The PIP loss divided by ‖XXᵀ‖_F; undefined for an all-zero table."""
    size = float(np.linalg.norm(m.x.T @ m.x))
    return pip_loss(m) / size if size > 0 else None


def smallest_eigenvalue(m: Moments) -> float | None:
    """Smallest non-zero eigenvalue of K: the published λ (May et al. 2019, App. E.7); None for an all-zero table."""
    s = m.x_svd[1]
    return float(s[-1] ** 2) if s.size else None


def largest_eigenvalue(m: Moments) -> float | None:
    """Largest eigenvalue of K; None for an all-zero table."""
    s = m.x_svd[1]
    return float(s[0] ** 2) if s.size else None


def ridge_alignment(m: Moments) -> float | None:
    """⟨H, H~⟩ / (‖H‖ ‖H~‖) of the two smoothing matrices of ridge regression, H = K (K + λI)⁻¹.

    A direction counts by σ²/(σ² + λ), with λ the mean of the table's squared singular values: what ridge regression of
    that strength reads of it. λ → 0 is the overlap of the spans, λ → ∞ the alignment of the kernels (linear CKA without
    centring: Kornblith et al. 2019). A candidate without a direction has 0. Undefined for an all-zero table, and where
    the columns are not the table's, which what reads them as they are expects.
    """
    s = m.x_svd[1]
    if m.error is None or not s.size:
        return None
    ridge = float((s**2).mean())
    roots = [_ridge_root(each, ridge) for each in (m.x, m.y)]
    own, other = (float(np.linalg.norm(each.T @ each)) for each in roots)
    return float(np.linalg.norm(roots[0].T @ roots[1]) ** 2) / (own * other) if own * other > 0 else 0.0


def _ridge_root(a: Doubles, ridge: float) -> Doubles:
    """(m, d) R with RRᵀ = aaᵀ (aaᵀ + ridge I)⁻¹."""
    lower = np.linalg.cholesky(a.T @ a + ridge * np.eye(a.shape[1]))
    return np.asarray(np.linalg.solve(lower, a.T).T)


def deltas(m: Moments, ridge: float) -> dict[str, float]:
    """Spectral approximation (May et al. 2019, section 2.2; Avron et al. 2017; Zhang et al. 2019).

    `delta1`, `delta2` are the smallest non-negative values with (1−Δ1)(K+λI) ⪯ K~+λI ⪯ (1+Δ2)(K+λI);
    `delta` is max(Δ1, Δ2) and `delta_max` is max(1/(1−Δ1), Δ2).

    Args:
        m: the moments.
        ridge: λ > 0.
    """
    u, s = m.x_svd
    padded = np.zeros(len(u))
    padded[: len(s)] = s
    whiten = u.T / np.sqrt(padded**2 + ridge)[:, None]
    error = None if m.error is None else whiten @ m.error
    shifts = np.linalg.eigvalsh(_kernel_difference(whiten @ m.x, whiten @ m.y, error))
    # K~ is positive semidefinite: 1 − Δ1 cannot fall below λ/(σ1²+λ), which also keeps rounding from dividing by 0.
    floor = ridge / (padded[0] ** 2 + ridge)
    delta1 = float(min(max(0.0, -shifts[0]), 1 - floor))
    delta2 = float(max(0.0, shifts[-1]))
    return {
        "delta1": delta1,
        "delta2": delta2,
        "delta": max(delta1, delta2),
        "delta_max": max(1 / max(1 - delta1, floor), delta2),
    }
