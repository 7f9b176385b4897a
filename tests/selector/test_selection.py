"""The choice: within the budget, whatever the order, with a reason for everything that is not chosen."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selector.measures import Measures, higher_is_better
from selector.selection import Candidate, NothingFitsError, NothingMeasuredError, select

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


def test_eos_decides_unless_told_otherwise():
    pool = [measured("a", 10, eos=0.9, pip_loss=5.0), measured("b", 10, eos=0.8, pip_loss=3.0)]
    assert select(pool, 10).chosen.name == select(pool, 10, "eos").chosen.name == "a"
    assert select(pool, 10, "pip_loss").chosen.name == "b"


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_direction_of_each_criterion(criterion):
    pool = [measured("low", 10, **{criterion: 0.1}), measured("high", 10, **{criterion: 0.9})]
    assert select(pool, 10, criterion).chosen.name == ("high" if criterion in ("eos", "mean_cosine") else "low")
    more = {key for key in Measures().keys if higher_is_better(key)}
    assert more == {"eos", "mean_cosine", "weighted_eos_p1", "weighted_eos_p2"}


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
