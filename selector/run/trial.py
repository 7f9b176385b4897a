"""One candidate, from its method to its measures: what any process does with it, and logs nothing of."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eigenselect.compressors import Compressor, Payload
from eigenselect.compressors.data.stored import Rows
from eigenselect.compressors.device import on_device, used
from eigenselect.compressors.training import spent_once
from eigenselect.selector.decision.selection import Candidate
from eigenselect.selector.pool.candidates import parameters
from eigenselect.selector.pool.digest import method_name
from eigenselect.selector.run.search import Search


@dataclass(frozen=True)
class Trial:
    """A candidate with what became of it, the method that makes it, and its payload while that is at hand."""

    candidate: Candidate
    compressor: Compressor
    payload: Payload | None = None


@dataclass(frozen=True)
class Made:
    """A trial with its measures, and what that took.

    Attributes:
        trial: of a candidate that was measured, or that failed.
        started: when its work began, in seconds of the clock.
        seconds: that it took, without what a process does but once.
    """

    trial: Trial
    started: float
    seconds: float


def untried(compressor: Compressor, nbytes: int) -> Trial:
    """A candidate before any work."""
    settings = parameters(compressor)
    made = Candidate(compressor.name, method_name(type(compressor)), settings, nbytes, "over_budget")
    return Trial(made, compressor)


def make(search: Search, trial: Trial) -> Made:
    """A candidate that fits, measured where no earlier run has done so, and timed."""
    started, began, once = time.time(), time.monotonic(), spent_once()
    known = trial.candidate.status == "measured"
    trial = timed(search, trial if known else measure(search, trial, search.seed), search.seed)
    return Made(trial, started, time.monotonic() - began - (spent_once() - once))


def measure(search: Search, trial: Trial, seed: int) -> Trial:
    """Compress and score; whatever goes wrong is that candidate's failure, not the sweep's."""
    try:
        payload = compressed(search, trial.compressor, seed)
        with on_device(search.device):
            found = search.measures(search.reference, _reader(payload), aligned=payload.aligned)
    except Exception as error:
        return failed(trial, f"{type(error).__name__}: {error}")
    candidate = dataclasses.replace(
        trial.candidate, status="measured", measures=found.values, replicates=found.replicates
    )
    return Trial(candidate, trial.compressor, payload)


def compressed(search: Search, compressor: Compressor, seed: int) -> Payload:
    """The table as the compressor stores it, made where the search asks for it."""
    with on_device(search.device):
        return compressor.compress(search.table, np.random.default_rng(seed))


def _reader(payload: Payload) -> Callable[[Rows], Any]:
    """What gives the rows of a payload to be summed."""
    if used() is None:
        return payload.read
    from eigenselect.compressors.payloads.on_device import reader  # and torch

    return reader(payload)


def timed(search: Search, trial: Trial, seed: int) -> Trial:
    """The trial with what its lookups cost, where that is asked for; figures that are known are kept.

    A candidate whose model cannot be made or run has failed.
    """
    lookups, candidate = search.lookups, trial.candidate
    if lookups is None or candidate.status != "measured" or lookups.serve(candidate.timed_on):
        return trial
    try:
        payload = trial.payload
        if payload is None:  # its measures are of an earlier run
            payload = compressed(search, trial.compressor, seed)
        costs = lookups(payload)
    except Exception as error:
        return failed(trial, f"{type(error).__name__}: {error}")
    candidate = dataclasses.replace(candidate, costs=costs, timed_on=lookups.timed_on)
    return Trial(candidate, trial.compressor, payload)


def failed(trial: Trial, reason: str) -> Trial:
    """The trial without what it had reached."""
    bare = untried(trial.compressor, trial.candidate.nbytes)
    return dataclasses.replace(bare, candidate=dataclasses.replace(bare.candidate, status="failed", reason=reason))
