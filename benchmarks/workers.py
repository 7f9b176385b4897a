"""How much faster a selection is with several processes: `python benchmarks/workers.py [--rows 1000000] [--workers 2]`.

Ten candidates of an (n, 128) float32 table, by one process and by several in turn, twice each; the ratio of the shorter
times of each. The candidates and the payload are compared.

One process works on as many blocks of rows at a time as there are processors, but some steps in one thread. How much
that is does not depend on what else the machine does: the CPU time of the thread that hands the blocks out. From it
follow the processors that one process keeps busy, and the most that several can win on as many processors.

Results: benchmarks/workers.md.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eigenselect.compressors import ByteCodebook, KMeans, Spectral, Uniform
from eigenselect.compressors.data import table as tables
from eigenselect.compressors.data.table import EmbeddingTable
from eigenselect.selector.run.search import Search, candidates
from eigenselect.selector.run.selecting import Chosen, choose

D = 128
POOL = [
    *(Uniform(bits) for bits in (1, 2, 4)),
    *(KMeans(bits) for bits in (1, 2, 4)),
    *(ByteCodebook(bits) for bits in (1, 2)),
    *(Spectral(then=KMeans(bits)) for bits in (1, 2)),
]


def write_table(path: Path, n: int) -> None:
    """An (n, D) table whose columns' standard deviations fall tenfold."""
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (n, D))
    rng, step = np.random.default_rng(0), 1 << 16
    for start in range(0, n, step):
        rows[start : start + step] = rng.standard_normal((min(step, n - start), D)) * np.linspace(1, 0.1, D)


@dataclass(frozen=True)
class Spent:
    """Seconds of a selection: by the clock, of all processors, and of those in the thread that began it."""

    wall: float
    cpu: float
    alone: float

    def busy(self, processors: int) -> float:
        """Processors that the process keeps busy, where nothing else runs."""
        return self.cpu / (self.alone + (self.cpu - self.alone) / processors)


def timed(search: Search, workers: int) -> tuple[Spent, Chosen]:
    """A selection that knows nothing of the table yet, and its choice."""
    fresh = replace(search, table=EmbeddingTable(search.table.vectors), workers=workers)
    before = clocks()
    found = choose(fresh)
    return Spent(*(float(seconds) for seconds in clocks() - before)), found


def clocks() -> npt.NDArray[np.float64]:
    """(3,) seconds: of the clock, of all threads of this process and of those that it started, of this thread."""
    used = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return np.array([time.perf_counter(), used, time.thread_time()])


def main() -> None:
    """Write, select in turn, compare, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_table(path := Path(folder) / "table.npy", args.rows)
        table = EmbeddingTable(np.load(path, mmap_mode="r"))
        budget = 4 * args.rows * D
        compressors, left_out = candidates(table, budget, POOL)
        search = Search(table=table, budget=budget, compressors=compressors, left_out=left_out)
        turns = [(timed(search, 1), timed(search, args.workers)) for _ in range(2)]
    (_, one), (_, several) = turns[0]
    assert one.candidates == several.candidates, "several processes measured other scores"
    for name, array in one.payload.arrays().items():
        np.testing.assert_array_equal(several.payload.arrays()[name], array)
    first, second = (min((turn[i][0] for turn in turns), key=lambda spent: spent.wall) for i in (0, 1))
    processors = min(tables.WORKERS, os.cpu_count() or 1)
    busy = first.busy(processors)
    print("| rows | one process | in one thread | keeps busy | several | ratio | at most |\n|" + "---|" * 7)
    print(
        f"| {args.rows:,} | {first.wall:.1f} s, {first.cpu:.1f} CPU-s | {first.alone:.1f} CPU-s "
        f"| {busy:.2f} of {processors} processors | {second.wall:.1f} s, {second.cpu:.1f} CPU-s in {args.workers} "
        f"| {first.wall / second.wall:.2f} | {processors / busy:.2f} |"
    )


if __name__ == "__main__":
    main()
