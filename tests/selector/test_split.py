"""One budget over many tables: the split against dynamic programming over every byte."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenselect.selector.decision import split as module
from eigenselect.selector.decision.lookup import Limit
from eigenselect.selector.decision.selection import Candidate
from eigenselect.selector.decision.split import Curve, Point, split

pytestmark = pytest.mark.quick


def by_dynamic_programming(curves: list[Curve], budget: int) -> float:
    """The best sum of values within the budget."""
    best = np.zeros(budget + 1)
    for curve in curves:
        found = np.full(budget + 1, -np.inf)
        for nbytes, value in zip(curve.nbytes, curve.values, strict=True):
            if nbytes <= budget:
                found[nbytes:] = np.maximum(found[nbytes:], best[: budget + 1 - nbytes] + value)
        best = found
    return float(best[-1])


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Curve], int]:
    seed, higher = draw(st.integers(0, 10**6)), draw(st.booleans())
    rng, curves = np.random.default_rng(seed), []
    for number in range(draw(st.integers(1, 8))):
        count = int(rng.integers(1, 9))
        nbytes = np.sort(rng.choice(np.arange(1, 200), count, replace=False))
        scores = np.sort(rng.choice([rng.random(count), 1 - np.exp(-nbytes / 40)]))
        points = [Point(f"c{i}", int(b), float(s)) for i, (b, s) in enumerate(zip(nbytes, scores, strict=True))]
        if not higher:
            points = [Point(each.name, each.nbytes, 1 - each.score) for each in points]
        curves.append(Curve(f"t{number}", float(rng.choice([0.5, 1, 3])), points, higher))
    least, most = (sum(curve.points[at].nbytes for curve in curves) for at in (0, -1))
    return curves, draw(st.integers(least, most + 5))


@given(problems())
def test_no_split_is_better(problem):
    curves, budget = problem
    found = split(curves, budget)
    assert found.nbytes == sum(point.nbytes for point in found.points) <= budget
    assert all(point in curve.points for point, curve in zip(found.points, curves, strict=True))
    assert found.score == pytest.approx(sum(c.weight * p.score for c, p in zip(curves, found.points, strict=True)))
    sign = 1 if curves[0].higher else -1
    assert sign * found.score == pytest.approx(by_dynamic_programming(curves, budget), abs=1e-9)
    assert found.bound == found.score
    again = split(list(reversed(curves)), budget)
    assert again.score == pytest.approx(found.score, abs=1e-12)


@given(problems())
def test_where_not_all_are_looked_at_the_bound_holds(problem):
    curves, budget = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST", 2)
        found = split(curves, budget)
    sign, best = 1 if curves[0].higher else -1, by_dynamic_programming(curves, budget)
    assert found.nbytes <= budget
    assert sign * found.score <= best + 1e-9 <= sign * found.bound + 2e-9


def test_large_problems_are_split_at_once():
    rng, curves = np.random.default_rng(4), []
    for number in range(100):
        nbytes = np.unique(rng.integers(1, int(10 ** rng.uniform(3, 7)), 60))
        values = np.sort(1 - np.exp(-4 * nbytes / nbytes[-1]) + rng.normal(0, 0.01, len(nbytes)))
        points = [Point(f"c{i}", int(b), float(v)) for i, (b, v) in enumerate(zip(nbytes, values, strict=True))]
        curves.append(Curve(f"t{number}", 1, points))
    whole = sum(curve.points[-1].nbytes for curve in curves)
    for share in (0.06, 0.3):
        found = split(curves, int(share * whole))
        assert found.bound == found.score and found.nbytes <= share * whole


def test_what_does_not_fit_is_refused():
    curve = Curve("t", 1, [Point("a", 10, 0.5)])
    with pytest.raises(ValueError, match="the smallest candidates take 20 bytes together, 19 are allowed"):
        split([curve, curve], 19)
    assert split([curve, curve], 20).nbytes == 20


def candidate(name: str, nbytes: int, ratio: float = 1.0, **measures: float) -> Candidate:
    costs = {"lookup_ratio_8192": ratio}
    return Candidate(name, "Uniform", {}, nbytes, "measured", measures=measures, costs=costs)


def test_a_curve_is_what_no_other_beats_at_as_few_bytes():
    some = [
        *(candidate("a", 10, eos=0.5), candidate("b", 10, eos=0.6), candidate("c", 20, eos=0.6)),
        *(candidate("d", 30, eos=0.9, ratio=5), candidate("e", 40, eos=0.8), candidate("f", 50)),
    ]
    for each in itertools.islice(itertools.permutations(some), 0, None, 97):
        assert [point.name for point in Curve.of("t", 1, each, "eos").points] == ["b", "d"]
        assert [point.name for point in Curve.of("t", 1, each, "eos", Limit.parse("2x")).points] == ["b", "e"]
    errors = [candidate("a", 10, pip_loss=0.9), candidate("b", 20, pip_loss=0.95), candidate("c", 30, pip_loss=0.1)]
    curve = Curve.of("t", 2, errors, "pip_loss")
    assert [point.name for point in curve.points] == ["a", "c"] and curve.values.tolist() == [-1.8, -0.2]
