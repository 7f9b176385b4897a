"""What unequal bits bring, over directions and over rows: `python benchmarks/unequal.py TABLE [TOKENS]`.

At about 2 bits an entry, by half whitening, with row scales of two bits and, where it takes more than a hundredth of
the bytes, a matrix of six bits. "Bytes" are all that are charged. First all entries have as many bits; then each
principal component has what it is worth (`TransformCode`); then rows of high leverage, a quarter of the rows or nine
tenths, have a bit an entry more than the others (`LeverageCode`), and take no more bytes than equal rows.

"Bound" is what is left of 1 − EOS, of a Gaussian and with full whitening, by the table's leverages l: first by the
best bits for each row, the geometric mean of l over their mean; then by the best two sizes; then by those two sizes
where one bit a row, or 8.5, are charged for which is which.
"""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import numpy as np

from eigenselect.compressors import (
    Compressor,
    EmbeddingTable,
    Identity,
    KMeans,
    LeverageCode,
    Spectral,
    TransformCode,
    TrellisCode,
)
from eigenselect.selector.measures import score
from eigenselect.selector.sources import read_table

MEASURES = ("reconstruction_error_relative", "eos", "weighted_eos_p1", "weighted_eos_p2")


def bound(table: EmbeddingTable) -> str:
    """The line with what leverages allow."""
    leverage = np.sort(table.leverage[table.leverage > 0])[::-1]
    every = float(np.exp(np.log(leverage).mean()) / leverage.mean())
    mass, best = np.cumsum(leverage) / leverage.sum(), 1.0
    for share in np.arange(0.01, 1, 0.01):
        high = float(mass[int(share * len(mass))])
        best = min(best, (high / share) ** share * ((1 - high) / (1 - share)) ** (1 - share))
    charged = (best * 4 ** (bits / table.d) for bits in (1, 8.5))
    return f"Bound: {every:.3f}; {best:.3f}; " + "; ".join(f"{each:.3f}" for each in charged)


def within(nbytes: int, share: float, matrix: Compressor, table: EmbeddingTable) -> Spectral:
    """The largest code by leverage of at most so many bytes."""
    fitting = (
        made
        for row in range(table.d, 0, -1)
        if (made := Spectral(0.5, "uint2", LeverageCode(row, share), matrix=matrix)).nbytes(table.n, table.d) <= nbytes
    )
    return next(fitting)


def main(path: str, tokens: str | None = None) -> None:
    """Print the table."""
    table = read_table(path, tokens=tokens)
    info = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", info.read_text(encoding="utf-8")) if info.exists() else None
    print(f"{table.n} x {table.d}; {name[1] if name else platform.processor()}\n\n{bound(table)}\n")
    print("| code | bytes | rel. error | EOS | EOS p1 | EOS p2 |\n|---|---|---|---|---|---|", flush=True)
    row = -(-table.d // 4)
    large = 2 * table.d * table.d > 0.01 * table.n * row
    matrix: Compressor = KMeans(6) if large else Identity("float16")
    equal = Spectral(0.5, "uint2", TrellisCode(row=row), matrix=matrix)
    nbytes = equal.nbytes(table.n, table.d)
    made = [
        equal,
        *(TransformCode(row, power, matrix=matrix) for power in (1, 2)),
        *(within(nbytes, share, matrix, table) for share in (0.25, 0.9)),
    ]
    for compressor in made:
        found = score(table, compressor.compress(table, np.random.default_rng(0)))
        scores = " | ".join(f"{found[measure]:.4f}" for measure in MEASURES)
        print(f"| {compressor.name} | {compressor.nbytes(table.n, table.d)} | {scores} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
