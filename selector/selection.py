"""The choice: the highest score that fits the budget. Pure: no files, no clock, no order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from selector.measures import HIGHER_IS_BETTER

Status = Literal["measured", "over_budget", "failed"]

TIE_DIGITS = 9
"""Scores that agree to this many significant digits are equal: the measures carry no more."""


@dataclass(frozen=True)
class Candidate:
    """One compressor with what became of it.

    Attributes:
        name: unique among the candidates.
        compressor: class of the method.
        parameters: its settings.
        nbytes: bytes of its payload.
        status: `measured`; `over_budget`, and then never computed; or `failed`, with the error in `reason`.
        measures: metric key -> value, empty unless measured.
        reason: why it failed.
        run_id: its MLflow run, when it has one.
    """

    name: str
    compressor: str
    parameters: dict[str, Any]
    nbytes: int
    status: Status
    measures: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    run_id: str | None = None


@dataclass(frozen=True)
class Selection:
    """A decision and its reasons.

    Attributes:
        chosen: the candidate to ship.
        runner_up: the next best that fits, if any.
        ranking: all that were measured and fit, best first.
        rejected: every other candidate with its reason.
        budget: bytes allowed.
        criterion: metric key that decided.
    """

    chosen: Candidate
    runner_up: Candidate | None
    ranking: list[Candidate]
    rejected: list[tuple[Candidate, str]]
    budget: int
    criterion: str


class NothingFitsError(Exception):
    """No candidate fits the budget."""


class NothingMeasuredError(Exception):
    """Candidates fit the budget, and not one of them could be measured."""


def rank_key(candidate: Candidate, criterion: str) -> tuple[float, int, str]:
    """Sorts the best first: by criterion, then fewer bytes, then name."""
    value = float(f"{candidate.measures[criterion]:.{TIE_DIGITS}g}")
    return (-value if criterion in HIGHER_IS_BETTER else value, candidate.nbytes, candidate.name)


def select(candidates: Sequence[Candidate], budget: int, criterion: str = "eos") -> Selection:
    """Choose the best candidate by `criterion` among those of at most `budget` bytes.

    Raises:
        NothingFitsError: every candidate is larger than the budget; the smallest is named.
        NothingMeasuredError: some fit, none of them has the criterion.
    """
    if not any(c.nbytes <= budget for c in candidates):
        smallest = min(candidates, key=lambda c: (c.nbytes, c.name))
        raise NothingFitsError(
            f"nothing fits the budget of {budget:,} bytes: the smallest candidate, {smallest.name}, "
            f"needs {smallest.nbytes:,}; raise the budget or add smaller candidates"
        )
    ranking = sorted(
        (c for c in candidates if c.nbytes <= budget and c.status == "measured" and criterion in c.measures),
        key=lambda c: rank_key(c, criterion),
    )
    if not ranking:
        reasons = "; ".join(f"{c.name}: {_why_out(c, budget, criterion)}" for c in candidates if c.nbytes <= budget)
        raise NothingMeasuredError(f"no candidate that fits {budget:,} bytes has a {criterion}: {reasons}")
    chosen = ranking[0]
    beaten = [(c, _why_beaten(c, chosen, criterion)) for c in ranking[1:]]
    out = sorted((c for c in candidates if c not in ranking), key=lambda c: (c.nbytes, c.name))
    return Selection(
        chosen=chosen,
        runner_up=ranking[1] if len(ranking) > 1 else None,
        ranking=ranking,
        rejected=beaten + [(c, _why_out(c, budget, criterion)) for c in out],
        budget=budget,
        criterion=criterion,
    )


def _why_beaten(candidate: Candidate, chosen: Candidate, criterion: str) -> str:
    mine, best = rank_key(candidate, criterion), rank_key(chosen, criterion)
    if mine[0] != best[0]:
        value, top = candidate.measures[criterion], chosen.measures[criterion]
        side = "below" if criterion in HIGHER_IS_BETTER else "above"
        return f"{criterion} {value:.6g} is {abs(value - top):.3g} {side} the {top:.6g} of {chosen.name}"
    if mine[1] != best[1]:
        return f"{criterion} equals that of {chosen.name}, which needs {candidate.nbytes - chosen.nbytes:,} bytes fewer"
    return f"{criterion} and bytes equal those of {chosen.name}, which comes first by name"


def _why_out(candidate: Candidate, budget: int, criterion: str) -> str:
    if candidate.nbytes > budget:
        return f"{candidate.nbytes:,} bytes are {candidate.nbytes - budget:,} over the budget: not computed"
    if candidate.status == "failed":
        return f"failed: {candidate.reason}"
    return f"{criterion} is undefined for it"
