"""Bits by leverage: which rows get more, and what that is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenselect.compressors import EmbeddingTable, LeverageCode, Spectral, TrellisCode
from eigenselect.compressors.data.views import ProjectedTable, RowsTable
from eigenselect.compressors.methods import leverage_code
from eigenselect.compressors.payloads.composed import Interleaved
from eigenselect.selector.measures import score
from tests.cases import decode, gaussian

CODE = LeverageCode(2, 0.25, 2, window=8)


def uneven(n: int = 2000, d: int = 16) -> EmbeddingTable:
    """Rows of very different lengths."""
    lengths = np.exp(1.5 * np.random.default_rng(1).standard_normal((n, 1)))
    return EmbeddingTable((gaussian(n, d) * lengths).astype(np.float32))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("lost", [0, 3])
def test_leverages_are_the_diagonal_of_the_projection(lost: int) -> None:
    vectors = gaussian(300, 9) * 1e20
    vectors[:, :lost] = 0
    table = EmbeddingTable(vectors)
    wide = vectors.astype(np.float64)
    expected = np.diag(wide @ np.linalg.pinv(wide))
    np.testing.assert_allclose(table.leverage, expected, rtol=1e-6)
    assert table.leverage.sum() == pytest.approx(9 - lost)
    few = RowsTable(ProjectedTable(table, np.eye(9, 2, dtype=np.float32)), np.array([5, 2]))
    np.testing.assert_array_equal(few.leverage, table.leverage[[5, 2]])
    assert not EmbeddingTable(np.zeros((4, 2), np.float32)).leverage.any()


def test_rows_of_the_highest_leverage_have_the_larger_code() -> None:
    table = uneven()
    payload = CODE.compress(table, rng())
    high = np.argsort(-table.leverage)[:500]
    assert set(np.flatnonzero(payload.ranks >= 128)) == set(high)
    assert [part.part.packed.shape for part in payload.parts] == [(1500, 2), (500, 6)]
    squares = np.square(decode(payload) - table.vectors).sum(axis=1) / np.square(table.vectors).sum(axis=1)
    assert squares[high].mean() < 0.4 * np.delete(squares, high).mean()


def test_fewer_directions_are_lost_than_with_equal_bits() -> None:
    table = uneven()
    ours, equal = (Spectral(1, "uint2", code) for code in (CODE, TrellisCode(row=5, window=8)))
    assert ours.nbytes(table.n, table.d) < equal.nbytes(table.n, table.d)
    loss, lost_by_equal = (1 - score(table, each.compress(table, rng()))["eos"] for each in (ours, equal))
    assert loss < 0.95 * lost_by_equal


def test_a_larger_code_has_at_most_a_byte_a_column_and_at_least_a_byte_more() -> None:
    assert [code.row for code in LeverageCode(7, more=8).codes(8)] == [7, 8]
    assert [code.row for code in LeverageCode(1, more=0.1).codes(8)] == [1, 2]


def test_what_cannot_be_coded() -> None:
    with pytest.raises(ValueError, match=r"^LeverageCode row = 9 for 8 columns: must be at most 8, 8 bits each$"):
        LeverageCode(9).nbytes(100, 8)
    with pytest.raises(ValueError, match=r"^LeverageCode of a table of 1 row: there must be at least 2"):
        LeverageCode(1).nbytes(1, 1)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.data())
def test_the_highest_are_those_of_a_stable_sort(values: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(values) - 1))
    leverages = np.array(values, np.float64)
    expected = np.sort(np.argsort(-leverages, kind="stable")[:count])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leverage_code, "AT_ONCE", 7)
        high = leverage_code._highest(leverages, count)
        np.testing.assert_array_equal(leverage_code._ids(high, True, count), expected)
        others = leverage_code._ids(high, False, len(values) - count)
    np.testing.assert_array_equal(np.sort([*expected, *others]), np.arange(len(values)))


@pytest.mark.parametrize("n", [1, 127, 128, 129, 5_000, (1 << 20) + 300])
def test_rows_are_counted_block_by_block(n: int) -> None:
    second = rng().random(n) < 0.3
    ranks, starts = Interleaved._counted(n, lambda rows: second[rows])
    for of_second, start in enumerate(starts):
        mine = second == bool(of_second)
        before = np.cumsum(mine) - mine  # rows of the part before each
        np.testing.assert_array_equal(start, before[::128])
        np.testing.assert_array_equal(ranks[mine], (before - np.repeat(start, 128)[:n])[mine] + 128 * of_second)
