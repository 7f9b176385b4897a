"""The statistics of the evidence against counting by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from eigenselect.selector.evidence.analysis.statistics import (
    STATISTICS,
    Interval,
    equal_bytes,
    interval,
    largest_loss,
    rounded,
    samples,
    selection_error,
    spearman,
)


def worth(*data, seed: int = 0) -> dict[str, Interval]:
    return {key: interval(values) for key, values in samples(*data, seed=seed).items()}


def points(seed: int, m: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure, performance and bytes, each with ties."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 6, m) / 4, rng.integers(0, 5, m) / 8, rng.integers(90, 110, m)


def counted(measure, performance, allowed) -> tuple[float, float]:
    """Selection error and largest loss, pair by pair."""
    errors, losses = [], [0.0]
    for i, j in itertools.combinations(range(len(measure)), 2):
        if not allowed(i, j):
            continue
        lost = abs(performance[i] - performance[j])
        best = i if performance[i] > performance[j] else j
        other = j if best == i else i
        if lost == 0:
            errors.append(0.0)
        elif measure[i] == measure[j]:
            errors.append(0.5)
            losses.append(lost)
        else:
            errors.append(float(measure[other] > measure[best]))
            losses.append(lost if measure[other] > measure[best] else 0.0)
    return (sum(errors) / len(errors), max(losses)) if errors else (math.nan, math.nan)


@pytest.mark.parametrize("seed", range(8))
def test_against_counting(seed: int) -> None:
    x, y, nbytes = points(seed)
    different = ~np.eye(len(x), dtype=bool)
    near = equal_bytes(nbytes) & different
    for pairs, allowed in (
        (different, lambda i, j: True),
        (near, lambda i, j: 20 * abs(nbytes[i] - nbytes[j]) <= min(nbytes[i], nbytes[j])),
    ):
        error, loss = counted(x, y, allowed)
        assert selection_error(x, y, pairs) == pytest.approx(error, nan_ok=True)
        assert largest_loss(x, y, pairs) == pytest.approx(loss, nan_ok=True)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_perfect_and_reversed() -> None:
    y = np.arange(5.0)
    pairs = ~np.eye(5, dtype=bool)
    assert (spearman(y, y), selection_error(y, y, pairs), largest_loss(y, y, pairs)) == (1, 0, 0)
    assert (spearman(-y, y), selection_error(-y, y, pairs), largest_loss(-y, y, pairs)) == (-1, 1, 4)


def test_what_is_undefined_is_nan() -> None:
    y, none = np.arange(3.0), np.zeros((3, 3), dtype=bool)
    assert np.isnan([spearman(np.ones(3), y), selection_error(y, y, none), largest_loss(y, y, none)]).all()


def test_nine_digits_count() -> None:
    values = np.array([0.123456789012, 0.123456789013, -0.123456789012, 0.0, 1e-30, 12345678912.0])
    assert rounded(values) == pytest.approx([float(f"{value:.9g}") for value in values], rel=1e-15)
    assert len(set(rounded(values[:2]))) == 1


def data(m: int = 12, seeds: int = 4, noise: float = 0.1) -> tuple[dict, dict, dict]:
    rng = np.random.default_rng(1)
    names = [f"c{i}" for i in range(m)]
    x = {name: (i + noise * rng.standard_normal(seeds)).tolist() for i, name in enumerate(names)}
    y = {name: (i + 30 * noise * rng.standard_normal(seeds)).tolist() for i, name in enumerate(names)}
    return x, y, {name: 100 + i for i, name in enumerate(names)}


def test_values_are_of_the_means_over_seeds() -> None:
    x, y, nbytes = data()
    found = worth(x, y, nbytes)
    assert {*found} == {*STATISTICS}
    means = [np.array([np.mean(values) for values in each.values()]) for each in (x, y)]
    assert found["spearman"].value == pytest.approx(stats.spearmanr(*means).statistic)
    sizes = list(nbytes.values())
    near = lambda i, j: 20 * abs(sizes[i] - sizes[j]) <= min(sizes[i], sizes[j])  # noqa: E731
    for suffix, allowed in (("", lambda i, j: True), ("_equal_bytes", near)):
        error, loss = counted(*means, allowed)
        assert found[f"selection_error{suffix}"].value == pytest.approx(error)
        assert found[f"largest_loss{suffix}"].value == pytest.approx(loss, abs=1e-7)


def test_intervals_hold_the_value_and_are_the_same_again() -> None:
    x, y, nbytes = data()
    found = worth(x, y, nbytes)
    assert found == worth(x, y, nbytes) and found != worth(x, y, nbytes, seed=1)
    correlation = found["spearman"]
    assert correlation.low < correlation.value <= correlation.high <= 1


def test_bootstrap_against_resampling_one_by_one() -> None:
    x, y, nbytes = data(m=8)
    names, rng, drawn = list(x), np.random.default_rng(9), []
    for _ in range(1500):
        chosen = [names[i] for i in rng.integers(len(names), size=len(names))]
        seeds = [rng.integers(4, size=4) for _ in chosen]
        means = [
            np.array([np.mean(np.array(each[name])[picked]) for name, picked in zip(chosen, seeds, strict=True)])
            for each in (x, y)
        ]
        error, loss = counted(*means, lambda i, j: chosen[i] != chosen[j])  # noqa: B023
        drawn.append((stats.spearmanr(*means).statistic, error, loss))
    found = worth(x, y, nbytes)
    for key, column in zip(("spearman", "selection_error", "largest_loss"), np.array(drawn).T, strict=True):
        low, high = np.nanquantile(column, [0.025, 0.975])
        spread = high - low
        assert found[key].low == pytest.approx(low, abs=0.15 * spread), key
        assert found[key].high == pytest.approx(high, abs=0.15 * spread), key


def test_more_seeds_of_one_candidate_only() -> None:
    x, y, nbytes = data(m=4, seeds=1)
    x["c0"], y["c0"] = [0.0, 0.2, 0.4], [5.0, 6.0, 7.0]
    means = [[np.mean(values) for values in each.values()] for each in (x, y)]
    assert worth(x, y, nbytes)["spearman"].value == pytest.approx(stats.spearmanr(*means).statistic)


def test_seeds_that_agree_change_no_interval() -> None:
    x, y, nbytes = data(seeds=1)
    more = [{name: values * (1 + i % 3) for i, (name, values) in enumerate(each.items())} for each in (x, y)]
    assert worth(*more, nbytes) == worth(x, y, nbytes)


def test_candidates_without_the_measure_are_left_out() -> None:
    x, y, nbytes = data()
    fewer = {name: x[name] for name in list(x)[:6]}
    assert worth(fewer, y, nbytes) == worth(fewer, {name: y[name] for name in fewer}, nbytes)
    assert worth({name: x[name] for name in list(x)[:2]}, y, nbytes)["spearman"].value is None


def test_a_constant_measure_has_no_correlation_and_errs_by_half() -> None:
    _, y, nbytes = data(seeds=1)
    found = worth({name: [1.0] for name in y}, y, nbytes)
    assert found["spearman"].value is None
    assert found["selection_error"].value == 0.5
    assert found["largest_loss"].value == pytest.approx(np.ptp([value for (value,) in y.values()]))
