"""How well a measure predicts performance: May et al. (2019), Tables 1, 2 and 17, with bootstrap intervals. Pure.

Everywhere higher is better: who has a measure of which less is better turns its sign. A candidate is one point, the
mean over its seeds. Measures that agree to `TIE_DIGITS` digits are tied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from eigenselect.selector.decision.selection import TIE_DIGITS

Floats = npt.NDArray[np.float64]
Pairs = npt.NDArray[np.bool_]

SAME_SIZE = 0.05
"""Two candidates are of equal bytes when the larger one has at most this share more than the smaller one."""

RESAMPLES = 1_000

CONFIDENCE = 0.95

SMALLEST = 3
"""Candidates below which nothing is said: two are always in perfect order, or in the reverse."""

CHUNK = 1 << 16
"""Pairs that are compared at once: they stay in the cache of a core."""


@dataclass(frozen=True)
class Interval:
    """A statistic with its bootstrap interval; None where it is undefined.

    Attributes:
        value: of the candidates as they are.
        low: lower end of the 95% percentile interval.
        high: upper end.
    """

    value: float | None
    low: float | None
    high: float | None


def rounded(values: Floats) -> Floats:
    """`values` to `TIE_DIGITS` significant digits."""
    with np.errstate(divide="ignore"):
        place = np.where(values == 0, 0, np.floor(np.log10(np.abs(values))))
    unit = 10.0 ** (place - TIE_DIGITS + 1)
    scaled: Floats = np.round(values / unit) * unit
    return scaled


def spearman(measure: Floats, performance: Floats) -> Floats:
    """Rank correlation over the last axis, (..., m) -> (...); tied values share their mean rank; NaN of a constant."""
    x, y = (rankdata(values, axis=-1) for values in (measure, performance))
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        correlation: Floats = (x * y).sum(axis=-1) / np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return correlation


def selection_error(measure: Floats, performance: Floats, pairs: Pairs) -> Floats:
    """Share of the pairs of which the measure picks the worse one.

    A pair that performs equally cannot be chosen wrongly, and counts as right. Of a pair that the measure ties either
    may be picked: it counts as half an error when they perform differently.

    Args:
        measure: (..., m).
        performance: (..., m).
        pairs: (..., m, m), symmetric: which pairs count.

    Returns:
        (...), NaN where no pair counts.
    """
    return _share(_wrong(_differences(measure), _differences(performance)), pairs)


def largest_loss(measure: Floats, performance: Floats, pairs: Pairs) -> Floats:
    """The most performance that picking by the measure loses on any pair; a tie is picked as badly as can be.

    Arguments and result are those of `selection_error`; 0 where the measure picks no worse one.
    """
    return _worst(_lost(_differences(measure), _differences(performance)), pairs)


def _wrong(ahead: Floats, better: Floats) -> npt.NDArray[np.int8]:
    """(..., m, m): of each pair twice its error, from how far the measure and the performance are ahead."""
    picked, right = np.sign(ahead).astype(np.int8), np.sign(better).astype(np.int8)
    wrong: npt.NDArray[np.int8] = np.abs(right) - picked * right
    return wrong


def _share(wrong: npt.NDArray[np.int8], pairs: Pairs) -> Floats:
    with np.errstate(invalid="ignore"):
        share: Floats = (wrong * pairs).sum(axis=(-2, -1), dtype=np.int64) / 2 / pairs.sum(axis=(-2, -1))
    return share


def _lost(ahead: Floats, better: Floats) -> Floats:
    """(..., m, m): what is lost by picking the first of a pair where the second is not behind."""
    return np.where(ahead <= 0, better, 0)


def _worst(lost: Floats, pairs: Pairs) -> Floats:
    worst: Floats = np.where(pairs.any(axis=(-2, -1)), (lost * pairs).max(axis=(-2, -1)), np.nan)
    return worst


def _differences(values: Floats) -> Floats:
    """(..., m, m): how far each is above each other one."""
    return values[..., :, None] - values[..., None, :]


def equal_bytes(nbytes: npt.NDArray[np.int64]) -> Pairs:
    """(m, m): which candidates are of equal bytes, within `SAME_SIZE`."""
    larger = np.maximum(nbytes[:, None], nbytes)
    smaller = np.minimum(nbytes[:, None], nbytes)
    return larger - smaller <= SAME_SIZE * smaller


def _all(measure: Floats, performance: Floats, different: Pairs, near: Pairs) -> dict[str, Floats]:
    """Every statistic of (b, m) points; `different` (b, m, m) pairs of two candidates, `near` those of equal bytes."""
    ahead, better = _differences(measure), _differences(performance)
    wrong, lost = _wrong(ahead, better), _lost(ahead, better)
    return {
        "spearman": spearman(measure, performance),
        "selection_error": _share(wrong, different),
        "selection_error_equal_bytes": _share(wrong, near),
        "largest_loss": _worst(lost, different),
        "largest_loss_equal_bytes": _worst(lost, near),
    }


STATISTICS = (
    "spearman",
    "selection_error",
    "selection_error_equal_bytes",
    "largest_loss",
    "largest_loss_equal_bytes",
)
"""Keys of `samples`."""


Samples = dict[str, Floats]
"""Statistic -> its value, and after it that of each resample: (1 + RESAMPLES,), NaN where undefined."""


def samples(
    measure: Mapping[str, Sequence[float]],
    performance: Mapping[str, Sequence[float]],
    nbytes: Mapping[str, int],
    seed: int = 0,
) -> Samples:
    """Every statistic of a measure on a task, and of resampled candidates, each with its seeds resampled.

    Two copies of a candidate are not a pair. The same candidates with the same seeds are resampled in the same way,
    whatever the measure and the task.

    Args:
        measure: candidate -> the measure at each of its seeds, higher is better; candidates without it are left out.
        performance: candidate -> what was reached, at the same seeds in the same order.
        nbytes: candidate -> bytes.
        seed: of the resampling.
    """
    names = [name for name in performance if name in measure]
    m = len(names)
    if m < SMALLEST:
        return dict.fromkeys(STATISTICS, np.full(1 + RESAMPLES, np.nan))
    counts = np.array([len(performance[name]) for name in names])
    x, y = (np.zeros((m, counts.max())) for _ in range(2))
    for row, name in enumerate(names):
        x[row, : counts[row]] = measure[name]
        y[row, : counts[row]] = performance[name]
    different = ~np.eye(m, dtype=np.bool_)
    near = equal_bytes(np.array([nbytes[name] for name in names])) & different

    def statistics(chosen: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64]) -> dict[str, Floats]:
        """Of the candidates `chosen` (b, m), each with the mean of its seeds `drawn` (b, m, seeds)."""
        used = np.arange(x.shape[1]) < counts[chosen][..., None]
        means = [(each[chosen[..., None], drawn] * used).sum(axis=-1) / counts[chosen] for each in (x, y)]
        pair = (chosen[..., :, None], chosen[..., None, :])
        return _all(rounded(means[0]), rounded(means[1]), different[pair], near[pair])

    everyone, each_seed = np.arange(m)[None], np.arange(x.shape[1])[None, None]
    rng = np.random.default_rng(seed)
    chosen = rng.integers(m, size=(RESAMPLES, m))
    drawn = np.floor(rng.random((RESAMPLES, *x.shape)) * counts[chosen][..., None]).astype(np.int64)
    step = max(1, CHUNK // (m * m))
    parts = [
        statistics(everyone, np.broadcast_to(each_seed, (1, *x.shape))),
        *(statistics(chosen[at : at + step], drawn[at : at + step]) for at in range(0, RESAMPLES, step)),
    ]
    return {key: np.concatenate([part[key] for part in parts]) for key in STATISTICS}


def interval(values: Floats) -> Interval:
    """A statistic, the first of the values, with the percentile interval of its resamples that have it."""
    if np.isnan(values[0]):
        return Interval(None, None, None)
    found = values[1:][~np.isnan(values[1:])]
    if not len(found):
        return Interval(float(values[0]), None, None)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(float(values[0]), float(low), float(high))
