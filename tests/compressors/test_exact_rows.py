"""Exact rows: which rows, at what price, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenselect.compressors import ByteCodebook, EmbeddingTable, ExactRows, Identity, KMeans, Spectral, Uniform
from eigenselect.compressors.payloads.composed import Replaced
from eigenselect.compressors.payloads.dense import Dense
from tests.cases import decode, gaussian

TABLE = EmbeddingTable(gaussian(40, 6))


@given(st.sets(st.integers(0, 39), min_size=1))
def test_the_listed_rows_are_the_tables_and_the_others_the_methods(rows: set[int]) -> None:
    listed, others = sorted(rows), sorted({*range(40)} - rows)
    payload = ExactRows(tuple(rows), KMeans(2)).compress(TABLE, np.random.default_rng(0))
    alone = KMeans(2).compress(TABLE, np.random.default_rng(0))
    np.testing.assert_array_equal(decode(payload)[listed], TABLE.vectors[listed].astype(np.float16))
    np.testing.assert_array_equal(decode(payload)[others], decode(alone)[others])
    assert payload.nbytes == alone.nbytes + len(rows) * (4 + 2 * 6)


def test_a_float16_table_is_kept_to_the_bit() -> None:
    table = EmbeddingTable(gaussian(40, 6).astype(np.float16))
    payload = ExactRows((5, 39), Uniform(1)).compress(table, np.random.default_rng(0))
    np.testing.assert_array_equal(decode(payload)[[5, 39]], table.vectors[[5, 39]].astype(np.float32))


def test_inside_a_transform_the_rows_are_exact_in_its_coordinates() -> None:
    codes = Spectral(then=ByteCodebook(4)).compress(TABLE, np.random.default_rng(0))
    exact = Spectral(then=ExactRows((5, 39), ByteCodebook(4))).compress(TABLE, np.random.default_rng(0))
    error = [np.linalg.norm(decode(payload) - TABLE.vectors, axis=1) for payload in (codes, exact)]
    # What is left is the float16 of the matrix, the scales and the rows.
    assert (error[1][[5, 39]] < 3e-3 * np.linalg.norm(TABLE.vectors[[5, 39]], axis=1)).all()
    others = np.delete(np.arange(40), [5, 39])
    np.testing.assert_array_equal(error[1][others], error[0][others])


def test_rows_are_one_setting_in_any_order() -> None:
    assert ExactRows((3, 1), Uniform(2)) == ExactRows([1, 3], Uniform(2))  # type: ignore[arg-type]
    assert ExactRows((3, 1)).then == ByteCodebook(2)


def test_payload_by_hand() -> None:
    table = EmbeddingTable(np.array([[1, 2], [3, 4.0001], [5, 6]], np.float32))
    payload = ExactRows((2, 1), Identity()).compress(table, np.random.default_rng(0))
    assert isinstance(payload, Replaced) and isinstance(payload.part, Dense)
    assert payload.rows.dtype == np.int32 and payload.rows.tolist() == [1, 2]
    np.testing.assert_array_equal(payload.table, np.array([[3, 4], [5, 6]], np.float16), strict=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), r"ExactRows rows = \(\): must be a list of at least one id"),
        (0, r"ExactRows rows = 0: must be a list of at least one id; in a pool \[\[0, 1\]\]"),
        ("01", r"ExactRows rows = '01': must be a list"),
        ((-1,), r"ExactRows rows hold -1: each must be an id, an integer of at least 0"),
        ((1.0,), r"ExactRows rows hold 1\.0: each must be an id"),
        ((True,), r"ExactRows rows hold True: each must be an id"),
        (("[PAD]",), r"ExactRows rows hold '\[PAD\]': each must be an id"),
        ((2, 7, 2), r"ExactRows rows hold 2 more than once: name each id once"),
    ],
)
def test_refuses_rows(rows, message) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        ExactRows(rows, Uniform(2))


def test_refuses_an_id_that_the_table_does_not_have() -> None:
    assert ExactRows((39,), Uniform(1)).nbytes(40, 6) == Uniform(1).nbytes(40, 6) + 16
    with pytest.raises(ValueError, match=r"^ExactRows rows hold 40: the table's ids go from 0 to 39$"):
        ExactRows((40,), Uniform(1)).compress(TABLE, np.random.default_rng(0))


def test_refuses_what_float16_does_not_hold() -> None:
    vectors = gaussian(40, 6)
    vectors[[3, 7], 2] = [65504, -65505]
    table = EmbeddingTable(vectors)
    ExactRows((3,), Uniform(1)).compress(table, np.random.default_rng(0))
    message = r"^row 7 has an entry of 65505, float16 holds up to 65504: leave it out of the exact rows, or scale"
    with pytest.raises(ValueError, match=message):
        ExactRows((3, 7), Uniform(1)).compress(table, np.random.default_rng(0))
