"""What unequal bits bring, over directions and over rows: `python benchmarks/unequal.py TABLE [TOKENS]`.

At about 2 bits an entry, with row scales of two bits and a matrix of six where it takes more than a hundredth of the
bytes. "Bytes" are all that are charged.

The first rows give all entries as many bits, `Spectral`, or each principal component what it is worth, `TransformCode`.

The last rows give the rows of high leverage, xᵢ (XᵀX)⁻¹ xᵢᵀ, more bytes than the others. They are not a method: which
row is of which kind is charged with one bit a row, the least that any index takes, and nothing here could look a row up
by that. The two sizes and the share of the larger one are those of the lowest Σ leverage · 4^(−bits an entry) of all
that take as many bytes as equal rows.
"""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eigenselect.compressors import Bands, Compressor, EmbeddingTable, Identity, KMeans, Spectral, TransformCode
from eigenselect.compressors import TrellisCode as Trellis
from eigenselect.selector.measures import score
from eigenselect.selector.sources import read_table

MEASURES = ("reconstruction_error_relative", "eos", "weighted_eos_p1", "weighted_eos_p2")


def leverages(table: EmbeddingTable) -> npt.NDArray[np.float64]:
    """(n,) of each row."""
    sigma, vectors = table.spectrum
    kept = sigma > 1e-6 * sigma[0]
    to_u = vectors[:, kept] / sigma[kept]
    return np.concatenate([np.square(block.astype(np.float64) @ to_u).sum(axis=1) for block in table.blocks()])


def two_sizes(leverage: npt.NDArray[np.float64], d: int, row: int, index: float) -> tuple[float, int, int]:
    """(share, bytes of a row of that share, bytes of the others): with `index` bits a row as large as rows of `row`.

    Args:
        leverage: decreasing.
        d: columns.
        row: bytes.
        index: bits.
    """
    mass = np.cumsum(leverage) / leverage.sum()
    found = []
    for small in range(1, row):
        for large in range(row, min(d, 4 * row) + 1):
            share = (row - index / 8 - small) / (large - small)
            high = mass[max(0, int(share * len(mass)) - 1)]
            loss = high * 4.0 ** (-8 * large / d) + (1 - high) * 4.0 ** (-8 * small / d)
            found.append((loss, share, large, small))
    return min(found)[1:]


def main(path: str, tokens: str | None = None) -> None:
    """Print the table."""
    table = read_table(path, tokens=tokens)
    n, d = table.n, table.d
    info = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", info.read_text(encoding="utf-8")) if info.exists() else None
    print(f"{n} x {d}; {name[1] if name else platform.processor()}\n")
    print("| code | bytes | rel. error | EOS | EOS p1 | EOS p2 |\n|---|---|---|---|---|---|", flush=True)
    row = -(-d // 4)
    matrix: Compressor = KMeans(6) if 2 * d * d > 0.01 * n * row else Identity("float16")

    def show(name: str, made: Compressor, of: EmbeddingTable, more: int = 0) -> None:
        found = score(of, made.compress(of, np.random.default_rng(0)))
        scores = " | ".join(f"{found[measure]:.4f}" for measure in MEASURES)
        print(f"| {name} | {made.nbytes(n, d) + more} | {scores} |", flush=True)

    show(f"equal, row {row}", Spectral(0.5, "uint2", Trellis(row=row), matrix=matrix), table)
    for power in (1, 2):
        show(f"directions, power {power}, row {row}", TransformCode(row, power, matrix=matrix), table)
    leverage = leverages(table)
    order = np.argsort(-leverage, kind="stable")
    sorted_rows = EmbeddingTable(table.read(order))
    share, large, small = two_sizes(leverage[order], d, row, 1)
    for whitening in (0.5, 1):
        equal = Spectral(whitening, "uint2", Trellis(row=row), matrix=matrix)
        bands = Bands(share, Trellis(row=large), Trellis(row=small))
        show(f"whitening {whitening:g}, equal, row {row}", equal, sorted_rows)
        unequal = Spectral(whitening, "uint2", bands, matrix=matrix)
        show(f"whitening {whitening:g}, {share:.0%} of rows {large}, others {small}", unequal, sorted_rows, -(-n // 8))


if __name__ == "__main__":
    main(*sys.argv[1:])
