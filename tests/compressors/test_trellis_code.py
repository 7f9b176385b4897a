from __future__ import annotations

import itertools

import numpy as np
import pytest

from eigenselect.compressors import EmbeddingTable, KMeans, TrellisCode
from eigenselect.compressors.methods.trellis_code import viterbi
from eigenselect.compressors.methods.trellis_code.viterbi import LANES, encode
from tests.cases import decode


def best_ring(row: np.ndarray, levels: np.ndarray, bits: int, steps: int) -> float:
    """Least squared error over every bit string of the row, by trying them all."""
    window = len(levels).bit_length() - 1
    best = np.inf
    for stream in itertools.product(range(1 << bits), repeat=steps):
        states = [
            sum(stream[(j - back) % steps] << (bits * back) for back in range(-(-window // bits))) for j in range(steps)
        ]
        values = levels[np.array(states) % len(levels)][: len(row)]
        best = min(best, float(((row - values) ** 2).sum()))
    return best


def error_of(rows: np.ndarray, windows: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return ((rows - levels[windows[:, : rows.shape[1]]]) ** 2).sum(axis=1)


@pytest.mark.parametrize(("bits", "window", "steps", "d"), [(1, 4, 8, 8), (1, 3, 8, 6), (2, 4, 4, 4), (2, 4, 4, 3)])
def test_windows_are_nearly_the_best_of_all(bits: int, window: int, steps: int, d: int) -> None:
    rng = np.random.default_rng(0)
    levels = rng.standard_normal(1 << window).astype(np.float32)
    rows = rng.standard_normal((LANES + 5, d)).astype(np.float32)
    errors = error_of(rows, encode(rows, levels, bits, steps, steps // 2), levels)
    best = np.array([best_ring(row, levels, bits, steps) for row in rows])
    assert (errors >= best - 1e-5).all()
    # The state that the row begins in is found by a first pass, which mostly is the best one.
    assert np.isclose(errors, best, atol=1e-5).mean() > 0.6
    assert errors.sum() < 1.25 * best.sum()


@pytest.mark.parametrize(("bits", "window"), [(1, 8), (2, 8), (4, 9)])
def test_windows_overlap_around_the_row(bits: int, window: int) -> None:
    rng = np.random.default_rng(1)
    levels = rng.standard_normal(1 << window).astype(np.float32)
    windows = encode(rng.standard_normal((70, 30)).astype(np.float32), levels, bits, 32, 16)
    lower = windows & ((1 << (window - bits)) - 1)
    np.testing.assert_array_equal(windows >> bits, np.roll(lower, 1, axis=1))


def test_what_the_code_was_made_of_is_found_again() -> None:
    rng = np.random.default_rng(2)
    levels = rng.standard_normal(256).astype(np.float32)
    bits = rng.integers(0, 2, (50, 64))
    windows = sum(np.roll(bits, back, axis=1) << back for back in range(8))
    rows = levels[windows]
    np.testing.assert_array_equal(levels[encode(rows, levels, 1, 64, 32)], rows)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(3)
    levels, rows = rng.standard_normal(256).astype(np.float32), rng.standard_normal((80, 24)).astype(np.float32)
    whole = encode(rows, levels, 1, 24, 12)
    np.testing.assert_array_equal(
        np.concatenate([encode(rows[i : i + 1], levels, 1, 24, 12) for i in range(80)]), whole
    )


def test_each_plane_is_about_what_those_before_it_leave() -> None:
    """A Gaussian is successively refinable: the errors of the planes multiply (Equitz and Cover 1991)."""
    table = np.random.default_rng(5).standard_normal((1500, 64)).astype(np.float32)
    errors = {}
    for bits in (1, 2, 3, 4, 6, 7):
        payload = TrellisCode(bits, 8).compress(EmbeddingTable(table), np.random.default_rng(0))
        errors[bits] = float(((decode(payload) - table) ** 2).mean())
    for bits, product in ((3, (2, 1)), (6, (4, 2)), (7, (4, 2, 1))):
        assert errors[bits] == pytest.approx(np.prod([errors[plane] for plane in product]), rel=0.2)


@pytest.mark.parametrize(("bits", "published"), [(1, 0.7), (2, 0.91)])
def test_a_gaussian_is_coded_near_the_published_error(bits: int, published: float) -> None:
    """Marcellin and Fischer 1990, Table: 256 states reach 5.56 dB (0.722) at 1 bit and 11.04 dB (0.921) at 2 bits.

    A window of 8 bits is half of their states or less, and 1,500 rows teach less than theirs.
    """
    table = np.random.default_rng(4).standard_normal((1500, 128)).astype(np.float32)
    errors = {}
    for compressor in (TrellisCode(bits, 8), TrellisCode(bits, 9), KMeans(bits)):
        payload = compressor.compress(EmbeddingTable(table), np.random.default_rng(0))
        errors[compressor.name] = float(((decode(payload) - table) ** 2).mean())
    first, second, scalar = errors.values()
    assert first < 1 - published
    assert second < first < scalar


@pytest.mark.parametrize(
    ("bits", "d", "nbytes"), [(1, 13, 10 * 2 + 1024), (2, 13, 10 * 4 + 1024), (4, 13, 10 * 7 + 1024)]
)
def test_nbytes_by_hand(bits: int, d: int, nbytes: int) -> None:
    assert TrellisCode(bits, 8).nbytes(10, d) == nbytes


def test_every_cost_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled sums take every number for finite, so that an infinity may come out as anything."""
    costs: list[float] = []
    step = viterbi._step

    def watched(cost, following, *rest) -> None:
        step(cost, following, *rest)
        costs.extend((np.abs(cost).max(), np.abs(following).max()))

    monkeypatch.setattr(viterbi, "_step", watched)
    rows = np.random.default_rng(0).uniform(-1, 1, (3, 6)).astype(np.float32)
    levels = np.linspace(-1, 1, 256, dtype=np.float32)
    found = encode.py_func(rows, levels, 4, 6, 3)
    assert np.isfinite(costs).all() and max(costs) < 1.01e30
    np.testing.assert_array_equal(found, encode(rows, levels, 4, 6, 3))
