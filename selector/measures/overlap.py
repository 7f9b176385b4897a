"""Measures of the column span."""

from __future__ import annotations

import numpy as np

from eigenselect.selector.measures.moments import Moments

EOS_TOLERANCE = 1e-6
"""How far the EOS of an exported model's own output may be from that of its payload: sums in another order."""

HALF_EOS_TOLERANCE = 2.0**-11
"""The same of float16 rows: the unit roundoff u of float16.

With σ the least singular value of the rounded table, its columns scaled to one length, rounding that keeps the rank
moves EOS by at most u/σ: the columns' errors are at most u long, so Wedin's theorem bounds the sum of the k sines
between the spans by ku/σ. Errors of many rows cancel: over all methods on tables of 700 x 24, 512 x 13 and 3,000 x 50
EOS moved by at most 2e-5, over three on 12,000 rows of 300 and 384 columns by at most 8e-6 (u/σ was up to 1e-2). Rows
of low rank get directions of their rounding, and moved by 2e-3 and more: they are refused.
"""


def eos_tolerance(output: str) -> float:
    """How far the EOS of an exported model may be from its payload's, by the type of its rows."""
    return HALF_EOS_TOLERANCE if output == "float16" else EOS_TOLERANCE


def eos(m: Moments) -> float:
    """Eigenspace overlap score ‖UᵀU~‖²_F / max(rank X, rank X~), in [0, 1] (May et al. 2019, Definition 1).

    The ranks are numerical, so for full-rank tables the divisor is max(d, k) as published. Two tables without any
    direction agree (1).
    """
    rank = int(max(m.x_basis.shape[1], m.y_basis.shape[1]))
    if rank == 0:
        return 1.0
    overlap = float(np.linalg.norm(m.x_basis.T @ m.y_basis))
    return min(1.0, overlap * overlap / rank)


def weighted_eos(m: Moments, p: float) -> float | None:
    """Σᵢ σᵢᵖ ‖U~ᵀuᵢ‖² / Σᵢ σᵢᵖ over the table's singular values σᵢ and left singular vectors uᵢ, in [0, 1].

    The share of labels that are spread over the table's directions by σᵢᵖ: p = 0 counts every direction alike, which
    is EOS unless the candidate has the higher rank (which EOS divides by and this does not), and p = 2 is
    1 − `projected_reconstruction_error` / ‖X‖²_F. Undefined for an all-zero table.

    Args:
        m: the moments.
        p: exponent, at least 0.
    """
    u, s = m.x_svd
    if not s.size:
        return None
    # Relative to the largest: no power of it overflows.
    weights = (s / s[0]) ** p
    shares = (u[:, : s.size].T @ m.y_basis) ** 2
    return min(1.0, float(weights @ shares.sum(axis=1) / weights.sum()))


INSTABILITY = 3
"""α of the eigenspace instability, as published."""


def eigenspace_instability(m: Moments) -> float | None:
    """tr((UUᵀ + U~U~ᵀ − 2 U~U~ᵀUUᵀ) Σ) / tr Σ with Σ = (XXᵀ)^α + (X~X~ᵀ)^α (Leszczynski et al., MLSys 2020).

    The expected disagreement of linear models trained on the one and on the other, for labels of covariance Σ. The
    anchors of Σ are the two tables themselves. With X alone it is 1 − `weighted_eos` of p = 2α. Undefined for an
    all-zero table.
    """
    u, s = m.x_svd
    if not s.size:
        return None
    own, other = u[:, : s.size] * (s / s[0]) ** INSTABILITY, m.y / s[0]
    other = other @ np.linalg.matrix_power(other.T @ other, (INSTABILITY - 1) // 2)
    total = float((own**2).sum() + (other**2).sum())
    left = [a - b @ (b.T @ a) for a, b in ((own, m.y_basis), (other, m.x_basis))]
    return float(sum((each**2).sum() for each in left)) / total


def projected_reconstruction_error(m: Moments) -> float:
    """min_P ‖X~P − X‖²_F = ‖X − U~U~ᵀX‖²_F (May et al. 2019, App. B.4)."""
    return float(np.linalg.norm(m.x - m.y_basis @ (m.y_basis.T @ m.x)) ** 2)
