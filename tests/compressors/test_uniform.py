"""Uniform quantization: the clip threshold against two oracles, the grid and the roundings by hand and by count."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from eigenselect.compressors import EmbeddingTable, Payload, Uniform
from eigenselect.compressors.methods import uniform as module
from eigenselect.compressors.methods.uniform import clip_threshold
from tests.cases import decode, gaussian

ALL_BITS = range(1, 9)


def _tiny() -> np.ndarray:
    """The largest entry is 0.004: below the absolute tolerance of the published search."""
    table = gaussian(2000, 50, seed=1)
    return table * np.float32(0.004 / np.abs(table).max())


SHAPES: dict[str, np.ndarray] = {
    "gaussian": gaussian(2000, 50),
    "heavy-tailed": np.random.default_rng(0).laplace(size=(2000, 50)).astype(np.float32),
    "tiny": _tiny(),
    "half": gaussian(2000, 50, seed=2).astype(np.float16),
}

on_shapes = pytest.mark.parametrize("shape", SHAPES)
on_bits = pytest.mark.parametrize("bits", ALL_BITS)


def levels_of(r: float, bits: int) -> np.ndarray:
    """The grid as it is defined: −r + j·2r/(2ᵇ−1), float64."""
    return np.array([-r + j * 2 * r / (2**bits - 1) for j in range(2**bits)])


def error(sorted_values: np.ndarray, r: float, bits: int) -> float:
    """‖Q(X) − X‖_F with Q the nearest level of the grid of r, from prefix sums over the sorted entries."""
    levels = levels_of(r, bits)
    ends = np.searchsorted(sorted_values, (levels[1:] + levels[:-1]) / 2)
    cells = np.split(sorted_values, ends)
    return float(sum(((cell - level) ** 2).sum() for cell, level in zip(cells, levels, strict=True)) ** 0.5)


def golden(loss: Callable[[float], float], high: float) -> float:
    """Golden section on [0, high] as in a textbook, to 1% of the upper end or of a thousandth of the first."""
    low, width = 0.0, high
    phi = (1 + 5**0.5) / 2
    while high - low > 0.01 * max(high, width / 1000):
        a, b = high - (high - low) / phi, low + (high - low) / phi
        low, high = (low, b) if loss(a) < loss(b) else (a, high)
    return (low + high) / 2


@on_bits
@on_shapes
def test_clip_threshold_is_that_of_a_search_on_the_table(shape: str, bits: int) -> None:
    table = EmbeddingTable(SHAPES[shape])
    values = np.sort(table.vectors.astype(np.float64), axis=None)
    direct = golden(lambda r: error(values, r, bits), table.abs_max)
    found = clip_threshold(table.histogram, bits)
    assert found == pytest.approx(direct, rel=1e-9)


@on_bits
@on_shapes
def test_clip_threshold_is_as_good_as_the_best_of_2000(shape: str, bits: int) -> None:
    table = EmbeddingTable(SHAPES[shape])
    values = np.sort(table.vectors.astype(np.float64), axis=None)
    sums = [np.concatenate([[0.0], np.cumsum(values**power)]) for power in range(3)]

    def brute(r: float) -> float:
        levels = levels_of(r, bits)
        ends = np.searchsorted(values, (levels[1:] + levels[:-1]) / 2)
        count, first, second = (np.diff(total[np.concatenate([[0], ends, [len(values)]])]) for total in sums)
        return float((second - 2 * levels * first + levels**2 * count).sum())

    best = min(brute(r) for r in np.linspace(0, table.abs_max, 2001)[1:]) ** 0.5
    assert error(values, clip_threshold(table.histogram, bits), bits) <= best * (1 + 1e-3)


def test_clip_threshold_of_a_very_heavy_tail_is_as_good_as_the_best() -> None:
    table = EmbeddingTable(np.random.default_rng(0).standard_t(2, (2000, 50)).astype(np.float32))
    values = np.sort(table.vectors.astype(np.float64), axis=None)
    best = min(error(values, r, 1) for r in np.geomspace(0.1, table.abs_max, 500))
    assert error(values, clip_threshold(table.histogram, 1), 1) <= best * (1 + 1e-3)


@on_bits
@on_shapes
def test_every_entry_goes_to_the_nearest_level(shape: str, bits: int) -> None:
    table = EmbeddingTable(SHAPES[shape][:300, :13])
    r = float(np.float32(clip_threshold(table.histogram, bits)))
    decoded = decode(Uniform(bits).compress(table, np.random.default_rng(0))).astype(np.float64)
    levels = levels_of(r, bits)
    to_levels = np.abs(decoded[..., None] - levels)
    # Levels are stored, and those of planes added, in float32.
    assert to_levels.min(axis=-1).max() <= 2**-22 * r
    x = table.vectors.astype(np.float64)
    nearest = np.abs(x[..., None] - levels).min(axis=-1)
    assert (np.abs(x - decoded) <= nearest + 2**-21 * r).all()


def fixed(monkeypatch: pytest.MonkeyPatch, r: float) -> None:
    monkeypatch.setattr(module, "clip_threshold", lambda histogram, bits: r)


def values_of(payload: Payload) -> list[float]:
    return [float(value) for value in decode(payload)[:, 0]]


def test_grid_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, 3.0)
    table = EmbeddingTable(np.array([[-7], [-3], [-1.2], [0.9], [2.1], [3], [50]], np.float32))
    assert values_of(Uniform(1).compress(table, np.random.default_rng(0))) == [-3, -3, -3, 3, 3, 3, 3]
    assert values_of(Uniform(2).compress(table, np.random.default_rng(0))) == [-3, -3, -1, 1, 3, 3, 3]


def test_ties_go_to_the_even_code_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the levels -3, -1, 1, 3 (codes 0..3), -2 lies between 0 and 1, 0 between 1 and 2, 2 between 2 and 3.
    fixed(monkeypatch, 3.0)
    table = EmbeddingTable(np.array([[-2], [0], [2]], np.float32))
    assert values_of(Uniform(2).compress(table, np.random.default_rng(0))) == [-3, 1, 1]


@on_bits
def test_zero_is_a_tie_of_every_grid(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    top = 2**bits - 1
    fixed(monkeypatch, float(top))  # levels are the odd numbers -top..top, zero is between -1 and 1
    table = EmbeddingTable(np.zeros((3, 2), np.float32))
    # Their codes are 2**(b-1) - 1 and 2**(b-1): the even one is the upper, but for one bit (codes 0 and 1).
    assert values_of(Uniform(bits).compress(table, np.random.default_rng(0))) == [-1 if bits == 1 else 1] * 3


@on_bits
def test_decoded_levels_are_equally_spaced_integers(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    top = 2**bits - 1
    fixed(monkeypatch, float(top))
    every = np.arange(-top, top + 1, 2, dtype=np.float32)[:, None]
    payload = Uniform(bits).compress(EmbeddingTable(every), np.random.default_rng(0))
    np.testing.assert_array_equal(decode(payload), every)


@pytest.mark.parametrize("bits", [1, 2, 3, 7])
def test_stochastic_rounding_is_unbiased_between_neighbours(bits: int) -> None:
    seeds = 300
    table = EmbeddingTable(gaussian(60, 9, seed=3))
    r = float(np.float32(clip_threshold(table.histogram, bits)))
    step = 2 * r / (2**bits - 1)
    target = np.clip(table.vectors.astype(np.float64), -r, r)
    position = np.clip((target + r) / step, 0, 2**bits - 1)
    below = np.minimum(np.floor(position), 2**bits - 2)
    share = position - below  # the probability of the upper neighbour

    drawn = np.zeros((seeds, *target.shape))
    for seed in range(seeds):
        decoded = decode(Uniform(bits, "stochastic").compress(table, np.random.default_rng(seed)))
        drawn[seed] = (decoded + r) / step - below  # 0 or 1
    assert np.minimum(np.abs(drawn), np.abs(drawn - 1)).max() <= 1e-4

    certain = (share < 1e-5) | (share > 1 - 1e-5)
    np.testing.assert_allclose(drawn.mean(axis=0)[certain], share[certain], atol=2e-4)
    sigma = np.sqrt(share * (1 - share) / seeds)[~certain]
    # A binomial count with few expected successes has no normal tail: compare the others entry by entry.
    z = (drawn.mean(axis=0) - share)[~certain] / sigma
    usual = (share * seeds > 20)[~certain] & ((1 - share) * seeds > 20)[~certain]
    assert usual.sum() > 100
    assert np.abs(z[usual]).max() < 5
    # Together: the mean of z has deviation 1/sqrt(m), that of z² has sqrt(2/m).
    m = usual.sum()
    assert abs(z[usual].mean()) < 4 / m**0.5
    assert abs((z[usual] ** 2).mean() - 1) < 4 * (2 / m) ** 0.5


def test_threshold_is_that_of_nearest_rounding_whichever_is_used() -> None:
    table = EmbeddingTable(gaussian(300, 13))
    largest = [
        np.abs(decode(Uniform(2, rounding).compress(table, np.random.default_rng(0)))).max()
        for rounding in ("nearest", "stochastic")
    ]
    assert largest[0] == largest[1]


def test_all_zero_table_decodes_to_zero() -> None:
    table = EmbeddingTable(np.zeros((5, 3), np.float32))
    for bits in ALL_BITS:
        assert not decode(Uniform(bits).compress(table, np.random.default_rng(0))).any()


@pytest.mark.parametrize(
    ("bits", "nbytes"),
    [(1, 10 * 2 + 8), (2, 10 * 4 + 16), (3, 10 * (4 + 2) + 16 + 8), (4, 10 * 7 + 64), (8, 10 * 13 + 1024)],
)
def test_nbytes_by_hand(bits: int, nbytes: int) -> None:
    assert Uniform(bits).nbytes(10, 13) == nbytes
