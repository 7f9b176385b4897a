"""The job of `validate`: train on the candidates of a selection, and hold the measures against what is reached.

Each candidate is compressed, measured and tried with each seed. The run of a candidate and a seed is that of a
selection with this seed, found by its `candidate_key` or made here, and holds the scores beside the measures.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from threadpoolctl import threadpool_limits

from compressors import Compressor, Payload
from compressors.training import progress
from selector import pipeline
from selector.evidence import report
from selector.evidence.comparison import compare
from selector.evidence.scores import Scores, read_scores
from selector.evidence.statistics import SMALLEST
from selector.evidence.tasks import Ids, Known, Task, Vectors, find, rows_of_words
from selector.output import staged
from selector.pipeline import Job, check_failures, identify, measure, plain, profile
from selector.selection import Candidate
from selector.tracking import ParentRun

SETTINGS = {"tasks", "include", "model", "seeds", "scores"}

LOGGED_EVERY = 5.0
"""Seconds of training after which scores are logged: what a kill can cost, beside the trials begun."""

AHEAD = 3
"""Trials that are begun before the first of them is waited for: their vectors are in memory."""


@dataclass(frozen=True)
class Words:
    """The words of all tasks, and where each task's are among them.

    Attributes:
        rows: rows of the table that are decoded.
        at: task -> (words,) place of each of its words in `rows`; -1 of one that the table lacks.
    """

    rows: Ids
    at: dict[str, Ids]

    def of(self, task: Task, decoded: Vectors) -> tuple[Vectors, Known]:
        """The vectors of a task's words, zero where the table has none, and which are known."""
        known = self.at[task.name] >= 0
        vectors = decoded[self.at[task.name]]
        vectors[~known] = 0
        return vectors, known


@dataclass(frozen=True)
class Plan:
    """Everything that a run rests on, read and checked.

    Attributes:
        settings: the resolved configuration.
        job: the selection whose candidates are tried.
        compressors: those within the budget, with their bytes.
        tasks: what is done with each candidate and seed.
        left_out: tasks none of whose words the table has.
        seeds: of compression and training.
        words: of the tasks.
        scores: the user's own.
        scores_digest: of their file.
    """

    settings: DictConfig
    job: Job
    compressors: list[tuple[Compressor, int]]
    tasks: list[Task]
    left_out: list[str]
    seeds: list[int]
    words: Words
    scores: Scores
    scores_digest: str

    def trials(self) -> list[Trial]:
        """Every candidate with each of its seeds: those of training, and those of the user's scores."""
        found = []
        for compressor, nbytes in self.compressors:
            given = {seed for name, seed in self.scores if name == compressor.name}
            trained = {*self.seeds} if self.tasks else set()
            for seed in sorted(given | trained):
                able = [task for task in self.tasks if task.shape is None or compressor.keeps_dimension]
                found.append(Trial(compressor, nbytes, seed, able if seed in trained else []))
        return found


@dataclass(frozen=True)
class Trial:
    """One candidate to be tried with one seed.

    Attributes:
        compressor: its method.
        nbytes: its bytes.
        seed: of compression and training.
        tasks: what is trained.
    """

    compressor: Compressor
    nbytes: int
    seed: int
    tasks: list[Task]


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


def prepare(settings: DictConfig) -> Plan:
    """Read and check everything that comes from the user, the cheap things first.

    Raises:
        ValueError: any of it cannot be used.
    """
    OmegaConf.resolve(settings)
    wanted = settings.validate
    if not isinstance(wanted, DictConfig):
        raise ValueError(f"validate = {wanted!r}: give its settings one by one, validate.tasks=FOLDER for example")
    for unknown in sorted({*wanted} - SETTINGS):
        raise ValueError(f"there is no setting validate.{unknown}; there are {', '.join(sorted(SETTINGS))}")
    include, seeds = plain(wanted.include), plain(wanted.seeds)
    if not isinstance(include, list) or not include or not all(isinstance(each, str) for each in include):
        raise ValueError(f'validate.include = {include!r}: must be a list of names of tasks, for example ["linear_*"]')
    if (
        not isinstance(seeds, list)
        or not seeds
        or not all(type(each) is int and each >= 0 for each in seeds)
        or len({*seeds}) < len(seeds)
    ):
        raise ValueError(f"validate.seeds = {seeds!r}: must be a list of different integers of at least 0")
    if wanted.tasks is None and wanted.scores is None:
        raise ValueError("required and not given: validate.tasks=FOLDER or validate.scores=FILE")
    model, vocabulary = (
        None if given is None else Path(str(given)) for given in (wanted.model, settings.table.get("tokens"))
    )
    tasks = [] if wanted.tasks is None else find(Path(str(wanted.tasks)), include, model, vocabulary)
    if model is not None and not any(task.shape for task in tasks):
        raise ValueError(
            f"validate.model = {model} has no use: add similarity_NAME or retrieval_squad, which need it, to "
            "validate.include, with their files in validate.tasks"
        )
    scores, digest = ({}, "") if wanted.scores is None else read_scores(Path(str(wanted.scores)), settings.seed)
    if both := sorted({task.name for task in tasks} & {name for each in scores.values() for name in each}):
        raise ValueError(f"validate.scores has the task {both[0]}, which is trained too: give it another name")

    job = pipeline.prepare(OmegaConf.masked_copy(settings, [str(key) for key in settings if key != "validate"]))
    if unfit := [task.shape for task in tasks if task.shape not in (None, (job.table.n, job.table.d))]:
        n, d = unfit[0]
        raise ValueError(
            f"validate.model = {model} has a table of {n} x {d}, the one to compress is {job.table.n} x {job.table.d}: "
            "give the model that it belongs to, and all of its rows"
        )
    fitting = [(compressor, nbytes) for compressor, nbytes in job.compressors if nbytes <= job.budget]
    if len(fitting) < SMALLEST:
        raise ValueError(
            f"{len(fitting)} candidates are within {job.budget:,} bytes: at least {SMALLEST} are needed; "
            "raise the budget or add candidates"
        )
    names = {compressor.name for compressor, _ in fitting}
    if unknown_names := sorted({name for name, _ in scores} - names):
        raise ValueError(
            f"validate.scores has {len(unknown_names)} candidates that are not among the {len(names)} within the "
            f"budget (first: {', '.join(unknown_names[:3])}): take the names of candidates.csv"
        )
    if tasks and job.table.tokens is None:
        raise ValueError("validate.tasks needs the tokens of the table: give them as table.tokens")
    row_of = {token: row for row, token in enumerate(job.table.tokens or ())} if tasks else {}
    rows = {task.name: rows_of_words(task.words, row_of) for task in tasks}
    left_out = [task.name for task in tasks if task.missing(rows[task.name] >= 0) == 1]
    if tasks and len(left_out) == len(tasks):
        raise ValueError(
            f"the table has no word of any task in {wanted.tasks}: its tokens are of another kind, "
            f"{job.table.tokens[0]!r} for example"  # type: ignore[index]
        )
    tasks = [task for task in tasks if task.name not in left_out]
    return Plan(
        settings,
        job,
        fitting,
        tasks,
        left_out,
        seeds,
        _words({task.name: rows[task.name] for task in tasks}),
        scores,
        digest,
    )


def _words(rows: dict[str, Ids]) -> Words:
    """The places of each task's rows among all of them; -1 stays."""
    every = np.unique(np.concatenate([np.zeros(0, np.int64), *rows.values()]))
    every = every[every >= 0]
    return Words(every, {name: np.where(each >= 0, np.searchsorted(every, each), -1) for name, each in rows.items()})


def run(plan: Plan, console: Console, *, sweep: bool) -> dict[str, Any]:
    """Try every candidate, and write and log what the measures are worth.

    Args:
        plan: what `prepare` gave.
        console: where the summary is printed.
        sweep: this is one of several jobs of a Hydra multirun.

    Returns:
        The content of `evidence.json`.

    Raises:
        TooManyFailedError: more candidates failed than allowed.
    """
    job = plan.job
    path = str(job.settings.table.path)
    with job.tracker.parent(f"validate {Path(path).name}", sweep=sweep, role="evidence") as parent:
        parent.log_settings({"table": path, "seeds": plan.seeds}, OmegaConf.to_yaml(plan.settings))
        parent.log_table(Path(path).name, path, job.digest, profile(job))
        if plan.left_out:
            console.print(f"The table has no word of {', '.join(plan.left_out)}: left out.")
        own = ", ".join(task.name for task in plan.tasks if task.shape is not None)
        if own and (others := [one.name for one, _ in plan.compressors if not one.keeps_dimension]):
            console.print(f"No score on {own}, whose model expects the table's own columns: {', '.join(others)}.")
        with threadpool_limits(limits=1, user_api="blas"):
            results = _try_all(plan, parent)
        failed = {result.candidate.name: result.candidate.reason for result in results if not result.candidate.measures}
        check_failures(failed, len(plan.compressors), job.settings.allowed_failures)
        evidence = _evidence(plan, parent, results)
        with staged(job.out, report.FILES) as folder:
            report.write(folder, evidence)
            parent.log_files(folder)
    report.show(console, evidence)
    console.print(f"\nFiles: {job.out}", soft_wrap=True)
    console.print(f"UI:    {job.tracker.address(job.digest)}", soft_wrap=True)
    return evidence


def _try_all(plan: Plan, parent: ParentRun) -> list[Result]:
    """The results of every trial: candidates are made one by one while the tasks of earlier ones are trained."""
    job = plan.job
    earlier = job.tracker.finished(job.digest) if job.settings.tracking.resume else {}
    digests = {task.name: task.digest for task in plan.tasks}
    trials = plan.trials()
    done, total = 0, sum(max(len(trial.tasks), 1) for trial in trials)
    results: list[Result] = []
    begun: deque[tuple[Trial, Candidate, dict[str, float], dict[str, Future[float]]]] = deque()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool, progress("training") as update:
        training = Training(plan.words, pool)

        def finish() -> None:
            nonlocal done
            trial, candidate, scores, futures = begun.popleft()
            for name, score in _logged(parent, candidate, futures, digests):
                scores[name] = score
                update(done + len(scores), total)
            if candidate.status == "measured" and (given := plan.scores.get((candidate.name, trial.seed))):
                logged = {task: (plan.scores_digest, score) for task, score in given.items()}
                parent.log_downstream(str(candidate.run_id), logged)
                scores |= given
            done += max(len(trial.tasks), 1)
            update(done, total)
            results.append(Result(candidate, trial.seed, scores))

        try:
            for trial in trials:
                candidate, payload, scores = _candidate(plan, parent, trial, earlier, digests)
                futures: dict[str, Future[float]] = {}
                missing = [task for task in trial.tasks if task.name not in scores]
                if missing and candidate.status == "measured":
                    if payload is None:
                        payload = trial.compressor.compress(job.table, np.random.default_rng(trial.seed))
                    futures = training.start(missing, payload.read(plan.words.rows), trial.seed)
                begun.append((trial, candidate, scores, futures))
                while len(begun) > AHEAD or (begun and all(future.done() for future in begun[0][-1].values())):
                    finish()
            while begun:
                finish()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


class Training:
    """Tasks on a pool of threads; what depends on the vectors alone is done once for the same vectors.

    Many methods give the same vectors with every seed.
    """

    def __init__(self, words: Words, pool: ThreadPoolExecutor) -> None:
        self._words, self._pool = words, pool
        self._begun: dict[tuple[str, str], Future[float]] = {}

    def start(self, tasks: Sequence[Task], decoded: Vectors, seed: int) -> dict[str, Future[float]]:
        """The scores to come of `tasks` with the vectors `decoded` of all words."""
        content = hashlib.sha256(decoded.tobytes()).hexdigest()
        futures = {}
        for task in tasks:
            future = None if task.seeded else self._begun.get((task.name, content))
            if future is None:
                future = self._pool.submit(task.score, *self._words.of(task, decoded), seed)
                if not task.seeded:
                    self._begun[task.name, content] = future
            futures[task.name] = future
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


def _candidate(
    plan: Plan,
    parent: ParentRun,
    trial: Trial,
    earlier: Mapping[str, tuple[str, dict[str, float], dict[str, tuple[float, ...]]]],
    digests: Mapping[str, str],
) -> tuple[Candidate, Payload | None, dict[str, float]]:
    """A candidate with its measures and its run, the payload if it was made now, and the scores that it has already."""
    job = plan.job
    candidate, key = identify(job, trial.compressor, trial.nbytes, trial.seed)
    run_id, metrics, _ = earlier.get(key, (None, {}, {}))
    known = {name: metrics[name] for name in job.measures.keys if name in metrics}
    if run_id is not None and known:
        names = {task.name for task in trial.tasks}
        reached = job.tracker.downstream(run_id) if names else {}
        scores = {name: score for name, (digest, score) in reached.items() if name in names and digest == digests[name]}
        return dataclasses.replace(candidate, status="measured", measures=known, run_id=run_id), None, scores
    started = time.time()
    candidate, payload = measure(job, trial.compressor, candidate, trial.seed)
    run_id = parent.log_candidate(candidate, key, job.digest, seed=trial.seed, started=started)
    return dataclasses.replace(candidate, run_id=run_id), payload, {}


def _evidence(plan: Plan, parent: ParentRun, results: Sequence[Result]) -> dict[str, Any]:
    """The content of `evidence.json`."""
    job = plan.job
    rows = [
        {
            "candidate": result.candidate.name,
            "nbytes": result.candidate.nbytes,
            "seed": result.seed,
            "status": result.candidate.status,
            "reason": result.candidate.reason,
            "measures": result.candidate.measures,
            "scores": result.scores,
            "run_id": result.candidate.run_id,
        }
        for result in results
    ]
    names = sorted({name for result in results for name in result.scores})
    statistics, overall = compare(rows, job.measures.keys, names)
    tasks: dict[str, Any] = {}
    for name in names:
        trained = next((task for task in plan.tasks if task.name == name), None)
        missing = None if trained is None else trained.missing(plan.words.at[name] >= 0)
        files = [] if trained is None else [path.name for path in trained.files]
        tasks[name] = {"files": files, "missing": missing, "measures": statistics[name]}
    return {
        "table": {"path": str(job.settings.table.path), **profile(job), "digest": job.digest},
        "budget_bytes": job.budget,
        "seeds": sorted({result.seed for result in results}),
        "definitions": report.DEFINITIONS,
        "tasks": tasks,
        "overall": overall,
        "left_out": plan.left_out,
        "results": rows,
        "run_id": parent.run_id,
    }
