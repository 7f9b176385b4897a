"""The candidates of a search, compressed and measured, or taken from earlier runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eigenselect.compressors import Payload
from eigenselect.selector.decision.selection import Candidate, rank_key
from eigenselect.selector.pool.digest import candidate_key, source_digest
from eigenselect.selector.progress import progress, time_left
from eigenselect.selector.run.engines import made
from eigenselect.selector.run.forecast import Forecast
from eigenselect.selector.run.screening import rows_of_samples, screened, unproven
from eigenselect.selector.run.search import Search
from eigenselect.selector.run.trial import Trial, untried
from eigenselect.selector.terminal import warn

if TYPE_CHECKING:  # it imports mlflow, which takes seconds and which a sweep can do without
    from eigenselect.selector.store.experiment import Finished
    from eigenselect.selector.store.journal import Journal
    from eigenselect.selector.store.runs import ParentRun


class TooManyFailedError(Exception):
    """More candidates failed than `allowed_failures` admits."""


@dataclass(frozen=True)
class Runs:
    """Where the candidates of a search are logged, and what earlier runs have of them.

    Attributes:
        search: what is searched.
        parent: the run that candidates are logged under.
        earlier: candidates of the table that were measured, by their `candidate_key`.
        logged: keys of those that `parent` has already, where it goes on with what was begun.
        journal: where candidates are kept that cannot be logged, if anywhere.
    """

    search: Search
    parent: ParentRun
    earlier: Mapping[str, Finished]
    logged: frozenset[str]
    journal: Journal | None = None

    @staticmethod
    def of(search: Search, parent: ParentRun, *, resume: bool, journal: Journal | None = None) -> Runs:
        """Those of `parent`; without `resume` nothing earlier is known but what is in the journal."""
        earlier = parent.experiment.finished(search.digest) if resume else {}
        unlogged = {} if journal is None else journal.candidates()
        return Runs(search, parent, unlogged | earlier, parent.logged() if resume else frozenset(), journal)

    def knows(self, trial: Trial, seed: int) -> bool:
        """Whether an earlier run has measured the trial."""
        return self._key(trial, seed) in self.earlier

    def recall(self, trial: Trial, seed: int) -> Trial | None:
        """The trial as an earlier run measured it; None where none did.

        What would not be made again the same comes with the payload that was measured, or not at all.
        """
        found = self.earlier.get(self._key(trial, seed))
        if found is None or not (known := found.of(self.search.keys)):
            return None
        payload = None
        if not trial.compressor.reproducible:
            payload = None if found.run_id is None else self.parent.experiment.payload(found.run_id)
            if payload is None or payload.nbytes != trial.candidate.nbytes:
                return None
        candidate = dataclasses.replace(
            trial.candidate,
            status="measured",
            measures=known,
            replicates=found.replicates,
            costs=found.costs,
            timed_on=found.timed_on,
            run_id=found.run_id,
        )
        return Trial(candidate, trial.compressor, payload)

    def measured(self, trials: Sequence[Trial]) -> dict[str, Candidate]:
        """Name -> the candidate as an earlier run measured it, of the trials that would be made again the same."""
        asked = (trial for trial in trials if trial.compressor.reproducible)
        recalled = (self.recall(trial, self.search.seed) for trial in asked)
        return {trial.candidate.name: trial.candidate for trial in recalled if trial is not None}

    def payload(self, trial: Trial) -> Payload | None:
        """What was measured of a trial that would not be made again the same, as its run keeps it."""
        return None if trial.candidate.run_id is None else self.parent.experiment.payload(trial.candidate.run_id)

    def log(self, trial: Trial, seed: int, started: float) -> Trial:
        """The trial with its run: the one made here, or for a candidate that was recalled the one that measured it."""
        key, fresh = self._key(trial, seed), trial.candidate.run_id is None
        if not fresh and trial.candidate.timed_on != self.earlier[key].timed_on:
            self.parent.log_costs(trial.candidate)
        if key in self.logged and not fresh:
            return trial
        kept = trial.payload if fresh and not trial.compressor.reproducible else None
        try:
            run_id = self.parent.log_candidate(
                trial.candidate, key, self.search.digest, seed=seed, started=started, payload=kept
            )
        except Exception:
            if self.journal is not None and fresh and trial.candidate.status == "measured" and kept is None:
                self.journal.keep(key, trial.candidate)
            raise
        if self.journal is not None and key in self.earlier and fresh:
            self.journal.drop(key)
        return (
            dataclasses.replace(trial, candidate=dataclasses.replace(trial.candidate, run_id=run_id))
            if fresh
            else trial
        )

    def reused(self, trials: list[Trial]) -> int:
        """How many of the trials were recalled."""
        known = {found.run_id for found in self.earlier.values()} - {None}
        return sum(trial.candidate.run_id in known for trial in trials)

    def _key(self, trial: Trial, seed: int) -> str:
        """What the results of a candidate are found again by."""
        search, candidate = self.search, trial.candidate
        measured = [*dataclasses.astuple(search.measures), *filter(None, [search.device])]
        source = source_digest(trial.compressor)
        return candidate_key(candidate.compressor, candidate.parameters, source, search.digest, seed, measured)


def try_all(search: Search, runs: Runs | None = None) -> list[Trial]:
    """Every candidate with its measures; of the payloads only the best candidate's is kept, where it is at hand.

    Those that a first look at samples of rows leaves out are not measured on all rows (`screening`), unless what they
    were left out for fails there.

    Args:
        search: what is searched.
        runs: where candidates are logged and recalled from, if anywhere.
    """
    trials = [untried(compressor, nbytes) for compressor, nbytes in search.compressors]
    fitting = [place for place, trial in enumerate(trials) if trial.candidate.nbytes <= search.budget]
    sweep = _Sweep(search, runs, trials)
    if rows_of_samples(search):
        known = {} if runs is None else runs.measured([trials[place] for place in fitting])
        trials[:] = screened(search, trials, known)
    sweep.measure([place for place in fitting if trials[place].candidate.status != "screened"])
    while again := unproven([trial.candidate for trial in trials], search.criterion):
        for place in again:
            trials[place] = untried(*search.compressors[place])
        sweep.measure(again)
    best = sweep.best
    return [best if best is not None and each.candidate is best.candidate else each for each in trials]


class _Sweep:
    """Candidates on all rows: `trials` get what became of them."""

    def __init__(self, search: Search, runs: Runs | None, trials: list[Trial]) -> None:
        self._search, self._runs, self._trials = search, runs, trials
        self.best: Trial | None = None

    def measure(self, places: Sequence[int]) -> None:
        """Make and log the trials of these places."""
        search, runs, trials = self._search, self._runs, self._trials
        fresh = {place for place in places if runs is None or not runs.knows(trials[place], search.seed)}
        forecast = Forecast([trials[place].compressor for place in places if place in fresh])
        given = (
            trials[place] if runs is None else runs.recall(trials[place], search.seed) or trials[place]
            for place in places
        )
        now = ""

        def lines() -> str:
            return f"  now   {now}\n  best  {_standing(self.best, search)}"

        def left() -> str:
            seconds = forecast.left()
            return time_left(None if seconds is None else seconds / search.workers)

        with progress("measuring", left=left, lines=lines) as update, closing(made(search, given)) as results:
            for done, place in enumerate(places):
                update(done, len(places))
                now = trials[place].candidate.name
                forecast.begin()
                each = next(results)
                if place in fresh:
                    forecast.took(each.seconds)
                trial = each.trial if runs is None else runs.log(each.trial, search.seed, each.started)
                self.best = _better(self.best, trial, search)
                trials[place] = dataclasses.replace(trial, payload=None)


def _standing(best: Trial | None, search: Search) -> str:
    """The best so far in a few words."""
    if best is None:
        return "-"
    candidate = best.candidate
    score = f"{search.criterion} {candidate.measures[search.criterion]:.4f}"
    return f"{candidate.name}, {score}, {candidate.nbytes / 1e6:.3g} MB"


def _better(best: Trial | None, trial: Trial, search: Search) -> Trial | None:
    """The one to choose of the best so far and another."""
    criterion, limit, candidate = search.criterion, search.limit, trial.candidate
    if criterion not in candidate.measures or not (limit is None or limit.allows(candidate.costs)):
        return best
    return trial if best is None else min(best, trial, key=lambda each: rank_key(each.candidate, criterion))


def check_failures(failed: Mapping[str, str | None], tried: int, allowed: float) -> None:
    """Print why candidates failed, by name.

    Raises:
        TooManyFailedError: they are more than the share `allowed` of those that were tried.
    """
    for name, reason in failed.items():
        warn(f"{name} failed: {reason}")
    if len(failed) > allowed * tried:
        raise TooManyFailedError(
            f"{len(failed)} of {tried} candidates failed, allowed is a share of "
            f"{allowed}: see their reasons above, or raise allowed_failures"
        )
