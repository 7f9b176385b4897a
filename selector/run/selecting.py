"""The choice, from a table in memory to the payload that is chosen: the sweep of every command, and a function."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eigenselect.compressors import Compressor, EmbeddingTable, Payload
from eigenselect.compressors.device import check_device
from eigenselect.export import OnnxExport
from eigenselect.selector.decision.lookup import Limit
from eigenselect.selector.decision.ranking import as_html, ranking, rest
from eigenselect.selector.decision.selection import Candidate, Selection, select
from eigenselect.selector.decision.uses import USES, UseName, criterion_of
from eigenselect.selector.measures import Measures
from eigenselect.selector.pool.budget import Budget
from eigenselect.selector.progress import reporting
from eigenselect.selector.run.lookups import Lookups
from eigenselect.selector.run.rules import is_seed
from eigenselect.selector.run.search import Search
from eigenselect.selector.run.search import candidates as candidates_of
from eigenselect.selector.run.settings import named_pool
from eigenselect.selector.run.sweep import Runs, check_failures, try_all
from eigenselect.selector.run.trial import Trial, compressed
from eigenselect.selector.sources import read_table
from eigenselect.selector.terminal import Terminal

if TYPE_CHECKING:  # it imports mlflow
    from eigenselect.selector.store.tracker import Tracker


WIDTH = 80
"""Characters of a line where a choice is written out."""


@dataclass(frozen=True, repr=False)
class Chosen:
    """What was chosen, and everything that it was chosen from.

    Attributes:
        selection: the decision with its reasons: `chosen`, `runner_up`, `ranking`, `rejected` and more.
        payload: what was chosen, compressed.
        compressor: the method that made it.
        trials: every candidate.
        float32_bytes: of the table.
    """

    selection: Selection
    payload: Payload
    compressor: Compressor
    trials: list[Trial]
    float32_bytes: int

    @property
    def candidates(self) -> list[Candidate]:
        """Every candidate with what became of it."""
        return [trial.candidate for trial in self.trials]

    def __repr__(self) -> str:
        chosen, criterion = self.selection.chosen, self.selection.criterion
        first = f"Chosen({chosen.name}, {chosen.nbytes:,} bytes, {criterion} {chosen.measures[criterion]:.4f})"
        out = io.StringIO()
        # In Jupyter rich would show it there and then, and write nothing.
        console = Terminal(file=out, width=WIDTH, force_jupyter=False, highlight=False, markup=False, emoji=False)
        console.print(ranking(self.selection, self.float32_bytes, WIDTH), rest(self.selection) or "")
        return "\n".join(line.rstrip() for line in [first, *out.getvalue().splitlines()]).rstrip()

    def _repr_html_(self) -> str:
        """The ranking and the choice, for a notebook."""
        return as_html(self.selection, self.float32_bytes)


def choose(search: Search, runs: Runs | None = None) -> Chosen:
    """Measure the candidates that fit, and choose one.

    Args:
        search: what is searched.
        runs: where candidates are logged and recalled from, if anywhere.

    Raises:
        NothingFitsError: every candidate is over the budget, or slower than the limit.
        TooManyFailedError: more candidates failed than allowed.
        NothingMeasuredError: of those that fit, none could be measured.
    """
    return chosen_of(search, measured(search, runs), runs)


def measured(search: Search, runs: Runs | None = None) -> list[Trial]:
    """Every candidate of the search with what became of it; see `try_all`.

    Raises:
        TooManyFailedError: more candidates failed than allowed.
    """
    trials = try_all(search, runs)
    tried = [trial.candidate for trial in trials if trial.candidate.status in ("measured", "failed")]
    check_failures({c.name: c.reason for c in tried if c.status == "failed"}, len(tried), search.allowed_failures)
    return trials


def chosen_of(search: Search, trials: list[Trial], runs: Runs | None = None) -> Chosen:
    """The choice among the trials of a search, with its payload.

    Raises:
        NothingFitsError: every candidate is over the budget, or slower than the limit.
        NothingMeasuredError: of those that fit, none could be measured.
    """
    selection = select([trial.candidate for trial in trials], search.budget, search.criterion, search.limit)
    trial = next(trial for trial in trials if trial.candidate is selection.chosen)
    payload = trial.payload
    if payload is None and not trial.compressor.reproducible and runs is not None:
        payload = runs.payload(trial)
    if payload is None:  # its measures are of an earlier run, or others were made since
        with reporting():
            payload = compressed(search, trial.compressor, search.seed)
    return Chosen(selection, payload, trial.compressor, trials, 4 * search.table.n * search.table.d)


def select_table(
    table: EmbeddingTable | npt.ArrayLike | str | Path,
    budget: str | int | float,
    *,
    tokens: Sequence[str] | None = None,
    candidates: str | Sequence[Compressor] = "quick",
    criterion: str | None = None,
    seed: int = 0,
    exact_rows: Sequence[int | str] = (),
    allowed_failures: float = 0.25,
    lookup: str | None = None,
    use: UseName | None = None,
    workers: int = 1,
    screening: bool = True,
    device: str | None = None,
    tracker: Tracker | None = None,
) -> Chosen:
    """Choose the best compressed form of an embedding table under a budget.

    The main job without its files: nothing is written, exported or logged, unless a `tracker` is given.

    Args:
        table: the table, an (n, d) array of finite floats, or the path of a file that `read_table` reads.
        budget: as for the command: "16MB", "16MiB", "12.5%" of the float32 table, "8x" a row, or bytes.
        tokens: of an array, one a row.
        candidates: name of a pool (`quick`, `auto`, `seeds`, `full`, ...), or compressors.
        criterion: metric key that decides; `weighted_eos` is the weighted overlap of exponent 1. None is that of the
            `use`, and `eos` without one.
        seed: of everything random, an integer of at least 0.
        exact_rows: ids and tokens of the rows that every candidate keeps in float16.
        allowed_failures: share of the computed candidates that may fail, from 0 to 1.
        lookup: how long a lookup of 8,192 ids may take in ONNX Runtime on one thread of this machine: "2x" a float32
            Gather, or "500ns" a row. Only then are lookups timed.
        use: what the rows are for. "trained": something is trained on top of them; decode matrices are left to it, and
            `Chosen.compressor.decode_matrix` gives that of the choice. "frozen": they are taken as they are.
            "retrieval": they are searched by cosine. Counts of a table weigh its rows.
        workers: processes that candidates are spread over. They import what the program that asks for them is, so that
            its own work must be under `if __name__ == "__main__":`.
        screening: whether candidates of a table of 2¹⁹ rows or more that cannot win are left out by samples of its
            rows; those that are left are measured on all (docs/method.md).
        device: "cuda" has a GPU measure and encode, None the processor.
        tracker: an MLflow experiment (`selector.store.tracker.connect`) in which the candidates become runs, and
            those that it has already are not measured again.

    Raises:
        ValueError: a table, a budget, a limit, a pool or rows that cannot be used.
        NothingFitsError: every candidate is over the budget, or slower than the limit.
        TooManyFailedError: more candidates failed than allowed.
        NothingMeasuredError: of those that fit, none could be measured.

    Example:
        >>> import numpy as np
        >>> from eigenselect.compressors import KMeans, Uniform
        >>> from eigenselect.selector.run.selecting import select_table
        >>> table = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
        >>> found = select_table(table, "2kB", candidates=[Uniform(2), Uniform(4), KMeans(2), KMeans(8)])
        >>> found
        Chosen(kmeans-b2, 1,016 bytes, eos 0.8876)
        #  candidate        MB   rate     EOS  rel. error  EOS p1  EOS p2  rel. PIP
        1  kmeans-b2   0.00102  15.7x  0.8876      0.3364  0.8884  0.8892    0.4596
        2  uniform-b2  0.00102  15.7x  0.8865      0.3382  0.8872  0.8879    0.4626
        >>> found.payload.read(slice(0, 3)).shape
        (3, 8)
        >>> [candidate.name for candidate, reason in found.selection.rejected]
        ['uniform-b2', 'uniform-b4', 'kmeans-b8']
    """
    if not is_seed(seed):
        raise ValueError(f"seed = {seed!r}: must be an integer of at least 0")
    if use is not None and use not in USES:
        raise ValueError(f"use = {use!r}: must be {', '.join(USES)} or None")
    if not 0 <= allowed_failures <= 1:
        raise ValueError(f"allowed_failures = {allowed_failures!r}: must be a share from 0 to 1")
    check_device(device)
    measures, limit = Measures(), None if lookup is None else Limit.parse(lookup)
    given = _table(table, tokens)
    allowed = Budget.parse(budget).nbytes(given.n, given.d)
    pool = named_pool(candidates) if isinstance(candidates, str) else candidates
    decides = criterion_of(measures, criterion, use, counts=given.counts is not None)
    compressors, left_out = candidates_of(given, allowed, pool, exact_rows, use=use, criterion=decides)
    search = Search(
        table=given,
        budget=allowed,
        compressors=compressors,
        left_out=left_out,
        criterion=decides,
        measures=measures,
        seed=seed,
        allowed_failures=allowed_failures,
        lookups=None if limit is None else Lookups(OnnxExport(), given.n, given.d),
        limit=limit,
        workers=workers,
        screening=screening,
        device=device,
    )
    if tracker is None:
        return choose(search)
    with tracker.parent("select_table", sweep=False) as parent:
        return choose(search, Runs.of(search, parent, resume=True))


def _table(given: EmbeddingTable | npt.ArrayLike | str | Path, tokens: Sequence[str] | None) -> EmbeddingTable:
    """The table that is given in one of several forms."""
    if isinstance(given, EmbeddingTable | str | Path):
        if tokens is not None:
            raise ValueError(
                "tokens are for an array: give EmbeddingTable(vectors, tokens), or read_table(path, tokens=)"
            )
        return given if isinstance(given, EmbeddingTable) else read_table(given)
    return EmbeddingTable(np.asarray(given), tokens)
