"""The choice: the highest score that fits the budget. Pure: no files, no clock, no order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from eigenselect.selector.decision.lookup import Limit, TimedOn
from eigenselect.selector.decision.uses import USES, question
from eigenselect.selector.measures import BY_FREQUENCY, higher_is_better, is_overlap
from eigenselect.selector.measures.confidence import half_width, standard_error

Status = Literal["measured", "over_budget", "failed", "screened"]

TIE_DIGITS = 9
"""Scores that agree to this many significant digits are equal: the measures carry no more."""


@dataclass(frozen=True)
class Estimate:
    """What a sample of rows says of a candidate that it leaves out: another one is better.

    Attributes:
        criterion: metric key.
        value: on the sample.
        half_width: of the interval around it, in which the value on all rows lies.
        rows: of the sample.
        confidence: of all intervals of the selection together.
        better: name of the other candidate.
        gap: by how much that one is better on the same rows.
        least_gap: by how much at least on all rows.
    """

    criterion: str
    value: float
    half_width: float
    rows: int
    confidence: float
    better: str
    gap: float
    least_gap: float

    def __str__(self) -> str:
        return (
            f"{self.criterion} {self.value:.4f} ± {self.half_width:.4f} on {self.rows:,} rows, where {self.better} is "
            f"better by {self.gap:.4f}; on all by {self.least_gap:.4f} or more ({says_confidence(self)})"
        )


def says_confidence(estimate: Estimate) -> str:
    """The confidence of an estimate in few characters: `99.9%`."""
    return f"{100 * estimate.confidence:.4g}%"


@dataclass(frozen=True)
class Candidate:
    """One compressor with what became of it.

    Attributes:
        name: unique among the candidates.
        compressor: `method_name` of its class.
        parameters: its settings.
        nbytes: bytes of its payload.
        status: `measured`; `over_budget`, and then never computed; `screened`, and then measured on a sample of rows
            alone, which `estimate` has; or `failed`, with the error in `reason`.
        measures: metric key -> value, empty unless measured.
        replicates: metric key -> what the spread of the measure is known by (`measures.confidence`), where it is.
        costs: metric key -> what its lookups cost (`docs/method.md` lists them), where that was measured.
        timed_on: what they were timed on.
        reason: why it failed, or was left out.
        run_id: its MLflow run, when it has one.
        estimate: what a sample of rows says of it, where that left it out.
    """

    name: str
    compressor: str
    parameters: dict[str, Any]
    nbytes: int
    status: Status
    measures: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    run_id: str | None = None
    replicates: dict[str, tuple[float, ...]] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    timed_on: TimedOn | None = None
    estimate: Estimate | None = None

    @property
    def method(self) -> str:
        """The compressors, from the outermost on: `Spectral, TrellisCode`."""
        names, key = [self.compressor], "then"
        while key in self.parameters:
            names.append(self.parameters[key])
            key += ".then"
        return ", ".join(name for name in names if name != "Identity" or names == [name])

    @property
    def standard_errors(self) -> dict[str, float]:
        """`eos_stderr` and the like: the standard error of each measure that has replicates."""
        return {f"{key}_stderr": standard_error(found) for key, found in self.replicates.items()}


@dataclass(frozen=True)
class Alternative:
    """What another measure would have chosen.

    Attributes:
        criterion: its metric key.
        best: the candidate that it would have chosen.
        rank: place of the one that was chosen, from 1; None where the measure is undefined for it.
        ranked: how many candidates have the measure.
        tie: the one that was chosen is as good by it, see `tied`.
    """

    criterion: str
    best: Candidate
    rank: int | None
    ranked: int
    tie: bool


@dataclass(frozen=True)
class Selection:
    """A decision and its reasons.

    Attributes:
        chosen: the candidate to ship.
        runner_up: the next best that fits, if any.
        ranking: all that were measured and fit, best first.
        slower: those that would be in the ranking but for the limit, best first.
        rejected: every other candidate with its reason.
        budget: bytes allowed.
        criterion: metric key that decided.
        limit: how long a lookup may take, if anything limits it.
        alternatives: for every other measure what it would have chosen.
    """

    chosen: Candidate
    runner_up: Candidate | None
    ranking: list[Candidate]
    slower: list[Candidate]
    rejected: list[tuple[Candidate, str]]
    budget: int
    criterion: str
    limit: Limit | None
    alternatives: list[Alternative]

    def __repr__(self) -> str:
        chosen, score = self.chosen, f"{self.criterion} {self.chosen.measures[self.criterion]:.4f}"
        size = f"{chosen.nbytes:,} of {self.budget:,} bytes"
        return f"Selection({chosen.name}, {size}, {score}, best of {len(self.ranking)})"

    @property
    def screened(self) -> list[tuple[Candidate, Estimate]]:
        """The candidates that samples of rows left out, with what these say of them."""
        return [(c, c.estimate) for c, _ in self.rejected if c.status == "screened" and c.estimate is not None]

    @property
    def unlimited(self) -> Candidate | None:
        """What would have been chosen without the limit of lookups, where that is another."""
        best = min([self.chosen, *self.slower[:1]], key=lambda each: rank_key(each, self.criterion))
        return None if best is self.chosen else best

    @property
    def disagreeing(self) -> list[Alternative]:
        """The other overlap scores that would have chosen something better by them than what was chosen.

        They ask the same question with other weights of the directions, of rows that count as they do for the
        criterion. What the other measures would have chosen is listed and is no reason to doubt: they are baselines.
        """
        weighs = self.criterion.endswith(BY_FREQUENCY)
        return [
            a
            for a in self.alternatives
            if is_overlap(a.criterion) and a.criterion.endswith(BY_FREQUENCY) == weighs and not a.tie
        ]

    @property
    def other_uses(self) -> dict[str, Alternative]:
        """Use -> what it would have chosen by its measure, of each whose question is another one."""
        by_key = {a.criterion: a for a in self.alternatives}
        decides = {name: use.decides(by_key) for name, use in USES.items() if not use.answered_by(self.criterion)}
        return {name: by_key[key] for name, key in decides.items() if key is not None}


class NothingFitsError(Exception):
    """No candidate fits the budget and the limits."""


class NothingMeasuredError(Exception):
    """Candidates fit the budget, and not one of them could be measured."""


def rank_key(candidate: Candidate, criterion: str) -> tuple[float, int, str]:
    """Sorts the best first: by criterion, then fewer bytes, then name."""
    value = float(f"{candidate.measures[criterion]:.{TIE_DIGITS}g}")
    return (-value if higher_is_better(criterion) else value, candidate.nbytes, candidate.name)


def margin(a: Candidate, b: Candidate, criterion: str) -> float | None:
    """Half of the 95% interval of the difference of two scores, from the same rows of both; None when it is unknown."""
    if criterion not in a.replicates or criterion not in b.replicates:
        return None
    return half_width(np.subtract(a.replicates[criterion], b.replicates[criterion]))


def tied(a: Candidate, b: Candidate, criterion: str) -> bool:
    """Whether two scores are equal, or differ by no more than their margin."""
    allowed = margin(a, b, criterion)
    return rank_key(a, criterion)[0] == rank_key(b, criterion)[0] or (
        allowed is not None and abs(a.measures[criterion] - b.measures[criterion]) <= allowed
    )


def _ranked(candidates: Iterable[Candidate], budget: int, criterion: str) -> list[Candidate]:
    """Those that fit the budget and have the measure, best first."""
    able = (c for c in candidates if c.nbytes <= budget and c.status == "measured" and criterion in c.measures)
    return sorted(able, key=lambda c: rank_key(c, criterion))


def _split(ranked: Iterable[Candidate], limit: Limit | None) -> tuple[list[Candidate], list[Candidate]]:
    """Those that are fast enough, and those that are not."""
    fast: list[Candidate] = []
    slow: list[Candidate] = []
    for candidate in ranked:
        (fast if limit is None or limit.allows(candidate.costs) else slow).append(candidate)
    return fast, slow


def _alternative(chosen: Candidate, ranking: list[Candidate], criterion: str) -> Alternative:
    has = criterion in chosen.measures
    return Alternative(
        criterion=criterion,
        best=ranking[0],
        rank=ranking.index(chosen) + 1 if has else None,
        ranked=len(ranking),
        tie=has and tied(ranking[0], chosen, criterion),
    )


def select(
    candidates: Sequence[Candidate], budget: int, criterion: str = "eos", limit: Limit | None = None
) -> Selection:
    """Choose the best candidate by `criterion` among those of at most `budget` bytes and lookups within `limit`.

    Raises:
        NothingFitsError: every candidate is larger than the budget, and the smallest is named; or looks rows up slower
            than the limit, and the fastest is named.
        NothingMeasuredError: some fit, none of them has the criterion.
    """
    check_fitting(candidates, budget)
    ranking, slower = _split(_ranked(candidates, budget, criterion), limit)
    if limit is not None and slower and not ranking:
        fastest = min(slower, key=lambda c: (c.costs[limit.key], c.name))
        raise NothingFitsError(
            f"no candidate within {budget:,} bytes is as fast as limits.lookup={limit.text}: the fastest, "
            f"{fastest.name}, takes {limit.says(fastest.costs)}; raise limits.lookup or add faster candidates"
        )
    if not ranking:
        reasons = "; ".join(
            f"{c.name}: {_why_out(c, budget, criterion, limit)}" for c in candidates if c.nbytes <= budget
        )
        raise NothingMeasuredError(f"no candidate that fits {budget:,} bytes has a {criterion}: {reasons}")
    chosen = ranking[0]
    beaten = [(c, _why_beaten(c, chosen, criterion)) for c in ranking[1:]]
    # In one order, whatever the order of the candidates: that of the chosen one's measures, then what it lacks.
    others = {**chosen.measures, **dict.fromkeys(sorted(key for c in candidates for key in c.measures))}
    out = sorted((c for c in candidates if c not in ranking), key=lambda c: (c.nbytes, c.name))
    return Selection(
        chosen=chosen,
        runner_up=ranking[1] if len(ranking) > 1 else None,
        ranking=ranking,
        slower=slower,
        rejected=beaten + [(c, _why_out(c, budget, criterion, limit)) for c in out],
        budget=budget,
        criterion=criterion,
        limit=limit,
        alternatives=[
            _alternative(chosen, ranked, key)
            for key in others
            if key != criterion and (ranked := _split(_ranked(candidates, budget, key), limit)[0])
        ],
    )


def check_fitting(candidates: Sequence[Candidate], budget: int) -> None:
    """Raise a NothingFitsError that names the smallest candidate where every one is larger than the budget."""
    if not any(c.nbytes <= budget for c in candidates):
        smallest = min(candidates, key=lambda c: (c.nbytes, c.name))
        raise NothingFitsError(
            f"nothing fits the budget of {budget:,} bytes: the smallest candidate, {smallest.name}, "
            f"needs {smallest.nbytes:,}; raise the budget or add smaller candidates"
        )


def _why_beaten(candidate: Candidate, chosen: Candidate, criterion: str) -> str:
    mine, best = rank_key(candidate, criterion), rank_key(chosen, criterion)
    if mine[0] != best[0]:
        value, top = candidate.measures[criterion], chosen.measures[criterion]
        side = "below" if higher_is_better(criterion) else "above"
        return f"{criterion} {value:.6g} is {abs(value - top):.3g} {side} the {top:.6g} of {chosen.name}"
    if mine[1] != best[1]:
        return f"{criterion} equals that of {chosen.name}, which needs {candidate.nbytes - chosen.nbytes:,} bytes fewer"
    return f"{criterion} and bytes equal those of {chosen.name}, which comes first by name"


def _why_out(candidate: Candidate, budget: int, criterion: str, limit: Limit | None) -> str:
    if candidate.nbytes > budget:
        computed = ": not computed" if candidate.status == "over_budget" else ""
        return f"{candidate.nbytes:,} bytes are {candidate.nbytes - budget:,} over the budget{computed}"
    if candidate.status == "failed":
        return f"failed: {candidate.reason}"
    if candidate.status == "screened":
        return f"{candidate.reason}"
    if criterion in candidate.measures and limit is not None:
        return f"a lookup takes {limit.says(candidate.costs)} as measured, limits.lookup allows {limit.text}"
    return f"{criterion} is undefined for it"


def why(selection: Selection) -> str:
    """The choice in a few sentences: what it is and how far it is to be trusted."""
    chosen, criterion = selection.chosen, selection.criterion
    fits = len(selection.ranking)
    within = f"{selection.budget:,} bytes"
    if selection.slower and selection.limit is not None:
        within += f" and limits.lookup={selection.limit.text}"
    text = (
        f"{chosen.name} has the best {criterion}, {chosen.measures[criterion]:.4f}, of the {fits} candidates measured "
        f"within {within}; it takes {chosen.nbytes:,}."
    )
    if screened := selection.screened:
        text += (
            f" Of {len(screened)} more, samples of rows show that each is worse than one that was measured "
            f"({says_confidence(screened[0][1])})."
        )
    if runner := selection.runner_up:
        second = runner.measures[criterion]
        if rank_key(runner, criterion)[0] == rank_key(chosen, criterion)[0]:
            text += f" The runner-up, {runner.name}, has the same {criterion} at {runner.nbytes:,}."
        else:
            gap = abs(chosen.measures[criterion] - second)
            text += f" The runner-up, {runner.name}, has {second:.4f} ({gap:.2g} away) at {runner.nbytes:,}."
            if tied(chosen, runner, criterion):
                text += (
                    f" That is a tie: between tables of other rows, as many and alike, the difference would vary by "
                    f"{margin(chosen, runner, criterion):.2g} either way."
                )
    if (best := selection.unlimited) is not None and selection.limit is not None:
        value = best.measures[criterion]
        text += (
            f" Without limits.lookup={selection.limit.text} it would be {best.name} with {value:.4f} "
            f"({abs(value - chosen.measures[criterion]):.2g} away), whose lookups take "
            f"{selection.limit.says(best.costs)}; those of {chosen.name} take {selection.limit.says(chosen.costs)}."
        )
    if others := selection.disagreeing:
        changes = " and ".join(
            f"{a.best.name} by {a.criterion} ({a.best.measures[a.criterion]:.6g}, the chosen one has "
            f"{chosen.measures[a.criterion]:.6g} and place {a.rank} of {a.ranked})"
            for a in others
        )
        text += f" The choice is sensitive to the criterion: it would be {changes}."
    return f"{text} {purpose(selection)}"


def purpose(selection: Selection) -> str:
    """Which question the choice answers, and what the other uses would have chosen, in a sentence."""
    others = [
        f"use={name} would choose {_instead(found, selection.chosen)} by {found.criterion}"
        for name, found in selection.other_uses.items()
    ]
    among = " (of those measured on all rows)" if selection.screened and others else ""
    return f"{'; '.join([f'The question was {question(selection.criterion)}', *others])}{among}."


def _instead(found: Alternative, chosen: Candidate) -> str:
    if found.best is chosen:
        return "the same"
    return f"{found.best.name}{', a tie,' if found.tie else ''}"
