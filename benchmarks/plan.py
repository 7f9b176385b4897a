"""What `eigenselect plan` says of the time of a selection, beside what its candidates take: in CPU-seconds.

    python benchmarks/plan.py [table.npy ...] [--budget 10%] [--pool quick]

Without a table one of 400,000 x 50 is made. CPU-seconds, because others may run beside; the plan itself counts seconds
by the clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from eigenselect.compressors import EmbeddingTable
from eigenselect.export import OnnxExport
from eigenselect.export.verification.timing import processor
from eigenselect.selector.pool.budget import Budget
from eigenselect.selector.run.lookups import Lookups
from eigenselect.selector.run.plan import plan
from eigenselect.selector.run.search import Search, candidates
from eigenselect.selector.run.settings import named_pool
from eigenselect.selector.run.sweep import try_all
from eigenselect.selector.sources import read_table


def made() -> EmbeddingTable:
    """A table of normal values, 400,000 x 50, whose columns have other scales."""
    rng = np.random.default_rng(0)
    return EmbeddingTable(rng.standard_normal((400_000, 50), np.float32) * np.geomspace(3, 0.3, 50, dtype=np.float32))


def seconds(work: Callable[[], object]) -> float:
    """CPU-seconds of `work`."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Print a line for each table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--budget", default="10%")
    parser.add_argument("--pool", default="quick")
    given = parser.parse_args()
    print(processor())
    for table in [read_table(path) for path in given.tables] or [made()]:
        budget = Budget.parse(given.budget).nbytes(table.n, table.d)
        compressors, left_out = candidates(table, budget, named_pool(given.pool))
        lookups = Lookups(OnnxExport(), table.n, table.d)
        search = Search(table=table, budget=budget, compressors=compressors, left_out=left_out, lookups=lookups)
        with mock.patch("time.perf_counter", time.process_time):
            said = []
            took = seconds(lambda: said.append(plan(search)))  # noqa: B023  # called at once
        fresh = replace(search, table=EmbeddingTable(table.vectors))
        real = seconds(lambda: try_all(fresh))  # noqa: B023
        print(
            f"{table.n:,} x {table.d}, {len(said[0].candidates)} candidates: plan took {took:.1f}, said "
            f"{said[0].seconds:.1f}, they take {real:.1f} CPU-seconds"
        )


if __name__ == "__main__":
    main()
