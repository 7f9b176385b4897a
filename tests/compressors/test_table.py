"""The table: what it refuses, in which words, and what it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import eigenselect.compressors.data.table
from eigenselect.compressors import EmbeddingTable, Identity, Uniform
from eigenselect.compressors.data.table import sample_rows
from eigenselect.compressors.data.views import ProjectedTable, ScaledTable
from tests.cases import decode, gaussian

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros(5, np.float32), r"^table has 1 dimension\(s\), shape \(5,\): an embedding table is 2-D, \(n, d\)$"),
        (np.zeros((2, 2, 2), np.float32), r"^table has 3 dimension\(s\), shape \(2, 2, 2\)"),
        (np.zeros((5, 2), np.int64), r"^table holds int64: convert it to float32 or float16 first$"),
        (np.zeros((5, 2)), r"^table holds float64: convert it to float32 or float16 first$"),
        (np.zeros((5, 2), ">f4"), r"^table holds >f4: convert it to float32 or float16 first$"),
        (np.zeros((0, 2), np.float32), r"^table of shape \(0, 2\) is empty: it needs at least one row and one column$"),
        (np.zeros((5, 0), np.float32), r"^table of shape \(5, 0\) is empty"),
        (np.zeros((3, 4), np.float32), r"^table has n = 3 rows and d = 4 columns: n must be at least d; if it is tr"),
    ],
)
def test_refuses(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbeddingTable(vectors)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_names_the_first_entry_that_is_not_finite(
    bad: float, dtype: type[np.floating], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.zeros((40, 3), dtype)
    vectors[29, 2], vectors[35, 0] = bad, bad
    with pytest.raises(ValueError, match=rf"^{bad} at row 29, column 2: every entry must be finite; drop or repair"):
        EmbeddingTable(vectors)
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 7 * 3 * 4)
    with pytest.raises(ValueError, match=rf"^{bad} at row 29, column 2 \(token 't29'\): every entry"):
        EmbeddingTable(vectors, [f"t{i}" for i in range(40)])


@pytest.mark.parametrize("count", [0, 4, 6])
def test_refuses_another_number_of_tokens(count: int) -> None:
    message = rf"^{count} tokens for a table of 5 rows: one token a row is needed$"
    with pytest.raises(ValueError, match=message):
        EmbeddingTable(np.zeros((5, 2), np.float32), ["a"] * count)


def test_blocks_are_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = gaussian(100, 6)
    table = EmbeddingTable(vectors)
    assert list(table.spans()) == [slice(0, 100)]
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 30 * 6 * 4)
    assert list(table.spans()) == [slice(0, 30), slice(30, 60), slice(60, 90), slice(90, 100)]
    np.testing.assert_array_equal(np.concatenate(list(table.blocks())), vectors)
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 1)
    assert len(list(table.spans())) == 100


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_statistics(dtype: type[np.floating], monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = gaussian(100, 6).astype(dtype)
    vectors[70, 1] = -9
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 30 * 6 * 4)
    table = EmbeddingTable(vectors)
    assert table.abs_max == 9
    wide = vectors.astype(np.float64)
    np.testing.assert_allclose(table.gram, np.einsum("ij,ik->jk", wide, wide), rtol=1e-12, atol=1e-12)
    assert table.histogram.occupied()[1].sum() == 600


def test_memory_map_is_read_in_place(tmp_path: Path) -> None:
    vectors = gaussian(100, 6)
    np.save(tmp_path / "table.npy", vectors)
    mapped = np.load(tmp_path / "table.npy", mmap_mode="r")
    table = EmbeddingTable(mapped)
    assert np.shares_memory(table.read(slice(0, 100)), mapped)
    _same_payload(table, vectors)


def test_fortran_order_and_views() -> None:
    vectors = gaussian(100, 6)
    _same_payload(EmbeddingTable(np.asfortranarray(vectors)), vectors)
    doubled = np.repeat(np.repeat(vectors, 2, axis=0), 2, axis=1)
    _same_payload(EmbeddingTable(doubled[::2, ::2]), vectors)


def _same_payload(table: EmbeddingTable, vectors: np.ndarray) -> None:
    for compressor in (Identity(), Uniform(3)):
        ours = compressor.compress(table, np.random.default_rng(0))
        plain = compressor.compress(EmbeddingTable(vectors), np.random.default_rng(0))
        np.testing.assert_array_equal(decode(ours), decode(plain))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_projected_table_is_the_product(dtype: type[np.floating], monkeypatch: pytest.MonkeyPatch) -> None:
    source = EmbeddingTable(gaussian(100, 6).astype(dtype))
    matrix = gaussian(6, 2)
    projected = ProjectedTable(source, matrix)
    assert (projected.n, projected.d) == (100, 2)
    product = source.vectors.astype(np.float64) @ matrix.astype(np.float64)
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 30 * 6 * 4)
    whole = np.concatenate(list(projected.blocks()))
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, product, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(projected.read(slice(7, 9)), product[7:9], rtol=1e-5, atol=1e-5)
    assert projected.abs_max == np.abs(whole).max()
    # A block of the wider source is what must fit.
    assert list(projected.spans()) == list(source.spans())


def test_a_sample_is_random_rows_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 7 * 4 * 2)
    table = EmbeddingTable(np.stack([np.arange(50.0), np.zeros(50)], axis=1).astype(np.float16))
    first, again, other = (sample_rows(table, 20, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.dtype == np.float32 and first.shape == (20, 2)
    assert (np.diff(first[:, 0]) > 0).all()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(sample_rows(table, 51, np.random.default_rng(0)), table.vectors)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_scaled_table_is_from_minus_one_to_one(dtype: type[np.floating]) -> None:
    vectors = (gaussian(40, 6) * 3).astype(dtype)
    scaled = ScaledTable.by_largest(EmbeddingTable(vectors))
    assert scaled.unit == np.abs(vectors).max() and scaled.unit.dtype == np.float32
    assert scaled.abs_max == 1
    np.testing.assert_array_equal(scaled.read(slice(3, 9)), vectors[3:9].astype(np.float32) / scaled.unit, strict=True)
    np.testing.assert_array_equal(scaled.read_wide(slice(3, 9)), vectors[3:9].astype(np.float64) / float(scaled.unit))
    assert ScaledTable.by_largest(EmbeddingTable(np.zeros((3, 2), np.float32))).unit == 1
