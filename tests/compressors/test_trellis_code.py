from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from eigenselect.compressors import EmbeddingTable, KMeans, TrellisCode
from eigenselect.compressors.methods.trellis_code import _first, viterbi
from eigenselect.compressors.methods.trellis_code.viterbi import LANES
from tests.cases import decode


def encode(rows: np.ndarray, levels: np.ndarray, bits: int, steps: int, reach: int) -> np.ndarray:
    """The windows of rows whose values have `bits` bits each; what the row has beyond them is free."""
    squares, doubles = np.stack([levels * levels, 0 * levels]), np.stack([-2 * levels, 0 * levels])
    kinds = (np.arange(steps) >= rows.shape[1]).astype(np.int64)
    return viterbi.encode(rows, squares, doubles, kinds, np.full(steps, bits), reach)


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


@pytest.mark.parametrize(("bits", "window"), [(1, 8), (2, 8), (4, 9), (1, 15), (1, 16), (2, 15), (2, 16), (4, 16)])
def test_windows_overlap_around_the_row(bits: int, window: int) -> None:
    rng = np.random.default_rng(1)
    levels = rng.standard_normal(1 << window).astype(np.float32)
    windows = encode(rng.standard_normal((70, 30)).astype(np.float32), levels, bits, 32, 16)
    lower = windows & ((1 << (window - bits)) - 1)
    np.testing.assert_array_equal(windows >> bits, np.roll(lower, 1, axis=1))


# bits, window, digests of the windows of a table and of one whose sums are often equal, as the first encoder made them
WINDOWS = [
    (1, 8, "b726321efce3ba47", "0bc30ac7a1ce4a95"),
    (1, 14, "75db08a4ded82100", "1960fee11c65764a"),
    (2, 9, "d77d5497132c0ba0", "a818dcfff53d3ab3"),
    (2, 12, "3c8db21caa3fbe3a", "ee42ad555573cb99"),
    (4, 8, "4200afeecbae50a0", "b2c542006a1ed1fd"),
    (4, 12, "e910f3f2f5ebe5ff", "4f729a10579a1d9d"),
]


@pytest.mark.parametrize(("bits", "window", "distinct", "equal"), WINDOWS)
def test_windows_are_those_of_the_first_encoder(bits: int, window: int, distinct: str, equal: str) -> None:
    found = []
    for d, steps, grid in ((50, 56, None), (30, 32, 4)):
        rng = np.random.default_rng(window * 10 + bits)
        rows = rng.standard_normal((70 if window < 12 else 33, d)).astype(np.float32)
        levels = rng.standard_normal(1 << window)
        if grid:
            rows, levels = np.round(rows * grid) / np.float32(grid), np.round(levels * grid) / grid
        windows = encode(rows, levels.astype(np.float32), bits, steps, min(steps // 2, 6 * window))
        found.append(hashlib.sha256(windows.tobytes()).hexdigest()[:16])
    assert found == [distinct, equal]


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
        assert errors[bits] == pytest.approx(np.prod([errors[plane] for plane in product]), rel=0.25)


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


@pytest.mark.parametrize(("bits", "states"), [(1, 8), (2, 4), (4, 2)])
def test_compiled_sums_are_those_that_are_written(bits: int, states: int) -> None:
    """To the bit, infinities too: nothing is reordered or contracted, which would depend on the processor."""
    rng = np.random.default_rng(0)
    cost = rng.standard_normal((states, LANES)).astype(np.float32)
    cost[1:] = np.inf
    levels = rng.standard_normal(states << bits).astype(np.float32)
    values = rng.standard_normal(LANES).astype(np.float32)
    following, back = np.empty(cost.size, np.float32), rng.integers(0, 256, cost.size, np.uint8)
    before, room = back.reshape(states, LANES).copy(), viterbi.choice_bits(bits)
    viterbi._step(cost.ravel(), following, back, values, levels * levels, -2 * levels, bits, room, states)

    windows = np.arange(states << bits).reshape(1 << bits, states)  # by predecessor and state
    ways = cost[windows >> bits] + ((levels * levels)[windows][..., None] + values * (-2 * levels)[windows][..., None])
    assert following.tobytes() == ways.min(axis=0).tobytes()
    assert np.array_equal(back.reshape(states, LANES), (before.astype(np.int64) << room | ways.argmin(axis=0)) & 255)


def test_bits_are_shared_to_the_last_one() -> None:
    """More or fewer bits a value, all of a row's bytes used, and no value is the worse for its fewer bits."""
    table = np.random.default_rng(6).standard_normal((1500, 50)).astype(np.float32)
    errors = {}
    for row in (3, 7, 13, 16, 19):
        payload = TrellisCode(window=8, row=row).compress(EmbeddingTable(table), np.random.default_rng(0))
        bits = np.diff(payload.places, prepend=-1)
        assert bits.sum() == 8 * row == payload.part.k
        assert np.ptp(bits) <= 1
        error = ((decode(payload) - table) ** 2).mean(axis=0)
        errors[row] = float(error.mean())
        assert error[bits == bits.max()].mean() == pytest.approx(error[bits == bits.min()].mean(), rel=0.1)
        assert errors[row] < 1.4 * 2 ** (-16 * row / 50), "Shannon's limit, and a quarter of a bit"
    padded = TrellisCode(2, 8).compress(EmbeddingTable(table), np.random.default_rng(0))  # 13 bytes, four bits unused
    assert errors[13] < 0.99 * ((decode(padded) - table) ** 2).mean()


def test_the_first_levels_are_laid_out_in_parts() -> None:
    """The ways out of a state and the ways into one each have a level of every part, and with fewer ways of some."""
    for bits, window in ((2, 8), (2.56, 9), (4, 10)):
        levels = _first(window, bits, np.random.default_rng(0))
        count = 1 << window
        parts = 2 ** (int(bits) + 1)
        part = np.searchsorted(np.sort(levels)[count // parts :: count // parts], levels, side="right")
        for ways in (parts, parts // 2, parts // 4):
            out, into = part.reshape(-1, ways), part.reshape(ways, -1).T
            assert all(len(set(each * ways // parts)) == ways for each in (*out, *into))
