"""Candidates compressed, measured and trained on, each with each seed.

The run of a candidate and a seed is that of a selection with this seed, found by its `candidate_key` or made here, and
holds the scores beside the measures.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from eigenselect.selector.decision.selection import Candidate
from eigenselect.selector.evidence.plan import Plan, Trial, Words
from eigenselect.selector.evidence.tasks.base import Task, Vectors
from eigenselect.selector.progress import progress
from eigenselect.selector.run import trial as one
from eigenselect.selector.run.sweep import Runs
from eigenselect.selector.store.journal import Journal
from eigenselect.selector.store.output import journal_of
from eigenselect.selector.store.runs import ParentRun

LOGGED_EVERY = 5.0
"""Seconds of training after which scores are logged: what a kill can cost, beside the trials begun."""

AHEAD = 3
"""Trials that are begun while an earlier one is waited for: their vectors are in memory."""


@dataclass(frozen=True)
class Result:
    """What a candidate has and reaches with one seed.

    Attributes:
        candidate: with its measures, or with why it failed.
        seed: of compression and training.
        scores: task -> score.
    """

    candidate: Candidate
    seed: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Begun:
    """A trial whose candidate is measured, and whose tasks are being trained.

    Attributes:
        trial: the trial.
        candidate: with its measures, or with why it failed.
        scores: those that were logged by an earlier run.
        futures: task -> its score to come.
    """

    trial: Trial
    candidate: Candidate
    scores: dict[str, float]
    futures: dict[str, Future[float]]


def try_all(plan: Plan, parent: ParentRun) -> list[Result]:
    """The results of every trial: candidates are made one by one while the tasks of earlier ones are trained."""
    job = plan.job
    runs = Runs.of(job, parent, resume=job.settings.tracking.resume, journal=Journal(journal_of(job.out)))
    digests = {task.name: task.digest for task in plan.tasks}
    trials = plan.trials()
    done, total = 0, sum(len(trial.tasks) + 1 for trial in trials)
    results = []
    with _threads() as pool, progress("trying candidates") as update:
        training = Training(plan.words, pool)
        begun = (_begin(plan, runs, trial, digests, training) for trial in trials)
        for each in _ahead(begun, AHEAD):
            scores, candidate = dict(each.scores), each.candidate
            for name, score in _logged(parent, candidate, each.futures, digests):
                scores[name] = score
                update(done + len(scores), total)
            given = plan.scores.get((candidate.name, each.trial.seed))
            if given and candidate.status == "measured":
                logged = {task: (plan.scores_digest, score) for task, score in given.items()}
                parent.log_downstream(str(candidate.run_id), logged)
                scores |= given
            done += len(each.trial.tasks) + 1
            update(done, total)
            results.append(Result(candidate, each.trial.seed, scores))
    return results


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """One for each core; what has not begun when an error ends the work never does."""
    affinity = getattr(os, "sched_getaffinity", None)
    pool = ThreadPoolExecutor(len(affinity(0)) if affinity else os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(items: Iterable[Begun], count: int) -> Iterator[Begun]:
    """The items, each once `count` more are made."""
    waiting: deque[Begun] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


def _begin(plan: Plan, runs: Runs, trial: Trial, digests: Mapping[str, str], training: Training) -> Begun:
    """Compress and measure where no earlier run has, and start what is still to train."""
    made, scores = _measured(plan, runs, trial, digests)
    missing = [task for task in trial.tasks if task.name not in scores]
    if not missing or made.candidate.status != "measured":
        return Begun(trial, made.candidate, scores, {})
    payload = made.payload
    if payload is None:
        payload = trial.compressor.compress(plan.job.table, np.random.default_rng(trial.seed))
    decoded = plan.splitter.rows(payload).read(plan.words.rows)
    return Begun(trial, made.candidate, scores, training.start(missing, decoded, trial.seed))


def _measured(plan: Plan, runs: Runs, trial: Trial, digests: Mapping[str, str]) -> tuple[one.Trial, dict[str, float]]:
    """A candidate with its measures and its run, and the scores that it has already."""
    job, started = plan.job, time.time()
    untried = one.untried(trial.compressor, trial.nbytes)
    recalled = runs.recall(untried, trial.seed)
    if recalled is None:
        return runs.log(one.measure(job, untried, trial.seed), trial.seed, started), {}
    names = {task.name for task in trial.tasks}
    reached = job.tracker.downstream(str(recalled.candidate.run_id)) if names else {}
    scores = {name: score for name, (digest, score) in reached.items() if name in names and digest == digests[name]}
    return recalled, scores


class Training:
    """Tasks on a pool of threads; what depends on the vectors alone is done once for the same vectors.

    Many methods give the same vectors with every seed.
    """

    def __init__(self, words: Words, pool: ThreadPoolExecutor) -> None:
        self._words, self._pool = words, pool
        self._begun: dict[tuple[str, str, int | None], Future[float]] = {}

    def start(self, tasks: Sequence[Task], decoded: Vectors, seed: int) -> dict[str, Future[float]]:
        """The scores to come of `tasks` with the vectors `decoded` of all words."""
        content = hashlib.sha256(decoded.tobytes()).hexdigest()
        futures = {}
        for task in tasks:
            key = (task.name, content, seed if task.seeded else None)
            if key not in self._begun:
                self._begun[key] = self._pool.submit(task.score, *self._words.of(task, decoded), seed)
            futures[task.name] = self._begun[key]
        return futures


def _logged(
    parent: ParentRun, candidate: Candidate, futures: Mapping[str, Future[float]], digests: Mapping[str, str]
) -> Iterator[tuple[str, float]]:
    """Each task with its score as soon as that is there, logged with those before it."""
    waiting: dict[str, tuple[str, float]] = {}
    logged = time.monotonic()
    for place, (name, future) in enumerate(futures.items(), 1):
        score = future.result()
        waiting[name] = (digests[name], score)
        if time.monotonic() - logged > LOGGED_EVERY or place == len(futures):
            parent.log_downstream(str(candidate.run_id), waiting)
            waiting, logged = {}, time.monotonic()
        yield name, score
