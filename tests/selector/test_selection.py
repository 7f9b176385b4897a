"""The choice: within the budget, whatever the order, with a reason for everything that is not chosen."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from eigenselect.selector.decision.lookup import Limit
from eigenselect.selector.decision.selection import (
    Candidate,
    NothingFitsError,
    NothingMeasuredError,
    margin,
    select,
    tied,
    why,
)
from eigenselect.selector.measures import Measures, higher_is_better
from tests.decisions import with_times

pytestmark = pytest.mark.quick

HIGHER = ("eos", "mean_cosine", "ridge_alignment", "neighbour_overlap")

CRITERIA = ["eos", "mean_cosine", "pip_loss", "reconstruction_error", "delta_max"]


def measured(name, nbytes, **measures):
    return Candidate(name, "Uniform", {}, nbytes, "measured", measures)


def failed(name, nbytes, reason="it broke"):
    return Candidate(name, "Uniform", {}, nbytes, "failed", reason=reason)


def unseen(name, nbytes):
    return Candidate(name, "Uniform", {}, nbytes, "over_budget")


@st.composite
def pools(draw):
    """A criterion, a budget, and candidates as a run leaves them: few values, so that ties are common."""
    criterion, budget = draw(st.sampled_from(CRITERIA)), draw(st.integers(1, 20))
    found = []
    for name in draw(st.lists(st.text("abc", min_size=1, max_size=3), unique=True, min_size=1, max_size=12)):
        nbytes = draw(st.integers(1, 25))
        what = draw(st.sampled_from(["measured", "measured", "failed", "without the criterion"]))
        if nbytes > budget:
            found.append(unseen(name, nbytes))
        elif what == "failed":
            found.append(failed(name, nbytes))
        else:
            key = criterion if what == "measured" else "other"
            found.append(measured(name, nbytes, **{key: draw(st.sampled_from([0.0, 0.25, 0.5, 0.5 + 1e-12, 1.0]))}))
    return criterion, budget, found


def chosen_by_hand(candidates, budget, criterion):
    """Whom nobody beats: better score, else fewer bytes, else earlier name."""

    def beats(a, b):
        mine, other = a.measures[criterion], b.measures[criterion]
        if abs(mine - other) > 1e-9:
            return (mine > other) == (criterion in {"eos", "mean_cosine"})
        return a.nbytes < b.nbytes if a.nbytes != b.nbytes else a.name < b.name

    able = [c for c in candidates if c.nbytes <= budget and criterion in c.measures]
    (best,) = (c for c in able if not any(beats(other, c) for other in able))
    return best


@given(pools(), st.randoms(use_true_random=False))
def test_select_against_the_rule(pool, shuffler: random.Random):
    criterion, budget, candidates = pool
    assume(any(criterion in c.measures for c in candidates))
    selection = select(candidates, budget, criterion)

    assert selection.chosen == chosen_by_hand(candidates, budget, criterion)
    assert selection.ranking[0] == selection.chosen
    rest = [c for c in candidates if c != selection.chosen]
    if any(criterion in c.measures for c in rest):
        assert selection.runner_up == selection.ranking[1] == chosen_by_hand(rest, budget, criterion)
    else:
        assert selection.runner_up is None
    # Never over the budget, never one that failed.
    assert all(c.nbytes <= budget and c.status == "measured" for c in selection.ranking)
    # Every candidate once, every rejected one with a reason.
    listed = [selection.chosen, *(c for c, _ in selection.rejected)]
    assert sorted(c.name for c in listed) == sorted(c.name for c in candidates)
    for candidate, reason in selection.rejected:
        if candidate.nbytes > budget:
            assert reason.endswith("over the budget: not computed")
        elif candidate.status == "failed":
            assert reason == "failed: it broke"
        elif criterion not in candidate.measures:
            assert reason == f"{criterion} is undefined for it"
        else:
            assert selection.chosen.name in reason

    shuffled = list(candidates)
    shuffler.shuffle(shuffled)
    assert select(shuffled, budget, criterion) == selection


def test_eos_decides_unless_asked_otherwise():
    pool = [measured("a", 10, eos=0.9, pip_loss=5.0), measured("b", 10, eos=0.8, pip_loss=3.0)]
    assert select(pool, 10).chosen.name == select(pool, 10, "eos").chosen.name == "a"
    assert select(pool, 10, "pip_loss").chosen.name == "b"


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_direction_of_each_criterion(criterion):
    pool = [measured("low", 10, **{criterion: 0.1}), measured("high", 10, **{criterion: 0.9})]
    assert select(pool, 10, criterion).chosen.name == ("high" if criterion in HIGHER else "low")
    more = {key for key in Measures().keys if higher_is_better(key)}
    assert more == {*HIGHER, "weighted_eos_p1", "weighted_eos_p2"}


def test_the_budget_is_inclusive():
    pool = [measured("a", 100, eos=0.5), unseen("b", 101)]
    selection = select(pool, 100)
    assert selection.chosen.name == "a"
    assert selection.rejected == [(pool[1], "101 bytes are 1 over the budget: not computed")]


def test_a_score_over_the_budget_does_not_count():
    """A resumed run may know the scores of candidates that a larger budget had admitted."""
    assert select([measured("a", 100, eos=0.5), measured("b", 101, eos=0.9)], 100).chosen.name == "a"


def test_ties_go_to_fewer_bytes_and_then_to_the_first_name():
    pool = [measured("c", 50, eos=0.5), measured("b", 40, eos=0.5), measured("a", 40, eos=0.5)]
    selection = select(pool, 100)
    assert [c.name for c in selection.ranking] == ["a", "b", "c"]
    assert [reason for _, reason in selection.rejected] == [
        "eos and bytes equal those of a, which comes first by name",
        "eos equals that of a, which needs 10 bytes fewer",
    ]


def test_scores_that_differ_by_rounding_only_are_ties():
    assert select([measured("a", 50, eos=0.5 + 1e-12), measured("b", 40, eos=0.5)], 100).chosen.name == "b"
    assert select([measured("a", 50, eos=0.5 + 1e-7), measured("b", 40, eos=0.5)], 100).chosen.name == "a"


def test_reasons_say_how_far_behind():
    pool = [measured("a", 10, eos=0.9, pip_loss=2.0), measured("b", 10, eos=0.75, pip_loss=1.5)]
    assert select(pool, 10).rejected[0][1] == "eos 0.75 is 0.15 below the 0.9 of a"
    assert select(pool, 10, "pip_loss").rejected[0][1] == "pip_loss 2 is 0.5 above the 1.5 of b"


# What other criteria would have chosen, and ties.


def spread(name, nbytes, replicates=None, **measures):
    return Candidate(name, "Uniform", {}, nbytes, "measured", measures, replicates=replicates or {})


@given(pools())
def test_alternatives_are_what_select_chooses_by_them(pool):
    criterion, budget, candidates = pool
    assume(any(criterion in c.measures for c in candidates))
    selection = select(candidates, budget, criterion)
    others = {key for c in candidates if c.nbytes <= budget for key in c.measures} - {criterion}
    assert {a.criterion for a in selection.alternatives} == others
    for found in selection.alternatives:
        by_it = select(candidates, budget, found.criterion)
        assert found.best == by_it.chosen and found.ranked == len(by_it.ranking)
        if selection.chosen in by_it.ranking:
            assert by_it.ranking[found.rank - 1] == selection.chosen
            assert found.tie == (abs(best(by_it) - selection.chosen.measures[found.criterion]) < 1e-9)
        else:
            assert found.rank is None and not found.tie


def best(selection):
    return selection.chosen.measures[selection.criterion]


def test_alternatives_come_in_one_order():
    """Those of the chosen one's measures first, in their order, then what only others have, by name."""
    pool = [
        spread("a", 10, eos=0.9, pip_loss=1.0, delta=1.0),
        spread("b", 10, eos=0.8, mean_cosine=1.0),
        spread("c", 10, eos=0.7, delta2=1.0),
    ]
    for order in itertools.permutations(pool):
        found = [a.criterion for a in select(order, 10).alternatives]
        assert found == ["pip_loss", "delta", "delta2", "mean_cosine"]


def test_only_overlap_scores_make_a_choice_doubtful():
    pool = [
        spread("a", 10, eos=0.9, weighted_eos_p1=0.80, weighted_eos_p2=0.9, pip_loss=3.0),
        spread("b", 10, eos=0.8, weighted_eos_p1=0.85, weighted_eos_p2=0.9, pip_loss=1.0, mean_cosine=1.0),
    ]
    selection = select(pool, 10)
    assert [a.criterion for a in selection.alternatives] == [
        *("weighted_eos_p1", "weighted_eos_p2", "pip_loss", "mean_cosine")
    ]
    assert [(a.criterion, a.best.name, a.rank) for a in selection.disagreeing] == [("weighted_eos_p1", "b", 2)]
    assert selection.alternatives[1].tie and selection.alternatives[1].best.name == "a"
    assert [a.criterion for a in select(pool, 10, "weighted_eos_p1").disagreeing] == ["eos"]
    assert [a.criterion for a in select(pool, 10, "pip_loss").disagreeing] == ["eos"]


def test_a_tie_is_a_difference_within_its_own_margin():
    rng = np.random.default_rng(0)
    common = 0.1 * rng.standard_normal(64)
    near = tuple(common + 0.01 * rng.standard_normal(64))
    far = tuple(0.1 * rng.standard_normal(64))
    a = spread("a", 10, {"eos": tuple(common)}, eos=0.9)
    b = spread("b", 10, {"eos": near}, eos=0.89)
    c = spread("c", 10, {"eos": far}, eos=0.89)
    sharp, wide = margin(a, b, "eos"), margin(a, c, "eos")
    # 2 · 0.01/√64, though each alone is known to 2 · 0.1/√64 only.
    assert sharp == pytest.approx(0.0025, rel=0.2) and wide == pytest.approx(0.025 * 2**0.5, rel=0.2)
    assert margin(b, a, "eos") == pytest.approx(sharp, rel=1e-12)
    assert not tied(a, b, "eos") and tied(a, c, "eos") and tied(c, a, "eos")
    # Without replicates only equal scores are a tie.
    plain = spread("d", 10, eos=0.89), spread("e", 10, eos=0.89 + 1e-12)
    assert margin(a, plain[0], "eos") is None and not tied(a, plain[0], "eos") and tied(*plain, "eos")
    assert b.standard_errors == {"eos_stderr": pytest.approx(0.0125, rel=0.2)}


def test_a_tie_by_another_criterion_is_no_disagreement():
    rng = np.random.default_rng(0)
    noise = [{"weighted_eos_p1": tuple(size * rng.standard_normal(64))} for size in (0.1, 0.1)]
    measures = [{"eos": 0.9, "weighted_eos_p1": 0.800}, {"eos": 0.8, "weighted_eos_p1": 0.801}]
    known = [spread(name, 10, each, **at) for name, each, at in zip("ab", noise, measures, strict=True)]
    unknown = [spread(name, 10, **at) for name, at in zip("ab", measures, strict=True)]
    assert select(known, 10).disagreeing == [] and select(known, 10).alternatives[0].best.name == "b"
    assert len(select(unknown, 10).disagreeing) == 1


def test_nothing_fits_names_the_smallest():
    pool = [unseen("large", 3_000_000), unseen("small", 2_000_000), unseen("also-small", 2_000_000)]
    message = r"nothing fits the budget of 1,000,000 bytes: the smallest candidate, also-small, needs 2,000,000; raise"
    with pytest.raises(NothingFitsError, match=message):
        select(pool, 1_000_000)
    with pytest.raises(NothingFitsError, match=message):
        select(pool[::-1], 1_000_000)


def test_nothing_measured_says_why():
    pool = [failed("a", 10, "ValueError: no"), measured("b", 10, eos=1.0), unseen("c", 1000)]
    reasons = r"100 bytes has a pip_loss: a: failed: ValueError: no; b: pip_loss is undefined for it$"
    with pytest.raises(NothingMeasuredError, match=reasons):
        select(pool, 100, "pip_loss")


LIMITED = [
    with_times(measured("best", 50, eos=0.95, pip_loss=1.0), 4.5),
    with_times(measured("good", 60, eos=0.9, pip_loss=3.0), 2.0),
    with_times(measured("fast", 70, eos=0.8, pip_loss=2.0), 1.1),
    with_times(measured("worst", 70, eos=0.7, pip_loss=4.0), 3.0),
    unseen("large", 1_000),
]


def test_what_is_slower_than_the_limit_is_rejected_with_its_time():
    selection = select(LIMITED, 100, "eos", Limit.parse("2x"))
    assert selection.chosen.name == "good" and [c.name for c in selection.ranking] == ["good", "fast"]
    assert [c.name for c in selection.slower] == ["best", "worst"] and selection.unlimited.name == "best"
    reasons = {candidate.name: reason for candidate, reason in selection.rejected}
    assert reasons["best"] == "a lookup takes 4.5 times a float32 Gather as measured, limits.lookup allows 2x"
    assert {*reasons} == {"best", "fast", "worst", "large"}
    (other,) = selection.alternatives
    assert (other.best.name, other.ranked) == ("fast", 2), "another measure would have kept to the limit too"
    assert selection == select(LIMITED[::-1], 100, "eos", Limit.parse("2x"))
    by_time = select(LIMITED, 100, "eos", Limit.parse("60 ns"))  # 50 ns are a Gather
    assert by_time.chosen.name == "fast" and dict((c.name, r) for c, r in by_time.rejected)["good"].startswith(
        "a lookup takes 100 ns a row as measured"
    )


def test_the_choice_names_a_limit_that_decided():
    text = why(select(LIMITED, 100, "eos", Limit.parse("2x")))
    assert "of the 2 candidates measured within 100 bytes and limits.lookup=2x; it takes 60." in text
    assert (
        " Without limits.lookup=2x it would be best with 0.9500 (0.05 away), whose lookups take 4.5 times a float32 "
        "Gather; those of good take 2 times a float32 Gather. The question was that of use=trained, "
    ) in text
    beside = why(select(LIMITED, 100, "eos", Limit.parse("4.5x")))
    assert "limit" not in beside and beside == why(select(LIMITED, 100))
    only_worst = select([LIMITED[1], LIMITED[3]], 100, "eos", Limit.parse("2x"))
    assert only_worst.unlimited is None and "Without" not in why(only_worst)


def test_nothing_fast_enough_names_the_fastest():
    message = (
        r"^no candidate within 100 bytes is as fast as limits\.lookup=1x: the fastest, fast, takes 1\.1 times a "
        r"float32 Gather; raise limits\.lookup or add faster candidates$"
    )
    with pytest.raises(NothingFitsError, match=message):
        select(LIMITED, 100, "eos", Limit.parse("1x"))
