"""How much faster a selection is with several processes: `python benchmarks/workers.py [--rows 1000000] [--workers 2]`.

Ten candidates of an (n, 128) float32 table, by one process and by several in turn, twice each; the ratio of the shorter
times of each. The candidates and the payload are compared. One process works on as many blocks of rows at a time as
there are processors, but some steps in one thread.

Results: benchmarks/workers.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from eigenselect.compressors import ByteCodebook, KMeans, Spectral, Uniform
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


def timed(search: Search, workers: int) -> tuple[float, Chosen]:
    """Seconds of a selection that knows nothing of the table yet, and its choice."""
    fresh = replace(search, table=EmbeddingTable(search.table.vectors), workers=workers)
    start = time.perf_counter()
    found = choose(fresh)
    return time.perf_counter() - start, found


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
    seconds = [min(turn[i][0] for turn in turns) for i in (0, 1)]
    print("| rows | candidates | one process | several | ratio |\n|" + "---|" * 5)
    print(
        f"| {args.rows:,} | {len(compressors)} | {seconds[0]:.1f} s | {seconds[1]:.1f} s, {args.workers} processes "
        f"| {seconds[0] / seconds[1]:.2f} |"
    )


if __name__ == "__main__":
    main()
