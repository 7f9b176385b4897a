"""The histogram: counts and means of bins, at any scale."""

from __future__ import annotations

import numpy as np
import pytest

from eigenselect.compressors.data.histogram import BINS, Histogram

pytestmark = pytest.mark.quick


def of(values: np.ndarray) -> Histogram:
    histogram = Histogram(float(np.abs(values).max()))
    histogram.add(*histogram.counted(values))
    return histogram


def test_by_hand() -> None:
    means, counts = of(np.array([[-1.0, 0.5, 0.5], [0.0, 1.0, -1.0]], np.float32)).occupied()
    np.testing.assert_array_equal(means, [-1, 0, 0.5, 1])
    np.testing.assert_array_equal(counts, [2, 1, 2, 1])


def test_values_of_one_bin_are_known_by_their_mean() -> None:
    half_a_bin = 1 / BINS
    means, counts = of(np.array([[1.0, 0.25, 0.25 + half_a_bin]], np.float32)).occupied()
    np.testing.assert_array_equal(counts, [2, 1])
    np.testing.assert_allclose(means, [0.25 + half_a_bin / 2, 1], rtol=1e-15)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1.0, 1e30, 3e38])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_bins_keep_every_count_and_the_sum(scale: float, dtype: type[np.floating]) -> None:
    if dtype is np.float16:
        scale = float(np.clip(scale, 1e-3, 1e3))
    unit = np.clip(np.random.default_rng(0).standard_normal((500, 7)) / 4, -1, 1)
    values = (unit * scale).astype(dtype)
    means, counts = of(values).occupied()
    assert counts.sum() == values.size
    assert (np.diff(means) > 0).all()
    np.testing.assert_allclose(means @ counts, values.astype(np.float64).sum(), rtol=1e-4)
    # Sorted, every value lies within a bin's width of its bin's mean.
    width = 2 * np.abs(values.astype(np.float64)).max() / BINS
    off = np.sort(values.astype(np.float64), axis=None) - np.repeat(means, counts.astype(int))
    assert np.abs(off).max() <= 1.01 * width


def test_blocks_add_up() -> None:
    values = np.random.default_rng(1).uniform(-2, 2, (100, 6)).astype(np.float32)
    values[40, 2] = 2
    blockwise = Histogram(2.0)
    for start in range(0, 100, 30):
        blockwise.add(*blockwise.counted(values[start : start + 30]))
    for ours, whole in zip(blockwise.occupied(), of(values).occupied(), strict=True):
        np.testing.assert_allclose(ours, whole, rtol=1e-12)


def test_folded_is_of_absolute_values() -> None:
    means, counts = of(np.array([[-1.0, 0.5, -0.5, 0.5]], np.float32)).folded()
    assert sorted(zip(means, counts, strict=True)) == [(0.5, 1), (0.5, 2), (1, 1)]


def test_all_zero() -> None:
    means, counts = of(np.zeros((4, 3), np.float32)).occupied()
    np.testing.assert_array_equal(means, [0])
    np.testing.assert_array_equal(counts, [12])


def test_bins_are_those_that_numpy_counts() -> None:
    values = np.random.default_rng(2).standard_normal((300, 11)).astype(np.float32)
    unit = values.ravel() / np.abs(values).max()
    place = np.minimum((unit + 1) * np.float32(BINS / 2), BINS - 1).astype(int)
    counts, sums = np.bincount(place, minlength=BINS), np.bincount(place, unit, BINS)
    found, number = of(values).occupied()
    np.testing.assert_array_equal(number, counts[counts > 0])
    np.testing.assert_array_equal(found, sums[counts > 0] / counts[counts > 0] * float(np.abs(values).max()))
