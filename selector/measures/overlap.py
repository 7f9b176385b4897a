"""Measures of the column span."""

from __future__ import annotations

import numpy as np

from selector.moments import Moments

EOS_TOLERANCE = 1e-6
"""How far the EOS of an exported model's own output may be from that of its payload: sums in another order."""


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


def projected_reconstruction_error(m: Moments) -> float:
    """min_P ‖X~P − X‖²_F = ‖X − U~U~ᵀX‖²_F (May et al. 2019, App. B.4)."""
    return float(np.linalg.norm(m.x - m.y_basis @ (m.y_basis.T @ m.x)) ** 2)
