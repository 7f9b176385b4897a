"""The measures against their definitions, their closed forms and their laws."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from eigenselect.compressors import PCA, EmbeddingTable, Identity, KMeans, Uniform
from eigenselect.selector.measures import DELTAS, MEASURES, NEIGHBOURS, Measures, score
from eigenselect.selector.measures import moments as moments_module
from eigenselect.selector.measures.moments import moments
from tests.selector import oracle

WEIGHTED = ["weighted_eos_p1", "weighted_eos_p2"]
"""Of the default exponents."""

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WORDPIECE = DATA / "embeddings" / "minilm_l6_wordpiece_384d.fp16.safetensors"
needs_data = [
    pytest.mark.data,
    pytest.mark.skipif(not WORDPIECE.exists(), reason="the WordPiece table is not at ../shared/data"),
]

RELATIVE = 1e-9

ROUNDING = {"eigenspace_instability": 1e-14, "pooled_cosine_error": 1e-14, "neighbour_overlap": 1e-3}
"""Of shares of which nearly all cancels, and of cosines in float32 that are tied but for their last digit."""


def agree(scores, expected, *, but=()):
    """Every expected key is scored, no other is, and the values agree to RELATIVE."""
    assert set(scores) == set(expected)
    assert {type(value) for value in scores.values()} == {float}  # a numpy scalar prints as np.float64(...)
    for key in set(expected) - set(but):
        assert scores[key] == pytest.approx(expected[key], rel=RELATIVE, abs=ROUNDING.get(key, 1e-300)), key


def agree_inside_the_span(monkeypatch, table, candidate, expected):
    """For principal components, which lie in the table's span but for float32 rounding.

    Their Δ2, 1e-5 and less, is made of that rounding alone. It is what sums of squares leave when nearly all cancels:
    of the pencil's eigenvalue 1 + Δ2, √eps times the table's condition number may be wrong. QR has all the digits of
    it, and every other measure has them either way.
    """
    by_sums = score(table, candidate)
    agree(by_sums, expected, but=["delta2"])
    condition = np.linalg.cond(table.vectors.astype(np.float64))
    assert abs(by_sums["delta2"] - expected["delta2"]) <= np.sqrt(np.finfo(np.float64).eps) * condition
    assert condition < 100 and 0 < expected["delta2"] < 1e-4
    with monkeypatch.context() as patch:
        patch.setattr(moments_module, "CONDITION_LIMIT", 0)
        agree(score(table, candidate), expected)


def orthonormal(rng, n, d):
    return np.linalg.qr(rng.standard_normal((n, d)))[0]


def noisy(rng, x, size):
    return x + size * rng.standard_normal(x.shape)


# Against the definitions, on 60 rows.


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("size", [3.0, 0.3, 1e-2, 1e-4])
def test_noisy_tables_agree_with_the_definitions(seed, size):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 12)) * np.geomspace(1, 0.05, 12) @ orthonormal(rng, 12, 12)
    y = noisy(rng, x, size)
    agree(score(x, y), oracle.measures(x, y, 12, 12))


@pytest.mark.parametrize("k", [1, 5, 11, 13, 20])
def test_another_dimension_agrees_with_the_definitions(k):
    rng = np.random.default_rng(k)
    x, y = rng.standard_normal((60, 12)), rng.standard_normal((60, k))
    expected = oracle.measures(x, y, 12, k)
    assert "reconstruction_error" not in expected
    agree(score(x, y), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    "compressor",
    [
        Uniform(1),
        Uniform(2),
        Uniform(2, "stochastic"),
        Uniform(3),
        Uniform(8),
        KMeans(2),
        KMeans(5),
        PCA(dim=12, then=Uniform(4)),
        PCA(dim=12, keep_dimension=True),
    ],
    ids=lambda compressor: compressor.name,
)
def test_payloads_agree_with_the_definitions(compressor, dtype):
    rng = np.random.default_rng(1)
    table = EmbeddingTable((rng.standard_normal((60, 12)) * np.geomspace(1, 0.1, 12)).astype(dtype))
    payload = compressor.compress(table, rng)
    x, y = table.vectors.astype(np.float64), payload.read(slice(None)).astype(np.float64)
    agree(score(table, payload), oracle.measures(x, y, 12, payload.k, aligned=payload.aligned))


def test_coordinates_of_their_own_are_not_compared_entry_by_entry(monkeypatch):
    rng = np.random.default_rng(1)
    table = EmbeddingTable(rng.standard_normal((60, 12)).astype(np.float32))
    payload = PCA(rate=1).compress(table, rng)
    decoded = payload.read(slice(None))
    assert payload.k == table.d and not payload.aligned
    entries = {
        "reconstruction_error",
        "reconstruction_error_relative",
        "mean_cosine",
        "pooled_cosine_error",
        "ridge_alignment",
    }
    for limit in (moments_module.CONDITION_LIMIT, 0):  # by sums and by QR
        monkeypatch.setattr(moments_module, "CONDITION_LIMIT", limit)
        scores = score(table, payload)
        assert scores["eos"] == pytest.approx(1, abs=1e-9) and scores["pip_loss_relative"] < 1e-6
        # An array says nothing of what its columns are: as many as the table's are taken for them.
        as_array = score(table, decoded)
        assert set(as_array) - set(scores) == entries and as_array["reconstruction_error_relative"] > 0.1
        assert entries < set(score(table, PCA(rate=1, keep_dimension=True).compress(table, rng)))


@pytest.mark.parametrize("keep_dimension", [True, False])
@pytest.mark.parametrize("k", [1, 4, 11])
def test_principal_components_agree_with_the_definitions(k, keep_dimension, monkeypatch):
    rng = np.random.default_rng(1)
    table = EmbeddingTable((rng.standard_normal((60, 12)) * np.geomspace(1, 0.1, 12)).astype(np.float32))
    payload = PCA(dim=k, keep_dimension=keep_dimension).compress(table, rng)
    x, y = table.vectors.astype(np.float64), payload.read(slice(None)).astype(np.float64)
    agree_inside_the_span(monkeypatch, table, payload, oracle.measures(x, y, 12, k))


@pytest.mark.parametrize("rank", [1, 7, 11])
def test_rank_deficient_candidates_agree_with_the_definitions(rank):
    rng = np.random.default_rng(rank)
    x = rng.standard_normal((60, 12))
    y = noisy(rng, x, 0.3) @ rng.standard_normal((12, rank)) @ rng.standard_normal((rank, 12))
    agree(score(x, y), oracle.measures(x, y, 12, rank))


@pytest.mark.parametrize("rank", [1, 7, 11])
def test_rank_deficient_tables_agree_with_the_definitions(rank):
    rng = np.random.default_rng(rank)
    x = rng.standard_normal((60, rank)) @ rng.standard_normal((rank, 12))
    y = noisy(rng, x, 0.3)
    agree(score(x, y), oracle.measures(x, y, rank, 12))


# Against the definitions, on 2,000 rows of a real table.


@pytest.fixture(scope="module")
def wordpiece():
    with safe_open(WORDPIECE, framework="numpy") as file:
        return file.get_tensor("embeddings.word_embeddings.weight")


@pytest.mark.parametrize(
    "compressor",
    [
        *(pytest.param(c, marks=needs_data, id=c.name) for c in (Uniform(1), Uniform(4))),
        *(pytest.param(c, marks=[*needs_data, pytest.mark.slow], id=c.name) for c in (Uniform(2), Uniform(8))),
        *(pytest.param(c, marks=needs_data, id=c.name) for c in (KMeans(4), Identity("float16"))),
        pytest.param(PCA(dim=384, keep_dimension=True), marks=needs_data, id="pca-rounded-only"),
    ],
)
def test_wordpiece_rows_agree_with_the_definitions(wordpiece, compressor):
    # The table is float16: times 0.7 in float32, so that a float16 candidate is close and not equal.
    table = EmbeddingTable(wordpiece[:2000].astype(np.float32) * np.float32(0.7))
    payload = compressor.compress(table, np.random.default_rng(0))
    x, y = table.vectors.astype(np.float64), payload.read(slice(None)).astype(np.float64)
    agree(score(table, payload), oracle.measures(x, y, 384, 384, large=True))


@pytest.mark.parametrize("k", [pytest.param(48, marks=needs_data)])
def test_wordpiece_principal_components_agree_with_the_definitions(wordpiece, k, monkeypatch):
    table = EmbeddingTable(wordpiece[:2000].astype(np.float32))
    payload = PCA(dim=k, keep_dimension=True).compress(table, np.random.default_rng(0))
    x, y = table.vectors.astype(np.float64), payload.read(slice(None)).astype(np.float64)
    agree_inside_the_span(monkeypatch, table, payload, oracle.measures(x, y, 384, k, large=True))


# Closed forms.


def test_dropping_the_largest_direction_has_the_closed_forms_of_table_3():
    rng = np.random.default_rng(0)
    n, d = 200, 20
    u, v = orthonormal(rng, n, d), orthonormal(rng, d, d)
    s = np.linspace(3, 0.5, d)
    kept = np.where(np.arange(d) == 0, 0, s)
    scores = score(u * s @ v.T, u * kept @ v.T)
    ridge = s[-1] ** 2
    assert scores["eos"] == pytest.approx(1 - 1 / d, rel=1e-12)
    assert scores["reconstruction_error_relative"] == pytest.approx(s[0] / np.sqrt((s**2).sum()), rel=1e-12)
    assert scores["pip_loss_relative"] == pytest.approx(s[0] ** 2 / np.sqrt((s**4).sum()), rel=1e-12)
    assert scores["projected_reconstruction_error"] == pytest.approx(s[0] ** 2, rel=1e-12)
    assert scores["delta1"] == pytest.approx(s[0] ** 2 / (s[0] ** 2 + ridge), rel=1e-12)
    assert scores["delta2"] == pytest.approx(0, abs=1e-12)
    assert scores["delta_max"] == pytest.approx((s[0] ** 2 + ridge) / ridge, rel=1e-11)


@pytest.mark.parametrize("keep_dimension", [True, False])
@pytest.mark.parametrize("k", [1, 8, 16, 32])
def test_principal_components_score_k_of_d(k, keep_dimension):
    """In float32, where the 32 - k directions of rounding of the kept form must not count: 1/4 is to read 1/4."""
    rng = np.random.default_rng(k)
    table = EmbeddingTable(rng.standard_normal((500, 32), dtype=np.float32))
    payload = PCA(dim=k, keep_dimension=keep_dimension).compress(table, rng)
    assert score(table, payload)["eos"] == pytest.approx(k / 32, abs=1e-9)


@pytest.mark.parametrize("angles", [np.zeros(6), np.full(6, np.pi / 2), np.linspace(0, np.pi / 2, 6)])
def test_known_principal_angles(angles):
    rng = np.random.default_rng(0)
    w = orthonormal(rng, 80, 12)
    x = w[:, :6] @ rng.standard_normal((6, 6))
    y = (w[:, :6] * np.cos(angles) + w[:, 6:] * np.sin(angles)) @ rng.standard_normal((6, 6))
    assert score(x, y)["eos"] == pytest.approx((np.cos(angles) ** 2).mean(), abs=1e-12)


def test_a_hand_worked_example():
    """Columns e1, e2 against 2·e1, e3: K~ - K = diag(3, -1, 1, 0) and λ = 1.

    The anchors of the instability are diag(1, 1, 0, 0) + diag(64, 0, 1, 0), of which the spans differ in the second and
    third; the smoothing matrices are diag(1/2, 1/2, 0, 0) and diag(4/5, 0, 1/2, 0); pooled queries have E|q|² =
    1/2/16 + 15/16 · 1/8, E[q·q~] = 1/2/16 + 15/16 · 3/16 and E|q~|² = 5/4/16 + 15/16 · 5/16.
    """
    x = np.array([[1.0, 0], [0, 1], [0, 0], [0, 0]])
    y = np.array([[2.0, 0], [0, 0], [0, 1], [0, 0]])
    assert score(x, y) == pytest.approx(
        {
            "eos": 1 / 2,
            "pip_loss": np.sqrt(11),
            "pip_loss_relative": np.sqrt(11 / 2),
            "reconstruction_error": np.sqrt(3),
            "reconstruction_error_relative": np.sqrt(3 / 2),
            "projected_reconstruction_error": 1,
            "weighted_eos_p1": 1 / 2,
            "weighted_eos_p2": 1 / 2,
            "mean_cosine": (1 + 0 + 0 + 1) / 4,  # the last rows are both zero: they agree; the others are not
            "eigenspace_instability": 2 / 67,
            "ridge_alignment": 2 / 5 / np.sqrt(1 / 2 * (16 / 25 + 1 / 4)),
            "pooled_cosine_error": 1 - 53 / np.sqrt(38 * 95),
            "neighbour_overlap": 1,  # there are but three others
            "delta1": 1 / 2,
            "delta2": 3 / 2,
            "delta": 3 / 2,
            "delta_max": 2,
        },
        rel=1e-14,
    )


# Laws.


@st.composite
def tables(draw):
    """A random (60, d) table, another (60, k), and the generator that they came from."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d, k = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    return rng.standard_normal((60, d)), rng.standard_normal((60, k)), rng


@settings(deadline=None, max_examples=40)
@given(tables())
def test_eos_is_a_symmetric_share(drawn):
    x, y, _ = drawn
    forward, back = score(x, y), score(y, x)
    assert 0 <= forward["eos"] <= 1
    assert forward["eos"] == pytest.approx(back["eos"], abs=1e-12)
    assert forward["pip_loss"] == pytest.approx(back["pip_loss"], rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(tables(), st.floats(0, 6))
def test_eos_ignores_any_invertible_right_multiplication(drawn, decades):
    x, y, rng = drawn
    d = x.shape[1]
    mixing = orthonormal(rng, d, d) * np.geomspace(1, 10**decades, d) @ orthonormal(rng, d, d)
    assert score(x, x @ mixing)["eos"] == pytest.approx(1, abs=1e-9)
    assert score(x @ mixing, y)["eos"] == pytest.approx(score(x, y)["eos"], abs=1e-8)


@settings(deadline=None, max_examples=20)
@given(tables())
def test_kernel_measures_ignore_rotations(drawn):
    x, y, rng = drawn
    turned = score(x, y @ orthonormal(rng, y.shape[1], y.shape[1]))
    plain = score(x, y)
    for key in ("pip_loss", "projected_reconstruction_error", *DELTAS):
        assert turned[key] == pytest.approx(plain[key], rel=1e-10, abs=1e-12), key


@settings(deadline=None, max_examples=20)
@given(tables())
def test_a_table_against_itself_is_perfect(drawn):
    x, _, _ = drawn
    scores = score(x, x)
    perfect = {
        "eos": 1,
        "mean_cosine": 1,
        "delta_max": 1,
        **dict.fromkeys([*WEIGHTED, "ridge_alignment", NEIGHBOURS], 1),
    }
    assert scores == pytest.approx({key: perfect.get(key, 0) for key in scores}, abs=1e-12)
    assert set(scores) == {*MEASURES, NEIGHBOURS, *WEIGHTED, *DELTAS}


# Weighted overlap.


EXPONENTS = [0, 0.5, 1, 1.5, 2, 3, 100]


def weighted(x, y, exponents=EXPONENTS):
    """The weighted scores by exponent."""
    scores = score(x, y, exponents=exponents)
    return {p: scores[f"weighted_eos_p{p:g}"] for p in exponents}


@settings(deadline=None, max_examples=20)
@given(tables())
def test_the_weighted_overlap_between_eos_and_the_projected_error(drawn):
    """p = 0 is EOS but for its divisor, p = 2 what of ‖X‖² is in the candidate's span, and each is a share."""
    x, y, _ = drawn
    found, plain = weighted(x, y), score(x, y)
    rank, other = x.shape[1], y.shape[1]
    assert found[0] == pytest.approx(plain["eos"] * max(rank, other) / rank, abs=1e-12)
    assert found[2] == pytest.approx(1 - plain["projected_reconstruction_error"] / (x**2).sum(), abs=1e-12)
    assert all(0 <= value <= 1 for value in found.values())


@settings(deadline=None, max_examples=20)
@given(tables(), st.floats(0, 6))
def test_the_weighted_overlap_ignores_any_invertible_right_multiplication_of_the_candidate(drawn, decades):
    x, y, rng = drawn
    k = y.shape[1]
    mixing = orthonormal(rng, k, k) * np.geomspace(1, 10**decades, k) @ orthonormal(rng, k, k)
    assert weighted(x, y @ mixing) == pytest.approx(weighted(x, y), abs=1e-8)
    assert weighted(x, 3 * x) == pytest.approx(dict.fromkeys(EXPONENTS, 1), abs=1e-12)
    # Of the table it is the directions and how long they are that count, not what they are called or their unit.
    for unit in (1e-20, 7, 1e20):
        turn = unit * orthonormal(rng, x.shape[1], x.shape[1])
        assert weighted(x @ turn, y) == pytest.approx(weighted(x, y), abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(tables())
def test_the_weighted_overlap_grows_with_each_direction(drawn):
    x, y, _ = drawn
    scores = [weighted(x, y[:, :k]) for k in range(1, y.shape[1] + 1)]
    for fewer, more in itertools.pairwise(scores):
        assert all(fewer[p] <= more[p] + 1e-12 for p in EXPONENTS)


def test_the_weighted_overlap_of_principal_components_is_their_share_of_the_spectrum():
    rng = np.random.default_rng(0)
    u, s, vt = np.linalg.svd(rng.standard_normal((90, 9)) * np.geomspace(1, 0.05, 9), full_matrices=False)
    for k in range(1, 9):
        expected = {p: (s[:k] ** p).sum() / (s**p).sum() for p in EXPONENTS}
        assert weighted(u * s @ vt, u[:, :k] * s[:k]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("condition", [1e1, 1e5, 1e8])
def test_the_weighted_overlap_of_ill_conditioned_tables(condition):
    """Every direction turned out of the span by the same angle: the score is its cos² for every exponent."""
    rng = np.random.default_rng(0)
    w = orthonormal(rng, 90, 16)
    s = np.geomspace(1, 1 / condition, 8)
    turn = orthonormal(rng, 8, 8)
    x, y = w[:, :8] * s @ turn, (w[:, :8] * np.cos(0.3) + w[:, 8:] * np.sin(0.3)) * s @ turn
    assert weighted(x, y) == pytest.approx(dict.fromkeys(EXPONENTS, np.cos(0.3) ** 2), abs=1e-7)


def test_exponents_have_keys_and_limits():
    assert [key for key in Measures(exponents=[2, 0.5, 1.0, 100]).keys if "weighted" in key] == [
        "weighted_eos_p2",
        "weighted_eos_p0.5",
        "weighted_eos_p1",
        "weighted_eos_p100",
    ]
    assert Measures(exponents=[2, 1]).criterion("weighted_eos") == "weighted_eos_p2"
    assert Measures().criterion("weighted_eos") == "weighted_eos_p1"
    assert Measures().criterion("pip_loss") == "pip_loss"
    with pytest.raises(ValueError, match=r"criterion = 'weighted_eos_p3' is no measure; there are eos, .*, weighted_e"):
        Measures().criterion("weighted_eos_p3")
    for bad in (-1, 101, "one", None, True, float("nan")):
        with pytest.raises(ValueError, match=rf"measures.exponents holds {bad!r}: each must be a number from 0 to 100"):
            Measures(exponents=[1, bad])
    for several in ([], [1, 2, 1.0]):
        with pytest.raises(ValueError, match=r"measures.exponents = \[.*\]: give one or more numbers, each once"):
            Measures(exponents=several)


# Ranks and zeros.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rank", [1, 5, 15])
def test_a_rank_deficient_table_against_itself_has_eos_1(rank, dtype):
    rng = np.random.default_rng(rank)
    x = (rng.standard_normal((300, rank)) @ rng.standard_normal((rank, 16))).astype(dtype)
    assert score(x, x)["eos"] == pytest.approx(1, abs=1e-12)
    # Half of its directions, and nothing of what rounding adds to them.
    if rank == 1:
        return
    u, s, vt = np.linalg.svd(x.astype(np.float64), full_matrices=False)
    half = rank // 2
    y = (u[:, :half] * s[:half] @ vt[:half]).astype(dtype)
    assert score(x, y)["eos"] == pytest.approx(half / rank, abs=1e-6)


def test_all_zero_tables_have_scores_or_none_and_no_nan():
    rng = np.random.default_rng(0)
    x, zero = rng.standard_normal((50, 4)), np.zeros((50, 4))
    from_zero, of_zero, both = score(x, zero), score(zero, x), score(zero, zero)

    assert from_zero["eos"] == of_zero["eos"] == 0
    assert both["eos"] == both["mean_cosine"] == 1
    assert from_zero["mean_cosine"] == of_zero["mean_cosine"] == 0
    assert from_zero["reconstruction_error_relative"] == pytest.approx(1, rel=1e-12)
    assert from_zero["pip_loss_relative"] == pytest.approx(1, rel=1e-12)
    assert from_zero["projected_reconstruction_error"] == pytest.approx((x**2).sum(), rel=1e-12)
    for scores in (from_zero, of_zero, both):
        assert np.isfinite(list(scores.values())).all()
    # Undefined where the table has nothing to be relative to: absent, not 0.
    assert set(from_zero) == {*MEASURES, NEIGHBOURS, *WEIGHTED, *DELTAS}
    assert [from_zero[key] for key in (*WEIGHTED, "ridge_alignment")] == [0, 0, 0]
    assert 0 < from_zero[NEIGHBOURS] < 1  # of rows that are all alike some are kept by chance
    relative = {"pip_loss_relative", "reconstruction_error_relative", "ridge_alignment", "eigenspace_instability"}
    undefined = {*relative, NEIGHBOURS, *WEIGHTED, *DELTAS}
    assert set(of_zero) == set(both) == set(from_zero) - undefined


@pytest.mark.parametrize("k", [3, 5])
def test_reconstruction_is_absent_in_another_dimension(k):
    rng = np.random.default_rng(0)
    scores = score(rng.standard_normal((50, 4)), rng.standard_normal((50, k)))
    absent = {"reconstruction_error", "reconstruction_error_relative", "mean_cosine", "pooled_cosine_error"}
    assert set(scores) == {*MEASURES, NEIGHBOURS, *WEIGHTED, *DELTAS} - absent - {"ridge_alignment"}


# λ.


@pytest.mark.parametrize("multiple", [0.01, 0.1, 1, 10.0, 100, "max"])
def test_lambdas_against_the_pencil(multiple):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((60, 8)) * np.geomspace(1, 0.1, 8)
    y = noisy(rng, x, 0.1)
    s = np.linalg.svd(x, compute_uv=False)
    ridge = s[0] ** 2 if multiple == "max" else multiple * s[-1] ** 2
    low, high = oracle.pencil_shifts(x, oracle.kernel_difference(x, y), ridge)
    alone, further = score(x, y, lambdas=[multiple]), score(x, y, lambdas=[1, multiple])
    assert alone["delta1"] == further[f"delta1_lambda_{multiple}"] == pytest.approx(-low, rel=RELATIVE)
    assert alone["delta2"] == further[f"delta2_lambda_{multiple}"] == pytest.approx(high, rel=RELATIVE)
    assert further["delta1"] == score(x, y)["delta1"]


def test_keys_are_what_scores_have():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 4))
    measures = Measures([1, 0.1, "max"])
    expected = [
        *MEASURES,
        NEIGHBOURS,
        *WEIGHTED,
        *DELTAS,
        *(f"{d}_lambda_0.1" for d in DELTAS),
        *(f"{d}_lambda_max" for d in DELTAS),
    ]
    assert measures.keys == expected
    assert {*score(x, noisy(rng, x, 1), lambdas=[1, 0.1, "max"])} == {*expected}


@pytest.mark.parametrize("bad", [0, -1, "min", None])
def test_lambdas_that_are_no_ridge_are_refused(bad):
    with pytest.raises(ValueError, match=rf"measures.lambdas holds {bad!r}: each must be a number above 0, or max"):
        Measures([1, bad])
    with pytest.raises(ValueError, match="lambdas is empty"):
        Measures([])


# What `score` refuses.


def test_arrays_that_are_no_tables_are_refused():
    with pytest.raises(ValueError, match=r"the candidate has 9 rows and the table 10: .* same vocabulary"):
        score(np.ones((10, 2)), np.ones((9, 2)))
    with pytest.raises(ValueError, match=r"shape \(10,\) is no table: it must be 2-D"):
        score(np.ones(10), np.ones((10, 2)))
    with pytest.raises(ValueError, match="2-D"):
        score(np.ones((10, 2)), np.ones((10, 2, 1)))


def test_integers_and_payloads_are_tables_too():
    table = EmbeddingTable(np.arange(20, dtype=np.float32).reshape(10, 2))
    payload = Uniform(4).compress(table, np.random.default_rng(0))
    arrays = score(np.arange(20).reshape(10, 2), payload.read(slice(None)))
    assert score(table, payload) == pytest.approx(arrays, rel=1e-12)


# Reference values.


@pytest.mark.parametrize(
    ("compressor", "eos"),
    [
        pytest.param(compressor, eos, marks=needs_data, id=compressor.name)
        for compressor, eos in [
            (Uniform(1), 0.531),
            (Uniform(2), 0.798),
            (Uniform(3), 0.922),
            (Uniform(4), 0.9724),
            (KMeans(4), 0.9778),
            (PCA(dim=48), 0.125),
        ]
    ],
)
def test_reference_values_of_the_wordpiece_table(whole_wordpiece, compressor, eos):
    payload = compressor.compress(whole_wordpiece, np.random.default_rng(0))
    assert MEASURES["eos"](moments(whole_wordpiece, payload.read)) == pytest.approx(eos, abs=0.002)


@pytest.fixture(scope="module")
def whole_wordpiece(wordpiece):
    return EmbeddingTable(wordpiece)
