"""The candidates of a job, compressed and measured, or taken from earlier runs."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping

import numpy as np

from eigenselect.compressors import Compressor, Payload
from eigenselect.compressors.training import progress
from eigenselect.selector.decision.selection import Candidate, rank_key
from eigenselect.selector.measures.moments import moments
from eigenselect.selector.pool.candidates import parameters
from eigenselect.selector.pool.digest import candidate_key
from eigenselect.selector.run.job import Job
from eigenselect.selector.store.runs import ParentRun

Earlier = Mapping[str, tuple[str, dict[str, float], dict[str, tuple[float, ...]]]]
"""`candidate_key` -> run, metrics and replicates of a candidate that was finished."""


class TooManyFailedError(Exception):
    """More candidates failed than `allowed_failures` admits."""


def measure_all(job: Job, parent: ParentRun) -> tuple[list[Candidate], tuple[str, Payload] | None, int]:
    """Every candidate with its measures, the best payload among those computed now, and how many were reused."""
    earlier = job.tracker.finished(job.digest) if job.settings.tracking.resume else {}
    candidates: list[Candidate] = []
    best: tuple[tuple[float, int, str], Payload] | None = None
    reused = 0
    with progress("measuring candidates") as update:
        for done, (compressor, nbytes) in enumerate(job.compressors):
            update(done, len(job.compressors))
            candidate, key = identify(job, compressor, nbytes, job.settings.seed)
            candidate = recall(job, candidate, key, earlier)
            fits = nbytes <= job.budget
            if candidate.status == "measured":
                reused += 1
            elif fits or candidate.run_id is None:
                started = time.time()
                if fits:
                    candidate, payload = measure(job, compressor, candidate, job.settings.seed)
                    if payload is not None and job.settings.criterion in candidate.measures:
                        rank = rank_key(candidate, job.settings.criterion)
                        best = (rank, payload) if best is None or rank < best[0] else best
                logged = parent.log_candidate(candidate, key, job.digest, seed=job.settings.seed, started=started)
                candidate = dataclasses.replace(candidate, run_id=logged)
            candidates.append(candidate)
    return candidates, None if best is None else (best[0][2], best[1]), reused


def identify(job: Job, compressor: Compressor, nbytes: int, seed: int) -> tuple[Candidate, str]:
    """A candidate before any work, and the key under which its results are found again."""
    settings = parameters(compressor)
    candidate = Candidate(compressor.name, type(compressor).__name__, settings, nbytes, "over_budget")
    measured = job.settings.measures
    key = candidate_key(candidate.compressor, settings, job.digest, seed, [measured.lambdas, measured.exponents])
    return candidate, key


def recall(job: Job, candidate: Candidate, key: str, earlier: Earlier) -> Candidate:
    """The candidate as an earlier run left it: with that run, and its measures where it fits the budget."""
    if key not in earlier:
        return candidate
    run_id, metrics, replicates = earlier[key]
    known = {name: metrics[name] for name in job.measures.keys if name in metrics}
    if not known or candidate.nbytes > job.budget:
        return dataclasses.replace(candidate, run_id=run_id)
    return dataclasses.replace(candidate, status="measured", measures=known, replicates=replicates, run_id=run_id)


def measure(job: Job, compressor: Compressor, candidate: Candidate, seed: int) -> tuple[Candidate, Payload | None]:
    """Compress and score; whatever goes wrong is that candidate's failure, not the sweep's."""
    try:
        payload = compressor.compress(job.table, np.random.default_rng(seed))
        found = moments(job.table, payload.read, aligned=payload.aligned)
        scores, replicates = job.measures(found), job.measures.replicates(found)
    except Exception as error:
        return dataclasses.replace(candidate, status="failed", reason=f"{type(error).__name__}: {error}"), None
    return dataclasses.replace(candidate, status="measured", measures=scores, replicates=replicates), payload


def check_failures(failed: Mapping[str, str | None], tried: int, allowed: float) -> None:
    """Tell why candidates failed, by name.

    Raises:
        TooManyFailedError: they are more than the share `allowed` of those that were tried.
    """
    for name, reason in failed.items():
        print(f"{name} failed: {reason}", file=sys.stderr)
    if len(failed) > allowed * tried:
        raise TooManyFailedError(
            f"{len(failed)} of {tried} candidates failed, allowed is a share of "
            f"{allowed}: see their reasons above, or raise allowed_failures"
        )
