"""k-means over scalars: against scikit-learn, against the exact optimum, and at its own fixed point."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans as Reference

from eigenselect.compressors import EmbeddingTable, KMeans
from tests.cases import decode, gaussian


def levels_and_error(values: np.ndarray, bits: int) -> tuple[np.ndarray, float]:
    """The distinct decoded levels, increasing, and Σ(x~ − x)²."""
    table = EmbeddingTable(values.astype(np.float32).reshape(-1, 8))
    decoded = decode(KMeans(bits).compress(table, np.random.default_rng(0)))
    assert np.isfinite(decoded).all()
    return np.unique(decoded), float(((decoded.astype(np.float64) - table.vectors) ** 2).sum())


def optimum(values: np.ndarray, k: int) -> float:
    """The least Σ(x~ − x)² with k levels: dynamic programming over the sorted values, cells being intervals."""
    v = np.sort(values.astype(np.float32).astype(np.float64))
    first, second = (np.concatenate([[0.0], np.cumsum(v**power)]) for power in (1, 2))
    start, end = np.ogrid[: len(v) + 1, : len(v) + 1]
    spread = second[end] - second[start] - (first[end] - first[start]) ** 2 / np.maximum(end - start, 1)
    cost = np.where(end >= start, spread, np.inf)
    best = cost[0]
    for _ in range(k - 1):
        best = (best[:, None] + cost).min(axis=0)
    return float(best[-1])


def drawn(shape: str, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return {
        "gaussian": lambda: rng.standard_normal(count),
        "laplace": lambda: rng.laplace(size=count),
        "uniform": lambda: rng.uniform(1e-3, 4e-3, count),
        "two-humped": lambda: rng.standard_normal(count) + np.where(np.arange(count) % 2, 4, -4),
    }[shape]()


def test_the_optimum_by_hand() -> None:
    assert optimum(np.array([0, 1, 10, 12, 100]), 3) == pytest.approx(0.5 + 2)
    assert optimum(np.array([0, 1, 10, 12, 100]), 5) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("shape", ["gaussian", "laplace", "uniform", "two-humped"])
def test_few_levels_are_near_the_exact_optimum(shape: str, bits: int) -> None:
    values = drawn(shape, 1600)
    least = optimum(values, 2**bits)
    _, error = levels_and_error(values, bits)
    assert least * (1 - 1e-6) <= error <= least * (1 + 5e-3)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shape", ["gaussian", "laplace"])
def test_inertia_is_that_of_scikit_learn_or_better(shape: str, bits: int) -> None:
    values = drawn(shape, 20_000)
    _, error = levels_and_error(values, bits)
    column = values.astype(np.float32).astype(np.float64)[:, None]
    reference = Reference(2**bits, n_init=1, max_iter=300, tol=1e-4, random_state=0).fit(column).inertia_
    assert error <= reference * (1 + 1e-3)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("shape", ["gaussian", "laplace", "uniform", "two-humped"])
def test_is_a_fixed_point(shape: str, bits: int) -> None:
    values = drawn(shape, 20_000).astype(np.float32).astype(np.float64)
    levels, error = levels_and_error(values, bits)
    levels = levels.astype(np.float64)
    # Every entry has the nearest level ...
    nearest = np.abs(values[:, None] - levels).argmin(axis=1)
    assert error == pytest.approx(((levels[nearest] - values) ** 2).sum(), rel=1e-5)
    # ... and every level is the mean of its entries, but for the entries of the histogram bins that hold its ends.
    assert 0.95 * 2**bits <= len(levels) <= 2**bits  # an empty cell stays empty
    counts = np.bincount(nearest)
    ends = np.concatenate([[values.min()], (levels[1:] + levels[:-1]) / 2, [values.max()]])
    bin_width = 2 * np.abs(values).max() / 2**17
    near = (np.abs(values[:, None] - ends) <= bin_width).sum(axis=0)
    allowed = (near[1:] + near[:-1]) / counts * np.diff(ends) + 1e-6 * np.abs(values).max()
    off = np.abs(levels - np.bincount(nearest, values) / counts)
    assert (off <= allowed).all()
    assert (allowed <= np.diff(ends)).mean() > 0.9  # an allowance that says something


@pytest.mark.parametrize("bits", [3, 4, 7])
def test_fewer_distinct_values_than_levels_are_exact(bits: int) -> None:
    values = np.array([-2.5, 0, 0.125, 1, 7], np.float32)
    table = EmbeddingTable(np.random.default_rng(0).choice(values, (40, 6)))
    np.testing.assert_array_equal(decode(KMeans(bits).compress(table, np.random.default_rng(0))), table.vectors)


def test_separated_clusters_are_found() -> None:
    centres = np.array([-50, -1, 4, 90])
    values = (centres[:, None] + np.linspace(-0.1, 0.1, 50)).ravel()
    levels, _ = levels_and_error(values, 2)
    np.testing.assert_allclose(levels, centres, atol=1e-5)


@pytest.mark.parametrize("bits", range(1, 9))
def test_entries_near_the_largest_float_do_not_overflow(bits: int) -> None:
    unit = gaussian(300, 13)
    vectors = unit / np.abs(unit).max() * np.float32(3.3e38)
    decoded = decode(KMeans(bits).compress(EmbeddingTable(vectors), np.random.default_rng(0)))
    same = decode(KMeans(bits).compress(EmbeddingTable(vectors * np.float32(2**-40)), np.random.default_rng(0)))
    np.testing.assert_allclose(decoded * np.float32(2**-40), same, rtol=1e-6)


@pytest.mark.parametrize(("bits", "nbytes"), [(1, 10 * 2 + 8), (3, 10 * (4 + 2) + 16 + 8 + 32), (8, 10 * 13 + 1024)])
def test_nbytes_by_hand(bits: int, nbytes: int) -> None:
    assert KMeans(bits).nbytes(10, 13) == nbytes
