"""What a selection would cost: bytes and memory from its settings, time from samples of rows of its table."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np

from eigenselect.compressors import Compressor, EmbeddingTable, ExactRows
from eigenselect.compressors.data.table import WORKERS, drawn
from eigenselect.compressors.training import spent_once
from eigenselect.export.verification.timing import all_threads, processor
from eigenselect.selector.decision.selection import check_fitting
from eigenselect.selector.measures.moments import table_rank
from eigenselect.selector.pool.digest import table_digest
from eigenselect.selector.pool.memory import available, needed
from eigenselect.selector.progress import progress
from eigenselect.selector.run.forecast import kind
from eigenselect.selector.run.lookups import Lookups
from eigenselect.selector.run.screening import looked_at, rows_of_samples
from eigenselect.selector.run.search import Search
from eigenselect.selector.run.tables.job import Part, TablesAssignment
from eigenselect.selector.run.trial import Trial, measure, timed, untried

SAMPLE_BYTES = 1 << 23
"""Of the larger of two samples, in float32. What methods learn from some rows they learn from the smaller one too."""

LARGEST_SHARE = 4
"""A sample has at most one in so many rows of the table."""

STEP = 4
"""The larger sample has so many times the rows of the smaller one."""


@dataclass(frozen=True)
class Planned:
    """A candidate that a selection would compute.

    Attributes:
        name: of the candidate.
        nbytes: exact bytes of its payload.
        memory_bytes: that it takes at least, above the table.
        seconds: estimate of the time until it is measured; None where the samples could not be compressed so.
    """

    name: str
    nbytes: int
    memory_bytes: int
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """What a selection would compute, and what that would take on this machine.

    Attributes:
        n: rows of the table.
        d: its columns.
        budget_bytes: what a candidate may take.
        candidates: those within the budget, of the most bytes first.
        over_budget: names of the others, which are never computed.
        left_out: settings that cannot be used here, each with why.
        memory_bytes: that the largest candidate takes at least, above the table.
        available_bytes: of memory, now.
        seconds: estimate of the time until all are measured, without those whose time is not known.
        sample_rows: rows of the two samples that were timed.
        processor: of this machine.
        threads: that this process may use.
        screened: names of those that samples of rows may leave out before.
        screened_rows: rows of these samples.
    """

    n: int
    d: int
    budget_bytes: int
    candidates: list[Planned]
    over_budget: list[str]
    left_out: list[str]
    memory_bytes: int
    available_bytes: int
    seconds: float
    sample_rows: list[int]
    processor: str
    threads: int
    screened: list[str]
    screened_rows: list[int]


def plan(search: Search) -> Plan:
    """What `search` would cost. Nothing of it is computed but samples of rows, and nothing is written.

    Of each kind of method the candidates of the most and of the fewest bytes are timed on two samples of rows, from the
    compression to the measures and, where they are asked for, the lookups. A line through the two times goes to the
    rows of the table, and one through the two candidates to the bytes of the others.

    Raises:
        NothingFitsError: every candidate is over the budget.
    """
    n, d = search.table.n, search.table.d
    check_fitting([untried(*each).candidate for each in search.compressors], search.budget)
    fitting = [each for each in search.compressors if each[1] <= search.budget]
    fitting.sort(key=lambda each: (-each[1], each[0].name))
    samples = [_sample(search, rows) for rows in _sizes(n, d)]
    once, seconds = _times(samples, fitting, n)
    candidates = [
        Planned(compressor.name, nbytes, needed(nbytes, n, d), took)
        for (compressor, nbytes), took in zip(fitting, seconds, strict=True)
    ]
    return Plan(
        n=n,
        d=d,
        budget_bytes=search.budget,
        candidates=candidates,
        over_budget=[compressor.name for compressor, nbytes in search.compressors if nbytes > search.budget],
        left_out=search.left_out,
        memory_bytes=max(each.memory_bytes for each in candidates),
        available_bytes=available(),
        seconds=once + sum(each.seconds or 0.0 for each in candidates),
        sample_rows=[each.table.n for each in samples],
        processor=processor(),
        threads=all_threads(),
        screened=[compressor.name for compressor in looked_at(search)],
        screened_rows=rows_of_samples(search),
    )


@dataclass(frozen=True)
class PlannedTable:
    """One of many tables under one budget.

    Attributes:
        name: of the table.
        n: its rows.
        d: its columns.
        candidates: how many would be computed.
        smallest_bytes: of the smallest of them.
        largest_bytes: of the largest.
        seconds: estimate of the time until all are measured.
    """

    name: str
    n: int
    d: int
    candidates: int
    smallest_bytes: int
    largest_bytes: int
    seconds: float


@dataclass(frozen=True)
class TablesPlan:
    """What a selection for many tables would compute, and what that would take on this machine.

    Attributes:
        budget_bytes: what all payloads may take.
        tables: each of them.
        left_out: tables of a pattern that are left as they are, each with why.
        memory_bytes: that the largest candidate takes at least, above the tables.
        available_bytes: of memory, now.
        seconds: estimate of the time until all are measured.
        timed: the table of which samples were timed, the largest.
        sample_rows: rows of the two samples.
        processor: of this machine.
        threads: that this process may use.
    """

    budget_bytes: int
    tables: list[PlannedTable]
    left_out: list[str]
    memory_bytes: int
    available_bytes: int
    seconds: float
    timed: str
    sample_rows: list[int]
    processor: str
    threads: int


def plan_tables(given: TablesAssignment) -> TablesPlan:
    """What a selection for many tables would cost: the largest by `plan`, the others by how many values they have.

    Raises:
        NothingFitsError: the smallest candidates together are over the budget.
    """
    given.check_fitting()
    largest = max(given.parts, key=_values)
    found = plan(largest.work)
    tables = [
        PlannedTable(
            name=part.name,
            n=part.work.table.n,
            d=part.work.table.d,
            candidates=len(part.fitting),
            smallest_bytes=part.fitting[0],
            largest_bytes=part.fitting[-1],
            seconds=found.seconds * _values(part) / _values(largest),
        )
        for part in given.parts
    ]
    return TablesPlan(
        budget_bytes=given.budget,
        tables=tables,
        left_out=given.left_out,
        memory_bytes=found.memory_bytes,
        available_bytes=found.available_bytes,
        seconds=sum(table.seconds for table in tables),
        timed=largest.name,
        sample_rows=found.sample_rows,
        processor=found.processor,
        threads=found.threads,
    )


def _values(part: Part) -> int:
    return part.work.table.n * part.work.table.d


class _Sample(EmbeddingTable):
    """Rows of a table, in as many blocks as keep the processors busy, as those of a large table do."""

    @property
    def block_rows(self) -> int:
        return max(1, -(-self.n // (2 * WORKERS)))


def _sizes(n: int, d: int) -> list[int]:
    """Rows of the two samples: no fewer than columns, no more than a part of the table."""
    larger = max(d, min(n // LARGEST_SHARE, SAMPLE_BYTES // (4 * d)))
    return [max(d, larger // STEP), larger]


def _sample(search: Search, rows: int) -> Search:
    """The search on so many rows of its table, drawn at random, with what candidates share not yet computed."""
    ids = np.sort(drawn(search.table.n, rows, np.random.default_rng(0)))
    lookups = search.lookups and Lookups(search.lookups.export, rows, search.table.d)
    return dataclasses.replace(search, table=_Sample(search.table.read(ids)), lookups=lookups)


def _times(samples: list[Search], fitting: list[tuple[Compressor, int]], n: int) -> tuple[float, list[float | None]]:
    """Seconds that are spent once, on this machine and on the table, and those of each candidate."""
    kinds: dict[str, dict[int, Compressor]] = {}
    for compressor, nbytes in fitting:
        kinds.setdefault(kind(_own(compressor)), {})[nbytes] = _own(compressor)
    began = spent_once()
    once = _on_line(samples, [_shared(each) for each in samples], n)
    ends: dict[str, dict[int, float | None]] = {}
    with progress("timing samples") as update:
        for done, (name, found) in enumerate(kinds.items()):
            update(done, len(kinds))
            first, again = (_measured(samples[0], found[min(found)])[0] for _ in range(2))
            once += max(0.0, first - again)
            ends[name] = {nbytes: _candidate(samples, found[nbytes], n) for nbytes in sorted({min(found), max(found)})}
    once += spent_once() - began
    return once, [_between(ends[kind(_own(compressor))], nbytes) for compressor, nbytes in fitting]


def _own(compressor: Compressor) -> Compressor:
    """The method without the rows that it keeps exact: a sample has other ids, and they are few."""
    return compressor.then if isinstance(compressor, ExactRows) else compressor


def _shared(search: Search) -> float:
    """Seconds of what is computed of a table once, whatever the candidates."""
    began, table = time.perf_counter(), search.table
    _ = table_digest(table), table_rank(table), table.zero_rows, table.histogram, table.spectrum
    return time.perf_counter() - began


def _candidate(samples: list[Search], compressor: Compressor, n: int) -> float | None:
    """About the seconds that the candidate takes on n rows; None where it fails on a sample."""
    (short, _), (long, trial) = (_measured(each, compressor) for each in samples)
    began = time.perf_counter()
    trial = timed(samples[-1], trial, samples[-1].seed)
    looked_up = time.perf_counter() - began
    return None if trial.candidate.status != "measured" else _on_line(samples, [short, long], n) + looked_up


def _measured(search: Search, compressor: Compressor) -> tuple[float, Trial]:
    """The seconds until a candidate is measured, without what this machine does once; and what became of it."""
    trial = untried(compressor, compressor.nbytes(search.table.n, search.table.d))
    began, once = time.perf_counter(), spent_once()
    trial = measure(search, trial, search.seed)
    return time.perf_counter() - began - (spent_once() - once), trial


def _on_line(samples: list[Search], seconds: list[float], n: int) -> float:
    """The time on n rows, from those on the samples."""
    smaller, larger = (each.table.n for each in samples)
    return on_line(smaller, seconds[0], larger, seconds[1], n)


def on_line(rows: int, seconds: float, more: int, longer: float, n: int) -> float:
    """The time on n rows, on the line through two times: it does not fall, and does not begin below zero.

    >>> on_line(1000, 2.0, 4000, 5.0, 10_000), on_line(1000, 3.0, 4000, 2.0, 10_000)
    (11.0, 2.0)
    >>> on_line(1000, 1.0, 4000, 8.0, 10_000), on_line(50, 1.0, 50, 1.0, 100)
    (20.0, 2.0)
    """
    slope = (longer - seconds) / (more - rows) if more > rows else longer / more
    return longer + min(max(slope, 0.0), longer / more) * (n - more)


def _between(ends: dict[int, float | None], nbytes: int) -> float | None:
    """Seconds of a candidate of so many bytes, from those of the fewest and of the most; None where one is unknown."""
    known = [seconds for seconds in ends.values() if seconds is not None]
    return float(np.interp(nbytes, [*ends], known)) if len(known) == len(ends) else None
