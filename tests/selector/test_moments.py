"""What the one pass over the rows keeps: ill-conditioned tables, columns of every size, any blocks, little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import eigenselect.compressors.data.table
from eigenselect.compressors import PCA, EmbeddingTable, Identity, Uniform
from eigenselect.selector.measures import MEASURES, overlap, score
from eigenselect.selector.measures import moments as module
from eigenselect.selector.measures.moments import Moments, Sample, table_rank


def orthonormal(rng, n, d):
    return np.linalg.qr(rng.standard_normal((n, d)))[0]


def spans(rng, n=1500, d=24):
    """Orthonormal (n, d) bases at known principal angles, and the eigenspace overlap of their spans."""
    w = orthonormal(rng, n, 2 * d)
    angles = np.linspace(0, 0.3, d)
    return (
        w[:, :d],
        w[:, :d] * np.cos(angles) + w[:, d:] * np.sin(angles),
        float((np.cos(angles) ** 2).mean()),
    )


def by_sums(x, y, eps):
    """What the sums of squares alone would give, without the checks of `moments`."""
    x, error = x.astype(np.float64), y.astype(np.float64) - x.astype(np.float64)
    roots = module._roots(x.T @ x, x.T @ error, error.T @ error)
    if roots is None:
        return None
    own, none = roots[0] + roots[1], np.zeros(0)
    beside = {"mean_cosine": 1.0, "x_mean": none, "y_mean": none, "sample": Sample(none, none, none)}
    return Moments(n=len(x), x=roots[0], y=own, error=roots[1], eps=eps, **beside)


# Condition 1e8: U diag(σ) Vᵀ, whose overlap with U~ diag(σ) V~ᵀ is that of U with U~ whatever σ and V are.


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e8])
@pytest.mark.parametrize("turned", [False, True])
def test_eos_of_ill_conditioned_float64_tables(condition, turned):
    rng = np.random.default_rng(0)
    u, other, truth = spans(rng)
    s, v = np.geomspace(1, 1 / condition, 24), orthonormal(rng, 24, 24)
    x, y = u * s @ v.T, other * s @ (orthonormal(rng, 24, 24) if turned else v).T
    assert abs(score(x, y)["eos"] - truth) < 1e-9


@pytest.mark.parametrize("reverse", [False, True])
def test_eos_of_column_scaled_float32_tables(reverse):
    rng = np.random.default_rng(0)
    u, other, truth = spans(rng)
    s = np.geomspace(1, 1e-8, 24)
    x, y = (u * s).astype(np.float32), (other * (s[::-1] if reverse else s)).astype(np.float32)
    assert np.linalg.cond(x.astype(np.float64)) == pytest.approx(1e8, rel=1e-3)
    assert score(EmbeddingTable(x), y)["eos"] == pytest.approx(truth, abs=1e-6)
    assert table_rank(EmbeddingTable(x)) == 24


def test_sums_alone_would_be_wrong_at_condition_1e8():
    """The condition check is what saves the answers of the two tests above."""
    rng = np.random.default_rng(0)
    u, other, truth = spans(rng)
    s = np.geomspace(1, 1e-8, 24)
    x, y = u * s @ orthonormal(rng, 24, 24).T, other * s @ orthonormal(rng, 24, 24).T
    found = by_sums(x, y, float(np.finfo(np.float64).eps))
    assert found is not None
    assert not found.well_conditioned
    assert abs(overlap.eos(found) - truth) > 1e-3
    # Cholesky does not mind scaled columns of the table; a candidate scaled the other way is still off.
    x, y = (u * s).astype(np.float32), (other * s[::-1]).astype(np.float32)
    found = by_sums(x, y, float(np.finfo(np.float32).eps))
    assert found is not None
    assert not found.well_conditioned
    assert abs(overlap.eos(found) - truth) > 1e-6


def test_well_conditioned_tables_take_one_pass_and_others_two(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 8), dtype=np.float32)
    y = x + 0.1 * rng.standard_normal(x.shape, dtype=np.float32)
    calls = []
    whole = module._tsqr
    monkeypatch.setattr(module, "_tsqr", lambda blocks: calls.append(1) or whole(blocks))
    score(x, y)
    assert not calls
    score(x * np.geomspace(1, 1e-4, 8, dtype=np.float32), y)
    assert len(calls) == 1
    score(x, y * np.geomspace(1, 1e-4, 8, dtype=np.float32))
    assert len(calls) == 2


def test_both_ways_agree_where_both_hold(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 8)) * np.geomspace(1, 0.01, 8) @ orthonormal(rng, 8, 8)
    y = x + 0.01 * rng.standard_normal(x.shape)
    sums = score(x, y)
    monkeypatch.setattr(module, "CONDITION_LIMIT", 0)
    assert score(x, y) == pytest.approx(sums, rel=1e-10)


# Columns of very different length in the candidate.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [[0], [2, 5], list(range(8))])
def test_zero_columns_are_no_directions(columns, dtype):
    """y = x + error is then rounding, which must not be scaled up to directions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 8)).astype(dtype)
    y = x.copy()
    y[:, columns] = 0
    scores = score(x, y)
    assert scores["eos"] == pytest.approx(1 - len(columns) / 8, abs=1e-12)
    assert scores["reconstruction_error"] == pytest.approx(np.linalg.norm(x[:, columns].astype(np.float64)), rel=1e-12)
    if len(columns) < 8:
        back = score(y, x)
        assert back["eos"] == pytest.approx(1 - len(columns) / 8, abs=1e-12)
        assert back["reconstruction_error"] == pytest.approx(scores["reconstruction_error"], rel=1e-12)


def test_a_zero_column_in_another_dimension_is_no_direction():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 8), dtype=np.float32), rng.standard_normal((500, 5), dtype=np.float32)
    without = score(x, np.delete(y, 2, axis=1))
    y[:, 2] = 0
    assert score(x, y) == pytest.approx(without, rel=1e-11)


@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12])
@pytest.mark.parametrize("k", [8, 5])
def test_short_columns_are_directions_like_any_other(size, k):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((500, 8)), rng.standard_normal((500, k))
    truth = score(x, y)["eos"]
    y[:, 0] *= size
    assert score(x.astype(np.float32), y.astype(np.float32))["eos"] == pytest.approx(truth, abs=1e-7)


def test_entries_that_underflow_in_float16_take_their_directions_with_them():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 8), dtype=np.float32)
    x[:, 0] *= np.float32(1e-9)
    table = EmbeddingTable(x)
    payload = Identity("float16").compress(table, rng)
    assert not payload.read(slice(None))[:, 0].any()
    assert score(table, payload)["eos"] == pytest.approx(7 / 8, abs=1e-6)
    tiny = EmbeddingTable(x * np.float32(1e-9))
    assert score(tiny, Identity("float16").compress(tiny, rng))["eos"] == 0


# Shapes.


@pytest.mark.parametrize("n", [1, 5, 8])
def test_no_more_rows_than_columns(n):
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((n, 8)), rng.standard_normal((n, 8))
    assert score(x, y)["eos"] == pytest.approx(1, abs=1e-12)  # both span everything there is
    assert score(x, y[:, :1])["eos"] == pytest.approx(1 / n, abs=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 5, 8])
def test_table_rank(rank):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((300, rank)) @ rng.standard_normal((rank, 8))).astype(np.float32)
    assert table_rank(EmbeddingTable(x)) == rank
    whole = rng.integers(-3, 4, (300, rank)) @ rng.integers(-3, 4, (rank, 8))  # exact in float16
    assert table_rank(EmbeddingTable(whole.astype(np.float16))) == np.linalg.matrix_rank(whole)


# Blocks.


@pytest.mark.parametrize("limit", [module.CONDITION_LIMIT, 0], ids=["sums", "qr"])
@pytest.mark.parametrize("compressor", [Uniform(2), PCA(dim=3), Identity("float16")], ids=lambda c: c.name)
def test_scores_do_not_depend_on_the_block_size(compressor, limit, monkeypatch):
    monkeypatch.setattr(module, "CONDITION_LIMIT", limit)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((301, 12), dtype=np.float32) * np.geomspace(1, 0.1, 12, dtype=np.float32)
    payload = compressor.compress(EmbeddingTable(x), rng)
    whole = score(EmbeddingTable(x), payload)
    for rows in (1, 7, 100):
        monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", rows * 12 * 4)
        assert len(list(EmbeddingTable(x).spans())) == -(-301 // rows)
        again = score(EmbeddingTable(x), payload)
        # Sums of squares hold half the digits of the rounding that Δ2 of principal components is made of.
        loose = {"delta2": 1e-7} if isinstance(compressor, PCA) and limit else {}
        for key, value in whole.items():
            assert again[key] == pytest.approx(value, rel=1e-10, abs=loose.get(key, 1e-13)), key


@pytest.mark.parametrize("limit", [module.CONDITION_LIMIT, 0], ids=["sums", "qr"])
def test_scores_are_the_same_bits_on_any_number_of_workers(limit, monkeypatch):
    monkeypatch.setattr(module, "CONDITION_LIMIT", limit)
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 1 << 12)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5000, 12), dtype=np.float32)
    payload = Uniform(2).compress(EmbeddingTable(x), rng)
    found = []
    for workers in (1, 2, 4):
        monkeypatch.setattr(eigenselect.compressors.data.table, "WORKERS", workers)
        found.append(score(EmbeddingTable(x), payload))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("limit", [module.CONDITION_LIMIT, 0], ids=["sums", "qr"])
def test_memory_is_a_few_blocks(limit, monkeypatch):
    """Not the 51 MB of the table in float64, the 26 MB of a decoded candidate or the 320 GB of an n x n matrix."""
    monkeypatch.setattr(module, "CONDITION_LIMIT", limit)
    monkeypatch.setattr(eigenselect.compressors.data.table, "BLOCK_BYTES", 1 << 17)
    monkeypatch.setattr(eigenselect.compressors.data.table, "WORKERS", 4)  # as many as there ever are
    rng = np.random.default_rng(0)
    table = EmbeddingTable(rng.standard_normal((200_000, 32), dtype=np.float32))
    payload = Uniform(4).compress(table, rng)
    tracemalloc.start()
    try:
        scores = score(table, payload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    block = 2 * eigenselect.compressors.data.table.BLOCK_BYTES  # in float64
    assert set(scores) > set(MEASURES)
    assert peak < 32 * block < 10e6
