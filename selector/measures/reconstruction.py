"""Measures of the entries: defined only for candidates whose columns are the table's own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eigenselect.selector.measures.moments import Moments, cosines_of

Doubles = npt.NDArray[np.float64]


def reconstruction_error(m: Moments) -> float | None:
    """‖X − X~‖_F (May et al. 2019, section 2.2)."""
    return None if m.error is None else float(np.linalg.norm(m.error))


def reconstruction_error_relative(m: Moments) -> float | None:
    """‖X − X~‖_F / ‖X‖_F; undefined for an all-zero table."""
    size = float(np.linalg.norm(m.x))
    return None if m.error is None or size == 0 else float(np.linalg.norm(m.error)) / size


def error_influence(m: Moments) -> Doubles | None:
    """(r,) of each sampled row on `reconstruction_error_relative`: with weight 1 in the sums, (e² − ρ² x²) / 2ρ‖X‖²."""
    ratio = reconstruction_error_relative(m)
    if ratio is None:
        return None
    x, y = (each.astype(np.float64) for each in (m.sample.x, m.sample.y))
    errors, lengths = ((y - x) ** 2).sum(axis=1), (x**2).sum(axis=1)
    return np.asarray((errors - ratio**2 * lengths) / (2 * (ratio or 1) * np.linalg.norm(m.x) ** 2))


def mean_cosine(m: Moments) -> float | None:
    """Mean over rows of cos(x_i, x~_i): a guard that sees rows of small norm, which the norms above do not."""
    return m.mean_cosine


def cosine_influence(m: Moments) -> Doubles | None:
    """(r,) of each sampled row on `mean_cosine`: (cos − mean) / n."""
    if m.mean_cosine is None:
        return None
    found: Doubles = cosines_of(m.sample.x.astype(np.float64), m.sample.y.astype(np.float64))
    return (found - m.mean_cosine) / m.n
