"""Influences against the derivatives that they are, and intervals against the spread over tables."""

from __future__ import annotations

import numpy as np
import pytest

from eigenselect.compressors import EmbeddingTable, Uniform
from eigenselect.compressors.data import table as table_module
from eigenselect.selector.measures import Measures, Reference, confidence, overlap
from eigenselect.selector.measures import moments as moments_module
from eigenselect.selector.measures.confidence import half_width, influences, replicates, standard_error
from eigenselect.selector.measures.moments import moments

EXPONENTS = [0, 0.5, 1, 2, 3]


def overlaps(m):
    """The replicates of EOS and of the weighted score."""
    return [replicates(m, influence) for influence in influences(m, [1])]


def moments_of(x, y):
    return moments(EmbeddingTable(x.astype(np.float32)), lambda rows: y.astype(np.float32)[rows], aligned=False)


def weighted_share(x, y, weights, p):
    """Σ σᵢᵖ ‖U~ᵀuᵢ‖² / Σ σᵢᵖ of rows that count `weights` times; by direct SVD, of full rank."""
    root = np.sqrt(weights)[:, None]
    u, s, _ = np.linalg.svd(root * x, full_matrices=False)
    other = np.linalg.qr(root * y)[0]
    return s**p @ ((u.T @ other) ** 2).sum(axis=1) / (s**p).sum()


def pair(rng, n, d, k):
    x = (rng.standard_normal((n, d)) * np.geomspace(1, 0.1, d)).astype(np.float32)
    return x, (x @ rng.standard_normal((d, k)) + 0.3 * rng.standard_normal((n, k))).astype(np.float32)


@pytest.mark.parametrize("by_sums", [True, False])
@pytest.mark.parametrize(("d", "k"), [(6, 6), (6, 4), (4, 7)])
def test_influences_are_derivatives_by_the_weight_of_a_row(d, k, by_sums, monkeypatch):
    if not by_sums:
        monkeypatch.setattr(moments_module, "CONDITION_LIMIT", 0)
    x, y = pair(np.random.default_rng(d * k), 200, d, k)
    found = influences(moments_of(x, y), EXPONENTS)
    wide, other, step = x.astype(np.float64), y.astype(np.float64), 1e-4
    for row in (0, 3, 199):
        weights = np.ones(200)
        for p, influence in zip([0, *EXPONENTS], [found[0] * max(d, k) / d, *found[1:]], strict=True):
            weights[row] = 1 + step
            above = weighted_share(wide, other, weights, p)
            weights[row] = 1 - step
            below = weighted_share(wide, other, weights, p)
            assert influence[row] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-9), (row, p)
    # The score does not depend on how many times all rows are counted.
    assert [each.sum() for each in found] == pytest.approx(np.zeros(len(found)), abs=1e-8)


def test_influences_where_singular_values_are_equal():
    """There the divided differences are 0/0 and have a limit: nearby tables have nearly the same influences."""
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.standard_normal((100, 5)))[0]
    y = u @ rng.standard_normal((5, 3)) + 0.1 * rng.standard_normal((100, 3))
    equal = influences(moments_of(u, y), EXPONENTS)
    nearly = influences(moments_of(u * [1, 1.001, 0.999, 1.002, 1], y), EXPONENTS)
    for p, (one, other) in enumerate(zip(equal, nearly, strict=True)):
        assert np.abs(one - other).max() < 0.01 * np.abs(one).max(), p


def test_what_has_no_spread():
    x, y = pair(np.random.default_rng(0), 300, 5, 5)
    for found in overlaps(moments_of(x, 2 * x)):
        assert half_width(found) < 1e-6
    assert overlaps(moments_of(np.zeros_like(x), y)) == []  # undefined
    # A candidate without a direction has 0 whatever the rows are.
    assert [half_width(found) for found in overlaps(moments_of(x, np.zeros_like(y)))] == [0, 0]
    # One row is a table, and has no spread to tell.
    assert overlaps(moments_of(x[:1, :1], y[:1, :1])) == [(), ()]
    one = EmbeddingTable(np.ones((1, 1), np.float32))
    assert Measures()(Reference.of(one), one.read).replicates == {}


def test_columns_that_repeat_have_influences():
    """A candidate of lower rank than columns: its coordinates are those of its span."""
    x, y = pair(np.random.default_rng(0), 300, 5, 3)
    once = influences(moments_of(x, y), [1])
    twice = influences(moments_of(x, np.concatenate([y, y[:, :1]], axis=1)), [1])
    for one, other in zip(once, twice, strict=True):
        assert other == pytest.approx(one, abs=1e-6 * np.abs(one).max())


@pytest.mark.parametrize(("block", "workers"), [(1 << 24, 1), (4 * 5 * 7, 4), (4 * 5 * 1000, 3)])
def test_the_sample_does_not_depend_on_blocks_or_threads(block, workers, monkeypatch):
    x, y = pair(np.random.default_rng(0), 2500, 5, 4)
    monkeypatch.setattr(table_module, "BLOCK_BYTES", block)
    monkeypatch.setattr(table_module, "WORKERS", workers)
    found = moments_of(x, y)
    assert np.array_equal(found.sample.x, x[::3]) and np.array_equal(found.sample.y, y[::3])
    assert len(found.sample.x) <= moments_module.SAMPLED


def quantized(x, step):
    """A fixed rule, so that the rows of a candidate are as independent as the table's."""
    return np.clip(np.round(x / step), -3, 3) * step


@pytest.mark.parametrize("n", [500, 2500])  # every row is sampled; every third
def test_intervals_cover_what_tables_of_other_rows_have(n):
    """Of 150 tables about 95% of the intervals hold the mean over the tables: for each score, and for differences."""
    rng = np.random.default_rng(n)
    scores, widths = [], []
    for _ in range(150):
        x = rng.standard_normal((n, 5)) * np.geomspace(1, 0.1, 5)
        both = [moments_of(x, quantized(x, step)) for step in (0.3, 0.35)]
        first, second = ([overlap.eos(m), overlap.weighted_eos(m, 1)] for m in both)
        scores.append([*first, *np.subtract(first, second)])
        one, other = map(overlaps, both)
        widths.append([*map(half_width, one), *map(half_width, np.subtract(one, other))])
    away = np.abs(scores - np.mean(scores, axis=0))
    covered = (away <= widths).mean(axis=0)
    assert (0.88 <= covered).all() and (covered <= 0.99).all(), covered
    # Pairs are sharper than two intervals apart.
    assert np.mean(widths, axis=0)[2] < 0.8 * np.hypot(*2 * [np.mean(widths, axis=0)[0]])


def test_the_spread_of_a_sorted_table_is_that_of_its_rows():
    """Half of the rows kept, then half of them noisy: what differs between the halves is part of the spread too."""
    rng = np.random.default_rng(0)
    x, _ = pair(rng, 2000, 5, 5)
    noise = np.where(np.arange(2000) < 1000, 0, 0.5)[:, None] * rng.standard_normal((2000, 5))
    found = moments_of(x, x + noise)
    for given, values in zip(influences(found, [1]), overlaps(found), strict=True):
        assert given[:500].mean() > given[500:].mean() + 0.5 * given.std()
        by_rows = np.sqrt((given**2).sum() * 2000 / len(given))
        assert standard_error(values) == pytest.approx(by_rows, rel=0.15)


def test_replicates_are_short_and_read_back_as_written():
    x, y = pair(np.random.default_rng(0), 3000, 5, 4)
    table = EmbeddingTable(x.astype(np.float32))
    found = Measures(exponents=[2])(Reference.of(table), lambda rows: y.astype(np.float32)[rows]).replicates
    assert list(found) == ["eos", "weighted_eos_p2", "neighbour_overlap"]  # of columns of its own
    for values in found.values():
        assert len(values) == confidence.GROUPS
        assert all(value == float(f"{value:.6g}") for value in values)
        assert standard_error(values) == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)))
        assert 1.99 < half_width(values) / standard_error(values) < 2  # Student's t of 63 degrees of freedom


def test_a_payload_has_them_too():
    x, _ = pair(np.random.default_rng(0), 300, 8, 8)
    table = EmbeddingTable(x)
    found = [overlaps(moments(table, Uniform(bits).compress(table, np.random.default_rng(0)).read)) for bits in (1, 8)]
    assert all(half_width(coarse) > 10 * half_width(fine) > 0 for coarse, fine in zip(*found, strict=True))
