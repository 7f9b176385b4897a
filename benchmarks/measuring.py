"""Time and memory of candidates with all their measures on a 400,000 x 300 table: `python benchmarks/measuring.py`.

First uniform codes of 2 bits alone, then a selection among forty candidates that are found without training, each in a
process of its own. Memory is the largest resident size beyond that with the table loaded. The table is that of
`compressing.py`.

Results: benchmarks/measuring.md.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from compressing import D, N, table

from eigenselect.compressors import PCA, Blockwise, Compressor, KMeans, Uniform
from eigenselect.selector.run.search import Search, candidates
from eigenselect.selector.run.selecting import choose

FORTY: list[Compressor] = [
    *(Uniform(bits, rounding) for bits in (1, 2, 3, 4, 8) for rounding in ("nearest", "stochastic")),
    *(KMeans(bits) for bits in (1, 2, 3, 4, 5, 8)),
    *(Blockwise(bits, block=64) for bits in (2, 4, 8)),
    Blockwise(4, "nf4", block=64),
    *(PCA(rate=rate, keep_dimension=True, then=KMeans(bits)) for rate in (1.25, 1.5, 2, 3) for bits in (1, 2, 3, 4)),
    *(PCA(rate=rate, keep_dimension=True) for rate in (1.25, 1.5, 2, 3)),
]
POOLS: dict[str, list[Compressor]] = {"uniform-b2": [Uniform(2)], "forty candidates": FORTY}


def peak() -> int:
    """Most bytes that this process has held."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measured(name: str) -> str:
    """A line of the table."""
    given = table()
    compressors, left_out = candidates(given, 4 * N * D, POOLS[name])
    search = Search(table=given, budget=4 * N * D, compressors=compressors, left_out=left_out)
    before, start, processor = peak(), time.perf_counter(), time.process_time()
    found = choose(search)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    count = len([each for each in found.candidates if each.measures])
    return f"| {name} | {count} | {seconds:.1f} | {processor:.1f} | {(peak() - before) / 1e6:.0f} |"


def main() -> None:
    """Each pool in a process of its own."""
    if len(sys.argv) > 1:
        print(measured(sys.argv[1]))
        return
    print("| candidates | measured | wall s | CPU s | peak MB |\n|---|---|---|---|---|", flush=True)
    for name in POOLS:
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
