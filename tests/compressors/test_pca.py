"""Principal components: against a direct singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest

from eigenselect.compressors import PCA, EmbeddingTable, Identity, KMeans, Uniform
from eigenselect.selector.measures import score
from tests.cases import decode, gaussian


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


TABLE = EmbeddingTable(gaussian(300, 13))
U, S, VT = np.linalg.svd(TABLE.vectors.astype(np.float64), full_matrices=False)


@pytest.mark.parametrize("k", [1, 5, 13])
def test_is_u_s_up_to_signs(k: int) -> None:
    decoded = decode(PCA(dim=k).compress(TABLE, rng())).astype(np.float64)
    expected = U[:, :k] * S[:k]
    signs = np.sign((decoded * expected).sum(axis=0))
    np.testing.assert_allclose(decoded * signs, expected, atol=1e-5 * S[0] / 300**0.5)


@pytest.mark.parametrize("k", [1, 5, 13])
def test_kept_dimension_is_the_best_approximation_of_its_rank(k: int) -> None:
    decoded = decode(PCA(dim=k, keep_dimension=True).compress(TABLE, rng()))
    truncation = (U[:, :k] * S[:k]) @ VT[:k]
    assert np.linalg.norm(decoded - truncation) <= 1e-6 * np.linalg.norm(truncation)


def test_is_not_centred() -> None:
    vectors = gaussian(300, 13) + np.float32(3)
    u, s, vt = np.linalg.svd(vectors.astype(np.float64), full_matrices=False)
    decoded = decode(PCA(dim=1, keep_dimension=True).compress(EmbeddingTable(vectors), rng()))
    np.testing.assert_allclose(decoded, s[0] * np.outer(u[:, 0], vt[0]), rtol=1e-4)


@pytest.mark.parametrize("k", range(1, 14))
def test_eos_is_k_over_d(k: int) -> None:
    for keep in (False, True):
        decoded = decode(PCA(dim=k, keep_dimension=keep).compress(TABLE, rng()))
        assert score(TABLE.vectors, decoded)["eos"] == pytest.approx(k / 13, abs=1e-9)


@pytest.mark.parametrize(("rate", "k"), [(1, 13), (1.5, 9), (2, 6), (3, 4), (6, 2), (13, 1), (100, 1)])
def test_rate_gives_the_dimension(rate: float, k: int) -> None:
    assert PCA(rate=rate).k(13) == k
    by_rate, by_dim = (decode(PCA(**how).compress(TABLE, rng())) for how in ({"rate": rate}, {"dim": k}))
    np.testing.assert_array_equal(by_rate, by_dim)


def test_sign_is_fixed_by_the_largest_entry_of_a_direction() -> None:
    payload = PCA(dim=5, keep_dimension=True).compress(TABLE, rng())
    directions = payload.arrays()["matrix"]
    largest = np.abs(directions).argmax(axis=1)
    assert (directions[np.arange(5), largest] > 0).all()
    np.testing.assert_allclose(directions @ directions.T, np.eye(5), atol=1e-6)


@pytest.mark.parametrize("then", [Uniform(4), KMeans(3), Identity("float16")], ids=lambda then: then.name)
def test_then_compresses_the_factor(then: Uniform | KMeans | Identity) -> None:
    factor = decode(PCA(dim=5).compress(TABLE, rng()))
    expected = decode(then.compress(EmbeddingTable(factor), rng()))
    np.testing.assert_array_equal(decode(PCA(dim=5, then=then).compress(TABLE, rng())), expected)
    kept = PCA(dim=5, then=then, keep_dimension=True).compress(TABLE, rng())
    np.testing.assert_allclose(decode(kept), expected @ kept.arrays()["matrix"], rtol=1e-4, atol=1e-5)


def test_nbytes_by_hand() -> None:
    assert PCA(dim=3).nbytes(100, 13) == 4 * 100 * 3
    assert PCA(dim=3, keep_dimension=True).nbytes(100, 13) == 4 * 100 * 3 + 4 * 3 * 13
    assert PCA(dim=3, then=Uniform(4)).nbytes(100, 13) == 100 * 2 + 64


def test_more_dimensions_than_the_table_has_are_refused_before_any_work() -> None:
    message = r"^PCA dim = 14: must be at most the table's dimension d = 13$"
    with pytest.raises(ValueError, match=message):
        PCA(dim=14).nbytes(300, 13)
    with pytest.raises(ValueError, match=message):
        PCA(dim=14).compress(TABLE, rng())
