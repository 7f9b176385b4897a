from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans as SklearnKMeans

from eigenselect.compressors.codebooks.lloyd import _spread, indicators, learn, nearest


def squares(points: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """(m, K) squared distances."""
    return cdist(points.astype(np.float64), codebook.astype(np.float64), "sqeuclidean")


@pytest.mark.parametrize(("v", "count"), [(2, 256), (4, 256), (8, 256), (50, 16), (3, 2)])
def test_nearest_is_nearest(v: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(v)
    points, codebook = (rng.standard_normal((m, v)).astype(np.float32) for m in (700, count))
    monkeypatch.setattr("eigenselect.compressors.codebooks.lloyd.CHUNK_BYTES", 4 * count * 300)
    distances = squares(points, codebook)
    chosen = distances[np.arange(len(points)), nearest(points, codebook)]
    np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("v", "count"), [(2, 256), (4, 256), (8, 256), (50, 16)])
def test_learned_codebook_is_as_good_as_scikit_learn(v: int, count: int) -> None:
    points = np.random.default_rng(v).standard_normal((8000, v)).astype(np.float32)
    ours = squares(points, learn(points, count, np.random.default_rng(0))).min(axis=1).sum()
    theirs = SklearnKMeans(count, n_init=1, max_iter=30, tol=0, random_state=0).fit(points).inertia_
    assert ours <= 1.02 * theirs


def test_far_clusters_are_all_started_in() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((16, 5)) * 1000
    points = (np.repeat(centres, 100, axis=0) + rng.standard_normal((1600, 5))).astype(np.float32)
    started = squares(centres, _spread(points, 16, rng)).min(axis=1)
    assert started.max() < 100


def test_more_codewords_than_points_are_exact() -> None:
    points = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    codebook = learn(points, 64, np.random.default_rng(0))
    assert codebook.shape == (64, 3)
    assert squares(points, codebook).min(axis=1).max() < 1e-12


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_equal_points_give_equal_codewords(value: float) -> None:
    points = np.full((50, 4), value, np.float32)
    np.testing.assert_array_equal(learn(points, 8, np.random.default_rng(0)), np.full((8, 4), value, np.float32))


def test_indicators_by_hand() -> None:
    codes = np.array([[0, 2], [1, 0]], dtype=np.uint8)
    np.testing.assert_array_equal(indicators(codes, 3).toarray(), [[1, 0, 0, 0, 0, 1], [0, 1, 0, 1, 0, 0]])


@pytest.mark.parametrize("v", [1, 2, 3, 4, 5, 8])
def test_short_points_have_the_codes_of_a_product_of_matrices(v: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two codewords are as close, too: the first one of them."""
    rng = np.random.default_rng(v)
    points, codebook = (rng.integers(-3, 4, (m, v)).astype(np.float32) for m in (1000, 61))
    found = nearest(points, codebook)
    monkeypatch.setattr("eigenselect.compressors.codebooks.lloyd.SHORT", 0)
    np.testing.assert_array_equal(found, nearest(points, codebook))
