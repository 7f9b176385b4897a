"""What `validate` is asked to do, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eigenselect.compressors import Compressor
from eigenselect.selector.evidence.analysis.scores import Scores, read_scores
from eigenselect.selector.evidence.analysis.statistics import SMALLEST
from eigenselect.selector.evidence.tasks import texts
from eigenselect.selector.evidence.tasks.base import Ids, Known, Task, Vectors, rows_of_words
from eigenselect.selector.evidence.tasks.catalogue import find
from eigenselect.selector.run import job as selection
from eigenselect.selector.run.job import Job
from eigenselect.selector.run.settings import EvidenceSettings, ValidateSettings
from eigenselect.selector.sources import static


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
        settings: as they were given.
        job: the selection whose candidates are tried.
        compressors: those within the budget, with their bytes.
        tasks: what is done with each candidate and seed.
        left_out: tasks none of whose words the table has.
        seeds: of compression and training.
        words: of the tasks.
        splitter: what made them of texts.
        scores: the user's own.
        scores_digest: of their file.
    """

    settings: EvidenceSettings
    job: Job
    compressors: list[tuple[Compressor, int]]
    tasks: list[Task]
    left_out: list[str]
    seeds: list[int]
    words: Words
    splitter: texts.Splitter
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


def prepare(settings: EvidenceSettings) -> Plan:
    """Read and check everything that comes from the user, the cheap things first.

    Raises:
        ValueError: any of it cannot be used.
    """
    wanted = settings.validate
    path = Path(settings.selection.table.path)
    model = static.read(path) if path.is_dir() else None
    splitter = texts.Words() if model is None else texts.StaticTokens(model)
    tasks = _tasks(wanted, splitter, settings.selection.table.tokens)
    scores, digest = ({}, "") if wanted.scores is None else read_scores(wanted.scores, settings.selection.seed)
    if both := sorted({task.name for task in tasks} & {name for each in scores.values() for name in each}):
        raise ValueError(f"validate.scores has the task {both[0]}, which is trained too: give it another name")
    job = selection.prepare(settings.selection)
    if unfit := [task.shape for task in tasks if task.shape not in (None, (job.table.n, job.table.d))]:
        n, d = unfit[0]
        raise ValueError(
            f"validate.model = {wanted.model} has a table of {n} x {d}, the one to compress is {job.table.n} x "
            f"{job.table.d}: give the model that it belongs to, and all of its rows"
        )
    fitting = _fitting(job, scores)
    rows = _rows(wanted, tasks, splitter.row_of(job.table.tokens)) if tasks else {}
    return Plan(
        settings=settings,
        job=job,
        compressors=fitting,
        tasks=[task for task in tasks if task.name in rows],
        left_out=[task.name for task in tasks if task.name not in rows],
        seeds=wanted.seeds,
        words=_words(rows),
        splitter=splitter,
        scores=scores,
        scores_digest=digest,
    )


def _tasks(wanted: ValidateSettings, splitter: texts.Splitter, vocabulary: str | None) -> list[Task]:
    """The tasks that are wanted; `vocabulary` is the file of the table's tokens."""
    pieces = None if vocabulary is None else Path(vocabulary)
    tasks = [] if wanted.tasks is None else find(wanted.tasks, wanted.include, splitter, wanted.model, pieces)
    if wanted.model is not None and not any(task.shape for task in tasks):
        raise ValueError(
            f"validate.model = {wanted.model} has no use: add similarity_NAME or retrieval_squad, which need it, to "
            "validate.include, with their files in validate.tasks"
        )
    return tasks


def _fitting(job: Job, scores: Scores) -> list[tuple[Compressor, int]]:
    """The candidates within the budget, with their bytes: enough of them, and all that have scores."""
    fitting = [(compressor, nbytes) for compressor, nbytes in job.compressors if nbytes <= job.budget]
    if len(fitting) < SMALLEST:
        raise ValueError(
            f"{len(fitting)} candidates are within {job.budget:,} bytes: at least {SMALLEST} are needed; "
            "raise the budget or add candidates"
        )
    names = {compressor.name for compressor, _ in fitting}
    if unknown := sorted({name for name, _ in scores} - names):
        raise ValueError(
            f"validate.scores has {len(unknown)} candidates that are not among the {len(names)} within the "
            f"budget (first: {', '.join(unknown[:3])}): take the names of candidates.csv"
        )
    return fitting


def _rows(wanted: ValidateSettings, tasks: Sequence[Task], row_of: Mapping[str, int]) -> dict[str, Ids]:
    """Task -> the row of each of its words, of every task that the table has a word of."""
    rows = {task.name: rows_of_words(task.words, row_of) for task in tasks}
    found = {task.name: rows[task.name] for task in tasks if task.missing(rows[task.name] >= 0) != 1}
    if not found:
        raise ValueError(
            f"the table has no word of any task in {wanted.tasks}: its tokens are of another kind, "
            f"{next(iter(row_of))!r} for example"
        )
    return found


def _words(rows: dict[str, Ids]) -> Words:
    """The places of each task's rows among all of them; -1 stays."""
    every = np.unique(np.concatenate([np.zeros(0, np.int64), *rows.values()]))
    every = every[every >= 0]
    return Words(every, {name: np.where(each >= 0, np.searchsorted(every, each), -1) for name, each in rows.items()})
