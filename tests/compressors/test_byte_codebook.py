from __future__ import annotations

import numpy as np
import pytest

from eigenselect.compressors import ByteCodebook, EmbeddingTable
from tests.cases import decode, gaussian
from tests.compressors.test_lloyd import squares

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(("bits", "d"), [(1, 13), (2, 13), (4, 13), (1, 5)])
def test_every_piece_gets_its_nearest_codeword_on_the_values_it_has(bits: int, d: int) -> None:
    table = gaussian(400, 16)[:, :d]
    payload = ByteCodebook(bits).compress(EmbeddingTable(np.ascontiguousarray(table)), np.random.default_rng(0))
    decoded, codebook, v = decode(payload), payload.codebook, 8 // bits
    for start in range(0, d, v):
        piece = table[:, start : start + v]
        best = squares(piece, codebook[:, : piece.shape[1]]).min(axis=1)
        got = ((piece.astype(np.float64) - decoded[:, start : start + v]) ** 2).sum(axis=1)
        np.testing.assert_allclose(got, best, rtol=1e-3, atol=1e-6)


def test_no_more_pieces_than_codewords_are_exact() -> None:
    table = gaussian(120, 16)
    payload = ByteCodebook(1).compress(EmbeddingTable(table), np.random.default_rng(0))
    unit = np.abs(table).max()
    np.testing.assert_allclose(decode(payload), table, atol=1e-6 * unit)


@pytest.mark.parametrize(("bits", "nbytes"), [(1, 10 * 2 + 8192), (2, 10 * 4 + 4096), (4, 10 * 7 + 2048)])
def test_nbytes_by_hand(bits: int, nbytes: int) -> None:
    assert ByteCodebook(bits).nbytes(10, 13) == nbytes
