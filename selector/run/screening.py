"""A first look at the candidates of a large table: what cannot win is known from a sample of its rows.

Successive halving (Jamieson and Talwalkar 2016), with intervals in the place of halves: all candidates are made of a
small sample and measured on it, those that may still win on a larger one, and what is left on all rows. The choice is
made among these alone. `docs/method.md` says what the intervals rest on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eigenselect.compressors import Compressor, EmbeddingTable, ExactRows
from eigenselect.compressors.data.table import drawn
from eigenselect.selector.decision.selection import Candidate, Estimate
from eigenselect.selector.measures import BY_FREQUENCY, is_overlap
from eigenselect.selector.measures.confidence import half_width
from eigenselect.selector.progress import progress
from eigenselect.selector.run.engines import made
from eigenselect.selector.run.search import Search
from eigenselect.selector.run.trial import Trial, untried

FROM = 1 << 19
"""Rows of a table from which it pays for a ranking with fewer names (`benchmarks/screening.md`)."""

SAMPLES = (1 << 14, 1 << 16)
"""Rows of the samples, if those are `PER_COLUMN` a column or more."""

PER_COLUMN = 64

CONFIDENCE = 0.999
"""That of all the intervals of a selection together: that none of them leaves the best out."""

KEPT = 4
"""The best so many are measured on all rows, whatever a sample says: they are the ranking that people read."""

LEARNED, DIRECTIONS = 2.0, 0.5
"""How much better than on all rows a candidate may look on m rows of d columns: for each float32 that is stored once so
many parts of m·d, and of d/m. `benchmarks/screening.md` has how often that held."""


def rows_of_samples(search: Search) -> list[int]:
    """Rows of the samples that candidates are first looked at on; [] where nothing is left out.

    That is so of small tables, where it is not asked for, where lookups are limited, since the better candidate may be
    the slower one, and where a criterion other than an overlap score of the rows counted alike decides: of those it is
    known how far a sample goes.
    """
    n, d, criterion = search.table.n, search.table.d, search.criterion
    if not search.screening or search.limit is not None or not _seen_by(criterion) or n < FROM:
        return []
    scale = -(-PER_COLUMN * d // SAMPLES[0])
    return [rows for each in SAMPLES if (rows := max(1, scale) * each) <= n // 4]


def _seen_by(key: str) -> bool:
    """Whether it is known how far a sample goes for the measure: overlap scores of rows that are counted alike."""
    return is_overlap(key) and not key.endswith(BY_FREQUENCY)


def looked_at(search: Search) -> list[Compressor]:
    """The candidates that a sample may leave out, where nothing is known of them."""
    found = [compressor for compressor, nbytes in search.compressors if nbytes <= search.budget]
    return [compressor for compressor in found if compressor.seen_in_sample] if rows_of_samples(search) else []


def screened(search: Search, trials: Sequence[Trial], known: Mapping[str, Candidate]) -> list[Trial]:
    """The trials, with what became of those that samples of rows leave out.

    Args:
        search: what is searched.
        trials: candidates before any work, in the order of the search.
        known: name -> candidate that was measured on all rows before. It is not looked at, and leaves others out.
    """
    names = {compressor.name for compressor in looked_at(search)} - {*known}
    left = {trial.candidate.name: trial for trial in trials if trial.candidate.name in names}
    out: dict[str, Trial] = {}
    sizes = rows_of_samples(search)
    for rows in sizes:
        if len(left) + len(known) <= KEPT:
            break
        # Any may leave any other out, with each sample.
        coverage = 1 - (1 - CONFIDENCE) / (len(sizes) * (len(names) + len(known)))
        look = _look(search, rows, [*left.values()], known, coverage)
        found = _left_out(look, search.criterion)
        out |= {name: _as_screened(left[name], estimate) for name, estimate in found.items()}
        left = {name: trial for name, trial in left.items() if name in look.seen and name not in found}
    return [out.get(trial.candidate.name, trial) for trial in trials]


def unproven(candidates: Sequence[Candidate], criterion: str) -> list[int]:
    """Places of candidates that were left out for one that then could not be measured on all rows."""
    by_name = {candidate.name: candidate for candidate in candidates}

    def stands(candidate: Candidate) -> bool:
        while candidate.estimate is not None:  # what is better may itself have been left out, by a larger sample
            candidate = by_name[candidate.estimate.better]
        return criterion in candidate.measures

    return [place for place, candidate in enumerate(candidates) if candidate.estimate and not stands(candidate)]


@dataclass(frozen=True)
class _Look:
    """Candidates on a sample, beside those that are known.

    Attributes:
        rows: of the sample.
        keys: the overlap scores.
        seen: name -> candidate, measured on the sample.
        known: name -> candidate, measured on all rows.
        flattery: name -> how much better than on all rows a candidate may look.
        coverage: of each interval.
    """

    rows: int
    keys: list[str]
    seen: Mapping[str, Candidate]
    known: Mapping[str, Candidate]
    flattery: Mapping[str, float]
    coverage: float

    def value(self, name: str, key: str) -> float:
        """The score of a candidate, on all rows where that is known."""
        return (self.known.get(name) or self.seen[name]).measures[key]

    def spread(self, name: str, key: str) -> npt.NDArray[np.float64]:
        """The replicates of a score; one on all rows has no spread here."""
        return np.zeros(1) if name in self.known else np.array(self.seen[name].replicates[key])

    def best(self, key: str, count: int) -> list[str]:
        """Names of the best, when none is flattered."""
        names = [*self.seen, *self.known]
        return sorted(names, key=lambda name: (self.flattery[name] - self.value(name, key), name))[:count]


def _look(search: Search, rows: int, trials: Sequence[Trial], known: Mapping[str, Candidate], coverage: float) -> _Look:
    """Make the candidates of a sample of so many rows, and measure them on it; those that fail are left as they are."""
    ids = np.sort(drawn(search.table.n, rows, np.random.default_rng(search.seed)))
    counts = None if search.table.counts is None else search.table.counts[ids]
    small = dataclasses.replace(
        search,
        table=EmbeddingTable(np.ascontiguousarray(search.table.read(ids)), counts=counts),
        measures=dataclasses.replace(search.measures, row_weights=None),
        lookups=None,
        engine="processes",  # a sample is small: no cluster is asked for it
        workers=search.workers if search.engine == "processes" else 1,
    )
    given = [untried(_of_sample(trial.compressor, ids), trial.candidate.nbytes) for trial in trials]
    seen = {}
    with progress(f"screening on {rows:,} rows") as update, closing(made(small, given)) as results:
        for done, (trial, each) in enumerate(zip(trials, results, strict=True)):
            update(done, len(trials))
            if each.trial.candidate.replicates:
                seen[trial.candidate.name] = each.trial.candidate
    flattery = {trial.candidate.name: _flattery(trial.compressor, rows, search.table.d) for trial in trials}
    return _Look(rows, [*filter(_seen_by, small.keys)], seen, known, flattery | dict.fromkeys(known, 0.0), coverage)


def _flattery(compressor: Compressor, rows: int, d: int) -> float:
    """How much better than on all rows a candidate may look on `rows` rows that it learned from.

    Its numbers that are stored once, in the place of those that are learned, and the table's directions fit the sample.
    """
    own = compressor.then if isinstance(compressor, ExactRows) else compressor
    stored_once = (2 * own.nbytes(rows, d) - own.nbytes(2 * rows, d)) / 4
    return (LEARNED * stored_once / d + DIRECTIONS * d) / rows


def _of_sample(compressor: Compressor, ids: npt.NDArray[np.int64]) -> Compressor:
    """The method on these rows of the table: rows that it keeps exact are those of them that are there."""
    if not isinstance(compressor, ExactRows):
        return compressor
    rows = tuple(np.flatnonzero(np.isin(ids, compressor.rows)).tolist())
    return ExactRows(rows, compressor.then) if rows else compressor.then


def _left_out(look: _Look, criterion: str) -> dict[str, Estimate]:
    """What a sample says of those that it leaves out: by every overlap score another one is better."""
    found = {key: _beaten(look, key) for key in look.keys}
    out = {*look.seen}.intersection(*found.values()) - {*look.best(criterion, KEPT)}
    return {name: estimate for name, estimate in found[criterion].items() if name in out}


def _beaten(look: _Look, key: str) -> dict[str, Estimate]:
    """What the sample says of those that are worse by the measure than the best there is."""
    (best,) = look.best(key, 1)
    flattered, spread = look.flattery[best], look.spread(best, key)
    found = {}
    for name, candidate in look.seen.items():
        own, value = look.spread(name, key), candidate.measures[key]
        gap, allowed = look.value(best, key) - value, half_width(spread - own, look.coverage) + flattered
        if gap > allowed:
            found[name] = Estimate(
                criterion=key,
                value=value,
                half_width=half_width(own, look.coverage) + look.flattery[name],
                rows=look.rows,
                confidence=CONFIDENCE,
                better=best,
                gap=gap,
                least_gap=gap - allowed,
            )
    return found


def _as_screened(trial: Trial, estimate: Estimate) -> Trial:
    candidate = dataclasses.replace(trial.candidate, status="screened", reason=str(estimate), estimate=estimate)
    return dataclasses.replace(trial, candidate=candidate)
