"""Product, residual and deep compositional codes: what is particular to each."""

from __future__ import annotations

import itertools
from pathlib import Path
from threading import Lock

import numpy as np
import pytest

from eigenselect.compressors import DCCL, EmbeddingTable, KMeans, ProductQuantization, ResidualQuantization
from eigenselect.compressors.codebooks.additive import choose, count_pairs, refit
from eigenselect.compressors.data.views import ScaledTable
from eigenselect.compressors.methods.dccl.gumbel import Sample, train
from eigenselect.compressors.payloads.coded import Coded
from eigenselect.selector.measures import score
from tests.cases import decode, gaussian

TABLE = EmbeddingTable(gaussian(500, 12))


def error(payload: Coded, table: EmbeddingTable = TABLE) -> float:
    return float(((decode(payload).astype(np.float64) - table.vectors) ** 2).sum())


# --- product ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pieces", "d"), [(4, 12), (5, 12), (12, 12), (1, 12)])
def test_each_piece_is_the_nearest_of_its_own_codewords(pieces: int, d: int) -> None:
    payload = ProductQuantization(pieces, 16).compress(TABLE, np.random.default_rng(0))
    assert isinstance(payload, Coded)
    v = payload.codebooks.shape[2]
    decoded = decode(payload)
    for i, codebook in enumerate(payload.codebooks):
        piece, got = (a[:, i * v : (i + 1) * v].astype(np.float64) for a in (TABLE.vectors, decoded))
        best = ((piece[:, None] - codebook[:, : piece.shape[1]]) ** 2).sum(axis=2).min(axis=1)
        np.testing.assert_allclose(((piece - got) ** 2).sum(axis=1), best, rtol=1e-3, atol=1e-6)


def test_one_value_pieces_are_k_means_of_each_column() -> None:
    product = error(ProductQuantization(12, 4).compress(TABLE, np.random.default_rng(0)))
    columns = sum(
        ((decode(KMeans(2).compress(EmbeddingTable(column), np.random.default_rng(0))) - column) ** 2).sum()
        for column in np.split(TABLE.vectors, 12, axis=1)
    )
    assert product == pytest.approx(columns, rel=0.05)


@pytest.mark.parametrize(
    ("pieces", "codewords", "nbytes"),
    # codes, the whole numbers that they stand for, codewords
    [
        (3, 256, 10 * 3 + 4 * 256 + 4 * 256 * 15),
        (4, 16, 10 * 2 + 4 * 16 + 4 * 16 * 16),
        (5, 8, 10 * 3 + 4 * 6 + 4 * 8 * 15),
    ],
)
def test_product_nbytes_by_hand(pieces: int, codewords: int, nbytes: int) -> None:
    assert ProductQuantization(pieces, codewords).nbytes(10, 13) == nbytes


# --- sums -------------------------------------------------------------------------------------------------------------


def test_the_first_residual_stage_is_k_means_and_each_stage_lowers_the_error() -> None:
    errors = [error(ResidualQuantization(m, 8).compress(TABLE, np.random.default_rng(0))) for m in (1, 2, 4, 8)]
    assert all(more < 0.9 * fewer for fewer, more in itertools.pairwise(errors))
    product = error(ProductQuantization(1, 8).compress(TABLE, np.random.default_rng(0)))
    assert errors[0] == pytest.approx(product, rel=0.05)


def test_chosen_codes_are_greedy_then_coordinate_wise_best() -> None:
    rng = np.random.default_rng(0)
    codebooks = rng.standard_normal((4, 8, 6)).astype(np.float32)
    rows = rng.standard_normal((50, 6)).astype(np.float32)

    def squares(codes: np.ndarray) -> np.ndarray:
        return ((rows - sum(book[code] for book, code in zip(codebooks, codes.T, strict=True))) ** 2).sum(axis=1)

    greedy = choose(rows, codebooks)
    rest = rows.copy()
    for book, code in zip(codebooks, greedy.T, strict=True):
        np.testing.assert_array_equal(code, ((rest[:, None] - book) ** 2).sum(axis=2).argmin(axis=1))
        rest -= book[code]
    codes = greedy
    for _ in range(20):
        codes = choose(rows, codebooks, codes)
    assert (squares(codes) <= squares(greedy) + 1e-5).all()
    for book, code in itertools.product(range(4), range(8)):
        other = codes.copy()
        other[:, book] = code
        assert (squares(codes) <= squares(other) + 1e-4).all()


def test_refit_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (500, 3)).astype(np.uint8)
    start = rng.standard_normal((3, 4, 12)).astype(np.float32)
    fitted = refit(ScaledTable(TABLE, np.float32(2)), codes, start).reshape(12, 12)
    ones = np.eye(4)[codes].reshape(500, 12)
    expected = ones @ np.linalg.lstsq(ones, TABLE.vectors.astype(np.float64) / 2, rcond=None)[0]
    np.testing.assert_allclose(ones @ fitted, expected, atol=1e-5)


@pytest.mark.parametrize("codewords", [4, 32])
def test_pairs_by_hand(codewords: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eigenselect.compressors.codebooks.additive.PAIRED", 7)
    codes = np.random.default_rng(0).integers(0, codewords, (40, 3)).astype(np.uint8)
    total = np.zeros((3 * codewords, 3 * codewords))
    count_pairs(codes, codewords, total, Lock())
    expected = np.zeros_like(total)
    for row in codes:
        for (i, a), (j, b) in itertools.product(enumerate(row), repeat=2):
            expected[i * codewords + a, j * codewords + b] += 1
    np.testing.assert_array_equal(total, expected)


def test_training_lowers_the_error_turn_by_turn() -> None:
    residual = error(ResidualQuantization(6, 4).compress(TABLE, np.random.default_rng(0)))
    trained = error(DCCL(books=6, codewords=4, time_limit=None).compress(TABLE, np.random.default_rng(0)))
    stopped = error(DCCL(books=6, codewords=4, time_limit=0).compress(TABLE, np.random.default_rng(0)))
    assert trained < stopped < residual
    assert trained < 0.95 * residual


def test_many_stages_are_not_fitted_by_heart() -> None:
    """Learned from as few rows as one stage needs, the later stages fit those rows alone."""
    table = EmbeddingTable(np.random.default_rng(0).standard_normal((6000, 40)).astype(np.float32))
    payload = ResidualQuantization(20, 8).compress(table, np.random.default_rng(0))
    assert error(payload, table) < 0.49**2 * float((table.vectors.astype(np.float64) ** 2).sum())


@pytest.mark.parametrize("time_limit", [None, 0])
def test_the_published_training_gives_codes_with_refitted_codebooks(time_limit: float | None) -> None:
    settings = dict(books=4, codewords=4, training="gumbel", learning_rate=0.003, epochs=30, time_limit=time_limit)
    payload = DCCL(**settings).compress(TABLE, np.random.default_rng(0))  # type: ignore[arg-type]
    total = float((TABLE.vectors.astype(np.float64) ** 2).sum())
    assert error(payload) < (total if time_limit == 0 else 0.8 * total)


@pytest.mark.parametrize(("rows", "held_out"), [(9, 0), (10, 1), (500, 50), (10_000, 640)])
def test_held_out_rows_are_not_trained_on(rows: int, held_out: int) -> None:
    sample = Sample.of(np.zeros((rows, 2), np.float32), np.random.default_rng(0))
    if held_out:
        assert len(sample.held_out) == held_out
        assert sorted([*sample.learned, *sample.held_out]) == list(range(rows))
    else:
        assert sorted(sample.learned) == sorted(sample.held_out) == list(range(rows))


def test_held_out_rows_judge_and_do_not_teach() -> None:
    rng = np.random.default_rng(0)
    one = Sample.of(rng.standard_normal((300, 6)).astype(np.float32), rng)
    other = Sample(one.rows.copy(), one.learned, one.held_out)
    other.rows[one.held_out] += 5
    encoders = [
        train(sample, (2, 4), 0.01, 1, None, np.random.default_rng(1), lambda *_: None) for sample in (one, other)
    ]
    assert encoders[0].loss < encoders[1].loss
    for a, b in zip(encoders[0].weights, encoders[1].weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_grid_of_learning_rates_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    import eigenselect.compressors.methods.dccl as dccl

    tried = []

    def spy(sample, shape, rate, *rest):
        tried.append((rate, train(sample, shape, rate, *rest)))
        return tried[-1][1]

    monkeypatch.setattr(dccl, "train", spy)
    payload = DCCL(books=2, codewords=4, training="gumbel", epochs=1).compress(TABLE, np.random.default_rng(0))
    assert [rate for rate, _ in tried] == [1e-5, 3e-5, 1e-4, 3e-4, 1e-3]
    best = min((encoder for _, encoder in tried), key=lambda encoder: encoder.loss)
    unit = np.sqrt((TABLE.vectors.astype(np.float64) ** 2).mean())
    np.testing.assert_array_equal(payload.codes.read(slice(0, 500)), best.choose(TABLE.vectors / np.float32(unit)))


@pytest.mark.parametrize(
    ("bits", "codewords", "n", "d", "books"),
    [
        (4, 4, 20_000, 50, 86),
        (2, 4, 20_000, 50, 43),
        (32 / 31, 16, 20_000, 50, 10),
        (1, 8, 400_000, 300, 94),
        (0.01, 256, 300, 13, 1),
    ],
)
def test_number_of_codes_follows_from_the_rate(bits: float, codewords: int, n: int, d: int, books: int) -> None:
    """METHODS: round(b n d / (n log2 K + 32 d K)); by hand for these."""
    assert DCCL(bits=bits, codewords=codewords).nbytes(n, d) == DCCL(books=books, codewords=codewords).nbytes(n, d)


def test_dccl_nbytes_by_hand() -> None:
    assert DCCL(books=5, codewords=16).nbytes(10, 13) == 10 * 3 + 4 * 16 + 4 * 5 * 16 * 13
    assert DCCL(books=5, codewords=8).nbytes(10, 13) == 10 * (2 + 1) + 4 * (4 + 2) + 4 * 5 * 8 * 13
    assert ResidualQuantization(5, 8).nbytes(10, 13) == DCCL(books=5, codewords=8).nbytes(10, 13)


def test_more_pieces_than_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^pieces = 14: must be at most the table's dimension d = 13$"):
        ProductQuantization(14).nbytes(20, 13)


# --- quality on a real table ------------------------------------------------------------------------------------------

GLOVE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "embeddings" / "glove.6B.50d.sub.txt.gz"


@pytest.mark.data
@pytest.mark.skipif(not GLOVE.exists(), reason=f"needs {GLOVE.name}")
def test_dccl_on_glove_is_as_good_as_measured() -> None:
    """20,000 rows at ratio 31 reach EOS .562 with two rounds of refit and conditional modes."""
    from eigenselect.selector.sources import read_table

    table = EmbeddingTable(np.ascontiguousarray(read_table(GLOVE).vectors[:20_000]))
    payload = DCCL(bits=32 / 31, codewords=16).compress(table, np.random.default_rng(0))
    assert score(table, payload)["eos"] > 0.575
