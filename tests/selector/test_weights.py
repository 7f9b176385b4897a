"""Measures of weighted rows, against their definitions on W^½X and against tables that repeat rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eigenselect.compressors import PCA, EmbeddingTable, KMeans, Spectral, Uniform
from eigenselect.selector.decision.selection import purpose
from eigenselect.selector.decision.uses import criterion_of, question
from eigenselect.selector.measures import BY_FREQUENCY, Measures, Reference, score
from eigenselect.selector.measures import moments as moments_module
from eigenselect.selector.measures.confidence import influences, replicates, standard_error
from eigenselect.selector.measures.moments import moments
from eigenselect.selector.measures.weights import WeightedTable, relative, zipf
from eigenselect.selector.run.selecting import select_table
from tests.selector import oracle

RELATIVE = 1e-9


def drawn(seed, n=60, d=8, k=8, size=0.2):
    """A table, a candidate near it where k = d, and weights that span four decades."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * np.geomspace(1, 0.1, d)
    y = x + size * rng.standard_normal((n, d)) if k == d else rng.standard_normal((n, k))
    return x, y, rng.permutation(np.geomspace(1e-2, 1e2, n))


def by_frequency(x, y, weights):
    """The scores of weighted rows, under the names of the measures."""
    found = score(x, y, row_weights=weights)
    assert {key: found[key] for key in score(x, y)} == score(x, y)  # the others are as they were
    return {key.removesuffix(BY_FREQUENCY): value for key, value in found.items() if key.endswith(BY_FREQUENCY)}


def expected(x, y, weights):
    """The measures of W^½X and W^½X~ by dense SVDs, weights in units of their mean; cosines are weighed themselves."""
    root = np.sqrt(weights / weights.mean())[:, None]
    found = oracle.measures(root * x, root * y, x.shape[1], y.shape[1])
    running = np.cumsum(weights)
    asked = np.searchsorted(running, (np.arange(len(x)) + 0.5) * running[-1] / len(x))
    found["neighbour_overlap"] = oracle.neighbour_overlap(x, y, asked)
    if "mean_cosine" in found:
        cosines = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        found["pooled_cosine_error"] = float(oracle.pooled_cosine_error(x, y, weights))
        found["mean_cosine"] = float(weights @ cosines / weights.sum())
    return found


@pytest.mark.parametrize("k", [5, 8, 11])
@pytest.mark.parametrize("unit", [1.0, 1e-30])
def test_weighted_measures_are_those_of_the_weighted_tables(k, unit):
    x, y, weights = drawn(k, k=k)
    found = by_frequency(x, y, unit * weights)
    assert found == {key: pytest.approx(value, rel=RELATIVE) for key, value in expected(x, y, weights).items()}


def test_rows_of_steep_weights_have_a_condition_check_of_their_own(monkeypatch):
    """The table is well conditioned; with a row for each direction that is looked up much more often it is not."""
    x, y, weights = drawn(0)
    weights[:4] = 1e12
    asked = []
    monkeypatch.setattr(
        moments_module, "_tsqr", lambda blocks, own=moments_module._tsqr: asked.append(1) or own(blocks)
    )
    found = by_frequency(x, y, weights)
    assert len(asked) == 1
    dense = expected(x, y, weights)
    for key in ("eos", "weighted_eos_p1", "reconstruction_error_relative", "mean_cosine"):
        assert found[key] == pytest.approx(dense[key], rel=1e-7), key


@settings(deadline=None, max_examples=20)
@given(
    st.integers(0, 99), st.lists(st.integers(0, 5), min_size=40, max_size=40).filter(lambda w: np.count_nonzero(w) > 20)
)
def test_a_weight_of_w_is_a_row_that_is_there_w_times(seed, counts):
    x, y, _ = drawn(seed, n=40, d=6, k=6)
    every = np.repeat(np.arange(40), counts)
    whole, found = score(x[every], y[every]), by_frequency(x, y, counts)
    scale = len(every) / 40  # weights are in units of their mean
    for key, size in (
        ("pip_loss", scale),
        ("reconstruction_error", scale**0.5),
        ("projected_reconstruction_error", scale),
    ):
        whole[key] /= size
    del whole["neighbour_overlap"], found["neighbour_overlap"]  # of rows that are there twice
    assert found == {key: pytest.approx(value, rel=1e-6, abs=1e-9) for key, value in whole.items()}


def test_equal_weights_change_nothing():
    x, y, _ = drawn(1)
    assert by_frequency(x, y, np.full(60, 7.0)) == score(x, y)


def test_weights_that_cannot_be_used_are_refused():
    x, y, weights = drawn(0)
    for bad, message in (
        (weights[1:], r"^row weights of shape \(59,\) for a table of 60 rows: give one a row$"),
        (-weights, r"^row weight -.* at row 0: each must be finite and at least 0; correct it$"),
        (0 * weights, r"^row weights of 60 rows are all 0: at least one must be above 0$"),
    ):
        with pytest.raises(ValueError, match=message):
            score(x, y, row_weights=bad)
    table = EmbeddingTable(np.float32(x), counts=np.zeros(60))
    with pytest.raises(ValueError, match=r"are all 0: at .*; measures.row_weights=null weighs no rows$"):
        Measures().reference(table)


def test_weights_are_counts_or_of_the_rank_or_none():
    table = EmbeddingTable(np.float32(drawn(0)[0]), counts=np.arange(60.0))
    bare = EmbeddingTable(table.vectors)
    assert Measures().reference(table).weighted.weights == pytest.approx(np.arange(60) / 29.5)
    assert Measures().reference(bare).weighted is None and Measures(row_weights=None).reference(table).weighted is None
    ranked = Measures(row_weights="zipf", zipf_exponent=2, zipf_offset=1).reference(table).weighted.weights
    assert ranked.mean() == pytest.approx(1) and ranked[0] / ranked[8] == pytest.approx((10 / 2) ** 2)
    for name, bad in (("row_weights", "rank"), ("zipf_exponent", -1), ("zipf_offset", "a"), ("zipf_offset", True)):
        with pytest.raises(ValueError, match=rf"^measures.{name} = {bad!r}: must be "):
            Measures(**{name: bad})


# Which rows are kept, and what they say of all.


def test_rows_are_sampled_by_their_weights():
    weights = relative(np.where(np.arange(5000) % 3, zipf(5000, 1, 0), 0), 5000)
    ids, factors = WeightedTable(EmbeddingTable(np.ones((5000, 1), np.float32)), weights).sampled(256)
    assert (np.diff(ids) > 0).all() and (weights[ids] > 0).all() and 100 < len(ids) <= 256
    assert {*np.flatnonzero(weights > weights.sum() / 256)} <= {*ids}
    # Σ w² f² / r is the mean of w² over all rows, up to what the draw of the light ones leaves open.
    assert np.mean(factors**2) == pytest.approx(np.mean(weights**2), rel=1e-3)
    assert abs(factors.sum()) < np.abs(factors).sum() / 2


def test_the_spread_of_weighted_scores_is_that_of_all_rows():
    """The sampled rows' deviations have the standard error √Σψ² that the influences of all rows have."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20_000, 4)).astype(np.float32)
    y = (x + 0.5 * rng.standard_normal(x.shape)).astype(np.float32)
    table = EmbeddingTable(x, counts=rng.permutation(zipf(20_000, 0.8, 10)))
    weighted = Measures().reference(table).weighted
    found = moments(table, lambda rows: y[rows], weighted=weighted).weighted
    by_sample = [standard_error(replicates(found, each)) for each in influences(found, [1])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moments_module, "SAMPLED", 20_000)
        every = moments(table, lambda rows: y[rows], weighted=weighted).weighted
    by_rows = [float(np.linalg.norm(every.sample.factors * each)) for each in influences(every, [1])]
    assert len(every.sample.x) == 20_000 and len(found.sample.x) < 1024
    assert by_sample == [pytest.approx(each, rel=0.25) for each in by_rows]


def test_the_influence_of_a_weighted_row_is_a_derivative():
    x, y, weights = drawn(3)
    table = EmbeddingTable(np.float32(x))
    found = moments(table, lambda rows: y[rows], weighted=Reference.of(table, weights).weighted).weighted
    step = 1e-4
    for row in (0, 7, 30):
        more = weights * (1 + step * (np.arange(60) == row))
        less = weights * (1 - step * (np.arange(60) == row))
        for key, each in zip(("eos", "weighted_eos_p1"), influences(found, [1]), strict=True):
            slope = (by_frequency(x, y, more)[key] - by_frequency(x, y, less)[key]) / (2 * step)
            assert found.sample.factors[row] * each[row] == pytest.approx(slope, rel=1e-3, abs=1e-7)


# Uses.


def test_a_use_sets_the_criterion_unless_one_is_given():
    plain, ranked = Measures(), Measures(row_weights="zipf")
    for use, known, weighed in (
        (None, "eos", "eos"),
        ("trained", "eos", "eos"),
        ("frozen", "ridge_alignment", "ridge_alignment_by_frequency"),
        ("retrieval", "neighbour_overlap", "neighbour_overlap"),
    ):
        assert criterion_of(plain, None, use, counts=False) == known
        assert criterion_of(plain, None, use, counts=True) == criterion_of(ranked, None, use, counts=False) == weighed
        assert criterion_of(Measures(row_weights=None), None, use, counts=True) == known
        assert criterion_of(plain, "weighted_eos", use, counts=True) == "weighted_eos_p1"
    assert criterion_of(plain, "eos_by_frequency", None, counts=True) == "eos_by_frequency"
    with pytest.raises(ValueError, match=r"^criterion = 'eos_by_frequency' weighs rows by .*: give table.counts, or "):
        criterion_of(plain, "eos_by_frequency", None, counts=False)


def test_the_question_is_that_of_the_criterion():
    asked = {key: question(key) for key in Measures().keys_of(weighs=True)}
    assert all("use=trained" in asked[key] for key in ("eos", "weighted_eos_p2", "eos_by_frequency"))
    assert "use=frozen" in asked["ridge_alignment_by_frequency"] and "use=retrieval" in asked["neighbour_overlap"]
    assert asked["pip_loss"] == "which candidate is best by pip_loss, the question of no use"


def test_a_selection_says_what_it_answered_and_what_other_uses_would_have_chosen():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((600, 8)) * np.geomspace(1, 0.1, 8)).astype(np.float32)
    table = EmbeddingTable(x, counts=zipf(600, 1, 2.7))
    pool = [
        Uniform(2),
        KMeans(2),
        PCA(dim=6, keep_dimension=True, then=KMeans(2)),
        Spectral(1, then=KMeans(2), fold=True),
    ]
    found = {use: select_table(table, "20%", candidates=pool, use=use).selection for use in (None, "frozen")}
    free, frozen = found[None], found["frozen"]
    assert free.criterion == "eos" and free.chosen.name == "spectral1-fold-kmeans-b2"
    assert frozen.criterion == "ridge_alignment_by_frequency"
    assert "spectral1-fold-kmeans-b2" not in {each.name for each in frozen.ranking}
    best = free.other_uses["retrieval"].best
    retrieval = "the same" if best is free.chosen else best.name
    assert purpose(free) == (
        "The question was that of use=trained, what a model that is trained on the rows can still reach; use=frozen "
        f"would choose {frozen.chosen.name} by ridge_alignment_by_frequency; use=retrieval would choose "
        f"{retrieval} by neighbour_overlap."
    )
    assert {*frozen.other_uses} == {"trained", "retrieval"} and "use=frozen, how near the rows" in purpose(frozen)
    # Rows by frequency are another question than directions by length, and no reason to call the choice sensitive.
    assert all(not each.criterion.endswith(BY_FREQUENCY) for each in free.disagreeing)
