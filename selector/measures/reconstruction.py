"""Measures of the entries: defined only for candidates whose columns are the table's own."""

from __future__ import annotations

import numpy as np

from eigenselect.selector.measures.moments import Moments


def reconstruction_error(m: Moments) -> float | None:
    """‖X − X~‖_F (May et al. 2019, section 2.2)."""
    return None if m.error is None else float(np.linalg.norm(m.error))


def reconstruction_error_relative(m: Moments) -> float | None:
    """‖X − X~‖_F / ‖X‖_F; undefined for an all-zero table."""
    size = float(np.linalg.norm(m.x))
    return None if m.error is None or size == 0 else float(np.linalg.norm(m.error)) / size


def mean_cosine(m: Moments) -> float | None:
    """Mean over rows of cos(x_i, x~_i): a guard that sees rows of small norm, which the norms above do not."""
    return m.mean_cosine
