from __future__ import annotations

import numpy as np
import pytest

from eigenselect.compressors import EmbeddingTable, KMeans, Spectral, TransformCode, TrellisCode
from eigenselect.compressors.methods.transform_code import _rates
from eigenselect.selector.measures import score
from tests.cases import decode

SIGMA = np.geomspace(1, 0.02, 40)


def steep(n: int = 3000) -> EmbeddingTable:
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.standard_normal((40, 40)))
    return EmbeddingTable((rng.standard_normal((n, 40)) * SIGMA @ rotation).astype(np.float32))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("row", [2, 10, 20, 39])
def test_bits_are_those_of_reverse_water_filling(power: float, row: int) -> None:
    """No bit is worth more anywhere else: the weighted errors are equal where there are bits, smaller where not."""
    rates = _rates(SIGMA, power, row)
    assert rates.sum() == pytest.approx(8 * row, abs=1e-6)
    assert rates.min() >= 0 and rates.max() <= 8
    left = SIGMA**power * 4.0**-rates
    inside = (rates > 0) & (rates < 8)
    assert np.ptp(np.log(left[inside])) < 1e-6
    assert (left[rates == 0] <= left[inside].max() * (1 + 1e-6)).all()
    assert (left[rates == 8] >= left[inside].min() * (1 - 1e-6)).all()


def test_lost_directions_get_what_the_others_cannot_take() -> None:
    rates = _rates(np.array([1, 1e-9, 0, 0]), 1, 3)
    np.testing.assert_allclose(rates, [8, 16 / 3, 16 / 3, 16 / 3])


def test_squared_error_is_less_at_equal_bytes() -> None:
    """By about the ratio of the geometric mean of the variances to what half whitening leaves."""
    table = steep()
    errors = {}
    for code in (TransformCode(10, 2, 8), Spectral(0.5, "uint2", TrellisCode(window=8, row=10))):
        errors[code.name] = score(table, code.compress(table, rng()))["reconstruction_error_relative"] ** 2
    ours, half = errors.values()
    assert ours < 0.75 * half


def test_few_levels_of_the_directions_are_made_up_for() -> None:
    table = steep()
    fine, coarse = (
        score(table, code.compress(table, rng()))["reconstruction_error_relative"]
        for code in (TransformCode(30, window=8), TransformCode(30, window=8, matrix=KMeans(4)))
    )
    assert coarse < 1.15 * fine


def test_zero_bits_are_zero() -> None:
    table = steep()
    payload = TransformCode(3, 2, 8).compress(table, rng())
    scales = decode(payload.matrix.scale)[:, 0]
    bits = np.diff(payload.part.part.places, prepend=-1)
    assert (bits == 0).any() and ((scales == 0) == (bits == 0)).all()
