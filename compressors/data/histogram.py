"""A fine histogram of a table's entries, on which scalar quantizers are fitted in milliseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eigenselect.compressors.threads import once

BINS = 1 << 17
"""Bins over [-abs_max, abs_max]. At 256 levels, 99.8% of the bins then fall between two level boundaries."""

Doubles = npt.NDArray[np.float64]


class Histogram:
    """Count and mean of the entries in each of `BINS` equal bins over [-abs_max, abs_max].

    Because a bin keeps the mean of what fell into it, a quantization error summed over bins is exact for every
    bin that maps to one level; only the few bins that hold a level boundary are approximate.
    """

    def __init__(self, abs_max: float) -> None:
        self.abs_max = abs_max
        self._counts = np.zeros(BINS, dtype=np.int64)
        self._sums = np.zeros(BINS)
        _counted()  # compiled here: in a thread of a pool there is nobody to report to

    def counted(self, block: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.int64], Doubles]:
        """(BINS,) how many entries of `block`, each in [-abs_max, abs_max], are in each bin, and (BINS,) their sum."""
        # Scaled to [-1, 1] first: abs_max may be 1e-40 or 1e30, beyond what a float32 reciprocal can hold.
        unit = block.ravel() / np.float32(self.abs_max or 1.0)
        counts, sums = _counted()(unit)
        return counts, sums

    def add(self, counts: npt.NDArray[np.int64], sums: Doubles) -> None:
        """Add what was `counted`."""
        self._counts += counts
        self._sums += sums

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What was added, by name: `counts` and `totals`."""
        return {"counts": self._counts, "totals": self._sums}

    def occupied(self) -> tuple[Doubles, Doubles]:
        """The non-empty bins: (m,) increasing means of their entries and (m,) counts, float64."""
        used = self._counts > 0
        counts = self._counts[used].astype(np.float64)
        return self._sums[used] / counts * self.abs_max, counts

    def folded(self) -> tuple[Doubles, Doubles]:
        """As `occupied`, for the absolute values of the entries (means not sorted)."""
        means, counts = self.occupied()
        return np.abs(means), counts


@once
def _counted() -> Any:
    """Numbers from -1 to 1 -> how many are in each bin, and their sum; compiled when it is first asked for."""
    from eigenselect.compressors.compiled import compiled  # and numba, which takes a second to import

    @compiled("Tuple((int64[::1], float64[::1]))(Array(float32, 1, 'C', True))")
    def counted(unit: Any) -> Any:  # pragma: no cover
        counts, sums = np.zeros(BINS, np.int64), np.zeros(BINS)
        for value in unit:
            place = min(np.int64((value + np.float32(1)) * np.float32(BINS / 2)), np.int64(BINS - 1))
            counts[place] += 1
            sums[place] += value
        return counts, sums

    return counted
