"""Bands of rows: what goes where, by which order, at what price."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eigenselect.compressors.data.table
from eigenselect.compressors import (
    PCA,
    Bands,
    Blockwise,
    ByteCodebook,
    EmbeddingTable,
    ExactRows,
    Identity,
    KMeans,
    Spectral,
    Uniform,
)
from eigenselect.compressors.data.table import Table
from eigenselect.compressors.data.views import ProjectedTable, RowsTable
from eigenselect.compressors.payloads.composed import Stacked
from tests.cases import decode, gaussian
from tests.decoding import Example, check_chunks, check_everywhere, check_stored

VECTORS = gaussian(40, 6)
COUNTS = np.random.default_rng(4).integers(0, 9, 40).astype(np.float64)
"""With many a tie."""

HEAD, TAIL = ByteCodebook(4), Uniform(2, "stochastic")
"""Both draw random numbers."""


def test_each_band_is_its_rows_compressed_alone_from_one_stream() -> None:
    payload = Bands(0.25, HEAD, TAIL).compress(EmbeddingTable(VECTORS), np.random.default_rng(0))
    rng = np.random.default_rng(0)
    head = HEAD.compress(EmbeddingTable(VECTORS[:10]), rng)
    tail = TAIL.compress(EmbeddingTable(VECTORS[10:]), rng)
    assert isinstance(payload, Stacked) and payload.places is None
    np.testing.assert_array_equal(decode(payload), np.concatenate([decode(head), decode(tail)]))
    assert payload.nbytes == head.nbytes + tail.nbytes == Bands(0.25, HEAD, TAIL).nbytes(40, 6)


def test_counts_give_the_order() -> None:
    compressor = Bands(0.25, HEAD, TAIL, by="counts")
    payload = compressor.compress(EmbeddingTable(VECTORS, counts=COUNTS), np.random.default_rng(0))
    # Python's sort is stable: of equal counts the first row comes first.
    order = sorted(range(40), key=lambda row: -COUNTS[row])
    sorted_table = EmbeddingTable(VECTORS[order])
    by_order = Bands(0.25, HEAD, TAIL).compress(sorted_table, np.random.default_rng(0))
    np.testing.assert_array_equal(decode(payload)[order], decode(by_order))
    assert payload.nbytes == by_order.nbytes + 4 * 40 == compressor.nbytes(40, 6)
    assert COUNTS[order[:10]].min() >= COUNTS[order[10:]].max()


def test_counts_alike_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compressor = Bands(0.2, Identity("float16"), Bands(0.5, KMeans(3), KMeans(1), by="counts"), by="counts")
    payload = compressor.compress(EmbeddingTable(VECTORS, counts=COUNTS), np.random.default_rng(0))
    order = sorted(range(40), key=lambda row: -COUNTS[row])
    parts = [(Identity("float16"), order[:8]), (KMeans(3), order[8:24]), (KMeans(1), order[24:])]
    expected = np.empty_like(VECTORS)
    for method, rows in parts:
        expected[rows] = decode(method.compress(EmbeddingTable(VECTORS[rows]), np.random.default_rng(0)))
    example = Example(payload, expected)
    check_everywhere(example)
    check_stored(example, tmp_path)
    check_chunks(example, monkeypatch)


def test_bands_of_a_transform_share_it() -> None:
    counts = COUNTS + np.arange(40) / 100
    compressor = Spectral(norm="none", then=Bands(0.2, Identity(), Uniform(1), by="counts"))
    payload = compressor.compress(EmbeddingTable(VECTORS, counts=counts), np.random.default_rng(0))
    error = np.linalg.norm(decode(payload) - VECTORS, axis=1) / np.linalg.norm(VECTORS, axis=1)
    frequent = np.argsort(-counts)[:8]
    # Of the frequent rows, what is left is the float16 of the matrix.
    assert error[frequent].max() < 5e-3 < np.median(np.delete(error, frequent))


def test_a_transform_with_row_scales_passes_the_counts_on() -> None:
    compressor = Spectral(then=Bands(0.1, ByteCodebook(4), ByteCodebook(1), by="counts"))
    payload = compressor.compress(EmbeddingTable(VECTORS, counts=COUNTS), np.random.default_rng(0))
    assert payload.nbytes == compressor.nbytes(40, 6)


@pytest.mark.parametrize(
    ("share", "n", "frequent"),
    [(0.1, 30, 3), (0.1, 31, 4), (0.7, 10, 7), (0.3, 10, 3), (0.001, 40, 1), (0.999, 40, 39), (0.5, 2, 1), (0.5, 3, 2)],
)
def test_the_share_is_rounded_up_and_leaves_a_row_each(share: float, n: int, frequent: int) -> None:
    assert Bands(share, HEAD, TAIL).split(n) == frequent


METHODS = [
    *(Identity(), Uniform(3), KMeans(5), ByteCodebook(1), Blockwise(4, "nf4", block=16), ExactRows((0,), KMeans(1))),
    *(Spectral(), Spectral(norm="uint8", then=KMeans(2)), PCA(dim=3, keep_dimension=True)),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_every_method_compresses_fewer_rows_than_columns(method, rows: int) -> None:
    compressor = Bands(rows / 40, method, Bands(1 - rows / (40 - rows), Uniform(1), method))
    payload = compressor.compress(EmbeddingTable(VECTORS), np.random.default_rng(0))
    assert [part.n for part in payload.parts] == [rows, 40 - rows]
    assert payload.parts[1].parts[1].n == rows
    assert np.isfinite(decode(payload)).all()


@given(st.lists(st.integers(0, 39), min_size=1), st.integers(1, 40))
def test_a_table_of_rows_is_its_rows(rows: list[int], block: int) -> None:
    matrix = gaussian(6, 6, seed=1)[:, :3]
    whole = EmbeddingTable(VECTORS, counts=COUNTS)
    for source in (whole, ProjectedTable(whole, matrix)):
        view: Table = RowsTable(RowsTable(source, np.arange(40)[::-1]), 39 - np.array(rows))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 4 * 6 * block)
            assert [span.stop - span.start for span in view.spans()][:1] == [min(block, len(rows))]
            found = np.concatenate(list(view.blocks()))
        np.testing.assert_allclose(found, source.read(slice(0, 40))[rows], rtol=1e-5, atol=1e-6)
        assert (view.n, view.d) == (len(rows), source.d)
        np.testing.assert_array_equal(view.counts, COUNTS[rows])
    assert RowsTable(EmbeddingTable(VECTORS), np.arange(3)).counts is None


def test_refuses_tables() -> None:
    with pytest.raises(
        ValueError, match=r"^Bands by counts of a table without counts: give them as table\.counts=FILE"
    ):
        Bands(0.5, HEAD, TAIL, by="counts").compress(EmbeddingTable(VECTORS), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^Bands of a table of 1 row: there must be at least 2, one for each band$"):
        Bands(0.5, HEAD, TAIL).nbytes(1, 1)
    with pytest.raises(ValueError, match=r"^Bands of a table of 1 row"):
        Bands(0.01, Bands(0.5, HEAD, TAIL), TAIL).nbytes(40, 6)
